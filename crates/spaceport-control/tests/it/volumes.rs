//! Volumes: files of other repositories and folders that stay.

use spaceport_core::space::Visibility;
use spaceport_core::volume::VolumeKind;
use spaceport_core::{Reason, SpaceId, SpaceStage, Volume};
use spaceport_runtime::Mount;

use crate::apps::gradio;
use crate::garbage::Collector;
use crate::world::World;

fn volume(kind: VolumeKind, source: &str, mount_path: &str) -> Volume {
    Volume {
        kind,
        source: source.parse().unwrap(),
        revision: None,
        mount_path: mount_path.to_owned(),
        read_only: kind != VolumeKind::Bucket,
        path: None,
    }
}

async fn set(world: &World, space: SpaceId, volumes: &[Volume]) {
    world.store.volumes_set(space, volumes).await.unwrap();
    world.activate(space);
}

fn mounts(world: &World, space: SpaceId) -> Vec<Mount> {
    let newest = world.containers(space).into_iter().max_by_key(|container| container.instance);
    newest.and_then(|container| world.fake.spec(&container.id)).map_or_else(Vec::new, |spec| spec.mounts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_finds_its_volumes_and_keeps_them_through_a_push() {
    let world = World::new().await;
    let other = world.running("alice/other", &gradio("other")).await;
    let space = world.running("alice/demo", &gradio("one")).await;
    let volumes =
        [volume(VolumeKind::Bucket, "alice/Notes", "/data"), volume(VolumeKind::Space, "alice/other", "/other")];
    set(&world, space, &volumes).await;
    world.wait_for("an app with volumes", || async { mounts(&world, space).len() == 2 }).await;
    let first = mounts(&world, space);
    assert!(first[0].volume.starts_with("spaceport-bucket-") && first[0].volume.ends_with("-notes"), "{first:?}");
    assert!(!first[0].read_only && first[0].path == "/data");
    let head = world.seen(other).await.desired.head.unwrap();
    assert!(first[1].read_only && first[1].volume.ends_with(head.as_str()), "{first:?}");
    // The files stay those of the release, whatever is pushed to the other repository.
    world.push(other, &gradio("changed")).await;
    world.restart_space(space).await;
    world.wait_for("the restarted app", || async { mounts(&world, space) == first }).await;
    // A push makes a new release, which shows the newest files; the bucket is the same.
    world.push(space, &gradio("two")).await;
    world.wait_visit(space, "two").await;
    let second = mounts(&world, space);
    assert_eq!(second[0], first[0]);
    assert_ne!(second[1].volume, first[1].volume);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_apps_keep_counts_for_the_owner_of_the_bucket() {
    let world = World::new().await;
    let space = world.running("alice/demo", &gradio("one")).await;
    set(&world, space, &[volume(VolumeKind::Bucket, "alice/Notes", "/data")]).await;
    world.wait_for("an app with a bucket", || async { mounts(&world, space).len() == 1 }).await;
    world.fake.set_volume_size(&mounts(&world, space)[0].volume, 5000);
    let _collector = Collector::start(&world);
    world
        .wait_for("it to be measured", || async {
            let holdings = world.store.holdings().await.unwrap();
            holdings.iter().any(|one| one.account.0 == "~alice" && (one.bytes, one.bucket_bytes) == (5000, 5000))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_is_not_the_owners_to_read_is_said() {
    let world = World::new().await;
    let secret = world.running("bob/secret", &gradio("secret")).await;
    let space = world.running("alice/demo", &gradio("one")).await;
    world.store.repo_set_visibility(secret.into(), Visibility::Private, world.clock.now()).await.unwrap();
    set(&world, space, &[volume(VolumeKind::Space, "bob/secret", "/x")]).await;
    world
        .wait_for("the reason", || async {
            let seen = world.seen(space).await;
            seen.diagnosis
                .is_some_and(|why| why.reason == Reason::VolumeUnavailable && why.message.contains("bob/secret"))
        })
        .await;
    // Neither is somebody else's bucket, however it got into the list.
    set(&world, space, &[volume(VolumeKind::Bucket, "bob/data", "/x")]).await;
    world
        .wait_for("the reason", || async {
            world.seen(space).await.diagnosis.is_some_and(|why| why.message.contains("bucket bob/data"))
        })
        .await;
    // Without it, all is well again.
    set(&world, space, &[]).await;
    world.wait_stage(space, SpaceStage::Running).await;
}
