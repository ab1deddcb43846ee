//! Tokens for the content-addressed store. Hub: `xet-read-token` and `xet-write-token`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::claims::Claim;
use super::{UploadFor, may_upload};
use crate::access::{ReadFiles, ReadRepo};
use crate::allowance;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{CalledUrl, Params};
use crate::files::ReadAt;
use crate::state::ApiState;
use crate::views::RepoPath;

/// Clients ask for a new one a minute before it ends.
const TOKEN_TIME: Duration = Duration::from_secs(60 * 60);

/// Where the store is and what opens it; the headers `X-Xet-Cas-Url`, `X-Xet-Access-Token` and
/// `X-Xet-Token-Expiration` say the same, since a part of the client reads only those.
#[derive(Debug, Serialize, ToSchema)]
pub struct XetToken {
    /// The address of the store.
    #[serde(rename = "casUrl")]
    pub cas_url: String,
    /// For its `Authorization` header.
    #[serde(rename = "accessToken")]
    pub access_token: String,
    /// When it ends: seconds since the Unix epoch.
    pub exp: i64,
}

/// A token to download with Xet
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/xet-read-token/{*revision}", tag = "large files",
    params(RepoPath, ("revision" = String, Path, description = "Branch, tag or commit; not looked at")),
    responses((status = 200, body = XetToken), (status = 404, body = ErrorBody)))]
pub async fn get_xet_read_token(
    State(state): State<ApiState>,
    hub: CalledUrl,
    ReadFiles(read): ReadFiles,
) -> Result<Response, ApiError> {
    answer(&state, &hub, &read, false)
}

/// A token to upload with Xet
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/xet-write-token/{*revision}", tag = "large files",
    params(RepoPath, ("revision" = String, Path, description = "`refs/pr/N` is for its author, everything else for writers"),
        ("create_pr" = Option<bool>, Query, description = "For a pull request, which readers may open")),
    responses((status = 200, body = XetToken), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn get_xet_write_token(
    State(state): State<ApiState>,
    hub: CalledUrl,
    ReadAt { read, place }: ReadAt,
    params: Params,
) -> Result<Response, ApiError> {
    let what = if params.flag("create_pr") { UploadFor::Proposal } else { UploadFor::Revision(&place.whole) };
    let (read, _) = may_upload(&state, read, what).await?;
    allowance::for_bytes(&state, &read.repo, 0).await?;
    answer(&state, &hub, &read, true)
}

fn answer(state: &ApiState, CalledUrl(hub): &CalledUrl, read: &ReadRepo, write: bool) -> Result<Response, ApiError> {
    let account = read.caller.account().map(|account| account.id);
    let until = state.control.clock().now() + TOKEN_TIME;
    let key = &state.large.key;
    let token = XetToken {
        cas_url: format!("{hub}/api/cas/{}", key.store_name(account)),
        access_token: key.sign(Claim::Xet { repo: read.repo.id, account, write }, until),
        exp: until.as_millis() / 1000,
    };
    let headers = [
        ("x-xet-cas-url", token.cas_url.clone()),
        ("x-xet-access-token", token.access_token.clone()),
        ("x-xet-token-expiration", token.exp.to_string()),
    ];
    let mut response = Json(token).into_response();
    for (name, value) in headers {
        let value = HeaderValue::from_str(&value).map_err(ApiError::internal)?;
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Ok(response)
}
