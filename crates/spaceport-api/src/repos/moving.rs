//! `POST /api/repos/move`: another name, another owner, or both.
//!
//! A repository is its id: builds, apps, discussions, likes, large files and whoever watches it stay with it. Its old
//! name answers with a redirect until a new repository takes it.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::account::Account;
use spaceport_core::volume::VolumeSource;
use spaceport_core::{Repo, RepoKind, RepoName};
use spaceport_store::StoreError;

use crate::access::{WriteRepo, find_named};
use crate::allowance;
use crate::audit;
use crate::caller::Writer;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{CalledUrl, JsonBody};
use crate::repos::create::{CreatedRepo, owner};
use crate::repos::kind;
use crate::state::ApiState;

/// A repository that shall have another name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// `owner/name` as it is.
    pub from_repo: String,
    /// `owner/name` as it shall be.
    pub to_repo: String,
    /// `model`, `dataset` or `space`; `model` when absent.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// Rename a repository, or give it to another owner
///
/// What asks for the old name is redirected. The app of a Space gets the host of the new name, answers at the old one
/// as well, and runs on.
#[utoipa::path(post, path = "/api/repos/move", tag = "repositories", request_body = Move,
    responses((status = 200, body = CreatedRepo), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn move_repo(
    State(state): State<ApiState>,
    Writer(user): Writer,
    CalledUrl(hub): CalledUrl,
    JsonBody(body): JsonBody<Move>,
) -> Result<Json<CreatedRepo>, ApiError> {
    let kind = kind(body.kind.as_deref())?;
    let name = |text: &str| text.parse().map_err(|error: spaceport_core::name::InvalidName| wrong(&error));
    let (from, wanted): (RepoName, RepoName) = (name(&body.from_repo)?, name(&body.to_repo)?);
    let to = find_named(&state, kind, from.owner(), from.name(), user.clone().into()).await?.into_own()?;
    let owner = owner(&state, &user, Some(wanted.owner())).await?;
    // The owner is spelt as the account is.
    let name = RepoName::new(&owner.name, wanted.name()).map_err(|error| wrong(&error))?;
    let page = |name: &RepoName| format!("{hub}/{}", kind.path(name));
    if let Some(there) = state.store.repo_by_name(kind, &name).await?.filter(|there| there.id != to.repo.id) {
        return Err(taken(kind, &name).with("url", page(&there.name)));
    }
    if to.repo.name.to_string() != name.to_string() {
        check_buckets(&state, &to.repo, &owner).await?;
        carry_out(&state, &to, &name, &owner).await?;
    }
    let repo = state.store.repo_by_name(kind, &name).await?.ok_or_else(|| ApiError::no_repo(false))?;
    Ok(Json(CreatedRepo { url: page(&name), name: name.to_string(), id: repo.id.to_string() }))
}

async fn carry_out(state: &ApiState, to: &WriteRepo, name: &RepoName, owner: &Account) -> Result<(), ApiError> {
    let WriteRepo { repo, user, .. } = to;
    let _turn = allowance::for_moved_repo(state, repo, owner.id).await?;
    let moved = state.store.repo_move(repo, name, owner.id, state.control.clock().now()).await;
    match moved {
        Ok(true) => {}
        Ok(false) => return Err(ApiError::conflict(format!("{} was moved or deleted at this moment", repo.name))),
        Err(StoreError::Exists(_)) => return Err(taken(repo.kind, name)),
        Err(error) => return Err(error.into()),
    }
    if repo.kind == RepoKind::Space {
        state.control.activate(repo.id.into());
        state.control.activate_routes();
    }
    state.control.activate_webhooks();
    let detail = json!({"id": repo.id, "to": repo.kind.path(name)});
    audit::record(state, user, "repo.move", &repo.path(), detail).await
}

/// A bucket stays with its owner, and so must not go along in a Space that others will own: neither in what it shall
/// mount nor in the release that runs.
async fn check_buckets(state: &ApiState, repo: &Repo, owner: &Account) -> Result<(), ApiError> {
    if repo.kind != RepoKind::Space || repo.owner == owner.id {
        return Ok(());
    }
    let volumes = state.store.volumes(repo.id.into()).await?;
    let wanted =
        volumes.iter().find(|volume| volume.kind.repo_kind().is_none()).map(|volume| volume.source.to_string());
    let running = state.store.release_last_ready(repo.id.into(), None).await?;
    let mounted = running.into_iter().flat_map(|release| release.volumes).find_map(|volume| match volume.source {
        VolumeSource::Bucket { name, .. } => Some(format!("{}/{name}", repo.name.owner())),
        VolumeSource::Files { .. } | VolumeSource::Missing { .. } => None,
    });
    let Some(bucket) = wanted.or(mounted) else { return Ok(()) };
    Err(ApiError::bad_request(format!(
        "{} has the bucket {bucket} as a volume, which stays with {}; remove the volume and let the Space run without it \
         before it gets another owner",
        repo.name,
        repo.name.owner()
    )))
}

/// The Hub's words, which people and programs know.
fn taken(kind: RepoKind, name: &RepoName) -> ApiError {
    ApiError::conflict(format!("A {kind} repository called {name} already exists"))
}

fn wrong(error: &spaceport_core::name::InvalidName) -> ApiError {
    ApiError::bad_request(error.to_string())
}
