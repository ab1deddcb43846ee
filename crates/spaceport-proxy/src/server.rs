//! Threads, listeners and shutdown.
//!
//! A thread per core, each with its own listener on the same port (`SO_REUSEPORT`) and its own
//! connections: the multi-thread runtime of tokio costs a tenth more CPU per request by itself,
//! and a shared pool of connections another sixth.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use spaceport_core::route::{ProxyEvent, RouteTable};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::ProxyConfig;
use crate::connection::Command;
use crate::drain::{Departure, Drain, Note};
use crate::hub::Hub;
use crate::session::serve_client;
use crate::upstream::KEEPALIVE;
use crate::worker::Worker;

/// Connections the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;
/// How long accepting rests when the process has no descriptors left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How often a shutdown looks whether everything has ended.
const DRAIN_POLL: Duration = Duration::from_millis(20);

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
        mut config: ProxyConfig,
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
            let bound = listen(address, &config).and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (bound, listener) = bound.map_err(|source| ProxyError::Listen { address, source })?;
            // With port 0 the first listener has picked the port of all.
            address = bound;
            listeners.push(listener);
        }
        config.know_port(address.port());
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

fn listen(address: SocketAddr, config: &ProxyConfig) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Only when needed: it would let a second server take a part of the connections unnoticed.
    if config.threads > 1 {
        socket.set_reuse_port(true)?;
    }
    // Accepted connections inherit these, which saves three system calls for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    // The kernel knows best whether a client takes anything: a write may wait for the third part of
    // a buffer of megabytes to be taken by one that is slow.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(config.timeouts.stalled))?;
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

    async fn serve(self, listener: StdListener) -> io::Result<()> {
        let Self { config, routes, hub, events, notes, mut departures, seed, soft, hard } = self;
        let listener = TcpListener::from_std(listener)?;
        let worker = Worker::new(config, routes, hub, events, notes, seed);
        let ticks = async {
            let mut seconds = interval(Duration::from_secs(1));
            seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                seconds.tick().await;
                worker.tick();
            }
        };
        let drain = async {
            while let Some(departure) = departures.recv().await {
                worker.depart(&departure);
            }
            pending::<()>().await;
        };
        // Futures of this thread's own rather than tasks, so that a panic ends the thread and is
        // noticed, instead of leaving a proxy without deadlines.
        tokio::select! {
            () = front(&worker, listener, &soft) => {}
            () = ticks => {}
            () = drain => {}
            () = worker.table_changes() => {}
            () = hard.cancelled() => {}
        }
        worker.tell_visits();
        Ok(())
    }
}

/// Takes connections until the soft stop, then waits until they have ended or the time is over.
async fn front(worker: &Rc<Worker>, listener: TcpListener, soft: &CancellationToken) {
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
        () = soft.cancelled() => {}
    }
    drop(listener);
    worker.clients.each(|client| client.tell(Command::Finish));
    let finished = async {
        while !worker.clients.is_empty() || worker.tunnels.get() > 0 {
            sleep(DRAIN_POLL).await;
        }
    };
    if timeout(worker.config.timeouts.drain, finished).await.is_err() {
        tracing::info!(tunnels = worker.tunnels.get(), "requests that did not finish in time are cut");
    }
}

/// Errors of one connection that was gone before it was accepted.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
