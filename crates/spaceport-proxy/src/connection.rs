//! Connections of clients: when they are idle, slow or done.
//!
//! One coarse clock per thread serves every deadline: a connection only notes in which second
//! something happened, and once a second all connections are looked at. That costs a request a
//! few plain stores instead of a timer.
//!
//! A client that takes nothing of what it is sent is ended by the kernel (see `server`). The
//! streams of HTTP/2 have windows of their own, of which the kernel knows nothing: they are looked
//! at here, and end alone.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use futures::future::AbortHandle;
use tokio::net::TcpStream;

use crate::config::Timeouts;
use crate::headers::Origin;
use crate::socket::ClientSocket;

tokio::task_local! {
    /// Ends the stream of HTTP/2 whose task this is.
    pub(crate) static STREAM: AbortHandle;
}

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
    pub(crate) ticks: Arc<Ticks>,
    /// Requests between their head and the end of their answer.
    pub(crate) busy: AtomicU32,
    /// Since when bytes of a head have been coming in.
    pub(crate) reading_since: AtomicU32,
    pub(crate) idle_since: AtomicU32,
    /// Whether bytes wait that the client has not taken.
    pub(crate) unsent: AtomicBool,
    /// The number of the request that has two framings.
    pub(crate) two_framings: AtomicU32,
    /// Whether it is a tunnel now, whose bytes are not ours to read.
    pub(crate) upgraded: AtomicBool,
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
    /// Requests so far.
    requests: Cell<u32>,
    streams: Slots<Stream>,
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
            unsent: AtomicBool::new(false),
            two_framings: AtomicU32::new(0),
            upgraded: AtomicBool::new(false),
        };
        Self {
            origin: Origin::new(peer.ip(), trusted, https),
            activity: Arc::new(activity),
            http2: Cell::new(false),
            requests: Cell::new(0),
            streams: Slots::default(),
            command: Cell::new(Command::Go),
            waker: RefCell::new(None),
        }
    }

    /// Marks the begin of a request.
    pub(crate) fn begin(self: &Rc<Self>) -> Busy {
        self.requests.set(self.requests.get().wrapping_add(1));
        self.activity.reading_since.store(0, Relaxed);
        let stream = if self.http2.get() { STREAM.try_with(AbortHandle::clone).ok() } else { None };
        self.busy(stream)
    }

    /// Marks the begin of a tunnel. Of HTTP/2 it is one of several streams, which `end` ends.
    pub(crate) fn begin_tunnel(self: &Rc<Self>, end: AbortHandle) -> Busy {
        self.activity.upgraded.store(true, Relaxed);
        self.busy(self.http2.get().then_some(end))
    }

    fn busy(self: &Rc<Self>, end: Option<AbortHandle>) -> Busy {
        self.activity.busy.fetch_add(1, Relaxed);
        let stream = end.map(|end| {
            let stream = Rc::new(Stream { blocked_since: Cell::new(0), end });
            (self.streams.insert(stream.clone()), stream)
        });
        Busy { client: self.clone(), stream }
    }

    /// Whether the request that has begun last, and any of HTTP/1.1 after it, has two framings.
    pub(crate) fn has_two_framings(&self) -> bool {
        let first = self.activity.two_framings.load(Relaxed);
        first != 0 && first <= self.requests.get()
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

    /// Ends the connection if it has been slow or idle for too long, and streams that wait for
    /// their client.
    pub(crate) fn check(&self, timeouts: &Timeouts) {
        let Activity { ticks, busy, reading_since, idle_since, unsent, .. } = &*self.activity;
        let passed = |since: u32| u64::from(ticks.now() - since);
        self.streams.each(|stream| {
            let since = stream.blocked_since.get();
            if since != 0 && passed(since) > timeouts.stalled.as_secs() {
                stream.end.abort();
            }
        });
        if busy.load(Relaxed) > 0 || unsent.load(Relaxed) {
            return;
        }
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

    /// `max_head`: of HTTP/1.1, whose framing is looked at.
    pub(crate) fn socket(&self, stream: TcpStream, max_head: usize) -> ClientSocket {
        ClientSocket::new(stream, self.activity.clone(), (!self.http2.get()).then_some(max_head))
    }
}

/// A stream of HTTP/2 on its way to the client.
struct Stream {
    /// Since when the client has been owing room for more.
    blocked_since: Cell<u32>,
    end: AbortHandle,
}

/// Proof that a request of a connection is being answered.
pub(crate) struct Busy {
    client: Rc<Client>,
    stream: Option<(usize, Rc<Stream>)>,
}

impl Busy {
    /// Notes whether the answer waits for its client.
    pub(crate) fn blocked(&self, blocked: bool) {
        let Some((_, stream)) = &self.stream else { return };
        if !blocked {
            stream.blocked_since.set(0);
        } else if stream.blocked_since.get() == 0 {
            stream.blocked_since.set(self.client.activity.ticks.now());
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Activity { ticks, busy, idle_since, .. } = &*self.client.activity;
        if busy.fetch_sub(1, Relaxed) == 1 {
            idle_since.store(ticks.now(), Relaxed);
        }
        if let Some((slot, _)) = &self.stream {
            self.client.streams.remove(*slot);
        }
    }
}

/// A list whose entries keep their places.
pub(crate) struct Slots<T>(RefCell<Vec<Option<Rc<T>>>>, RefCell<Vec<usize>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(RefCell::default(), RefCell::default())
    }
}

impl<T> Slots<T> {
    pub(crate) fn insert(&self, item: Rc<T>) -> usize {
        let mut list = self.0.borrow_mut();
        if let Some(slot) = self.1.borrow_mut().pop() {
            list[slot] = Some(item);
            return slot;
        }
        list.push(Some(item));
        list.len() - 1
    }

    pub(crate) fn remove(&self, slot: usize) {
        self.0.borrow_mut()[slot] = None;
        self.1.borrow_mut().push(slot);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().iter().all(Option::is_none)
    }

    pub(crate) fn each(&self, mut act: impl FnMut(&T)) {
        self.0.borrow().iter().flatten().for_each(|item| act(item));
    }
}
