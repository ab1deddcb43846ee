//! What holds in every world: random sites, quotas, demand, failures, reservations.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::gpu::{
    Claim, Device, DeviceHealth, DeviceId, Node, NodeName, Priority, Quota, QuotaNode, QuotaPath, QuotaTree, Shape,
};
use crate::{ClaimId, FlavorName, SpaceId, Timestamp};

const SECOND: i64 = 1000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * SECOND)
}

fn node(number: usize, devices: u32, cores: u64) -> Node {
    let device = |index: u32| Device {
        id: DeviceId(format!("n{number}-d{index}")),
        index,
        model: if number.is_multiple_of(2) { "A".to_owned() } else { "B".to_owned() },
        memory_bytes: 1 << 30,
        slice_of: None,
        health: DeviceHealth::Healthy,
    };
    Node {
        name: NodeName(format!("n{number}")),
        cpu_millicores: cores * 1000,
        memory_bytes: 64 << 30,
        devices: (0..devices).map(device).collect(),
        cordoned: false,
    }
}

fn claim(number: u128, account: &str, devices: u32, milli: u32, submitted: i64, limit_s: u64) -> Claim {
    Claim {
        id: ClaimId::new(at(submitted), number),
        space: SpaceId::new(at(submitted), number),
        account: QuotaPath(account.to_owned()),
        flavor: FlavorName("gpu".to_owned()),
        shape: Shape {
            cpu_millicores: 1000,
            memory_bytes: 1 << 30,
            devices,
            milli: if devices > 1 { 1000 } else { milli },
            models: Vec::new(),
            min_device_memory_bytes: 0,
        },
        priority: Priority::Normal,
        submitted_at: at(submitted),
        limit_ms: Some(limit_s * 1000),
    }
}

/// What one claim of a random world looks like.
#[derive(Debug, Clone)]
struct Wish {
    account: usize,
    devices: u32,
    milli: u32,
    class: u8,
    gap_s: i64,
    run_s: u64,
    model: u8,
    cores: u64,
}

fn wish() -> impl Strategy<Value = Wish> {
    (
        0..6_usize,
        1..4_u32,
        prop::sample::select(vec![250, 500, 1000, 1000]),
        0..8_u8,
        0..40_i64,
        1..400_u64,
        0..6_u8,
        1..6_u64,
    )
        .prop_map(|(account, devices, milli, class, gap_s, run_s, model, cores)| {
            let devices = if milli < 1000 || devices == 3 { 1 } else { devices };
            Wish { account, devices, milli, class, gap_s, run_s, model, cores }
        })
}

const ACCOUNTS: [&str; 6] = ["lab/ann", "lab/bob", "firm/cyd", "firm/dan", "~eve", "lab/flo"];

