//! Hardware: quotas, devices, claims, leases and the ledger, on every engine that is there.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use spaceport_core::account::{Account, AccountKind};
use spaceport_core::gpu::ledger::{DeviceTime, Entry, Period, used_by};
use spaceport_core::gpu::quota::Budget;
use spaceport_core::gpu::{
    Claim, Device, DeviceHealth, DeviceId, Ending, Holding, Lease, LeaseEnd, LeasedDevice, Node, NodeName, Notice,
    NoticeKind, Priority, Quota, QuotaPath, Reservation, Shape,
};
use spaceport_core::plan::Asleep;
use spaceport_core::{
    AccountId, ClaimId, EntryId, FlavorName, Generation, LeaseId, NoticeId, ReleaseId, ReservationId, SpaceId,
};
use spaceport_store::{
    BucketSize, LedgerFilter, Mark, NewLease, QuotaChange, Refunded, Store, StoredClaim, StoredLease, StoredReservation,
};
use spaceport_testkit::databases;

use super::{account, at, space};

const GIB: u64 = 1 << 30;

fn device(number: u32) -> Device {
    Device {
        id: DeviceId(format!("GPU-{number}")),
        index: number,
        model: "A100".to_owned(),
        memory_bytes: 80 * GIB,
        slice_of: None,
        health: DeviceHealth::Healthy,
    }
}

fn node(name: &str, devices: Vec<Device>) -> Node {
    Node { name: NodeName(name.to_owned()), cpu_millicores: 8000, memory_bytes: 64 * GIB, devices, cordoned: false }
}

fn claim(number: u128, account: &str) -> Claim {
    Claim {
        id: ClaimId::new(at(1), number),
        space: SpaceId::new(at(1), number),
        account: QuotaPath(account.to_owned()),
        flavor: FlavorName("a100".to_owned()),
        shape: Shape {
            cpu_millicores: 1000,
            memory_bytes: GIB,
            devices: 1,
            milli: 600,
            models: vec!["A100".to_owned()],
            min_device_memory_bytes: 0,
        },
        priority: Priority::Normal,
        submitted_at: at(10),
        limit_ms: Some(5),
    }
}

fn lease(number: u128, of: &Claim, device: u32, milli: u32, started_at: i64) -> Lease {
    Lease {
        id: LeaseId::new(at(2), number),
        claim: of.id,
        node: NodeName("box".to_owned()),
        devices: vec![LeasedDevice { device: DeviceId(format!("GPU-{device}")), milli }],
        started_at: at(started_at),
        ends_by: None,
    }
}

async fn claimed(store: &Store, claim: &Claim) -> StoredClaim {
    assert!(store.claim_add(claim).await.unwrap());
    store.claim_of(claim.space).await.unwrap().unwrap()
}

async fn generation(store: &Store) -> Generation {
    let nodes = store.nodes_known().await.unwrap();
    nodes.iter().find(|node| node.name.0 == "box").unwrap().generation
}

async fn take(store: &Store, lease: &Lease, claim: &StoredClaim, node: Generation) -> bool {
    let weights = BTreeMap::from([(DeviceId("GPU-1".to_owned()), 2000)]);
    let new = NewLease { lease, claim, space_name: "alice/demo", node, weights: &weights };
    store.lease_take(&new).await.unwrap()
}

async fn leased(store: &Store, device: &str) -> u32 {
    let devices = store.devices_known().await.unwrap();
    devices.iter().find(|known| known.id.0 == device).unwrap().leased_milli
}

async fn live(store: &Store, id: LeaseId) -> StoredLease {
    store.leases_live().await.unwrap().into_iter().find(|lease| lease.lease.id == id).unwrap()
}

fn notice(number: u128, space: SpaceId) -> Notice {
    Notice {
        id: NoticeId::new(at(6), number),
        space,
        account: QuotaPath("~alice".to_owned()),
        at: at(6),
        kind: NoticeKind::Idle,
        message: "Nobody uses it.".to_owned(),
        due_at: Some(at(60)),
    }
}

