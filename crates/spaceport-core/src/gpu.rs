//! Accelerators: what there is, who may have how much of it, and who gets what next.
//!
//! Amounts of a device are thousandths of it (`milli`): 1000 is a whole device, 500 half of its memory.
//! Sums of use are integers (milli-device-milliseconds), so that the ledger adds up exactly.

pub mod allowance;
pub mod attach;
pub mod claim;
pub mod cluster;
pub mod device;
pub mod end;
pub mod estimate;
pub mod label;
pub mod ledger;
pub mod need;
pub mod notice;
pub mod place;
pub mod quota;
pub mod reading;
pub mod schedule;
pub mod trial;
pub mod wait;
pub mod watch;

pub use allowance::{Allowance, Full, Holding};
pub use attach::Attach;
pub use claim::{Claim, Lease, LeasedDevice, Priority, Shape};
pub use cluster::{Cluster, DeviceState, Kind, NodeState, Placement};
pub use device::{Device, DeviceHealth, DeviceId, Node, NodeName};
pub use end::{Ending, LeaseEnd};
pub use label::Label;
pub use need::{GpuNeed, Unfulfillable};
pub use notice::{Notice, NoticeKind};
pub use place::{Placer, Workload};
pub use quota::{Budget, Quota, QuotaError, QuotaNode, QuotaPath, QuotaTree};
pub use reading::{DeviceProcess, DeviceUsage, Faults, Reading};
pub use schedule::Reservation;
pub use wait::Wait;
pub use watch::Watch;
