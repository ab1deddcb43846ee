//! What the proxy is told when it starts. Everything that changes later is in the route table.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use spaceport_core::Timestamp;

/// Settings of the proxy.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// The address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Threads; each has its own listener, connections and state. At least 1.
    pub threads: usize,
    /// Host of the hub's URL in lower case; a port is ignored.
    pub hub_host: String,
    /// The hub's address, `https://hub.example`, for links to it; `None` is `http://localhost` with the
    /// listener's port.
    pub hub_url: Option<String>,
    /// The domain below which Spaces live, `spaces.example`, with the port at which they are reached if it is not
    /// the scheme's own; `None` is the host and port of the hub's address.
    pub spaces_domain: Option<String>,
    /// Whether users reach this proxy by https, for `X-Forwarded-Proto`.
    pub https: bool,
    /// Peers whose `X-Forwarded-*` and `X-Request-Id` are believed.
    pub trusted_forwarders: Vec<IpNet>,
    /// Largest request head, in bytes. At least 8,192.
    pub max_head_bytes: usize,
    /// Most connections to one instance, over all threads, upgraded ones included.
    pub connections_per_instance: usize,
    /// Most requests held for one Space, over all threads.
    pub held_per_space: usize,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// The clock of `Activity` events and of the times on pages.
    pub clock: fn() -> Timestamp,
}

impl ProxyConfig {
    /// Fills in what follows from the port that is listened on.
    pub(crate) fn know_port(&mut self, port: u16) {
        let hub = self.hub_url.get_or_insert_with(|| format!("http://localhost:{port}"));
        let host = hub.split_once("://").map_or(hub.as_str(), |(_, host)| host);
        self.spaces_domain.get_or_insert_with(|| host.to_ascii_lowercase());
    }

    /// The domain below which Spaces live, with its port.
    pub(crate) fn spaces_domain(&self) -> &str {
        self.spaces_domain.as_deref().unwrap_or("localhost")
    }
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            hub_host: "localhost".to_owned(),
            hub_url: None,
            spaces_domain: None,
            https: false,
            trusted_forwarders: Vec::new(),
            max_head_bytes: 64 * 1024,
            connections_per_instance: 1024,
            held_per_space: 256,
            timeouts: Timeouts::default(),
            clock: system_clock,
        }
    }
}

impl ProxyConfig {
    /// Whether a peer may speak for others.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        // A dual-stack listener sees IPv4 peers as mapped addresses.
        let peer = peer.to_canonical();
        self.trusted_forwarders.iter().any(|net| net.contains(&peer))
    }
}

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// From the first byte of a request to the end of its head.
    pub header_read: Duration,
    /// A connection of a client without a request.
    pub idle: Duration,
    /// A connection to an app that waits for its next request.
    pub upstream_idle: Duration,
    /// Connecting to an app.
    pub connect: Duration,
    /// From sending a request, or the latest piece of its body, to the head of the answer. Models
    /// take their time.
    pub response_head: Duration,
    /// A client that takes nothing of what it is sent, although more waits. Who is slow takes
    /// something now and then.
    pub stalled: Duration,
    /// How long a request of a program waits for a Space that starts.
    pub hold: Duration,
    /// How long a person's browser waits before it is shown the state page.
    pub hold_navigation: Duration,
    /// From the soft stop until running requests are cut.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header_read: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            upstream_idle: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            response_head: Duration::from_secs(20 * 60),
            stalled: Duration::from_secs(5 * 60),
            hold: Duration::from_secs(60),
            hold_navigation: Duration::from_secs(2),
            drain: Duration::from_secs(30),
        }
    }
}

fn system_clock() -> Timestamp {
    let passed = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_millis(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
}
