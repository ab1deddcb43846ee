//! From a push to an app that answers, and to the next one.

use spaceport_control::Routes;
use spaceport_core::route::Target;
use spaceport_core::space::BuildState;
use spaceport_core::{Reason, SpaceStage};

use crate::apps::{gradio, readme, site};
use crate::world::{DRAIN, TICKETS, World, target};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_becomes_an_app_that_answers() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    world.wait_reason(space, SpaceStage::NoAppFile, Reason::AppFileMissing).await;
    world.push(space, &gradio("one")).await;
    world.wait_visit(space, "one").await;
    world.wait_stage(space, SpaceStage::Running).await;
    assert_eq!(world.seen(space).await.diagnosis, None);
    let instances = world.instances(space).await;
    assert_eq!((instances.len(), instances[0].attempt), (1, 1));
    assert_eq!(world.fake.starts(instances[0].id), 1);
    assert!(world.fake.cpu_cap(&world.container(space).id).is_some(), "once it answers the flavor holds");
    assert_eq!(world.run_log(space, instances[0].id), ["one starts"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_push_starts_beside_and_the_old_app_is_drained() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let old = world.container(space);
    world.push(space, &gradio("two")).await;
    world.wait_visit(space, "two").await;
    world
        .wait_for("the old instance to be retired", || async {
            world.instances(space).await.iter().any(|row| row.id == old.instance && row.retired_at.is_some())
        })
        .await;
    // Requests in flight: the old app stays until the proxy has nothing left for it.
    assert!(world.containers(space).iter().any(|seen| seen.id == old.id), "not drained yet");
    world.parts().control.drained(old.instance);
    world.wait_for("the old container to go", || async { world.fake.containers().len() == 1 }).await;
    world.wait_stage(space, SpaceStage::Running).await;

    // And when the proxy never reports, it goes after the time for requests in flight.
    let old = world.container(space);
    world.push(space, &gradio("three")).await;
    world.wait_visit(space, "three").await;
    world
        .wait_for("the old instance to be retired", || async {
            world.instances(space).await.iter().any(|row| row.id == old.instance && row.retired_at.is_some())
        })
        .await;
    assert_eq!(world.containers(space).len(), 2);
    world.clock.skip(DRAIN);
    world.wait_for("the old container to go", || async { world.fake.containers().len() == 1 }).await;
    let builds = world.builds(space).await;
    assert!(builds.len() == 3 && builds.iter().all(|build| build.state == BuildState::Succeeded), "{builds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_that_a_space_runs_reaches_it_whatever_happens_next() {
    let mut world = World::new().await;
    for title in ["one", "two", "three"] {
        let space = world.space(&format!("alice/{title}")).await;
        world.push(space, &gradio(title)).await;
        world.wait_stage(space, SpaceStage::Running).await;
        assert!(matches!(world.target(space), Some(Target::Upstream { .. })), "{:?}", world.target(space));
        // The server dies at this very moment.
        let table = Routes::load(world.data_dir().join("routes.json"), TICKETS).current();
        assert!(matches!(target(&table, space), Some(Target::Upstream { .. })), "{:?}", target(&table, space));
        world.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_space_has_no_app_file_from_the_beginning() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    world
        .wait_for("the reason", || async {
            let seen = world.seen(space).await;
            assert_eq!(seen.stage, SpaceStage::NoAppFile);
            seen.diagnosis.is_some_and(|why| why.reason == Reason::AppFileMissing)
        })
        .await;
    world.push(space, &gradio("one")).await;
    world.wait_visit(space, "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_to_an_older_commit_works_for_files_too() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let first = world.push(space, &site("one")).await;
    world.wait_visit(space, "<h1>one</h1>").await;
    world.push(space, &site("two")).await;
    world.wait_visit(space, "<h1>two</h1>").await;
    world.push_commit(space, &first).await;
    world.wait_visit(space, "<h1>one</h1>").await;
    world.wait_stage(space, SpaceStage::Running).await;
    assert_eq!(world.builds(space).await.len(), 2, "nothing is built again");
    // What its owner went back to serves on when the next push fails.
    world.push(space, &[readme("static", "three", "pinned: maybe\n")]).await;
    world.wait_stage(space, SpaceStage::ConfigError).await;
    assert_eq!(world.visit(space).await.as_deref(), Some("<h1>one</h1>"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_space_is_served_without_a_container() {
    let world = World::new().await;
    let space = world.space("alice/site").await;
    world.push(space, &site("hello")).await;
    world.wait_visit(space, "<h1>hello</h1>").await;
    world.push(space, &site("again")).await;
    world.wait_visit(space, "<h1>again</h1>").await;
    world.wait_stage(space, SpaceStage::Running).await;
    assert!(world.fake.containers().is_empty() && world.fake.builds() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_command_makes_the_files_of_a_static_space() {
    let world = World::new().await;
    let space = world.space("alice/site").await;
    let more = "app_build_command: npm run build\napp_file: dist/index.html\n";
    world.push(space, &[readme("static", "one", more), ("package.json", "{}".to_owned())]).await;
    world.wait_visit(space, "<h1>built</h1>").await;
    world.wait_stage(space, SpaceStage::Running).await;
    assert!(world.fake.containers().is_empty());
    assert!(world.repositories.resolve(space.into(), "refs/convert/build").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_free_as_soon_as_its_space_is_deleted() {
    let world = World::new().await;
    let old = world.running("alice/demo", &gradio("one")).await;
    // The engine does not answer, so the old Space cannot go yet; its app must not be reached.
    world.fake.set_away(true);
    world.wait_for("the engine to be missed", || async { world.parts().engine.info().is_none() }).await;
    world.delete(old).await;
    let new = world.space("alice/demo").await;
    world.push(new, &site("two")).await;
    world.wait_for("the old app to be out of reach", || async { world.visit(old).await.is_none() }).await;
    world.fake.set_away(false);
    world
        .wait_for("the new one to be reached", || async {
            world.clock.pass(std::time::Duration::from_millis(200));
            world.visit(new).await.as_deref() == Some("<h1>two</h1>")
        })
        .await;
    world.wait_gone(old).await;
    assert!(world.fake.containers().is_empty());
}
