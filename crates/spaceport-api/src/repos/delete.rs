//! `DELETE /api/repos/delete`: the name is free at once, the rest goes in the background.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::RepoKind;

use crate::access::{WriteRepo, find_named};
use crate::audit;
use crate::caller::Writer;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::repos::kind;
use crate::state::ApiState;

/// A repository to be deleted.
#[derive(Debug, Deserialize, ToSchema)]
pub struct DoomedRepo {
    /// Its name, with or without the owner.
    pub name: String,
    /// The owner; the caller when absent.
    pub organization: Option<String>,
    /// `model`, `dataset` or `space`; `model` when absent.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// Delete a repository
///
/// Code and settings go for good; the app of a Space stops, and its logs go.
#[utoipa::path(delete, path = "/api/repos/delete", tag = "repositories", request_body = DoomedRepo,
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn delete_repo(
    State(state): State<ApiState>,
    Writer(user): Writer,
    JsonBody(body): JsonBody<DoomedRepo>,
) -> Result<Json<Value>, ApiError> {
    let kind = kind(body.kind.as_deref())?;
    let own = user.account().name.clone();
    let (owner, name) = match body.name.split_once('/') {
        Some((owner, name)) => (owner, name),
        None => (body.organization.as_deref().unwrap_or(&own), body.name.as_str()),
    };
    let to = find_named(&state, kind, owner, name, user.into()).await?.into_own()?;
    delete(&state, &to).await?;
    Ok(Json(json!({})))
}

async fn delete(state: &ApiState, WriteRepo { repo, user, .. }: &WriteRepo) -> Result<(), ApiError> {
    if repo.kind == RepoKind::Space {
        state.store.space_doom(repo.id.into(), state.control.clock().now()).await?;
        state.control.activate(repo.id.into());
        state.control.activate_builds();
        state.control.activate_routes();
    } else {
        // The row goes first: a folder without a row is found and removed by the garbage collection.
        state.store.repo_delete(repo.id, state.control.clock().now()).await?;
        if let Err(error) = state.repositories.delete(repo.id).await {
            tracing::warn!(repo.id = %repo.id, %error, "the folder of a deleted repository stays until it is collected");
        }
    }
    audit::record(state, user, "repo.delete", &repo.path(), json!({"id": repo.id})).await
}
