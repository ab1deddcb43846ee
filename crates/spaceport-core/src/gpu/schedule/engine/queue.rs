//! Claims as the engine knows them, and those that wait.

use std::collections::BTreeSet;

use super::{ClaimIx, Engine, Entry, Group, GroupIx, ShapeIx, ShapeState, number};
use crate::gpu::{Claim, Shape};

impl Engine {
    pub(super) fn intern(&mut self, shape: &Shape) -> ShapeIx {
        if let Some(found) = self.shape_numbers.get(shape) {
            return *found;
        }
        let ix = number(self.shapes.len());
        self.shapes.push(ShapeState { shape: shape.clone(), kinds: self.cluster.suitable_kinds(shape) });
        self.shape_numbers.insert(shape.clone(), ix);
        ix
    }

    pub(super) fn add(&mut self, claim: Claim) -> ClaimIx {
        let account = self.tree.place(&claim.account, &self.quotas);
        let shape = self.intern(&claim.shape);
        let class = claim.priority.min(self.tree.get(account).quota.max_priority);
        let key = (account, class, shape, claim.limit_ms);
        let group = *self.group_numbers.entry(key).or_insert_with(|| {
            self.groups.push(Group {
                account,
                class,
                shape,
                limit_ms: claim.limit_ms,
                run_ms: None,
                waiting: BTreeSet::new(),
            });
            number(self.groups.len() - 1)
        });
        let id = claim.id;
        let entry = Entry { claim, account, shape, group, lease: None, promise: None, displaced_by: BTreeSet::new() };
        let ix = if let Some(ix) = self.free.pop() {
            self.claims[ix as usize] = Some(entry);
            ix
        } else {
            self.claims.push(Some(entry));
            number(self.claims.len() - 1)
        };
        self.ids.insert(id, ix);
        ix
    }

    /// A claim that was not there before: others learn from it how much overtakes them.
    pub(super) fn arrived(&mut self, claim: Claim) {
        let (id, at) = (claim.id, claim.submitted_at);
        self.submit(claim);
        if let Some(ix) = self.find(id) {
            self.tree.weigh(at);
            self.expect_run(self.entry(ix).group);
            let (rank, work_ms) = (self.rank_of(ix, at), self.work_ms(ix));
            self.start_times.arrived(at, rank, work_ms);
        }
    }

    /// Looks up once per pass how long the claims of each group are expected to run.
    pub(in crate::gpu::schedule) fn expect_runs(&mut self) {
        let groups: Vec<GroupIx> = self.queues.values().flatten().copied().collect();
        for group in groups {
            self.expect_run(group);
        }
    }

    pub(super) fn expect_run(&mut self, group: GroupIx) {
        let state = &mut self.groups[group as usize];
        state.run_ms = self.run_lengths.fresh_ms(&self.tree.get(state.account).path, state.limit_ms);
    }

    pub(super) fn submit(&mut self, claim: Claim) {
        if self.ids.contains_key(&claim.id) {
            return;
        }
        let ix = self.add(claim);
        self.enter_queue(ix);
    }

    pub(in crate::gpu::schedule) fn enter_queue(&mut self, ix: ClaimIx) {
        let entry = self.entry(ix);
        let (key, group, account) = ((entry.claim.submitted_at, entry.claim.id), entry.group, entry.account);
        if entry.claim.shape.devices > 1 {
            self.large.insert(key);
        }
        self.groups[group as usize].waiting.insert(key);
        self.queues.entry(account).or_default().insert(group);
        self.waiting += 1;
        self.tree.count_waiting(account, true);
    }

    pub(super) fn leave_queue(&mut self, ix: ClaimIx) {
        let entry = self.entry(ix);
        let (key, group, account) = ((entry.claim.submitted_at, entry.claim.id), entry.group, entry.account);
        self.large.remove(&key);
        self.groups[group as usize].waiting.remove(&key);
        if self.groups[group as usize].waiting.is_empty()
            && let Some(groups) = self.queues.get_mut(&account)
        {
            groups.remove(&group);
            if groups.is_empty() {
                self.queues.remove(&account);
            }
        }
        self.waiting -= 1;
        self.tree.count_waiting(account, false);
    }

    pub(super) fn forget(&mut self, ix: ClaimIx) {
        if let Some(entry) = self.claims[ix as usize].take() {
            self.ids.remove(&entry.claim.id);
            self.free.push(ix);
        }
    }
}
