//! Settings of the engine's adapter.

use std::net::IpAddr;
use std::path::PathBuf;

/// Where the engine is and how apps are separated on it.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// A socket path, `unix:///path` or `tcp://host:port`; `None` is `/var/run/docker.sock`.
    /// Pass the value of `DOCKER_HOST` to follow it.
    pub socket: Option<String>,
    /// Value of the label by which this installation knows its own; installations on one engine
    /// have different ones.
    pub installation: String,
    /// The bridge network of the apps; made when missing.
    pub network: String,
    /// Its address range, `172.30.0.0/16`; `None` leaves the choice to the engine.
    pub subnet: Option<String>,
    /// A PEM file trusted in builds and containers in addition to the public authorities.
    pub ca_bundle: Option<PathBuf>,
    /// Resolvers of the containers; empty means the host's.
    pub dns: Vec<IpAddr>,
    /// Networks containers must not reach, on top of the private and link-local ones.
    pub blocked_networks: Vec<String>,
    /// Private networks they may reach all the same, such as an internal package mirror.
    pub allowed_networks: Vec<String>,
    /// What containers may reach of the engine's host all the same, by host and port: the hub itself, where apps
    /// are told to use it. The port is open at the addresses that the host has, and at no other of the machine's.
    pub allowed_services: Vec<(String, u16)>,
    /// An image with `chroot` that is trusted with the host, usually the base image: used to set
    /// the packet filter when this process is not root on the engine's host.
    pub helper_image: Option<String>,
    /// Whether the packet filter also covers the engine's default bridge, which BuildKit runs
    /// Dockerfiles on. It then covers other people's containers there too.
    pub guard_default_bridge: bool,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            socket: None,
            installation: "default".to_owned(),
            network: "spaceport".to_owned(),
            subnet: None,
            ca_bundle: None,
            dns: Vec::new(),
            blocked_networks: Vec::new(),
            allowed_networks: Vec::new(),
            allowed_services: Vec::new(),
            helper_image: None,
            guard_default_bridge: true,
        }
    }
}

impl DockerConfig {
    /// Resolvers for the engine; `None` leaves the choice to it.
    pub(crate) fn dns_servers(&self) -> Option<Vec<String>> {
        (!self.dns.is_empty()).then(|| self.dns.iter().map(ToString::to_string).collect())
    }
}
