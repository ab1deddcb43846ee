//! Reconcilers: they read desired and observed state, ask the core what to do, and do it.
//!
//! Level-triggered: an activation carries no input, a task looks at everything and does what is
//! missing. A lost event costs time, never correctness.

pub mod build;
pub mod clock;
pub mod community;
pub mod config;
pub mod disk;
pub mod engine;
mod environment;
pub mod garbage;
pub mod handle;
pub mod hardware;
pub mod index;
mod inspect;
pub mod inventory;
pub mod large_files;
pub mod logs;
mod probe;
pub mod routes;
mod source;
pub mod spaces;
pub mod usage;
pub mod visits;
pub mod webhooks;

pub use build::Builds;
pub use clock::Clock;
pub use config::{BuilderConfig, Capacity, ControlConfig, GpuPolicy, IdlePolicy};
pub use engine::Engine;
pub use handle::{ControlHandle, TaskStatus, UsageSample};
pub use hardware::Hardware;
pub use inventory::{Inventory, Known};
pub use logs::{LogId, LogRecord, LogStore, LogWriter};
pub use routes::Routes;
pub use spaces::{Parts, Spaces};
pub use webhooks::{WebhookConfig, Webhooks};