async fn ledger(store: &Store) -> Vec<Entry> {
    store.ledger(&LedgerFilter::default(), None, 100).await.unwrap()
}

#[tokio::test]
async fn the_quota_tree_is_changed_as_a_whole() {
    for db in databases().await {
        let store = &db.store;
        let (first, places) = store.quotas().await.unwrap();
        assert!(places.is_empty());
        let budget = Some(Budget { period_days: 30, soft_milli_seconds: None, hard_milli_seconds: Some(7) });
        let quota = Quota { guaranteed_milli: 2000, budget, ..Quota::default() };
        let lab = QuotaPath("lab".to_owned());
        let set = |path: &QuotaPath, quota| QuotaChange { path: path.clone(), quota };
        let alice = QuotaPath("lab/alice".to_owned());
        let changes = [set(&lab, Some(quota.clone())), set(&alice, Some(Quota::default()))];
        assert!(store.quotas_change(&changes, first, at(5)).await.unwrap());
        assert!(!store.quotas_change(&changes, first, at(6)).await.unwrap(), "somebody was faster");
        let (second, places) = store.quotas().await.unwrap();
        assert_eq!((places.len(), &places[0].path, &places[0].quota, places[0].updated_at), (2, &lab, &quota, at(5)));
        assert_eq!(places[0].generation, second);
        assert!(store.quotas_change(&[set(&alice, None)], second, at(7)).await.unwrap());
        let (third, places) = store.quotas().await.unwrap();
        assert_eq!((third, places.len()), (Generation(second.0 + 1), 1));
    }
}

#[tokio::test]
async fn devices_come_go_and_are_drained() {
    for db in databases().await {
        let store = &db.store;
        store.inventory_seen(&[node("box", vec![device(1), device(2)])], at(1)).await.unwrap();
        let before = store.nodes_known().await.unwrap();
        store.inventory_seen(&[node("box", vec![device(1), device(2)])], at(2)).await.unwrap();
        assert_eq!(store.nodes_known().await.unwrap(), before, "nothing is new");
        // One is gone, another came in its place with another identity.
        store.inventory_seen(&[node("box", vec![device(1), device(3)])], at(3)).await.unwrap();
        let known = store.devices_known().await.unwrap();
        let lost: Vec<_> = known.iter().map(|device| (device.id.0.as_str(), device.lost_at)).collect();
        assert_eq!(lost, [("GPU-1", None), ("GPU-2", Some(at(3))), ("GPU-3", None)]);
        assert_eq!((known[0].memory_bytes, known[0].index, known[0].first_seen_at), (80 * GIB, 1, at(1)));
        assert!(store.nodes_known().await.unwrap()[0].generation > before[0].generation);
        store.inventory_seen(&[node("box", vec![device(1), device(2)])], at(4)).await.unwrap();
        assert_eq!(store.devices_known().await.unwrap()[1].lost_at, None, "it is back");

        let mark = Mark { reason: "fan".to_owned(), by: "admin".to_owned(), at: at(5) };
        let id = DeviceId("GPU-1".to_owned());
        assert!(store.device_drain(&id, Some(&mark)).await.unwrap());
        assert!(!store.device_drain(&DeviceId("GPU-9".to_owned()), Some(&mark)).await.unwrap());
        assert_eq!(store.devices_known().await.unwrap()[0].drain.as_ref(), Some(&mark));
        assert!(store.device_drain(&id, None).await.unwrap());
        assert_eq!(store.devices_known().await.unwrap()[0].drain, None);
        let name = NodeName("box".to_owned());
        assert!(store.node_cordon(&name, Some(&mark)).await.unwrap());
        assert_eq!(store.nodes_known().await.unwrap()[0].cordon.as_ref(), Some(&mark));
        assert!(store.node_cordon(&name, None).await.unwrap());
        store.inventory_seen(&[], at(6)).await.unwrap();
        assert_eq!(store.nodes_known().await.unwrap()[0].lost_at, Some(at(6)));
        assert!(store.devices_known().await.unwrap().iter().all(|device| device.lost_at.is_some()));
    }
}

