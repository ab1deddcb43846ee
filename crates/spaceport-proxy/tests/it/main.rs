//! The proxy through its public interface, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod forwarding;
mod lifecycle;
mod moved;
mod private;
mod refusals;
mod smuggling;
mod stalls;
mod static_files;
mod streaming;
mod support;
