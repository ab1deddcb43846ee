//! Stories: what people rely on, one at a time.

use std::time::Duration;

use super::*;
use crate::gpu::{
    Budget, Claim, Device, DeviceHealth, DeviceId, Node, NodeName, Priority, Quota, QuotaNode, QuotaPath, QuotaTree,
    Shape,
};
use crate::{ClaimId, FlavorName, ReservationId, SpaceId, Timestamp};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

fn node(name: &str, devices: u32) -> Node {
    let device = |index: u32| Device {
        id: DeviceId(format!("{name}/{index}")),
        index,
        model: "A100".to_owned(),
        memory_bytes: 1 << 30,
        slice_of: None,
        health: DeviceHealth::Healthy,
    };
    Node {
        name: NodeName(name.to_owned()),
        cpu_millicores: 64_000,
        memory_bytes: 1 << 40,
        devices: (0..devices).map(device).collect(),
        cordoned: false,
    }
}

fn claim(number: u128, account: &str, devices: u32, submitted: i64, limit_s: u64) -> Claim {
    Claim {
        id: ClaimId::new(at(submitted), number),
        space: SpaceId::new(at(submitted), number),
        account: QuotaPath(account.to_owned()),
        flavor: FlavorName("gpu".to_owned()),
        shape: Shape {
            cpu_millicores: 1000,
            memory_bytes: 1 << 30,
            devices,
            milli: 1000,
            models: Vec::new(),
            min_device_memory_bytes: 0,
        },
        priority: Priority::Normal,
        submitted_at: at(submitted),
        limit_ms: Some(limit_s * 1000),
    }
}

fn place(path: &str, quota: Quota) -> QuotaNode {
    QuotaNode { path: QuotaPath(path.to_owned()), quota }
}

fn guaranteed(devices: u64) -> Quota {
    Quota { guaranteed_milli: devices * 1000, ..Quota::default() }
}

fn site(devices: u32, places: impl IntoIterator<Item = QuotaNode>) -> Engine {
    let quotas = QuotaTree::new(places).unwrap();
    Engine::new(&World { now: at(0), nodes: vec![node("n", devices)], quotas, ..World::default() })
}

fn submit(engine: &mut Engine, claim: &Claim) -> Decision {
    engine.apply(claim.submitted_at, Event::Submitted(claim.clone()));
    engine.pass(claim.submitted_at)
}

fn end(engine: &mut Engine, claim: &Claim, when: i64) -> Decision {
    engine.apply(at(when), Event::Ended { claim: claim.id, done: true, again: false });
    engine.pass(at(when))
}

fn started(decision: &Decision) -> Vec<ClaimId> {
    decision.starts.iter().map(|start| start.claim).collect()
}

#[test]
fn the_account_that_used_less_comes_first() {
    let mut engine = site(1, []);
    let first = claim(1, "lab/ann", 1, 0, 5000);
    let again = claim(2, "lab/ann", 1, 10, 5000);
    let other = claim(3, "lab/bob", 1, 20, 5000);
    assert_eq!(started(&submit(&mut engine, &first)), [first.id]);
    assert!(started(&submit(&mut engine, &again)).is_empty());
    let decision = submit(&mut engine, &other);
    assert_eq!(decision.waiting.iter().map(|one| one.claim).collect::<Vec<_>>(), [other.id, again.id]);
    assert_eq!(decision.waiting[1].because.last(), Some(&Constraint::Behind { first: other.id, claims: 1 }));
    assert_eq!(started(&end(&mut engine, &first, 5000)), [other.id]);
}

#[test]
fn what_is_guaranteed_comes_back_after_the_grace_from_whom_came_last() {
    let mut engine = site(2, [place("lab", guaranteed(1)), place("firm", guaranteed(1))]);
    let old = claim(1, "firm/cyd", 1, 0, 90_000);
    let young = claim(2, "firm/dan", 1, 10, 90_000);
    submit(&mut engine, &old);
    submit(&mut engine, &young);
    let mine = claim(3, "lab/ann", 1, 60, 90_000);
    let decision = submit(&mut engine, &mine);
    let by = at(60) + Duration::from_secs(120);
    assert_eq!(decision.preemptions, [Preemption { claim: young.id, ends_by: by, notice: Notice::Guarantee(mine.id) }]);
    assert_eq!(decision.waiting[0].because, [Constraint::Leaving { by }]);
    engine.apply(at(180), Event::Ended { claim: young.id, done: false, again: true });
    let decision = engine.pass(at(180));
    assert_eq!(started(&decision), [mine.id]);
    assert_eq!(decision.waiting[0].claim, young.id);
    assert!(decision.preemptions.is_empty());
}

