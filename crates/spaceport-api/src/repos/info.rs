//! Info of repositories, by name, by revision, by host label.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;

use spaceport_control::index;
use spaceport_core::space::Space;
use spaceport_core::{CommitSha, Repo, RepoKind};
use spaceport_git::{Entry, Listing, NodeKind};

use crate::access::{ReadRepo, ReadSpace, find_space};
use crate::caller::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::files::{ReadAt, revision};
use crate::repos::weights::weights;
use crate::state::ApiState;
use crate::views::repo::{Commit, Fields, RepoView, Sibling, SiblingLfs};
use crate::views::runtime::{Insight, runtime_view};
use crate::views::space::SpaceView;
use crate::views::{RepoPath, SpacePath};

/// Most files of an answer; a commit with more is listed in part. The tree has all of them, in pages, and is what clients
/// download by.
const MAX_SIBLINGS: usize = 100_000;

/// A model or a data set
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}", tag = "repositories",
    params(RepoPath, ("expand" = Option<Vec<String>>, Query, description = "Answer only these fields"),
        ("blobs" = Option<bool>, Query, description = "Files with size and content id")),
    responses((status = 200, body = RepoView), (status = 404, body = ErrorBody)))]
pub async fn get_repo(State(state): State<ApiState>, read: ReadRepo, params: Params) -> Result<Json<Value>, ApiError> {
    answer(&state, &read, None, &params).await.map(Json)
}

/// A Space
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}", tag = "repositories",
    params(SpacePath, ("expand" = Option<Vec<String>>, Query, description = "Answer only these fields"),
        ("blobs" = Option<bool>, Query, description = "Files with size and content id")),
    responses((status = 200, body = SpaceView), (status = 404, body = ErrorBody)))]
pub async fn get_space(State(state): State<ApiState>, read: ReadRepo, params: Params) -> Result<Json<Value>, ApiError> {
    answer(&state, &read, None, &params).await.map(Json)
}

/// A repository at a revision
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/revision/{*revision}", tag = "repositories",
    params(RepoPath, ("revision" = String, Path, description = "Branch, tag or commit; a slash in it may be percent-encoded"),
        ("expand" = Option<Vec<String>>, Query, description = "Answer only these fields")),
    responses((status = 200, body = RepoView), (status = 404, body = ErrorBody)))]
pub async fn get_revision(
    State(state): State<ApiState>,
    ReadAt { read, place }: ReadAt,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let commit = revision(&state, &read.repo, &place.whole).await?.commit;
    answer(&state, &read, Some(commit), &params).await.map(Json)
}

/// A Space by the host label of its app
#[utoipa::path(get, path = "/api/spaces/by-subdomain/{subdomain}", tag = "repositories",
    params(("subdomain" = String, Path, description = "The app's host label")),
    responses((status = 200, body = SpaceView), (status = 404, body = ErrorBody)))]
pub async fn get_space_by_subdomain(
    State(state): State<ApiState>,
    caller: Caller,
    Path(subdomain): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let space = match state.store.space_by_subdomain(&subdomain).await? {
        Some(space) => Some(space),
        None => state.store.space_moved_from(&subdomain).await?,
    };
    let space = space.ok_or_else(|| ApiError::no_repo(caller.is_anonymous()))?;
    let ReadSpace { repo, caller, rights, .. } = find_space(&state, &space.name, caller).await?;
    answer(&state, &ReadRepo { repo, caller, rights }, None, &params).await.map(Json)
}

