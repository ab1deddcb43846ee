//! End-to-end tests; what they need and share is in the library of this package.

mod apps;
mod hub;
mod mistakes;
mod releases;
mod restarts;
mod sdks;
mod settings;
