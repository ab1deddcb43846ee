//! End-to-end tests; what they need and share is in the library of this package.

mod accounts;
mod apps;
mod clients;
mod commands;
mod compatibility;
mod demo;
mod gpu;
mod hostile;
mod hub;
mod isolation;
mod mistakes;
mod moves;
mod pushes;
mod python_sdks;
mod releases;
mod restarts;
mod schema;
mod sdks;
mod settings;