fn wishes(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Claim>> {
    prop::collection::vec(wish(), count).prop_map(|wishes| {
        let mut now = 0;
        (1..)
            .zip(wishes)
            .map(|(number, wish)| {
                now += wish.gap_s;
                let mut claim = claim(number, ACCOUNTS[wish.account], wish.devices, wish.milli, now, wish.run_s);
                claim.shape.cpu_millicores = wish.cores * 1000;
                claim.priority = match wish.class {
                    0 => Priority::High,
                    1 => Priority::Low,
                    _ => Priority::Normal,
                };
                if wish.model == 0 {
                    claim.shape.models = vec!["A".to_owned()];
                }
                claim
            })
            .collect()
    })
}

fn nodes() -> impl Strategy<Value = Vec<Node>> {
    prop::collection::vec((1..5_u32, 4..20_u64), 1..4)
        .prop_map(|nodes| (0..).zip(nodes).map(|(number, (devices, cores))| node(number, devices, cores)).collect())
}

fn quotas() -> impl Strategy<Value = QuotaTree> {
    let quota = |limits: bool| {
        (0..4_u64, 0..4_u64, any::<bool>(), any::<bool>(), 1..4_u32).prop_map(
            move |(part, limit, borrows, lends, weight)| Quota {
                guaranteed_milli: part * 500,
                limit_milli: (limits && limit > 0).then(|| part * 500 + limit * 1000),
                borrows: borrows || part == 0,
                lends: lends || part < 2,
                weight_milli: weight * 500,
                ..Quota::default()
            },
        )
    };
    (quota(true), quota(true), quota(true), quota(false)).prop_map(|(mut lab, ann, firm, eve)| {
        lab.guaranteed_milli += ann.guaranteed_milli;
        lab.limit_milli = lab.limit_milli.map(|limit| limit + ann.guaranteed_milli);
        let place = |path: &str, quota| QuotaNode { path: QuotaPath(path.to_owned()), quota };
        QuotaTree::new([place("lab", lab), place("lab/ann", ann), place("firm", firm), place("~eve", eve)]).unwrap()
    })
}

fn policy() -> Policy {
    Policy { grace_ms: 20_000, hold_after_ms: 60_000, drain_ahead_ms: 100_000, no_show_ms: 30_000, ..Policy::default() }
}

fn world() -> impl Strategy<Value = (World, Vec<Claim>)> {
    (nodes(), quotas(), wishes(4..40)).prop_map(|(nodes, quotas, claims)| {
        (World { now: at(0), nodes, quotas, policy: policy(), ..World::default() }, claims)
    })
}

/// Lives through a world: claims come, run for as long as they said, leave when told. Looks at every decision.
struct Life {
    engine: Engine,
    now: Timestamp,
    claims: BTreeMap<ClaimId, Claim>,
    /// Until when each lease runs, and until when it may.
    ends: BTreeMap<ClaimId, (Timestamp, Option<Timestamp>)>,
    started: BTreeMap<ClaimId, Timestamp>,
    /// For whom each running claim was told to leave.
    told: BTreeMap<ClaimId, ClaimId>,
    /// Who left, and for whom.
    displaced: BTreeSet<(ClaimId, ClaimId)>,
    /// The last decisions, for messages.
    last: Vec<String>,
}

impl Life {
    fn new(world: &World) -> Self {
        Self {
            engine: Engine::new(world),
            now: world.now,
            claims: BTreeMap::new(),
            ends: BTreeMap::new(),
            started: BTreeMap::new(),
            told: BTreeMap::new(),
            displaced: BTreeSet::new(),
            last: Vec::new(),
        }
    }

    fn next_end(&self) -> Option<(Timestamp, ClaimId)> {
        self.ends.iter().map(|(id, (end, told))| (told.map_or(*end, |told| told.min(*end)), *id)).min()
    }

    fn pass(&mut self) -> Result<Decision, TestCaseError> {
        let before = self.engine.world(self.now);
        let decision = self.engine.pass(self.now);
        let scratch = schedule(&before);
        prop_assert_eq!(&decision, &scratch, "the engine decides as a decision from scratch does");
        let Decision { starts, preemptions, kept, holds, .. } = &decision;
        self.last
            .push(format!("{}: starts {starts:?} tells {preemptions:?} keeps {kept:?} holds {holds:?}\n", self.now));
        self.last.drain(..self.last.len().saturating_sub(8));
        for lost in &decision.lost {
            self.ends.remove(lost);
            self.told.remove(lost);
        }
        for start in &decision.starts {
            let limit = self.claims[&start.claim].limit_ms.unwrap_or(0);
            self.ends.insert(start.claim, (self.now + Duration::from_millis(limit), None));
            self.started.entry(start.claim).or_insert(self.now);
        }
        for preemption in &decision.preemptions {
            if let Notice::Guarantee(by) = &preemption.notice {
                prop_assert!(
                    !self.displaced.contains(&(*by, preemption.claim)),
                    "nobody displaces whom it was displaced by"
                );
                self.told.insert(preemption.claim, *by);
            }
            if let Some(end) = self.ends.get_mut(&preemption.claim) {
                end.1 = Some(preemption.ends_by);
            }
        }
        for kept in &decision.kept {
            self.told.remove(kept);
            if let Some(end) = self.ends.get_mut(kept) {
                end.1 = None;
            }
        }
        self.check_room()?;
        Ok(decision)
    }

    /// Never over capacity, never over a limit.
    fn check_room(&self) -> Result<(), TestCaseError> {
        let world = self.engine.world(self.now);
        let mut devices: BTreeMap<&DeviceId, u32> = BTreeMap::new();
        let mut nodes: BTreeMap<&NodeName, (u64, u64)> = BTreeMap::new();
        let mut places: BTreeMap<QuotaPath, u64> = BTreeMap::new();
        for one in &world.running {
            prop_assert_eq!(one.lease.devices.len(), one.claim.shape.devices as usize);
            for leased in &one.lease.devices {
                *devices.entry(&leased.device).or_default() += leased.milli;
            }
            let node = nodes.entry(&one.lease.node).or_default();
            node.0 += one.claim.shape.cpu_millicores;
            node.1 += one.claim.shape.memory_bytes;
            let mut place = Some(one.claim.account.clone());
            while let Some(path) = place {
                place = path.parent();
                *places.entry(path).or_default() += one.claim.shape.total_milli();
            }
        }
        prop_assert!(devices.values().all(|milli| *milli <= 1000), "a device is given once");
        for node in &world.nodes {
            let (cpu, memory) = nodes.get(&node.name).copied().unwrap_or_default();
            prop_assert!(
                cpu <= node.cpu_millicores && memory <= node.memory_bytes,
                "a node's CPU and memory are given once"
            );
        }
        for (path, quota) in world.quotas.places() {
            let used = places.get(path).copied().unwrap_or(0);
            prop_assert!(quota.limit_milli.is_none_or(|limit| used <= limit), "{} is beyond its limit", path);
            prop_assert!(quota.borrows || used <= quota.guaranteed_milli, "{} borrows", path);
        }
        Ok(())
    }

    /// Ends what is due next, or moves to `until`.
    fn step(&mut self, until: Timestamp) -> bool {
        match self.next_end() {
            Some((end, id)) if end <= until => {
                self.now = self.now.max(end);
                let (done_at, _) = self.ends.remove(&id).unwrap();
                let done = done_at <= self.now;
                let told_by = self.told.remove(&id).filter(|_| !done);
                self.displaced.extend(told_by.map(|by| (id, by)));
                self.engine.apply(self.now, Event::Ended { claim: id, done, again: !done });
                true
            }
            _ => {
                self.now = self.now.max(until);
                false
            }
        }
    }

    fn submit(&mut self, claim: &Claim) -> Result<(), TestCaseError> {
        while self.step(claim.submitted_at) {
            self.pass()?;
        }
        self.claims.insert(claim.id, claim.clone());
        self.engine.apply(self.now, Event::Submitted(claim.clone()));
        self.pass()?;
        Ok(())
    }

    /// Nobody else comes: everything runs to its end.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..2000 {
            if self.ends.is_empty() {
                let decision = self.pass()?;
                match decision.look_again {
                    Some(again) if self.ends.is_empty() => self.now = self.now.max(again),
                    _ if self.ends.is_empty() => return Ok(()),
                    _ => {}
                }
            }
            let far = self.now + Duration::from_secs(100_000);
            if self.step(far) {
                self.pass()?;
            }
        }
        Err(TestCaseError::fail(format!("it does not come to an end: {:?}", self.last)))
    }
}

