//! Hardware by lease: asked for, waited for, shared by a push, taken away, given back, and all of it in the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use spaceport_core::gpu::ledger::{DeviceTime, Entry};
use spaceport_core::gpu::schedule::Carried;
use spaceport_core::gpu::{DeviceHealth, DeviceId, LeaseEnd, NoticeKind, Quota, QuotaPath, Reservation};
use spaceport_core::route::Target;
use spaceport_core::{FlavorName, Reason, ReservationId, SpaceId, SpaceStage, Timestamp};
use spaceport_store::{KnownDevice, LedgerFilter, QuotaChange, StoredLease, StoredReservation};

use crate::apps::gradio;
use crate::world::{DRAIN, World, t4};

/// A site whose machine has so many devices.
pub async fn with_devices(devices: u32) -> World {
    let mut world = World::new().await;
    world.set_devices((0..devices).map(|number| t4(&format!("GPU-{number}"), number)).collect());
    world
}

pub async fn set_flavor(world: &World, space: SpaceId, flavor: &str) {
    world.change(space, |desired| desired.hardware = FlavorName(flavor.to_owned())).await;
}

/// A Space that is built and wants a device from the beginning.
async fn on_device(world: &World, name: &str) -> SpaceId {
    let space = world.space(name).await;
    set_flavor(world, space, "t4-small").await;
    world.push(space, &gradio("one")).await;
    space
}

pub async fn all_leases(world: &World) -> Vec<StoredLease> {
    let ends = Timestamp::from_millis(i64::MAX);
    world.store.leases_between(Timestamp::from_millis(0), ends).await.unwrap()
}

/// Leases, devices and ledger as of one moment: nothing changed while they were read.
async fn settled(world: &World) -> (Vec<StoredLease>, Vec<KnownDevice>, Vec<Entry>) {
    let mut before = all_leases(world).await;
    loop {
        let devices = world.store.devices_known().await.unwrap();
        let rows = world.store.ledger(&LedgerFilter::default(), None, i64::MAX).await.unwrap();
        let after = all_leases(world).await;
        if before == after {
            return (after, devices, rows);
        }
        before = after;
    }
}

