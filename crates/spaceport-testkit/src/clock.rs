//! A clock that moves when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use spaceport_control::Clock;
use spaceport_core::Timestamp;

/// Stands still until it is advanced.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl Default for ManualClock {
    /// 2026-01-02T03:04:05.678Z.
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(1_767_323_045_678)))
    }
}

impl ManualClock {
    /// As the platform takes it.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let millis = Arc::clone(&self.0);
        Clock::from_fn(move || Timestamp::from_millis(millis.load(Ordering::SeqCst)))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(0), Ordering::SeqCst);
    }
}
