//! The state between passes, with the indexes that make a pass cheap.

mod leases;
mod nodes;
mod queue;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::hold::HoldState;
use super::tree::{PlaceIx, Tree};
use super::world::{Hold, Notice, Policy, Promise, Reservation, Running, Spent, Used, World};
use crate::gpu::estimate::{RunLengths, StartTimes};
use crate::gpu::{Claim, Cluster, DeviceId, Lease, Node, Placement, Placer, Priority, QuotaTree, Shape, Workload};
use crate::{ClaimId, ReservationId, Timestamp};

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

    fn set_spent(&mut self, spent: Spent) {
        let place = self.tree.place(&spent.place, &self.quotas);
        self.tree.set_spent(place, Some(spent));
    }
}

pub(super) fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
