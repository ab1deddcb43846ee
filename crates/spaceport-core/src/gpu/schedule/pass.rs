//! One pass: from what is known to what is decided.

use super::decision::{Decision, Preemption, Start};
use super::engine::{ClaimIx, Engine, GroupIx, number};
use super::hold::{HoldState, after};
use super::order::{FILTERS, Sweep};
use super::world::{HoldFor, Notice};
use crate::gpu::Placement;
use crate::{ClaimId, Timestamp};

/// What is known within one pass about who cannot start.
pub(super) struct Blocked {
    /// Shapes that fit on no node as things are.
    shapes: Vec<bool>,
    /// Kinds of devices for which somebody is first already.
    first_for: Vec<bool>,
}

impl Engine {
    /// Decides, takes note of it, and says of everybody who waits why.
    pub fn pass(&mut self, now: Timestamp) -> Decision {
        let mut decision = self.decide(now);
        decision.waiting = self.explain(now);
        decision
    }

    /// Decides, and takes note of it: who starts has its devices from now on, who is told to leave until it
    /// is [reported](super::Event::Ended) that it did. Nobody is told why they wait: that takes most of the time of a
    /// pass, and no later decision rests on it.
    pub fn decide(&mut self, now: Timestamp) -> Decision {
        let mut decision = Decision::default();
        self.give_back_holds();
        self.requeue_lost(now, &mut decision);
        self.expect_runs();
        self.tree.forget_promises();
        self.tree.weigh(now);
        self.settle_reservations(now, &mut decision);
        self.end_over_budget(now, &mut decision);
        self.settle_guaranteed(now, &mut decision);
        self.serve_guaranteed(now, &mut decision);
        self.settle_rest(now, &mut decision);
        let mut blocked =
            Blocked { shapes: vec![false; self.shapes.len()], first_for: vec![false; self.cluster.kinds().len()] };
        for filter in FILTERS {
            self.serve(Sweep::new(self, filter, now), now, &mut blocked, &mut decision);
        }
        self.hold_for_large(now);
        self.clear_held(now, &mut decision);
        self.keep_needless(&mut decision);
        self.finish(now, decision)
    }

    /// Leases without a node or a device are over; their claims wait again.
    fn requeue_lost(&mut self, now: Timestamp, decision: &mut Decision) {
        for claim in std::mem::take(&mut self.gone) {
            let Some(ix) = self.find(claim) else { continue };
            let Some(leased) = self.entry_mut(ix).lease.take() else { continue };
            self.take_back(ix, &leased, now);
            self.enter_queue(ix);
            decision.lost.push(claim);
        }
    }

    /// Who is past a hard edge is put to sleep.
    fn end_over_budget(&mut self, now: Timestamp, decision: &mut Decision) {
        if !self.tree.has_budgets() {
            return;
        }
        for ix in self.running_in_order() {
            let entry = self.entry(ix);
            let leaving = entry.lease.as_ref().is_none_or(|leased| leased.lease.ends_by.is_some());
            let uses = entry.claim.shape.devices > 0;
            if let Some(place) = self.tree.past_hard_budget(entry.account)
                && uses
                && !leaving
            {
                let place = self.tree.get(place).path.clone();
                self.tell(ix, now, Notice::Budget(place), decision);
            }
        }
    }

    /// What is guaranteed goes first, and borrowers make room for it.
    fn serve_guaranteed(&mut self, now: Timestamp, decision: &mut Decision) {
        for filter in FILTERS {
            let mut sweep = Sweep::new(self, filter, now);
            while let Some((group, claim)) = sweep.next(self) {
                let state = &self.groups[group as usize];
                let (account, shape) = (state.account, state.shape);
                let milli = self.shapes[shape as usize].shape.total_milli();
                let own_hold = self.hold_of(claim);
                let promised = own_hold.is_some_and(|hold| self.holds[hold].guaranteed);
                if !self.tree.allows(account, milli) || !(promised || self.tree.is_guaranteed(account, milli)) {
                    sweep.skip_group();
                    continue;
                }
                let Some(ix) = self.find(claim) else {
                    sweep.skip_claim(self);
                    continue;
                };
                if let Some(placement) = self.find_place(ix, now) {
                    self.begin(ix, placement, now, decision);
                } else if !promised {
                    self.make_way(ix, now, decision);
                }
                sweep.skip_claim(self);
            }
        }
    }

