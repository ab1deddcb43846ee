//! The state between passes, with the indexes that make a pass cheap.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::hold::HoldState;
use super::tree::{PlaceIx, Tree};
use super::world::{Hold, Notice, Policy, Promise, Reservation, Running, Spent, Used, World};
use crate::gpu::estimate::{Kept, RunLengths, StartTimes};
use crate::gpu::{
    Claim, Cluster, Device, DeviceHealth, DeviceId, Lease, Node, Placement, Placer, Priority, QuotaTree, Shape,
    Workload,
};
use crate::{ClaimId, LeaseId, ReservationId, Timestamp};

pub(super) type ClaimIx = u32;
pub(super) type ShapeIx = u32;
pub(super) type GroupIx = u32;

/// The scheduler with its memory: told what changed, it decides what follows.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) policy: Policy,
    pub(super) quotas: QuotaTree,
    pub(super) tree: Tree,
    pub(super) nodes: Vec<Node>,
    /// Devices that are listed and do not work.
    lost: HashSet<DeviceId>,
    pub(super) cluster: Cluster,
    pub(super) placer: Placer,
    workload: Workload,
    pub(super) run_lengths: RunLengths,
    pub(super) start_times: StartTimes,
    pub(super) claims: Vec<Option<Entry>>,
    free: Vec<ClaimIx>,
    pub(super) ids: HashMap<ClaimId, ClaimIx>,
    pub(super) shapes: Vec<ShapeState>,
    shape_numbers: HashMap<Shape, ShapeIx>,
    pub(super) groups: Vec<Group>,
    group_numbers: HashMap<(PlaceIx, Priority, ShapeIx, Option<u64>), GroupIx>,
    /// The groups of each account that have somebody waiting.
    pub(super) queues: BTreeMap<PlaceIx, BTreeSet<GroupIx>>,
    pub(super) waiting: u32,
    /// Waiting claims of several devices, oldest first.
    pub(super) large: BTreeSet<(Timestamp, ClaimId)>,
    /// Leases by node.
    pub(super) on_node: Vec<BTreeMap<ClaimId, ClaimIx>>,
    /// Leases of places with a guarantee, oldest first.
    pub(super) at_place: HashMap<PlaceIx, BTreeSet<(Timestamp, ClaimId)>>,
    /// Leases that were told to end.
    pub(super) ending: BTreeSet<ClaimId>,
    /// Leases whose node or device is gone.
    pub(super) gone: BTreeSet<ClaimId>,
    pub(super) holds: Vec<HoldState>,
    pub(super) reservations: BTreeMap<ReservationId, Reservation>,
}

/// A claim that waits or runs.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub claim: Claim,
    pub account: PlaceIx,
    pub shape: ShapeIx,
    pub group: GroupIx,
    pub lease: Option<Leased>,
    /// What it was told when it began to wait.
    pub promise: Option<Promise>,
    /// For whom it had to leave.
    pub displaced_by: BTreeSet<ClaimId>,
}

/// What a running claim has.
#[derive(Debug, Clone)]
pub(super) struct Leased {
    pub placement: Placement,
    pub lease: Lease,
    pub notice: Option<Notice>,
}

/// A shape with what depends on it alone.
#[derive(Debug, Clone)]
pub(super) struct ShapeState {
    pub shape: Shape,
    pub kinds: Vec<bool>,
}

/// Claims of one account that differ in age only.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub account: PlaceIx,
    pub class: Priority,
    pub shape: ShapeIx,
    pub limit_ms: Option<u64>,
    /// How long its claims are expected to run, as of the last [`Engine::expect_runs`].
    pub run_ms: Option<u64>,
    pub waiting: BTreeSet<(Timestamp, ClaimId)>,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Somebody wants devices.
    Submitted(Claim),
    /// A waiting claim is not wanted any more.
    Cancelled(ClaimId),
    /// A lease is over: ended by itself (`ran` is learned from), was stopped, or preempted.
    Ended {
        /// Whose.
        claim: ClaimId,
        /// It ran until it was done: its length is learned from.
        done: bool,
        /// It waits again, with its first time of submission.
        again: bool,
    },
    /// Nodes or devices came, went, or changed their state: the whole list.
    Nodes(Vec<Node>),
    /// What a place has spent of its budget.
    Spent(Spent),
    /// What is usually asked for, learned anew from the claims of the past.
    Workload(Workload),
    /// The quotas changed.
    Quotas(QuotaTree),
    /// A reservation was made or changed.
    Reserved(Reservation),
    /// A reservation was withdrawn, or is over.
    Unreserved(ReservationId),
}

