//! Hardware that is held and not used: its owner is warned, then it is taken back.
//!
//! What counts as use: requests and open connections, as the proxy sees them; utilisation and memory of the devices, where
//! a driver tells. Work in progress shows in one of them, so it is never ended.

use std::collections::BTreeMap;

use spaceport_core::gpu::{DeviceId, DeviceUsage, Ending, LeaseEnd};
use spaceport_core::{LeaseId, Timestamp};
use spaceport_store::{StoreError, StoredLease};

use super::{Hardware, Seen};
use crate::spaces::Parts;

/// A device that is busier than this, in percent, works for somebody.
const BUSY_PERCENT: u32 = 3;
/// So many thousandths of other memory in use are a change.
const CHANGE_MILLI: u64 = 10;

/// What was seen of each lease.
#[derive(Debug, Default)]
pub(super) struct Memory {
    leases: BTreeMap<LeaseId, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    busy_at: Option<Timestamp>,
    memory: BTreeMap<DeviceId, u64>,
}

impl Memory {
    pub fn forget(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
    }

    /// Takes a reading of a lease's devices; when they were last seen working.
    fn look(
        &mut self,
        lease: &StoredLease,
        usage: &BTreeMap<DeviceId, DeviceUsage>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let watched = self.leases.entry(lease.lease.id).or_default();
        for leased in &lease.lease.devices {
            let Some(usage) = usage.get(&leased.device) else { continue };
            if usage.utilization_percent.is_some_and(|percent| percent > BUSY_PERCENT) {
                watched.busy_at = Some(now);
            }
            let Some(bytes) = usage.memory_used_bytes else { continue };
            let before = watched.memory.insert(leased.device.clone(), bytes);
            if before.is_none_or(|before| before.abs_diff(bytes) > before.max(bytes) / 1000 * CHANGE_MILLI) {
                watched.busy_at = Some(now);
            }
        }
        watched.busy_at
    }
}

impl Hardware {
    /// Warns those who hold devices without using them, and lets those keep them who use them after all.
    pub(super) async fn tell_idle(&self, seen: &mut Seen) -> Result<(), StoreError> {
        let Parts { store, control, config, .. } = &self.parts;
        let now = seen.now;
        let known = control.inventory().known();
        let mut changed = false;
        for lease in seen.leases.iter().filter(|lease| !lease.lease.devices.is_empty()) {
            let busy_at = self.with_memory(|memory| memory.idle.look(lease, &known.usage, now));
            let used = control.last_used(lease.space).max(busy_at);
            match lease.ending {
                Some(Ending { why: LeaseEnd::Reclaimed, told_at, .. }) => {
                    if used.is_some_and(|used| used > told_at) {
                        changed |= self.keep(lease, now, "It is used again and keeps its hardware.").await?;
                    }
                }
                Some(_) => {}
                None => {
                    let Some(policy) = config.gpu.idle.of(&lease.flavor, &lease.space_name) else { continue };
                    let since = lease.lease.started_at.max(control.began_at()).max(used.unwrap_or(control.began_at()));
                    if now.since(since) < policy.after {
                        continue;
                    }
                    let ending = Ending { why: LeaseEnd::Reclaimed, told_at: now, by: now + policy.warning };
                    self.tell(lease, ending, None).await?;
                    changed = true;
                }
            }
        }
        if changed {
            seen.leases = store.leases_live().await?;
        }
        Ok(())
    }
}
