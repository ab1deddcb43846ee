//! `GET …/commits/{rev}`: the history, newest first, in pages.

use axum::Json;
use axum::extract::State;
use axum::http::header::{HeaderName, LINK};
use axum::http::{HeaderValue, Uri};
use axum::response::{IntoResponse, Response};

use spaceport_core::CommitSha;

use crate::error::{ApiError, ErrorBody};
use crate::extract::{CalledUrl, Params};
use crate::files::{ReadAt, next_page, revision};
use crate::state::ApiState;
use crate::views::RepoPath;
use crate::views::file::CommitView;

/// How many commits there are, up to [`MOST_COUNTED`].
const X_TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
/// Commits of a page unless `limit` says otherwise.
const DEFAULT_LIMIT: usize = 50;
/// Most commits of a page.
const MAX_LIMIT: usize = 1000;
/// Commits behind so many others are not listed: each page walks past those before it.
const MAX_SKIP: usize = 1_000_000;
/// Counting goes so far.
const MOST_COUNTED: usize = 10_000;

/// Commits
///
/// Newest first, in pages: the header `Link` with `rel="next"` leads to the next one.
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/commits/{*revision}", tag = "files",
    params(RepoPath, ("revision" = String, Path, description = "Branch, tag or commit"),
        ("expand" = Option<Vec<String>>, Query, description = "`formatted`: texts also as HTML"),
        ("limit" = Option<u64>, Query, description = "Commits of a page; 50 when absent, 1000 at most"),
        ("p" = Option<u64>, Query, description = "Number of the page, from 0"),
        ("cursor" = Option<String>, Query, description = "From `Link`")),
    responses((status = 200, body = [CommitView]), (status = 404, body = ErrorBody)))]
pub async fn list_commits(
    State(state): State<ApiState>,
    ReadAt { read, place }: ReadAt,
    CalledUrl(hub): CalledUrl,
    uri: Uri,
    params: Params,
) -> Result<Response, ApiError> {
    let repo = read.repo.id;
    let number = |key: &str| -> Result<Option<usize>, ApiError> {
        Ok(params.number(key)?.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
    };
    let limit = number("limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let (commit, skip) = match params.get("cursor") {
        Some(cursor) => read_cursor(cursor)?,
        None => {
            let commit = revision(&state, &read.repo, &place.whole).await?.commit;
            (commit, number("p")?.unwrap_or(0).saturating_mul(limit))
        }
    };
    // A cursor may name a commit that was squashed away since.
    if state.repositories.commit_info(repo, &commit).await?.is_none() {
        return Err(ApiError::no_revision(commit.as_str()));
    }
    let mut commits =
        if skip > MAX_SKIP { Vec::new() } else { state.repositories.log(repo, &commit, skip, limit + 1).await? };
    let more = commits.len() > limit;
    commits.truncate(limit);
    let total = state.repositories.count_commits(repo, &commit, MOST_COUNTED).await?;
    let formatted = params.all("expand").any(|field| field == "formatted");
    let views: Vec<_> = commits.into_iter().map(|commit| CommitView::of(commit, formatted)).collect();
    let mut response = Json(views).into_response();
    response.headers_mut().insert(X_TOTAL_COUNT, HeaderValue::from(total));
    if more {
        let query = params.with("cursor", &format!("{commit}:{}", skip + limit));
        response.headers_mut().insert(LINK, next_page(&hub, uri.path(), &query)?);
    }
    Ok(response)
}

fn read_cursor(text: &str) -> Result<(CommitSha, usize), ApiError> {
    let read = || {
        let (commit, skip) = text.split_once(':')?;
        Some((commit.parse().ok()?, skip.parse().ok()?))
    };
    read().ok_or_else(|| ApiError::bad_request("'cursor' is not one of ours; take it from the header 'Link'"))
}
