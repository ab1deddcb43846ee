//! Repositories and smart HTTP, with the real git as client.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as loudly as a test does")]

mod browse;
mod commit;
mod hostile;
mod policy;
mod push;
mod read;
mod requests;
mod rewrite;
mod support;
