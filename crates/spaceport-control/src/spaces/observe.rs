//! Reads what is: rows, containers, and what the proxy said.

use std::sync::Arc;

use spaceport_core::plan::{BuildSeen, ContainerSeen, DiskSeen, InstanceSeen, Observed, ReleaseSeen};
use spaceport_core::space::{Artifact, Build, BuildState, Release, Space};
use spaceport_core::{InstanceId, ReleaseId, SpaceId};
use spaceport_runtime::ContainerState;
use spaceport_store::Store;

use super::follow::Followers;
use super::{Parts, WorkError, hardware};
use crate::config::ControlConfig;
use crate::engine::Containers;

/// Attempts that are read: enough for the back-off to count, and for everything that lives.
const INSTANCES: i64 = 30;
/// Builds that are read to find those nobody needs.
const BUILDS: i64 = 20;

/// A Space as it is at one moment.
pub(crate) struct Seen {
    pub(crate) space: Space,
    pub(crate) observed: Observed,
    pub(crate) containers: Containers,
    /// Releases the observed instances belong to, and the wanted one.
    pub(crate) releases: Vec<Release>,
}

impl Seen {
    pub(crate) fn release(&self, id: ReleaseId) -> Option<&Release> {
        self.releases.iter().find(|release| release.id == id)
    }

    pub(crate) fn release_of(&self, instance: InstanceId) -> Option<&Release> {
        let seen = self.observed.instances.iter().find(|seen| seen.row.id == instance)?;
        self.release(seen.row.release)
    }
}

/// Reads everything about a Space; `None` when it does not exist.
pub(crate) async fn observe(parts: &Parts, followers: &Followers, id: SpaceId) -> Result<Option<Seen>, WorkError> {
    let containers = parts.engine.containers().await;
    let engine_up = containers.is_some();
    let containers: Containers = containers.unwrap_or_default();
    let store = &parts.store;
    let Some(space) = store.space_by_id(id).await? else {
        // A Space that is gone leaves nothing behind.
        for container in containers.values().filter(|container| container.space == id) {
            parts.engine.runtime.remove(&container.id).await?;
        }
        return Ok(None);
    };
    let desired = &space.desired;
    let (mut inspection, mut build) = (None, None);
    if let Some(head) = &desired.head {
        inspection = store.revision(id, head).await?;
        build = store.build_of(id, head, desired.rebuild).await?;
    }
    let mut unfinished = store.builds_of(id, BUILDS).await?;
    unfinished.retain(|build| matches!(build.state, BuildState::Queued | BuildState::Running));
    let builds_under_way = unfinished.iter().map(|build| build.number).collect();
    let stale_builds = unfinished
        .into_iter()
        .filter(|other| !other.cancel_requested && build.as_ref().is_none_or(|build| build.id != other.id))
        .map(|other| other.id)
        .collect();
    let mut rows = store.instances_of(id, INSTANCES).await?;
    for live in store.instances_live_of(id).await? {
        // However many attempts came after it: what lives is never out of sight.
        if !rows.iter().any(|row| row.id == live.id) {
            rows.push(live);
        }
    }
    let good = match &build {
        Some(build) if build.state == BuildState::Succeeded => Some(build.clone()),
        _ => last_good(store, id).await?,
    };
    let mut releases = Vec::new();
    let mut wanted = None;
    if let Some(good) = &good {
        wanted = store.release_of(good.id, desired.settings, &desired.hardware).await?;
    }
    let fallback = store.release_last_ready(id, wanted.as_ref().map(|release| release.id)).await?;
    releases.extend(wanted.clone());
    releases.extend(fallback.clone());
    for row in rows.iter().filter(|row| row.ended_at.is_none()) {
        if !releases.iter().any(|release: &Release| release.id == row.release) {
            releases.extend(store.release_by_id(row.release).await?);
        }
    }
    let orphans = containers
        .values()
        .filter(|container| container.space == id)
        .filter(|container| !rows.iter().any(|row| row.id == container.instance && row.ended_at.is_none()))
        .map(|container| container.id.0.clone())
        .collect();
    let instances = rows
        .into_iter()
        .map(|row| {
            let container = match containers.get(&row.id).map(|container| &container.state) {
                _ if !engine_up => ContainerSeen::Unknown,
                None => ContainerSeen::Missing,
                Some(ContainerState::Created) => ContainerSeen::Created,
                Some(ContainerState::Running { .. }) => ContainerSeen::Running,
                Some(ContainerState::Exited(_)) => ContainerSeen::Exited,
            };
            let drained = parts.control.is_drained(row.id);
            let release = releases.iter().find(|release| release.id == row.release);
            let needs = release.and_then(|release| hardware::needs(&parts.config, release));
            let disk = release.and_then(|release| disk_seen(parts, row.id, release));
            InstanceSeen { row, container, drained, needs, disk }
        })
        .collect::<Vec<_>>();
    for seen in instances.iter().filter(|seen| seen.container == ContainerSeen::Running && seen.row.ended_at.is_none())
    {
        if let Some(container) = containers.get(&seen.row.id) {
            followers.follow(container);
        }
    }
    let wanted = wanted.as_ref().map(|release| release_seen(&parts.config, release));
    let observed = Observed {
        hardware: hardware::seen(parts, id, wanted.as_ref()).await?,
        asleep: store.asleep(id).await?,
        idle: hardware::idle(parts, &space),
        inspection,
        build: build.as_ref().map(build_seen),
        stale_builds,
        builds_under_way,
        good: good.map(|build| build.id),
        wanted,
        fallback: fallback.as_ref().map(|release| release_seen(&parts.config, release)),
        instances,
        orphans,
        engine_up,
        starts_refused: engine_up && parts.starts_refused(),
        engine_fault: parts.engine.fault(),
        // The worker knows.
        failed: Vec::new(),
        told: space.diagnosis.clone(),
    };
    Ok(Some(Seen { space, observed, containers: Arc::clone(&containers), releases }))
}

/// The build that serves until the newest commit is one. That is the newest good one, unless a release of
/// another began to answer after it was made: then its owner went back to that one.
async fn last_good(store: &Store, id: SpaceId) -> Result<Option<Build>, WorkError> {
    let newest = store.build_last_good(id).await?;
    let proven = store.release_last_ready(id, None).await?;
    let made = newest.as_ref().and_then(|build| build.finished_at);
    if let (Some(proven), Some(made)) = (proven, made)
        && proven.ready_at.is_some_and(|ready| ready > made)
    {
        return Ok(store.build_by_id(proven.build).await?.or(newest));
    }
    Ok(newest)
}

fn disk_seen(parts: &Parts, instance: InstanceId, release: &Release) -> Option<DiskSeen> {
    let limit_bytes = parts.config.hardware.get(&release.hardware)?.disk_bytes;
    let written_bytes = parts.control.disk(instance)?;
    Some(DiskSeen { written_bytes, limit_bytes, flavor: release.hardware.clone() })
}

fn build_seen(build: &Build) -> BuildSeen {
    BuildSeen {
        id: build.id,
        state: build.state,
        queued_at: build.queued_at,
        started_at: build.started_at,
        diagnosis: build.diagnosis.clone(),
    }
}

fn release_seen(config: &ControlConfig, release: &Release) -> ReleaseSeen {
    ReleaseSeen {
        id: release.id,
        files: matches!(release.artifact, Artifact::Files { .. }),
        startup_timeout: release.config.startup_timeout,
        needs: hardware::needs(config, release),
    }
}