#[tokio::test]
async fn a_claim_waits_is_decided_moved_and_ended() {
    for db in databases().await {
        let store = &db.store;
        let wanted = claim(1, "~alice");
        let seen = claimed(store, &wanted).await;
        assert_eq!((&seen.claim, seen.decision::<String>().unwrap()), (&wanted, None));
        let again = Claim { id: ClaimId::new(at(1), 2), ..wanted.clone() };
        assert!(!store.claim_add(&again).await.unwrap(), "one at a time");
        assert!(store.claim_decide(wanted.id, seen.generation, &"waits", at(11)).await.unwrap());
        assert!(store.claim_move(wanted.id, Priority::High, at(3), seen.generation).await.unwrap());
        assert!(!store.claim_move(wanted.id, Priority::Low, at(3), seen.generation).await.unwrap());
        assert!(!store.claim_decide(wanted.id, seen.generation, &"late", at(12)).await.unwrap());
        let moved = store.claims_live().await.unwrap().remove(0);
        assert_eq!((moved.claim.priority, moved.claim.submitted_at), (Priority::High, at(3)));
        assert_eq!(moved.decision::<String>().unwrap().as_deref(), Some("waits"));
        assert!(store.claim_end(wanted.id, LeaseEnd::Stopped, at(20)).await.unwrap());
        assert!(!store.claim_end(wanted.id, LeaseEnd::Slept, at(21)).await.unwrap());
        assert!(store.claims_live().await.unwrap().is_empty());
        assert!(store.claim_add(&again).await.unwrap(), "the next one");
        let over = store.claim_by_id(wanted.id).await.unwrap().unwrap();
        assert_eq!((over.ended_at, over.why), (Some(at(20)), Some(LeaseEnd::Stopped)));
        let ids = |claims: Vec<StoredClaim>| claims.into_iter().map(|claim| claim.claim.id).collect::<Vec<_>>();
        assert_eq!(ids(store.claims_between(at(0), at(5)).await.unwrap()), [wanted.id]);
        assert_eq!(ids(store.claims_between(at(15), at(25)).await.unwrap()), [wanted.id, again.id]);
        assert_eq!(ids(store.claims_between(at(21), at(25)).await.unwrap()), [again.id]);
        let moved = store.claim_by_id(wanted.id).await.unwrap().unwrap().claim.submitted_at;
        let before = [store.claim_before_last(1).await.unwrap(), store.claim_before_last(2).await.unwrap()];
        assert_eq!(before, [Some(moved), None]);
    }
}

#[tokio::test]
async fn a_device_is_never_given_twice() {
    for db in databases().await {
        let store = &db.store;
        store.inventory_seen(&[node("box", vec![device(1), device(2)])], at(1)).await.unwrap();
        let (one, two) = (claimed(store, &claim(1, "~alice")).await, claimed(store, &claim(2, "lab/bob")).await);
        let seen = generation(store).await;
        // Two at the same time, on what both saw.
        let (first, second) = (lease(1, &one.claim, 1, 600, 100), lease(2, &two.claim, 2, 600, 100));
        let (a, b) = tokio::join!(take(store, &first, &one, seen), take(store, &second, &two, seen));
        assert!(a != b, "one of them saw what is not true any more");
        let (taken, other) = if a { (first, (second, two)) } else { (second, (first, one)) };
        let free = taken.devices[0].device.0.clone();
        assert_eq!(leased(store, &free).await, 600);
        // Even a decision made on what is true cannot give more than there is.
        let (mut wrong, waiting) = other;
        wrong.devices[0].device = DeviceId(free.clone());
        assert!(!take(store, &wrong, &waiting, generation(store).await).await);
        assert_eq!(leased(store, &free).await, 600);
        wrong.devices[0].milli = 400;
        assert!(take(store, &wrong, &waiting, generation(store).await).await);
        assert_eq!(leased(store, &free).await, 1000);
        // A claim has one lease at a time.
        let third = lease(3, &waiting.claim, 2, 100, 100);
        let claim = store.claim_of(waiting.claim.space).await.unwrap().unwrap();
        assert!(!take(store, &third, &claim, generation(store).await).await);
        assert_eq!(store.leases_live().await.unwrap().len(), 2);
        // A node or a device that is gone gives nothing.
        let late = claimed(store, &super::gpu::claim(4, "~carol")).await;
        store.inventory_seen(&[], at(5)).await.unwrap();
        assert!(!take(store, &lease(4, &late.claim, 2, 100, 100), &late, generation(store).await).await);
    }
}

