//! Connections to one instance of an app, of one thread: no lock and no other thread's wake-up.
//!
//! hyper-util's pooled client would share connections between threads and cost a sixth more CPU
//! per request. A connection goes back only when its answer was read *and* its request was sent in
//! full; otherwise the next request would wait for a slow client that still uploads.

mod bodies;

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use spaceport_core::SpaceId;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::config::Timeouts;
use crate::connection::Ticks;
use crate::drain::Note;

pub(crate) use self::bodies::{AnswerBody, RequestBody};

/// Largest read buffer of a connection to an app; more costs memory, not time.
const MAX_BUFFER: usize = 128 * 1024;
/// Idle connections kept per instance and thread.
const MAX_IDLE: usize = 128;
/// How long a connection whose last exchange is complete may need to be ready for the next.
const SETTLE: Duration = Duration::from_millis(50);
/// After how long of silence the kernel asks whether a peer is still there.
pub(crate) const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20));

/// Why no connection was had. The request has not left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("could not connect to {address}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("all {limit} connections are in use")]
    Busy { limit: usize },
    #[error("the connection was closed at once")]
    Handshake(#[source] hyper::Error),
}

/// One instance of an app as this thread sees it.
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) space: SpaceId,
    limit: usize,
    open: Cell<usize>,
    in_flight: Cell<usize>,
    retired: Cell<bool>,
    idle: RefCell<Vec<Connection>>,
    live: RefCell<Vec<Rc<Exchange>>>,
    waiting: Cell<usize>,
    freed: Notify,
    tickets: RefCell<Vec<u64>>,
    notes: mpsc::UnboundedSender<Note>,
    ticks: Arc<Ticks>,
}

impl Instance {
    pub(crate) fn new(
        name: &str,
        address: SocketAddr,
        space: SpaceId,
        limit: usize,
        notes: mpsc::UnboundedSender<Note>,
        ticks: Arc<Ticks>,
    ) -> Rc<Self> {
        Rc::new(Self {
            name: name.to_owned(),
            address,
            space,
            limit: limit.max(1),
            open: Cell::new(0),
            in_flight: Cell::new(0),
            retired: Cell::new(false),
            idle: RefCell::default(),
            live: RefCell::default(),
            waiting: Cell::new(0),
            freed: Notify::new(),
            tickets: RefCell::default(),
            notes,
            ticks,
        })
    }

    /// Counts a request until its answer is gone.
    pub(crate) fn enter(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(self.clone())
    }

    /// The instance left the table: its idle connections are closed, none is kept from now on.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.idle.take();
    }

    /// The instance is (again) in the table.
    pub(crate) fn revive(&self) {
        self.retired.set(false);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Whether a request, its answer or an upgraded connection is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// Whether nothing of it is left to look after.
    pub(crate) fn is_gone(&self) -> bool {
        self.retired.get() && self.in_flight.get() == 0 && self.open.get() == 0
    }

    /// Reports `ticket` as soon as nothing is in flight.
    pub(crate) fn report_idle(&self, ticket: u64) {
        if self.in_flight.get() == 0 {
            // The receiver ends with the process only.
            let _ = self.notes.send(Note::Idle(ticket));
        } else {
            self.tickets.borrow_mut().push(ticket);
        }
    }

    /// Ends connections that have waited for too long: for an answer, or for a request.
    pub(crate) fn check(&self, timeouts: &Timeouts) {
        let now = self.ticks.now();
        self.live.borrow_mut().retain(|exchange| !exchange.closed.get());
        for exchange in self.live.borrow().iter() {
            let since = exchange.waiting_since.get();
            if since != 0 && u64::from(now - since) > timeouts.response_head.as_secs() {
                exchange.timed_out.set(true);
                exchange.abort();
            }
        }
        let stale = |connection: &Connection| {
            connection.send.is_closed()
                || u64::from(now - connection.exchange.idle_since.get()) > timeouts.upstream_idle.as_secs()
        };
        self.idle.borrow_mut().retain(|connection| !stale(connection));
    }

    /// A connection that is ready for a request, and whether it was used before.
    pub(crate) async fn connection(
        self: &Rc<Self>,
        fresh: bool,
        timeouts: &Timeouts,
    ) -> Result<(Connection, bool), ConnectError> {
        loop {
            let idle = self.idle.borrow_mut().pop();
            if let Some(mut connection) = idle
                && !fresh
            {
                if connection.send.is_ready() {
                    return Ok((connection, true));
                }
                if !connection.send.is_closed() && matches!(timeout(SETTLE, connection.send.ready()).await, Ok(Ok(())))
                {
                    return Ok((connection, true));
                }
                connection.exchange.abort();
                continue;
            }
            if self.open.get() < self.limit {
                return Ok((self.connect(timeouts).await?, false));
            }
            let _waiting = Waiting::new(&self.waiting);
            let freed = timeout(timeouts.connect, self.freed.notified()).await;
            freed.map_err(|_| ConnectError::Busy { limit: self.limit })?;
        }
    }

    /// Takes a place among the connections, whether or not there is room: an upgraded connection
    /// has been counted before.
    pub(crate) fn slot(self: &Rc<Self>) -> Slot {
        self.open.set(self.open.get() + 1);
        Slot(self.clone())
    }

    async fn connect(self: &Rc<Self>, timeouts: &Timeouts) -> Result<Connection, ConnectError> {
        let slot = self.slot();
        let address = self.address;
        let stream = match timeout(timeouts.connect, TcpStream::connect(address)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
        .and_then(|stream| {
            stream.set_nodelay(true)?;
            SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
            Ok(stream)
        })
        .map_err(|source| ConnectError::Connect { address, source })?;
        let (send, connection) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ConnectError::Handshake)?;
        let exchange = Rc::new(Exchange::new(self.ticks.clone()));
        let of_task = exchange.clone();
        let task = tokio::task::spawn_local(async move {
            let _slot = slot;
            // Errors reach the request that waits for this connection.
            let _ = connection.with_upgrades().await;
            of_task.closed.set(true);
        });
        let _ = exchange.abort.set(task.abort_handle());
        self.live.borrow_mut().push(exchange.clone());
        Ok(Connection { send, exchange })
    }

    fn put_back(&self, connection: Connection) {
        connection.exchange.idle_since.set(self.ticks.now());
        let mut idle = self.idle.borrow_mut();
        if !self.retired.get() && idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }
}