impl Engine {
    /// An engine that knows the world as it is.
    #[must_use]
    pub fn new(world: &World) -> Self {
        let mut engine = Self {
            policy: world.policy.clone(),
            quotas: world.quotas.clone(),
            tree: Tree::new(&world.quotas, &world.policy),
            nodes: Vec::new(),
            lost: HashSet::new(),
            cluster: Cluster::new([]),
            placer: Placer::new(world.workload.clone()),
            workload: world.workload.clone(),
            run_lengths: world.run_lengths.clone(),
            start_times: world.start_times.clone(),
            claims: Vec::new(),
            free: Vec::new(),
            ids: HashMap::new(),
            shapes: Vec::new(),
            shape_numbers: HashMap::new(),
            groups: Vec::new(),
            group_numbers: HashMap::new(),
            queues: BTreeMap::new(),
            waiting: 0,
            large: BTreeSet::new(),
            on_node: Vec::new(),
            at_place: HashMap::new(),
            ending: BTreeSet::new(),
            gone: BTreeSet::new(),
            holds: Vec::new(),
            reservations: world.reservations.iter().map(|one| (one.id, one.clone())).collect(),
        };
        engine.set_nodes(world.nodes.clone());
        for used in &world.used {
            let place = engine.tree.place(&used.account, &engine.quotas);
            engine.tree.set_used(place, used);
        }
        for spent in &world.spent {
            engine.set_spent(spent.clone());
        }
        let mut running: Vec<&Running> = world.running.iter().collect();
        running.sort_by_key(|one| (one.lease.started_at, one.claim.id));
        for one in running {
            engine.add_running(one);
        }
        let mut waiting: Vec<&Claim> = world.waiting.iter().collect();
        waiting.sort_by_key(|claim| (claim.submitted_at, claim.id));
        for claim in waiting {
            engine.submit(claim.clone());
        }
        for promise in &world.promises {
            if let Some(ix) = engine.find(promise.claim) {
                engine.entry_mut(ix).promise = Some(promise.clone());
            }
        }
        for (claim, by) in &world.displaced {
            if let Some(ix) = engine.find(*claim) {
                engine.entry_mut(ix).displaced_by.insert(*by);
            }
        }
        let mut holds: Vec<&Hold> = world.holds.iter().collect();
        holds.sort();
        for hold in holds {
            engine.add_hold(hold);
        }
        engine
    }