#[tokio::test]
async fn leases_end_once_and_the_ledger_has_every_device() {
    for db in databases().await {
        let store = &db.store;
        store.inventory_seen(&[node("box", vec![device(1), device(2)])], at(1)).await.unwrap();
        let seen = claimed(store, &claim(1, "lab/alice")).await;
        let mut both = lease(1, &seen.claim, 1, 1000, 100);
        both.devices.push(LeasedDevice { device: DeviceId("GPU-2".to_owned()), milli: 1000 });
        assert!(take(store, &both, &seen, generation(store).await).await);
        let running = live(store, both.id).await;
        assert_eq!((&running.lease, running.waited_since, &running.ending), (&both, at(10), &None));
        assert_eq!(store.lease_of(seen.claim.space).await.unwrap().as_ref(), Some(&running));
        assert_eq!(running.time(at(1100)), DeviceTime(2_000_000));
        assert_eq!(running.time(at(50)), DeviceTime::ZERO, "a clock that went back counts nothing");

        let ending = Ending { why: LeaseEnd::Preempted, told_at: at(900), by: at(2000) };
        let notice = |number| notice(number, seen.claim.space);
        assert!(store.lease_tell(both.id, ending, Some(&"for bob"), &notice(1)).await.unwrap());
        let later = Ending { by: at(3000), ..ending };
        assert!(!store.lease_tell::<()>(both.id, later, None, &notice(2)).await.unwrap(), "not later");
        let told = live(store, both.id).await;
        assert_eq!((told.ending, told.lease.ends_by), (Some(ending), Some(at(2000))));
        assert_eq!(told.notice::<String>().unwrap().as_deref(), Some("for bob"));
        assert!(!store.lease_keep(both.id, at(2000), &notice(3)).await.unwrap(), "it is too late");
        assert!(store.lease_keep(both.id, at(1000), &notice(4)).await.unwrap());
        assert_eq!(live(store, both.id).await.ending, None);
        assert!(store.lease_tell(both.id, ending, Some(&"for bob"), &notice(5)).await.unwrap());
        let told = store.notices_of(seen.claim.space, 9).await.unwrap();
        let told: Vec<_> = told.into_iter().map(|notice| notice.id).collect();
        assert_eq!(told, [5, 4, 1].map(|number| notice(number).id), "owners hear of what was done, and once");

        // The engine was away for a while, and for another while it seemed so.
        store.outage_begin(both.id, LeaseEnd::NodeLost, at(300)).await.unwrap();
        store.outage_begin(both.id, LeaseEnd::NodeLost, at(310)).await.unwrap();
        store.outage_end(both.id, at(400)).await.unwrap();
        store.outage_begin(both.id, LeaseEnd::NodeLost, at(500)).await.unwrap();
        store.outage_withdraw(both.id).await.unwrap();
        // The clock went back: this one reaches into the first.
        store.outage_begin(both.id, LeaseEnd::DeviceLost, at(350)).await.unwrap();
        store.outage_end(both.id, at(450)).await.unwrap();

        let stale = live(store, both.id).await;
        assert!(store.lease_use(both.id).await.unwrap());
        assert!(!store.lease_end(&stale, LeaseEnd::Preempted, at(1100)).await.unwrap(), "something is about to run");
        let told = live(store, both.id).await;
        assert!(store.lease_end(&told, LeaseEnd::Preempted, at(1100)).await.unwrap());
        assert!(!store.lease_use(both.id).await.unwrap());
        assert!(!store.lease_end(&told, LeaseEnd::Stopped, at(1200)).await.unwrap(), "it is over");
        assert_eq!((leased(store, "GPU-1").await, leased(store, "GPU-2").await), (0, 0));
        let rows = ledger(store).await;
        let used: DeviceTime = rows.iter().map(Entry::time).sum();
        assert_eq!(used, DeviceTime(2 * (1000 - 150) * 1000), "{rows:#?}");
        let over = store.lease_by_id(both.id).await.unwrap().unwrap();
        assert_eq!((over.ended_at, over.why, over.time(at(9999))), (Some(at(1100)), Some(LeaseEnd::Preempted), used));
        let weights: Vec<_> = rows.iter().filter(|row| row.refund_of.is_none()).map(|row| row.weight_milli).collect();
        assert!(weights.contains(&2000) && weights.contains(&1000), "{weights:?}");
        // Its claim waits again, where it was.
        let again = store.claim_of(seen.claim.space).await.unwrap().unwrap();
        assert_eq!(again.again.map(|again| (again.why, again.since)), Some((LeaseEnd::Preempted, at(1100))));
        assert_eq!(again.claim.submitted_at, at(10));
        let second = lease(2, &again.claim, 1, 1000, 1300);
        assert!(take(store, &second, &again, generation(store).await).await);
        let running = live(store, second.id).await;
        assert_eq!(running.waited_since, at(1100));
        assert_eq!(store.claim_of(seen.claim.space).await.unwrap().unwrap().again, None);
        // It ends before it began, as clocks have it, and by the owner's will.
        assert!(store.lease_end(&running, LeaseEnd::Stopped, at(1200)).await.unwrap());
        assert!(store.claim_of(seen.claim.space).await.unwrap().is_none());
        assert_eq!(ledger(store).await.iter().map(Entry::time).sum::<DeviceTime>(), used);
        assert_eq!(store.leases_of_claim(seen.claim.id).await.unwrap().len(), 2);
        assert_eq!(store.leases_between(at(1200), at(5000)).await.unwrap().len(), 1);
        assert_eq!(store.leases_between(at(0), at(5000)).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_lease_is_told_with_the_notice_or_not_at_all() {
    for db in databases().await {
        let store = &db.store;
        store.inventory_seen(&[node("box", vec![device(1)])], at(1)).await.unwrap();
        let seen = claimed(store, &claim(1, "~alice")).await;
        let taken = lease(1, &seen.claim, 1, 1000, 100);
        assert!(take(store, &taken, &seen, generation(store).await).await);
        let ending = Ending { why: LeaseEnd::Reclaimed, told_at: at(900), by: at(2000) };
        let first = notice(1, seen.claim.space);
        assert!(store.lease_tell::<()>(taken.id, ending, None, &first).await.unwrap());
        // A notice that cannot be written, as when the process dies before it is.
        assert!(store.lease_keep(taken.id, at(1000), &first).await.is_err());
        assert_eq!(live(store, taken.id).await.ending, Some(ending), "{}", store.engine());
        assert!(store.lease_keep(taken.id, at(1000), &notice(2, seen.claim.space)).await.unwrap());
        assert!(store.lease_tell::<()>(taken.id, ending, None, &first).await.is_err());
        assert_eq!(live(store, taken.id).await.ending, None, "{}", store.engine());

        assert_eq!(store.notices(at(6), 1).await.unwrap(), [notice(2, seen.claim.space)]);
        store.notices_forget(at(7)).await.unwrap();
        assert!(store.notices(at(0), 5).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_ledger_is_read_in_parts_and_gives_back() {
    for db in databases().await {
        let store = &db.store;
        store.inventory_seen(&[node("box", vec![device(1), device(2)])], at(1)).await.unwrap();
        for (number, account) in [(1, "lab/alice"), (2, "laboratory/bob"), (3, "lab/carol")] {
            let seen = claimed(store, &claim(number, account)).await;
            let taken = lease(number, &seen.claim, 1, 600, 100 * i64::try_from(number).unwrap());
            assert!(take(store, &taken, &seen, generation(store).await).await);
            if number < 3 {
                let running = live(store, taken.id).await;
                assert!(store.lease_end(&running, LeaseEnd::Slept, at(1000)).await.unwrap());
            }
        }
        let all = ledger(store).await;
        assert_eq!(all.len(), 2);
        let first = store.ledger(&LedgerFilter::default(), None, 1).await.unwrap().remove(0);
        let rest = store.ledger(&LedgerFilter::default(), Some((first.until, first.id)), 10).await.unwrap();
        assert_eq!([vec![first.clone()], rest].concat(), all);
        let lab = LedgerFilter { account: Some(QuotaPath("lab".to_owned())), ..LedgerFilter::default() };
        let found = store.ledger(&lab, None, 10).await.unwrap();
        assert_eq!(found.iter().map(|row| row.account.0.as_str()).collect::<Vec<_>>(), ["lab/alice"]);
        let open = store.ledger_with_open(lab.clone(), at(2000)).try_concat().await.unwrap();
        assert_eq!(
            open.iter().filter(|row| row.why.is_none()).map(Entry::time).sum::<DeviceTime>(),
            DeviceTime(1_020_000)
        );
        let filter =
            LedgerFilter { space: Some(first.space), device: Some(first.device.clone()), ..LedgerFilter::default() };
        assert_eq!(store.ledger(&filter, None, 10).await.unwrap(), std::slice::from_ref(&first));
        let later = Period { from: at(1001), until: at(5000) };
        assert!(
            store
                .ledger(&LedgerFilter { period: later, ..LedgerFilter::default() }, None, 10)
                .await
                .unwrap()
                .is_empty()
        );

        let part = |from, until| Period { from: at(from), until: at(until) };
        let of = found[0].id;
        let back = async |period| store.ledger_refund(of, period, LeaseEnd::NodeLost, at(3000)).await.unwrap();
        let Refunded::Done(refund) = back(part(200, 300)).await else { panic!("it lies within") };
        assert_eq!(back(part(250, 400)).await, Refunded::NotWithin, "not twice");
        assert_eq!(back(part(50, 150)).await, Refunded::NotWithin);
        assert!(matches!(back(part(300, 400)).await, Refunded::Done(_)));
        let nothing = store.ledger_refund(refund, part(200, 300), LeaseEnd::NodeLost, at(3000)).await.unwrap();
        assert_eq!(nothing, Refunded::NoEntry);
        let unknown = store.ledger_refund(EntryId::new(at(9), 9), part(200, 300), LeaseEnd::NodeLost, at(3000));
        assert_eq!(unknown.await.unwrap(), Refunded::NoEntry);
        let found = store.ledger(&lab, None, 10).await.unwrap();
        assert_eq!(found.iter().map(Entry::time).sum::<DeviceTime>(), DeviceTime((900 - 200) * 600));
        assert_eq!(store.ledger_entry(first.id).await.unwrap(), Some(first));

        // Counters never go back, so what was given back stays in them.
        let mut times = store.time_tallies(at(500)).await.unwrap();
        times.sort();
        let expected = [("lab/alice", 900 * 600), ("lab/carol", 200 * 600), ("laboratory/bob", 800 * 600)];
        assert_eq!(times, expected.map(|(account, time)| (QuotaPath(account.to_owned()), DeviceTime(time))));
        assert_eq!(store.time_tallies(at(100)).await.unwrap().len(), 2, "a clock that went back counts nothing");
        let mut waits = store.wait_tallies().await.unwrap();
        waits.sort_by_key(|tally| tally.waited_ms);
        let waits: Vec<_> =
            waits.iter().map(|tally| (tally.account.0.as_str(), tally.leases, tally.waited_ms)).collect();
        assert_eq!(waits, [("lab/alice", 1, 90), ("laboratory/bob", 1, 190), ("lab/carol", 1, 290)]);
        let ends = store.end_tallies().await.unwrap();
        assert!(
            ends.len() == 2 && ends.iter().all(|tally| (tally.why, tally.leases) == (LeaseEnd::Slept, 1)),
            "{ends:?}"
        );
    }
}

#[tokio::test]
async fn a_budget_is_charged_what_lies_in_its_period() {
    for db in databases().await {
        let store = &db.store;
        store.inventory_seen(&[node("box", vec![device(1), device(2)])], at(1)).await.unwrap();
        // One of before, one that reaches into the period, one within it that had an outage, and one that goes on.
        for (number, account, times) in [
            (1, "lab/alice", (100, Some(900))),
            (2, "lab/alice", (600, Some(1300))),
            (3, "lab/bob", (1200, Some(1600))),
            (4, "lab/bob", (1700, None)),
        ] {
            let seen = claimed(store, &claim(number, account)).await;
            let taken = lease(number, &seen.claim, 1 + u32::from(number == 2), 600, times.0);
            assert!(take(store, &taken, &seen, generation(store).await).await);
            if number == 3 {
                store.outage_begin(taken.id, LeaseEnd::NodeLost, at(1250)).await.unwrap();
                store.outage_end(taken.id, at(1300)).await.unwrap();
            }
            if let Some(end) = times.1 {
                assert!(store.lease_end(&live(store, taken.id).await, LeaseEnd::Slept, at(end)).await.unwrap());
            }
        }
        let charged = async |from, until, now| {
            let sums = store.ledger_charged(Period { from: at(from), until: at(until) }, at(now)).await.unwrap();
            sums.into_iter().map(|(account, time)| (account.0, time.0 / 600)).collect::<Vec<_>>()
        };
        let expected = |sums: &[(&str, i128)]| {
            sums.iter().map(|(account, time)| ((*account).to_owned(), *time)).collect::<Vec<_>>()
        };
        assert_eq!(charged(1000, 5000, 2000).await, expected(&[("lab/alice", 300), ("lab/bob", 350 + 300)]));
        assert_eq!(charged(1000, 1500, 2000).await, expected(&[("lab/alice", 300), ("lab/bob", 250)]));
        assert_eq!(charged(0, 1000, 2000).await, expected(&[("lab/alice", 800 + 400), ("lab/bob", 0)]));
        assert_eq!(charged(2000, 3000, 2000).await, expected(&[("lab/bob", 0)]));
        // Told a row at a time it is the same, and an account finds its own.
        for account in ["lab", "lab/bob"] {
            let account = QuotaPath(account.to_owned());
            let period = Period { from: at(1000), until: at(5000) };
            let filter = LedgerFilter { period, account: Some(account.clone()), ..LedgerFilter::default() };
            let rows = store.ledger_with_open(filter, at(2000)).try_concat().await.unwrap();
            let expected = if account.0 == "lab" { 950 } else { 650 };
            assert_eq!(used_by(&rows, &account, period).net().0 / 600, expected, "{account}");
            assert!(rows.iter().all(|row| row.until > at(1000)), "what was over before is not read");
        }
    }
}

#[tokio::test]
async fn reservations_and_sleep() {
    for db in databases().await {
        let store = &db.store;
        let promised = Reservation {
            id: ReservationId::new(at(1), 1),
            place: QuotaPath("lab".to_owned()),
            devices: 2,
            models: vec!["A100".to_owned()],
            from: at(100),
            until: at(200),
            released: false,
        };
        let new = StoredReservation {
            reservation: promised.clone(),
            note: "class".to_owned(),
            created_by: "admin".to_owned(),
            created_at: at(5),
            released_at: None,
            canceled_at: None,
        };
        store.reservation_add(&new).await.unwrap();
        assert_eq!(store.reservations(at(150)).await.unwrap(), std::slice::from_ref(&new));
        assert!(store.reservations(at(200)).await.unwrap().is_empty());
        assert!(store.reservation_release(promised.id, at(120)).await.unwrap());
        assert!(!store.reservation_release(promised.id, at(121)).await.unwrap());
        let seen = store.reservation_by_id(promised.id).await.unwrap().unwrap();
        assert_eq!((seen.reservation.released, seen.released_at), (true, Some(at(120))));
        assert!(store.reservation_cancel(promised.id, at(130)).await.unwrap());
        assert!(!store.reservation_cancel(promised.id, at(131)).await.unwrap());
        assert!(store.reservations(at(150)).await.unwrap().is_empty());

        assert_eq!(store.carried::<Vec<i64>>().await.unwrap(), None);
        for carried in [vec![1i64], vec![2, 3]] {
            store.carried_set(&carried, at(5)).await.unwrap();
            assert_eq!(store.carried().await.unwrap(), Some(carried));
        }

        let alice = account(store, "alice", 1).await;
        let demo = space(store, &alice, "demo", 7, 5).await;
        assert_eq!(store.asleep(demo.id).await.unwrap(), None);
        let mut asleep = Asleep { release: ReleaseId::new(at(1), 1), restart: 3, since: at(7), why: LeaseEnd::Slept };
        for why in [LeaseEnd::Slept, LeaseEnd::Reclaimed] {
            asleep.why = why;
            store.asleep_set(demo.id, &asleep).await.unwrap();
            assert_eq!(store.asleep(demo.id).await.unwrap(), Some(asleep));
        }
        store.awake(demo.id).await.unwrap();
        assert_eq!(store.asleep(demo.id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn who_gets_a_space_asks_for_hardware_anew() {
    for db in databases().await {
        let store = &db.store;
        let (alice, lab) = (account(store, "alice", 1).await, account(store, "lab", 2).await);
        let demo = space(store, &lab, "demo", 1, 1).await;
        let claim = Claim { space: demo.id, ..claim(1, "lab/alice") };
        assert!(store.claim_add(&claim).await.unwrap());
        let move_to = async |name: &str, owner| {
            let row = store.repo_by_id(demo.id.into()).await.unwrap().unwrap();
            assert!(store.repo_move(&row, &name.parse().unwrap(), owner, at(5)).await.unwrap());
            store.claim_of(demo.id).await.unwrap().is_some()
        };
        assert!(move_to("lab/other", lab.id).await, "another name is no other owner");
        assert!(!move_to("alice/other", alice.id).await, "{}", store.engine());
        store.close().await;
    }
}

#[tokio::test]
async fn buckets_count_for_their_owners() {
    for db in databases().await {
        let store = &db.store;
        let alice = account(store, "alice", 1).await;
        let lab = Account {
            id: AccountId::new(at(1), 2),
            name: "lab".to_owned(),
            kind: AccountKind::Org,
            email: None,
            ..alice.clone()
        };
        store.org_create(&lab, alice.id).await.unwrap();
        let bucket = |owner, name: &str, bytes| BucketSize { owner, name: name.to_owned(), bytes };
        let gone = AccountId::new(at(1), 9);
        let (notes, more) = (bucket(alice.id, "notes", 5), bucket(alice.id, "more", 2));
        store.buckets_set(&[notes, more.clone(), bucket(lab.id, "notes", 3), bucket(gone, "notes", 9)]).await.unwrap();
        let holding = |account: &str, bytes| Holding {
            account: QuotaPath(account.to_owned()),
            spaces: 0,
            bytes,
            bucket_bytes: bytes,
        };
        assert_eq!(store.holdings().await.unwrap(), [holding("~alice", 7), holding("lab", 3)]);
        store.buckets_set(&[more]).await.unwrap();
        assert_eq!(store.holdings().await.unwrap(), [holding("~alice", 2)]);
    }
}