/// The state of a connection and of the request on it.
pub(crate) struct Exchange {
    ticks: Arc<Ticks>,
    abort: OnceCell<AbortHandle>,
    closed: Cell<bool>,
    /// Whether the request was handed over in full.
    sent: Cell<bool>,
    /// Since when nothing has been going either way; 0 when the answer has begun.
    waiting_since: Cell<u32>,
    idle_since: Cell<u32>,
    pub(crate) timed_out: Cell<bool>,
    /// Whether the body of the request could not be read.
    pub(crate) unreadable: Cell<bool>,
}

impl Exchange {
    fn new(ticks: Arc<Ticks>) -> Self {
        Self {
            ticks,
            abort: OnceCell::new(),
            closed: Cell::new(false),
            sent: Cell::new(false),
            waiting_since: Cell::new(0),
            idle_since: Cell::new(0),
            timed_out: Cell::new(false),
            unreadable: Cell::new(false),
        }
    }

    /// A piece of the request goes out: the wait for the answer begins anew.
    fn goes_on(&self) {
        if self.waiting_since.get() != 0 {
            self.waiting_since.set(self.ticks.now());
        }
    }

    fn abort(&self) {
        if let Some(task) = self.abort.get() {
            task.abort();
        }
        self.closed.set(true);
    }
}

/// A connection to an app.
pub(crate) struct Connection {
    pub(crate) send: SendRequest<RequestBody>,
    pub(crate) exchange: Rc<Exchange>,
}

impl Connection {
    /// Begins an exchange.
    pub(crate) fn begin(&self, bodyless: bool) {
        self.exchange.sent.set(bodyless);
        self.exchange.waiting_since.set(self.exchange.ticks.now());
    }

    /// The head of the answer is there.
    pub(crate) fn answered(&self) {
        self.exchange.waiting_since.set(0);
    }

    /// Gives the connection up, whatever is on it.
    pub(crate) fn cut(&self) {
        self.exchange.abort();
    }
}

/// Counts a request that waits for a connection, also when its client goes away meanwhile.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A place among the connections of an instance.
pub(crate) struct Slot(Rc<Instance>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if self.0.waiting.get() > 0 {
            self.0.freed.notify_one();
        }
    }
}

/// Proof that an instance is in use.
pub(crate) struct InFlight(Rc<Instance>);

impl InFlight {
    pub(crate) fn instance(&self) -> &Rc<Instance> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.0.in_flight.get() - 1;
        self.0.in_flight.set(left);
        if left == 0 {
            for ticket in self.0.tickets.take() {
                let _ = self.0.notes.send(Note::Idle(ticket));
            }
        }
    }
}
