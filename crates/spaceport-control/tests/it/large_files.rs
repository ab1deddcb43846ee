//! Large files: builds get their content, and what nobody names goes.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use sha2::Digest;
use spaceport_core::{Sha256, SpaceId, SpaceStage};
use spaceport_store::NewObject;

use crate::apps::{File, site};
use crate::world::World;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Uploads a file to a Space; a commit names it when `committed`.
async fn upload(world: &World, space: SpaceId, content: &[u8], committed: bool) -> Sha256 {
    let (parts, now) = (world.parts(), world.clock.now());
    let sha256 = Sha256::from_bytes(sha2::Sha256::digest(content).into());
    let size = u64::try_from(content.len()).unwrap();
    let body = futures::stream::iter([Ok::<_, Infallible>(Bytes::copy_from_slice(content))]);
    parts.objects.put(sha256, size, body, now).await.unwrap();
    let owner = world.seen(space).await.owner;
    let object = NewObject { sha256, size, xet: None };
    parts.store.object_uploaded(space.into(), &object, owner, now).await.unwrap();
    if committed {
        parts.store.objects_committed(space.into(), &[(sha256, None)], now).await.unwrap();
    }
    sha256
}

fn pointer(path: &'static str, sha256: Sha256, size: usize) -> File {
    (path, format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_gets_the_content_of_its_own_large_files() {
    let world = World::new().await;
    let (space, other) = (world.space("alice/site").await, world.space("bob/other").await);
    let own = upload(&world, space, b"large content", true).await;
    let foreign = upload(&world, other, b"of somebody else", true).await;
    let mut files = site("one");
    files.extend([pointer("own.bin", own, 13), pointer("foreign.bin", foreign, 16)]);
    world.push(space, &files).await;
    world.wait_stage(space, SpaceStage::Running).await;
    let folders = world.config.data_dir.join("static").join(space.to_string());
    let build = std::fs::read_dir(folders).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read(build.join("own.bin")).unwrap(), b"large content");
    // Knowing a name gives nothing: what another repository has stays a pointer.
    assert!(std::fs::read_to_string(build.join("foreign.bin")).unwrap().starts_with("version https://git-lfs"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_without_a_commit_go_and_committed_files_stay() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let committed = upload(&world, space, b"committed", true).await;
    let abandoned = upload(&world, space, b"abandoned", false).await;
    let parts = world.parts().clone();
    let pass =
        async || spaceport_control::large_files::pass(&parts.objects, &parts.store, &parts.control).await.unwrap();
    assert_eq!(pass().await.files_removed, 0);
    world.clock.skip(3 * DAY);
    let fresh = upload(&world, space, b"fresh", false).await;
    assert_eq!(pass().await.files_removed, 1);
    let kept = async |name| parts.objects.info(name).await.unwrap().is_some();
    assert!(kept(committed).await && !kept(abandoned).await && kept(fresh).await);
    let rows = parts.store.repo_objects(space.into(), &[committed, abandoned, fresh]).await.unwrap();
    assert_eq!(rows.len(), 2);
}
