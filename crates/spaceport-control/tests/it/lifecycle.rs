//! What owners do with a Space: pause, restart, rebuild, settings, delete.

use std::time::Duration;

use spaceport_control::LogId;
use spaceport_core::route::Target;
use spaceport_core::space::BuildState;
use spaceport_core::{FlavorName, Reason, SpaceStage};
use spaceport_runtime::Runtime;

use crate::apps::{docker, gradio, gradio_with, site};
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_space_uses_nothing_until_it_is_restarted() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    world.pause(space).await;
    world.wait_reason(space, SpaceStage::Paused, Reason::Paused).await;
    world.wait_for("nothing to run", || async { world.fake.containers().is_empty() }).await;
    assert!(matches!(world.target(space), Some(Target::Page(_))), "{:?}", world.target(space));
    // A push to a paused Space waits with it.
    world.push(space, &gradio("two")).await;
    world.restart_space(space).await;
    world.wait_visit(space, "two").await;
    world.wait_stage(space, SpaceStage::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_starts_the_same_release_beside_the_old_app() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let (old, builds) = (world.container(space), world.fake.builds());
    world.restart_space(space).await;
    world.wait_for("another app to serve", || async {
        matches!(world.target(space), Some(Target::Upstream { instance, .. }) if instance != old.instance.to_string())
    })
    .await;
    world.parts().control.drained(old.instance);
    world.wait_for("the old one to go", || async { world.fake.containers().len() == 1 }).await;
    let new = world.container(space);
    assert_eq!((new.release, world.fake.builds()), (old.release, builds), "nothing is built");
    assert_ne!(new.instance, old.instance);
}

