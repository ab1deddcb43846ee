//! What becomes of the holds of earlier passes: their claims start, wait on, or lose them.

use super::decision::Decision;
use super::engine::{ClaimIx, Engine};
use super::tree::PlaceIx;
use crate::{ClaimId, Timestamp};

impl Engine {
    /// Holds of earlier passes that belong to what is guaranteed: whose devices are free starts. Who may not start any
    /// more loses its hold.
    pub(super) fn settle_guaranteed(&mut self, now: Timestamp, decision: &mut Decision) {
        self.holds.sort_by_key(|hold| (hold.since, hold.owner));
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
