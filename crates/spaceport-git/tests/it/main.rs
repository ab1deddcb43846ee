//! Repositories and smart HTTP, with the real git as client.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as loudly as a test does")]

mod hostile;
mod push;
mod read;
mod support;
