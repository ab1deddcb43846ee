//! The API as its clients see it.

#![expect(clippy::unwrap_used, reason = "a test that fails here has failed")]

mod accounts;
mod allowances;
mod bad_input;
mod builds;
mod commits;
mod community;
mod credentials;
mod devices;
mod discovery;
mod duplicate;
mod files;
mod git;
mod gpu;
mod large_files;
mod leaving;
mod moving;
mod oidc;
mod openapi;
mod organizations;
mod refs;
mod repositories;
mod rights;
mod settings;
mod sign_in;
mod site;
mod streams;
mod support;
mod tokens;
mod webhooks;
