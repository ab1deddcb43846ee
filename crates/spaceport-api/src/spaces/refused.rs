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
