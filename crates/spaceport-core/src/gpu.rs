//! Accelerators: what there is, who may have how much of it, and who gets what next.
//!
//! Amounts of a device are thousandths of it (`milli`): 1000 is a whole device, 500 half of its memory.
//! Sums of use are integers (milli-device-milliseconds), so that the ledger adds up exactly.

pub mod claim;
pub mod cluster;
pub mod device;
pub mod estimate;
pub mod place;
pub mod quota;
pub mod schedule;

pub use claim::{Claim, Lease, LeasedDevice, Priority, Shape};
pub use cluster::{Cluster, DeviceState, Kind, NodeState, Placement};
pub use device::{Device, DeviceHealth, DeviceId, Node, NodeName};
pub use place::{Placer, Workload};
pub use quota::{Budget, Quota, QuotaError, QuotaNode, QuotaPath, QuotaTree};
