//! Who used how much: an append-only list of what leases had, and exact sums of it.
//!
//! Use is counted in integers (thousandths of a device times milliseconds), so that the ledger equals the
//! sum of the leases, whatever is added up in whatever order. A lease that goes on is counted up to now.

mod budget;
mod decay;
mod export;
mod forecast;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};

use serde::{Deserialize, Serialize};

use super::{DeviceId, LeaseEnd, NodeName, QuotaPath};
use crate::{EntryId, FlavorName, LeaseId, SpaceId, Timestamp};

pub use budget::BudgetEdge;
pub use decay::decayed_use;
pub use export::{CSV_HEADER, csv_row};
pub use forecast::{Forecast, forecast};

/// Device time: thousandths of a device times milliseconds. Signed, since refunds are negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceTime(pub i128);

impl DeviceTime {
    /// None.
    pub const ZERO: Self = Self(0);

    /// So many thousandths of a device between two times; none when the clock went back in between.
    #[must_use]
    pub fn between(milli: u32, from: Timestamp, until: Timestamp) -> Self {
        let millis = i128::from(until.as_millis()) - i128::from(from.as_millis());
        Self(millis.max(0) * i128::from(milli))
    }

    /// From the unit of budgets: thousandths of a device times seconds.
    #[must_use]
    pub fn from_milli_seconds(milli_seconds: u64) -> Self {
        Self(i128::from(milli_seconds) * 1000)
    }

    /// As thousandths of a device times whole seconds, rounded down.
    #[must_use]
    pub const fn milli_seconds(self) -> i128 {
        self.0.div_euclid(1000)
    }

    /// In device hours, rounded to thousandths: `12.345`.
    #[must_use]
    pub fn hours(self) -> String {
        const MILLI_HOUR: i128 = 3_600_000;
        let magnitude = (self.0.abs() + MILLI_HOUR / 2) / MILLI_HOUR;
        let sign = if self.0 < 0 && magnitude > 0 { "-" } else { "" };
        format!("{sign}{}.{:03}", magnitude / 1000, magnitude % 1000)
    }
}

impl Add for DeviceTime {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for DeviceTime {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for DeviceTime {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Neg for DeviceTime {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Sum for DeviceTime {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for DeviceTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} device hours", self.hours())
    }
}

/// One row: one device of one lease, or a refund of (a part of) such a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Identity.
    pub id: EntryId,
    /// The lease.
    pub lease: LeaseId,
    /// Whose use it is.
    pub account: QuotaPath,
    /// The Space.
    pub space: SpaceId,
    /// Its name when the lease began: the Space may be gone since.
    pub space_name: String,
    /// What was asked for.
    pub flavor: FlavorName,
    /// Where it was.
    pub node: NodeName,
    /// Which device.
    pub device: DeviceId,
    /// What that is.
    pub model: String,
    /// How much of it, in thousandths.
    pub milli: u32,
    /// What an hour of it counts beside other models, in thousandths; 1000 is the rule.
    pub weight_milli: u32,
    /// From.
    pub from: Timestamp,
    /// Until; for a lease that goes on, the time it was counted up to.
    pub until: Timestamp,
    /// Why it ended, or is given back; `None`: it goes on.
    pub why: Option<LeaseEnd>,
    /// The row it gives back, from `from` until `until`.
    pub refund_of: Option<EntryId>,
}

impl Entry {
    /// What it counts; negative for a refund.
    #[must_use]
    pub fn time(&self) -> DeviceTime {
        self.time_within(Period::ALWAYS)
    }

    /// What it counts of a period.
    #[must_use]
    pub fn time_within(&self, period: Period) -> DeviceTime {
        let time = DeviceTime::between(self.milli, self.from.max(period.from), self.until.min(period.until));
        if self.refund_of.is_some() { -time } else { time }
    }
}

/// From a time until, but not with, another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// The first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
}

impl Period {
    /// All of time.
    pub const ALWAYS: Self = Self { from: Timestamp::from_millis(i64::MIN), until: Timestamp::from_millis(i64::MAX) };
}

/// By what a report adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The Space, by its name at the time.
    Space,
    /// The account: `~alice`, `lab/alice`.
    Account,
    /// The organization; a user's own Spaces under `~alice`.
    Organization,
    /// The device.
    Device,
    /// Its model.
    Model,
    /// The node.
    Node,
    /// The flavor.
    Flavor,
    /// Why the leases ended; `running` for those that go on.
    Reason,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// What leases had.
    pub used: DeviceTime,
    /// What of it is not charged, since the platform was at fault; not negative.
    pub refunded: DeviceTime,
    /// What is charged, times the weights of the models (thousandths).
    pub weighted: DeviceTime,
    /// How many rows of leases.
    pub leases: u64,
}

impl Usage {
    /// What is charged.
    #[must_use]
    pub fn net(&self) -> DeviceTime {
        self.used - self.refunded
    }

    /// Adds what an entry counts of a period.
    pub fn add(&mut self, entry: &Entry, period: Period) {
        let time = entry.time_within(period);
        if entry.refund_of.is_some() {
            self.refunded += -time;
        } else {
            self.used += time;
            self.leases += u64::from(time > DeviceTime::ZERO);
        }
        self.weighted += DeviceTime(time.0 * i128::from(entry.weight_milli));
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        let Self { used, refunded, weighted, leases } = other;
        self.used += used;
        self.refunded += refunded;
        self.weighted += weighted;
        self.leases += leases;
    }
}

/// What was used in a period, added up. Rows of leases that go on are counted up to the time they were made
/// with.
#[must_use]
pub fn report<'a>(entries: impl IntoIterator<Item = &'a Entry>, period: Period, by: By) -> BTreeMap<String, Usage> {
    let mut sums: BTreeMap<String, Usage> = BTreeMap::new();
    for entry in entries {
        if entry.time_within(period) == DeviceTime::ZERO {
            continue;
        }
        sums.entry(key(entry, by)).or_default().add(entry, period);
    }
    sums
}

/// All of a place and what lies below it.
#[must_use]
pub fn used_by<'a>(entries: impl IntoIterator<Item = &'a Entry>, place: &QuotaPath, period: Period) -> Usage {
    let mut sum = Usage::default();
    for entry in entries.into_iter().filter(|entry| entry.account.is_within(place)) {
        sum.add(entry, period);
    }
    sum
}

fn key(entry: &Entry, by: By) -> String {
    match by {
        By::Space => entry.space_name.clone(),
        By::Account => entry.account.0.clone(),
        By::Organization => entry.account.0.split('/').next().unwrap_or_default().to_owned(),
        By::Device => entry.device.0.clone(),
        By::Model => entry.model.clone(),
        By::Node => entry.node.0.clone(),
        By::Flavor => entry.flavor.0.clone(),
        By::Reason => entry.why.map_or("running", LeaseEnd::as_str).to_owned(),
    }
}
