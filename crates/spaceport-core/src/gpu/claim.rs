//! Who wants what, and who has it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{DeviceId, NodeName, QuotaPath};
use crate::{ClaimId, FlavorName, LeaseId, SpaceId, Timestamp};

/// What one claim needs, all of it on one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// CPU in thousandths of a core.
    pub cpu_millicores: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// How many devices; 0 for a claim of CPU and memory alone.
    pub devices: u32,
    /// How much of each device, in thousandths; below 1000 only with one device.
    pub milli: u32,
    /// Models that will do; empty: any. Sorted.
    pub models: Vec<String>,
    /// Each device has at least so much memory, whatever its model.
    pub min_device_memory_bytes: u64,
}

impl Shape {
    /// Thousandths of a device in all.
    #[must_use]
    pub const fn total_milli(&self) -> u64 {
        self.devices as u64 * self.milli as u64
    }
}

/// The order between classes; within one, fairness decides. Higher goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Runs when nobody else wants to, and is the first to go.
    Low,
    /// The rule.
    Normal,
    /// Goes first.
    High,
}

impl Priority {
    /// The name in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// The text names no class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of low, normal, high")]
pub struct UnknownPriority(String);

impl FromStr for Priority {
    type Err = UnknownPriority;
    fn from_str(text: &str) -> Result<Self, UnknownPriority> {
        [Self::Low, Self::Normal, Self::High]
            .into_iter()
            .find(|priority| priority.as_str() == text)
            .ok_or_else(|| UnknownPriority(text.to_owned()))
    }
}

/// Somebody wants hardware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Identity.
    pub id: ClaimId,
    /// The Space it is for.
    pub space: SpaceId,
    /// Whose quota it counts against: a leaf of the tree.
    pub account: QuotaPath,
    /// The flavor that was asked for, for people.
    pub flavor: FlavorName,
    /// What it needs.
    pub shape: Shape,
    /// Its class.
    pub priority: Priority,
    /// Since when it waits; a claim that was preempted keeps it.
    pub submitted_at: Timestamp,
    /// It ends by itself after so many milliseconds at most; `None`: nobody knows.
    pub limit_ms: Option<u64>,
}

/// A claim has its devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Identity.
    pub id: LeaseId,
    /// What it fulfils.
    pub claim: ClaimId,
    /// Where.
    pub node: NodeName,
    /// What; empty for a claim of CPU and memory alone.
    pub devices: Vec<LeasedDevice>,
    /// From.
    pub started_at: Timestamp,
    /// It was told to end, and does so by then at the latest.
    pub ends_by: Option<Timestamp>,
}

/// A device, or a part of one, in a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedDevice {
    /// Which.
    pub device: DeviceId,
    /// How much of it, in thousandths.
    pub milli: u32,
}
