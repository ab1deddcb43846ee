//! `GET …/compare/{a}..{b}`: what differs between two revisions.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_git::{ChangeStatus, ChangedFile};

use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::files::{ReadAt, revision};
use crate::state::ApiState;
use crate::views::RepoPath;

/// Longest diff; a longer one is cut off.
const MAX_DIFF_BYTES: usize = 8 << 20;

/// What differs between two revisions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GitComparison)]
pub struct ComparisonView {
    /// The files, in the order of their paths.
    files: Vec<ChangedFileView>,
    /// A unified diff.
    diff: String,
    /// Whether files or diff were cut off.
    truncated: bool,
}

/// A file that differs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChangedFile)]
#[serde(rename_all = "camelCase")]
pub struct ChangedFileView {
    /// Its path; of a deleted file the one it had.
    path: String,
    /// Of a renamed file: the path it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_path: Option<String>,
    /// `added`, `deleted`, `modified` or `renamed`.
    status: &'static str,
}

impl From<ChangedFile> for ChangedFileView {
    fn from(file: ChangedFile) -> Self {
        let ChangedFile { path, old_path, status } = file;
        let status = match status {
            ChangeStatus::Added => "added",
            ChangeStatus::Deleted => "deleted",
            ChangeStatus::Modified => "modified",
            ChangeStatus::Renamed => "renamed",
        };
        Self { path, old_path, status }
    }
}

/// Compare two revisions
///
/// `a..b` compares the two, `a...b` compares `b` with the newest commit both have in common. With `raw=true`
/// the answer is the unified diff alone, as text.
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/compare/{*range}", tag = "files",
    params(RepoPath, ("range" = String, Path, description = "`a..b` or `a...b`; slashes in revisions may be percent-encoded"),
        ("raw" = Option<bool>, Query, description = "The diff as text")),
    responses((status = 200, body = ComparisonView), (status = 404, body = ErrorBody)))]
pub async fn compare(
    State(state): State<ApiState>,
    ReadAt { read, place }: ReadAt,
    params: Params,
) -> Result<Response, ApiError> {
    let form = || ApiError::bad_request("Say what to compare as 'a..b' or 'a...b', with two revisions");
    let (old, rest) = place.whole.split_once("..").ok_or_else(form)?;
    let (new, from_base) = rest.strip_prefix('.').map_or((rest, false), |new| (new, true));
    if old.is_empty() || new.is_empty() {
        return Err(form());
    }
    let repo = &read.repo;
    let mut old = revision(&state, repo, old).await?.commit;
    let new = revision(&state, repo, new).await?.commit;
    if from_base && let Some(base) = state.repositories.merge_base(repo.id, &old, &new).await? {
        old = base;
    }
    let found = state.repositories.diff(repo.id, Some(&old), &new, MAX_DIFF_BYTES).await?;
    if params.flag("raw") {
        let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
        return Ok((headers, found.patch).into_response());
    }
    let files = found.files.into_iter().map(ChangedFileView::from).collect();
    Ok(Json(ComparisonView { files, diff: found.patch, truncated: found.truncated }).into_response())
}
