//! Comments: made, edited, hidden.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::discussion::{Act, DiscussionEvent, EventKind};
use spaceport_core::{Discussion, DiscussionEventId};
use spaceport_store::CommentChange;

use crate::access::DiscussRepo;
use crate::audit;
use crate::community::discussions::{check_text, find};
use crate::community::status::{act, gone};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::state::ApiState;
use crate::views::RepoPath;
use crate::views::account::Authors;
use crate::views::discussion::{EventView, people};

/// A comment to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewComment {
    /// Markdown.
    comment: String,
}

/// What a comment shall say.
#[derive(Debug, Deserialize, ToSchema)]
pub struct EditedComment {
    /// Markdown.
    content: String,
}

/// The comment that was made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewMessage {
    /// The comment.
    new_message: EventView,
}

/// The comment that was changed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdatedComment {
    /// The comment.
    updated_comment: EventView,
}

/// Comment on a discussion
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/discussions/{number}/comment", tag = "community",
    params(RepoPath, ("number" = i64, Path, description = "Its number")), request_body = NewComment,
    responses((status = 200, body = NewMessage), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn comment_discussion(
    State(state): State<ApiState>,
    to: DiscussRepo,
    Path(path): Path<HashMap<String, String>>,
    JsonBody(body): JsonBody<NewComment>,
) -> Result<Json<NewMessage>, ApiError> {
    let discussion = find(&state, &to.repo, &path).await?;
    let said = check_comment("comment", &body.comment)?;
    may_speak(&to, &discussion)?;
    let authors = Authors::of(vec![to.user.account().clone()], &state.site);
    let events = act(&state, to, discussion, vec![Act::Comment(said)], "discussion.comment").await?;
    let event = events.first().ok_or_else(gone)?;
    Ok(Json(NewMessage { new_message: EventView::of(event, &authors) }))
}

/// Whether somebody may comment.
///
/// # Errors
/// 403 in a locked discussion, unless it is somebody who may change the repository.
pub(super) fn may_speak(to: &DiscussRepo, discussion: &Discussion) -> Result<(), ApiError> {
    if discussion.locked && !to.rights.write {
        let message = format!("This discussion is locked: only those who may change {} comment", to.repo.name);
        return Err(ApiError::forbidden(message));
    }
    Ok(())
}

/// A comment that says something.
///
/// # Errors
/// When it does not, or is too long.
pub(super) fn check_comment(field: &str, text: &str) -> Result<String, ApiError> {
    if text.trim().is_empty() {
        return Err(ApiError::bad_request(format!("'{field}' must not be empty")));
    }
    check_text(field, text)
}

/// Edit a comment
///
/// Whoever made it may, and those who may change the repository. What it said stays in its history.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/discussions/{number}/comment/{comment}/edit", tag = "community",
    params(RepoPath, ("number" = i64, Path, description = "The number of the discussion"),
        ("comment" = String, Path, description = "The id of the comment")),
    request_body = EditedComment,
    responses((status = 200, body = UpdatedComment), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn edit_comment(
    State(state): State<ApiState>,
    to: DiscussRepo,
    Path(path): Path<HashMap<String, String>>,
    JsonBody(body): JsonBody<EditedComment>,
) -> Result<Json<UpdatedComment>, ApiError> {
    let change = CommentChange::Edit(check_comment("content", &body.content)?);
    change_comment(&state, to, &path, change, "discussion.edit").await
}

/// Hide a comment
///
/// Whoever made it may, and those who may change the repository. Its words are gone for good, with its history.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/discussions/{number}/comment/{comment}/hide", tag = "community",
    params(RepoPath, ("number" = i64, Path, description = "The number of the discussion"),
        ("comment" = String, Path, description = "The id of the comment")),
    responses((status = 200, body = UpdatedComment), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn hide_comment(
    State(state): State<ApiState>,
    to: DiscussRepo,
    Path(path): Path<HashMap<String, String>>,
) -> Result<Json<UpdatedComment>, ApiError> {
    change_comment(&state, to, &path, CommentChange::Hide, "discussion.hide").await
}

async fn change_comment(
    state: &ApiState,
    to: DiscussRepo,
    path: &HashMap<String, String>,
    change: CommentChange,
    action: &'static str,
) -> Result<Json<UpdatedComment>, ApiError> {
    let discussion = find(state, &to.repo, path).await?;
    let comment = comment(state, &discussion, path).await?;
    if comment.author != to.user.account().id && !to.rights.write {
        let message = format!("Only who made this comment and those who may change {} can do this", to.repo.name);
        return Err(ApiError::forbidden(message));
    }
    may_speak(&to, &discussion)?;
    let work = state.lifetime.detach({
        let state = state.clone();
        async move {
            let (by, at) = (to.user.account().id, state.control.clock().now());
            let changed = state.store.comment_change(discussion.id, comment.id, change, by, at).await?;
            let changed = changed.ok_or_else(gone)??;
            state.control.activate_webhooks();
            let detail = json!({"number": discussion.number, "comment": comment.id});
            audit::record(&state, &to.user, action, &to.repo.path(), detail).await?;
            Ok::<_, ApiError>(changed)
        }
    });
    let event = work.await.map_err(ApiError::internal)??;
    let authors = Authors::of(state.store.accounts_of(&people(std::slice::from_ref(&event))).await?, &state.site);
    Ok(Json(UpdatedComment { updated_comment: EventView::of(&event, &authors) }))
}

/// The comment of a path.
async fn comment(
    state: &ApiState,
    discussion: &Discussion,
    path: &HashMap<String, String>,
) -> Result<DiscussionEvent, ApiError> {
    let text = path.get("comment").map_or("", String::as_str);
    let found = match text.parse::<DiscussionEventId>() {
        Ok(id) => state.store.discussion_event(discussion.id, id).await?,
        Err(_) => None,
    };
    let found = found.filter(|event| matches!(event.kind, EventKind::Comment(_)));
    found.ok_or_else(|| ApiError::not_found(format!("This discussion has no comment {:?}", clip(text))))
}
