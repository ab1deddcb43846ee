//! What the platform fails at: after a while whoever waits is told for what, and it goes on by itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spaceport_core::volume::VolumeKind;
use spaceport_core::{Diagnosis, Reason, SpaceId, SpaceStage, Volume};
use spaceport_runtime::fake::{StepBehavior, StepEnd};

use crate::apps::{self, gradio, site};
use crate::world::World;

const MISSING: &str = "The packet filter could not be set: /usr/sbin/iptables says no.";

/// Lets time pass until it is told that the Space waits for something, with evidence.
async fn told(world: &World, space: SpaceId, phase: &str) -> Diagnosis {
    let why =
        || async { world.seen(space).await.diagnosis.filter(|why| why.phase == phase && !why.evidence.is_empty()) };
    world
        .wait_for(phase, || async {
            world.clock.pass(Duration::from_secs(2));
            why().await.is_some()
        })
        .await;
    let why = why().await.unwrap();
    assert!(why.message.contains(" since 20") && why.remedy.contains("administrator of this site"), "{why:?}");
    let here = world.data_dir().display().to_string();
    assert!(!format!("{why:?}").contains(&here), "no path of the host: {why:?}");
    why
}

/// Takes a folder of a repository away, and gives it back when called again.
fn swap(folder: &Path) {
    let aside = folder.with_extension("aside");
    let (from, to) = if aside.exists() { (aside.as_path(), folder) } else { (folder, aside.as_path()) };
    std::fs::rename(from, to).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_cannot_be_read_is_read_when_it_can() {
    let mut world = World::new().await;
    let space = world.space("alice/demo").await;
    world.wait_for("the first commit to be read", || async { world.seen(space).await.diagnosis.is_some() }).await;
    world.stop().await;
    world.push(space, &gradio("one")).await;
    swap(&world.repositories.path(space.into()));
    world.start().await;
    let why = told(&world, space, "waiting for the repository").await;
    assert_eq!((world.stage(space).await, why.reason), (SpaceStage::Building, Reason::Internal));
    assert!(why.evidence[0].contains("repository"), "{why:?}");
    // Another process goes on telling the same.
    world.restart().await;
    let again = told(&world, space, "waiting for the repository").await;
    assert_eq!((again.since, again.message), (why.since, why.message));
    swap(&world.repositories.path(space.into()));
    world.wait_visit(space, "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_waits_long_is_told_for_whom() {
    let mut world = World::stopped().await;
    world.config.builder.concurrency = 1;
    world.start().await;
    let held = Arc::new(AtomicBool::new(true));
    let hold = Arc::clone(&held);
    world.fake.on_step(move |step| match hold.load(Ordering::Relaxed) {
        true => StepBehavior { end: StepEnd::Hang, ..StepBehavior::default() },
        false => apps::build_step(step),
    });
    let mut spaces = Vec::new();
    for name in ["alice/one", "bob/two", "carol/three"] {
        spaces.push(world.space(name).await);
        world.push(spaces[spaces.len() - 1], &gradio(name)).await;
        let n = spaces.len();
        world.wait_for("the build to be queued", || async { world.head_build(spaces[n - 1]).await.is_some() }).await;
    }
    world.wait_for("one to build", || async { world.fake.builds() == 1 }).await;
    for (space, before) in [(spaces[1], "it is next."), (spaces[2], "one comes before it.")] {
        world
            .wait_for("it to be told", || async {
                world.clock.pass(Duration::from_secs(2));
                world.seen(space).await.diagnosis.is_some_and(|why| why.message.contains(" since 20"))
            })
            .await;
        let why = world.seen(space).await.diagnosis.unwrap();
        assert!(
            why.message.contains("this site builds 1 at once and does") && why.message.ends_with(before),
            "{why:?}"
        );
        assert_eq!((world.stage(space).await, why.reason), (SpaceStage::Building, Reason::BuildQueued));
    }
    held.store(false, Ordering::Relaxed);
    world.pause(spaces[0]).await;
    world.wait_visit(spaces[2], "carol/three").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_cannot_be_made_is_made_when_it_can() {
    let world = World::new().await;
    let (files, space) = (world.running("alice/files", &site("files")).await, world.space("alice/demo").await);
    let volume = Volume {
        kind: VolumeKind::Space,
        source: "alice/files".parse().unwrap(),
        revision: None,
        mount_path: "/files".to_owned(),
        read_only: true,
        path: None,
    };
    world.store.volumes_set(space, &[volume]).await.unwrap();
    let main = world.repositories.path(files.into()).join("refs/heads/main");
    let good = std::fs::read(&main).unwrap();
    std::fs::write(&main, "no commit").unwrap();
    world.push(space, &gradio("one")).await;
    let why = told(&world, space, "waiting for the repository").await;
    assert!(why.message.starts_with("The release has been waiting to be made since"), "{why:?}");
    assert_eq!(world.stage(space).await, SpaceStage::AppStarting);
    std::fs::write(&main, good).unwrap();
    world.wait_visit(space, "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_the_engine_and_for_the_packet_filter() {
    let mut world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    world.pause(space).await;
    world.wait_for("no container", || async { world.fake.containers().is_empty() }).await;
    world.stop().await;
    world.fake.set_away(true);
    world.restart_space(space).await;
    world.start().await;
    let why = told(&world, space, "waiting for the engine").await;
    assert_eq!((world.stage(space).await, why.reason), (SpaceStage::AppStarting, Reason::EngineUnavailable));
    assert!(why.evidence[0].contains("the fake engine is away"), "{why:?}");
    world.fake.set_warnings(&[MISSING]);
    world.fake.set_away(false);
    let why = told(&world, space, "waiting for the packet filter").await;
    assert_eq!(world.stage(space).await, SpaceStage::AppStarting);
    assert!(why.evidence[0].contains("could not be set: … says no"), "{why:?}");
    world.fake.set_warnings(&[]);
    world.clock.skip(Duration::from_secs(60));
    world.wait_visit(space, "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_says_what_cannot_be_removed() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let container = world.container(space);
    world.fake.refuse_removal(&container.id, Some("unlinkat /var/lib/docker/overlay2/x: device or resource busy"));
    // And a file is where a folder should be.
    let files = world.data_dir().join("static").join(space.to_string());
    std::fs::create_dir_all(files.parent().unwrap()).unwrap();
    std::fs::write(&files, "no folder").unwrap();
    world.delete(space).await;
    let why = told(&world, space, "deleting").await;
    assert_eq!((world.stage(space).await, why.reason), (SpaceStage::Deleting, Reason::Deleting));
    assert!(
        why.message.contains(&format!("the container of instance {} cannot be removed", container.instance)),
        "{why:?}"
    );
    assert!(why.evidence[0].contains("unlinkat … device or resource busy"), "{why:?}");
    world.fake.refuse_removal(&container.id, None);
    world
        .wait_for("the next that cannot be removed", || async {
            world.clock.pass(Duration::from_secs(2));
            let why = world.seen(space).await.diagnosis;
            why.is_some_and(|why| why.message.contains("its files") && why.evidence[0].contains("a static build"))
        })
        .await;
    world.clock.skip(Duration::from_secs(30));
    world
        .wait_for("the admin to be told", || async {
            world.clock.pass(Duration::from_secs(2));
            world.parts().control.statuses().get("spaces").is_some_and(|spaces| spaces.message.contains("waiting"))
        })
        .await;
    std::fs::remove_file(&files).unwrap();
    world.wait_gone(space).await;
}
