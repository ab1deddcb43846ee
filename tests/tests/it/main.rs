//! End-to-end tests; what they need and share is in the library of this package.

mod apps;
mod clients;
mod compatibility;
mod hostile;
mod hub;
mod mistakes;
mod python_sdks;
mod releases;
mod restarts;
mod schema;
mod sdks;
mod settings;
