//! The quota tree with what is in use: an arena, so that a place is a number.

use std::collections::HashMap;

use super::world::Policy;
use super::{Constraint, Spent, Used};
use crate::Timestamp;
use crate::gpu::{Quota, QuotaPath, QuotaTree, Shape};

/// The number of a place; 0 is the site.
pub(super) type PlaceIx = u32;

/// Devices, CPU and memory, over time or at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Amounts {
    pub devices: f64,
    pub cpu: f64,
    pub memory: f64,
}

/// One place with its state.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub path: QuotaPath,
    pub parent: PlaceIx,
    pub depth: usize,
    /// Its number in the order of paths: what tells places apart when nothing else does.
    pub rank: u32,
    /// Sorted by path.
    pub children: Vec<PlaceIx>,
    pub quota: Quota,
    /// Thousandths of devices that leases have.
    pub in_use: u64,
    /// Of these, of leases that were told to end.
    pub ending: u64,
    /// What guaranteed claims will have as soon as others have left: counted within a pass.
    promised: u64,
    pub spent: Option<Spent>,
    /// Decayed use of the account's own leases, up to `used_at`.
    used: Amounts,
    used_at: Timestamp,
    /// What its own leases have at the moment.
    rate: Rate,
    /// Share and rank as of the last [`Tree::weigh`].
    past: f64,
    now: Rate,
    /// The weights of those below that have used something or want something.
    weight_below: f64,
    /// How many of its own claims wait.
    pub waiting: u32,
}

/// What leases have, in whole numbers, so that adding and removing leaves nothing behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Rate {
    devices: u64,
    cpu: u64,
    memory: u64,
}

impl Rate {
    fn of(shape: &Shape) -> Self {
        Self { devices: shape.total_milli(), cpu: shape.cpu_millicores, memory: shape.memory_bytes }
    }

    fn add(&mut self, other: Self) {
        self.devices = self.devices.saturating_add(other.devices);
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
    }

    fn remove(&mut self, other: Self) {
        self.devices = self.devices.saturating_sub(other.devices);
        self.cpu = self.cpu.saturating_sub(other.cpu);
        self.memory = self.memory.saturating_sub(other.memory);
    }

