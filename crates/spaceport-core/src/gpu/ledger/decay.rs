//! Use that counts the less the longer ago it was: what fairness looks at.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Entry;
use crate::Timestamp;
use crate::gpu::QuotaPath;

/// Weighted device time per account in device-milliseconds, each moment of it worth half after every half-life.
///
/// The same entries in any order give the same bits: they are added up by their identity.
#[must_use]
pub fn decayed_use(entries: &[Entry], now: Timestamp, half_life: Duration) -> BTreeMap<QuotaPath, f64> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_key(|entry| (entry.id, entry.lease, &entry.device, entry.from));
    let mut sums: BTreeMap<QuotaPath, f64> = BTreeMap::new();
    let half_life = (half_life.as_millis() as f64).max(1.0);
    for entry in sorted {
        let age = |at: Timestamp| now.since(at).as_millis() as f64 / half_life;
        let (from, until) = (age(entry.from), age(entry.until.min(now)));
        // The integral of 2^(-age) over the time of the entry.
        let time = half_life / std::f64::consts::LN_2 * ((-until).exp2() - (-from).exp2()).max(0.0);
        let part = f64::from(entry.milli) / 1000.0 * f64::from(entry.weight_milli) / 1000.0;
        let sign = if entry.refund_of.is_some() { -1.0 } else { 1.0 };
        *sums.entry(entry.account.clone()).or_default() += sign * time * part;
    }
    for sum in sums.values_mut() {
        // A refund takes back what was counted; rounding must not leave less than nothing.
        *sum = sum.max(0.0);
    }
    sums
}