/// What holds at every moment: nothing is given twice, and the ledger is what leases had.
pub async fn check_ledger(world: &World) {
    let name = &world.name;
    assert_eq!(world.fake.held_twice(), [], "{name}: a device was used twice");
    let (leases, known, rows) = settled(world).await;
    let mut given: BTreeMap<DeviceId, u32> = BTreeMap::new();
    for part in leases.iter().filter(|lease| lease.ended_at.is_none()).flat_map(|lease| &lease.parts) {
        *given.entry(part.device.clone()).or_default() += part.milli;
    }
    for device in known {
        let milli = given.get(&device.id).copied().unwrap_or_default();
        assert!(milli <= 1000 && milli == device.leased_milli, "{name}: {device:?} has {milli}");
    }
    let sum = |rows: &[Entry]| rows.iter().map(Entry::time).sum::<DeviceTime>();
    for lease in &leases {
        let of: Vec<Entry> = rows.iter().filter(|row| row.lease == lease.lease.id).cloned().collect();
        let Some(ended_at) = lease.ended_at else {
            assert!(of.is_empty(), "{name}: {lease:?} goes on");
            continue;
        };
        let devices = of.iter().filter(|row| row.refund_of.is_none()).count();
        assert_eq!(devices, lease.parts.len(), "{name}: {lease:?} {of:?}");
        assert_eq!(sum(&of), sum(&lease.entries(ended_at)), "{name}: {lease:?}");
    }
    assert_eq!(rows.len(), rows.iter().filter(|row| leases.iter().any(|lease| lease.lease.id == row.lease)).count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_space_gets_a_device_and_gives_it_back() {
    let world = with_devices(1).await;
    let space = on_device(&world, "alice/demo").await;
    world.wait_stage(space, SpaceStage::Running).await;
    let lease = world.store.lease_of(space).await.unwrap().unwrap();
    assert_eq!((lease.account.0.as_str(), lease.parts[0].device.0.as_str()), ("~alice", "GPU-0"));
    let held = world.container(space).held.unwrap();
    assert_eq!((held.lease, held.devices.len()), (lease.lease.id, 1));
    // A push swaps old and new on the same lease.
    world.push(space, &gradio("two")).await;
    world.wait_visit(space, "two").await;
    world.clock.skip(DRAIN);
    world.wait_for("one container", || async { world.fake.containers().len() == 1 }).await;
    assert_eq!(world.container(space).held.unwrap().lease, lease.lease.id);
    world.clock.skip(Duration::from_secs(3600));
    world.pause(space).await;
    world.wait_for("the device to be free", || async { world.store.leases_live().await.unwrap().is_empty() }).await;
    assert!(world.store.claim_of(space).await.unwrap().is_none());
    let rows = world.store.ledger(&LedgerFilter::default(), None, 10).await.unwrap();
    assert_eq!((rows.len(), rows[0].why, rows[0].space_name.as_str()), (1, Some(LeaseEnd::Stopped), "alice/demo"));
    assert!(rows[0].time() > DeviceTime(3_600_000 * 1000));
    check_ledger(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_knows_why_and_is_next() {
    let world = with_devices(1).await;
    let first = on_device(&world, "alice/one").await;
    world.wait_stage(first, SpaceStage::Running).await;
    let second = on_device(&world, "bob/two").await;
    world.wait_reason(second, SpaceStage::AppStarting, Reason::HardwareWaiting).await;
    world
        .wait_for("the reason", || async {
            let message = world.seen(second).await.diagnosis.unwrap().message;
            message.starts_with("Waiting for 1 × Tesla T4: ") && message.contains(" in use. It is next.")
        })
        .await;
    assert!(matches!(world.target(second), Some(Target::Page(_))), "{:?}", world.target(second));
    assert!(world.containers(second).is_empty());
    world.pause(first).await;
    world.wait_stage(second, SpaceStage::Running).await;
    // Other hardware gives it back as well, and what ran serves until the other does.
    set_flavor(&world, second, "cpu-basic").await;
    world
        .wait_for("the lease to end", || async {
            world.clock.skip(Duration::from_secs(1));
            world.store.lease_of(second).await.unwrap().is_none() && world.stage(second).await == SpaceStage::Running
        })
        .await;
    assert_eq!(world.visit(second).await.as_deref(), Some("one"));
    check_ledger(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_guaranteed_comes_back_after_the_grace() {
    let world = with_devices(1).await;
    let borrower = on_device(&world, "bob/borrows").await;
    world.wait_stage(borrower, SpaceStage::Running).await;
    let quota = Quota { guaranteed_milli: 1000, ..Quota::default() };
    let change = QuotaChange { path: QuotaPath("~alice".to_owned()), quota: Some(quota) };
    let (generation, _) = world.store.quotas().await.unwrap();
    assert!(world.store.quotas_change(&[change], generation, world.clock.now()).await.unwrap());
    let owner = on_device(&world, "alice/owns").await;
    world.wait_reason(borrower, SpaceStage::Running, Reason::HardwareEnding).await;
    assert_eq!(world.visit(borrower).await.as_deref(), Some("one"), "it serves until then");
    let told = world.store.notices_of(borrower, 5).await.unwrap();
    assert_eq!(told[0].kind, NoticeKind::Preemption);
    world
        .wait_for("the owner to run", || async {
            world.clock.skip(Duration::from_secs(5));
            world.stage(owner).await == SpaceStage::Running
        })
        .await;
    world.wait_reason(borrower, SpaceStage::Sleeping, Reason::HardwareWaiting).await;
    let again = world.store.claim_of(borrower).await.unwrap().unwrap();
    assert_eq!(again.again.map(|again| again.why), Some(LeaseEnd::Preempted));
    world.pause(owner).await;
    world.wait_stage(borrower, SpaceStage::Running).await;
    check_ledger(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_that_began_while_the_server_was_down_is_kept_from_when_it_is_up() {
    let mut world = with_devices(1).await;
    let no_show = Duration::from_millis(world.config.gpu.scheduler.no_show_ms);
    let from = world.clock.now() + Duration::from_secs(60);
    let reservation = Reservation {
        id: ReservationId::new(from, 1),
        place: QuotaPath("~alice".to_owned()),
        devices: 1,
        models: Vec::new(),
        from,
        until: from + 100 * no_show,
        released: false,
    };
    let stored = StoredReservation {
        reservation: reservation.clone(),
        note: String::new(),
        created_by: "admin".to_owned(),
        created_at: world.clock.now(),
        released_at: None,
        canceled_at: None,
    };
    world.store.reservation_add(&stored).await.unwrap();
    world.stop().await;
    world.clock.skip(2 * no_show);
    world.start().await;
    let began = world.clock.now();
    let released = async |world: &World| {
        let seen = world.store.reservation_by_id(reservation.id).await.unwrap();
        seen.unwrap().released_at
    };
    world
        .wait_for("it to be given up", || async {
            world.clock.skip(Duration::from_secs(5));
            released(&world).await.is_some()
        })
        .await;
    let waited = released(&world).await.unwrap().since(began);
    assert!(waited >= no_show, "{waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_fails_is_given_up_and_not_charged() {
    let mut world = with_devices(1).await;
    let space = on_device(&world, "alice/demo").await;
    world.wait_stage(space, SpaceStage::Running).await;
    world.clock.skip(Duration::from_secs(100));
    let mut broken = t4("GPU-0", 0);
    broken.health = DeviceHealth::Lost { reason: "XID 79".to_owned() };
    world.set_devices(vec![broken]);
    world.wait_reason(space, SpaceStage::Sleeping, Reason::HardwareWaiting).await;
    let rows = || async { world.store.ledger(&LedgerFilter::default(), None, 10).await.unwrap() };
    world.wait_for("the lease to end", || async { rows().await.iter().any(|row| row.refund_of.is_none()) }).await;
    assert!(rows().await.iter().all(|row| row.why == Some(LeaseEnd::DeviceLost)));
    // Another takes its place, with another identity.
    world.set_devices(vec![t4("GPU-new", 0)]);
    world.wait_stage(space, SpaceStage::Running).await;
    let lease = world.store.lease_of(space).await.unwrap().unwrap();
    assert_eq!(lease.parts[0].device.0, "GPU-new");
    check_ledger(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_and_not_used_is_taken_back_after_a_warning() {
    let world = with_devices(1).await;
    let space = on_device(&world, "alice/demo").await;
    world.wait_stage(space, SpaceStage::Running).await;
    let idle = world.config.gpu.idle.clone();
    world.clock.skip(idle.after.unwrap());
    world.wait_reason(space, SpaceStage::Running, Reason::HardwareEnding).await;
    assert_eq!(world.store.notices_of(space, 5).await.unwrap()[0].kind, NoticeKind::Idle);
    // Somebody comes: it stays.
    world.parts().control.used(space, world.clock.now());
    world
        .wait_for("the notice to be taken back", || async {
            world.store.lease_of(space).await.unwrap().is_some_and(|lease| lease.ending.is_none())
        })
        .await;
    // Nobody comes: it sleeps, and the device is free.
    world
        .wait_for("it to sleep", || async {
            world.clock.skip(Duration::from_secs(60));
            world.stage(space).await == SpaceStage::Sleeping
        })
        .await;
    world.wait_for("the device to be free", || async { world.store.leases_live().await.unwrap().is_empty() }).await;
    let rows = world.store.ledger(&LedgerFilter::default(), None, 10).await.unwrap();
    assert_eq!(rows[0].why, Some(LeaseEnd::Reclaimed));
    assert!(matches!(world.target(space), Some(Target::Hold(_))), "a visitor wakes it: {:?}", world.target(space));
    world.parts().control.used(space, world.clock.now());
    world.wait_stage(space, SpaceStage::Running).await;
    check_ledger(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_space_that_nobody_uses_sleeps_and_wakes_for_a_visitor() {
    let mut world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    world.change(space, |desired| desired.sleep_after_s = Some(300)).await;
    world
        .wait_for("nothing to run", || async {
            world.clock.skip(Duration::from_secs(10));
            world.stage(space).await == SpaceStage::Sleeping && world.fake.containers().is_empty()
        })
        .await;
    let generation = world.seen(space).await.desired.generation;
    // It sleeps on over a restart of the server.
    world.restart().await;
    world.clock.skip(Duration::from_secs(31));
    world
        .wait_for("a pass over everything", || async { world.parts().control.statuses().contains_key("spaces") })
        .await;
    assert_eq!(world.stage(space).await, SpaceStage::Sleeping);
    assert!(matches!(world.target(space), Some(Target::Hold(_))), "{:?}", world.target(space));
    world.parts().control.used(space, world.clock.now());
    world.wait_visit(space, "one").await;
    world.wait_stage(space, SpaceStage::Running).await;
    assert_eq!(world.seen(space).await.desired.generation, generation, "nobody asked for anything else");
    // In use it does not sleep.
    for _ in 0..20 {
        world.clock.skip(Duration::from_secs(100));
        world.parts().control.used(space, world.clock.now());
    }
    assert_eq!(world.stage(space).await, SpaceStage::Running);
    // A restart wakes it as well.
    world
        .wait_for("sleep", || async {
            world.clock.skip(Duration::from_secs(60));
            world.stage(space).await == SpaceStage::Sleeping
        })
        .await;
    world.restart_space(space).await;
    world.wait_stage(space, SpaceStage::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardware_that_the_site_has_not_is_said_at_once() {
    let world = with_devices(1).await;
    let space = world.space("alice/demo").await;
    set_flavor(&world, space, "a100x8").await;
    world.push(space, &gradio("one")).await;
    world.wait_reason(space, SpaceStage::RuntimeError, Reason::DeviceUnavailable).await;
    let why = world.seen(space).await.diagnosis.unwrap().message;
    assert!(why.contains("no device is a A100"), "{why}");
    assert!(world.store.claims_live().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_its_device_goes_on_with_another() {
    let mut world = with_devices(2).await;
    let space = on_device(&world, "alice/demo").await;
    world.wait_stage(space, SpaceStage::Running).await;
    let first = world.store.lease_of(space).await.unwrap().unwrap();
    let lost = first.parts[0].device.clone();
    let mut devices = [t4("GPU-0", 0), t4("GPU-1", 1)];
    for device in devices.iter_mut().filter(|device| device.id == lost) {
        device.health = DeviceHealth::Lost { reason: "XID 79".to_owned() };
    }
    world.set_devices(devices.to_vec());
    world
        .wait_for("the other device", || async {
            let lease = world.store.lease_of(space).await.unwrap();
            lease.is_some_and(|lease| lease.parts.iter().any(|part| part.device != lost))
                && world.stage(space).await == SpaceStage::Running
        })
        .await;
    let before = all_leases(&world).await.into_iter().find(|lease| lease.lease.id == first.lease.id).unwrap();
    assert_eq!(before.why, Some(LeaseEnd::DeviceLost));
    check_ledger(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_comes_back_under_another_id_is_another_one() {
    let mut world = with_devices(1).await;
    let space = on_device(&world, "alice/demo").await;
    world.wait_stage(space, SpaceStage::Running).await;
    // It vanishes without a word: it is waited for, and what runs on it goes on.
    world.set_devices(vec![t4("GPU-again", 0)]);
    world
        .wait_for("the missing one to be known as drained or lost", || async {
            world.clock.skip(Duration::from_secs(5));
            world
                .store
                .lease_of(space)
                .await
                .unwrap()
                .is_some_and(|lease| lease.parts.iter().any(|part| part.device.0 == "GPU-again"))
        })
        .await;
    world.wait_stage(space, SpaceStage::Running).await;
    let known = world.store.devices_known().await.unwrap();
    let of = |id: &str| known.iter().find(|device| device.id.0 == id).unwrap();
    assert!(of("GPU-0").lost_at.is_some() && of("GPU-0").leased_milli == 0, "{known:?}");
    // The first one comes back: it is free, and nobody moves to it.
    world.set_devices(vec![t4("GPU-0", 0), t4("GPU-again", 1)]);
    let other = on_device(&world, "bob/other").await;
    world.wait_stage(other, SpaceStage::Running).await;
    let lease = world.store.lease_of(other).await.unwrap().unwrap();
    assert_eq!(lease.parts[0].device.0, "GPU-0");
    check_ledger(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_leaves_the_ledger_exact() {
    let world = with_devices(1).await;
    let first = on_device(&world, "alice/one").await;
    world.wait_stage(first, SpaceStage::Running).await;
    let second = on_device(&world, "bob/two").await;
    world.wait_reason(second, SpaceStage::AppStarting, Reason::HardwareWaiting).await;
    // Back behind the beginning of the lease: it has used nothing, and no moment counts twice.
    world.clock.set_back(Duration::from_secs(24 * 3600));
    world.pause(first).await;
    world.wait_stage(second, SpaceStage::Running).await;
    check_ledger(&world).await;
    let rows = world.store.ledger(&LedgerFilter::default(), None, 10).await.unwrap();
    assert_eq!(rows.iter().map(Entry::time).sum::<DeviceTime>(), DeviceTime(0));
    // Far ahead: nobody is taken for idle who came a moment ago by the clock of before.
    world.parts().control.used(second, world.clock.now());
    world.clock.skip(Duration::from_secs(48 * 3600));
    world.parts().control.used(second, world.clock.now());
    world.pause(second).await;
    world.wait_for("the device to be free", || async { world.store.leases_live().await.unwrap().is_empty() }).await;
    check_ledger(&world).await;
    assert!(world.store.devices_known().await.unwrap().iter().all(|device| device.leased_milli == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_and_learned_outlives_the_process() {
    let mut world = with_devices(1).await;
    let first = on_device(&world, "alice/one").await;
    world.wait_stage(first, SpaceStage::Running).await;
    let second = on_device(&world, "bob/two").await;
    world.wait_reason(second, SpaceStage::AppStarting, Reason::HardwareWaiting).await;
    // The stage may be told before the claim is written.
    world.wait_for("its claim", || async { world.store.claim_of(second).await.unwrap().is_some() }).await;
    let claim = world.store.claim_of(second).await.unwrap().unwrap().claim.id;
    let carried = async |world: &World| world.store.carried::<Carried>().await.unwrap().unwrap_or_default();
    let promise = |carried: &Carried| carried.promises.iter().find(|promise| promise.claim == claim).cloned();
    world.wait_for("it to be told", || async { promise(&carried(&world).await).is_some() }).await;
    let before = carried(&world).await;
    world.restart().await;
    world.clock.skip(Duration::from_secs(100));
    world
        .wait_for("a pass of the new process", || async { world.parts().control.statuses().contains_key("hardware") })
        .await;
    let after = carried(&world).await;
    assert_eq!(promise(&after), promise(&before), "it is told once");
    assert_eq!(after.start_times, before.start_times, "who was known before does not arrive again");
}
