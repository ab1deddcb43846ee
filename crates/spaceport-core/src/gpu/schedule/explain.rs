//! Why whoever waits does.

use super::decision::{Decision, Waiting};
use super::engine::Engine;
use crate::Timestamp;

impl Engine {
    pub(super) fn explain(&mut self, now: Timestamp, decision: &mut Decision) {
        for (position, (claim, _)) in (0..).zip(self.in_order(now)) {
            decision.waiting.push(Waiting { claim, position, because: Vec::new(), freed_by: None, start: None });
        }
    }
}
