//! Accelerators: what there is, who may have how much of it, and who gets what next.
//!
//! Amounts of a device are thousandths of it (`milli`): 1000 is a whole device, 500 half of its memory.
//! Sums of use are integers (milli-device-milliseconds), so that the ledger adds up exactly.

pub mod claim;
pub mod device;
pub mod end;
pub mod ledger;
pub mod notice;
pub mod quota;
pub mod reservation;

pub use claim::{Claim, Lease, LeasedDevice, Priority, Shape};
pub use device::{Device, DeviceHealth, DeviceId, Node, NodeName};
pub use end::{Ending, LeaseEnd};
pub use notice::{Notice, NoticeKind};
pub use quota::{Quota, QuotaError, QuotaNode, QuotaPath, QuotaTree};
pub use reservation::Reservation;
