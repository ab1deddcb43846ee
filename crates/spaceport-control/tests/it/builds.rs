//! The queue of builds: order, replacement, cancel, limits, and what is not built twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use spaceport_core::gpu::{Quota, QuotaPath};
use spaceport_core::space::{Build, BuildState};
use spaceport_core::{Diagnosis, Reason, SpaceId, SpaceStage};
use spaceport_runtime::fake::{StepBehavior, StepEnd};
use spaceport_store::QuotaChange;

use crate::apps::{self, File, gradio, gradio_with, readme};
use crate::world::World;

/// More than any pause of the reconcilers.
const A_WHILE: Duration = Duration::from_secs(60);

/// While it is set, build steps do not end.
fn hold(world: &World) -> Arc<AtomicBool> {
    let held = Arc::new(AtomicBool::new(true));
    let hold = Arc::clone(&held);
    world.fake.on_step(move |step| match hold.load(Ordering::Relaxed) {
        true => StepBehavior { end: StepEnd::Hang, ..StepBehavior::default() },
        false => apps::build_step(step),
    });
    held
}

async fn wait_state(world: &World, space: SpaceId, state: BuildState) -> Build {
    let what = format!("the newest build to be {state}");
    world.wait_for(&what, || async { world.head_build(space).await.is_some_and(|build| build.state == state) }).await;
    world.head_build(space).await.unwrap()
}

