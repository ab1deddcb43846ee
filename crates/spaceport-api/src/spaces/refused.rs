//! What the Hub offers and this server does not, said in a sentence instead of "not found".

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::access::WriteSpace;
use crate::caller::User;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::state::ApiState;
use crate::views::SpacePath;
use crate::views::runtime::{Insight, RuntimeView, runtime_view};

/// Whether dev mode shall be on.
#[derive(Debug, Deserialize, ToSchema)]
pub struct DevMode {
    /// Off is what it always is here.
    pub enabled: bool,
}

/// Dev mode of a Space
///
/// It cannot be enabled: an app is what its commits are. Disabling it is answered as on the Hub.
#[utoipa::path(post, path = "/api/spaces/{owner}/{name}/dev-mode", tag = "spaces", params(SpacePath),
    request_body = DevMode,
    responses((status = 200, body = RuntimeView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn set_dev_mode(
    State(state): State<ApiState>,
    to: WriteSpace,
    JsonBody(body): JsonBody<DevMode>,
) -> Result<Json<RuntimeView>, ApiError> {
    if body.enabled {
        return Err(ApiError::bad_request(
            "This server has no dev mode: an app is what its commits are. Push the change; a commit that changes code \
             only runs within seconds, and a branch or a duplicate keeps it apart from the app that serves",
        ));
    }
    Ok(Json(runtime_view(&state, &to.space, Insight::of(true, true)).await?))
}

/// How many copies of an app shall run.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Replicas {
    /// A number, or `auto`; 1 is what it always is here.
    pub replicas: serde_json::Value,
}

/// Replicas of a Space
///
/// An app runs once. Asking for one copy is answered as on the Hub.
#[utoipa::path(post, path = "/api/spaces/{owner}/{name}/replicas", tag = "spaces", params(SpacePath),
    request_body = Replicas,
    responses((status = 200, body = RuntimeView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn set_replicas(
    State(state): State<ApiState>,
    to: WriteSpace,
    JsonBody(body): JsonBody<Replicas>,
) -> Result<Json<RuntimeView>, ApiError> {
    if body.replicas != 1 {
        return Err(ApiError::bad_request(
            "An app runs once on this server: 'replicas' can only be 1. Larger hardware, which 'hf spaces hardware' \
             lists, is how it serves more",
        ));
    }
    Ok(Json(runtime_view(&state, &to.space, Insight::of(true, true)).await?))
}

/// Persistent storage of a Space
///
/// Volumes took its place, as on the Hub.
#[utoipa::path(post, path = "/api/spaces/{owner}/{name}/storage", tag = "spaces", params(SpacePath),
    responses((status = 403, body = ErrorBody), (status = 410, body = ErrorBody)))]
pub async fn set_storage(_: WriteSpace) -> ApiError {
    storage_is_gone()
}

/// Remove the persistent storage of a Space
///
/// Volumes took its place, as on the Hub.
#[utoipa::path(delete, path = "/api/spaces/{owner}/{name}/storage", tag = "spaces", params(SpacePath),
    responses((status = 403, body = ErrorBody), (status = 410, body = ErrorBody)))]
pub async fn delete_storage(_: WriteSpace) -> ApiError {
    storage_is_gone()
}

fn storage_is_gone() -> ApiError {
    ApiError::gone(
        "Storage tiers were replaced by volumes: mount a bucket, with 'hf spaces volumes set' or \
         'PUT /api/spaces/{owner}/{name}/volumes'; updating huggingface_hub brings the command",
    )
}

/// How much ZeroGPU is left
///
/// There is none.
#[utoipa::path(get, path = "/api/spaces/zero-gpu/quota", tag = "spaces",
    responses((status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
pub async fn get_zero_gpu_quota(_: User) -> ApiError {
    ApiError::bad_request(
        "This server has no ZeroGPU, so there is no quota of it: ask for hardware with a GPU, which \
         'hf spaces hardware' lists, with 'hf spaces settings --hardware'",
    )
}
