//! What is asked for, learned from the claims seen so far.

use std::collections::BTreeMap;

use crate::gpu::Shape;

/// How often each shape was asked for. The order in which claims were seen does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    counts: BTreeMap<Shape, u64>,
    total: u64,
}

impl Workload {
    /// One more claim of this shape was seen.
    pub fn see(&mut self, shape: &Shape) {
        self.see_many(shape, 1);
    }

    /// So many claims of this shape were seen.
    pub fn see_many(&mut self, shape: &Shape, times: u64) {
        self.total = self.total.saturating_add(times);
        if let Some(count) = self.counts.get_mut(shape) {
            *count = count.saturating_add(times);
        } else {
            self.counts.insert(shape.clone(), times);
        }
    }

    /// The shapes with how often each was seen.
    pub fn shapes(&self) -> impl Iterator<Item = (&Shape, u64)> {
        self.counts.iter().map(|(shape, count)| (shape, *count))
    }

    /// How many claims were seen.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }
}
