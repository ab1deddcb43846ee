//! What a path says behind its fixed part: a revision, and a path below it.
//!
//! It is read from the raw path: clients send a revision such as `refs/pr/3` as one segment with its
//! slashes percent-encoded, and paths with plain slashes or encoded ones. A router that decodes
//! first has lost the boundary.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use spaceport_core::RepoKind;

use crate::access::{ReadFiles, ReadRepo, WriteRepo, find_repo};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::git::git_kind;
use crate::state::ApiState;

/// A revision, and a path below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// A branch, a tag, a full ref or a commit id.
    pub revision: String,
    /// Relative to the root, without a slash at the end; empty for the root.
    pub path: String,
    /// Everything decoded, for calls that have no path: a revision whose slashes came plain.
    pub whole: String,
}

impl Place {
    /// From what follows the fixed part of a path, as it arrived.
    fn of(raw: &str) -> Result<Self, ApiError> {
        let decode = |segment: &str| {
            let text = percent_decode_str(segment).decode_utf8();
            text.map(Cow::into_owned).map_err(|_| ApiError::bad_request("The path is not percent-encoded UTF-8"))
        };
        let segments: Vec<String> = raw.split('/').map(decode).collect::<Result<_, _>>()?;
        // `refs/pr/3` and the like, from whoever did not encode them: `refs` alone is no revision.
        let spelt_out = segments.first().is_some_and(|first| first == "refs") && segments.len() >= 3;
        let (revision, path) = segments.split_at(if spelt_out { 3 } else { 1 });
        let trimmed = |parts: &[String]| parts.join("/").trim_end_matches('/').to_owned();
        Ok(Self { revision: revision.join("/"), path: trimmed(path), whole: trimmed(&segments) })
    }
}

/// A repository whose files the caller may see, and a place in it.
#[derive(Debug)]
pub struct ReadAt {
    pub(crate) read: ReadRepo,
    pub(crate) place: Place,
}

/// A repository the caller may change, and a place in it.
#[derive(Debug)]
pub struct WriteAt {
    pub(crate) to: WriteRepo,
    pub(crate) place: Place,
}

/// The parts of a path: API paths are `/api/{kind}/{owner}/{name}/{verb}/…`, those of pages
/// `/{prefix}{owner}/{name}/{verb}/…`.
struct Parsed<'a> {
    kind: RepoKind,
    owner: Cow<'a, str>,
    name: Cow<'a, str>,
    /// As it arrived.
    rest: &'a str,
}

impl<'a> Parsed<'a> {
    fn of(uri: &'a Uri) -> Option<Self> {
        let path = uri.path().strip_prefix('/')?;
        let (kind, path) = match path.strip_prefix("api/") {
            Some(path) => {
                let (kind, path) = path.split_once('/')?;
                (RepoKind::from_segment(kind)?, path)
            }
            None => {
                let kind = git_kind(uri.path());
                (kind, path.strip_prefix(kind.prefix())?)
            }
        };
        let mut parts = path.splitn(4, '/');
        let mut decoded = || percent_decode_str(parts.next()?).decode_utf8().ok();
        let (owner, name, _verb) = (decoded()?, decoded()?, decoded()?);
        Some(Self { kind, owner, name, rest: parts.next().unwrap_or("") })
    }
}

impl FromRequestParts<ApiState> for ReadAt {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = Caller::of(parts, state).await?;
        let Some(Parsed { kind, owner, name, rest }) = Parsed::of(&parts.uri) else {
            return Err(ApiError::no_repo(caller.is_anonymous()));
        };
        let read = find_repo(state, kind, &owner, &name, caller, parts).await?;
        let ReadFiles(read) = read.into_files()?;
        Ok(Self { read, place: Place::of(rest)? })
    }
}

impl FromRequestParts<ApiState> for WriteAt {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let ReadAt { read, place } = ReadAt::from_request_parts(parts, state).await?;
        Ok(Self { to: read.into_write()?, place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_one_segment_and_the_rest_is_a_path() {
        let of = |raw: &str| {
            let place = Place::of(raw).unwrap();
            (place.revision, place.path)
        };
        let pair = |revision: &str, path: &str| (revision.to_owned(), path.to_owned());
        assert_eq!(of("main"), pair("main", ""));
        assert_eq!(of("main/"), pair("main", ""));
        assert_eq!(of("refs%2Fpr%2F3/a%2Fb%20c"), pair("refs/pr/3", "a/b c"));
        assert_eq!(of("refs/pr/3/a/b"), pair("refs/pr/3", "a/b"));
        assert_eq!(of("refs/a"), pair("refs", "a"));
        assert_eq!(of("feature%2Fx/a//b"), pair("feature/x", "a//b"));
        assert_eq!(of("main/a%252Fb/"), pair("main", "a%2Fb"));
        assert_eq!(Place::of("feature/x").unwrap().whole, "feature/x");
        assert!(Place::of("main/%ff").is_err());
    }

    #[test]
    fn pages_and_api_name_repositories_alike() {
        let of = |path: &str| {
            let uri = path.parse().unwrap();
            Parsed::of(&uri).map(|parsed| (parsed.kind, parsed.owner.into_owned(), parsed.rest.to_owned()))
        };
        let some = |kind, rest: &str| Some((kind, "a".to_owned(), rest.to_owned()));
        assert_eq!(of("/api/datasets/a/b/tree/main/x"), some(RepoKind::Dataset, "main/x"));
        assert_eq!(of("/a/b/resolve/main/x"), some(RepoKind::Model, "main/x"));
        assert_eq!(of("/spaces/a/b/raw/main/x%2Fy"), some(RepoKind::Space, "main/x%2Fy"));
        assert_eq!(of("/api/kernels/a/b/tree/main"), None);
        assert_eq!(of("/api/models/%61/b/tree/main/x%2Fy"), some(RepoKind::Model, "main/x%2Fy"));
        assert_eq!(of("/a"), None);
    }
}
