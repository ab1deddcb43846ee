//! When a claim will start: what happened to claims that stood like it.
//!
//! Three things decide how long a claim waits: the work that is due before it, the work that will come later and
//! still overtake it, and how long it runs itself (short claims slip into gaps). A claim is put beside earlier ones that were
//! alike in these, and gets the quantiles of their waits. The levels of the quantiles are corrected for what went wrong with
//! earlier promises (adaptive conformal inference, Gibbs and Candès 2021), on both sides apart, so that the
//! promised level is kept whatever the demand does.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::StartInterval;
use crate::Timestamp;

/// Waits kept per kind of situation.
const KEPT: usize = 160;
/// With fewer, a wider kind is asked.
const ENOUGH: usize = 16;
/// Arrivals kept to know what overtakes.
const ARRIVALS: usize = 400;
/// How fast levels follow what went wrong.
const PACE: f64 = 0.01;

/// How a claim stood when it was promised a start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Device time due before it, over all devices there are, in milliseconds.
    pub ahead_ms: f64,
    /// What comes later and goes before it, as a part of all devices.
    pub overtaking: f64,
    /// How long it is expected to run, in milliseconds.
    pub run_ms: f64,
    /// It wants several devices at once.
    pub several: bool,
}

/// What happened to claims, by how they stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartTimes {
    #[serde(with = "pairs")]
    waits: BTreeMap<Kind, VecDeque<f64>>,
    arrivals: VecDeque<Arrival>,
    /// The levels asked for so that 5 % start before the interval and 5 % after it. Above 1, the longest wait is
    /// stretched by as much.
    low: f64,
    high: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Arrival {
    at: Timestamp,
    rank: f64,
    work_ms: f64,
}

/// A kind of situation; `u8::MAX` for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Kind {
    expected: u8,
    run: u8,
    several: bool,
}

impl Default for StartTimes {
    fn default() -> Self {
        Self { waits: BTreeMap::new(), arrivals: VecDeque::new(), low: 0.05, high: 0.95 }
    }
}

impl StartTimes {
    /// A claim came, with its rank in the order and the part of all devices it is expected to use, times how long.
    pub fn arrived(&mut self, at: Timestamp, rank: f64, work_ms: f64) {
        if !rank.is_finite() || !work_ms.is_finite() {
            return;
        }
        if self.arrivals.len() == ARRIVALS {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back(Arrival { at, rank, work_ms });
    }

    /// The part of all devices that goes to claims which come later than one of this rank and start before it.
    #[must_use]
    pub fn overtaking(&self, rank: f64) -> f64 {
        let (Some(first), Some(last)) = (self.arrivals.front(), self.arrivals.back()) else { return 0.0 };
        let span = last.at.since(first.at).as_secs_f64() * 1000.0;
        let work: f64 = self.arrivals.iter().filter(|one| one.rank < rank).map(|one| one.work_ms).sum();
        if span > 0.0 { work / span } else { 0.0 }
    }

    /// When a claim that stands so will start. `None` while too little is known.
    #[must_use]
    pub fn promise(&self, standing: &Standing, now: Timestamp) -> Option<StartInterval> {
        let waits = standing
            .kinds()
            .into_iter()
            .filter_map(|kind| self.waits.get(&kind))
            .find(|waits| waits.len() >= ENOUGH)?;
        let mut sorted: Vec<f64> = waits.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |level: f64| now + Duration::from_secs_f64((quantile(&sorted, level) / 1000.0).max(0.0));
        Some(StartInterval {
            expected: at(0.5),
            from_50: at(0.25),
            until_50: at(0.75),
            from_90: at(self.low),
            until_90: at(self.high),
        })
    }

    /// A promised claim has started after so many milliseconds. One that was [late](Self::is_late) is reported as
    /// such when that shows, not when it starts: claims that wait for very long would be learned from too late.
    pub fn observe(&mut self, standing: &Standing, wait_ms: f64, kept: Kept) {
        for kind in standing.kinds() {
            let waits = self.waits.entry(kind).or_default();
            if waits.len() == KEPT {
                waits.pop_front();
            }
            waits.push_back(wait_ms);
        }
        if kept != Kept::Later {
            self.high -= PACE * 0.05;
        }
        let early = f64::from(u8::from(kept == Kept::Earlier));
        self.low = (self.low + PACE * (0.05 - early)).clamp(0.0, 0.4);
        self.high = self.high.clamp(0.6, 2.0);
    }

    /// A promised claim still waits after the interval's end.
    pub fn is_late(&mut self) {
        self.high = (self.high + PACE * 0.95).clamp(0.6, 2.0);
    }
}

/// What became of a promise at 90 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It was kept, or there was none.
    Within,
    /// It started before the interval.
    Earlier,
    /// It started after it.
    Later,
}

