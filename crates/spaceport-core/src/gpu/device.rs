//! What there is: nodes and their devices.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Thousandths of one whole device.
pub const WHOLE_MILLI: u32 = 1000;

/// The name of a machine with a container engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What tells a device from every other for ever: NVIDIA's UUID of a GPU or a MIG slice
/// (`GPU-8f2a…`, `MIG-…`), or the name the configuration gives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(pub String);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One accelerator, or one slice of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Identity.
    pub id: DeviceId,
    /// Its number on the node, as the driver counts.
    pub index: u32,
    /// As the driver or the configuration says: `NVIDIA A100-SXM4-80GB`.
    pub model: String,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// For a MIG slice, the device it is cut from.
    pub slice_of: Option<DeviceId>,
    /// Whether it may be given out.
    pub health: DeviceHealth,
}

/// Whether a device may be given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceHealth {
    /// It may.
    Healthy,
    /// Nothing new is placed on it; what runs may finish. Somebody, or the watch over its health, said so.
    Drained {
        /// In words, for admins: `XID 79: the GPU has fallen off the bus`.
        reason: String,
    },
    /// It is not there any more, or does not work: what runs on it is lost.
    Lost {
        /// In words, for admins.
        reason: String,
    },
}

/// A machine with devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Identity.
    pub name: NodeName,
    /// CPU that may be given out, in thousandths of a core; overselling is in it.
    pub cpu_millicores: u64,
    /// Memory that may be given out, in bytes; overselling is in it.
    pub memory_bytes: u64,
    /// Its devices, by `index`.
    pub devices: Vec<Device>,
    /// An admin wants nothing new on it.
    pub cordoned: bool,
}
