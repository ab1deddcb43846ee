//! The quota tree with what is in use: an arena, so that a place is a number.

mod rights;
mod shares;

use std::collections::HashMap;

use super::world::Policy;
use super::{Spent, Used};
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

    fn rank(&mut self) {
        let mut order: Vec<PlaceIx> = (0..index(self.places.len())).collect();
        order.sort_by(|a, b| self.get(*a).path.cmp(&self.get(*b).path));
        for (rank, place) in (0..).zip(order) {
            self.places[place as usize].rank = rank;
        }
        self.ranked = true;
    }

    /// So many more, or fewer, of an account's claims wait.
    pub fn count_waiting(&mut self, account: PlaceIx, more: bool) {
        let waiting = &mut self.places[account as usize].waiting;
        *waiting = if more { *waiting + 1 } else { waiting.saturating_sub(1) };
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
