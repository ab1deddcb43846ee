//! Threads, listeners and shutdown.
//!
//! A thread per core, each with its own listener on the same port (`SO_REUSEPORT`) and its own
//! connections: the multi-thread runtime of tokio costs a tenth more CPU per request by itself,
//! and a shared pool of connections another sixth.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use spaceport_core::route::{ProxyEvent, RouteTable};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::body::ProxyBody;
use crate::config::ProxyConfig;
use crate::connection::{Client, Command};
use crate::drain::{Departure, Drain, Note};
use crate::handle::handle;
use crate::hub::Hub;
use crate::upstream::KEEPALIVE;
use crate::worker::Worker;

/// Connections the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;
/// How long accepting rests when the process has no descriptors left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How often a shutdown looks whether everything has ended.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// Before it is asked again what a client that sent less than three bytes has sent.
const ONE_BYTE_AT_A_TIME: Duration = Duration::from_millis(10);
/// Largest read buffer of a client's connection.
const MAX_BUFFER: usize = 128 * 1024;
/// Streams one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 200;

/// Why the proxy does not start or has ended.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The address cannot be listened on: in use, not of this machine, or not permitted.
    #[error("could not listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("could not start a thread of the proxy")]
    Thread(#[source] io::Error),
    /// No randomness for request ids.
    #[error("the system has no randomness: {0}")]
    Randomness(getrandom::Error),
    /// A thread ended without being told to.
    #[error("a thread of the proxy panicked")]
    Panicked,
    /// A setting is out of range.
    #[error("invalid proxy setting: {0}")]
    Config(&'static str),
}

/// A proxy that listens, but does not answer yet.
#[derive(Debug)]
pub struct Proxy {
    config: Arc<ProxyConfig>,
    listeners: Vec<StdListener>,
    address: SocketAddr,
    routes: watch::Receiver<Arc<RouteTable>>,
    hub: Hub,
    events: mpsc::Sender<ProxyEvent>,
}

impl Proxy {
    /// Takes the address. Connections wait in the kernel until [`Proxy::run`].
    ///
    /// # Errors
    /// When the address cannot be listened on or a setting is out of range.
    pub fn bind(
        config: ProxyConfig,
        routes: watch::Receiver<Arc<RouteTable>>,
        hub: Hub,
        events: mpsc::Sender<ProxyEvent>,
    ) -> Result<Self, ProxyError> {
        if config.threads == 0 {
            return Err(ProxyError::Config("threads must be at least 1"));
        }
        if config.max_head_bytes < 8192 {
            return Err(ProxyError::Config("max_head_bytes must be at least 8192"));
        }
        let mut address = config.listen;
        let mut listeners = Vec::with_capacity(config.threads);
        for _ in 0..config.threads {
            let bound = listen(address, config.threads > 1).and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (bound, listener) = bound.map_err(|source| ProxyError::Listen { address, source })?;
            // With port 0 the first listener has picked the port of all.
            address = bound;
            listeners.push(listener);
        }
        Ok(Self { config: Arc::new(config), listeners, address, routes, hub, events })
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop. `soft`: no new connections, running requests finish within
    /// `timeouts.drain`. `hard`: everything ends at once.
    ///
    /// # Errors
    /// When a thread cannot start or panics; the others are stopped then.
    pub async fn run(self, soft: CancellationToken, hard: CancellationToken) -> Result<(), ProxyError> {
        let Self { config, listeners, routes, hub, events, .. } = self;
        // Ends the threads also when this future is dropped.
        let cut = hard.child_token();
        let _cut_on_drop = cut.clone().drop_guard();
        let (notes, notes_in) = mpsc::unbounded_channel();
        let mut threads = Vec::new();
        let mut ends = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let (departures, departures_in) = mpsc::unbounded_channel();
            let (end, ended) = oneshot::channel();
            let thread = Thread {
                config: config.clone(),
                routes: routes.clone(),
                hub: hub.clone(),
                events: events.clone(),
                notes: notes.clone(),
                departures: departures_in,
                seed: getrandom::u64().map_err(ProxyError::Randomness)?,
                soft: soft.clone(),
                hard: cut.clone(),
            };
            std::thread::Builder::new()
                .name(format!("proxy-{index}"))
                .spawn(move || {
                    // The receiver is gone only when nobody waits for this thread any more.
                    let _ = end.send(thread.run(listener));
                })
                .map_err(ProxyError::Thread)?;
            threads.push(departures);
            ends.push(ended);
        }
        drop(notes);
        let drain = Drain { routes, threads, notes: notes_in, events };
        let all = async {
            for end in ends {
                end.await.map_err(|_| ProxyError::Panicked)?.map_err(ProxyError::Thread)?;
            }
            Ok(())
        };
        tokio::pin!(all);
        tokio::select! {
            result = &mut all => result,
            // The drain ends only with the control plane, which the data plane outlives.
            () = drain.run() => all.await,
        }
    }
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Only when needed: it would let a second server take a part of the connections unnoticed.
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Accepted connections inherit both, which saves two system calls for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

struct Thread {
    config: Arc<ProxyConfig>,
    routes: watch::Receiver<Arc<RouteTable>>,
    hub: Hub,
    events: mpsc::Sender<ProxyEvent>,
    notes: mpsc::UnboundedSender<Note>,
    departures: mpsc::UnboundedReceiver<Departure>,
    seed: u64,
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Thread {
    fn run(self, listener: StdListener) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = LocalSet::new();
        runtime.block_on(local.run_until(self.serve(listener)))
        // Dropping the set ends what is left: connections, tunnels, upstream connections.
    }

    async fn serve(mut self, listener: StdListener) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let worker = Worker::new(self.config.clone(), self.routes, self.hub, self.events, self.notes, self.seed);
        tokio::task::spawn_local(worker.clone().table_changes());
        let for_ticks = worker.clone();
        tokio::task::spawn_local(async move {
            let mut seconds = interval(Duration::from_secs(1));
            seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                seconds.tick().await;
                for_ticks.tick();
            }
        });
        let for_departures = worker.clone();
        tokio::task::spawn_local(async move {
            while let Some(departure) = self.departures.recv().await {
                for_departures.depart(&departure);
            }
        });
        let accept = async {
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        tokio::task::spawn_local(serve_client(worker.clone(), stream, peer));
                    }
                    Err(error) if is_of_connection(&error) => {}
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "connections cannot be accepted: raise the limit of open files"
                        );
                        sleep(OUT_OF_DESCRIPTORS).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = self.soft.cancelled() => {}
            () = self.hard.cancelled() => return Ok(()),
        }
        drop(listener);
        worker.clients.each(|client| client.tell(Command::Finish));
        let finished = async {
            while !worker.clients.is_empty() || worker.tunnels.get() > 0 {
                sleep(DRAIN_POLL).await;
            }
        };
        tokio::select! {
            _ = timeout(self.config.timeouts.drain, finished) => {}
            () = self.hard.cancelled() => {}
        }
        Ok(())
    }
}

