//! The API as its clients see it.

#![expect(clippy::unwrap_used, reason = "a test that fails here has failed")]

mod accounts;
mod bad_input;
mod builds;
mod credentials;
mod git;
mod openapi;
mod organizations;
mod repositories;
mod rights;
mod settings;
mod sign_in;
mod site;
mod streams;
mod tokens;
