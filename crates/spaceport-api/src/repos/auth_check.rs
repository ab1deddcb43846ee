//! `auth-check`: whether the caller may read, or write.

use axum::Json;
use serde_json::{Value, json};

use crate::access::{ReadCode, WriteSpace};
use crate::error::ErrorBody;
use crate::views::SpacePath;

/// Whether the caller may read a Space
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/auth-check", tag = "repositories", params(SpacePath),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn check_read(_: ReadCode) -> Json<Value> {
    Json(json!({}))
}

/// Whether the caller may write to a Space
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/auth-check/write", tag = "repositories", params(SpacePath),
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn check_write(_: WriteSpace) -> Json<Value> {
    Json(json!({}))
}