/// The repository at a commit, the newest one when none is given.
async fn answer(state: &ApiState, read: &ReadRepo, sha: Option<CommitSha>, params: &Params) -> Result<Value, ApiError> {
    let ReadRepo { repo, rights, .. } = read;
    let fields = Fields::of(repo.kind, params)?;
    let commit = commit(state, repo, sha).await?;
    let at = commit.sha.clone();
    let mut view = RepoView::of(repo, commit, rights.code);
    if rights.code && (!fields.is_restricted() || fields.names("usedStorage")) {
        view.used_storage = Some(state.store.repo_storage(repo.id).await?);
    }
    let wants = |field: &str| rights.code && (!fields.is_restricted() || fields.names(field));
    let wants_weights = repo.kind == RepoKind::Model && wants("safetensors");
    if wants("siblings") || wants_weights {
        let entries = entries(state, repo, at.as_ref()).await?;
        if wants_weights {
            view.safetensors = weights(state, read, &entries).await?;
        }
        if wants("siblings") {
            view.siblings = Some(as_siblings(entries, params.flag("blobs")));
        }
    }
    match state.store.space_by_id(repo.id.into()).await? {
        Some(space) => Ok(fields.keep(&space_view(state, &space, view, rights.code, rights.write).await?)),
        None => Ok(fields.keep(&view)),
    }
}

/// What is known of a commit: from the database for the newest one, from git for any other.
async fn commit(state: &ApiState, repo: &Repo, sha: Option<CommitSha>) -> Result<Commit, ApiError> {
    match sha {
        Some(sha) if repo.head.as_ref() != Some(&sha) => {
            let index::Card { card, tags } =
                index::card(&state.repositories, repo, &sha).await.map_err(ApiError::from)?;
            Ok(Commit { sha: Some(sha), card, tags })
        }
        _ => {
            let tags = state.store.repo_tags(repo.id).await?;
            Ok(Commit { sha: repo.head.clone(), card: repo.card.clone(), tags })
        }
    }
}

/// The view of a repository at its newest commit, without its files.
pub(crate) async fn view(state: &ApiState, repo: &Repo, code: bool) -> Result<RepoView, ApiError> {
    Ok(RepoView::of(repo, commit(state, repo, None).await?, code))
}

/// The whole Space, without its files.
pub(crate) async fn info(state: &ApiState, read: &ReadSpace) -> Result<SpaceView, ApiError> {
    let view = view(state, &read.repo, read.rights.code).await?;
    space_view(state, &read.space, view, read.rights.code, read.rights.write).await
}

/// A Space: code only when `code`, evidence only when `evidence`.
pub(crate) async fn space_view(
    state: &ApiState,
    space: &Space,
    repo: RepoView,
    code: bool,
    evidence: bool,
) -> Result<SpaceView, ApiError> {
    let runtime = runtime_view(state, space, Insight::of(code, evidence)).await?;
    Ok(SpaceView::of(space, repo, runtime, state.site.host(space.subdomain.as_str())))
}

/// The files of a commit, folders left out.
pub(crate) async fn siblings(
    state: &ApiState,
    repo: &Repo,
    sha: Option<&CommitSha>,
    blobs: bool,
) -> Result<Vec<Sibling>, ApiError> {
    Ok(as_siblings(entries(state, repo, sha).await?, blobs))
}

/// The files of a commit, as many as are looked at.
pub(crate) async fn entries(state: &ApiState, repo: &Repo, sha: Option<&CommitSha>) -> Result<Vec<Entry>, ApiError> {
    let Some(sha) = sha else { return Ok(Vec::new()) };
    let all = Listing { folder: String::new(), recursive: true, after: None, limit: MAX_SIBLINGS, only_files: true };
    Ok(state.repositories.list(repo.id, sha, all).await?.map(|page| page.entries).unwrap_or_default())
}

fn as_siblings(entries: Vec<Entry>, blobs: bool) -> Vec<Sibling> {
    let sibling = |Entry { path, size, oid, lfs, .. }: Entry| Sibling {
        rfilename: path,
        size: blobs.then_some(size),
        blob_id: blobs.then(|| oid.to_string()),
        lfs: lfs.filter(|_| blobs).map(SiblingLfs::of),
    };
    entries.into_iter().filter(|entry| entry.kind == NodeKind::File).map(sibling).collect()
}
