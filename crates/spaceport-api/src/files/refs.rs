//! `GET …/refs`: branches, tags, pull requests.

use axum::Json;
use axum::extract::State;

use crate::access::ReadFiles;
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::state::ApiState;
use crate::views::RepoPath;
use crate::views::file::RefsView;

/// Branches and tags
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/refs", tag = "files",
    params(RepoPath, ("include_prs" = Option<bool>, Query, description = "With pull requests")),
    responses((status = 200, body = RefsView), (status = 404, body = ErrorBody)))]
pub async fn list_refs(
    State(state): State<ApiState>,
    ReadFiles(read): ReadFiles,
    params: Params,
) -> Result<Json<RefsView>, ApiError> {
    let refs = state.repositories.refs(read.repo.id).await?;
    Ok(Json(RefsView::of(refs, params.flag("include_prs"))))
}
