//! Who used how much beside whom.

use super::{Amounts, PlaceIx, Rate, Tree, float, millis};
use crate::Timestamp;
use crate::gpu::Shape;

impl Tree {
    /// Brings an account's use up to a time.
    pub(super) fn fold(&mut self, account: PlaceIx, now: Timestamp) {
        let used = self.used_until(account, now);
        let at = &mut self.places[account as usize];
        if now > at.used_at {
            (at.used, at.used_at) = (used, now);
        }
    }

    pub(super) fn used_until(&self, account: PlaceIx, now: Timestamp) -> Amounts {
        let at = self.get(account);
        let passed = now.as_millis() - at.used_at.as_millis();
        if passed <= 0 {
            return at.used;
        }
        let kept = (-self.decay * millis(passed)).exp();
        let grown = (1.0 - kept) / self.decay;
        let rate = at.rate.amounts();
        Amounts {
            devices: at.used.devices * kept + rate.devices * grown,
            cpu: at.used.cpu * kept + rate.cpu * grown,
            memory: at.used.memory * kept + rate.memory * grown,
        }
    }

    /// Computes every place's share of the past. Sums go up the tree in the order of paths, so that
    /// they come out the same however the tree was made.
    pub fn weigh(&mut self, now: Timestamp) {
        if !self.ranked {
            self.rank();
        }
        self.weigh_below(0, now);
    }

    pub(super) fn weigh_below(&mut self, place: PlaceIx, now: Timestamp) -> (Amounts, Rate, bool) {
        let mut sum = self.used_until(place, now);
        let mut rate = self.get(place).rate;
        let mut active = self.get(place).waiting > 0 || rate != Rate::default() || sum != Amounts::default();
        let mut weight_below = 0.0;
        for child in 0..self.get(place).children.len() {
            let child = self.get(place).children[child];
            let (used, below, some) = self.weigh_below(child, now);
            if some {
                weight_below += self.get(child).weight();
                active = true;
            }
            sum.devices += used.devices;
            sum.cpu += used.cpu;
            sum.memory += used.memory;
            rate.add(below);
        }
        // Decayed use of somebody who always has the rate r is r / decay, so this is an average share.
        let past = self.dominant(sum) * self.decay;
        let at = &mut self.places[place as usize];
        at.past = past;
        at.now = rate;
        at.weight_below = weight_below;
        (sum, rate, active)
    }

    /// Adds what is placed within a pass to the shares of its account and those above.
    pub fn add_share(&mut self, account: PlaceIx, shape: &Shape) {
        let mut next = Some(account);
        while let Some(place) = next {
            let at = &mut self.places[place as usize];
            at.now.add(Rate::of(shape));
            next = (place != 0).then_some(at.parent);
        }
    }

    /// Who has less comes first: the weighted dominant share of decayed use and of what is held now, through the tree.
    ///
    /// An account answers for its own use, and with its part of the weights for what its siblings used: from
    /// `u` of its own and `e` of the place above, it has effectively used `u + (e - u) × weight / siblings' weights`. Divided by
    /// the part of the site that is due to it, that is its share. So members of a place that used much come later
    /// than those of one that used little, but who used little itself comes before who used much, wherever they
    /// are. (Ranking whole places, as a strict tree does, lets one member's large claim lock out all others for days.)
    ///
    /// `charge` is counted as use of the account.
    pub fn share_with(&self, account: PlaceIx, charge: f64) -> f64 {
        let (effective, part) = self.effective(account);
        (effective + charge) / part
    }

    /// The part of the site that a shape takes.
    pub fn part(&self, shape: &Shape) -> f64 {
        self.dominant(Rate::of(shape).amounts())
    }

    /// Whether what is held now counts in shares.
    pub const fn count_present(&mut self, counts: bool) {
        self.counts_present = counts;
    }

    /// Counts something as used, until the next [`Self::weigh`].
    pub fn add_past(&mut self, account: PlaceIx, charge: f64) {
        let mut next = Some(account);
        while let Some(place) = next {
            let at = &mut self.places[place as usize];
            at.past += charge;
            next = (place != 0).then_some(at.parent);
        }
    }

    /// The share that somebody has on average who uses so much once per half-life.
    pub fn charge(&self, shape: &Shape, run_ms: u64) -> f64 {
        self.dominant(Rate::of(shape).amounts()) * float(run_ms) * self.decay
    }

    pub(super) fn effective(&self, place: PlaceIx) -> (f64, f64) {
        let at = self.get(place);
        let present = if self.counts_present { self.present_weight * self.dominant(at.now.amounts()) } else { 0.0 };
        let own = at.past + present;
        if place == 0 {
            return (own, 1.0);
        }
        let (above, part_above) = self.effective(at.parent);
        let part = at.weight() / self.get(at.parent).weight_below.max(at.weight());
        (own + (above - own).max(0.0) * part, part_above * part)
    }

    pub(super) fn dominant(&self, amounts: Amounts) -> f64 {
        let part = |used: f64, of: f64| if of > 0.0 { used / of } else { 0.0 };
        part(amounts.devices, self.capacity.devices)
            .max(part(amounts.cpu, self.capacity.cpu))
            .max(part(amounts.memory, self.capacity.memory))
    }
}
