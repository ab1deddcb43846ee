//! End-to-end tests drive what people get: the binary as a process, Docker, git and the Hub's own
//! Python clients. This library is what the tests share; it knows nothing of the server's code, so
//! that a test can only see what a user could see.
//!
//! Every test has a [`Site`] of its own: data directory, port, token and a name under which its
//! containers and images are found and removed. Nothing waits for a length of time: see
//! [`wait::until`].

pub mod docker;
pub mod engine;
pub mod files;
pub mod git;
pub mod postgres;
pub mod raw;
pub mod script;
pub mod site;
pub mod space;
pub mod wait;

pub use files::Files;
pub use script::Script;
pub use site::Site;
pub use space::{Runtime, Space};
pub use wait::until;
