//! What keeps one build or one missing rule of the host from harming everybody else.

use std::time::Duration;

use spaceport_core::{Reason, SpaceId, SpaceStage};
use spaceport_runtime::Room;
use spaceport_runtime::fake::{DockerfileBehavior, StepBehavior, StepEnd};

use crate::apps::{self, docker, gradio, site};
use crate::world::World;

const MISSING: &str = "The packet filter could not be set. Install iptables.";

fn room(disk_gib: u64, memory_mib: u64) -> Room {
    Room { disk_bytes: Some(disk_gib << 30), memory_bytes: Some(memory_mib << 20) }
}

async fn failed(world: &World, space: SpaceId, reason: Reason) -> spaceport_core::Diagnosis {
    world.wait_reason(space, SpaceStage::BuildError, reason).await;
    world.seen(space).await.diagnosis.unwrap()
}

/// Waits while time passes.
async fn wait_skipping(world: &World, space: SpaceId, stage: SpaceStage) {
    world
        .wait_for(stage.as_str(), || async {
            world.clock.pass(Duration::from_secs(1));
            world.stage(space).await == stage
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_build_begins_on_a_disk_that_is_nearly_full() {
    let world = World::new().await;
    world.fake.set_room(room(1, 4096));
    world.fake.set_build_cache(7 << 30);
    let space = world.space("alice/demo").await;
    world.push(space, &gradio("one")).await;
    let why = failed(&world, space, Reason::DiskFull).await;
    assert!(why.message.contains("1.0 GiB left") && why.message.contains("4.0 GiB"), "{why:?}");
    assert!(why.remedy.contains("docker system df"), "{why:?}");
    assert_eq!(world.fake.builds(), 0);
    assert_eq!(world.fake.build_cache(), 0, "what could be freed was");
    world.fake.set_room(room(100, 4096));
    world.restart_space(space).await;
    world.wait_visit(space, "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_ends_before_the_host_is_out_of_disk_or_memory() {
    let world = World::new().await;
    let hangs = |_: &_| StepBehavior { end: StepEnd::Hang, ..StepBehavior::default() };
    world.fake.on_step(hangs);
    world.fake.on_dockerfile(|_| DockerfileBehavior { hangs: true, ..DockerfileBehavior::default() });
    for (begun, name, room, reason) in
        [(2, "alice/memory", room(100, 100), Reason::OutOfMemory), (4, "alice/disk", room(2, 4096), Reason::DiskFull)]
    {
        world.fake.set_room(Room::default());
        let (python, dockerfile) = (world.space(name).await, world.space(&format!("{name}-docker")).await);
        world.push(python, &gradio("one")).await;
        world.push(dockerfile, &docker("two", "FROM scratch\n")).await;
        world.wait_for("both to build", || async { world.fake.builds() == begun }).await;
        world.fake.set_room(room);
        wait_skipping(&world, dockerfile, SpaceStage::BuildError).await;
        let why = world.seen(dockerfile).await.diagnosis.unwrap();
        assert!(why.reason == reason && why.message.contains("ended"), "{why:?}");
        if reason == Reason::DiskFull {
            failed(&world, python, Reason::DiskFull).await;
        } else {
            // Its steps have a limit of their own; they are not the ones to blame.
            assert_eq!(world.stage(python).await, SpaceStage::Building);
            world.pause(python).await;
            world.wait_stage(python, SpaceStage::Paused).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dockerfile_beyond_its_limits_is_told_so() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let killed = "[2/2] RUN make: executor failed running [/bin/sh -c make]: exit code: 137";
    world.fake.on_dockerfile(move |_| DockerfileBehavior {
        failure: Some(killed.to_owned()),
        ..DockerfileBehavior::default()
    });
    world.push(space, &docker("one", "FROM scratch\n")).await;
    let why = failed(&world, space, Reason::OutOfMemory).await;
    assert!(why.message.contains("[2/2] RUN make") && why.message.contains("8 GiB of memory"), "{why:?}");
    world.fake.on_dockerfile(|_| DockerfileBehavior { fills_disk: true, ..DockerfileBehavior::default() });
    world.push(space, &docker("two", "FROM scratch\n")).await;
    let why = failed(&world, space, Reason::DiskFull).await;
    assert!(why.message.contains("30 GiB"), "{why:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_output_of_a_static_build_is_bounded() {
    let mut world = World::stopped().await;
    (world.config.builder.max_source_bytes, world.config.builder.max_source_files) = (10 << 10, 10);
    world.start().await;
    world.fake.on_step(|_| StepBehavior { archive: vec![0; 64 << 10], ..StepBehavior::default() });
    let space = world.space("alice/demo").await;
    let mut files = site("one");
    files[0] = apps::readme("static", "one", "app_build_command: npm run build\napp_file: dist/index.html\n");
    world.push(space, &files).await;
    let why = failed(&world, space, Reason::SourceTooLarge).await;
    assert!(why.message.contains("output"), "{why:?}");
    assert!(!world.data_dir().join("static").join(space.to_string()).exists(), "nothing of it is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_writes_without_end_is_stopped_and_its_log_is_kept() {
    let world = World::new().await;
    let (space, other) =
        (world.running("alice/demo", &gradio("one")).await, world.running("bob/demo", &gradio("two")).await);
    let container = world.container(space);
    world.fake.print(&container.id, "downloading the whole internet");
    world.fake.write_disk(&container.id, 61_000_000_000);
    world.fake.write_disk(&world.container(other).id, 50_000_000_000);
    wait_skipping(&world, space, SpaceStage::RuntimeError).await;
    let why = world.seen(space).await.diagnosis.unwrap();
    assert_eq!(why.reason, Reason::DiskLimit);
    assert_eq!(why.message, "The app wrote 61 GB to its own disk; the limit of cpu-basic is 50 GB.");
    world.wait_for("the container to go", || async { world.containers(space).is_empty() }).await;
    assert_eq!(world.visit(space).await, None);
    assert!(world.run_log(space, container.instance).contains(&"downloading the whole internet".to_owned()));
    // It is not started again by itself, and who is at the limit runs on.
    world.clock.skip(Duration::from_secs(3600));
    world.activate(space);
    world.wait_for("another look", || async { world.instances(space).await.len() == 1 }).await;
    assert_eq!(world.stage(space).await, SpaceStage::RuntimeError);
    assert_eq!(world.visit(other).await.as_deref(), Some("two"));
    world.restart_space(space).await;
    world.wait_visit(space, "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_isolation_nothing_of_strangers_begins_to_run() {
    let mut world = World::stopped().await;
    world.fake.set_warnings(&[MISSING]);
    world.start().await;
    let (app, files) = (world.space("alice/demo").await, world.space("alice/files").await);
    world.push(app, &gradio("one")).await;
    world.push(files, &site("two")).await;
    world.wait_stage(files, SpaceStage::Running).await;
    let waits = || async { world.seen(app).await.diagnosis.is_some_and(|why| why.phase == "isolation") };
    world.wait_for("the build to say what it waits for", waits).await;
    assert_eq!(world.fake.builds(), 0);
    // It is tried again as long as something is missing, without the engine going away.
    world.fake.set_warnings(&[]);
    world.clock.skip(Duration::from_secs(60));
    world.wait_visit(app, "one").await;
    world.fake.set_warnings(&[MISSING]);
    world.restart().await;
    world.wait_for("the engine to be looked at", || async { world.parts().engine.info().is_some() }).await;
    world.wait_visit(app, "one").await;
    world.set_variable(app, "MODE", "new").await;
    world.change(app, |desired| desired.settings += 1).await;
    world
        .wait_for("the start to be refused", || async {
            world.seen(app).await.diagnosis.is_some_and(|why| why.phase == "waiting for the packet filter")
        })
        .await;
    assert_eq!(world.visit(app).await.as_deref(), Some("one"), "what runs goes on");
    assert_eq!(world.containers(app).len(), 1);
    world.fake.set_warnings(&[]);
    world.clock.skip(Duration::from_secs(60));
    wait_skipping(&world, app, SpaceStage::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_may_do_without_isolation() {
    let mut world = World::stopped().await;
    world.fake.set_warnings(&[MISSING]);
    world.config.allow_unfiltered = true;
    world.start().await;
    world.running("alice/demo", &gradio("one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_closed_to_apps_keeps_none_from_starting_and_is_tried_again() {
    let mut world = World::stopped().await;
    world.fake.set_closed(&["The hub is not found."]);
    world.start().await;
    world.running("alice/demo", &gradio("one")).await;
    let closed = || async { world.parts().engine.info().is_some_and(|info| !info.closed.is_empty()) };
    assert!(closed().await);
    world.fake.set_closed(&[]);
    world.clock.skip(Duration::from_secs(30));
    world.wait_for("the hub to be found", || async { !closed().await }).await;
    // The hub moves.
    world.fake.outdate();
    world.clock.skip(Duration::from_secs(300));
    world.wait_for("the engine to be prepared anew", || async { !world.fake.is_outdated() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_rule_does_not_end_the_hints_of_the_engine() {
    let mut world = World::stopped().await;
    world.fake.set_warnings(&[MISSING]);
    world.config.allow_unfiltered = true;
    world.start().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let before = world.container(space);
    world.fake.exit(&before.id, 3);
    world
        .wait_for("another container", || async {
            world.containers(space).first().is_some_and(|container| container.id != before.id)
        })
        .await;
}
