//! The whole queue, and what admins do to it.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::gpu::{LeaseEnd, Priority, Wait};
use spaceport_core::space::DesiredRun;
use spaceport_core::{ClaimId, Timestamp};
use spaceport_store::StoredClaim;

use crate::access::WriteSpace;
use crate::audit;
use crate::caller::{Admin, User};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{JsonBody, Params};
use crate::gpu::Eyes;
use crate::gpu::waiting::{WaitingView, waiting_view};
use crate::spaces::change;
use crate::state::ApiState;

/// Who waits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GpuQueue)]
pub struct QueueView {
    /// How many claims wait.
    pub total: usize,
    /// The first of them, by position.
    pub waiting: Vec<WaitingView>,
}

/// The queue for hardware
///
/// Everybody who waits, in the order of turns. Other people's Spaces have no names but for those who may see them.
#[utoipa::path(get, path = "/api/gpu/queue", tag = "gpu",
    params(("limit" = Option<u64>, Query, description = "At most so many; 100 when absent, 1000 at most")),
    responses((status = 200, body = QueueView), (status = 401, body = ErrorBody)))]
pub async fn list_queue(
    State(state): State<ApiState>,
    user: User,
    params: Params,
) -> Result<Json<QueueView>, ApiError> {
    let limit = usize::try_from(params.number("limit")?.unwrap_or(100).clamp(1, 1000)).unwrap_or(1000);
    let (claims, leases) = (state.store.claims_live().await?, state.store.leases_live().await?);
    let waits = |claim: &StoredClaim| !leases.iter().any(|lease| lease.lease.claim == claim.claim.id);
    let mut waiting: Vec<_> = claims.into_iter().filter(waits).collect();
    waiting.sort_by_cached_key(place_in_line);
    let mut eyes = Eyes::of(&state, user.into()).await?;
    let mut views = Vec::with_capacity(waiting.len().min(limit));
    for claim in waiting.iter().take(limit) {
        views.push(waiting_view(&mut eyes, claim, &leases).await?);
    }
    Ok(Json(QueueView { total: waiting.len(), waiting: views }))
}

/// By what the scheduler said; who was not looked at yet comes last.
fn place_in_line(claim: &StoredClaim) -> (u32, Timestamp, ClaimId) {
    let position = claim.decision::<Wait>().ok().flatten().map_or(u32::MAX, |wait| wait.position);
    (position, claim.claim.submitted_at, claim.claim.id)
}

/// Another place in the queue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuMove)]
pub struct MoveRequest {
    /// `low`, `normal` or `high`: a higher class goes before a lower one, whatever else.
    pub priority: Option<String>,
    /// As if it had waited since then; RFC 3339.
    pub submitted_at: Option<String>,
}

/// Move a claim in the queue
///
/// For site admins. A class that its quota does not allow is given all the same.
#[utoipa::path(post, path = "/api/gpu/queue/{claim}/move", tag = "gpu", request_body = MoveRequest,
    params(("claim" = String, Path, description = "Its id, as the queue lists it")),
    responses((status = 200, body = WaitingView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn move_claim(
    State(state): State<ApiState>,
    Admin(user): Admin,
    Path(claim): Path<String>,
    JsonBody(body): JsonBody<MoveRequest>,
) -> Result<Json<WaitingView>, ApiError> {
    let stored = live_claim(&state, &claim).await?;
    let (id, before) = (stored.claim.id, &stored.claim);
    let wrong = |error: &dyn std::error::Error| ApiError::bad_request(error.to_string());
    let priority = body.priority.as_deref().map(str::parse::<Priority>).transpose().map_err(|error| wrong(&error))?;
    let at = body.submitted_at.as_deref().map(str::parse::<Timestamp>).transpose().map_err(|error| wrong(&error))?;
    if priority.is_none() && at.is_none() {
        return Err(ApiError::bad_request("Say where it shall be: 'priority', 'submittedAt', or both"));
    }
    if at.is_some_and(|at| at > state.control.clock().now()) {
        return Err(ApiError::bad_request("'submittedAt' must not be in the future"));
    }
    let (priority, at) = (priority.unwrap_or(before.priority), at.unwrap_or(before.submitted_at));
    if !state.store.claim_move(id, priority, at, stored.generation).await? {
        return Err(ApiError::conflict("The claim has changed at this moment; look at the queue again"));
    }
    state.control.activate_hardware();
    let detail = json!({
        "claim": id.to_string(),
        "before": {"priority": before.priority, "submittedAt": before.submitted_at.to_rfc3339()},
        "after": {"priority": priority, "submittedAt": at.to_rfc3339()},
    });
    audit::record(&state, &user, "queue.move", &subject(&state, &stored).await?, detail).await?;
    let (moved, leases) = (live_claim(&state, &claim).await?, state.store.leases_live().await?);
    let mut eyes = Eyes::of(&state, user.into()).await?;
    Ok(Json(waiting_view(&mut eyes, &moved, &leases).await?))
}

/// Take a claim out of the queue
///
/// For site admins. The Space is paused, since it would ask anew otherwise; its owner may restart it, and then it
/// waits at the end.
#[utoipa::path(post, path = "/api/gpu/queue/{claim}/cancel", tag = "gpu",
    params(("claim" = String, Path, description = "Its id, as the queue lists it")),
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn cancel_claim(
    State(state): State<ApiState>,
    Admin(user): Admin,
    Path(claim): Path<String>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let stored = live_claim(&state, &claim).await?;
    let detail = json!({"claim": stored.claim.id.to_string(), "account": stored.claim.account});
    match state.store.space_by_id(stored.claim.space).await? {
        Some(space) => {
            let to = WriteSpace { space, user };
            let _ = change(&state, &to, "queue.cancel", detail, |desired| {
                if desired.run == DesiredRun::Running {
                    desired.run = DesiredRun::Paused;
                }
            })
            .await?;
        }
        None => audit::record(&state, &user, "queue.cancel", &stored.claim.space.to_string(), detail).await?,
    }
    // Its worker would do the same with its next look; until then nothing is given to it.
    state.store.claim_end(stored.claim.id, LeaseEnd::Stopped, state.control.clock().now()).await?;
    state.control.activate_hardware();
    Ok(Json(json!({})))
}

async fn live_claim(state: &ApiState, text: &str) -> Result<StoredClaim, ApiError> {
    let missing = || ApiError::not_found(format!("There is no claim {:?} in the queue", clip(text)));
    let id: ClaimId = text.parse().map_err(|_| missing())?;
    let found = state.store.claim_by_id(id).await?.filter(|claim| claim.ended_at.is_none());
    found.ok_or_else(missing)
}

async fn subject(state: &ApiState, stored: &StoredClaim) -> Result<String, ApiError> {
    let space = state.store.space_by_id(stored.claim.space).await?;
    Ok(space.map_or_else(|| stored.claim.space.to_string(), |space| space.name.to_string()))
}
