//! Reconcilers: they read desired and observed state, ask the core what to do, and do it.
//!
//! Level-triggered: an activation carries no input, a task looks at everything and does what is
//! missing. A lost event costs time, never correctness.

pub mod clock;
pub mod handle;
pub mod logs;

pub use clock::Clock;
pub use handle::{ControlHandle, TaskStatus, UsageSample};
pub use logs::{LogId, LogRecord, LogStore, LogWriter};
