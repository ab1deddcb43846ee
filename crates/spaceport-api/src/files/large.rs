//! Large files: what stands behind LFS pointers.

use std::io;
use std::ops::Range;

use axum::body::Body;
use futures::TryStreamExt;

use spaceport_git::LfsObject;

use crate::access::ReadRepo;
use crate::error::{ApiError, clip};
use crate::large::holdings::{Held, Named, hold, readable};
use crate::state::ApiState;

/// A large file that a commit names.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    /// Where it shall be.
    pub path: String,
    /// The SHA-256 of its content, as the client wrote it.
    pub sha256: String,
    /// Its length in bytes, where the client said it.
    pub size: Option<u64>,
}

/// A part of the content of a large file.
///
/// # Errors
/// When the repository does not have it.
pub(super) async fn body(
    state: &ApiState,
    read: &ReadRepo,
    object: &LfsObject,
    part: Range<u64>,
    path: &str,
) -> Result<Body, ApiError> {
    let missing = || missing(object, path);
    let name = object.sha256.parse().map_err(|_| missing())?;
    readable(state, read, name).await?.ok_or_else(missing)?;
    let stored = state.large.objects.open_object(name).await?;
    let stored = stored.filter(|stored| stored.size() == object.size).ok_or_else(missing)?;
    Ok(Body::from_stream(stored.stream(part).map_err(|error| {
        tracing::error!(%error, "a large file could not be read to its end: {error}");
        io::Error::other(error)
    })))
}

/// Takes large files that were uploaded into a repository, for a commit.
///
/// # Errors
/// 400 when one was not uploaded, or is not what the commit says.
pub(super) async fn take(state: &ApiState, to: &ReadRepo, files: Vec<Taken>) -> Result<Vec<LfsObject>, ApiError> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut named = Vec::with_capacity(files.len());
    for Taken { path, sha256, size } in files {
        let sha256 = sha256.parse().map_err(|_| {
            let path = clip(&path);
            ApiError::bad_request(format!(
                "'oid' of {path:?} is not a SHA-256: it must be 64 lower-case hexadecimal digits"
            ))
        })?;
        named.push(Named { sha256, size, path: Some(path) });
    }
    match hold(state, to, &named).await? {
        Held::All(sizes) => {
            let object = |(named, size): (Named, u64)| LfsObject { sha256: named.sha256.to_string(), size };
            Ok(named.into_iter().zip(sizes).map(object).collect())
        }
        Held::Missing(missing) => {
            let names: Vec<String> = missing.iter().take(10).map(describe).collect();
            let (count, names) = (missing.len(), names.join(", "));
            Err(ApiError::bad_request(format!(
                "The content of {count} of the files was not uploaded here with that size: {names}; upload it before the commit"
            )))
        }
    }
}

fn describe(named: &Named) -> String {
    format!("{:?} ({})", clip(named.path.as_deref().unwrap_or("")), named.sha256)
}

/// The pointer is here, what it points to is not.
fn missing(object: &LfsObject, path: &str) -> ApiError {
    ApiError::not_found(format!(
        "{path} points to the large file {}, which is not on this server; upload it with git lfs push --all",
        object.sha256
    ))
}