    fn amounts(self) -> Amounts {
        Amounts { devices: float(self.devices), cpu: float(self.cpu), memory: float(self.memory) }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Tree {
    places: Vec<Place>,
    by_path: HashMap<QuotaPath, PlaceIx>,
    /// Decay per millisecond.
    decay: f64,
    present_weight: f64,
    /// Whether what is held now counts, beside the past.
    counts_present: bool,
    capacity: Amounts,
    /// What places that do not lend keep, in all.
    kept: u64,
    /// Thousandths of devices in service.
    in_service: u64,
    /// Whether every place has its rank.
    ranked: bool,
}

impl Tree {
    pub fn new(quotas: &QuotaTree, policy: &Policy) -> Self {
        let site = QuotaPath::site();
        let mut tree = Self {
            places: vec![Place::new(site.clone(), 0, 0, quotas.quota(&site))],
            by_path: HashMap::from([(site, 0)]),
            decay: std::f64::consts::LN_2 / float(policy.half_life_ms.max(1)),
            present_weight: f64::from(policy.present_weight_milli) / 1000.0,
            counts_present: true,
            capacity: Amounts::default(),
            kept: 0,
            in_service: 0,
            ranked: false,
        };
        for (path, _) in quotas.places() {
            tree.place(path, quotas);
        }
        tree
    }

    /// The number of a place; it is added when it is new.
    pub fn place(&mut self, path: &QuotaPath, quotas: &QuotaTree) -> PlaceIx {
        if let Some(found) = self.by_path.get(path) {
            return *found;
        }
        let parent = path.parent().map_or(0, |parent| self.place(&parent, quotas));
        let place = index(self.places.len());
        let depth = self.places[parent as usize].depth + 1;
        self.places.push(Place::new(path.clone(), parent, depth, quotas.quota(path)));
        self.by_path.insert(path.clone(), place);
        let siblings = &self.places[parent as usize].children;
        let at = siblings.partition_point(|sibling| self.places[*sibling as usize].path < *path);
        self.places[parent as usize].children.insert(at, place);
        self.kept += self.keeps(place);
        self.ranked = false;
        place
    }

    /// The number of a place that is there.
    pub fn find(&self, path: &QuotaPath) -> Option<PlaceIx> {
        self.by_path.get(path).copied()
    }

    pub fn get(&self, place: PlaceIx) -> &Place {
        &self.places[place as usize]
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The place and those above it, the site last.
    pub fn path(&self, place: PlaceIx) -> impl Iterator<Item = PlaceIx> + '_ {
        let mut next = Some(place);
        std::iter::from_fn(move || {
            let place = next?;
            next = (place != 0).then(|| self.places[place as usize].parent);
            Some(place)
        })
    }

    /// Whether `below` is `above` or below it.
    pub fn is_below(&self, below: PlaceIx, above: PlaceIx) -> bool {
        self.path(below).any(|place| place == above)
    }

    /// The two places, one level below where the paths of two accounts part; `None` for the same account.
    pub fn parting(&self, one: PlaceIx, other: PlaceIx) -> Option<(PlaceIx, PlaceIx)> {
        let (mut a, mut b) = (one, other);
        while self.get(a).depth > self.get(b).depth {
            if self.get(a).parent == b {
                return None;
            }
            a = self.get(a).parent;
        }
        while self.get(b).depth > self.get(a).depth {
            if self.get(b).parent == a {
                return None;
            }
            b = self.get(b).parent;
        }
        if a == b {
            return None;
        }
        while self.get(a).parent != self.get(b).parent {
            (a, b) = (self.get(a).parent, self.get(b).parent);
        }
        Some((a, b))
    }

    /// What there is in service, for shares and for what is lent.
    pub fn set_capacity(&mut self, devices_milli: u64, cpu_millicores: u64, memory_bytes: u64) {
        self.in_service = devices_milli;
        self.capacity = Rate { devices: devices_milli, cpu: cpu_millicores, memory: memory_bytes }.amounts();
    }

    pub fn set_used(&mut self, place: PlaceIx, used: &Used) {
        let at = &mut self.places[place as usize];
        at.used = Amounts { devices: used.devices, cpu: used.cpu, memory: used.memory };
        at.used_at = used.at;
    }

    pub fn set_spent(&mut self, place: PlaceIx, spent: Option<Spent>) {
        self.places[place as usize].spent = spent;
    }

    /// Decayed use of an account's own leases, as of the last change.
    pub fn used(&self, place: PlaceIx) -> Used {
        let at = self.get(place);
        let Amounts { devices, cpu, memory } = at.used;
        Used { account: at.path.clone(), at: at.used_at, devices, cpu, memory }
    }

    /// A lease is there whose use up to the account's `used_at` is counted already.
    pub fn add_running(&mut self, account: PlaceIx, shape: &Shape) {
        self.places[account as usize].rate.add(Rate::of(shape));
        self.add_in_use(account, shape.total_milli());
    }

    /// A lease begins.
    pub fn begin(&mut self, account: PlaceIx, shape: &Shape, now: Timestamp) {
        self.fold(account, now);
        self.add_running(account, shape);
    }

    /// A lease ends.
    pub fn end(&mut self, account: PlaceIx, shape: &Shape, now: Timestamp) {
        self.fold(account, now);
        self.places[account as usize].rate.remove(Rate::of(shape));
        self.remove_in_use(account, shape.total_milli());
    }

    /// A lease was told to end, or that it may stay.
    pub fn set_ending(&mut self, account: PlaceIx, milli: u64, ending: bool) {
        let mut next = Some(account);
        while let Some(place) = next {
            let at = &mut self.places[place as usize];
            at.ending = if ending { at.ending.saturating_add(milli) } else { at.ending.saturating_sub(milli) };
            next = (place != 0).then_some(at.parent);
        }
    }

    /// A guaranteed claim gets what others leave.
    pub fn promise(&mut self, account: PlaceIx, milli: u64) {
        let mut next = Some(account);
        while let Some(place) = next {
            let at = &mut self.places[place as usize];
            at.promised = at.promised.saturating_add(milli);
            next = (place != 0).then_some(at.parent);
        }
    }

    /// A pass begins: nothing is promised yet.
    pub fn forget_promises(&mut self) {
        for place in &mut self.places {
            place.promised = 0;
        }
    }

    /// Something is placed within a pass: counted at once, so that the order changes with it.
    pub fn add_in_use(&mut self, account: PlaceIx, milli: u64) {
        let mut next = Some(account);
        while let Some(place) = next {
            let kept = self.keeps(place);
            let at = &mut self.places[place as usize];
            at.in_use = at.in_use.saturating_add(milli);
            next = (place != 0).then_some(at.parent);
            self.kept = self.kept - kept + self.keeps(place);
        }
    }

    fn remove_in_use(&mut self, account: PlaceIx, milli: u64) {
        let mut next = Some(account);
        while let Some(place) = next {
            let kept = self.keeps(place);
            let at = &mut self.places[place as usize];
            at.in_use = at.in_use.saturating_sub(milli);
            next = (place != 0).then_some(at.parent);
            self.kept = self.kept - kept + self.keeps(place);
        }
    }

    /// What a place that does not lend keeps for itself at the moment; nothing where one above keeps it already.
    fn keeps(&self, place: PlaceIx) -> u64 {
        let at = self.get(place);
        if at.quota.lends || place == 0 || self.path(at.parent).any(|above| above != 0 && !self.get(above).quota.lends)
        {
            return 0;
        }
        at.quota.guaranteed_milli.saturating_sub(at.in_use)
    }

    fn rank(&mut self) {
        let mut order: Vec<PlaceIx> = (0..index(self.places.len())).collect();
        order.sort_by(|a, b| self.get(*a).path.cmp(&self.get(*b).path));
        for (rank, place) in (0..).zip(order) {
            self.places[place as usize].rank = rank;
        }
        self.ranked = true;
    }

    /// Whether an account's claim would be within what is guaranteed to it or to a place above it. Leases
    /// that were told to end do not count: whoever loses something for others may ask for it again.
    pub fn is_guaranteed(&self, account: PlaceIx, milli: u64) -> bool {
        milli > 0 && self.path(account).any(|place| place != 0 && self.within_guarantee(place, milli))
    }

    /// Whether a claim is within a guarantee, whatever else was promised: others do not keep from it what is its own.
    fn is_own(&self, account: PlaceIx, milli: u64) -> bool {
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

    fn hard_edge(&self, place: PlaceIx) -> Option<Constraint> {
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

    /// So many more, or fewer, of an account's claims wait.
    pub fn count_waiting(&mut self, account: PlaceIx, more: bool) {
        let waiting = &mut self.places[account as usize].waiting;
        *waiting = if more { *waiting + 1 } else { waiting.saturating_sub(1) };
    }

    /// What is left for an account beside what others keep, and what they keep.
    fn left_beside_kept(&self, account: PlaceIx) -> (u64, u64) {
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

    /// Brings an account's use up to a time.
    fn fold(&mut self, account: PlaceIx, now: Timestamp) {
        let used = self.used_until(account, now);
        let at = &mut self.places[account as usize];
        if now > at.used_at {
            (at.used, at.used_at) = (used, now);
        }
    }

    fn used_until(&self, account: PlaceIx, now: Timestamp) -> Amounts {
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

    fn weigh_below(&mut self, place: PlaceIx, now: Timestamp) -> (Amounts, Rate, bool) {
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

    fn effective(&self, place: PlaceIx) -> (f64, f64) {
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

    fn dominant(&self, amounts: Amounts) -> f64 {
        let part = |used: f64, of: f64| if of > 0.0 { used / of } else { 0.0 };
        part(amounts.devices, self.capacity.devices)
            .max(part(amounts.cpu, self.capacity.cpu))
            .max(part(amounts.memory, self.capacity.memory))
    }
}

impl Place {
    fn new(path: QuotaPath, parent: PlaceIx, depth: usize, quota: Quota) -> Self {
        Self {
            path,
            parent,
            depth,
            rank: 0,
            children: Vec::new(),
            quota,
            in_use: 0,
            ending: 0,
            promised: 0,
            spent: None,
            used: Amounts::default(),
            used_at: Timestamp::from_millis(0),
            rate: Rate::default(),
            past: 0.0,
            now: Rate::default(),
            weight_below: 0.0,
            waiting: 0,
        }
    }

    fn weight(&self) -> f64 {
        f64::from(self.quota.weight_milli.max(1)) / 1000.0
    }
}

/// Shares are ratios: the 53 bits of a float are more than enough.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn float(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "a time span in milliseconds has fewer than 53 bits")]
fn millis(value: i64) -> f64 {
    value as f64
}

fn index(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