#[test]
fn a_guarantee_that_is_given_later_is_honoured_for_who_waits_already() {
    let mut engine = site(1, []);
    let theirs = claim(1, "firm/cyd", 1, 0, 90_000);
    submit(&mut engine, &theirs);
    let mine = claim(2, "lab/ann", 1, 10, 90_000);
    let decision = submit(&mut engine, &mine);
    assert!(decision.preemptions.is_empty() && decision.holds.len() == 1, "it is the first, and has a hold");
    engine.apply(at(20), Event::Quotas(QuotaTree::new([place("lab", guaranteed(1))]).unwrap()));
    let decision = engine.pass(at(20));
    let told: Vec<ClaimId> = decision.preemptions.iter().map(|one| one.claim).collect();
    assert_eq!(told, [theirs.id]);
}

#[test]
fn who_is_not_needed_any_more_may_stay() {
    let mut engine = site(2, [place("lab", guaranteed(1)), place("firm", guaranteed(1))]);
    let old = claim(1, "firm/cyd", 1, 0, 90_000);
    let young = claim(2, "firm/dan", 1, 10, 90_000);
    submit(&mut engine, &old);
    submit(&mut engine, &young);
    let mine = claim(3, "lab/ann", 1, 60, 90_000);
    submit(&mut engine, &mine);
    let decision = end(&mut engine, &old, 90);
    assert_eq!(started(&decision), [mine.id]);
    assert_eq!(decision.kept, [young.id]);
}

#[test]
fn a_claim_of_many_devices_is_not_passed_for_ever() {
    let mut engine = site(2, []);
    let running: Vec<Claim> = (0..2).map(|number| claim(number, "lab/ann", 1, 0, 1000)).collect();
    for one in &running {
        submit(&mut engine, one);
    }
    let large = claim(10, "lab/ann", 2, 1, 1000);
    submit(&mut engine, &large);
    // Somebody with less use comes and would fit as soon as one device is free.
    let small = claim(11, "lab/bob", 1, 2, 3000);
    submit(&mut engine, &small);
    let hold_due = 3600 * 10 + 2;
    engine.pass(at(hold_due));
    end(&mut engine, &running[0], hold_due + 1);
    let decision = end(&mut engine, &running[1], hold_due + 2);
    let all: Vec<ClaimId> = engine.world(at(hold_due + 2)).running.iter().map(|one| one.claim.id).collect();
    assert!(all.contains(&large.id) || started(&decision).contains(&large.id), "{all:?}");
}

#[test]
fn short_claims_fill_the_gap_before_a_held_device_is_needed() {
    let mut engine = site(2, []);
    let long = claim(1, "lab/ann", 1, 0, 10_000);
    submit(&mut engine, &long);
    let large = claim(2, "lab/ann", 2, 1, 1000);
    submit(&mut engine, &large);
    let too_long = claim(3, "lab/bob", 1, 2, 20_000);
    assert!(started(&submit(&mut engine, &too_long)).is_empty());
    let short = claim(4, "lab/bob", 1, 3, 5000);
    assert_eq!(started(&submit(&mut engine, &short)), [short.id]);
}

#[test]
fn a_limit_above_is_named_with_its_numbers() {
    let limit = Quota { limit_milli: Some(1000), ..Quota::default() };
    let mut engine = site(4, [place("lab", limit)]);
    submit(&mut engine, &claim(1, "lab/ann", 1, 0, 100));
    let decision = submit(&mut engine, &claim(2, "lab/bob", 1, 1, 100));
    let place = QuotaPath("lab".to_owned());
    let limit = Constraint::Limit { place, limit_milli: 1000, in_use_milli: 1000, wanted_milli: 1000 };
    assert_eq!(decision.waiting[0].because, [limit]);
}

#[test]
fn a_hard_budget_puts_to_sleep_and_lets_nothing_start() {
    let budget = Budget { period_days: 30, soft_milli_seconds: None, hard_milli_seconds: Some(500) };
    let mut engine = site(2, [place("lab", Quota { budget: Some(budget), ..Quota::default() })]);
    let runs = claim(1, "lab/ann", 1, 0, 100);
    submit(&mut engine, &runs);
    let lab = QuotaPath("lab".to_owned());
    engine.apply(at(5), Event::Spent(Spent { place: lab.clone(), milli_seconds: 600, renews_at: at(99) }));
    let decision = engine.pass(at(5));
    assert_eq!(decision.preemptions[0].notice, Notice::Budget(lab.clone()));
    let decision = submit(&mut engine, &claim(2, "lab/bob", 1, 6, 100));
    let edge = Constraint::Budget { place: lab, spent_milli_seconds: 600, hard_milli_seconds: 500, renews_at: at(99) };
    assert_eq!(decision.waiting[0].because, [edge]);
}

