//! How long claims run, and how much longer those that run already do.

use std::collections::BTreeMap;

use crate::gpu::{Claim, QuotaPath};

/// Four steps per doubling of a run length: from a millisecond to 36 years.
const STEPS_PER_OCTAVE: usize = 4;
const STEPS: usize = 40 * STEPS_PER_OCTAVE;
/// With fewer runs of its own kind, a wider kind is asked.
const ENOUGH: f64 = 12.0;
/// A run counts half after so many of its kind ended later: what people do changes.
const HALF_AFTER_RUNS: f64 = 400.0;

/// Run lengths of claims that ended, by account and declared limit.
///
/// Kept as counts on a logarithmic scale: small, and the residual of a claim that has run for a while is the tail of
/// the counts. Recent runs of the same account tell most (Tsafrir, Etsion and Feitelson, TPDS 2007), the declared limit is next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunLengths {
    by_account: BTreeMap<QuotaPath, BTreeMap<Option<u64>, Counts>>,
    by_limit: BTreeMap<Option<u64>, Counts>,
    all: Counts,
}

#[derive(Debug, Clone, PartialEq)]
struct Counts {
    /// Weight of each step; newer runs weigh more, by `unit`.
    weights: Vec<f64>,
    total: f64,
    unit: f64,
    /// The middle of all, kept up to date.
    middle: Option<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { weights: vec![0.0; STEPS], total: 0.0, unit: 1.0, middle: None }
    }
}

impl RunLengths {
    /// A claim ended by itself after so many milliseconds. Runs that were cut short tell nothing.
    pub fn observe(&mut self, claim: &Claim, ran_ms: u64) {
        let step = step(ran_ms);
        self.by_account.entry(claim.account.clone()).or_default().entry(claim.limit_ms).or_default().add(step);
        self.by_limit.entry(claim.limit_ms).or_default().add(step);
        self.all.add(step);
    }

    /// How many milliseconds a claim that has run for `elapsed_ms` goes on, with the given certainty (0 to 1): it is gone by
    /// then in so many of all cases. `None` when nothing is known.
    #[must_use]
    pub fn residual_ms(&self, claim: &Claim, elapsed_ms: u64, certainty: f64) -> Option<u64> {
        let limit = claim.limit_ms.map(|limit| limit.saturating_sub(elapsed_ms));
        let learned =
            self.kinds(&claim.account, claim.limit_ms).find_map(|counts| counts.residual(elapsed_ms, certainty));
        match (learned, limit) {
            (Some(learned), Some(limit)) => Some(learned.min(limit)),
            (learned, limit) => learned.or(limit),
        }
    }
}

impl RunLengths {
    /// How long a claim that has not begun will run, as likely less as more.
    #[must_use]
    pub fn fresh_ms(&self, account: &QuotaPath, limit_ms: Option<u64>) -> Option<u64> {
        let learned = self.kinds(account, limit_ms).find_map(|counts| counts.middle);
        match (learned, limit_ms) {
            (Some(learned), Some(limit)) => Some(learned.min(limit)),
            (learned, limit) => learned.or(limit),
        }
    }

    /// What is known, the most similar first.
    fn kinds(&self, account: &QuotaPath, limit_ms: Option<u64>) -> impl Iterator<Item = &Counts> {
        let own = self.by_account.get(account).and_then(|of| of.get(&limit_ms));
        [own, self.by_limit.get(&limit_ms), Some(&self.all)].into_iter().flatten()
    }
}

impl Counts {
    fn add(&mut self, step: usize) {
        self.unit *= 2.0_f64.powf(1.0 / HALF_AFTER_RUNS);
        self.weights[step] += self.unit;
        self.total += self.unit;
        if self.unit > 1e12 {
            for weight in &mut self.weights {
                *weight /= self.unit;
            }
            self.total /= self.unit;
            self.unit = 1.0;
        }
        self.middle = self.residual(0, 0.5);
    }

    fn residual(&self, elapsed_ms: u64, certainty: f64) -> Option<u64> {
        let first = if elapsed_ms == 0 { 0 } else { step(elapsed_ms) };
        let tail: f64 = self.weights[first..].iter().sum();
        if tail < ENOUGH * self.unit {
            return None;
        }
        let mut left = tail * certainty.clamp(0.0, 1.0);
        for (number, weight) in self.weights.iter().enumerate().skip(first) {
            if left <= *weight {
                let (from, to) = (length(number).max(elapsed_ms), length(number + 1));
                let inside = if *weight > 0.0 { left / weight } else { 1.0 };
                return Some(between(from, to.max(from), inside).saturating_sub(elapsed_ms));
            }
            left -= weight;
        }
        Some(length(STEPS).saturating_sub(elapsed_ms))
    }
}

/// The step of a run length: its logarithm.
fn step(ms: u64) -> usize {
    let octave = ms.max(1).ilog2() as usize;
    let base = 1_u64 << octave;
    let quarter = usize::try_from((ms.max(1) - base).saturating_mul(STEPS_PER_OCTAVE as u64) >> octave).unwrap_or(0);
    (octave * STEPS_PER_OCTAVE + quarter).min(STEPS - 1)
}

/// Where a step begins, in milliseconds.
fn length(step: usize) -> u64 {
    let (octave, quarter) = (step / STEPS_PER_OCTAVE, (step % STEPS_PER_OCTAVE) as u64);
    let base = 1_u64 << octave.min(62);
    base.saturating_add((base / STEPS_PER_OCTAVE as u64).saturating_mul(quarter))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a span within one step"
)]
fn between(from: u64, to: u64, part: f64) -> u64 {
    from + ((to - from) as f64 * part.clamp(0.0, 1.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Priority, Shape};
    use crate::{ClaimId, FlavorName, SpaceId, Timestamp};

    fn claim(limit_ms: Option<u64>) -> Claim {
        let now = Timestamp::from_millis(0);
        let shape = Shape {
            cpu_millicores: 0,
            memory_bytes: 0,
            devices: 1,
            milli: 1000,
            models: Vec::new(),
            min_device_memory_bytes: 0,
        };
        Claim {
            id: ClaimId::new(now, 1),
            space: SpaceId::new(now, 1),
            account: QuotaPath("lab/alice".to_owned()),
            flavor: FlavorName("gpu".to_owned()),
            shape,
            priority: Priority::Normal,
            submitted_at: now,
            limit_ms,
        }
    }

    #[test]
    fn who_knows_nothing_says_the_limit_or_nothing() {
        let lengths = RunLengths::default();
        assert_eq!(lengths.residual_ms(&claim(Some(5000)), 1000, 0.5), Some(4000));
        assert_eq!(lengths.residual_ms(&claim(None), 1000, 0.5), None);
    }

    #[test]
    fn what_has_run_long_runs_longer_when_the_past_says_so() {
        let mut lengths = RunLengths::default();
        for _ in 0..90 {
            lengths.observe(&claim(None), 60_000);
        }
        for _ in 0..30 {
            lengths.observe(&claim(None), 3_600_000);
        }
        let fresh = lengths.residual_ms(&claim(None), 0, 0.5).unwrap();
        let survivor = lengths.residual_ms(&claim(None), 120_000, 0.5).unwrap();
        assert!((50_000..70_000).contains(&fresh), "{fresh}");
        assert!((2_500_000..4_200_000).contains(&survivor), "{survivor}");
    }

    #[test]
    fn steps_are_in_order_and_hold_their_lengths() {
        for ms in [4, 5, 9, 1000, 86_400_000, 1 << 39] {
            assert!(length(step(ms)) <= ms && ms < length(step(ms) + 1), "{ms}");
        }
    }
}
