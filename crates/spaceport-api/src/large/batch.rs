//! `POST /{prefix}{owner}/{name}.git/info/lfs/objects/batch`: git-lfs asks where to upload to and
//! where to download from.
//! Specification: <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>. The transfer
//! `multipart` is the Hub's: <https://huggingface.co/docs/hub/repositories>, huggingface_hub `lfs.py`.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use spaceport_core::{AccountId, Repo, Sha256};
use spaceport_objects::Multipart;

use super::claims::Claim;
use super::holdings::{Holding, Named, look};
use super::{UploadFor, may_upload};
use crate::access::{ReadFiles, ReadRepo, find_repo};
use crate::allowance;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::extract::{CalledUrl, read_body};
use crate::git::git_kind;
use crate::state::ApiState;

/// Of requests and answers.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.git-lfs+json");
/// What git-lfs reads instead of `WWW-Authenticate`, which browsers read as well.
const LFS_AUTHENTICATE: HeaderName = HeaderName::from_static("lfs-authenticate");
/// Largest request: git-lfs sends 100 files, the Hub's client 256.
const MAX_BODY: usize = 4 << 20;
const MAX_OBJECTS: usize = 10_000;
/// An upload must begin within this time.
const UPLOAD_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A download must begin within this time.
const DOWNLOAD_TIME: Duration = Duration::from_secs(60 * 60);
/// Parts are at least this long, in bytes.
const PART_BYTES: u64 = 64 << 20;
/// More parts than this make the answer longer than it is useful.
const MAX_PARTS: u64 = 1000;

/// A refusal as git-lfs prints it.
#[derive(Debug)]
pub struct LfsRefusal(ApiError);

impl<E: Into<ApiError>> From<E> for LfsRefusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for LfsRefusal {
    fn into_response(self) -> Response {
        let message = self.0.message().to_owned();
        let mut response = self.0.with("message", message).with_challenge().into_response();
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(LFS_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Spaceport\""));
        }
        response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
        response
    }
}

#[derive(Deserialize)]
struct Batch {
    operation: String,
    #[serde(default)]
    transfers: Vec<String>,
    objects: Vec<Asked>,
    #[serde(default)]
    hash_algo: Option<String>,
    #[serde(default, rename = "ref")]
    reference: Option<Value>,
}

#[derive(Deserialize)]
struct Asked {
    oid: String,
    size: u64,
}

/// Answers a batch.
pub async fn batch(
    State(state): State<ApiState>,
    CalledUrl(hub): CalledUrl,
    request: Request,
) -> Result<Response, LfsRefusal> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::of(&parts, &state).await?;
    let path = Path::<HashMap<String, String>>::from_request_parts(&mut parts, &state).await;
    let Ok(Path(path)) = path else { return Err(ApiError::no_repo(caller.is_anonymous()).into()) };
    let part = |name: &str| path.get(name).map_or("", String::as_str);
    let name = part("name");
    let name = name.strip_suffix(".git").unwrap_or(name);
    let kind = git_kind(parts.uri.path());
    let read = find_repo(&state, kind, part("owner"), name, caller, &parts).await?;
    let ReadFiles(read) = read.into_files()?;
    let body = read_body(body, MAX_BODY).await?;
    let batch: Batch = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(format!("The body is not a batch of git-lfs: {error}")))?;
    let answer = answer(&state, &hub, read, batch).await?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], Json(answer)).into_response())
}

/// `…/info/lfs/locks`: there are none, and git-lfs goes on without.
pub async fn no_locks() -> LfsRefusal {
    LfsRefusal(ApiError::not_found(
        "This server has no file locks; 'git config lfs.locksverify false' stops git-lfs from asking",
    ))
}

async fn answer(state: &ApiState, hub: &str, read: ReadRepo, batch: Batch) -> Result<Value, ApiError> {
    if batch.hash_algo.as_deref().is_some_and(|algorithm| algorithm != "sha256") {
        return Err(ApiError::bad_request("Files are named by their SHA-256 here: 'hash_algo' must be 'sha256'"));
    }
    if batch.objects.len() > MAX_OBJECTS {
        return Err(ApiError::bad_request(format!("A batch has at most {MAX_OBJECTS} objects")));
    }
    let named: Vec<_> = batch.objects.iter().map(named).collect();
    let known: Vec<Named> = named.iter().flatten().cloned().collect();
    let (objects, transfer) = match batch.operation.as_str() {
        "download" => {
            let holdings = look(state, &read, &known).await?;
            let objects =
                zip(&batch.objects, &named, holdings, |named, holding| download(state, hub, &read, named, &holding));
            (objects, "basic")
        }
        "upload" => {
            // A push names its branch; what is uploaded for a new pull request comes without.
            let what = batch
                .reference
                .as_ref()
                .map_or(UploadFor::Proposal, |reference| UploadFor::Revision(reference["name"].as_str().unwrap_or("")));
            let (read, account) = may_upload(state, read, what).await?;
            let holdings = look(state, &read, &known).await?;
            let new = known.iter().zip(&holdings).filter(|(_, holding)| !matches!(holding, Holding::Here(_)));
            let bytes = new.map(|(named, _)| named.size.unwrap_or(0)).fold(0, u64::saturating_add);
            allowance::for_bytes(state, &read.repo, bytes).await?;
            for holding in &holdings {
                // Readable elsewhere: it need not be sent, and may be committed here as if it were.
                if let Holding::Elsewhere(object) = holding {
                    allowance::take_object(state, read.repo.id, object, account).await?;
                }
            }
            let large = |asked: &Asked| asked.size > state.large.multipart_above;
            let in_parts =
                batch.transfers.iter().any(|transfer| transfer == "multipart") && batch.objects.iter().any(large);
            let to = Uploads { state, hub, repo: &read.repo, account, in_parts };
            let objects = zip(&batch.objects, &named, holdings, |named, holding| to.upload(named, &holding));
            (objects, if in_parts { "multipart" } else { "basic" })
        }
        other => {
            let other = crate::error::clip(other);
            return Err(ApiError::bad_request(format!("'operation' must be 'upload' or 'download', not {other:?}")));
        }
    };
    Ok(json!({"transfer": transfer, "objects": objects, "hash_algo": "sha256"}))
}

