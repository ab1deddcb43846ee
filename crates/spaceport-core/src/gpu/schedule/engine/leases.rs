//! Leases: begun, told to end, over.

use super::{ClaimIx, Engine, Leased};
use crate::gpu::estimate::Kept;
use crate::gpu::schedule::tree::PlaceIx;
use crate::gpu::schedule::{Notice, Running};
use crate::gpu::{Lease, Placement};
use crate::{ClaimId, LeaseId, Timestamp};

impl Engine {
    pub(in crate::gpu::schedule) fn running_in_order(&self) -> Vec<ClaimIx> {
        let mut running: Vec<(ClaimId, ClaimIx)> = (0..)
            .zip(&self.claims)
            .filter_map(|(ix, entry)| {
                entry.as_ref().filter(|entry| entry.lease.is_some()).map(|entry| (entry.claim.id, ix))
            })
            .collect();
        running.sort_unstable();
        running.into_iter().map(|(_, ix)| ix).collect()
    }

    pub(super) fn add_running(&mut self, one: &Running) {
        if self.ids.contains_key(&one.claim.id) {
            return;
        }
        let ix = self.add(one.claim.clone());
        let account = self.entry(ix).account;
        if one.lease.started_at > self.tree.used(account).at {
            self.tree.begin(account, &one.claim.shape, one.lease.started_at);
        } else {
            self.tree.add_running(account, &one.claim.shape);
        }
        let placement = Placement { node: 0, devices: Vec::new() };
        let (lease, notice) = (one.lease.clone(), one.notice.clone());
        self.entry_mut(ix).lease = Some(Leased { placement, lease, notice });
        self.index_lease(ix);
        self.settle(ix);
    }

    pub(super) fn index_lease(&mut self, ix: ClaimIx) {
        let entry = self.entry(ix);
        let Some(leased) = &entry.lease else { return };
        let (id, account, milli) = (entry.claim.id, entry.account, entry.claim.shape.total_milli());
        let key = (leased.lease.started_at, id);
        if leased.lease.ends_by.is_some() {
            self.ending.insert(id);
            self.tree.set_ending(account, milli, true);
        }
        let places: Vec<PlaceIx> = self.tree.path(account).collect();
        for place in places {
            if self.tree.get(place).quota.guaranteed_milli > 0 {
                self.at_place.entry(place).or_default().insert(key);
            }
        }
    }

    /// A waiting claim gets its devices.
    pub(in crate::gpu::schedule) fn start(&mut self, ix: ClaimIx, placement: Placement, now: Timestamp) {
        self.leave_queue(ix);
        if let Some(promise) = self.entry_mut(ix).promise.take() {
            let kept = match promise.start {
                Some(start) if now < start.from_90 => Kept::Earlier,
                Some(start) if now > start.until_90 => {
                    if !promise.late {
                        self.start_times.is_late();
                    }
                    Kept::Later
                }
                _ => Kept::Within,
            };
            let waited = now.since(promise.at).as_secs_f64() * 1000.0;
            self.start_times.observe(&promise.standing, waited, kept);
        }
        let entry = self.entry(ix);
        let (claim, account) = (entry.claim.clone(), entry.account);
        let lease = Lease {
            id: LeaseId::new(now, 0),
            claim: claim.id,
            node: self.cluster.node_name(&placement).clone(),
            devices: self.cluster.leased_devices(&claim.shape, &placement),
            started_at: now,
            ends_by: None,
        };
        self.cluster.take(&claim.shape, &placement);
        self.on_node[placement.node as usize].insert(claim.id, ix);
        self.tree.begin(account, &claim.shape, now);
        self.tree.add_share(account, &claim.shape);
        self.entry_mut(ix).lease = Some(Leased { placement, lease, notice: None });
        self.index_lease(ix);
    }

    /// A lease is told to end.
    pub(in crate::gpu::schedule) fn notify(&mut self, ix: ClaimIx, ends_by: Timestamp, notice: Notice) {
        let entry = self.entry_mut(ix);
        let (id, account, milli) = (entry.claim.id, entry.account, entry.claim.shape.total_milli());
        let Some(leased) = &mut entry.lease else { return };
        let first = leased.lease.ends_by.is_none();
        leased.lease.ends_by = Some(ends_by);
        leased.notice = Some(notice);
        if first {
            self.ending.insert(id);
            self.tree.set_ending(account, milli, true);
        }
    }

    /// A lease that was told to end may stay.
    pub(in crate::gpu::schedule) fn keep(&mut self, ix: ClaimIx) {
        let entry = self.entry_mut(ix);
        let (id, account, milli) = (entry.claim.id, entry.account, entry.claim.shape.total_milli());
        if let Some(leased) = &mut entry.lease {
            leased.lease.ends_by = None;
            leased.notice = None;
        }
        self.ending.remove(&id);
        self.tree.set_ending(account, milli, false);
    }

    pub(super) fn ended(&mut self, now: Timestamp, claim: ClaimId, done: bool, again: bool) {
        let Some(ix) = self.find(claim) else { return };
        let Some(leased) = self.entry_mut(ix).lease.take() else { return };
        self.take_back(ix, &leased, now);
        if done {
            let ran = leased.lease.started_at;
            let ran_ms = u64::try_from(now.since(ran).as_millis()).unwrap_or(u64::MAX);
            let claim = self.entry(ix).claim.clone();
            self.run_lengths.observe(&claim, ran_ms);
        }
        if again {
            if let Some(Notice::Guarantee(by)) = leased.notice {
                self.entry_mut(ix).displaced_by.insert(by);
            }
            self.enter_queue(ix);
        } else {
            self.forget(ix);
        }
    }

    /// Everything that a lease had is free again.
    pub(in crate::gpu::schedule) fn take_back(&mut self, ix: ClaimIx, leased: &Leased, now: Timestamp) {
        let entry = self.entry(ix);
        let (id, account, shape) = (entry.claim.id, entry.account, entry.claim.shape.clone());
        if let Some(on_node) = self.on_node.get_mut(leased.placement.node as usize) {
            on_node.remove(&id);
            self.cluster.give_back(&shape, &leased.placement);
        }
        self.tree.end(account, &shape, now);
        if self.ending.remove(&id) {
            self.tree.set_ending(account, shape.total_milli(), false);
        }
        self.gone.remove(&id);
        let key = (leased.lease.started_at, id);
        for place in self.tree.path(account).collect::<Vec<_>>() {
            if let Some(leases) = self.at_place.get_mut(&place) {
                leases.remove(&key);
            }
        }
    }
}
