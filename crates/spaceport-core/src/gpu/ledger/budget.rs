//! Device time per period: what is left of it.

use super::{DeviceTime, Period};
use crate::Timestamp;
use crate::gpu::quota::Budget;

const DAY_MS: i64 = 86_400_000;

/// Where the use of a period stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BudgetEdge {
    /// Below both edges.
    Within,
    /// Beyond the soft one: claims go behind those that are within theirs.
    Soft,
    /// Beyond the hard one: nothing starts, and what runs is put to sleep.
    Hard,
}

impl Budget {
    /// The period a time lies in. A length of 0 days is one of 1.
    #[must_use]
    pub fn period(&self, now: Timestamp) -> Period {
        let length = i64::from(self.period_days.max(1)) * DAY_MS;
        let from = now.as_millis().div_euclid(length).saturating_mul(length);
        Period { from: Timestamp::from_millis(from), until: Timestamp::from_millis(from.saturating_add(length)) }
    }

    /// Where so much use is.
    #[must_use]
    pub fn edge(&self, used: DeviceTime) -> BudgetEdge {
        let beyond = |edge: Option<u64>| edge.is_some_and(|edge| used >= DeviceTime::from_milli_seconds(edge));
        if beyond(self.hard_milli_seconds) {
            BudgetEdge::Hard
        } else if beyond(self.soft_milli_seconds) {
            BudgetEdge::Soft
        } else {
            BudgetEdge::Within
        }
    }
}