#[test]
fn reserved_devices_are_drained_kept_and_given_up_when_nobody_comes() {
    let mut engine = site(2, []);
    let runs: Vec<Claim> = (0..2).map(|number| claim(number, "firm/cyd", 1, 0, 200_000)).collect();
    for one in &runs {
        submit(&mut engine, one);
    }
    let reservation = Reservation {
        id: ReservationId::new(at(0), 1),
        place: QuotaPath("lab".to_owned()),
        devices: 1,
        models: Vec::new(),
        from: at(10_000),
        until: at(20_000),
        released: false,
    };
    engine.apply(at(1), Event::Reserved(reservation.clone()));
    assert!(engine.pass(at(1)).preemptions.is_empty());
    let decision = engine.pass(at(9880));
    assert_eq!(decision.preemptions.len(), 1);
    assert_eq!(decision.preemptions[0].ends_by, at(10_000));
    let told = decision.preemptions[0].claim;
    engine.apply(at(10_000), Event::Ended { claim: told, done: false, again: true });
    assert!(started(&engine.pass(at(10_000))).is_empty(), "others do not take it");
    let mut came = engine.clone();
    let mine = claim(7, "lab/ann", 1, 10_010, 100_000);
    assert_eq!(started(&submit(&mut came, &mine)), [mine.id]);
    let decision = engine.pass(at(10_000 + 900));
    assert_eq!(decision.released, [reservation.id]);
    assert_eq!(started(&decision), [told]);
}

#[test]
fn a_claim_whose_device_is_lost_waits_again_with_its_age() {
    let mut engine = site(1, []);
    let runs = claim(1, "lab/ann", 1, 0, 100);
    submit(&mut engine, &runs);
    let mut broken = node("n", 1);
    broken.devices[0].health = DeviceHealth::Lost { reason: "XID 79: the GPU has fallen off the bus".to_owned() };
    engine.apply(at(5), Event::Nodes(vec![broken]));
    let decision = engine.pass(at(5));
    assert_eq!(decision.lost, [runs.id]);
    assert_eq!(decision.waiting[0].because, [Constraint::Drained { devices: 1 }]);
    engine.apply(at(9), Event::Nodes(vec![node("n", 1)]));
    assert_eq!(started(&engine.pass(at(9))), [runs.id]);
}

#[test]
fn nobody_has_more_devices_than_any_node() {
    let mut engine = site(2, []);
    let decision = submit(&mut engine, &claim(1, "lab/ann", 3, 0, 100));
    assert_eq!(decision.waiting[0].because, [Constraint::NoSuchNode { devices: 3, most: 2 }]);
}

#[test]
fn the_cpu_of_a_node_is_named_when_only_it_is_missing() {
    let mut engine = site(2, []);
    let mut hungry = claim(1, "lab/ann", 1, 0, 100);
    hungry.shape.cpu_millicores = 60_000;
    submit(&mut engine, &hungry);
    let mut next = claim(2, "lab/bob", 1, 1, 100);
    next.shape.cpu_millicores = 5000;
    let decision = submit(&mut engine, &next);
    let node = NodeName("n".to_owned());
    let short = Constraint::NodeCpu { node, free_millicores: 4000, wanted_millicores: 5000 };
    assert_eq!(decision.waiting[0].because, [short]);
}

#[test]
fn positions_count_who_starts_before() {
    let mut engine = site(1, []);
    let all: Vec<Claim> = (1..8_u128)
        .map(|number| claim(number, ["lab/ann", "lab/bob", "~eve"][number as usize % 3], 1, 0, 100))
        .collect();
    for claim in &all {
        engine.apply(at(0), Event::Submitted(claim.clone()));
    }
    let mut decision = engine.pass(at(0));
    let told: Vec<(ClaimId, u32)> = decision.waiting.iter().map(|one| (one.claim, one.position)).collect();
    let mut running = decision.starts[0].claim;
    for turn in 0..u32::try_from(told.len()).unwrap() {
        let now = at(i64::from(turn + 1) * 100);
        engine.apply(now, Event::Ended { claim: running, done: true, again: false });
        decision = engine.pass(now);
        running = decision.starts[0].claim;
        assert!(told.contains(&(running, turn)), "{turn}: {running:?} of {told:?}");
    }
}
