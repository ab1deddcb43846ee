//! Connections of clients: when they are idle, slow or done.
//!
//! One coarse clock per thread serves every deadline: a connection only notes in which second
//! something happened, and once a second all connections are looked at. That costs a request a
//! few plain stores instead of a timer.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::config::Timeouts;
use crate::headers::Origin;

/// Seconds since the thread began, from 1: 0 means "not".
#[derive(Debug, Default)]
pub(crate) struct Ticks(AtomicU32);

impl Ticks {
    pub(crate) fn now(&self) -> u32 {
        self.0.load(Relaxed).max(1)
    }

    pub(crate) fn advance(&self) {
        self.0.store(self.now().saturating_add(1), Relaxed);
    }
}

/// What is known of one connection. Shared with the socket, which hyper wants to be `Send`; all
/// accesses are from one thread, so relaxed ones do.
#[derive(Debug)]
pub(crate) struct Activity {
    ticks: Arc<Ticks>,
    /// Requests between their head and the end of their answer.
    busy: AtomicU32,
    /// Since when bytes of a head have been coming in.
    reading_since: AtomicU32,
    idle_since: AtomicU32,
}

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Go,
    /// Finish what runs, take nothing new.
    Finish,
    /// End now.
    Cut,
}

/// The handle of a connection.
pub(crate) struct Client {
    pub(crate) origin: Origin,
    activity: Arc<Activity>,
    http2: Cell<bool>,
    command: Cell<Command>,
    waker: RefCell<Option<Waker>>,
}

impl Client {
    pub(crate) fn new(peer: SocketAddr, trusted: bool, https: bool, ticks: &Arc<Ticks>) -> Self {
        let now = ticks.now();
        let activity = Activity {
            ticks: ticks.clone(),
            busy: AtomicU32::new(0),
            // A connection begins like one that sends: it has the time of a head for its first byte.
            reading_since: AtomicU32::new(now),
            idle_since: AtomicU32::new(now),
        };
        Self {
            origin: Origin::new(peer.ip(), trusted, https),
            activity: Arc::new(activity),
            http2: Cell::new(false),
            command: Cell::new(Command::Go),
            waker: RefCell::new(None),
        }
    }

    /// Marks the begin of a request.
    pub(crate) fn begin(&self) -> Busy {
        self.activity.busy.fetch_add(1, Relaxed);
        self.activity.reading_since.store(0, Relaxed);
        Busy(self.activity.clone())
    }

    pub(crate) fn is_http2(&self) {
        self.http2.set(true);
        self.activity.reading_since.store(0, Relaxed);
    }

    pub(crate) fn command(&self, cx: &Context<'_>) -> Command {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.command.get()
    }

    /// Waits until it is told anything.
    pub(crate) async fn told(&self) {
        std::future::poll_fn(|cx| match self.command(cx) {
            Command::Go => Poll::Pending,
            Command::Finish | Command::Cut => Poll::Ready(()),
        })
        .await;
    }

    pub(crate) fn tell(&self, command: Command) {
        if self.command.get() != Command::Cut {
            self.command.set(command);
        }
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Ends the connection if it has been slow or idle for too long.
    pub(crate) fn check(&self, timeouts: &Timeouts) {
        let Activity { ticks, busy, reading_since, idle_since } = &*self.activity;
        if busy.load(Relaxed) > 0 {
            return;
        }
        let passed = |since: u32| u64::from(ticks.now() - since);
        let reading = reading_since.load(Relaxed);
        let idle = passed(idle_since.load(Relaxed));
        // Frames of HTTP/2 come without requests too, so only the time without requests counts.
        let slow = !self.http2.get() && reading != 0 && passed(reading) > timeouts.header_read.as_secs();
        if slow || idle > timeouts.idle.as_secs() + timeouts.header_read.as_secs() {
            self.tell(Command::Cut);
        } else if idle > timeouts.idle.as_secs() && self.command.get() == Command::Go {
            self.tell(Command::Finish);
        }
    }

    pub(crate) fn socket(&self, stream: TcpStream) -> ClientSocket {
        ClientSocket { stream, activity: self.activity.clone() }
    }
}

/// Proof that a request of a connection is being answered.
pub(crate) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let Activity { ticks, busy, idle_since, .. } = &*self.0;
        if busy.fetch_sub(1, Relaxed) == 1 {
            idle_since.store(ticks.now(), Relaxed);
        }
    }
}

/// The list of a thread's connections.
#[derive(Default)]
pub(crate) struct Clients(RefCell<Vec<Option<Rc<Client>>>>, RefCell<Vec<usize>>);

impl Clients {
    pub(crate) fn insert(&self, client: Rc<Client>) -> usize {
        let mut list = self.0.borrow_mut();
        if let Some(slot) = self.1.borrow_mut().pop() {
            list[slot] = Some(client);
            return slot;
        }
        list.push(Some(client));
        list.len() - 1
    }

    pub(crate) fn remove(&self, slot: usize) {
        self.0.borrow_mut()[slot] = None;
        self.1.borrow_mut().push(slot);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().iter().all(Option::is_none)
    }

    pub(crate) fn each(&self, mut act: impl FnMut(&Client)) {
        self.0.borrow().iter().flatten().for_each(|client| act(client));
    }
}

/// The socket of a client, which notes when a head begins to come in.
pub(crate) struct ClientSocket {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for ClientSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Activity { ticks, busy, reading_since, .. } = &*self.activity;
        if buf.filled().len() > before && busy.load(Relaxed) == 0 && reading_since.load(Relaxed) == 0 {
            reading_since.store(ticks.now(), Relaxed);
        }
        result
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