/// Whether a claim could ever start, alone in the world.
fn fits_alone(world: &World, claim: &Claim) -> bool {
    let alone = World { waiting: vec![claim.clone()], now: claim.submitted_at, ..world.clone() };
    !schedule(&alone).starts.is_empty()
}

/// The world with what stands in a claim's way taken away, exactly.
fn lift(world: &World, waiting: &[Waiting], number: usize) -> World {
    let mut world = world.clone();
    let one = &waiting[number];
    let claim = world.waiting.iter().find(|claim| claim.id == one.claim).unwrap().clone();
    let mut places: BTreeMap<QuotaPath, Quota> =
        world.quotas.places().map(|(path, quota)| (path.clone(), quota.clone())).collect();
    for constraint in &one.because {
        match constraint {
            Constraint::Limit { place, .. } => places.entry(place.clone()).or_default().limit_milli = None,
            Constraint::MayNotBorrow { place, .. } => places.entry(place.clone()).or_default().borrows = true,
            Constraint::NotLent { .. } => places.values_mut().for_each(|quota| quota.lends = true),
            Constraint::Budget { place, .. } => world.spent.retain(|spent| spent.place != *place),
            Constraint::NoSuchNode { .. }
            | Constraint::Drained { .. }
            | Constraint::NoDeviceFree { .. }
            | Constraint::NodeCpu { .. }
            | Constraint::NodeMemory { .. } => {
                let mut added = node(1000, claim.shape.devices, 0);
                added.cpu_millicores = claim.shape.cpu_millicores * 100;
                added.memory_bytes = claim.shape.memory_bytes;
                world.nodes.push(added);
            }
            Constraint::Behind { .. } => {
                world.waiting.retain(|other| other.id == claim.id);
                world.holds.retain(|hold| !matches!(hold.owner, HoldFor::Claim(other) if other != claim.id));
            }
            Constraint::Held(kept) => world.holds.retain(|hold| match (kept, hold.owner) {
                (Kept::Claim { claim, .. }, HoldFor::Claim(owner)) => *claim != owner,
                (Kept::Reservation { reservation, .. }, HoldFor::Reservation(owner)) => *reservation != owner,
                _ => true,
            }),
            Constraint::Leaving { .. } => world.running.retain(|running| running.lease.ends_by.is_none()),
        }
        if let Constraint::Held(Kept::Claim { claim: owner, .. }) = constraint {
            world.waiting.retain(|other| other.id != *owner);
        }
        if let Constraint::Held(Kept::Reservation { reservation, .. }) = constraint {
            world.reservations.retain(|other| other.id != *reservation);
        }
    }
    world.quotas = QuotaTree::new(places.into_iter().map(|(path, quota)| QuotaNode { path, quota })).unwrap();
    world
}

