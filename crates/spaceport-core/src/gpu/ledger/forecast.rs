//! When a budget will be empty, at this rate.

use super::{By, DeviceTime, Entry, Period, report, used_by};
use crate::Timestamp;
use crate::gpu::QuotaPath;
use crate::gpu::quota::Budget;

/// The rate is that of the last so many milliseconds at most: a week.
const WINDOW_MS: i64 = 7 * 86_400_000;
/// And of this at least: an hour tells more about the next hour than about a month, but a minute tells nothing.
const MIN_WINDOW_MS: i64 = 3_600_000;

/// What becomes of a budget if all goes on as it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Whose.
    pub place: QuotaPath,
    /// The period.
    pub period: Period,
    /// Charged so far.
    pub used: DeviceTime,
    /// Where it ends: the hard edge, else the soft one; `None`: the budget has neither.
    pub limit: Option<DeviceTime>,
    /// When that is reached; `None`: not in this period.
    pub empty_at: Option<Timestamp>,
    /// Charged by the end of the period at this rate.
    pub by_end: DeviceTime,
    /// Who used the most in the window the rate is from, and its part of it in thousandths.
    pub main: Option<(String, u32)>,
}

/// Looks ahead. `entries` has what was written since the period began or a week ago, whichever is earlier, and
/// the leases that go on.
#[must_use]
pub fn forecast(place: &QuotaPath, budget: Budget, entries: &[Entry], now: Timestamp) -> Forecast {
    let period = budget.period(now);
    let used = used_by(entries, place, Period { from: period.from, until: now }).net();
    let edge = budget.hard_milli_seconds.or(budget.soft_milli_seconds);
    let limit = edge.map(DeviceTime::from_milli_seconds);
    let ours: Vec<&Entry> = entries.iter().filter(|entry| entry.account.is_within(place)).collect();
    // Since the first use, if that is later: who began yesterday has not been idle all week.
    let began = ours.iter().map(|entry| entry.from).min().unwrap_or(now);
    let elapsed = now.as_millis().saturating_sub(began.as_millis());
    let window = elapsed.clamp(MIN_WINDOW_MS, WINDOW_MS);
    let recent = Period { from: Timestamp::from_millis(now.as_millis().saturating_sub(window)), until: now };
    let rate = used_by(ours.iter().copied(), place, recent).net();
    let left_ms = i128::from(period.until.as_millis().saturating_sub(now.as_millis()));
    let by_end = used + DeviceTime(rate.0.max(0) * left_ms / i128::from(window));
    let empty_at = limit.and_then(|limit| {
        if used >= limit {
            return Some(now);
        }
        if rate <= DeviceTime::ZERO {
            return None;
        }
        let after = ((limit - used).0 * i128::from(window)).div_euclid(rate.0);
        (after < left_ms)
            .then(|| Timestamp::from_millis(now.as_millis().saturating_add(i64::try_from(after).unwrap_or(i64::MAX))))
    });
    let main = report(ours.iter().copied(), recent, By::Space)
        .into_iter()
        .max_by_key(|(name, usage)| (usage.net(), std::cmp::Reverse(name.clone())))
        .filter(|(_, usage)| usage.net() > DeviceTime::ZERO && rate > DeviceTime::ZERO)
        .map(|(name, usage)| (name, u32::try_from(usage.net().0 * 1000 / rate.0).unwrap_or(1000).min(1000)));
    Forecast { place: place.clone(), period, used, limit, empty_at, by_end, main }
}

impl Forecast {
    /// For people: `At this rate lab's device time is used up on 2026-11-23; main consumer: lab/sdxl (62 %).`
    #[must_use]
    pub fn sentence(&self, now: Timestamp) -> String {
        let place = &self.place;
        let (used, by_end) = (self.used.hours(), self.by_end.hours());
        let main = self
            .main
            .as_ref()
            .map_or_else(String::new, |(name, part)| format!("; main consumer: {name} ({} %)", (part + 5) / 10));
        let day = |at: Timestamp| at.to_rfc3339().chars().take(10).collect::<String>();
        let renewed = day(self.period.until);
        match (self.limit, self.empty_at) {
            (None, _) => format!("{place} has no budget; {used} device hours are used in this period{main}."),
            (Some(_), Some(at)) if at <= now => {
                format!("The device time of {place} is used up until {renewed}: {used} device hours{main}.")
            }
            (Some(limit), Some(at)) => {
                let limit = limit.hours();
                let on = day(at);
                format!(
                    "At this rate the device time of {place} is used up on {on}: {used} of {limit} device hours are used{main}."
                )
            }
            (Some(limit), None) => {
                let limit = limit.hours();
                format!("At this rate {place} uses {by_end} of {limit} device hours by {renewed}{main}.")
            }
        }
    }
}