    /// Room for a guaranteed claim: first from what is held without a guarantee, then from borrowers.
    fn make_way(&mut self, ix: ClaimIx, now: Timestamp, decision: &mut Decision) {
        let (claim, account) = (self.entry(ix).claim.id, self.entry(ix).account);
        let milli = self.entry(ix).claim.shape.total_milli();
        self.give_back_soft();
        let shape = self.entry(ix).shape;
        if let Some(placement) = self.find_open(shape) {
            self.drop_soft_holds_on(&placement);
            self.begin(ix, placement, now, decision);
            return;
        }
        if let Some(room) = self.make_room(ix, now) {
            for victim in room.victims {
                self.tell(victim, now, Notice::Guarantee(claim), decision);
            }
            self.tree.promise(account, milli);
            self.drop_soft_holds_on(&room.placement);
            if let Some(own) = self.hold_of(claim) {
                self.drop_hold(own);
            }
            let mut hold = HoldState::new(HoldFor::Claim(claim), vec![room.placement], now);
            hold.guaranteed = true;
            self.add_taken(hold, now);
        }
        self.take_holds(now);
    }

    fn drop_soft_holds_on(&mut self, placement: &Placement) {
        while let Some(hold) = self.holds.iter().position(|hold| hold.is_soft() && hold.touches(placement)) {
            self.drop_hold(hold);
        }
    }

    /// Everybody else, in order. Who comes first and does not fit gets a hold; those behind fill in.
    fn serve(&mut self, mut sweep: Sweep, now: Timestamp, blocked: &mut Blocked, decision: &mut Decision) {
        while let Some((group, claim)) = sweep.next(self) {
            let (account, shape) = (self.groups[group as usize].account, self.groups[group as usize].shape);
            let Some(ix) = self.find(claim) else {
                sweep.skip_claim(self);
                continue;
            };
            match self.place_next(ix, group, now, blocked) {
                Some(placement) => {
                    self.begin(ix, placement, now, decision);
                    sweep.skip_claim(self);
                }
                None => {
                    let wants = self.shapes[shape as usize].shape.total_milli();
                    if self.tree.allows(account, wants) {
                        self.hold_for_first(ix, now, blocked);
                    }
                    sweep.skip_group();
                }
            }
        }
    }

    fn place_next(&mut self, ix: ClaimIx, group: GroupIx, now: Timestamp, blocked: &mut Blocked) -> Option<Placement> {
        let state = &self.groups[group as usize];
        let (account, shape) = (state.account, state.shape);
        let milli = self.shapes[shape as usize].shape.total_milli();
        if !self.tree.allows(account, milli) {
            return None;
        }
        if !blocked.shapes[shape as usize] {
            if let Some(placement) = self.find_open(shape) {
                return Some(placement);
            }
            blocked.shapes[shape as usize] = true;
        }
        self.find_place_on_held(ix, now)
    }

    /// A place for a claim, on what is free or on what it may use of what is held.
    fn find_place(&mut self, ix: ClaimIx, now: Timestamp) -> Option<Placement> {
        let shape = self.entry(ix).shape;
        self.find_open(shape).or_else(|| self.find_place_on_held(ix, now))
    }

    fn find_open(&mut self, shape: u32) -> Option<Placement> {
        self.placer.find(&self.cluster, &self.shapes[shape as usize].shape)
    }

    fn find_place_on_held(&mut self, ix: ClaimIx, now: Timestamp) -> Option<Placement> {
        let (_, placement) = self.find_on_held(ix, now)?;
        Some(placement)
    }

    /// A claim starts; its own hold is not needed any more.
    pub(super) fn begin(&mut self, ix: ClaimIx, placement: Placement, now: Timestamp, decision: &mut Decision) {
        let claim = self.entry(ix).claim.id;
        let own = self.hold_of(claim);
        let start = Start {
            claim,
            node: self.cluster.node_name(&placement).clone(),
            devices: self.cluster.leased_devices(&self.entry(ix).claim.shape, &placement),
        };
        self.start(ix, placement, now);
        if let Some(own) = own {
            self.drop_hold(own);
        }
        // A hold that was given back to let it in takes what is left.
        self.take_holds(now);
        decision.starts.push(start);
    }

    fn add_taken(&mut self, hold: HoldState, now: Timestamp) {
        self.holds.push(hold);
        self.take_hold(self.holds.len() - 1, now);
    }

    fn tell(&mut self, ix: ClaimIx, now: Timestamp, notice: Notice, decision: &mut Decision) {
        let ends_by = after(now, self.policy.grace_ms);
        self.tell_by(ix, ends_by, notice, decision);
    }

