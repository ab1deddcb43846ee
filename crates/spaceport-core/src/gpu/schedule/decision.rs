//! What was decided, and why whoever waits does.

use serde::{Deserialize, Serialize};

use super::{Hold, Notice};
use crate::gpu::estimate::StartInterval;
use crate::gpu::{DeviceId, LeasedDevice, NodeName, QuotaPath};
use crate::{ClaimId, ReservationId, Timestamp};

/// The outcome of a pass, to be carried out from `lost` on: who lost its device may start again in the same pass.
/// Lists are sorted by identity, except `starts` and `waiting`: those are in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// Whose node or device is gone: the lease is over, the claim waits again.
    pub lost: Vec<ClaimId>,
    /// Who starts, in the order in which it was decided.
    pub starts: Vec<Start>,
    /// Who has to leave.
    pub preemptions: Vec<Preemption>,
    /// Who was told to leave by an earlier pass and may stay.
    pub kept: Vec<ClaimId>,
    /// What is kept for whom from now on, instead of all earlier holds.
    pub holds: Vec<Hold>,
    /// Reservations given up because nobody came.
    pub released: Vec<ReservationId>,
    /// Why whoever waits does, first come first.
    pub waiting: Vec<Waiting>,
    /// When to decide again though nothing was reported.
    pub look_again: Option<Timestamp>,
}

/// A claim gets its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub claim: ClaimId,
    /// Where.
    pub node: NodeName,
    /// What.
    pub devices: Vec<LeasedDevice>,
}

/// A lease has to end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preemption {
    /// Whose.
    pub claim: ClaimId,
    /// By when.
    pub ends_by: Timestamp,
    /// Why.
    pub notice: Notice,
}

/// Why a claim waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Which.
    pub claim: ClaimId,
    /// How many claims start before it if nothing changes.
    pub position: u32,
    /// What has to be otherwise for it to start, all of it; the first is what to tell.
    pub because: Vec<Constraint>,
    /// What it waits for to end, as far as that is known.
    pub freed_by: Option<ClaimId>,
    /// When it will start, as far as that can be told.
    pub start: Option<StartInterval>,
}

/// What stands in the way of a claim. Amounts are thousandths of a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "constraint", rename_all = "snake_case")]
pub enum Constraint {
    /// A place may not have so much: its own account, or one above.
    Limit {
        /// Whose limit.
        place: QuotaPath,
        /// The limit.
        limit_milli: u64,
        /// What it has.
        in_use_milli: u64,
        /// What the claim adds.
        wanted_milli: u64,
    },
    /// A place has what is guaranteed to it, and may not borrow.
    MayNotBorrow {
        /// Which.
        place: QuotaPath,
        /// What is guaranteed.
        guaranteed_milli: u64,
        /// What it has.
        in_use_milli: u64,
        /// What the claim adds.
        wanted_milli: u64,
    },
    /// The rest is guaranteed to places that do not lend.
    NotLent {
        /// What they keep.
        kept_milli: u64,
        /// What is left beside it.
        left_milli: u64,
        /// What the claim adds.
        wanted_milli: u64,
    },
    /// The device time of the period is used up.
    Budget {
        /// Whose budget.
        place: QuotaPath,
        /// What was used, in milli-device-seconds.
        spent_milli_seconds: u64,
        /// The hard edge.
        hard_milli_seconds: u64,
        /// When the next period begins.
        renews_at: Timestamp,
    },
    /// No node could ever fulfil it, even if it were empty.
    NoSuchNode {
        /// How many devices on one node.
        devices: u32,
        /// The most suitable devices any node has.
        most: u32,
    },
    /// There are such devices, but they are taken out of service.
    Drained {
        /// How many suitable devices are.
        devices: u32,
    },
    /// All suitable devices are in use, or what is left of them is too little or spread over nodes.
    NoDeviceFree {
        /// How many devices on one node.
        devices: u32,
        /// How much of each.
        milli: u32,
        /// Of how many there are in service that suit.
        suitable: u32,
        /// The most that fit on one node now.
        most: u32,
    },
    /// A node has the devices, but not the CPU.
    NodeCpu {
        /// Where the least is missing.
        node: NodeName,
        /// What is free, in thousandths of a core.
        free_millicores: u64,
        /// What is wanted.
        wanted_millicores: u64,
    },
    /// A node has the devices, but not the memory.
    NodeMemory {
        /// Where the least is missing.
        node: NodeName,
        /// What is free, in bytes.
        free_bytes: u64,
        /// What is wanted.
        wanted_bytes: u64,
    },
    /// Others that wait for the same come first.
    Behind {
        /// Who is next.
        first: ClaimId,
        /// How many.
        claims: u32,
    },
    /// There is room, but it is kept.
    Held(Kept),
    /// It has devices that others leave.
    Leaving {
        /// By when at the latest.
        by: Timestamp,
    },
}

impl Constraint {
    /// The place whose quota it is; `None` for what is no single place's.
    #[must_use]
    pub const fn place(&self) -> Option<&QuotaPath> {
        match self {
            Self::Limit { place, .. } | Self::MayNotBorrow { place, .. } | Self::Budget { place, .. } => Some(place),
            Self::NotLent { .. }
            | Self::NoSuchNode { .. }
            | Self::Drained { .. }
            | Self::NoDeviceFree { .. }
            | Self::NodeCpu { .. }
            | Self::NodeMemory { .. }
            | Self::Behind { .. }
            | Self::Held(_)
            | Self::Leaving { .. } => None,
        }
    }
}

/// For whom room is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kept_for", rename_all = "snake_case")]
pub enum Kept {
    /// A claim that comes before.
    Claim {
        /// Which.
        claim: ClaimId,
        /// When it is expected to start.
        expected: Timestamp,
    },
    /// A reservation.
    Reservation {
        /// Which.
        reservation: ReservationId,
        /// From.
        from: Timestamp,
        /// Until.
        until: Timestamp,
    },
}

/// The devices of a start, for messages and tests.
impl Start {
    /// Their identities.
    pub fn device_ids(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.iter().map(|leased| &leased.device)
    }
}
