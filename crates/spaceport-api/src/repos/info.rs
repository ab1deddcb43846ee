//! Space info, by name, by revision, by host label.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;

use spaceport_core::config::SpaceConfig;
use spaceport_core::space::{Inspection, Space};
use spaceport_core::{CommitSha, front_matter};

use crate::access::{ReadCode, ReadSpace, find_space};
use crate::caller::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::state::ApiState;
use crate::views::SpacePath;
use crate::views::runtime::runtime_view;
use crate::views::space::{Fields, Sibling, SpaceView};

/// Most files listed; a commit with more is listed in part.
const MAX_SIBLINGS: usize = 10_000;
/// Longest README that is read for the card.
const MAX_README_BYTES: u64 = 1 << 20;

/// A Space
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}", tag = "repositories",
    params(SpacePath, ("expand" = Option<Vec<String>>, Query, description = "Answer only these fields"),
        ("blobs" = Option<bool>, Query, description = "Files with size and content id")),
    responses((status = 200, body = SpaceView), (status = 404, body = ErrorBody)))]
pub async fn get_space(
    State(state): State<ApiState>,
    read: ReadSpace,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let head = read.space.desired.head.clone();
    answer(&state, &read, head, &params).await.map(Json)
}

/// A Space at a revision
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/revision/{revision}", tag = "repositories",
    params(SpacePath, ("revision" = String, Path, description = "Branch, tag or commit, percent-encoded"),
        ("expand" = Option<Vec<String>>, Query, description = "Answer only these fields")),
    responses((status = 200, body = SpaceView), (status = 404, body = ErrorBody)))]
pub async fn get_space_revision(
    State(state): State<ApiState>,
    ReadCode(read): ReadCode,
    Path(path): Path<HashMap<String, String>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let revision = path.get("revision").map_or("", String::as_str);
    let sha = state.repositories.resolve(read.space.id.into(), revision).await.map_err(ApiError::from)?;
    let sha = sha.ok_or_else(|| ApiError::no_revision(revision))?;
    answer(&state, &read, Some(sha), &params).await.map(Json)
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
    let space = state.store.space_by_subdomain(&subdomain).await?;
    let space = space.ok_or_else(|| ApiError::no_repo(caller.is_anonymous()))?;
    let read = find_space(&state, space.name.owner(), space.name.name(), caller).await?;
    let head = read.space.desired.head.clone();
    answer(&state, &read, head, &params).await.map(Json)
}

/// An id of one part names no repository; the same answer as for an unknown one.
pub async fn no_such_repo(caller: Caller) -> ApiError {
    ApiError::no_repo(caller.is_anonymous())
}

async fn answer(
    state: &ApiState,
    read: &ReadSpace,
    sha: Option<CommitSha>,
    params: &Params,
) -> Result<Value, ApiError> {
    let fields = Fields::of(params)?;
    let ReadSpace { space, rights, .. } = read;
    let mut at = space.clone();
    at.desired.head = sha;
    let mut view = view(state, &at, rights.code, rights.write).await?;
    if rights.code && (!fields.is_restricted() || fields.names("siblings")) {
        view.siblings = Some(siblings(state, &at, params.flag("blobs")).await?);
    }
    Ok(fields.keep(&view))
}

/// The whole Space, without its files.
pub(crate) async fn info(state: &ApiState, read: &ReadSpace) -> Result<SpaceView, ApiError> {
    view(state, &read.space, read.rights.code, read.rights.write).await
}

/// The view of a Space: code only when `code`, evidence only when `evidence`.
pub(crate) async fn view(state: &ApiState, space: &Space, code: bool, evidence: bool) -> Result<SpaceView, ApiError> {
    let config = config(state, space).await?;
    let runtime = runtime_view(state, space, evidence).await?;
    let host = state.site.host(space.subdomain.as_str());
    Ok(SpaceView::of(space, config.as_ref(), runtime, host, code))
}

/// The configuration of the newest commit; `None` when there is none that is valid.
pub(crate) async fn config(state: &ApiState, space: &Space) -> Result<Option<SpaceConfig>, ApiError> {
    let Some(head) = &space.desired.head else { return Ok(None) };
    match state.store.revision(space.id, head).await? {
        Some(Inspection::Buildable(config)) => return Ok(Some(*config)),
        Some(Inspection::ConfigError(_)) => return Ok(None),
        // Not looked at yet, or nothing to run: the README may still be fine.
        None | Some(Inspection::NoAppFile { .. }) => {}
    }
    let readme = state.repositories.read_file(space.id.into(), head, "README.md", MAX_README_BYTES).await;
    // A card is an extra: a README that cannot be read is a Space without a card.
    Ok(readme.ok().flatten().and_then(|readme| front_matter::parse(&readme).ok()))
}

async fn siblings(state: &ApiState, space: &Space, blobs: bool) -> Result<Vec<Sibling>, ApiError> {
    let Some(head) = &space.desired.head else { return Ok(Vec::new()) };
    let files = match state.repositories.files(space.id.into(), head, MAX_SIBLINGS).await {
        Ok(files) => files,
        // More than anyone lists: the commit is refused by its build with this reason.
        Err(spaceport_git::GitError::Source(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let sibling = |file: spaceport_git::TreeEntry| Sibling {
        rfilename: file.path,
        size: blobs.then_some(file.bytes),
        blob_id: blobs.then(|| file.oid.as_str().to_owned()),
    };
    Ok(files.into_iter().map(sibling).collect())
}
