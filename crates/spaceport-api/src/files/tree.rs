//! `GET …/tree/{rev}[/{path}]`: files and folders, in pages.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use spaceport_core::{CommitSha, Repo, Sha256};
use spaceport_git::{Entry, Listing, Page};
use spaceport_store::RepoObject;

use crate::error::{ApiError, ErrorBody};
use crate::extract::{CalledUrl, Params};
use crate::files::{ReadAt, next_page, revision};
use crate::state::ApiState;
use crate::views::RepoPath;
use crate::views::file::EntryView;

/// Most entries of a page.
const MAX_LIMIT: u64 = 1000;
/// Most entries of a page with the commits that last changed them: each costs a look into history.
const MAX_EXPANDED: u64 = 100;

/// Files and folders
///
/// In pages: the header `Link` with `rel="next"` leads to the next one. All pages show the same commit.
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/tree/{*rest}", tag = "files",
    params(RepoPath, ("rest" = String, Path, description = "The revision as one percent-encoded segment, and a folder"),
        ("recursive" = Option<bool>, Query, description = "Also what is in the folders"),
        ("expand" = Option<bool>, Query, description = "With the commit that last changed each"),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 1000 at most, 100 with `expand`"),
        ("cursor" = Option<String>, Query, description = "From `Link`")),
    responses((status = 200, body = [EntryView]), (status = 404, body = ErrorBody)))]
pub async fn list_tree(
    State(state): State<ApiState>,
    ReadAt { read, place }: ReadAt,
    CalledUrl(hub): CalledUrl,
    uri: Uri,
    params: Params,
) -> Result<Response, ApiError> {
    let repo = &read.repo;
    let expand = params.flag("expand");
    let most = if expand { MAX_EXPANDED } else { MAX_LIMIT };
    let limit = params.number("limit")?.unwrap_or(most).clamp(1, most);
    let (commit, after) = match params.get("cursor") {
        Some(cursor) => {
            let (commit, after) = read_cursor(cursor)?;
            (commit, Some(after))
        }
        None => (revision(&state, repo, &place.revision).await?.commit, None),
    };
    let listing = Listing {
        folder: place.path.clone(),
        recursive: params.flag("recursive"),
        after,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        only_files: false,
    };
    let page = state.repositories.list(repo.id, &commit, listing).await?;
    let Page { entries, next } = page.ok_or_else(|| ApiError::no_entry(&place.path).at_commit(&commit))?;
    let mut response = Json(views(&state, repo, &commit, entries, expand).await?).into_response();
    if let Some(next) = next {
        let query = params.with("cursor", &write_cursor(&commit, &next));
        response.headers_mut().insert(LINK, next_page(&hub, uri.path(), &query)?);
    }
    Ok(response)
}

/// Entries as they are answered, with the commits that last changed them when `expand`.
pub(super) async fn views(
    state: &ApiState,
    repo: &Repo,
    commit: &CommitSha,
    entries: Vec<Entry>,
    expand: bool,
) -> Result<Vec<EntryView>, ApiError> {
    let mut views: Vec<EntryView> = if expand {
        let paths = entries.iter().map(|entry| entry.path.clone()).collect();
        let last = state.repositories.last_commits(repo.id, commit, paths).await?;
        entries.into_iter().zip(last).map(|(entry, last)| EntryView::of(entry, last)).collect()
    } else {
        entries.into_iter().map(|entry| EntryView::of(entry, None)).collect()
    };
    let large: Vec<Sha256> = views.iter().filter_map(|view| view.lfs.as_ref()?.sha256.parse().ok()).collect();
    if !large.is_empty() {
        let known = state.store.repo_objects(repo.id, &large).await?.into_iter();
        let known: HashMap<String, RepoObject> =
            known.filter(|object| object.is_committed).map(|object| (object.sha256.to_string(), object)).collect();
        for view in &mut views {
            view.xet_hash = view.lfs.as_ref().and_then(|lfs| known.get(&lfs.sha256)?.xet.clone());
        }
    }
    Ok(views)
}

fn write_cursor(commit: &CommitSha, after: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{commit}:{after}"))
}

fn read_cursor(text: &str) -> Result<(CommitSha, String), ApiError> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (commit, after) = text.split_once(':')?;
        Some((commit.parse().ok()?, after.to_owned()))
    };
    read().ok_or_else(|| ApiError::bad_request("'cursor' is not one of ours; take it from the header 'Link'"))
}
