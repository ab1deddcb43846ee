//! Spaceport's data plane: host to route to upstream.
//!
//! The proxy knows the route table and nothing else: no database, no engine, no control plane.
//! Tables come in through a watch channel, observations go out through an mpsc channel, and when
//! either end is away it serves what it knows. It is built on hyper, used the way that measured
//! best: a thread per core, nothing shared between threads, one coarse clock per thread instead of
//! a timer per request, and own pools of upstream connections.
//!
//! Reading order: [`Proxy`] (threads and listeners), `session` (one connection), `handle` (one request), `forward` (to an
//! app), `files` (static Spaces), `hold`, `answers` and `pages`, `drain`.

mod answers;
mod body;
mod config;
mod connection;
mod drain;
mod files;
mod forward;
mod framing;
mod handle;
mod headers;
mod hold;
mod hub;
mod pages;
mod server;
mod session;
mod socket;
mod tunnel;
mod upstream;
mod vet;
mod visitor;
mod worker;

pub use body::{BoxError, HubBody};
pub use config::{ProxyConfig, Timeouts};
pub use hub::{ClientAddr, Hub};
pub use ipnet::IpNet;
pub use server::{Proxy, ProxyError};
