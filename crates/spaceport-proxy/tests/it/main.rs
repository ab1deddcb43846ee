//! The proxy through its public interface, over real sockets.

mod forwarding;
mod lifecycle;
mod refusals;
mod static_files;
mod streaming;
mod support;
