//! `DELETE /api/repos/delete`: the name is free at once, the rest goes in the background.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::access::find_space;
use crate::audit;
use crate::caller::{Caller, Writer};
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::repos::only_spaces;
use crate::state::ApiState;

/// A repository to be deleted.
#[derive(Debug, Deserialize, ToSchema)]
pub struct DoomedRepo {
    /// Its name, with or without the owner.
    pub name: String,
    /// The owner; the caller when absent.
    pub organization: Option<String>,
    /// `space`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// Delete a Space
///
/// Its app stops, and code, logs and settings go for good.
#[utoipa::path(delete, path = "/api/repos/delete", tag = "repositories", request_body = DoomedRepo,
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn delete_repo(
    State(state): State<ApiState>,
    Writer(user): Writer,
    JsonBody(body): JsonBody<DoomedRepo>,
) -> Result<Json<Value>, ApiError> {
    only_spaces(body.kind.as_deref())?;
    let own = user.account.name.clone();
    let (owner, name) = match body.name.split_once('/') {
        Some((owner, name)) => (owner, name),
        None => (body.organization.as_deref().unwrap_or(&own), body.name.as_str()),
    };
    let caller = Caller { user: Some((user.account.clone(), user.token.clone())), origin: user.origin.clone() };
    let to = find_space(&state, owner, name, caller).await?.into_write()?;
    state.store.space_doom(to.space.id, state.control.clock().now()).await?;
    state.control.activate(to.space.id);
    state.control.activate_builds();
    state.control.activate_routes();
    audit::record(&state, &user, "space.delete", &to.space.name.to_string(), json!({"id": to.space.id})).await?;
    Ok(Json(json!({})))
}
