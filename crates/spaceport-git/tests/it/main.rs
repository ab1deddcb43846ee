//! Repositories and smart HTTP, with the real git as client.

mod hostile;
mod push;
mod read;
mod support;
