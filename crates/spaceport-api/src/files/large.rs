//! Large files: what stands behind LFS pointers.

use std::ops::Range;

use axum::body::Body;

use spaceport_core::Repo;
use spaceport_git::LfsObject;

use crate::error::{ApiError, clip};
use crate::state::ApiState;

/// Whether large files can be uploaded on their own.
pub(super) const AVAILABLE: bool = false;

/// A part of the content of a large file.
///
/// # Errors
/// When it was never uploaded.
pub(super) async fn body(
    _state: &ApiState,
    object: &LfsObject,
    _part: Range<u64>,
    path: &str,
) -> Result<Body, ApiError> {
    Err(missing(object, path))
}

/// Finds a large file that was uploaded, for a commit that puts it into a repository.
///
/// # Errors
/// 400 when it was not uploaded.
pub(super) async fn take(
    _state: &ApiState,
    _repo: &Repo,
    path: &str,
    sha256: &str,
    _size: Option<u64>,
) -> Result<LfsObject, ApiError> {
    Err(ApiError::bad_request(format!(
        "The content of {:?} ({}) was not uploaded; upload it before the commit",
        clip(path),
        clip(sha256)
    )))
}

/// The pointer is here, what it points to is not.
fn missing(object: &LfsObject, path: &str) -> ApiError {
    ApiError::not_found(format!(
        "{path} points to the large file {}, which is not on this server; upload it with git lfs push --all",
        object.sha256
    ))
}
