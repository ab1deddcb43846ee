//! Who is next: down the tree, always to the place with the smallest share.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::engine::{Engine, GroupIx, number};
use super::tree::{PlaceIx, Tree};
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
    /// Per place, the places below with somebody to look at.
    below: Vec<BinaryHeap<Below>>,
    /// Per account, its groups by their oldest claim not looked at yet.
    groups: Vec<BinaryHeap<Reverse<(Age, GroupIx)>>>,
}

#[derive(Debug, Clone, Copy)]
struct Below {
    share: f64,
    oldest: Timestamp,
    rank: u32,
    place: PlaceIx,
}

impl Sweep {
    pub fn new(engine: &Engine, filter: Filter) -> Self {
        let places = engine.tree.len();
        let mut sweep = Self { below: vec![BinaryHeap::new(); places], groups: vec![BinaryHeap::new(); places] };
        let mut added = vec![false; places];
        for (account, groups) in &engine.queues {
            if engine.tree.past_soft_budget(*account) != filter.past_budget {
                continue;
            }
            let heads = groups.iter().filter_map(|group| {
                let state = &engine.groups[*group as usize];
                if state.class != filter.class {
                    return None;
                }
                state.waiting.first().map(|age| Reverse((*age, *group)))
            });
            let heap: BinaryHeap<_> = heads.collect();
            let Some(Reverse(((oldest, _), _))) = heap.peek().copied() else { continue };
            sweep.groups[*account as usize] = heap;
            let mut place = *account;
            while place != 0 && !std::mem::replace(&mut added[place as usize], true) {
                let parent = engine.tree.get(place).parent;
                sweep.below[parent as usize].push(Below::new(&engine.tree, place, oldest));
                place = parent;
            }
        }
        sweep
    }

    /// The claim that comes next, with its group.
    pub fn next(&mut self, tree: &Tree) -> Option<(GroupIx, ClaimId)> {
        let mut place = 0;
        loop {
            if let Some(Reverse(((_, claim), group))) = self.groups[place as usize].peek() {
                return Some((*group, *claim));
            }
            match self.below[place as usize].peek() {
                Some(below) => place = below.place,
                None if place == 0 => return None,
                None => {
                    place = tree.get(place).parent;
                    self.below[place as usize].pop();
                }
            }
        }
    }

    /// The group of the claim that was next is not looked at again.
    pub fn skip_group(&mut self, account: PlaceIx) {
        self.groups[account as usize].pop();
    }

    /// The claim that was next waits on, but others of its group are looked at.
    pub fn skip_claim(&mut self, engine: &Engine, account: PlaceIx) {
        if let Some(Reverse((age, group))) = self.groups[account as usize].pop() {
            let rest = (std::ops::Bound::Excluded(age), std::ops::Bound::Unbounded);
            if let Some(next) = engine.groups[group as usize].waiting.range(rest).next() {
                self.groups[account as usize].push(Reverse((*next, group)));
            }
        }
    }

    /// The claim that was next has started: its account and all above have more than before.
    pub fn started(&mut self, engine: &Engine, account: PlaceIx) {
        self.skip_claim(engine, account);
        for place in engine.tree.path(account).collect::<Vec<_>>() {
            let parent = engine.tree.get(place).parent;
            if place != 0
                && let Some(below) = self.below[parent as usize].pop()
            {
                self.below[parent as usize].push(Below::new(&engine.tree, place, below.oldest));
            }
        }
    }
}

impl Below {
    fn new(tree: &Tree, place: PlaceIx, oldest: Timestamp) -> Self {
        Self { share: tree.share(place), oldest, rank: tree.get(place).rank, place }
    }

    fn key(&self) -> (Timestamp, u32) {
        (self.oldest, self.rank)
    }
}

/// The greatest comes first.
impl Ord for Below {
    fn cmp(&self, other: &Self) -> Ordering {
        other.share.total_cmp(&self.share).then_with(|| other.key().cmp(&self.key()))
    }
}

impl PartialOrd for Below {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Below {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Below {}

impl Engine {
    /// All waiting claims in the order in which they are looked at, as things are. The first part of the result
    /// is the claim, the second its group.
    pub(super) fn in_order(&self) -> Vec<(ClaimId, GroupIx)> {
        let mut order = Vec::with_capacity(self.waiting as usize);
        for filter in FILTERS {
            let mut sweep = Sweep::new(self, filter);
            while let Some((group, claim)) = sweep.next(&self.tree) {
                order.push((claim, group));
                sweep.skip_claim(self, self.groups[group as usize].account);
            }
        }
        debug_assert_eq!(number(order.len()), self.waiting);
        order
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