/// After a restore of the data, or when somebody prunes the engine's images.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_whose_image_is_gone_is_built_anew() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    world.pause(space).await;
    world.wait_for("nothing to run", || async { world.fake.containers().is_empty() }).await;
    world.clock.skip(Duration::from_secs(60 * 60));
    while let Some(last) = world.fake.list_images().await.unwrap().pop() {
        assert!(world.fake.remove_image(&last.digest).await.unwrap(), "images go before those they were made from");
    }
    world.restart_space(space).await;
    world.wait_visit(space, "one").await;
    world.wait_stage(space, SpaceStage::Running).await;
    assert_eq!(world.store.builds_of(space, 9).await.unwrap().len(), 2, "one more build was enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_make_a_new_release_without_a_build() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let builds = world.fake.builds();
    world.set_variable(space, "COLOR", "blue").await;
    world.set_secret(space, "TOKEN", "s3cr3t-value").await;
    world
        .wait_for("an app with the settings", || async {
            let with = |seen| world.env(seen).get("TOKEN").map(String::as_str) == Some("s3cr3t-value");
            let serving = world.target(space);
            world.containers(space).iter().any(|seen| {
            with(seen)
                && matches!(&serving, Some(Target::Upstream { instance, .. }) if *instance == seen.instance.to_string())
        })
        })
        .await;
    world.wait_stage(space, SpaceStage::Running).await;
    assert_eq!(world.fake.builds(), builds, "nothing is built");
    let containers = world.containers(space);
    let env = world.env(containers.last().unwrap());
    assert_eq!(env.get("COLOR").map(String::as_str), Some("blue"));
    assert_eq!(env.get("SPACE_ID").map(String::as_str), Some("alice/demo"));
    // Nowhere on the disk is the secret: not in a log, not in the database, not in the route table.
    assert_eq!(files_with(&world.data_dir(), "s3cr3t-value"), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_gets_what_the_hub_injects() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let creator = world.store.space_by_id(space).await.unwrap().unwrap().creator.to_string();
    let expected = [
        ("ACCELERATOR", "none"),
        ("CPU_CORES", "2"),
        ("GRADIO_ANALYTICS_ENABLED", "False"),
        ("GRADIO_SERVER_NAME", "0.0.0.0"),
        ("GRADIO_SERVER_PORT", "7860"),
        ("GRADIO_SSR_MODE", "False"),
        ("MEMORY", "16Gi"),
        ("PORT", "7860"),
        ("PYTHONUNBUFFERED", "1"),
        ("SPACE_AUTHOR_NAME", "alice"),
        ("SPACE_CREATOR_USER_ID", &creator),
        ("SPACE_HOST", "alice-demo.localhost:8080"),
        ("SPACE_ID", "alice/demo"),
        ("SPACE_REPO_NAME", "demo"),
        ("SPACE_TITLE", "one"),
        ("SYSTEM", "spaces"),
    ];
    let env = world.env(&world.container(space));
    assert_eq!(env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_hardware_is_a_new_release_and_back_again() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let cap = |world: &World| {
        let serving = match world.target(space) {
            Some(Target::Upstream { instance, .. }) => instance,
            other => panic!("{other:?}"),
        };
        let container = world.containers(space).into_iter().find(|seen| seen.instance.to_string() == serving);
        container.and_then(|seen| world.fake.cpu_cap(&seen.id))
    };
    let basic = cap(&world);
    for (flavor, more) in [("cpu-upgrade", true), ("cpu-basic", false)] {
        world.change(space, |desired| desired.hardware = FlavorName(flavor.to_owned())).await;
        world.wait_for("the other cap", || async { (cap(&world) > basic) == more }).await;
        world
            .wait_for("one container", || async {
                world.clock.skip(Duration::from_secs(1));
                world.fake.containers().len() == 1
            })
            .await;
        world.wait_stage(space, SpaceStage::Running).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardware_with_accelerators_is_nothing_without_a_lease() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let serving = world.target(space);
    world.change(space, |desired| desired.hardware = FlavorName("t4-small".to_owned())).await;
    world.wait_reason(space, SpaceStage::RuntimeError, Reason::DeviceUnavailable).await;
    // What ran before goes on, and no container was started for the new hardware.
    assert_eq!(world.target(space), serving);
    assert_eq!(world.fake.containers().len(), 1);
    world.change(space, |desired| desired.hardware = FlavorName::cpu_basic()).await;
    world.wait_stage(space, SpaceStage::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_space_leaves_nothing() {
    let world = World::new().await;
    let app = world.running("alice/app", &gradio("one")).await;
    let files = world.running("alice/site", &site("two")).await;
    for space in [app, files] {
        world.delete(space).await;
        world.wait_gone(space).await;
        assert!(!world.repositories.exists(space.into()));
        assert_eq!(world.target(space), None);
        assert!(world.builds(space).await.is_empty() && world.instances(space).await.is_empty());
    }
    assert!(world.fake.containers().is_empty());
    for folder in ["logs", "static", "tmp", "repositories"] {
        let left = entries(&world.data_dir().join(folder));
        assert!(
            left.iter().all(|name| !name.contains(&app.to_string()) && !name.contains(&files.to_string())),
            "{left:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_space_deleted_while_it_is_built_leaves_nothing() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    // Two builds under way: the newest, and one that was replaced and has not ended yet.
    world.push(space, &gradio_with("one", "endless\n")).await;
    world
        .wait_for("the build to run", || async {
            world.builds(space).await.iter().any(|build| build.state == BuildState::Running)
        })
        .await;
    world.push(space, &docker("two", "FROM scratch\nRUN sleep infinity\n")).await;
    world.delete(space).await;
    world.wait_gone(space).await;
    world
        .wait_for("the builders to be idle", || async {
            world
                .parts()
                .control
                .statuses()
                .get("builds")
                .is_some_and(|status| status.message == "0 running, 0 waiting")
        })
        .await;
    assert!(entries(&world.data_dir().join("logs")).is_empty(), "{:?}", entries(&world.data_dir().join("logs")));
    assert!(entries(&world.data_dir().join("tmp")).is_empty());
    assert!(!world.repositories.exists(space.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_factory_reboot_builds_the_same_commit_anew() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let first = world.head_build(space).await.unwrap();
    assert!(reused(&world, space, first.id).is_none());
    world.push(space, &gradio("two")).await;
    world.wait_visit(space, "two").await;
    let second = world.head_build(space).await.unwrap();
    assert!(reused(&world, space, second.id).is_some(), "the same requirements: nothing is installed");
    world.factory_reboot(space).await;
    world
        .wait_for("the second build of the commit", || async {
            world
                .head_build(space)
                .await
                .is_some_and(|build| build.rebuild == 1 && build.state == BuildState::Succeeded)
        })
        .await;
    let rebuilt = world.head_build(space).await.unwrap();
    assert!(rebuilt.no_cache && reused(&world, space, rebuilt.id).is_none());
    // What the next push finds is the new environment, not the one the owner wanted to get rid of.
    world.push(space, &gradio("three")).await;
    world.wait_visit(space, "three").await;
    let third = world.head_build(space).await.unwrap();
    assert!(reused(&world, space, third.id).is_some());
    let parent = |build: &spaceport_core::space::Build| match build.artifact.clone().unwrap() {
        spaceport_core::space::Artifact::Image { digest } => world.fake.parent(&digest),
        other => panic!("{other:?}"),
    };
    let built = world.builds(space).await;
    let rebuilt = built.iter().find(|build| build.id == rebuilt.id).unwrap();
    assert!(parent(&third).is_some() && parent(&third) == parent(rebuilt), "an old environment was used");
}

/// The line of a build's log that says that an environment was found.
fn reused(world: &World, space: spaceport_core::SpaceId, build: spaceport_core::BuildId) -> Option<String> {
    world.log(LogId::Build(space, build)).into_iter().find(|line| line.starts_with("Using the environment"))
}

fn entries(folder: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn files_with(folder: &std::path::Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&entry.path(), text));
        } else if std::fs::read(entry.path()).unwrap().windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(entry.path());
        }
    }
    found
}
