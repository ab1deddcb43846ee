//! Who is next: the account with the smallest share, and of its claims the oldest.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashSet};

use super::engine::{ClaimIx, Engine, GroupIx, number};
use crate::gpu::Priority;
use crate::{ClaimId, Timestamp};

/// Which of the waiting claims a sweep looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filter {
    pub class: Priority,
    /// Those past their soft budget, or those within.
    pub past_budget: bool,
}

/// A claim by age: what sorts those of one account.
type Age = (Timestamp, ClaimId);

/// One walk over the waiting claims in their order, which changes while they start.
pub(super) struct Sweep {
    /// Groups with somebody to look at. Shares only grow while claims start, so an entry whose share has grown
    /// since is put back when its turn comes.
    turns: BinaryHeap<Reverse<Turn>>,
    now: Timestamp,
}

/// When it is a group's turn, by its oldest claim not looked at yet: the smallest rank first, then who waits longest.
#[derive(Debug, Clone, Copy)]
struct Turn {
    rank: f64,
    oldest: Age,
    group: GroupIx,
}

impl Sweep {
    pub fn new(engine: &Engine, filter: Filter, now: Timestamp) -> Self {
        let mut turns = Vec::new();
        for (account, groups) in &engine.queues {
            if engine.tree.past_soft_budget(*account) != filter.past_budget {
                continue;
            }
            for group in groups {
                let state = &engine.groups[*group as usize];
                if state.class == filter.class
                    && let Some(oldest) = state.waiting.first()
                {
                    turns.push(Reverse(Turn {
                        rank: engine.rank(*group, *oldest, now),
                        oldest: *oldest,
                        group: *group,
                    }));
                }
            }
        }
        Self { turns: turns.into(), now }
    }

    /// The claim that comes next, with its group.
    pub fn next(&mut self, engine: &Engine) -> Option<(GroupIx, ClaimId)> {
        loop {
            let mut top = self.turns.peek_mut()?;
            let Reverse(turn) = &mut *top;
            let rank = engine.rank(turn.group, turn.oldest, self.now);
            if rank <= turn.rank {
                return Some((turn.group, turn.oldest.1));
            }
            turn.rank = rank;
        }
    }

    /// The group of the claim that was next is not looked at again.
    pub fn skip_group(&mut self) {
        self.turns.pop();
    }

    /// The claim that was next waits on, or has started, and others of its group are looked at.
    pub fn skip_claim(&mut self, engine: &Engine) {
        let Some(mut top) = self.turns.peek_mut() else { return };
        let Reverse(turn) = &mut *top;
        let rest = (std::ops::Bound::Excluded(turn.oldest), std::ops::Bound::Unbounded);
        match engine.groups[turn.group as usize].waiting.range(rest).next() {
            Some(next) => {
                turn.oldest = *next;
                turn.rank = engine.rank(turn.group, *next, self.now);
            }
            None => {
                std::collections::binary_heap::PeekMut::pop(top);
            }
        }
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.total_cmp(&other.rank).then_with(|| self.oldest.cmp(&other.oldest))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

impl Engine {
    /// Smaller comes first: the account's share, with what the claim is expected to add to it, less what it has waited.
    pub(super) fn rank_of(&self, ix: ClaimIx, now: Timestamp) -> f64 {
        let entry = self.entry(ix);
        self.rank(entry.group, (entry.claim.submitted_at, entry.claim.id), now)
    }

    fn rank(&self, group: GroupIx, oldest: Age, now: Timestamp) -> f64 {
        let state = &self.groups[group as usize];
        let run_ms = state.run_ms;
        let charge = self.tree.charge(&self.shapes[state.shape as usize].shape, run_ms.unwrap_or(0));
        let waited = now.since(oldest.0).as_secs_f64() * 1000.0 / self.policy.age_weight_ms.max(1) as f64;
        self.tree.share_with(state.account, charge * f64::from(self.policy.length_weight_milli) / 1000.0) - waited
    }
}

impl Engine {
    /// All waiting claims with their groups, in the order in which this pass looked at them; or, `charged`, in the order in which
    /// their turn comes: each is charged with what it is expected to use when it has, before the next is chosen, and what
    /// runs now will have ended by then.
    pub(super) fn in_order(&mut self, now: Timestamp, charged: bool) -> Vec<(ClaimId, GroupIx)> {
        let mut order = Vec::with_capacity(self.waiting as usize);
        self.tree.count_present(!charged);
        for filter in FILTERS {
            let mut sweep = Sweep::new(self, filter, now);
            while let Some((group, claim)) = sweep.next(self) {
                order.push((claim, group));
                if charged {
                    self.charge(group);
                }
                sweep.skip_claim(self);
            }
        }
        self.tree.count_present(true);
        self.tree.weigh(now);
        debug_assert_eq!(number(order.len()), self.waiting);
        order
    }

    /// The same order with what is guaranteed first, as it is served.
    pub(super) fn guaranteed_first(&self, mut order: Vec<(ClaimId, GroupIx)>) -> Vec<(ClaimId, GroupIx)> {
        let fast: HashSet<ClaimId> =
            self.holds.iter().filter(|hold| hold.guaranteed).filter_map(super::hold::HoldState::claim).collect();
        order.sort_by_key(|(claim, group)| {
            let state = &self.groups[*group as usize];
            let milli = self.shapes[state.shape as usize].shape.total_milli();
            !fast.contains(claim) && !self.tree.is_guaranteed(state.account, milli)
        });
        order
    }
}

impl Engine {
    /// One more claim of a group is taken to have run.
    fn charge(&mut self, group: GroupIx) {
        let state = &self.groups[group as usize];
        let (account, shape) = (state.account, state.shape);
        let run_ms = state.run_ms;
        let charge = self.tree.charge(&self.shapes[shape as usize].shape, run_ms.unwrap_or(0));
        self.tree.add_past(account, charge);
    }
}

/// The classes in their order, those within their budget before those past it.
pub(super) const FILTERS: [Filter; 6] = [
    Filter { class: Priority::High, past_budget: false },
    Filter { class: Priority::High, past_budget: true },
    Filter { class: Priority::Normal, past_budget: false },
    Filter { class: Priority::Normal, past_budget: true },
    Filter { class: Priority::Low, past_budget: false },
    Filter { class: Priority::Low, past_budget: true },
];
