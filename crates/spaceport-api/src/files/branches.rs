//! Branches and tags: made, deleted, squashed.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::CommitSha;
use spaceport_git::{RefCreated, RefDeleted, RevisionKind, TagMessage};

use crate::access::WriteRepo;
use crate::audit;
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::files::target::ref_moved;
use crate::files::{WriteAt, revision};
use crate::repos::create::author;
use crate::repos::record::record_head;
use crate::state::ApiState;
use crate::views::RepoPath;

/// Longest message of a tag or of a squashed commit.
const MAX_MESSAGE: usize = 64 << 10;

/// Where a branch begins.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewBranch {
    /// A branch, a tag or a commit; `main` when absent.
    pub starting_point: Option<String>,
}

/// A tag to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewTag {
    /// Its name.
    pub tag: String,
    /// Makes it an annotated tag.
    pub message: Option<String>,
}

/// What the one commit says that is left.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Squash {
    /// Its title, and the rest of its message behind an empty line.
    pub message: Option<String>,
}

/// Create a branch
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/branch/{*branch}", tag = "files", request_body = NewBranch,
    params(RepoPath, ("branch" = String, Path, description = "Its name; a slash in it may be percent-encoded")),
    responses((status = 200, body = Object), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub async fn create_branch(
    State(state): State<ApiState>,
    WriteAt { to, place }: WriteAt,
    JsonBody(body): JsonBody<NewBranch>,
) -> Result<Json<Value>, ApiError> {
    let (branch, start) = (place.whole, body.starting_point.unwrap_or_else(|| "main".to_owned()));
    let work = make_branch(state.clone(), to, branch, start);
    state.lifetime.finish(work).await
}

async fn make_branch(state: ApiState, to: WriteRepo, branch: String, start: String) -> Result<Json<Value>, ApiError> {
    let made = state.repositories.create_branch(to.repo.id, &branch, &start).await?;
    let commit = created(made, "branch", &format!("refs/heads/{branch}"), &start)?;
    ref_moved(&state, &to.repo, &to.user, format!("refs/heads/{branch}"), None, Some(commit.clone())).await?;
    record(&state, &to, "repo.branch.create", json!({"branch": branch, "commit": commit})).await
}

/// Delete a branch
///
/// `main` stays.
#[utoipa::path(delete, path = "/api/{kind}/{owner}/{name}/branch/{*branch}", tag = "files",
    params(RepoPath, ("branch" = String, Path, description = "Its name; a slash in it may be percent-encoded")),
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn delete_branch(
    State(state): State<ApiState>,
    WriteAt { to, place }: WriteAt,
) -> Result<Json<Value>, ApiError> {
    let work = remove_branch(state.clone(), to, place.whole);
    state.lifetime.finish(work).await
}

async fn remove_branch(state: ApiState, to: WriteRepo, branch: String) -> Result<Json<Value>, ApiError> {
    let commit = deleted(state.repositories.delete_branch(to.repo.id, &branch).await?, &branch)?;
    ref_moved(&state, &to.repo, &to.user, format!("refs/heads/{branch}"), Some(commit.clone()), None).await?;
    record(&state, &to, "repo.branch.delete", json!({"branch": branch, "commit": commit})).await
}

/// Create a tag
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/tag/{*revision}", tag = "files", request_body = NewTag,
    params(RepoPath, ("revision" = String, Path, description = "What is tagged: branch, tag or commit")),
    responses((status = 200, body = Object), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub async fn create_tag(
    State(state): State<ApiState>,
    WriteAt { to, place }: WriteAt,
    JsonBody(body): JsonBody<NewTag>,
) -> Result<Json<Value>, ApiError> {
    check_message(body.message.as_deref())?;
    let work = make_tag(state.clone(), to, place.whole, body);
    state.lifetime.finish(work).await
}

async fn make_tag(state: ApiState, to: WriteRepo, revision: String, body: NewTag) -> Result<Json<Value>, ApiError> {
    let NewTag { tag, message } = body;
    let at = state.control.clock().now();
    let annotation = message.filter(|text| !text.trim().is_empty());
    let annotation = annotation.map(|text| TagMessage { text, author: author(to.user.account()), at });
    let made = state.repositories.create_tag(to.repo.id, &tag, &revision, annotation).await?;
    let commit = created(made, "tag", &format!("refs/tags/{tag}"), &revision)?;
    ref_moved(&state, &to.repo, &to.user, format!("refs/tags/{tag}"), None, Some(commit.clone())).await?;
    record(&state, &to, "repo.tag.create", json!({"tag": tag, "commit": commit})).await
}

/// Delete a tag
#[utoipa::path(delete, path = "/api/{kind}/{owner}/{name}/tag/{*revision}", tag = "files",
    params(RepoPath, ("revision" = String, Path, description = "The tag")),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn delete_tag(
    State(state): State<ApiState>,
    WriteAt { to, place }: WriteAt,
) -> Result<Json<Value>, ApiError> {
    let work = remove_tag(state.clone(), to, place.whole);
    state.lifetime.finish(work).await
}

async fn remove_tag(state: ApiState, to: WriteRepo, tag: String) -> Result<Json<Value>, ApiError> {
    let commit = deleted(state.repositories.delete_tag(to.repo.id, &tag).await?, &tag)?;
    ref_moved(&state, &to.repo, &to.user, format!("refs/tags/{tag}"), Some(commit.clone()), None).await?;
    record(&state, &to, "repo.tag.delete", json!({"tag": tag, "commit": commit})).await
}

/// Forget the history of a branch
///
/// The branch becomes one commit with the files it has.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/super-squash/{*revision}", tag = "files", request_body = Squash,
    params(RepoPath, ("revision" = String, Path, description = "A branch")),
    responses((status = 200, body = Object), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn super_squash(
    State(state): State<ApiState>,
    WriteAt { to, place }: WriteAt,
    JsonBody(body): JsonBody<Squash>,
) -> Result<Json<Value>, ApiError> {
    check_message(body.message.as_deref())?;
    let found = revision(&state, &to.repo, &place.whole).await?;
    let branch = found.reference.filter(|_| found.kind == RevisionKind::Branch);
    let branch = branch.and_then(|name| name.strip_prefix("refs/heads/").map(str::to_owned));
    let branch = branch.ok_or_else(|| ApiError::no_revision(&place.whole))?;
    let message = body.message.filter(|text| !text.trim().is_empty());
    let message = message.unwrap_or_else(|| format!("Super-squash branch '{branch}'"));
    state.lifetime.finish(squash(state.clone(), to, branch, found.commit, message)).await
}

async fn squash(
    state: ApiState,
    to: WriteRepo,
    branch: String,
    before: CommitSha,
    message: String,
) -> Result<Json<Value>, ApiError> {
    let (author, at) = (author(to.user.account()), state.control.clock().now());
    let commit = state.repositories.squash(to.repo.id, &branch, &message, &author, at).await?;
    let commit = commit.ok_or_else(|| ApiError::no_revision(&branch))?;
    if branch == "main" {
        record_head(&state, &to.repo, &to.user, &commit, "repo.squash").await?;
        return Ok(Json(json!({})));
    }
    ref_moved(&state, &to.repo, &to.user, format!("refs/heads/{branch}"), Some(before), Some(commit.clone())).await?;
    record(&state, &to, "repo.squash", json!({"branch": branch, "commit": commit})).await
}

fn check_message(text: Option<&str>) -> Result<(), ApiError> {
    if text.is_some_and(|text| text.len() > MAX_MESSAGE) {
        return Err(ApiError::bad_request(format!("'message' may have {MAX_MESSAGE} bytes at most")));
    }
    Ok(())
}

fn created(made: RefCreated, what: &str, reference: &str, start: &str) -> Result<CommitSha, ApiError> {
    match made {
        RefCreated::Created(commit) => Ok(commit),
        // Hub: clients match this text.
        RefCreated::Exists(_) => Err(ApiError::conflict(format!("Reference {} already exists", clip(reference)))),
        RefCreated::UnknownStart => Err(ApiError::no_revision(start)),
        RefCreated::InvalidName(why) => {
            Err(ApiError::bad_request(format!("Invalid reference for a {what}: {}: {why}", clip(reference))))
        }
    }
}

fn deleted(done: RefDeleted, name: &str) -> Result<CommitSha, ApiError> {
    match done {
        RefDeleted::Deleted(commit) => Ok(commit),
        RefDeleted::Unknown => Err(ApiError::no_revision(name)),
        RefDeleted::Protected => Err(ApiError::forbidden("Cannot delete refs/heads/main")),
    }
}

async fn record(state: &ApiState, to: &WriteRepo, action: &str, detail: Value) -> Result<Json<Value>, ApiError> {
    audit::record(state, &to.user, action, &to.repo.path(), detail).await?;
    Ok(Json(json!({})))
}
