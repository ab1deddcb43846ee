//! Removes what nothing refers to: images of old builds and of deleted Spaces, base images that were
//! pulled, folders of old static builds, old logs, caches.
//!
//! The engine refuses to remove an image that a container or another image needs, so an
//! environment goes only after everything made from it, and a base image after its environments.

mod caches;
mod sizes;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spaceport_core::space::{BuildState, DesiredRun};
use spaceport_core::{BuildId, RepoKind, SpaceId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::engine::chain;
use crate::handle::TaskStatus;
use crate::spaces::{Parts, WorkError};

/// Between two passes.
const PERIOD: Duration = Duration::from_secs(10 * 60);
/// Good builds of a Space whose images are kept, the newest ones.
const KEPT: usize = 5;
/// Releases of a Space whose volumes are kept, the newest ones.
const RELEASES_KEPT: i64 = 5;
/// An image younger than this may belong to a build under way.
const YOUNG: Duration = Duration::from_secs(60 * 60);
/// An environment is kept so long after it was made, for builds that need the same.
const ENVIRONMENT: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Logs of so many builds and so many attempts to run are kept of a Space, the newest ones, …
const LOGS_KEPT: usize = 50;
/// … and of these no more than so many bytes together.
const LOGS_BYTES: u64 = 512 << 20;
/// Caches are measured this often, since the engine reads every file of them.
const CACHES: Duration = Duration::from_secs(60 * 60);
/// Repositories are packed this often.
const MAINTENANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs until told to stop.
pub async fn run(parts: Parts, stop: CancellationToken) {
    let (mut maintained, mut measured) = (Instant::now(), None::<Timestamp>);
    let mut repositories_measured = None::<Timestamp>;
    loop {
        // First thing of all: a process that was killed between a push and its record left a
        // commit that nobody builds.
        if let Err(error) = take_up_pushes(&parts).await {
            let text = chain(&error);
            tracing::warn!(error = text, "repositories could not be compared with the database: {text}");
        }
        if let Err(error) = crate::index::catch_up(&parts.store, &parts.repositories).await {
            let text = chain(&error);
            tracing::warn!(error = text, "repositories could not be indexed: {text}");
        }
        let now = parts.control.clock().now();
        if repositories_measured.is_none_or(|before| now.since(before) >= sizes::PERIOD) {
            repositories_measured = Some(now);
            sizes::measure(&parts).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = parts.control.clock().sleep(PERIOD) => {}
        }
        if maintained.elapsed() > MAINTENANCE {
            maintained = Instant::now();
            maintain(&parts).await;
        }
        let began = Instant::now();
        let mut result = pass(&parts).await;
        let at = parts.control.clock().now();
        if measured.is_none_or(|before| at.since(before) >= CACHES) {
            measured = Some(at);
            let caches = caches::cut(&parts).await;
            result = result.and_then(|removed| Ok(removed + caches?));
        }
        let message = match &result {
            Ok(removed) => format!("{removed} images, folders, logs and caches removed"),
            Err(error) => chain(error),
        };
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let at = parts.control.clock().now();
        parts.control.report("garbage", TaskStatus { ok: result.is_ok(), message, at, duration_ms });
    }
}

/// Removes everything that can go, for a disk that is nearly full.
///
/// # Errors
/// When the database, the engine or a file fails; what could be removed is gone.
pub(crate) async fn make_room(parts: &Parts) -> Result<(), WorkError> {
    let caches = caches::cut(parts).await;
    let rest = pass(parts).await;
    // Last, since it makes every Dockerfile's next build slow.
    parts.engine.runtime.prune_build_cache(0).await?;
    caches.and(rest).map(drop)
}

async fn pass(parts: &Parts) -> Result<usize, WorkError> {
    // Listed before the rows are read: a row always precedes its folder, so a build that is made
    // meanwhile is not in this list.
    let folders = build_folders(parts);
    let mut kept: HashSet<BuildId> = HashSet::new();
    let spaces: HashSet<SpaceId> = parts.store.space_ids().await?.into_iter().collect();
    for space in &spaces {
        let builds = parts.store.builds_of(*space, 1000).await?;
        let good = builds.iter().filter(|build| build.state == BuildState::Succeeded).take(KEPT);
        kept.extend(good.map(|build| build.id));
        let unfinished = |state| matches!(state, BuildState::Queued | BuildState::Running);
        kept.extend(builds.iter().filter(|build| unfinished(build.state)).map(|build| build.id));
        if let Some(release) = parts.store.release_last_ready(*space, None).await? {
            kept.insert(release.build);
        }
    }
    let now = parts.control.clock().now();
    let mut removed = 0;
    for image in parts.engine.runtime.list_images().await? {
        let age = now.since(image.created_at);
        let build: Option<BuildId> = image.labels.get("spaceport.build").and_then(|id| id.parse().ok());
        let goes = match image.labels.get("spaceport.kind").map(String::as_str) {
            Some("release") => age > YOUNG && build.is_none_or(|build| !kept.contains(&build)),
            Some("environment" | "platform" | "base") => age > ENVIRONMENT,
            _ => false,
        };
        if goes && parts.engine.runtime.remove_image(&image.digest).await? {
            removed += 1;
        }
    }
    removed += crate::spaces::volumes::sweep(parts, RELEASES_KEPT).await?;
    removed += remove_folders(&folders, &spaces, &kept)?;
    for space in spaces {
        let logs = parts.control.logs().clone();
        let pruned = tokio::task::spawn_blocking(move || logs.prune(space, LOGS_KEPT, LOGS_BYTES));
        removed += pruned.await.unwrap_or(Ok(0))?;
    }
    Ok(removed)
}

/// A folder `static/{space}/{build}`.
struct BuildFolder {
    path: PathBuf,
    space: Option<SpaceId>,
    build: Option<BuildId>,
}

fn build_folders(parts: &Parts) -> Vec<BuildFolder> {
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().collect::<Vec<_>>();
    let mut folders = Vec::new();
    for space in entries(&parts.config.data_dir.join("static")) {
        for build in entries(&space.path()) {
            folders.push(BuildFolder {
                path: build.path(),
                space: space.file_name().to_str().and_then(|name| name.parse().ok()),
                build: build.file_name().to_str().and_then(|name| name.parse().ok()),
            });
        }
    }
    folders
}

/// Removes the folders of Spaces that are gone and of builds that are not kept.
fn remove_folders(
    folders: &[BuildFolder],
    spaces: &HashSet<SpaceId>,
    kept: &HashSet<BuildId>,
) -> Result<usize, WorkError> {
    let mut removed = 0;
    for folder in folders {
        let known = folder.space.is_some_and(|space| spaces.contains(&space));
        if known && folder.build.is_none_or(|build| kept.contains(&build)) {
            continue;
        }
        match std::fs::remove_dir_all(&folder.path) {
            Ok(()) => removed += 1,
            // Its Space was deleted at this moment.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(removed)
}

/// Records heads of `main` that differ from the desired ones.
async fn take_up_pushes(parts: &Parts) -> Result<(), WorkError> {
    for id in parts.store.repo_ids().await? {
        if !parts.repositories.exists(id) {
            continue;
        }
        let Some(repo) = parts.store.repo_by_id(id).await? else { continue };
        if repo.kind != RepoKind::Space {
            if let Some(head) = parts.repositories.head(id, "main").await?
                && parts.store.repo_set_head(id, &head, parts.control.clock().now()).await?
            {
                tracing::info!(repo = %repo.path(), "took up a push that was not recorded");
            }
            continue;
        }
        let id = SpaceId::from(id);
        // The row is read first and written by compare-and-set: a push that comes in between wins.
        let Some(space) = parts.store.space_by_id(id).await? else { continue };
        let Some(head) = parts.repositories.head(id.into(), "main").await? else { continue };
        let mut desired = space.desired.clone();
        if desired.head.as_ref() == Some(&head) || desired.run == DesiredRun::Deleting {
            continue;
        }
        desired.head = Some(head);
        let now = parts.control.clock().now();
        if parts.store.space_set_desired(id, &desired, desired.generation, now).await? {
            tracing::info!(space.id = %id, "took up a push to {} that was not recorded", space.name);
            parts.control.activate(id);
        }
    }
    Ok(())
}

/// Packs every repository, one after the other.
async fn maintain(parts: &Parts) {
    let Ok(ids) = parts.store.repo_ids().await else { return };
    for id in ids {
        if let Err(error) = parts.repositories.maintain(id).await {
            let text = chain(&error);
            tracing::warn!(repo.id = %id, error = text, "a repository could not be packed: {text}");
        }
    }
}
