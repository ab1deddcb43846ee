//! Leases that end: when nothing runs on them any more, and what the account is not charged for.

use std::collections::{BTreeSet, HashSet};

use spaceport_core::gpu::{Ending, LeaseEnd};
use spaceport_core::{FlavorName, LeaseId, SpaceId};
use spaceport_runtime::ContainerState;
use spaceport_store::{StoreError, StoredLease};

use super::{Hardware, Seen};
use crate::engine::Containers;
use crate::spaces::Parts;

impl Hardware {
    /// Ends what is over and can end now; what is gone from `seen` has ended.
    pub(super) async fn end_leases(&self, seen: &mut Seen) -> Result<(), StoreError> {
        let Parts { store, control, engine, .. } = &self.parts;
        // Read after the leases: whoever begins to use one in between raises its generation.
        let flavors: HashSet<(SpaceId, FlavorName)> = store.flavors_live().await?.into_iter().collect();
        let containers = engine.containers().await;
        self.mark_outages(seen, containers.as_ref()).await?;
        let mut ended: BTreeSet<LeaseId> = BTreeSet::new();
        for lease in &seen.leases {
            let id = lease.lease.id;
            let claim = store.claim_by_id(lease.lease.claim).await?;
            let claimed = claim.as_ref().is_some_and(|claim| claim.ended_at.is_none());
            let why = match (lease.ending, claimed) {
                (_, false) => claim.and_then(|claim| claim.why).unwrap_or(LeaseEnd::Stopped),
                // Its worker stops it in time; this is when it has.
                (Some(ending), true) => ending.why,
                (None, true) => {
                    if store.space_by_id(lease.space).await?.is_none() {
                        store.claim_end(lease.lease.claim, LeaseEnd::Stopped, seen.now).await?;
                        control.activate_hardware();
                    }
                    continue;
                }
            };
            let Some(containers) = &containers else { continue };
            let holds = containers.values().any(|one| one.held.as_ref().is_some_and(|held| held.lease == id));
            if holds || flavors.contains(&(lease.space, lease.flavor.clone())) {
                continue;
            }
            let is_due = lease.ending.is_none_or(|ending| seen.now >= ending.by) || !claimed;
            if !is_due && !self.is_stopped(lease, seen).await? {
                continue;
            }
            // A claim that is over does not wait again, whatever its lease was told before.
            if store.lease_end(lease, why, seen.now).await? {
                ended.insert(id);
                tracing::info!(
                    space.id = %lease.space, lease.id = %id, reason = why.as_str(),
                    "{} gave its hardware back: {}", lease.space_name, why.sentence()
                );
                let over = store.lease_by_id(id).await?;
                self.with_memory(|memory| {
                    memory.idle.forget(id);
                    if let (Some(past), Some(over)) = (&mut memory.past, over) {
                        past.ended(&over, seen.now);
                    }
                });
                control.activate_quietly(lease.space);
                // What is free may be somebody's at once.
                control.activate_hardware();
            }
        }
        seen.leases.retain(|lease| !ended.contains(&lease.lease.id));
        if !ended.is_empty() {
            // The generations stay those that were read with the devices: what was drained since is not given out.
            seen.claims = store.claims_live().await?;
        }
        Ok(())
    }

    /// Whether a lease that has time left is given back already: its worker stopped what ran.
    async fn is_stopped(&self, lease: &StoredLease, seen: &Seen) -> Result<bool, StoreError> {
        let Some(ending) = lease.ending else { return Ok(false) };
        if ending.why == LeaseEnd::Reclaimed {
            // It sleeps; the claim ends with that.
            return Ok(!seen.has_claim(lease.space));
        }
        // Within the drain time before its end its worker stops it, and it may have been quick.
        Ok(seen.now >= ending.by - self.parts.config.drain)
    }

    /// A device or node is gone: what ran on it is lost, and not charged from now on.
    pub(super) async fn lose(&self, seen: &Seen, lease: &StoredLease) -> Result<(), StoreError> {
        let why = match seen.there.nodes.iter().any(|node| node.name == lease.lease.node) {
            true => LeaseEnd::DeviceLost,
            false => LeaseEnd::NodeLost,
        };
        self.parts.store.outage_begin(lease.lease.id, why, seen.now).await?;
        self.tell(lease, Ending { why, told_at: seen.now, by: seen.now }, None).await
    }

    /// While the engine is away nobody knows whether apps run. When it is back, those that did not were without what
    /// their leases say; the others had it all the time.
    async fn mark_outages(&self, seen: &Seen, containers: Option<&Containers>) -> Result<(), StoreError> {
        let store = &self.parts.store;
        for lease in &seen.leases {
            let id = lease.lease.id;
            let open = lease.outages.iter().find(|outage| outage.until.is_none());
            match (containers, open) {
                (None, None) => store.outage_begin(id, LeaseEnd::NodeLost, seen.now).await?,
                (Some(containers), Some(outage)) if outage.why == LeaseEnd::NodeLost => {
                    let ran_on = containers.values().any(|one| {
                        let is_its = one.held.as_ref().is_some_and(|held| held.lease == id);
                        is_its
                            && matches!(one.state, ContainerState::Running { started_at } if started_at <= outage.from)
                    });
                    if ran_on {
                        store.outage_withdraw(id).await?;
                    } else {
                        store.outage_end(id, seen.now).await?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