    /// Takes note of what happened by `now`.
    pub fn apply(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Submitted(claim) => self.arrived(claim),
            Event::Cancelled(claim) => {
                if let Some(ix) = self.find(claim)
                    && self.entry(ix).lease.is_none()
                {
                    self.leave_queue(ix);
                    self.forget(ix);
                }
            }
            Event::Ended { claim, done, again } => self.ended(now, claim, done, again),
            Event::Nodes(nodes) => self.replace_nodes(nodes),
            Event::Spent(spent) => self.set_spent(spent),
            Event::Workload(workload) => {
                self.placer.learn(workload.clone());
                self.workload = workload;
            }
            Event::Quotas(quotas) => {
                let mut world = self.world(now);
                world.quotas = quotas;
                *self = Self::new(&world);
            }
            Event::Reserved(reservation) => {
                self.reservations.insert(reservation.id, reservation);
            }
            Event::Unreserved(id) => {
                self.reservations.remove(&id);
            }
        }
    }

    /// The world as the engine knows it, for [`schedule`](super::schedule) and for storing.
    #[must_use]
    pub fn world(&self, now: Timestamp) -> World {
        let mut world = World {
            now,
            nodes: self.nodes.clone(),
            quotas: self.quotas.clone(),
            reservations: self.reservations.values().cloned().collect(),
            holds: self.holds.iter().map(|hold| hold.as_value(&self.cluster)).collect(),
            run_lengths: self.run_lengths.clone(),
            start_times: self.start_times.clone(),
            workload: self.workload.clone(),
            policy: self.policy.clone(),
            ..World::default()
        };
        for entry in self.claims.iter().flatten() {
            let there = entry.displaced_by.iter().filter(|by| self.ids.contains_key(by));
            world.displaced.extend(there.map(|by| (entry.claim.id, *by)));
            match &entry.lease {
                Some(leased) => {
                    let (lease, notice) = (leased.lease.clone(), leased.notice.clone());
                    world.running.push(Running { claim: entry.claim.clone(), lease, notice });
                }
                None => {
                    world.waiting.push(entry.claim.clone());
                    world.promises.extend(entry.promise.clone());
                }
            }
        }
        for place in 0..self.tree.len() {
            let place = number(place);
            let used: Used = self.tree.used(place);
            if used.at != Timestamp::default() {
                world.used.push(used);
            }
            world.spent.extend(self.tree.get(place).spent.clone());
        }
        world
    }

    /// How many claims wait.
    #[must_use]
    pub const fn waiting(&self) -> u32 {
        self.waiting
    }

    /// How long claims run, as far as it was learned.
    #[must_use]
    pub const fn run_lengths(&self) -> &RunLengths {
        &self.run_lengths
    }

    /// What a claim that waits was told.
    #[must_use]
    pub fn promise(&self, claim: ClaimId) -> Option<&Promise> {
        self.find(claim).and_then(|ix| self.entry(ix).promise.as_ref())
    }

    /// What is free, with what is held taken out.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn find(&self, claim: ClaimId) -> Option<ClaimIx> {
        self.ids.get(&claim).copied()
    }

    #[expect(clippy::expect_used, reason = "numbers of claims are made and forgotten in this file only")]
    pub(super) fn entry(&self, ix: ClaimIx) -> &Entry {
        self.claims[ix as usize].as_ref().expect("a claim's number is valid while it is known")
    }

    #[expect(clippy::expect_used, reason = "numbers of claims are made and forgotten in this file only")]
    pub(super) fn entry_mut(&mut self, ix: ClaimIx) -> &mut Entry {
        self.claims[ix as usize].as_mut().expect("a claim's number is valid while it is known")
    }

    fn set_nodes(&mut self, nodes: Vec<Node>) {
        self.cluster = Cluster::new(&nodes);
        self.on_node = vec![BTreeMap::new(); self.cluster.nodes().len()];
        let listed = || nodes.iter().flat_map(|node| &node.devices);
        let is_lost = |device: &&Device| matches!(device.health, DeviceHealth::Lost { .. });
        self.lost = listed().filter(is_lost).map(|device| device.id.clone()).collect();
        let devices = listed().filter(|device| !is_lost(device)).count() as u64;
        let cpu = nodes.iter().map(|node| node.cpu_millicores).fold(0, u64::saturating_add);
        let memory = nodes.iter().map(|node| node.memory_bytes).fold(0, u64::saturating_add);
        self.tree.set_capacity(devices * 1000, cpu, memory);
        self.nodes = nodes;
        for state in &mut self.shapes {
            state.kinds = self.cluster.suitable_kinds(&state.shape);
        }
    }

    fn replace_nodes(&mut self, nodes: Vec<Node>) {
        let holds: Vec<Hold> = self.holds.iter().map(|hold| hold.as_value(&self.cluster)).collect();
        self.holds.clear();
        self.set_nodes(nodes);
        self.gone.clear();
        let running: Vec<ClaimIx> = self.running_in_order();
        for ix in running {
            self.settle(ix);
        }
        for hold in &holds {
            self.add_hold(hold);
        }
    }

    pub(super) fn running_in_order(&self) -> Vec<ClaimIx> {
        let mut running: Vec<(ClaimId, ClaimIx)> = (0..)
            .zip(&self.claims)
            .filter_map(|(ix, entry)| {
                entry.as_ref().filter(|entry| entry.lease.is_some()).map(|entry| (entry.claim.id, ix))
            })
            .collect();
        running.sort_unstable();
        running.into_iter().map(|(_, ix)| ix).collect()
    }

    fn set_spent(&mut self, spent: Spent) {
        let place = self.tree.place(&spent.place, &self.quotas);
        self.tree.set_spent(place, Some(spent));
    }

    fn intern(&mut self, shape: &Shape) -> ShapeIx {
        if let Some(found) = self.shape_numbers.get(shape) {
            return *found;
        }
        let ix = number(self.shapes.len());
        self.shapes.push(ShapeState { shape: shape.clone(), kinds: self.cluster.suitable_kinds(shape) });
        self.shape_numbers.insert(shape.clone(), ix);
        ix
    }

    fn add(&mut self, claim: Claim) -> ClaimIx {
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
    fn arrived(&mut self, claim: Claim) {
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
    pub(super) fn expect_runs(&mut self) {
        let groups: Vec<GroupIx> = self.queues.values().flatten().copied().collect();
        for group in groups {
            self.expect_run(group);
        }
    }

    fn expect_run(&mut self, group: GroupIx) {
        let state = &mut self.groups[group as usize];
        state.run_ms = self.run_lengths.fresh_ms(&self.tree.get(state.account).path, state.limit_ms);
    }

    fn submit(&mut self, claim: Claim) {
        if self.ids.contains_key(&claim.id) {
            return;
        }
        let ix = self.add(claim);
        self.enter_queue(ix);
    }

    pub(super) fn enter_queue(&mut self, ix: ClaimIx) {
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

    fn leave_queue(&mut self, ix: ClaimIx) {
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

    fn forget(&mut self, ix: ClaimIx) {
        if let Some(entry) = self.claims[ix as usize].take() {
            self.ids.remove(&entry.claim.id);
            self.free.push(ix);
        }
    }

    fn add_running(&mut self, one: &Running) {
        if self.ids.contains_key(&one.claim.id) {
            return;
        }
        let ix = self.add(one.claim.clone());
        let account = self.entry(ix).account;
        if one.lease.started_at > self.tree.used(account).at {
            self.tree.begin(account, &one.claim.shape, one.lease.started_at);
        } else {
            self.tree.add_running(account, &one.claim.shape);
        }
        let placement = Placement { node: 0, devices: Vec::new() };
        let (lease, notice) = (one.lease.clone(), one.notice.clone());
        self.entry_mut(ix).lease = Some(Leased { placement, lease, notice });
        self.index_lease(ix);
        self.settle(ix);
    }

    /// A lease takes its place in the cluster, or is found to be without one.
    fn settle(&mut self, ix: ClaimIx) {
        let entry = self.entry(ix);
        let (id, shape) = (entry.claim.id, entry.claim.shape.clone());
        let Some(leased) = &entry.lease else { return };
        let lost = |placement: &Placement| {
            placement.devices.len() < leased.lease.devices.len()
                || leased.lease.devices.iter().any(|leased| self.lost.contains(&leased.device))
        };
        match self.cluster.locate(&leased.lease) {
            Some(placement) => {
                if lost(&placement) {
                    self.gone.insert(id);
                }
                self.cluster.take(&shape, &placement);
                self.on_node[placement.node as usize].insert(id, ix);
                if let Some(leased) = &mut self.entry_mut(ix).lease {
                    leased.placement = placement;
                }
            }
            None => {
                self.gone.insert(id);
                if let Some(leased) = &mut self.entry_mut(ix).lease {
                    leased.placement = Placement { node: u32::MAX, devices: Vec::new() };
                }
            }
        }
    }

    fn index_lease(&mut self, ix: ClaimIx) {
        let entry = self.entry(ix);
        let Some(leased) = &entry.lease else { return };
        let (id, account, milli) = (entry.claim.id, entry.account, entry.claim.shape.total_milli());
        let key = (leased.lease.started_at, id);
        if leased.lease.ends_by.is_some() {
            self.ending.insert(id);
            self.tree.set_ending(account, milli, true);
        }
        let places: Vec<PlaceIx> = self.tree.path(account).collect();
        for place in places {
            if self.tree.get(place).quota.guaranteed_milli > 0 {
                self.at_place.entry(place).or_default().insert(key);
            }
        }
    }

    /// A waiting claim gets its devices.
    pub(super) fn start(&mut self, ix: ClaimIx, placement: Placement, now: Timestamp) {
        self.leave_queue(ix);
        if let Some(promise) = self.entry_mut(ix).promise.take() {
            let kept = match promise.start {
                Some(start) if now < start.from_90 => Kept::Earlier,
                Some(start) if now > start.until_90 => {
                    if !promise.late {
                        self.start_times.is_late();
                    }
                    Kept::Later
                }
                _ => Kept::Within,
            };
            let waited = now.since(promise.at).as_secs_f64() * 1000.0;
            self.start_times.observe(&promise.standing, waited, kept);
        }
        let entry = self.entry(ix);
        let (claim, account) = (entry.claim.clone(), entry.account);
        let lease = Lease {
            id: LeaseId::new(now, 0),
            claim: claim.id,
            node: self.cluster.node_name(&placement).clone(),
            devices: self.cluster.leased_devices(&claim.shape, &placement),
            started_at: now,
            ends_by: None,
        };
        self.cluster.take(&claim.shape, &placement);
        self.on_node[placement.node as usize].insert(claim.id, ix);
        self.tree.begin(account, &claim.shape, now);
        self.tree.add_share(account, &claim.shape);
        self.entry_mut(ix).lease = Some(Leased { placement, lease, notice: None });
        self.index_lease(ix);
    }

    /// A lease is told to end.
    pub(super) fn notify(&mut self, ix: ClaimIx, ends_by: Timestamp, notice: Notice) {
        let entry = self.entry_mut(ix);
        let (id, account, milli) = (entry.claim.id, entry.account, entry.claim.shape.total_milli());
        let Some(leased) = &mut entry.lease else { return };
        let first = leased.lease.ends_by.is_none();
        if let Notice::Guarantee(by) = &notice {
            entry.displaced_by.insert(*by);
        }
        leased.lease.ends_by = Some(ends_by);
        leased.notice = Some(notice);
        if first {
            self.ending.insert(id);
            self.tree.set_ending(account, milli, true);
        }
    }

    /// A lease that was told to end may stay.
    pub(super) fn keep(&mut self, ix: ClaimIx) {
        let entry = self.entry_mut(ix);
        let (id, account, milli) = (entry.claim.id, entry.account, entry.claim.shape.total_milli());
        if let Some(leased) = &mut entry.lease {
            if let Some(Notice::Guarantee(by)) = &leased.notice {
                entry.displaced_by.remove(by);
            }
            leased.lease.ends_by = None;
            leased.notice = None;
        }
        self.ending.remove(&id);
        self.tree.set_ending(account, milli, false);
    }

    fn ended(&mut self, now: Timestamp, claim: ClaimId, done: bool, again: bool) {
        let Some(ix) = self.find(claim) else { return };
        let Some(leased) = self.entry_mut(ix).lease.take() else { return };
        self.take_back(ix, &leased, now);
        if done {
            let ran = leased.lease.started_at;
            let ran_ms = u64::try_from(now.since(ran).as_millis()).unwrap_or(u64::MAX);
            let claim = self.entry(ix).claim.clone();
            self.run_lengths.observe(&claim, ran_ms);
        }
        if again {
            self.enter_queue(ix);
        } else {
            self.forget(ix);
        }
    }

    /// Everything that a lease had is free again.
    pub(super) fn take_back(&mut self, ix: ClaimIx, leased: &Leased, now: Timestamp) {
        let entry = self.entry(ix);
        let (id, account, shape) = (entry.claim.id, entry.account, entry.claim.shape.clone());
        if let Some(on_node) = self.on_node.get_mut(leased.placement.node as usize) {
            on_node.remove(&id);
            self.cluster.give_back(&shape, &leased.placement);
        }
        self.tree.end(account, &shape, now);
        if self.ending.remove(&id) {
            self.tree.set_ending(account, shape.total_milli(), false);
        }
        self.gone.remove(&id);
        let key = (leased.lease.started_at, id);
        for place in self.tree.path(account).collect::<Vec<_>>() {
            if let Some(leases) = self.at_place.get_mut(&place) {
                leases.remove(&key);
            }
        }
    }
}

pub(super) fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
