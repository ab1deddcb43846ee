//! What a decision is made from.

use serde::{Deserialize, Serialize};

use crate::gpu::estimate::{RunLengths, Standing, StartInterval, StartTimes};
use crate::gpu::{Claim, DeviceId, Lease, Node, QuotaPath, QuotaTree, Workload};
use crate::{ClaimId, ReservationId, Timestamp};

/// Everything a pass looks at. The order of the lists has no influence.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The time of the pass.
    pub now: Timestamp,
    /// What there is.
    pub nodes: Vec<Node>,
    /// Who may have how much.
    pub quotas: QuotaTree,
    /// Who waits.
    pub waiting: Vec<Claim>,
    /// Who has devices.
    pub running: Vec<Running>,
    /// Decayed use of each account.
    pub used: Vec<Used>,
    /// What each place with a budget has spent of the running period.
    pub spent: Vec<Spent>,
    /// Devices promised by admins.
    pub reservations: Vec<Reservation>,
    /// The holds of the last decision.
    pub holds: Vec<Hold>,
    /// How long claims run, learned from those that ended.
    pub run_lengths: RunLengths,
    /// How long claims wait, learned from those that started.
    pub start_times: StartTimes,
    /// What those who wait were promised.
    pub promises: Vec<Promise>,
    /// Who left for whom, while both are there: who was displaced does not displace in turn.
    pub displaced: Vec<(ClaimId, ClaimId)>,
    /// What is usually asked for, so that claims are placed where the rest is worth most; empty: they are packed.
    pub workload: Workload,
    /// The site's settings.
    pub policy: Policy,
}

/// What one decision leaves for the next, however long the time in between and whatever happened to the program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// See [`World::holds`].
    pub holds: Vec<Hold>,
    /// See [`World::start_times`].
    pub start_times: StartTimes,
    /// See [`World::promises`].
    pub promises: Vec<Promise>,
    /// See [`World::displaced`].
    pub displaced: Vec<(ClaimId, ClaimId)>,
}

impl From<World> for Carried {
    fn from(world: World) -> Self {
        let World { holds, start_times, promises, displaced, .. } = world;
        Self { holds, start_times, promises, displaced }
    }
}

/// When a claim was told that it will start, and how it stood then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Whose.
    pub claim: ClaimId,
    /// Since when it has waited for this.
    pub at: Timestamp,
    /// How it stood.
    pub standing: Standing,
    /// What it was told; `None` while too little is known.
    pub start: Option<StartInterval>,
    /// It waits although the interval is over, and that was learned from.
    pub late: bool,
}

/// A claim with its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// What was asked for.
    pub claim: Claim,
    /// What was given.
    pub lease: Lease,
    /// Why the scheduler told it to end, as in the [decision](super::Preemption); `None` also when somebody else did.
    pub notice: Option<Notice>,
}

/// For whom, or why, a lease has to end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// Devices that were borrowed go back to whom they are guaranteed.
    Guarantee(ClaimId),
    /// It was let in on devices held for this claim, on condition that it is gone when they are needed.
    Held(ClaimId),
    /// A reservation begins.
    Reservation(ReservationId),
    /// The hard edge of this place's budget is reached.
    Budget(QuotaPath),
}

/// Decayed use of an account, up to a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// Whose.
    pub account: QuotaPath,
    /// Up to when. Leases that run are counted from then on by the scheduler.
    pub at: Timestamp,
    /// Decayed milli-device-milliseconds.
    pub devices: f64,
    /// Decayed millicore-milliseconds.
    pub cpu: f64,
    /// Decayed byte-milliseconds.
    pub memory: f64,
}

/// Device time that was used in the running period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// By whom, everything below included.
    pub place: QuotaPath,
    /// Milli-device-seconds.
    pub milli_seconds: u64,
    /// When the next period begins.
    pub renews_at: Timestamp,
}

/// "These two devices for team A, Tuesday 14–15 h."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Identity.
    pub id: ReservationId,
    /// For whom: everybody below it.
    pub place: QuotaPath,
    /// How many whole devices.
    pub devices: u32,
    /// Models that will do; empty: any. Sorted.
    pub models: Vec<String>,
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
    /// It was given up, because nobody came.
    pub released: bool,
}

/// Devices that are kept for somebody, in use or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hold {
    /// For whom.
    pub owner: HoldFor,
    /// Which; those of a claim are on one node. Sorted.
    pub devices: Vec<DeviceId>,
    /// Since when: what was placed on them later was let in on condition.
    pub since: Timestamp,
}

/// For whom devices are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldFor {
    /// A waiting claim.
    Claim(ClaimId),
    /// A reservation.
    Reservation(ReservationId),
}

/// Settings of the scheduler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Use counts half after so long.
    pub half_life_ms: u64,
    /// How much what somebody has right now counts beside the decayed past, in thousandths. Without it an account
    /// without a past could start everything it has at once.
    pub present_weight_milli: u32,
    /// How much of what a claim is expected to use is charged to its account before it starts, in thousandths: so
    /// short claims go before long ones of the same account, and nobody gains by declaring more than is needed.
    pub length_weight_milli: u32,
    /// Having waited so long counts as much as an equal split of the site.
    pub age_weight_ms: u64,
    /// Who is told to leave may stay so long.
    pub grace_ms: u64,
    /// A claim of several devices that waited so long gets a hold, whatever its place in the order.
    pub hold_after_ms: u64,
    /// At most this part of all devices is held for claims that are not guaranteed, in thousandths; one claim may always.
    pub held_at_most_milli: u32,
    /// Who is let in on held devices is expected to be gone in time with this certainty, in thousandths.
    pub backfill_certainty_milli: u32,
    /// Devices for a reservation are drained from so long before it begins.
    pub drain_ahead_ms: u64,
    /// A reservation is given up when nobody came for so long.
    pub no_show_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        const MINUTE: u64 = 60_000;
        Self {
            half_life_ms: 24 * 60 * MINUTE,
            present_weight_milli: 1000,
            length_weight_milli: 100_000,
            age_weight_ms: 10 * 24 * 60 * MINUTE,
            grace_ms: 2 * MINUTE,
            hold_after_ms: 10 * 60 * MINUTE,
            held_at_most_milli: 500,
            backfill_certainty_milli: 900,
            drain_ahead_ms: 24 * 60 * MINUTE,
            no_show_ms: 15 * MINUTE,
        }
    }
}
