//! The server ends at any step, the engine goes away: nothing is lost, nothing is done twice.

use std::sync::atomic::Ordering;
use std::time::Duration;

use spaceport_core::route::Target;
use spaceport_core::space::BuildState;
use spaceport_core::{Reason, SpaceId, SpaceStage};

use crate::apps::{gradio, gradio_with};
use crate::world::{DRAIN, World, target};

/// Waits until the app answers or the server goes no further; whether it was the latter.
async fn answers_or_closed(world: &World, space: SpaceId, text: &str) -> bool {
    let closed = world.server().closed.notified();
    tokio::select! {
        () = closed => true,
        () = async {
            world.wait_visit(space, text).await;
            world.wait_stage(space, SpaceStage::Running).await;
        } => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_push_survives_a_crash_at_every_step() {
    let mut world = World::new().await;
    for steps in 0.. {
        world.name = format!("after {steps} steps");
        world.stop().await;
        world.start_for(Some(steps)).await;
        let space = world.space("alice/demo").await;
        // Other requirements each time: the environment is not there yet.
        world.push(space, &gradio_with("one", &format!("numpy\n# {steps}\n"))).await;
        let closed = answers_or_closed(&world, space, "one").await;
        world.restart().await;
        world.wait_visit(space, "one").await;
        world.wait_stage(space, SpaceStage::Running).await;
        let rows = world.instances(space).await;
        assert_eq!(rows.len(), 1, "{}: {rows:?}", world.name);
        assert_eq!(world.fake.starts(rows[0].id), 1, "{}", world.name);
        assert_eq!(world.builds(space).await.len(), 1, "{}", world.name);
        if !closed {
            assert!(steps > 10, "there is a way to go");
            return;
        }
        world.delete(space).await;
        world.wait_gone(space).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_push_survives_a_crash_at_any_step() {
    let mut world = World::new().await;
    for steps in (0..).step_by(3) {
        world.name = format!("after {steps} steps");
        let space = world.running("alice/demo", &gradio("one")).await;
        world.stop().await;
        world.start_for(Some(steps)).await;
        world.push(space, &gradio("two")).await;
        let closed = answers_or_closed(&world, space, "two").await;
        assert!(!world.containers(space).is_empty(), "{}", world.name);
        world.restart().await;
        world.wait_visit(space, "two").await;
        world
            .wait_for("the old app to go", || async {
                world.clock.skip(DRAIN / 10);
                world.fake.containers().len() == 1
            })
            .await;
        assert_eq!(world.visit(space).await.as_deref(), Some("two"), "{}", world.name);
        for row in world.instances(space).await {
            assert_eq!(world.fake.starts(row.id), 1, "{}: {row:?}", world.name);
        }
        let builds = world.builds(space).await;
        assert!(builds.len() == 2 && builds.iter().all(|build| build.state == BuildState::Succeeded), "{builds:?}");
        if !closed {
            assert!(steps > 10, "there is a way to go");
            return;
        }
        world.delete(space).await;
        world.wait_gone(space).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_apps_are_in_the_route_table_before_anything_else_is_up() {
    let mut world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let before = world.container(space);
    world.stop().await;
    world.fake.set_away(true);
    world.start().await;
    let loaded = target(&world.server().loaded, space);
    assert!(
        matches!(&loaded, Some(Target::Upstream { instance, .. }) if *instance == before.instance.to_string()),
        "{loaded:?}"
    );
    // The engine is away: what runs goes on and stays in the route.
    world
        .wait_for("a pass over everything", || async { world.parts().control.statuses().contains_key("spaces") })
        .await;
    assert_eq!(world.visit(space).await.as_deref(), Some("one"));
    // A push waits for it.
    world.push(space, &gradio("two")).await;
    world.wait_stage(space, SpaceStage::RunningBuilding).await;
    assert_eq!(world.visit(space).await.as_deref(), Some("one"));
    world.fake.set_away(false);
    world
        .wait_for("the new app", || async {
            world.clock.pass(Duration::from_millis(200));
            world.visit(space).await.as_deref() == Some("two")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_is_stopped_only_when_no_table_names_it_any_more() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("0")).await;
    for round in 1..=5 {
        let before = world.container(space);
        world.push(space, &gradio(&round.to_string())).await;
        world
            .wait_for("the old app to go", || async {
                world.clock.pass(Duration::from_millis(200));
                // The proxy is quick to say so.
                world.parts().control.drained(before.instance);
                world.fake.containers().iter().all(|container| container.id != before.id)
            })
            .await;
    }
    world.delete(space).await;
    world.wait_gone(space).await;
    assert_eq!(world.unserved.load(Ordering::Relaxed), 0, "after a crash, strangers might answer for them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_on_disk_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new().await;
    world.running("alice/demo", &gradio("one")).await;
    let file = world.config.data_dir.join("routes.json");
    world.stop().await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&file).unwrap().contains("\"key\":["), "the proxy opens tickets after a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_ended_with_the_engine_start_again() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    for attempt in 2..=4 {
        let before = world.container(space);
        world.fake.set_away(true);
        world.fake.exit(&before.id, 137);
        world.wait_for("the engine to be missed", || async { world.parts().engine.info().is_none() }).await;
        world.fake.set_away(false);
        world
            .wait_for("another attempt to answer", || async {
                world.clock.pass(Duration::from_millis(200));
                world.instances(space).await.iter().any(|row| row.attempt == attempt && row.ready_at.is_some())
            })
            .await;
    }
    // However often that was, nobody counts it against the app.
    let rows = world.instances(space).await;
    let ended: Vec<_> = rows.iter().filter(|row| row.ended_at.is_some()).collect();
    assert_eq!(ended.len(), 3, "{rows:?}");
    for row in ended {
        let reason = row.diagnosis.as_ref().map(|why| why.reason);
        assert!(row.ended_by_us && reason == Some(Reason::EngineUnavailable), "{row:?}");
    }
    world.wait_visit(space, "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_a_space_nobody_knows_are_removed() {
    let mut world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    world.stop().await;
    world.store.space_doom(space, world.clock.now()).await.unwrap();
    world.store.space_delete(space).await.unwrap();
    world.start().await;
    world.wait_for("the container to go", || async { world.fake.containers().is_empty() }).await;
    world.wait_for("the route to go", || async { world.target(space).is_none() }).await;
}
