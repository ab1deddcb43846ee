//! Runtime, pause, stop, restart, sleep time, host.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::Sdk;
use spaceport_core::space::{BuildState, DesiredRun};

use crate::access::{ReadSpace, WriteSpace};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{JsonBody, Params};
use crate::spaces::{change, try_change};
use crate::state::ApiState;
use crate::views::SpacePath;
use crate::views::runtime::{Insight, RuntimeView, runtime_view};

/// Longest sleep time that is stored: a year.
const MAX_SLEEP_S: i64 = 366 * 24 * 3600;

/// How a Space runs
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/runtime", tag = "spaces", params(SpacePath),
    responses((status = 200, body = RuntimeView), (status = 404, body = ErrorBody)))]
pub async fn get_runtime(State(state): State<ApiState>, read: ReadSpace) -> Result<Json<RuntimeView>, ApiError> {
    Ok(Json(runtime_view(&state, &read.space, Insight::of(read.rights.code, read.rights.write)).await?))
}

/// Where the app is.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostView {
    /// The app's address.
    pub host: String,
    /// Its host label.
    pub subdomain: String,
}

/// The address of a Space's app
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/host", tag = "spaces", params(SpacePath),
    responses((status = 200, body = HostView), (status = 404, body = ErrorBody)))]
pub async fn get_host(State(state): State<ApiState>, read: ReadSpace) -> Json<HostView> {
    let subdomain = read.space.subdomain.to_string();
    Json(HostView { host: state.site.host(&subdomain), subdomain })
}

/// Pause a Space
///
/// It stays paused until its owner restarts it.
#[utoipa::path(post, path = "/api/spaces/{owner}/{name}/pause", tag = "spaces", params(SpacePath),
    responses((status = 200, body = RuntimeView), (status = 400, body = ErrorBody)))]
pub async fn pause_space(State(state): State<ApiState>, to: WriteSpace) -> Result<Json<RuntimeView>, ApiError> {
    if to.space.sdk == Sdk::Static {
        let message = "A static Space has nothing to pause: its files are served without a container";
        return Err(ApiError::bad_request(message));
    }
    let own = to.user.account().id == to.space.owner;
    change(&state, &to, "space.pause", json!({"own": own}), |desired| {
        if desired.run == DesiredRun::Running {
            desired.run = DesiredRun::Paused;
        }
    })
    .await
}

/// Stop a Space as a site admin
///
/// Unlike a paused one it can only be restarted by a site admin.
#[utoipa::path(post, path = "/api/spaces/{owner}/{name}/stop", tag = "spaces", params(SpacePath),
    responses((status = 200, body = RuntimeView), (status = 403, body = ErrorBody)))]
pub async fn stop_space(State(state): State<ApiState>, to: WriteSpace) -> Result<Json<RuntimeView>, ApiError> {
    if !to.user.viewer.acts_as_admin() {
        return Err(ApiError::forbidden("Only site admins stop a Space; its owner can pause it"));
    }
    change(&state, &to, "space.stop", json!({}), |desired| desired.run = DesiredRun::Stopped).await
}

/// Restart a Space
///
/// With `factory=true` it is built anew without any cache. When the last build of the newest
/// commit failed or was canceled, it is built again.
#[utoipa::path(post, path = "/api/spaces/{owner}/{name}/restart", tag = "spaces",
    params(SpacePath, ("factory" = Option<bool>, Query, description = "Build anew, without any cache")),
    responses((status = 200, body = RuntimeView), (status = 403, body = ErrorBody)))]
pub async fn restart_space(
    State(state): State<ApiState>,
    to: WriteSpace,
    params: Params,
) -> Result<Json<RuntimeView>, ApiError> {
    let factory = params.flag("factory");
    let desired = &to.space.desired;
    let last = match &desired.head {
        Some(head) => state.store.build_of(to.space.id, head, desired.rebuild).await?,
        None => None,
    };
    let unbuilt = last.is_some_and(|build| matches!(build.state, BuildState::Failed | BuildState::Canceled));
    let detail = json!({"factory": factory, "rebuild": factory || unbuilt});
    let is_admin = to.user.viewer.acts_as_admin();
    // Decided with the change: a stop that comes at the same moment is not undone.
    try_change(&state, &to, "space.restart", detail, |desired| {
        if desired.run == DesiredRun::Stopped && !is_admin {
            return Err(ApiError::forbidden("A site admin stopped this Space; only a site admin can restart it"));
        }
        desired.run = DesiredRun::Running;
        desired.restart += 1;
        if factory || unbuilt {
            desired.rebuild += 1;
            desired.no_cache = factory;
        }
        Ok(())
    })
    .await
}

/// A new sleep time.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SleepTime {
    /// Seconds without a visitor; -1 is never.
    pub seconds: i64,
}

/// Set the sleep time of a Space
#[utoipa::path(post, path = "/api/spaces/{owner}/{name}/sleeptime", tag = "spaces", params(SpacePath),
    request_body = SleepTime, responses((status = 200, body = RuntimeView), (status = 400, body = ErrorBody)))]
pub async fn set_sleep_time(
    State(state): State<ApiState>,
    to: WriteSpace,
    JsonBody(body): JsonBody<SleepTime>,
) -> Result<Json<RuntimeView>, ApiError> {
    let seconds = sleep_after(body.seconds)?;
    change(&state, &to, "space.sleep_time", json!({"seconds": seconds}), |desired| desired.sleep_after_s = seconds)
        .await
}

/// Reads a sleep time; `None` is never.
pub(crate) fn sleep_after(seconds: i64) -> Result<Option<i64>, ApiError> {
    match seconds {
        -1 => Ok(None),
        1..=MAX_SLEEP_S => Ok(Some(seconds)),
        _ => Err(ApiError::bad_request(format!(
            "The sleep time must be -1 (never) or 1 to {MAX_SLEEP_S} seconds, not {seconds}"
        ))),
    }
}
