//! How long claims run and when those that wait will start, learned from what was.

mod run;
mod start;

pub use run::RunLengths;
pub use start::{Kept, Standing, StartTimes};

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// When a claim will start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartInterval {
    /// As likely earlier as later.
    pub expected: Timestamp,
    /// In half of all cases not before.
    pub from_50: Timestamp,
    /// In half of all cases not after.
    pub until_50: Timestamp,
    /// In nine of ten cases not before.
    pub from_90: Timestamp,
    /// In nine of ten cases not after.
    pub until_90: Timestamp,
}