/// Errors of one connection that was gone before it was accepted.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

async fn serve_client(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let trusted = worker.config.trusts(peer.ip());
    let client = Rc::new(Client::new(peer, trusted, worker.config.https, &worker.ticks));
    let _registered = Registered { slot: worker.clients.insert(client.clone()), worker: worker.clone() };
    let http2 = tokio::select! {
        http2 = speaks_http2(&stream) => http2,
        // Too slow, or the proxy stops before it said anything.
        () = client.told() => return,
    };
    let io = TokioIo::new(client.socket(stream));
    let service = Service { worker: worker.clone(), client: client.clone() };
    let max_head = worker.config.max_head_bytes;
    match http2 {
        Ok(true) => {
            client.is_http2();
            let mut builder = http2::Builder::new(Local);
            builder.max_concurrent_streams(MAX_STREAMS);
            builder.max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX));
            let connection = pin!(builder.serve_connection(io, service));
            drive(&client, connection, http2::Connection::graceful_shutdown).await;
        }
        Ok(false) => {
            let mut builder = http1::Builder::new();
            builder.max_header_size(max_head).max_buf_size(max_head.max(MAX_BUFFER));
            let connection = pin!(builder.serve_connection(io, service).with_upgrades());
            drive(&client, connection, http1::UpgradeableConnection::graceful_shutdown).await;
        }
        // The client is gone.
        Err(_) => {}
    }
}

/// Runs a connection until it ends or is told to.
async fn drive<C>(client: &Client, mut connection: Pin<&mut C>, finish: impl Fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut finishing = false;
    poll_fn(|cx| {
        match client.command(cx) {
            Command::Go => {}
            Command::Finish if finishing => {}
            Command::Finish => {
                finishing = true;
                finish(connection.as_mut());
            }
            Command::Cut => return Poll::Ready(()),
        }
        connection.as_mut().poll(cx).map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(
                    client.address = %client.origin.peer,
                    error = &error as &dyn std::error::Error,
                    "a connection ended with an error"
                );
            }
        })
    })
    .await;
}

/// Whether the client begins with the preface of HTTP/2 (RFC 9113 §3.4). Three bytes decide, and
/// they are only looked at, so that either side of hyper finds all of them.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI";
    let mut head = [0; 3];
    loop {
        let seen = stream.peek(&mut head).await?;
        let head = &head[..seen];
        if seen == 0 || seen == PREFACE.len() || !PREFACE.starts_with(head) {
            return Ok(head == PREFACE);
        }
        // Readiness has been reported already; a client that sends single bytes is asked again.
        sleep(ONE_BYTE_AT_A_TIME).await;
    }
}

struct Registered {
    worker: Rc<Worker>,
    slot: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.clients.remove(self.slot);
    }
}

/// The requests of one connection.
struct Service {
    worker: Rc<Worker>,
    client: Rc<Client>,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<ProxyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (worker, client) = (self.worker.clone(), self.client.clone());
        // Boxed, so that a connection that waits is small.
        Box::pin(async move { Ok(handle(&worker, &client, request).await) })
    }
}

/// Runs the streams of HTTP/2 on this thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(async move {
            stream.await;
        });
    }
}
