//! Large files: what stands behind LFS pointers.

use std::ops::Range;

use axum::body::Body;
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use spaceport_core::{CommitSha, Repo, Sha256};
use spaceport_git::LfsObject;
use spaceport_store::RepoObject;

use crate::access::ReadRepo;
use crate::error::{ApiError, clip};
use crate::large::content;
use crate::large::holdings::{First, Held, Named, hold, readable};
use crate::state::ApiState;

const X_XET_HASH: HeaderName = HeaderName::from_static("x-xet-hash");

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

/// A large file that a repository has.
pub(super) struct Large {
    sha256: Sha256,
    size: u64,
    /// The hash by which Xet clients ask for it.
    xet: Option<String>,
}

impl Large {
    /// Looks it up for a reader of the repository.
    ///
    /// # Errors
    /// 404 when the repository does not have it.
    pub(super) async fn find(
        state: &ApiState,
        read: &ReadRepo,
        object: &LfsObject,
        path: &str,
        commit: &CommitSha,
    ) -> Result<Self, ApiError> {
        let missing = || missing(object, path).at_commit(commit);
        let name = object.sha256.parse().map_err(|_| missing())?;
        let found = readable(state, read, name).await?.filter(|found| found.size == object.size);
        let RepoObject { sha256, size, xet, .. } = found.ok_or_else(missing)?;
        Ok(Self { sha256, size, xet })
    }

    /// Tells Xet clients how to fetch it in parts and at once.
    /// Hub: `X-Xet-Hash`, and `Link` with `xet-auth`.
    pub(super) fn announce(&self, headers: &mut HeaderMap, hub: &str, repo: &Repo, commit: &CommitSha) {
        let Some(hash) = &self.xet else { return };
        let token = format!("{hub}/api/{}/{}/xet-read-token/{commit}", repo.kind.segment(), repo.name);
        let values = [(X_XET_HASH, hash.clone()), (LINK, format!("<{token}>; rel=\"xet-auth\""))];
        for (name, value) in values {
            headers.extend(HeaderValue::from_str(&value).ok().map(|value| (name, value)));
        }
    }

    /// A part of its content.
    ///
    /// # Errors
    /// When the disk has lost it.
    pub(super) async fn body(&self, state: &ApiState, part: Range<u64>) -> Result<Body, ApiError> {
        let stored = state.large.objects.open_object(self.sha256).await?;
        let stored = stored.filter(|stored| stored.size() == self.size);
        let lost = || ApiError::internal(format!("the content of large file {} is not on the disk", self.sha256));
        Ok(content::body(stored.ok_or_else(lost)?.stream(part)))
    }
}

/// Takes large files that were uploaded into a repository, for a commit. Gives those, too, that it is the first to
/// have, which go back when it is not made.
///
/// # Errors
/// 400 when one was not uploaded, or is not what the commit says.
pub(super) async fn take(
    state: &ApiState,
    to: &ReadRepo,
    files: Vec<Taken>,
) -> Result<(Vec<LfsObject>, Option<First>), ApiError> {
    if files.is_empty() {
        return Ok((Vec::new(), None));
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
        Held::All { sizes, first } => {
            let object = |(named, size): (Named, u64)| LfsObject { sha256: named.sha256.to_string(), size };
            Ok((named.into_iter().zip(sizes).map(object).collect(), Some(first)))
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
