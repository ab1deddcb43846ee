//! `auth-check`: whether the caller may read, or write.

use axum::Json;
use serde_json::{Value, json};

use crate::access::{ReadFiles, WriteRepo};
use crate::error::ErrorBody;
use crate::views::RepoPath;

/// Whether the caller may read a repository
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/auth-check", tag = "repositories", params(RepoPath),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn check_read(_: ReadFiles) -> Json<Value> {
    Json(json!({}))
}

/// Whether the caller may write to a repository
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/auth-check/write", tag = "repositories", params(RepoPath),
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn check_write(_: WriteRepo) -> Json<Value> {
    Json(json!({}))
}
