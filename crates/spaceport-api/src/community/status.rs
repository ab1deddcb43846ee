//! Title, status, pin and lock of a discussion.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::discussion::{Act, DiscussionEvent, EventKind};
use spaceport_core::{Discussion, DiscussionStatus};

use crate::access::DiscussRepo;
use crate::audit;
use crate::community::comments::{check_comment, may_speak};
use crate::community::discussions::{check_title, find};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::state::ApiState;
use crate::views::RepoPath;
use crate::views::account::Authors;
use crate::views::discussion::EventView;

/// Another title.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewTitle {
    /// What it is about.
    title: String,
}

/// Another status.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewStatus {
    /// `open` or `closed`.
    status: String,
    /// Said with it, in Markdown.
    comment: Option<String>,
}

/// Whether a discussion stays on top.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewPin {
    /// Whether it does.
    pinned: bool,
}

/// Whether a discussion is locked.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewLock {
    /// Whether it is.
    locked: bool,
}

/// What the discussion shows of a new title.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TitleAnswer {
    /// The change.
    new_title: EventView,
}

/// What the discussion shows of a new status.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusAnswer {
    /// The change.
    pub(super) new_status: EventView,
}

/// Give a discussion another title
///
/// Whoever opened it may, and those who may change the repository.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/discussions/{number}/title", tag = "community",
    params(RepoPath, ("number" = i64, Path, description = "Its number")), request_body = NewTitle,
    responses((status = 200, body = TitleAnswer), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn rename_discussion(
    State(state): State<ApiState>,
    to: DiscussRepo,
    Path(path): Path<HashMap<String, String>>,
    JsonBody(body): JsonBody<NewTitle>,
) -> Result<Json<TitleAnswer>, ApiError> {
    let discussion = find(&state, &to.repo, &path).await?;
    may_steer(&to, &discussion)?;
    let title = check_title(&body.title)?;
    let authors = Authors::of(vec![to.user.account().clone()], &state.site);
    let same = ApiError::conflict("The discussion has this title already");
    let events = act(&state, to, discussion, vec![Act::Title(title)], "discussion.title").await?;
    let event = events.first().ok_or(same)?;
    Ok(Json(TitleAnswer { new_title: EventView::of(event, &authors) }))
}

/// Open or close a discussion
///
/// Whoever opened it may, and those who may change the repository. Opening a draft asks for its merge.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/discussions/{number}/status", tag = "community",
    params(RepoPath, ("number" = i64, Path, description = "Its number")), request_body = NewStatus,
    responses((status = 200, body = StatusAnswer), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub async fn change_status(
    State(state): State<ApiState>,
    to: DiscussRepo,
    Path(path): Path<HashMap<String, String>>,
    JsonBody(body): JsonBody<NewStatus>,
) -> Result<Json<StatusAnswer>, ApiError> {
    let discussion = find(&state, &to.repo, &path).await?;
    may_steer(&to, &discussion)?;
    let status = match body.status.as_str() {
        "open" => DiscussionStatus::Open,
        "closed" => DiscussionStatus::Closed,
        other => {
            let message = format!("'status' cannot be {:?}; it must be open or closed", clip(other));
            return Err(ApiError::bad_request(message));
        }
    };
    let mut acts = said_with(&to, &discussion, body.comment.as_deref())?;
    acts.push(Act::Status(status));
    let authors = Authors::of(vec![to.user.account().clone()], &state.site);
    let events = act(&state, to, discussion, acts, "discussion.status").await?;
    Ok(Json(StatusAnswer { new_status: EventView::of(status_event(&events)?, &authors) }))
}

/// What is said together with something else.
///
/// # Errors
/// When it cannot be said.
pub(super) fn said_with(
    to: &DiscussRepo,
    discussion: &Discussion,
    comment: Option<&str>,
) -> Result<Vec<Act>, ApiError> {
    let Some(comment) = comment.filter(|text| !text.trim().is_empty()) else { return Ok(Vec::new()) };
    may_speak(to, discussion)?;
    Ok(vec![Act::Comment(check_comment("comment", comment)?)])
}

pub(super) fn status_event(events: &[DiscussionEvent]) -> Result<&DiscussionEvent, ApiError> {
    events.iter().find(|event| matches!(event.kind, EventKind::Status { .. })).ok_or_else(gone)
}

/// Keep a discussion on top
///
/// For those who may change the repository.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/discussions/{number}/pin", tag = "community",
    params(RepoPath, ("number" = i64, Path, description = "Its number")), request_body = NewPin,
    responses((status = 200, body = Object), (status = 403, body = ErrorBody)))]
pub async fn pin_discussion(
    State(state): State<ApiState>,
    to: DiscussRepo,
    Path(path): Path<HashMap<String, String>>,
    JsonBody(body): JsonBody<NewPin>,
) -> Result<Json<Value>, ApiError> {
    let discussion = find(&state, &to.repo, &path).await?;
    may_keep_order(&to)?;
    act(&state, to, discussion, vec![Act::Pin(body.pinned)], "discussion.pin").await?;
    Ok(Json(json!({"pinned": body.pinned})))
}

/// Lock a discussion
///
/// For those who may change the repository: only they comment then.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/discussions/{number}/lock", tag = "community",
    params(RepoPath, ("number" = i64, Path, description = "Its number")), request_body = NewLock,
    responses((status = 200, body = Object), (status = 403, body = ErrorBody)))]
pub async fn lock_discussion(
    State(state): State<ApiState>,
    to: DiscussRepo,
    Path(path): Path<HashMap<String, String>>,
    JsonBody(body): JsonBody<NewLock>,
) -> Result<Json<Value>, ApiError> {
    let discussion = find(&state, &to.repo, &path).await?;
    may_keep_order(&to)?;
    act(&state, to, discussion, vec![Act::Lock(body.locked)], "discussion.lock").await?;
    Ok(Json(json!({"locked": body.locked})))
}

/// Does things in a discussion and records who did them. It ends also when the client leaves.
///
/// # Errors
/// When the discussion does not allow it, or the database fails.
pub(super) async fn act(
    state: &ApiState,
    to: DiscussRepo,
    discussion: Discussion,
    acts: Vec<Act>,
    action: &'static str,
) -> Result<Vec<DiscussionEvent>, ApiError> {
    let work = state.lifetime.detach({
        let state = state.clone();
        async move {
            let (by, at) = (to.user.account().id, state.control.clock().now());
            let done = state.store.discussion_act(discussion.id, acts, by, at).await?;
            let (after, events) = done.ok_or_else(gone)??;
            state.control.activate_webhooks();
            let detail = json!({"number": after.number, "title": after.title, "status": after.status});
            audit::record(&state, &to.user, action, &to.repo.path(), detail).await?;
            Ok::<_, ApiError>(events)
        }
    });
    work.await.map_err(ApiError::internal)?
}

/// The discussion went away meanwhile.
pub(super) fn gone() -> ApiError {
    ApiError::not_found("This discussion is gone")
}

/// Whether somebody may close, open and rename a discussion.
fn may_steer(to: &DiscussRepo, discussion: &Discussion) -> Result<(), ApiError> {
    if to.user.account().id == discussion.author || to.rights.write {
        return Ok(());
    }
    let message = format!("Only who opened this discussion and those who may change {} can do this", to.repo.name);
    Err(ApiError::forbidden(message))
}

/// Whether somebody keeps order in the repository.
fn may_keep_order(to: &DiscussRepo) -> Result<(), ApiError> {
    if to.rights.write {
        return Ok(());
    }
    Err(ApiError::forbidden(format!("Only those who may change {} can do this", to.repo.name)))
}