fn named(asked: &Asked) -> Option<Named> {
    let sha256 = asked.oid.parse().ok()?;
    Some(Named { sha256, size: Some(asked.size), path: None })
}

/// The answer for each object; those without a valid name get an error.
fn zip(
    asked: &[Asked],
    named: &[Option<Named>],
    holdings: Vec<Holding>,
    mut each: impl FnMut(&Named, Holding) -> Map<String, Value>,
) -> Vec<Value> {
    let mut holdings = holdings.into_iter();
    let object = |(asked, named): (&Asked, &Option<Named>)| {
        let mut object = match named.as_ref().zip(named.as_ref().and_then(|_| holdings.next())) {
            Some((named, holding)) => each(named, holding),
            None => error(422, "The name of an object is its SHA-256: 64 lower-case hexadecimal digits"),
        };
        object.insert("oid".to_owned(), json!(asked.oid));
        object.insert("size".to_owned(), json!(asked.size));
        Value::Object(object)
    };
    asked.iter().zip(named).map(object).collect()
}

fn download(state: &ApiState, hub: &str, read: &ReadRepo, named: &Named, holding: &Holding) -> Map<String, Value> {
    let Holding::Here(object) = holding else { return error(404, "This repository does not have the file") };
    let claim = Claim::Download { repo: read.repo.id, sha256: named.sha256.to_string() };
    let claim = state.large.key.sign(claim, state.control.clock().now() + DOWNLOAD_TIME);
    let href = format!("{hub}/api/lfs/{}?claim={claim}", object.sha256);
    actions(json!({"download": {"href": href, "expires_in": DOWNLOAD_TIME.as_secs()}}))
}

/// Where the files of one batch go.
struct Uploads<'a> {
    state: &'a ApiState,
    hub: &'a str,
    repo: &'a Repo,
    account: AccountId,
    in_parts: bool,
}

impl Uploads<'_> {
    fn upload(&self, named: &Named, holding: &Holding) -> Map<String, Value> {
        let (sha256, size) = (named.sha256, named.size.unwrap_or(0));
        if *holding != Holding::Missing {
            // No action: there is nothing to do.
            return Map::new();
        }
        if let Err(refused) = self.state.large.objects.check_size(size) {
            return error(422, &format!("The file is too large: {refused}"));
        }
        let part = self.in_parts.then(|| part_bytes(size));
        let claim = Claim::Upload { repo: self.repo.id, account: self.account, sha256: sha256.to_string(), size, part };
        let claim = self.state.large.key.sign(claim, self.state.control.clock().now() + UPLOAD_TIME);
        let href = |below: &str| format!("{}/api/lfs/{sha256}{below}?claim={claim}", self.hub);
        let expires_in = UPLOAD_TIME.as_secs();
        let verify = json!({"href": href("/verify"), "expires_in": expires_in});
        let Some(part) = part else {
            return actions(json!({"upload": {"href": href(""), "expires_in": expires_in}, "verify": verify}));
        };
        let upload = Multipart { account: self.account, sha256, size, part_bytes: part };
        let mut header = Map::from_iter([("chunk_size".to_owned(), json!(part.to_string()))]);
        // Sorted as text they must be in order.
        header.extend(
            (1..=upload.parts().max(1))
                .map(|number| (format!("{number:05}"), json!(href(&format!("/parts/{number}"))))),
        );
        let complete = json!({"href": href("/complete"), "header": header, "expires_in": expires_in});
        actions(json!({"upload": complete, "verify": verify}))
    }
}

/// Long enough for few parts, and a round number.
fn part_bytes(size: u64) -> u64 {
    size.div_ceil(MAX_PARTS).max(PART_BYTES).next_multiple_of(1 << 20)
}

fn actions(actions: Value) -> Map<String, Value> {
    // The addresses carry what they need: git-lfs shall not look for a password.
    Map::from_iter([("authenticated".to_owned(), json!(true)), ("actions".to_owned(), actions)])
}

fn error(code: u16, message: &str) -> Map<String, Value> {
    Map::from_iter([("error".to_owned(), json!({"code": code, "message": message}))])
}

/// The name in a path, which must be the one that was claimed.
pub(super) fn same_name(path: &str, claimed: &str) -> Result<Sha256, ApiError> {
    let name = path.parse().ok().filter(|_| path == claimed);
    name.ok_or_else(|| ApiError::forbidden("This address is for another file; ask for a new one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_and_long() {
        assert_eq!(part_bytes(1), PART_BYTES);
        assert_eq!(part_bytes(5 << 30), PART_BYTES);
        let size = 500 << 30;
        assert_eq!(part_bytes(size) % (1 << 20), 0);
        assert!(size.div_ceil(part_bytes(size)) <= MAX_PARTS);
    }
}
