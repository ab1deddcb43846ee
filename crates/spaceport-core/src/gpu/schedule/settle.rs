//! What becomes of the holds of earlier passes: their claims start, wait on, or lose them.

use std::collections::HashSet;

use super::decision::Decision;
use super::engine::{ClaimIx, Engine};
use super::hold::HoldState;
use super::tree::PlaceIx;
use super::world::Notice;
use crate::{ClaimId, Timestamp};

impl Engine {
    /// Holds of earlier passes that belong to what is guaranteed: whose devices are free starts, first those for whom
    /// others left. Who may not start any more loses its hold.
    pub(super) fn settle_guaranteed(&mut self, now: Timestamp, decision: &mut Decision) {
        let told = self.told_for();
        let waits = |hold: &HoldState| hold.claim().is_none_or(|claim| !told.contains(&claim));
        self.holds.sort_by_key(|hold| (waits(hold), hold.since, hold.owner));
        for hold in &mut self.holds {
            hold.guaranteed = false;
        }
        self.settle_each(decision, |engine, hold, held, decision| {
            if !engine.tree.is_guaranteed(held.account, held.milli) {
                return Settled::Waits;
            }
            engine.give_back_soft();
            engine.holds[hold].guaranteed = true;
            if engine.start_on_held(hold, held.ix, now, decision) {
                return Settled::Started;
            }
            if !told.contains(&engine.entry(held.ix).claim.id) && !engine.comes_free(hold, held.ix) {
                // It was made when nothing was guaranteed, and nobody was told to leave.
                return Settled::Over;
            }
            engine.tree.promise(held.account, held.milli);
            engine.take_hold(hold, now);
            Settled::Waits
        });
        self.take_holds(now);
    }

    /// The other holds of earlier passes, when what is guaranteed has what it needs.
    pub(super) fn settle_rest(&mut self, now: Timestamp, decision: &mut Decision) {
        self.settle_each(decision, |engine, hold, held, decision| {
            if engine.holds[hold].guaranteed {
                return Settled::Waits;
            }
            engine.give_back_hold(hold);
            if engine.start_on_held(hold, held.ix, now, decision) {
                return Settled::Started;
            }
            if engine.entry(held.ix).claim.shape.devices == 1 {
                // It was made for the first of the queue, and is made anew if that is still so.
                return Settled::Over;
            }
            engine.take_hold(hold, now);
            Settled::Waits
        });
    }

    fn settle_each(&mut self, decision: &mut Decision, one: impl Fn(&mut Self, usize, Held, &mut Decision) -> Settled) {
        let mut hold = 0;
        while hold < self.holds.len() {
            let Some(claim) = self.holds[hold].claim() else {
                hold += 1;
                continue;
            };
            let settled = match self.held(hold, claim) {
                Some(held) => one(self, hold, held, decision),
                None => Settled::Over,
            };
            match settled {
                Settled::Waits => hold += 1,
                Settled::Started => {}
                Settled::Over => self.drop_hold(hold),
            }
        }
    }

    /// Whom a hold is for, if it may still start there.
    fn held(&self, hold: usize, claim: ClaimId) -> Option<Held> {
        let ix = self.find(claim).filter(|ix| self.entry(*ix).lease.is_none())?;
        let entry = self.entry(ix);
        let held = Held { ix, account: entry.account, milli: entry.claim.shape.total_milli() };
        let part = &self.holds[hold].parts[0];
        let kinds = &self.shapes[entry.shape as usize].kinds;
        let open = |device: &u32| {
            let there = &self.cluster.devices(part.node)[*device as usize];
            there.open && kinds[there.kind as usize]
        };
        let open = self.cluster.nodes()[part.node as usize].open && part.devices.iter().all(open);
        (open && self.tree.allows(held.account, held.milli)).then_some(held)
    }

    /// For whom others were told to leave, or left.
    fn told_for(&self) -> HashSet<ClaimId> {
        let mut told = HashSet::new();
        if self.holds.is_empty() {
            return told;
        }
        for entry in self.claims.iter().flatten() {
            told.extend(&entry.displaced_by);
            if let Some(Notice::Guarantee(by)) = entry.lease.as_ref().and_then(|leased| leased.notice.as_ref()) {
                told.insert(*by);
            }
        }
        told
    }

    /// Whether a hold's claim fits when those have left who were told to.
    fn comes_free(&self, hold: usize, ix: ClaimIx) -> bool {
        let shape = &self.entry(ix).claim.shape;
        let part = &self.holds[hold].parts[0];
        let node = &self.cluster.nodes()[part.node as usize];
        let (mut cpu, mut memory) = (i128::from(node.cpu_millicores), i128::from(node.memory_bytes));
        let mut milli: Vec<i64> = part
            .devices
            .iter()
            .map(|device| i64::from(self.cluster.devices(part.node)[*device as usize].free_milli))
            .collect();
        for theirs in self.on_node[part.node as usize].values() {
            let theirs = self.entry(*theirs);
            let Some(leased) = theirs.lease.as_ref().filter(|leased| leased.lease.ends_by.is_some()) else { continue };
            cpu += i128::from(theirs.claim.shape.cpu_millicores);
            memory += i128::from(theirs.claim.shape.memory_bytes);
            for (device, milli) in part.devices.iter().zip(&mut milli) {
                if leased.placement.devices.contains(device) {
                    *milli += i64::from(theirs.claim.shape.milli);
                }
            }
        }
        cpu >= i128::from(shape.cpu_millicores)
            && memory >= i128::from(shape.memory_bytes)
            && milli.iter().all(|milli| *milli >= i64::from(shape.milli))
    }

    fn start_on_held(&mut self, hold: usize, ix: ClaimIx, now: Timestamp, decision: &mut Decision) -> bool {
        let part = self.holds[hold].parts[0].clone();
        let placement = self.fit_on(part.node, self.entry(ix).shape, |device| part.devices.contains(&device));
        placement.map(|placement| self.begin(ix, placement, now, decision)).is_some()
    }
}

/// A hold's claim, which waits.
struct Held {
    ix: ClaimIx,
    account: PlaceIx,
    milli: u64,
}

/// What becomes of a hold of an earlier pass.
enum Settled {
    Waits,
    /// Its claim has its devices.
    Started,
    Over,
}