    pub(super) fn tell_by(&mut self, ix: ClaimIx, ends_by: Timestamp, notice: Notice, decision: &mut Decision) {
        self.notify(ix, ends_by, notice.clone());
        decision.preemptions.push(Preemption { claim: self.entry(ix).claim.id, ends_by, notice });
    }

    /// The first claim of the queue, for its kind of devices, gets a hold where leases end soonest.
    fn hold_for_first(&mut self, ix: ClaimIx, now: Timestamp, blocked: &mut Blocked) {
        let entry = self.entry(ix);
        let (claim, shape) = (entry.claim.id, entry.shape);
        let kinds = self.shapes[shape as usize].kinds.clone();
        if blocked.first_for.iter().zip(&kinds).any(|(taken, wanted)| *taken && *wanted) {
            return;
        }
        for (first, wanted) in blocked.first_for.iter_mut().zip(&kinds) {
            *first |= *wanted;
        }
        if self.hold_of(claim).is_some() {
            return;
        }
        let several = self.entry(ix).claim.shape.devices > 1;
        if several && !self.may_hold(ix) {
            return;
        }
        if let Some((_, placement)) = self.soonest(ix, now) {
            self.add_taken(HoldState::new(HoldFor::Claim(claim), vec![placement], now), now);
        }
    }

    /// Claims of several devices that have waited for long get a hold, oldest first, while not too much is held.
    fn hold_for_large(&mut self, now: Timestamp) {
        let large: Vec<(Timestamp, ClaimId)> = self.large.iter().copied().collect();
        for (submitted_at, claim) in large {
            if after(submitted_at, self.policy.hold_after_ms) > now {
                break;
            }
            let Some(ix) = self.find(claim) else { continue };
            let entry = self.entry(ix);
            let (account, milli) = (entry.account, entry.claim.shape.total_milli());
            if self.hold_of(claim).is_some() || !self.tree.allows(account, milli) || !self.may_hold(ix) {
                continue;
            }
            if let Some((_, placement)) = self.soonest(ix, now) {
                self.add_taken(HoldState::new(HoldFor::Claim(claim), vec![placement], now), now);
            }
        }
    }

    /// Whether one more hold that is not guaranteed is not too much.
    fn may_hold(&self, ix: ClaimIx) -> bool {
        let held: usize =
            self.holds.iter().filter(|hold| hold.claim().is_some() && !hold.guaranteed).map(HoldState::devices).sum();
        let wanted = self.entry(ix).claim.shape.devices as usize;
        let all: usize = (0..number(self.cluster.nodes().len())).map(|node| self.cluster.devices(node).len()).sum();
        held == 0 || (held + wanted) * 1000 <= all * self.policy.held_at_most_milli as usize
    }

    /// Where, and when, enough leases are expected to have ended for a claim.
    fn soonest(&self, ix: ClaimIx, now: Timestamp) -> Option<(Timestamp, Placement)> {
        let mut best: Option<(Timestamp, u64, Placement)> = None;
        for node in 0..number(self.cluster.nodes().len()) {
            if let Some((ready, placement)) = self.soonest_on(node, ix, now) {
                let lot = self.cluster.nodes()[node as usize].lot;
                if best.as_ref().is_none_or(|(soonest, other, _)| (ready, lot) < (*soonest, *other)) {
                    best = Some((ready, lot, placement));
                }
            }
        }
        best.map(|(ready, _, placement)| (ready, placement))
    }

