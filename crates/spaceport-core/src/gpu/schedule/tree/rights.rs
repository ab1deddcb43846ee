//! What quotas allow: guarantees, limits, budgets, and what is not lent.

use super::{PlaceIx, Tree};
use crate::gpu::schedule::{Constraint, Spent};

impl Tree {
    /// What a place that does not lend keeps for itself at the moment; nothing where one above keeps it already.
    pub(super) fn keeps(&self, place: PlaceIx) -> u64 {
        let at = self.get(place);
        if at.quota.lends || place == 0 || self.path(at.parent).any(|above| above != 0 && !self.get(above).quota.lends)
        {
            return 0;
        }
        at.quota.guaranteed_milli.saturating_sub(at.in_use)
    }

    /// Whether an account's claim would be within what is guaranteed to it or to a place above it. Leases
    /// that were told to end do not count: whoever loses something for others may ask for it again.
    pub fn is_guaranteed(&self, account: PlaceIx, milli: u64) -> bool {
        milli > 0 && self.path(account).any(|place| place != 0 && self.within_guarantee(place, milli))
    }

    /// Whether a claim is within a guarantee, whatever else was promised: others do not keep from it what is its own.
    pub(super) fn is_own(&self, account: PlaceIx, milli: u64) -> bool {
        self.path(account).any(|place| {
            let at = self.get(place);
            place != 0 && at.in_use - at.ending.min(at.in_use) + milli <= at.quota.guaranteed_milli
        })
    }

    /// Whether a place would still be within its guarantee.
    pub fn within_guarantee(&self, place: PlaceIx, milli: u64) -> bool {
        let at = self.get(place);
        at.in_use - at.ending.min(at.in_use) + at.promised + milli <= at.quota.guaranteed_milli
    }

    /// Whether the account or a place above it is past its soft budget.
    pub fn past_soft_budget(&self, account: PlaceIx) -> bool {
        self.path(account).any(|place| {
            let at = self.get(place);
            let soft = at.quota.budget.and_then(|budget| budget.soft_milli_seconds);
            soft.is_some_and(|soft| at.spent.as_ref().is_some_and(|spent| spent.milli_seconds >= soft))
        })
    }

    /// Whether any budget has a hard edge.
    pub fn has_budgets(&self) -> bool {
        self.places.iter().any(|place| place.quota.budget.is_some_and(|budget| budget.hard_milli_seconds.is_some()))
    }

    /// The place at or above an account whose hard budget is reached.
    pub fn past_hard_budget(&self, account: PlaceIx) -> Option<PlaceIx> {
        self.path(account).find(|place| self.hard_edge(*place).is_some())
    }

    pub(super) fn hard_edge(&self, place: PlaceIx) -> Option<Constraint> {
        let at = self.get(place);
        let hard_milli_seconds = at.quota.budget.and_then(|budget| budget.hard_milli_seconds)?;
        let Spent { place, milli_seconds, renews_at } = at.spent.clone()?;
        let edge = Constraint::Budget { place, spent_milli_seconds: milli_seconds, hard_milli_seconds, renews_at };
        (milli_seconds >= hard_milli_seconds).then_some(edge)
    }

    /// Whether the quotas allow an account so much more.
    pub fn allows(&self, account: PlaceIx, milli: u64) -> bool {
        let mut place = account;
        loop {
            let at = &self.places[place as usize];
            let after = at.in_use.saturating_add(milli);
            if at.quota.limit_milli.is_some_and(|limit| milli > 0 && after > limit)
                || (place != 0 && !at.quota.borrows && milli > 0 && after > at.quota.guaranteed_milli)
                || (at.quota.budget.is_some() && self.hard_edge(place).is_some())
            {
                return false;
            }
            if place == 0 {
                break;
            }
            place = at.parent;
        }
        milli == 0 || self.kept == 0 || self.is_own(account, milli) || self.left_beside_kept(account).0 >= milli
    }

    /// What is left for an account beside what others keep, and what they keep.
    pub(super) fn left_beside_kept(&self, account: PlaceIx) -> (u64, u64) {
        let own: u64 = self.path(account).map(|place| self.keeps(place)).sum();
        let kept = self.kept - own.min(self.kept);
        (self.in_service.saturating_sub(self.get(0).in_use).saturating_sub(kept), kept)
    }

    /// Everything in the quotas that forbids a claim.
    pub fn forbids(&self, account: PlaceIx, wanted_milli: u64) -> Vec<Constraint> {
        let mut because = Vec::new();
        for place in self.path(account) {
            let at = self.get(place);
            let in_use_milli = at.in_use;
            let after = in_use_milli.saturating_add(wanted_milli);
            if let Some(limit_milli) = at.quota.limit_milli
                && wanted_milli > 0
                && after > limit_milli
            {
                because.push(Constraint::Limit { place: at.path.clone(), limit_milli, in_use_milli, wanted_milli });
            }
            let guaranteed_milli = at.quota.guaranteed_milli;
            if place != 0 && !at.quota.borrows && wanted_milli > 0 && after > guaranteed_milli {
                let place = at.path.clone();
                because.push(Constraint::MayNotBorrow { place, guaranteed_milli, in_use_milli, wanted_milli });
            }
            because.extend(self.hard_edge(place));
        }
        if self.kept > 0 && wanted_milli > 0 && !self.is_own(account, wanted_milli) {
            let (left_milli, kept_milli) = self.left_beside_kept(account);
            if left_milli < wanted_milli && kept_milli > 0 {
                because.push(Constraint::NotLent { kept_milli, left_milli, wanted_milli });
            }
        }
        because
    }
}
