//! Uploads and downloads at the addresses that a batch gave out: the claim in the address says who
//! may do what, so no credentials are looked at.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_LENGTH, ETAG};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use spaceport_core::{AccountId, RepoId, Sha256};
use spaceport_objects::Multipart;
use spaceport_store::NewObject;

use super::batch::{LfsRefusal, same_name};
use super::claims::Claim;
use super::{content, upload};
use crate::allowance;
use crate::error::ApiError;
use crate::extract::{JsonBody, Params};
use crate::files::range::{Wanted, wanted};
use crate::state::ApiState;

/// An upload that was claimed.
struct Claimed {
    repo: RepoId,
    account: AccountId,
    sha256: Sha256,
    size: u64,
    part: Option<u64>,
}

impl Claimed {
    fn read(state: &ApiState, name: &str, params: &Params) -> Result<Self, ApiError> {
        match claim(state, params)? {
            Claim::Upload { repo, account, sha256, size, part } => {
                Ok(Self { repo, account, sha256: same_name(name, &sha256)?, size, part })
            }
            _ => Err(ApiError::forbidden("This address does not allow an upload; ask for a new one")),
        }
    }

    fn multipart(&self) -> Result<Multipart, ApiError> {
        let Self { account, sha256, size, part, .. } = *self;
        let part_bytes = part.ok_or_else(|| ApiError::bad_request("This file is uploaded whole, not in parts"))?;
        Ok(Multipart { account, sha256, size, part_bytes })
    }

    /// Gives the repository the file, now that the uploader has shown its bytes.
    async fn arrived(&self, state: &ApiState) -> Result<(), ApiError> {
        let info = state.large.objects.info(self.sha256).await?;
        let xet = info.and_then(|info| info.xet).map(|hash| hash.to_string());
        let object = NewObject { sha256: self.sha256, size: self.size, xet };
        allowance::take_object(state, self.repo, &object, self.account).await
    }

    async fn is_there(&self, state: &ApiState) -> Result<bool, ApiError> {
        let rows = state.store.repo_objects(self.repo, &[self.sha256]).await?;
        Ok(rows.iter().any(|row| row.size == self.size && (row.is_committed || row.uploader == Some(self.account))))
    }
}

fn claim(state: &ApiState, params: &Params) -> Result<Claim, ApiError> {
    let text = params.get("claim").unwrap_or("");
    state.large.key.read(text, state.control.clock().now())
}

/// `PUT /api/lfs/{sha256}`: the whole file.
pub async fn put(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, LfsRefusal> {
    let claimed = Claimed::read(&state, &name, &params)?;
    check_length(&headers, claimed.size)?;
    let now = state.control.clock().now();
    state.large.objects.put(claimed.sha256, claimed.size, upload(body), now).await?;
    claimed.arrived(&state).await?;
    Ok(StatusCode::OK.into_response())
}

/// `PUT /api/lfs/{sha256}/parts/{number}`: one part.
pub async fn put_part(
    State(state): State<ApiState>,
    Path((name, number)): Path<(String, String)>,
    params: Params,
    body: Body,
) -> Result<Response, LfsRefusal> {
    let claimed = Claimed::read(&state, &name, &params)?;
    let number = number.parse().map_err(|_| ApiError::bad_request("The number of a part is a whole number"))?;
    let now = state.control.clock().now();
    state.large.objects.put_part(&claimed.multipart()?, number, upload(body), now).await?;
    // Clients send it back when they complete the upload; the content is what is checked then.
    Ok((StatusCode::OK, [(ETAG, format!("\"{number}\""))]).into_response())
}

/// `POST /api/lfs/{sha256}/complete`: every part was sent.
pub async fn complete(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Json<Value>, LfsRefusal> {
    let claimed = Claimed::read(&state, &name, &params)?;
    let upload = claimed.multipart()?;
    // Sent again after an answer that was lost.
    if claimed.is_there(&state).await? {
        return Ok(Json(json!({})));
    }
    // Checking takes a while, and must be recorded even when the client no longer waits.
    let work = state.lifetime.detach({
        let state = state.clone();
        async move {
            state.large.objects.complete(&upload, state.control.clock().now()).await?;
            claimed.arrived(&state).await
        }
    });
    work.await.map_err(ApiError::internal)??;
    Ok(Json(json!({})))
}

/// What git-lfs says it has uploaded.
#[derive(Debug, Deserialize)]
pub struct Uploaded {
    oid: String,
    size: u64,
}

/// `POST /api/lfs/{sha256}/verify`: whether the upload has arrived.
pub async fn verify(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    params: Params,
    JsonBody(uploaded): JsonBody<Uploaded>,
) -> Result<Json<Value>, LfsRefusal> {
    let claimed = Claimed::read(&state, &name, &params)?;
    if uploaded.oid != name || uploaded.size != claimed.size {
        return Err(ApiError::bad_request("The body names another file than the address").into());
    }
    if claimed.is_there(&state).await? {
        return Ok(Json(json!({})));
    }
    Err(ApiError::not_found("The file has not arrived; upload it again").into())
}

/// `GET /api/lfs/{sha256}`: the file.
pub async fn get(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, LfsRefusal> {
    let Claim::Download { repo, sha256 } = claim(&state, &params)? else {
        return Err(ApiError::forbidden("This address does not allow a download; ask for a new one").into());
    };
    let sha256 = same_name(&name, &sha256)?;
    let gone = || ApiError::not_found("The repository does not have this file any more");
    // It may have been removed, or the repository deleted, since the address was made.
    let rows = state.store.repo_objects(repo, &[sha256]).await?;
    let size = rows.first().ok_or_else(gone)?.size;
    let object = state.large.objects.open_object(sha256).await?.ok_or_else(gone)?;
    // Whoever resumes a download counts once.
    let begins = match wanted(&headers, size, "") {
        Wanted::Whole => true,
        Wanted::Part(part) => part.start == 0,
        Wanted::Nothing => false,
    };
    if begins {
        state.downloads.note(&state, repo);
    }
    Ok(content::respond(&object, sha256, &headers))
}

/// A wrong length is refused before the body is sent.
fn check_length(headers: &HeaderMap, size: u64) -> Result<(), ApiError> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    match length {
        Some(length) if length != size => {
            Err(spaceport_objects::ObjectError::WrongSize { expected: size, actual: length }.into())
        }
        _ => Ok(()),
    }
}
