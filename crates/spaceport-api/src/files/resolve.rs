//! `HEAD`/`GET /{prefix}{owner}/{name}/resolve/{rev}/{path}` and `raw`: a file.
//!
//! A large file's content comes from here as well, without a redirect: clients follow one to another
//! origin only with a signed address.

use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use futures::StreamExt;

use spaceport_git::{Content, Entry, NodeKind};

use crate::error::{ApiError, ErrorBody};
use crate::extract::{CalledUrl, Params};
use crate::files::large::Large;
use crate::files::served::{Answer, Served};
use crate::files::{Place, ReadAt};
use crate::state::ApiState;

/// A file
///
/// Of a large file its content. Of a data set or a Space the path begins with `/datasets/` or `/spaces/`.
/// `HEAD` answers the same headers; parts are answered by `Range`.
#[utoipa::path(get, path = "/{owner}/{name}/resolve/{*rest}", tag = "files",
    params(("owner" = String, Path, description = "The account it belongs to"),
        ("name" = String, Path, description = "Its name"),
        ("rest" = String, Path, description = "The revision as one percent-encoded segment, and the path"),
        ("download" = Option<bool>, Query, description = "To be saved, not shown")),
    responses((status = 200, body = String, content_type = "application/octet-stream"),
        (status = 206, body = String, content_type = "application/octet-stream"),
        (status = 404, body = ErrorBody), (status = 416, body = ErrorBody)))]
pub async fn resolve_file(
    State(state): State<ApiState>,
    at: ReadAt,
    hub: CalledUrl,
    method: Method,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    serve(&state, at, &hub, &method, &headers, &params, true).await
}

/// A file as git has it: of a large file the pointer.
pub async fn raw_file(
    State(state): State<ApiState>,
    at: ReadAt,
    hub: CalledUrl,
    method: Method,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    serve(&state, at, &hub, &method, &headers, &params, false).await
}

async fn serve(
    state: &ApiState,
    ReadAt { read, place }: ReadAt,
    hub: &CalledUrl,
    method: &Method,
    headers: &HeaderMap,
    params: &Params,
    content: bool,
) -> Result<Response, ApiError> {
    let repo = &read.repo;
    let Place { revision, path, .. } = place;
    let found = state.repositories.find(repo.id, &revision, &path).await?;
    let found = found.ok_or_else(|| ApiError::no_revision(&revision))?;
    let commit = found.revision.commit;
    let entry = found.entry.filter(|entry| entry.kind == NodeKind::File);
    let entry = entry.ok_or_else(|| ApiError::no_entry(&path).at_commit(&commit))?;
    let served = Served { entry, commit, content, attachment: params.flag("download") };
    let large = match &served.entry.lfs {
        Some(pointer) if content => Some(Large::find(state, &read, &pointer.object, &path, &served.commit).await?),
        _ => None,
    };
    let mut answer = served.answer(repo, headers, method == Method::HEAD)?;
    if let Some(large) = &large {
        let (Answer::Head(response) | Answer::Bytes(response, _)) = &mut answer;
        large.announce(response.headers_mut(), &hub.0, repo, &served.commit);
    }
    let (mut response, part) = match answer {
        Answer::Head(response) => return Ok(response),
        Answer::Bytes(response, part) => (response, part),
    };
    // Whoever resumes a download counts once.
    if content && part.start == 0 {
        state.downloads.note(state, repo.id);
    }
    let Entry { path, oid, .. } = served.entry;
    *response.body_mut() = match large {
        Some(large) => large.body(state, part).await?,
        None => {
            let blob = state.repositories.blob(repo.id, oid, Some(part)).await?;
            let blob = blob.ok_or_else(|| ApiError::no_entry(&path).at_commit(&served.commit))?;
            match blob.content {
                Content::Whole(bytes) => Body::from(bytes),
                Content::Stream(pieces) => Body::from_stream(pieces.map(|piece| piece.map_err(io::Error::other))),
            }
        }
    };
    Ok(response)
}