proptest! {

    /// Capacity, limits, the engine equal to scratch, nobody displaced by whom it displaced, and everybody who fits starts.
    #[test]
    fn lives_end_well((world, claims) in world()) {
        let mut life = Life::new(&world);
        for claim in &claims {
            life.submit(claim)?;
        }
        life.finish()?;
        for claim in &claims {
            prop_assert!(life.started.contains_key(&claim.id) || !fits_alone(&world, claim), "{:?} starves", claim.id);
        }
    }

    /// A claim within its account's guarantee starts as soon as those who borrowed have left.
    #[test]
    fn guarantees_are_honoured_within_the_grace(
        devices in 2..8_u32, part in 1..4_u64, claims in wishes(4..30), wanted in 1..4_usize,
    ) {
        let part = part.min(u64::from(devices));
        let quota = Quota { guaranteed_milli: part * 1000, ..Quota::default() };
        let quotas = QuotaTree::new([QuotaNode { path: QuotaPath("own".to_owned()), quota }]).unwrap();
        let world = World { now: at(0), nodes: vec![node(0, devices, 64)], quotas, policy: policy(), ..World::default() };
        let mut life = Life::new(&world);
        let mut last = 0;
        for claim in &claims {
            let mut claim = claim.clone();
            claim.shape.models.clear();
            claim.shape.cpu_millicores = 1000;
            life.submit(&claim)?;
            last = last.max((claim.submitted_at.as_millis() - at(0).as_millis()) / 1000);
        }
        let wanted = wanted.min(usize::try_from(part).unwrap());
        let mine: Vec<Claim> = (0..wanted).map(|number| claim(1000 + number as u128, "own/me", 1, 1000, last + 1, 50)).collect();
        for claim in &mine {
            life.submit(claim)?;
        }
        let by = life.now + Duration::from_secs(20);
        while life.step(by) {
            life.pass()?;
        }
        life.pass()?;
        for claim in &mine {
            prop_assert!(life.started.get(&claim.id).is_some_and(|started| *started <= by), "{:?} waits on", claim.id);
        }
    }

    /// The order in which things are listed does not matter.
    #[test]
    fn order_of_input_is_without_influence((world, claims) in world(), seed in any::<u64>()) {
        let mut life = Life::new(&world);
        for claim in &claims {
            life.submit(claim)?;
        }
        let world = life.engine.world(life.now);
        let mut shuffled = world.clone();
        let spin = |length: usize| usize::try_from(seed).unwrap_or(usize::MAX / 2) % length.max(1);
        shuffled.nodes.reverse();
        let (waiting, running) = (spin(shuffled.waiting.len()), spin(shuffled.running.len()));
        shuffled.waiting.rotate_left(waiting);
        shuffled.waiting.reverse();
        shuffled.running.rotate_left(running);
        shuffled.used.reverse();
        shuffled.holds.reverse();
        shuffled.promises.reverse();
        shuffled.displaced.reverse();
        prop_assert_eq!(schedule(&world), schedule(&shuffled));
    }

    /// Taking away what is named, and nothing else, starts the claim at once.
    ///
    /// A node that is added changes everybody's share of the site. So that it does not change their order, devices are what
    /// is scarce here, and age does not count.
    #[test]
    fn reasons_are_the_reasons((mut world, claims) in world()) {
        world.policy.age_weight_ms = u64::MAX;
        for node in &mut world.nodes {
            node.cpu_millicores *= 100;
        }
        let mut life = Life::new(&world);
        for claim in &claims {
            life.submit(claim)?;
        }
        let decision = life.pass()?;
        let world = life.engine.world(life.now);
        for (number, one) in decision.waiting.iter().enumerate() {
            prop_assert!(!one.because.is_empty(), "{:?} waits without a reason", one.claim);
            // Left out: with a hold gone, others are held elsewhere, and who was next may not be any more.
            if one.because.iter().any(|constraint| matches!(constraint, Constraint::Held(_))) {
                continue;
            }
            let lifted = lift(&world, &decision.waiting, number);
            let starts = schedule(&lifted).starts;
            prop_assert!(starts.iter().any(|start| start.claim == one.claim), "{:?} {:?}", one, starts);
        }
    }

    /// One more device delays nobody's guaranteed claim.
    #[test]
    fn more_devices_delay_no_guarantee((world, claims) in world()) {
        let mut life = Life::new(&world);
        for claim in &claims {
            life.submit(claim)?;
        }
        let world = life.engine.world(life.now);
        let guaranteed = |decision: &Decision| -> BTreeSet<ClaimId> {
            let engine = Engine::new(&world);
            let is = |id: &ClaimId| {
                world.waiting.iter().find(|claim| claim.id == *id).is_some_and(|claim| {
                    let account = engine.tree.find(&claim.account);
                    account.is_some_and(|account| engine.tree.is_guaranteed(account, claim.shape.total_milli()))
                })
            };
            decision.starts.iter().map(|start| start.claim).filter(is).collect()
        };
        let mut more = world.clone();
        more.nodes.push(node(500, 1, 64));
        let (less, more) = (schedule(&world), schedule(&more));
        for claim in guaranteed(&less) {
            prop_assert!(more.starts.iter().any(|start| start.claim == claim), "{:?}", claim);
        }
    }

    /// Devices and nodes that vanish, are drained, or come back: nothing is held twice, and everybody runs in the end.
    #[test]
    fn losses_are_survived((world, claims) in world(), events in prop::collection::vec((0..40_usize, 0..4_usize, 0..4_u8), 1..6)) {
        let mut life = Life::new(&world);
        for (number, claim) in claims.iter().enumerate() {
            life.submit(claim)?;
            for (_, which, what) in events.iter().filter(|(when, _, _)| *when == number) {
                let mut nodes = world.nodes.clone();
                let which = *which % nodes.len();
                match what {
                    0 => nodes[which].cordoned = true,
                    1 => nodes[which].devices[0].health = DeviceHealth::Lost { reason: "XID 79".to_owned() },
                    2 => nodes[which].devices[0].health = DeviceHealth::Drained { reason: "ECC".to_owned() },
                    _ => { nodes.remove(which); }
                }
                life.engine.apply(life.now, Event::Nodes(nodes));
                life.pass()?;
            }
        }
        life.engine.apply(life.now, Event::Nodes(world.nodes.clone()));
        life.pass()?;
        life.finish()?;
        for claim in &claims {
            prop_assert!(life.started.contains_key(&claim.id) || !fits_alone(&world, claim), "{:?} starves", claim.id);
        }
    }
}
