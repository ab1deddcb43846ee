//! The content-addressed store, writing: xorbs, and the shards that say which files they make.
//! Specification: <https://huggingface.co/docs/xet/api>.
//!
//! What is not here is answered with 404, and clients go on without: upload grants.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use spaceport_core::{AccountId, RepoId};
use spaceport_objects::{ReceivedShard, XetHash};
use spaceport_store::NewObject;

use super::claims::Claim;
use super::upload;
use crate::allowance;
use crate::error::ApiError;
use crate::state::ApiState;

/// Between two signs of life while a shard is checked. Clients wait for two minutes.
const PROGRESS: Duration = Duration::from_secs(2);

/// The bearer of a token for the store.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// The repository the token is for.
    pub repo: RepoId,
    /// Whose token it is.
    pub account: Option<AccountId>,
    write: bool,
}

/// The bearer of a token that allows uploads.
#[derive(Debug, Clone, Copy)]
pub struct WriteSession {
    repo: RepoId,
    account: AccountId,
}

impl FromRequestParts<ApiState> for Session {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| ApiError::forbidden("This needs a token: ask the hub for a Xet token"))?;
        match state.large.key.read(token.trim(), state.control.clock().now())? {
            Claim::Xet { repo, account, write } => Ok(Self { repo, account, write }),
            _ => Err(ApiError::forbidden("This token is not for the store; ask the hub for a Xet token")),
        }
    }
}

impl FromRequestParts<ApiState> for WriteSession {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Session { repo, account, write } = Session::from_request_parts(parts, state).await?;
        let account = account.filter(|_| write);
        let account = account.ok_or_else(|| ApiError::forbidden("This token may only read; ask for a write token"))?;
        Ok(Self { repo, account })
    }
}

/// `POST …/v1/xorbs/default/{hash}`.
pub async fn put_xorb(
    State(state): State<ApiState>,
    session: WriteSession,
    Path((_, hash)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let hash = parse(&hash)?;
    let now = state.control.clock().now();
    let new = state.large.objects.put_xorb(hash, session.account, upload(body), now).await?;
    Ok(Json(json!({"was_inserted": new})))
}

/// `GET …/v1/chunks/default/{hash}`: which chunks the client need not send. Only what the account itself has sent
/// counts: that somebody else has a chunk is nobody's business.
pub async fn get_known_chunks(
    State(state): State<ApiState>,
    session: WriteSession,
    Path((_, hash)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let now = state.control.clock().now();
    let shard = state.large.objects.known_chunks(session.account, parse(&hash)?, now).await?;
    let shard = shard.ok_or_else(|| ApiError::not_found("This account has not sent this chunk"))?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], shard).into_response())
}

/// `POST …/v1/shards`.
pub async fn put_shard(
    State(state): State<ApiState>,
    session: WriteSession,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let shard = state.large.objects.receive_shard(upload(body)).await?;
    register(&state, session, shard, Arc::new(|_, _| ())).await?;
    Ok(Json(json!({"result": 1})))
}

/// `POST …/v2/shards`: the same, and says how far the check is.
pub async fn put_shard_with_progress(
    State(state): State<ApiState>,
    session: WriteSession,
    body: Body,
) -> Result<Response, ApiError> {
    let shard = state.large.objects.receive_shard(upload(body)).await?;
    let (progress, seen) = watch::channel((0, 0));
    let frames = async_stream::stream! {
        let progress = Arc::new(move |done, total| {
            progress.send_replace((done, total));
        });
        let mut work = std::pin::pin!(register(&state, session, shard, progress));
        let result = loop {
            match tokio::time::timeout(PROGRESS, &mut work).await {
                Ok(result) => break result,
                Err(_) => {
                    let (verified, total) = *seen.borrow();
                    yield frame(&json!({"type": "validating", "verified": verified, "total": total}));
                }
            }
        };
        yield match result {
            Ok(()) => frame(&json!({"type": "result", "result": 1})),
            Err(error) => {
                let retryable = error.status().is_server_error();
                let message = error.message().to_owned();
                error.log();
                frame(&json!({"type": "error", "message": message, "retryable": retryable}))
            }
        };
    };
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(frames)).into_response())
}

fn frame(value: &Value) -> io::Result<Bytes> {
    Ok(Bytes::from(format!("{value}\n")))
}

/// Checks a shard and gives the repository its files.
async fn register(
    state: &ApiState,
    session: WriteSession,
    shard: ReceivedShard,
    progress: spaceport_objects::Progress,
) -> Result<(), ApiError> {
    let now = state.control.clock().now();
    for file in state.large.objects.register(session.account, shard, progress, now).await? {
        let object = NewObject { sha256: file.sha256, size: file.size, xet: Some(file.file.to_string()) };
        allowance::take_object(state, session.repo, &object, session.account).await?;
    }
    Ok(())
}

/// A hash in a path.
pub(super) fn parse(hash: &str) -> Result<XetHash, ApiError> {
    hash.parse().map_err(|error: spaceport_core::InvalidHash| ApiError::bad_request(format!("In the path: {error}")))
}
