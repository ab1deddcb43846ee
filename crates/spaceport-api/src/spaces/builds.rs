//! Builds, releases and attempts of a Space, and ending a build.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::json;

use spaceport_core::space::{Build, BuildState};
use spaceport_core::{Diagnosis, Reason, SpaceId};

use crate::access::{ReadCode, WriteSpace};
use crate::audit;
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::Params;
use crate::state::ApiState;
use crate::views::SpacePath;
use crate::views::build::{BuildView, InstanceView, ReleaseView};
use crate::views::runtime::serving_release;

/// Entries of a list unless `limit` says otherwise.
const DEFAULT_LIMIT: u64 = 50;
/// Most entries of a list.
const MAX_LIMIT: u64 = 1000;

/// The builds of a Space, newest first
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/builds", tag = "builds",
    params(SpacePath, ("limit" = Option<u64>, Query, description = "At most so many; 50 when absent, 1000 at most")),
    responses((status = 200, body = [BuildView]), (status = 404, body = ErrorBody)))]
pub async fn list_builds(
    State(state): State<ApiState>,
    ReadCode(read): ReadCode,
    params: Params,
) -> Result<Json<Vec<BuildView>>, ApiError> {
    let builds = state.store.builds_of(read.space.id, limit(&params)?).await?;
    Ok(Json(builds.iter().map(|build| BuildView::of(build, read.rights.write)).collect()))
}

/// One build
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/builds/{number}", tag = "builds",
    params(SpacePath, ("number" = i64, Path, description = "Counts the Space's builds from 1")),
    responses((status = 200, body = BuildView), (status = 404, body = ErrorBody)))]
pub async fn get_build(
    State(state): State<ApiState>,
    ReadCode(read): ReadCode,
    Path(path): Path<HashMap<String, String>>,
) -> Result<Json<BuildView>, ApiError> {
    let build = numbered(&state, read.space.id, &path).await?;
    Ok(Json(BuildView::of(&build, read.rights.write)))
}

/// Cancel a build
///
/// A build that waits ends at once, one that runs within moments. One that has ended stays as it is.
#[utoipa::path(post, path = "/api/spaces/{owner}/{name}/builds/{number}/cancel", tag = "builds",
    params(SpacePath, ("number" = i64, Path, description = "Counts the Space's builds from 1")),
    responses((status = 200, body = BuildView), (status = 409, body = ErrorBody)))]
pub async fn cancel_build(
    State(state): State<ApiState>,
    to: WriteSpace,
    Path(path): Path<HashMap<String, String>>,
) -> Result<Json<BuildView>, ApiError> {
    let build = numbered(&state, to.space.id, &path).await?;
    if !matches!(build.state, BuildState::Queued | BuildState::Running) {
        let message = format!("Build {} has {} already; there is nothing to cancel", build.number, build.state);
        return Err(ApiError::conflict(message));
    }
    let now = state.control.clock().now();
    let why = Diagnosis {
        reason: Reason::BuildCanceled,
        phase: "canceled".to_owned(),
        message: format!("{} canceled build {}.", to.user.account().name, build.number),
        remedy: "Restart the Space to build this commit again, or push another one.".to_owned(),
        evidence: Vec::new(),
        since: now,
        deadline: None,
    };
    state.store.build_cancel(build.id, &why, now).await?;
    state.control.activate_builds();
    state.control.activate(to.space.id);
    let detail = json!({"build": build.number});
    audit::record(&state, &to.user, "build.cancel", &to.space.name.to_string(), detail).await?;
    let build = numbered(&state, to.space.id, &path).await?;
    Ok(Json(BuildView::of(&build, true)))
}

/// The releases of a Space, newest first
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/releases", tag = "builds",
    params(SpacePath, ("limit" = Option<u64>, Query, description = "At most so many; 50 when absent, 1000 at most")),
    responses((status = 200, body = [ReleaseView]), (status = 404, body = ErrorBody)))]
pub async fn list_releases(
    State(state): State<ApiState>,
    ReadCode(read): ReadCode,
    params: Params,
) -> Result<Json<Vec<ReleaseView>>, ApiError> {
    let serving = serving_release(&state, &read.space).await?.map(|release| release.id);
    let releases = state.store.releases_of(read.space.id, limit(&params)?).await?;
    let view = |release| ReleaseView::of(release, Some(release.id) == serving);
    Ok(Json(releases.iter().map(view).collect()))
}

/// The attempts to run a Space, newest first
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/instances", tag = "builds",
    params(SpacePath, ("limit" = Option<u64>, Query, description = "At most so many; 50 when absent, 1000 at most")),
    responses((status = 200, body = [InstanceView]), (status = 404, body = ErrorBody)))]
pub async fn list_instances(
    State(state): State<ApiState>,
    ReadCode(read): ReadCode,
    params: Params,
) -> Result<Json<Vec<InstanceView>>, ApiError> {
    let releases = state.store.releases_of(read.space.id, i64::MAX).await?;
    let numbers: HashMap<_, _> = releases.iter().map(|release| (release.id, release.number)).collect();
    let instances = state.store.instances_of(read.space.id, limit(&params)?).await?;
    let view = |instance: &spaceport_core::space::Instance| {
        InstanceView::of(instance, numbers.get(&instance.release).copied(), read.rights.write)
    };
    Ok(Json(instances.iter().map(view).collect()))
}

/// The build a path names.
pub(crate) async fn numbered(
    state: &ApiState,
    space: SpaceId,
    path: &HashMap<String, String>,
) -> Result<Build, ApiError> {
    let text = path.get("number").map_or("", String::as_str);
    let missing = || ApiError::not_found(format!("This Space has no build {:?}", clip(text)));
    let number: i64 = text.parse().map_err(|_| missing())?;
    state.store.build_by_number(space, number).await?.ok_or_else(missing)
}

fn limit(params: &Params) -> Result<i64, ApiError> {
    let limit = params.number("limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    Ok(i64::try_from(limit).unwrap_or(i64::MAX))
}