    fn soonest_on(&self, node: u32, ix: ClaimIx, now: Timestamp) -> Option<(Timestamp, Placement)> {
        let state = &self.cluster.nodes()[node as usize];
        let entry = self.entry(ix);
        let shape = &entry.claim.shape;
        let kinds = &self.shapes[entry.shape as usize].kinds;
        let fits = |wanted: u64, all: i64| i64::try_from(wanted).is_ok_and(|wanted| wanted <= all);
        if !state.open
            || !fits(shape.cpu_millicores, state.cpu_capacity_millicores)
            || !fits(shape.memory_bytes, state.memory_capacity_bytes)
        {
            return None;
        }
        let mut ends: Vec<(Timestamp, ClaimId, ClaimIx)> = self.on_node[node as usize]
            .iter()
            .map(|(id, theirs)| (self.expected_end(*theirs, now, 0.5), *id, *theirs))
            .collect();
        ends.sort_unstable();
        let mut devices: Vec<(Timestamp, i32, u32)> = Vec::new();
        for (device, there) in (0..).zip(self.cluster.devices(node)) {
            if !there.open || !kinds[there.kind as usize] || self.is_held(node, device) {
                continue;
            }
            let mut free = i64::from(there.free_milli);
            let mut ready = now;
            for (end, _, theirs) in &ends {
                if free >= i64::from(shape.milli) {
                    break;
                }
                let theirs = self.entry(*theirs);
                if theirs.lease.as_ref().is_some_and(|leased| leased.placement.devices.contains(&device)) {
                    free += i64::from(theirs.claim.shape.milli);
                    ready = *end;
                }
            }
            if free >= i64::from(shape.milli) {
                devices.push((ready, there.free_milli, device));
            }
        }
        if devices.len() < shape.devices as usize {
            return None;
        }
        devices.sort_unstable();
        devices.truncate(shape.devices as usize);
        let mut ready = devices.last().map_or(now, |(ready, _, _)| *ready);
        let (mut cpu, mut memory) = (i128::from(state.cpu_millicores), i128::from(state.memory_bytes));
        for (end, _, theirs) in &ends {
            let enough = cpu >= i128::from(shape.cpu_millicores) && memory >= i128::from(shape.memory_bytes);
            if *end > ready && enough {
                break;
            }
            let theirs = &self.entry(*theirs).claim.shape;
            cpu += i128::from(theirs.cpu_millicores);
            memory += i128::from(theirs.memory_bytes);
            ready = ready.max(*end);
        }
        let mut devices: Vec<u32> = devices.into_iter().map(|(_, _, device)| device).collect();
        devices.sort_unstable();
        Some((ready, Placement { node, devices }))
    }

    /// Where all who were there before a hold are gone, those let in on condition have to go, too.
    fn clear_held(&mut self, now: Timestamp, decision: &mut Decision) {
        for hold in 0..self.holds.len() {
            let state = &self.holds[hold];
            let Some(claim) = state.claim() else { continue };
            let occupants: Vec<ClaimIx> = self.occupants(state).collect();
            let remaining = |ix: &&ClaimIx| !self.is_conditional(state, **ix);
            let staying = |ix: &ClaimIx| self.entry(*ix).lease.as_ref().is_some_and(|one| one.lease.ends_by.is_none());
            if occupants.iter().filter(remaining).any(staying) {
                continue;
            }
            let leave: Vec<ClaimIx> = occupants.iter().filter(|ix| !remaining(ix) && staying(ix)).copied().collect();
            for ix in leave {
                self.tell(ix, now, Notice::Held(claim), decision);
            }
        }
    }

    /// Who was told to leave for somebody who does not need it any more may stay.
    fn keep_needless(&mut self, decision: &mut Decision) {
        for claim in self.ending.clone() {
            let Some(ix) = self.find(claim) else { continue };
            let account = self.entry(ix).account;
            let Some(leased) = &self.entry(ix).lease else { continue };
            let needed = match &leased.notice {
                Some(Notice::Guarantee(other) | Notice::Held(other)) => self.hold_of(*other).is_some(),
                Some(Notice::Reservation(id)) => self.hold_of_reservation(*id).is_some(),
                Some(Notice::Budget(_)) => self.tree.past_hard_budget(account).is_some(),
                None => true,
            };
            let used = self.holds.iter().any(|hold| hold.touches(&leased.placement));
            if !needed && !used {
                self.keep(ix);
                decision.kept.push(claim);
            }
        }
    }

    fn finish(&self, now: Timestamp, mut decision: Decision) -> Decision {
        decision.preemptions.sort();
        decision.lost.sort();
        decision.released.sort();
        decision.holds = self.holds.iter().map(|hold| hold.as_value(&self.cluster)).collect();
        decision.holds.sort();
        let large = self.large.iter().map(|(submitted_at, _)| after(*submitted_at, self.policy.hold_after_ms));
        let reservations = self.reservations.values().filter(|one| !one.released).flat_map(|one| {
            let ms = std::time::Duration::from_millis;
            [
                one.from - ms(self.policy.drain_ahead_ms),
                one.from - ms(self.policy.grace_ms),
                one.from,
                after(one.from, self.policy.no_show_ms),
                one.until,
            ]
        });
        decision.look_again = large.chain(reservations).filter(|at| *at > now).min();
        decision
    }
}
