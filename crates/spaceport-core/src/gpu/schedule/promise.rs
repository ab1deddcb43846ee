//! What those who wait are told about when they will start.

use super::engine::{ClaimIx, Engine};
use super::hold::after;
use super::world::Promise;
use crate::Timestamp;
use crate::gpu::estimate::{Standing, StartInterval};

impl Engine {
    /// The part of all devices that a claim is expected to use, times how long.
    pub(super) fn work_ms(&self, ix: ClaimIx) -> f64 {
        let claim = &self.entry(ix).claim;
        let run_ms = self.groups[self.entry(ix).group as usize].run_ms.unwrap_or(0);
        self.tree.part(&claim.shape) * std::time::Duration::from_millis(run_ms).as_secs_f64() * 1000.0
    }

    /// What a claim with so much work ahead is told. It is told once, when it begins to wait; from then on the interval only
    /// gets narrower, until the claim is later than was promised.
    pub(super) fn told(&mut self, ix: ClaimIx, ahead_ms: f64, rank: f64, now: Timestamp) -> Option<StartInterval> {
        if self.entry(ix).promise.is_none() {
            let claim = &self.entry(ix).claim;
            let run_ms = self.groups[self.entry(ix).group as usize].run_ms.unwrap_or(0);
            let standing = Standing {
                ahead_ms,
                overtaking: self.start_times.overtaking(rank),
                run_ms: std::time::Duration::from_millis(run_ms).as_secs_f64() * 1000.0,
                several: claim.shape.devices > 1,
            };
            let start = self.start_times.promise(&standing, now);
            self.entry_mut(ix).promise =
                Some(Promise { claim: self.entry(ix).claim.id, at: now, standing, start, late: false });
        }
        let promise = self.entry_mut(ix).promise.as_mut()?;
        let told = promise.start?;
        if now > told.until_90 && !std::mem::replace(&mut promise.late, true) {
            self.start_times.is_late();
        }
        // Nobody starts in the past.
        let still = |at: Timestamp| at.max(after(now, 0));
        Some(StartInterval {
            expected: still(told.expected),
            from_50: still(told.from_50),
            until_50: still(told.until_50),
            from_90: still(told.from_90),
            until_90: told.until_90,
        })
    }
}
