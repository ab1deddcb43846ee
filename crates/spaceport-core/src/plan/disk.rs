//! An app that writes without end ends before the disk it shares with others is full.

use super::observed::DiskSeen;
use super::{ContainerSeen, InstanceSeen, told};
use crate::{Diagnosis, Reason, Timestamp};

/// Why a running app must end, if it must.
pub(super) fn exceeded(seen: &InstanceSeen, now: Timestamp) -> Option<Diagnosis> {
    let over = |disk: &&DiskSeen| disk.written_bytes > disk.limit_bytes && seen.container == ContainerSeen::Running;
    let DiskSeen { written_bytes, limit_bytes, flavor } = seen.disk.as_ref().filter(over)?;
    let message = format!(
        "The app wrote {} to its own disk; the limit of {flavor} is {}.",
        decimal(*written_bytes),
        decimal(*limit_bytes)
    );
    let remedy = "Write less, write to a volume (mounted at /data for one), or choose hardware with more disk; then \
                  restart the Space. Its disk is empty after a restart.";
    Some(told(Reason::DiskLimit, "stopped", &message, remedy, now))
}

/// Bytes as disks are sold: `61 GB`, `1.5 MB`.
fn decimal(bytes: u64) -> String {
    let (unit, name) = if bytes >= 1_000_000_000 { (1_000_000_000, "GB") } else { (1_000_000, "MB") };
    let tenths = bytes / (unit / 10);
    match (tenths / 10, tenths % 10) {
        (whole, tenths) if whole >= 10 || tenths == 0 => format!("{whole} {name}"),
        (whole, tenths) => format!("{whole}.{tenths} {name}"),
    }
}
