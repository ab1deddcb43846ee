//! `POST …/discussions/{n}/merge`: a pull request becomes part of its base.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::discussion::{Act, MAIN, Merged, Refusal};
use spaceport_core::{CommitSha, Discussion, DiscussionStatus};
use spaceport_git::{MergeOutcome, RefChange};

use crate::access::{DiscussRepo, ReadFiles};
use crate::audit;
use crate::community::discussions::find;
use crate::community::refs_moved;
use crate::community::status::{gone, said_with, status_event};
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::repos::create::author;
use crate::repos::record::record_head;
use crate::state::ApiState;
use crate::views::RepoPath;
use crate::views::account::Authors;
use crate::views::discussion::EventView;

/// What is said with a merge.
#[derive(Debug, Deserialize, ToSchema)]
pub struct MergeBody {
    /// Markdown.
    comment: Option<String>,
}

/// What became of a merge.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MergeAnswer {
    /// What the discussion shows of it.
    new_status: EventView,
    /// The commit its base points to.
    merge_commit_id: String,
}

/// Merge a pull request
///
/// For those who may change the repository. With a merge commit, also where the base could just be moved forward.
/// 409 with `filesWithConflicts` when both changed the same.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/discussions/{number}/merge", tag = "community",
    params(RepoPath, ("number" = i64, Path, description = "Its number")), request_body = MergeBody,
    responses((status = 200, body = MergeAnswer), (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn merge_pull_request(
    State(state): State<ApiState>,
    ReadFiles(read): ReadFiles,
    Path(path): Path<HashMap<String, String>>,
    JsonBody(body): JsonBody<MergeBody>,
) -> Result<Json<MergeAnswer>, ApiError> {
    let discussion = find(&state, &read.repo, &path).await?;
    let to = read.into_write()?;
    let to = DiscussRepo { repo: to.repo, user: to.user, rights: to.rights };
    if !discussion.status.is_live() {
        return Err(Refusal::Status { from: discussion.status, to: DiscussionStatus::Merged }.into());
    }
    let said = said_with(&to, &discussion, body.comment.as_deref())?;
    let work = state.lifetime.detach({
        let state = state.clone();
        async move { merge(&state, &to, &discussion, said).await }
    });
    Ok(Json(work.await.map_err(ApiError::internal)??))
}

async fn merge(
    state: &ApiState,
    to: &DiscussRepo,
    discussion: &Discussion,
    said: Vec<Act>,
) -> Result<MergeAnswer, ApiError> {
    let DiscussRepo { repo, user, .. } = to;
    let pull = discussion.pull.as_ref().ok_or(Refusal::NoPull)?;
    let no_base = || ApiError::conflict(format!("The base of this pull request, {}, does not exist", pull.base));
    let branch = pull.base.strip_prefix("refs/heads/").ok_or_else(no_base)?;
    let head = Discussion::reference(discussion.number);
    let text = format!("{} (#{})", discussion.title, discussion.number);
    let (by, at) = (author(user.account()), state.control.clock().now());
    let merged = match state.repositories.merge(repo.id, branch, &head, &text, &by, at).await? {
        MergeOutcome::Merged { commit, previous } => Merged { commit, previous },
        // It brings nothing, or what it brings is there: by a push, or by a merge that was not recorded.
        MergeOutcome::UpToDate(commit) => Merged { previous: commit.clone(), commit },
        MergeOutcome::Conflicts(files) => {
            let message = format!(
                "This pull request and {branch} both changed {}; merge {branch} into {head} and resolve it there",
                files.join(", ")
            );
            return Err(ApiError::conflict(message).with("filesWithConflicts", json!(files)));
        }
        MergeOutcome::UnknownRef => return Err(no_base()),
    };
    let commit = merged.commit.clone();
    let moved = (merged.commit != merged.previous).then(|| merged.previous.clone());
    let mut acts = said;
    acts.push(Act::Merge(merged));
    let done = state.store.discussion_act(discussion.id, acts, user.account().id, at).await;
    // The base has moved whatever became of the row: what it means is recorded all the same.
    if let Some(previous) = moved {
        record(state, to, &pull.base, previous, &commit).await;
    }
    let (_, events) = done?.ok_or_else(gone)??;
    state.control.activate_webhooks();
    let detail = json!({"number": discussion.number, "base": pull.base, "commit": commit});
    audit::record(state, user, "pull.merge", &repo.path(), detail).await?;
    let authors = Authors::of(vec![user.account().clone()], &state.site);
    let new_status = EventView::of(status_event(&events)?, &authors);
    Ok(MergeAnswer { new_status, merge_commit_id: commit.into() })
}

/// What the moved base means: a new head is indexed and built.
async fn record(state: &ApiState, to: &DiscussRepo, base: &str, previous: CommitSha, commit: &CommitSha) {
    let recorded = if base == MAIN {
        record_head(state, &to.repo, &to.user, commit, "repo.merge").await.map(drop)
    } else {
        let change = RefChange { name: base.to_owned(), old: Some(previous), new: Some(commit.clone()) };
        refs_moved(state, &to.repo, &to.user, &[change]).await
    };
    if let Err(error) = recorded {
        tracing::error!(repo = %to.repo.path(), ?error, "a merge could not be recorded; the next push or look will be");
    }
}
