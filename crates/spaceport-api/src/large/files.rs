//! The large files of a repository, for those who look after it. Hub: `lfs-files`.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::Sha256;
use spaceport_store::RepoObject;

use super::holdings::{Holding, Named, look};
use super::{UploadFor, may_upload};
use crate::access::{ReadFiles, ReadRepo, find_used};
use crate::allowance;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{CalledUrl, JsonBody, Params};
use crate::repos::kind;
use crate::state::ApiState;
use crate::views::RepoPath;

/// Of one page.
const PAGE: u64 = 1000;
/// Removed or copied by one call.
pub(super) const MOST: usize = 1000;

/// A large file of a repository.
#[derive(Debug, Serialize, ToSchema)]
pub struct LargeFile {
    /// By this it is removed: its SHA-256.
    #[serde(rename = "fileOid")]
    pub file_oid: String,
    /// A path at which a commit has it.
    pub filename: String,
    /// The SHA-256 of its content.
    pub oid: String,
    /// When it came.
    #[serde(rename = "pushedAt")]
    pub pushed_at: String,
    /// Bytes.
    pub size: u64,
}

impl LargeFile {
    fn of(object: RepoObject) -> Self {
        Self {
            file_oid: object.sha256.to_string(),
            filename: object.path.unwrap_or_default(),
            oid: object.sha256.to_string(),
            pushed_at: object.pushed_at.to_rfc3339(),
            size: object.size,
        }
    }
}

/// The large files of a repository
///
/// In pages of up to 1000, by their SHA-256.
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/lfs-files", tag = "large files",
    params(RepoPath, ("limit" = Option<u64>, Query, description = "Files of a page"),
        ("cursor" = Option<String>, Query, description = "Where the page begins")),
    responses((status = 200, body = Vec<LargeFile>), (status = 404, body = ErrorBody)))]
pub async fn list_large_files(
    State(state): State<ApiState>,
    CalledUrl(hub): CalledUrl,
    uri: Uri,
    params: Params,
    ReadFiles(read): ReadFiles,
) -> Result<(HeaderMap, Json<Vec<LargeFile>>), ApiError> {
    let limit = params.number("limit")?.unwrap_or(PAGE).clamp(1, PAGE);
    let after = params.get("cursor").map(|cursor| {
        cursor.parse::<Sha256>().map_err(|_| ApiError::bad_request("'cursor' is not one that this list gave out"))
    });
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut page = state.store.repo_objects_page(read.repo.id, after.transpose()?, limit).await?;
    name(&state, &read, &mut page).await?;
    let mut headers = HeaderMap::new();
    if let Some(last) = page.last().filter(|_| i64::try_from(page.len()).is_ok_and(|length| length == limit)) {
        let query = params.with("cursor", &last.sha256.to_string());
        let link = format!("<{hub}{}?{query}>; rel=\"next\"", uri.path());
        headers.extend(HeaderValue::from_str(&link).ok().map(|link| (LINK, link)));
    }
    Ok((headers, Json(page.into_iter().map(LargeFile::of).collect())))
}

/// Finds paths of files that came by a push, which names no paths.
async fn name(state: &ApiState, read: &ReadRepo, page: &mut [RepoObject]) -> Result<(), ApiError> {
    if page.iter().all(|object| object.path.is_some()) {
        return Ok(());
    }
    let files = state.repositories.all_lfs_files(read.repo.id).await?;
    let paths: HashMap<String, String> = files.into_iter().map(|file| (file.object.sha256, file.path)).collect();
    for object in page.iter_mut().filter(|object| object.path.is_none()) {
        object.path = paths.get(&object.sha256.to_string()).cloned();
    }
    Ok(())
}

/// Files to be copied without sending them.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Copies {
    /// The repository they shall come to.
    pub target: CopyTarget,
    /// The files.
    pub files: Vec<Copied>,
}

/// The repository they shall come to.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CopyTarget {
    /// `model`, `dataset` or `space`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `owner/name`.
    pub name: String,
}

/// A file to be copied.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Copied {
    /// The SHA-256 of its content.
    pub sha256: String,
}

/// Copy large files to another repository
///
/// So that a commit there can name them; nothing is sent.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/lfs-files/duplicate", tag = "large files", params(RepoPath),
    request_body = Copies,
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn copy_large_files(
    State(state): State<ApiState>,
    ReadFiles(from): ReadFiles,
    JsonBody(body): JsonBody<Copies>,
) -> Result<Json<Value>, ApiError> {
    if body.files.len() > MOST {
        return Err(ApiError::bad_request(format!("At most {MOST} files are copied by one call")));
    }
    let (owner, name) = body.target.name.split_once('/').unwrap_or(("", &body.target.name));
    let kind = kind(body.target.kind.as_deref())?;
    let to = find_used(&state, kind, owner, name, from.caller.clone()).await?;
    let ReadFiles(to) = to.into_files()?;
    let (to, account) = may_upload(&state, to, UploadFor::Proposal).await?;
    let mut failed = Vec::new();
    for file in &body.files {
        let Ok(sha256) = file.sha256.parse() else {
            failed.push(json!({"sha256": file.sha256, "error": "This is not a SHA-256"}));
            continue;
        };
        let named = Named { sha256, size: None, path: None };
        let object = match look(&state, &from, &[named]).await?.pop() {
            Some(Holding::Here(object)) => object,
            _ => {
                failed.push(json!({"sha256": file.sha256, "error": "The repository does not have this file"}));
                continue;
            }
        };
        let RepoObject { sha256, size, xet, .. } = object;
        let object = spaceport_store::NewObject { sha256, size, xet };
        allowance::take_object(&state, to.repo.id, &object, account).await?;
    }
    Ok(Json(json!({"failed": failed})))
}