async fn cancel(world: &World, space: SpaceId) {
    let build = world.head_build(space).await.unwrap();
    let why = Diagnosis {
        reason: Reason::BuildCanceled,
        phase: "canceled".to_owned(),
        message: "alice canceled the build.".to_owned(),
        remedy: "Restart the Space.".to_owned(),
        evidence: Vec::new(),
        since: world.clock.now(),
        deadline: None,
    };
    world.store.build_cancel(build.id, &why, world.clock.now()).await.unwrap();
    if let Some(server) = &world.server {
        server.parts.control.activate_builds();
    }
    world.activate(space);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_push_replaces_what_waits_and_what_runs() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    world.push(space, &gradio_with("one", "endless\n")).await;
    wait_state(&world, space, BuildState::Running).await;
    world.push(space, &gradio_with("two", "endless\n")).await;
    world.push(space, &gradio("three")).await;
    world.wait_visit(space, "three").await;
    world.wait_stage(space, SpaceStage::Running).await;
    for build in world.builds(space).await {
        let newest = Some(&build.sha) == world.seen(space).await.desired.head.as_ref();
        assert_eq!(build.state == BuildState::Succeeded, newest, "{build:?}");
        assert!(newest || build.state == BuildState::Canceled, "{build:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_commit_that_is_pushed_again_is_built() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let held = hold(&world);
    let first = world.push(space, &gradio("first")).await;
    wait_state(&world, space, BuildState::Running).await;
    let second = world.push(space, &gradio_with("second", "pandas\n")).await;
    wait_state(&world, space, BuildState::Running).await;
    held.store(false, Ordering::Relaxed);
    world.push_commit(space, &first).await;
    world.wait_visit(space, "first").await;
    world.wait_stage(space, SpaceStage::Running).await;
    world.push_commit(space, &second).await;
    world.wait_visit(space, "second").await;
    assert_eq!(world.builds(space).await.len(), 2, "the same builds, begun again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canceled_build_ends_and_a_restart_builds_again() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let held = hold(&world);
    world.push(space, &gradio("one")).await;
    wait_state(&world, space, BuildState::Running).await;
    cancel(&world, space).await;
    world.wait_reason(space, SpaceStage::BuildError, Reason::BuildCanceled).await;
    held.store(false, Ordering::Relaxed);
    world.restart_space(space).await;
    world.wait_visit(space, "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_survives_a_crash_of_the_server() {
    let mut world = World::new().await;
    let space = world.space("alice/demo").await;
    hold(&world);
    world.push(space, &gradio("one")).await;
    wait_state(&world, space, BuildState::Running).await;
    world.crash().await;
    cancel(&world, space).await;
    world.start().await;
    world.wait_reason(space, SpaceStage::BuildError, Reason::BuildCanceled).await;
    assert_eq!(world.head_build(space).await.unwrap().state, BuildState::Canceled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_waits_for_anothers_environment_can_be_canceled() {
    let world = World::new().await;
    let (first, second) = (world.space("alice/first").await, world.space("alice/second").await);
    world.push(first, &gradio_with("one", "endless\n")).await;
    world
        .wait_for("the install to run", || async {
            world.seen(first).await.diagnosis.is_some_and(|why| why.phase == "dependencies")
        })
        .await;
    world.push(second, &gradio_with("two", "endless\n")).await;
    wait_state(&world, second, BuildState::Running).await;
    cancel(&world, second).await;
    world.wait_reason(second, SpaceStage::BuildError, Reason::BuildCanceled).await;
    assert_eq!(world.head_build(first).await.unwrap().state, BuildState::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_has_a_time_limit() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    world.push(space, &gradio_with("one", "endless\n")).await;
    world
        .wait_for("the install to run", || async {
            world.seen(space).await.diagnosis.is_some_and(|why| why.phase == "dependencies")
        })
        .await;
    let deadline = world.seen(space).await.diagnosis.unwrap().deadline.expect("a build says when it ends");
    world.clock.skip(deadline.since(world.clock.now()));
    world.wait_reason(space, SpaceStage::BuildError, Reason::BuildTimeout).await;
    let why = world.seen(space).await.diagnosis.unwrap();
    assert!(why.message.contains("10 min") && why.evidence == ["Building wheel"], "{why:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_owner_cannot_keep_the_others_waiting() {
    let world = World::new().await;
    let held = hold(&world);
    let mut spaces = Vec::new();
    for name in ["alice/a", "alice/b", "alice/c", "bob/d"] {
        let space = world.space(name).await;
        world.push(space, &gradio(name)).await;
        world.wait_for("the build to be asked for", || async { world.head_build(space).await.is_some() }).await;
        if spaces.len() < 2 {
            wait_state(&world, space, BuildState::Running).await;
        }
        spaces.push(space);
    }
    cancel(&world, spaces[0]).await;
    wait_state(&world, spaces[3], BuildState::Running).await;
    assert_eq!(world.head_build(spaces[2]).await.unwrap().state, BuildState::Queued, "alice has one running");
    held.store(false, Ordering::Relaxed);
    cancel(&world, spaces[1]).await;
    wait_state(&world, spaces[2], BuildState::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_beyond_the_quota_waits_and_says_so() {
    let world = World::new().await;
    let quota = Quota { max_builds: Some(1), ..Quota::default() };
    let change = QuotaChange { path: QuotaPath("~alice".to_owned()), quota: Some(quota) };
    let (generation, _) = world.store.quotas().await.unwrap();
    assert!(world.store.quotas_change(&[change], generation, world.clock.now()).await.unwrap());
    let held = hold(&world);
    let mut spaces = Vec::new();
    for (name, state) in
        [("alice/a", BuildState::Running), ("alice/b", BuildState::Queued), ("bob/c", BuildState::Running)]
    {
        let space = world.space(name).await;
        world.push(space, &gradio(name)).await;
        wait_state(&world, space, state).await;
        spaces.push(space);
    }
    let why = "Waiting for its turn: alice may build 1 at once and does; it begins when one of them ends.";
    world
        .wait_for("the reason", || async {
            world.seen(spaces[1]).await.diagnosis.is_some_and(|seen| seen.message == why)
        })
        .await;
    held.store(false, Ordering::Relaxed);
    cancel(&world, spaces[0]).await;
    wait_state(&world, spaces[1], BuildState::Succeeded).await;
    world.wait_stage(spaces[1], SpaceStage::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_environment_is_made_once_for_builds_at_the_same_time() {
    let world = World::new().await;
    let installs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&installs);
    world.fake.on_step(move |step| {
        if step.script.contains("uv pip install") {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // Long enough for the other build to come to the same point.
        std::thread::sleep(Duration::from_millis(30));
        apps::build_step(step)
    });
    let (one, two) = (world.space("alice/one").await, world.space("alice/two").await);
    for (space, title) in [(one, "one"), (two, "two")] {
        world.push(space, &gradio(title)).await;
    }
    tokio::join!(world.wait_visit(one, "one"), world.wait_visit(two, "two"));
    assert_eq!(installs.load(Ordering::Relaxed), 1);
    world.push(one, &gradio("three")).await;
    world.wait_visit(one, "three").await;
    assert_eq!(installs.load(Ordering::Relaxed), 1, "changed code installs nothing");
    world.push(one, &gradio_with("four", "scipy\n")).await;
    world.wait_visit(one, "four").await;
    assert_eq!(installs.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_preload_fails_again() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let files = |app: &str| -> Vec<File> {
        vec![readme("gradio", "one", "preload_from_hub:\n- alice/no-such-model\n"), ("app.py", app.to_owned())]
    };
    for app in ["first", "second"] {
        let sha = world.push(space, &files(app)).await;
        world
            .wait_for("the build to fail", || async {
                world
                    .builds(space)
                    .await
                    .iter()
                    .any(|build| build.sha == sha && build.state != BuildState::Queued && build.finished_at.is_some())
            })
            .await;
        world.wait_reason(space, SpaceStage::BuildError, Reason::PreloadFailed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_goes_away_under_a_build_costs_only_time() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let (fake, once) = (world.fake.clone(), AtomicBool::new(true));
    world.fake.on_step(move |step| {
        if once.swap(false, Ordering::Relaxed) {
            fake.set_away(true);
        }
        apps::build_step(step)
    });
    world.push(space, &gradio("one")).await;
    world.wait_for("the engine to be away", || async { world.parts().engine.info().is_none() }).await;
    assert_eq!(world.stage(space).await, SpaceStage::Building);
    world.fake.set_away(false);
    world.clock.skip(A_WHILE);
    world
        .wait_for("time to pass", || async {
            world.clock.pass(Duration::from_millis(500));
            world.stage(space).await == SpaceStage::Running
        })
        .await;
    assert_eq!(world.builds(space).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_waits_for_the_platform_can_be_canceled() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    std::fs::write(world.data_dir().join("tmp"), "in the way").unwrap();
    world.push(space, &gradio("one")).await;
    wait_state(&world, space, BuildState::Running).await;
    world
        .wait_for("the failure in its log", || async {
            let build = world.head_build(space).await.unwrap();
            let log = world.log(spaceport_control::LogId::Build(space, build.id));
            log.iter().any(|line| line.contains("The platform failed"))
        })
        .await;
    cancel(&world, space).await;
    world.wait_reason(space, SpaceStage::BuildError, Reason::BuildCanceled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_the_platform_passes_or_is_told() {
    let world = World::new().await;
    let (passes, stays) = (world.space("alice/passes").await, world.space("alice/stays").await);
    let tmp = world.data_dir().join("tmp");
    std::fs::write(&tmp, "in the way").unwrap();
    world.push(passes, &gradio("one")).await;
    wait_state(&world, passes, BuildState::Running).await;
    std::fs::remove_file(&tmp).unwrap();
    world
        .wait_for("the build to be made", || async {
            world.clock.pass(Duration::from_millis(500));
            world.stage(passes).await == SpaceStage::Running
        })
        .await;
    std::fs::remove_dir_all(&tmp).unwrap();
    std::fs::write(&tmp, "in the way").unwrap();
    world.push(stays, &gradio("two")).await;
    world
        .wait_for("the build to be given up", || async {
            world.clock.pass(Duration::from_millis(500));
            world.stage(stays).await == SpaceStage::BuildError
        })
        .await;
    let why = world.seen(stays).await.diagnosis.unwrap();
    assert!(why.reason == Reason::EngineUnavailable && why.remedy.contains("not your app's fault"), "{why:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_a_worker_is_a_failed_try() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let once = AtomicBool::new(true);
    world.fake.on_step(move |step| {
        assert!(!once.swap(false, Ordering::Relaxed), "this panic belongs to the test");
        apps::build_step(step)
    });
    world.push(space, &gradio("one")).await;
    world
        .wait_for("the build to be made", || async {
            world.clock.pass(Duration::from_millis(500));
            world.stage(space).await == SpaceStage::Running
        })
        .await;
}
