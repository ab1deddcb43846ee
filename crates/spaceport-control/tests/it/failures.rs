//! What goes wrong with a commit or an app: what the owner is told, and what keeps serving.

use std::time::Duration;

use spaceport_core::space::BuildState;
use spaceport_core::{Reason, SpaceStage};

use crate::apps::{File, docker, gradio, gradio_with, readme};
use crate::world::{DRAIN, World};

/// A push that fails after a good one: stage and reason, and the good one answers.
async fn bad_push(world: &World, space: spaceport_core::SpaceId, files: &[File], stage: SpaceStage, reason: Reason) {
    world.push(space, files).await;
    world.wait_reason(space, stage, reason).await;
    let told = world.seen(space).await.diagnosis.unwrap();
    assert!(told.message.contains("The last good release keeps serving."), "{told:?}");
    assert!(!told.remedy.is_empty(), "{told:?}");
    assert_eq!(world.visit(space).await.as_deref(), Some("good"), "{}", world.describe().await);
}

/// The engine fetches on the node's own network, where services listen that are nobody's business.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dockerfile_cannot_have_the_engine_fetch_something() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    for (text, told) in [
        ("FROM scratch\nADD http://127.0.0.1:9090/metrics /x\n", "line 2: ADD http://127.0.0.1:9090/metrics"),
        ("# syntax=evil/frontend\nFROM scratch\n", "line 1: syntax=evil/frontend"),
    ] {
        world.push(space, &docker("one", text)).await;
        world
            .wait_for("the refusal", || async {
                let diagnosis = world.seen(space).await.diagnosis;
                diagnosis.is_some_and(|why| why.message.contains(told) && why.remedy.contains("engine_may_fetch"))
            })
            .await;
    }
    assert_eq!(world.fake.builds(), 0, "nothing reached the engine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_push_leaves_the_last_good_release_serving() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("good")).await;
    let serving = world.container(space).instance;
    let no_sdk: Vec<File> = vec![("README.md", "---\nsdk: gradoi\n---\n".to_owned())];
    bad_push(&world, space, &no_sdk, SpaceStage::ConfigError, Reason::ConfigInvalid).await;
    let no_app = vec![readme("gradio", "bad", "")];
    bad_push(&world, space, &no_app, SpaceStage::NoAppFile, Reason::AppFileMissing).await;
    let no_dockerfile = vec![readme("docker", "bad", "")];
    bad_push(&world, space, &no_dockerfile, SpaceStage::NoAppFile, Reason::DockerfileMissing).await;
    let missing = gradio_with("bad", "no-such-package\n");
    bad_push(&world, space, &missing, SpaceStage::BuildError, Reason::DependencyFailed).await;
    let failing = docker("bad", "FROM scratch\nRUN false\n");
    bad_push(&world, space, &failing, SpaceStage::BuildError, Reason::BuildStepFailed).await;
    bad_push(&world, space, &gradio("bad-import"), SpaceStage::RuntimeError, Reason::ModuleMissing).await;
    assert_eq!(world.container(space).instance, serving, "nobody touched it");
    // The next good one takes over.
    world.push(space, &gradio("better")).await;
    world.wait_visit(space, "better").await;
    world.wait_stage(space, SpaceStage::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_failed_attempts_do_not_hide_the_app_that_serves() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("good")).await;
    let serving = world.container(space).instance;
    world.push(space, &gradio("bad-import")).await;
    world.wait_reason(space, SpaceStage::RuntimeError, Reason::ModuleMissing).await;
    for restart in 0..40 {
        world.change(space, |desired| desired.restart += 1).await;
        world
            .wait_for("an attempt per restart", || async {
                let ended = world.instances(space).await.iter().filter(|row| row.ended_at.is_some()).count();
                ended > restart + 1
            })
            .await;
    }
    world.wait_stage(space, SpaceStage::RuntimeError).await;
    assert_eq!(world.visit(space).await.as_deref(), Some("good"));
    assert_eq!(world.container(space).instance, serving);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_going_back_a_bad_push_keeps_what_serves() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let first = world.push(space, &gradio("first")).await;
    world.wait_stage(space, SpaceStage::Running).await;
    world.push(space, &gradio("second")).await;
    world.wait_visit(space, "second").await;
    world.push_commit(space, &first).await;
    world.wait_visit(space, "first").await;
    world.wait_stage(space, SpaceStage::Running).await;
    assert_eq!(world.builds(space).await.len(), 2, "nothing is built twice");
    world.push(space, &gradio_with("third", "no-such-package\n")).await;
    world.wait_reason(space, SpaceStage::BuildError, Reason::DependencyFailed).await;
    world.clock.skip(DRAIN);
    world.wait_for("one container", || async { world.fake.containers().len() == 1 }).await;
    assert_eq!(
        world.visit(space).await.as_deref(),
        Some("first"),
        "the newest build is not what the owner went back to"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_going_back_a_crashing_push_starts_no_third_app() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let first = world.push(space, &gradio("first")).await;
    world.wait_stage(space, SpaceStage::Running).await;
    world.push(space, &gradio("second")).await;
    world.wait_visit(space, "second").await;
    world.push_commit(space, &first).await;
    world.wait_visit(space, "first").await;
    world.wait_stage(space, SpaceStage::Running).await;
    world.clock.skip(DRAIN);
    world.wait_for("one container", || async { world.fake.containers().len() == 1 }).await;
    let serves = world.container(space);
    world.push(space, &gradio("bad-import")).await;
    world.wait_reason(space, SpaceStage::RuntimeError, Reason::ModuleMissing).await;
    world.clock.skip(DRAIN);
    world.wait_for("one container", || async { world.fake.containers().len() == 1 }).await;
    assert_eq!(world.container(space).id, serves.id);
    assert_eq!(world.visit(space).await.as_deref(), Some("first"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_repaired_at_once_and_a_loop_waits_longer_each_time() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let first = world.container(space);
    world.fake.print(&first.id, "last words");
    world.fake.exit(&first.id, 1);
    world
        .wait_for("the second attempt to answer", || async {
            world.instances(space).await.iter().any(|row| row.attempt == 2 && row.ready_at.is_some())
        })
        .await;
    assert_eq!(world.run_log(space, first.instance), ["one starts", "last words"]);
    let ended = world.instances(space).await.pop().unwrap();
    assert_eq!(ended.diagnosis.map(|why| why.reason), Some(Reason::Crashed));

    let second = world.container(space);
    world.fake.exit(&second.id, 1);
    world.wait_reason(space, SpaceStage::RuntimeError, Reason::CrashLoop).await;
    let told = world.seen(space).await.diagnosis.unwrap();
    let wait = told.deadline.expect("it says when it tries again").since(world.clock.now());
    assert!(wait > Duration::from_secs(5) && wait <= Duration::from_secs(10), "{wait:?}");
    assert!(world.fake.containers().is_empty());
    world.clock.skip(wait);
    world.wait_stage(space, SpaceStage::Running).await;
    let third = world.container(space);
    world.fake.run_out_of_memory(&third.id);
    world.wait_stage(space, SpaceStage::RuntimeError).await;
    let longer = world.seen(space).await.diagnosis.unwrap().deadline.unwrap().since(world.clock.now());
    assert!(longer > wait, "{longer:?}");
    let logs: Vec<_> = [&first, &second, &third].map(|seen| world.run_log(space, seen.instance).len()).into();
    assert_eq!(logs, [2, 1, 1], "a kept log per attempt");
    let rows = world.instances(space).await;
    assert_eq!(rows[0].diagnosis.as_ref().map(|why| why.reason), Some(Reason::OutOfMemory));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_app_printed_while_the_server_was_away_is_kept() {
    let mut world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let first = world.container(space);
    world.crash().await;
    world.fake.print(&first.id, "Traceback (most recent call last):");
    world.fake.print(&first.id, "ValueError: too small");
    world.fake.exit(&first.id, 1);
    world.start().await;
    world
        .wait_for("the second attempt to answer", || async {
            world.instances(space).await.iter().any(|row| row.attempt == 2 && row.ready_at.is_some())
        })
        .await;
    let log = world.run_log(space, first.instance);
    assert_eq!(log, ["one starts", "Traceback (most recent call last):", "ValueError: too small"]);
    let why = world.instances(space).await.pop().unwrap().diagnosis.unwrap();
    assert!(why.message.contains("too small"), "{why:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_never_answers_is_given_up_with_what_its_sockets_say() {
    let world = &World::new().await;
    let cases = [
        ("wrong-port", Reason::WrongPort, "9999"),
        ("loopback", Reason::LoopbackOnly, "127.0.0.1:7860"),
        ("silent", Reason::NotListening, "7860"),
    ];
    let mut spaces = Vec::new();
    for (title, reason, port) in cases {
        let space = world.space(&format!("alice/{title}")).await;
        let files = vec![readme("gradio", title, "startup_duration_timeout: 60s\n"), ("app.py", String::new())];
        world.push(space, &files).await;
        world.wait_stage(space, SpaceStage::AppStarting).await;
        world
            .wait_for("the start to be recorded", || async {
                world.instances(space).await.first().is_some_and(|row| row.started_at.is_some())
            })
            .await;
        spaces.push((space, reason, port));
    }
    // Early on it only starts; after a few seconds its sockets are looked at.
    world.clock.skip(Duration::from_secs(5));
    for (space, reason, _) in &spaces {
        world.wait_reason(*space, SpaceStage::AppStarting, *reason).await;
    }
    world.clock.skip(Duration::from_secs(60));
    for (space, reason, port) in spaces {
        world.wait_reason(space, SpaceStage::RuntimeError, reason).await;
        let told = world.seen(space).await.diagnosis.unwrap();
        assert!(told.message.contains("within 60 s") && told.message.contains(port), "{told:?}");
        assert!(!told.remedy.is_empty());
        world.wait_for("the container to go", || async { world.containers(space).is_empty() }).await;
        assert_eq!(world.instances(space).await.len(), 1, "it would end the same way");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_exits_at_start_is_tried_a_few_times_and_then_left() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    world.push(space, &gradio("exits")).await;
    for attempt in 1..=4 {
        world
            .wait_for("the attempt to end", || async {
                world.instances(space).await.iter().filter(|row| row.ended_at.is_some()).count() == attempt
            })
            .await;
        world.wait_stage(space, SpaceStage::RuntimeError).await;
        world.clock.skip(Duration::from_secs(300));
    }
    world
        .wait_for("no further timer", || async {
            world.seen(space).await.diagnosis.is_some_and(|why| why.deadline.is_none())
        })
        .await;
    let told = world.seen(space).await.diagnosis.unwrap();
    assert!(told.message.contains("exit code 3"), "{told:?}");
    assert_eq!(world.head_build(space).await.unwrap().state, BuildState::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_a_worker_costs_only_time() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let once = std::sync::atomic::AtomicBool::new(true);
    let start = world.apps();
    world.fake.on_start(move |spec| {
        assert!(!once.swap(false, std::sync::atomic::Ordering::Relaxed), "this panic belongs to the test");
        start.start(spec)
    });
    world.push(space, &gradio("one")).await;
    world
        .wait_for("the app to run", || async {
            world.clock.pass(Duration::from_millis(500));
            world.stage(space).await == SpaceStage::Running
        })
        .await;
    assert_eq!(world.visit(space).await.as_deref(), Some("one"));
}