impl Standing {
    /// How long it is expected to wait: the work ahead, through what overtaking leaves.
    #[must_use]
    pub fn expected_ms(&self) -> f64 {
        self.ahead_ms / (1.0 - self.overtaking.clamp(0.0, 0.9))
    }

    /// The kinds of situations it belongs to, the narrowest first.
    fn kinds(&self) -> [Kind; 3] {
        let expected = steps(self.expected_ms() / 30_000.0);
        let run = steps(self.run_ms / 120_000.0);
        let several = self.several;
        [
            Kind { expected, run, several },
            Kind { expected, run: u8::MAX, several },
            Kind { expected: u8::MAX, run: u8::MAX, several },
        ]
    }
}

/// A map whose keys are no strings, which JSON does not know.
mod pairs {
    use super::{BTreeMap, Deserialize, Deserializer, Kind, Serialize, Serializer, VecDeque};

    type Waits = BTreeMap<Kind, VecDeque<f64>>;

    pub fn serialize<S: Serializer>(waits: &Waits, serializer: S) -> Result<S::Ok, S::Error> {
        waits.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Waits, D::Error> {
        Ok(Vec::<(Kind, VecDeque<f64>)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// How often a number can be divided by three.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn steps(value: f64) -> u8 {
    if value < 1.0 { 0 } else { (value.ln() / 3.0_f64.ln() + 1.0).clamp(0.0, 100.0) as u8 }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index of a short list"
)]
fn quantile(sorted: &[f64], level: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    if level > 1.0 {
        return sorted[last] * (1.0 + 4.0 * (level - 1.0));
    }
    let at = level.max(0.0) * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (at - at.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDING: Standing = Standing { ahead_ms: 60_000.0, overtaking: 0.1, run_ms: 600_000.0, several: false };

    #[test]
    fn nothing_is_promised_before_something_is_known() {
        let mut times = StartTimes::default();
        let now = Timestamp::from_millis(0);
        assert_eq!(times.promise(&STANDING, now), None);
        for wait in 0..100 {
            times.observe(&STANDING, f64::from(wait) * 1000.0, Kept::Within);
        }
        let start = times.promise(&STANDING, now).unwrap();
        assert!(start.from_90 <= start.from_50 && start.from_50 <= start.expected);
        assert!(start.expected <= start.until_50 && start.until_50 <= start.until_90);
        assert!((40_000..60_000).contains(&start.expected.as_millis()), "{start:?}");
    }

    #[test]
    fn what_was_learned_outlives_the_program() {
        let mut times = StartTimes::default();
        times.arrived(Timestamp::from_millis(0), -0.25, 500.0);
        times.observe(&STANDING, 1000.5, Kept::Within);
        let kept = serde_json::to_string(&times).unwrap();
        assert_eq!(serde_json::from_str::<StartTimes>(&kept).unwrap(), times);
    }

    #[test]
    fn promises_get_wider_while_they_are_broken() {
        let mut times = StartTimes::default();
        let now = Timestamp::from_millis(0);
        for wait in 0..100 {
            times.observe(&STANDING, f64::from(wait) * 1000.0, Kept::Within);
        }
        let before = times.promise(&STANDING, now).unwrap().until_90;
        for _ in 0..30 {
            times.is_late();
        }
        assert!(times.promise(&STANDING, now).unwrap().until_90 > before);
    }

    #[test]
    fn who_is_overtaken_by_more_stands_as_if_more_were_ahead() {
        let mut times = StartTimes::default();
        times.arrived(Timestamp::from_millis(0), 1.0, 500.0);
        times.arrived(Timestamp::from_millis(1000), 3.0, 500.0);
        assert!(times.overtaking(0.5) < times.overtaking(2.0));
        assert!(times.overtaking(2.0) < times.overtaking(5.0));
    }
}
