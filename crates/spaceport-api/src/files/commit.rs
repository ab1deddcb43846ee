//! `POST …/commit/{rev}`: a commit over HTTP.
//!
//! The body is read as a stream, then checked, then the commit is made in one step, in a task that
//! ends even when the client leaves. Sending the same commit again changes nothing and is answered
//! with the commit the branch points to, since clients repeat what they got no answer to.

mod body;
mod lines;
pub(crate) mod spool;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::{CommitSha, Repo};
use spaceport_git::{CommitOutcome, CommitSpec, FileContent, Operation, RevisionKind};

use crate::access::{ReadRepo, WriteRepo};
use crate::audit;
use crate::caller::User;
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{CalledUrl, Params};
use crate::files::commit::body::{Change, Wish};
use crate::files::commit::spool::Spool;
use crate::files::large::{Taken, take};
use crate::files::{ReadAt, revision};
use crate::repos::create::author;
use crate::repos::record::record_head;
use crate::state::ApiState;
use crate::unasked::mistakes;
use crate::views::RepoPath;

/// A README is checked up to this length; front matter stands at its beginning.
const MAX_README: u64 = 1 << 20;
/// Of a stale parent. Hub: this text.
const STALE: &str = "The branch was updated since you opened this page. Please refresh and try again.";

/// What was committed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitAnswer {
    /// Always true.
    success: bool,
    /// The commit the branch points to now.
    commit_oid: String,
    /// Its page.
    commit_url: String,
    /// Always empty.
    hook_output: String,
}

/// Commit to a branch
///
/// One JSON value per line: `{"key": "header", "value": {"summary", "description", "parentCommit"}}` first, then
/// `file` (`path`, `content`, `encoding`), `lfsFile` (`path`, `algo`, `oid`, `size`), `deletedFile` and `deletedFolder`
/// (`path`). All of it happens, or nothing. Bodies may be gigabytes.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/commit/{*revision}", tag = "files",
    params(RepoPath, ("revision" = String, Path, description = "A branch, or `refs/pr/N`")),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = CommitAnswer), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 412, body = ErrorBody)))]
pub async fn create_commit(
    State(state): State<ApiState>,
    ReadAt { read, place }: ReadAt,
    CalledUrl(hub): CalledUrl,
    params: Params,
    body: Body,
) -> Result<Json<CommitAnswer>, ApiError> {
    if params.flag("create_pr") {
        return Err(ApiError::bad_request("Pull requests cannot be opened here yet; commit to a branch of your own"));
    }
    let to = read.into_write()?;
    let reference = branch(&state, &to.repo, &place.whole).await?;
    let spool = Spool::new(&state.uploads);
    let wish = match body::read(body, &spool).await {
        Ok(wish) => wish,
        Err(error) => {
            spool.remove().await;
            return Err(error);
        }
    };
    let path = to.repo.path();
    let work = {
        let state = state.clone();
        async move {
            let made = make(&state, &to, &reference, wish).await;
            spool.remove().await;
            made
        }
    };
    let commit = state.lifetime.finish(work).await?;
    Ok(Json(CommitAnswer {
        success: true,
        commit_url: format!("{hub}/{path}/commit/{commit}"),
        commit_oid: commit.into(),
        hook_output: String::new(),
    }))
}

/// The ref a commit can go to: a branch or a pull request, not a tag or a commit.
///
/// # Errors
/// `RevisionNotFound` when there is none.
pub(super) async fn branch(state: &ApiState, repo: &Repo, name: &str) -> Result<String, ApiError> {
    let found = revision(state, repo, name).await?;
    match (found.kind, found.reference) {
        (RevisionKind::Branch | RevisionKind::Pull, Some(reference)) => Ok(reference),
        _ => Err(ApiError::no_revision(name)),
    }
}

/// Makes the commit and records it. Gives where the branch points to.
async fn make(state: &ApiState, to: &WriteRepo, reference: &str, wish: Wish) -> Result<CommitSha, ApiError> {
    let WriteRepo { repo, user, .. } = to;
    let Wish { summary, description, parent, changes } = wish;
    check_readme(repo, &changes).await?;
    let parent = match parent {
        // An id may be abbreviated; one that is unknown is not where the branch is.
        Some(id) => match state.repositories.resolve(repo.id, &id).await? {
            Some(found) if found.kind == RevisionKind::Commit => Some(found.commit),
            _ => return Err(ApiError::stale(STALE)),
        },
        None => None,
    };
    let operations = operations(state, to, changes).await?;
    let author = author(user.account());
    let at = state.control.clock().now();
    let spec = CommitSpec { committer: author.clone(), author, at, summary, description, parent, operations };
    let outcome = state.repositories.commit(repo.id, reference, spec).await?;
    let is_main = reference == "refs/heads/main";
    match outcome {
        CommitOutcome::Committed { commit, .. } => {
            record(state, repo, user, reference, &commit).await?;
            Ok(commit)
        }
        CommitOutcome::Unchanged(Some(head)) => {
            // Made before by somebody who did not live to record it.
            if is_main && repo.head.as_ref() != Some(&head) {
                record(state, repo, user, reference, &head).await?;
            }
            Ok(head)
        }
        other => Err(refusal(other, reference)),
    }
}

/// Records that a branch moved; a moved `main` is indexed and built.
pub(super) async fn record(
    state: &ApiState,
    repo: &Repo,
    user: &User,
    reference: &str,
    commit: &CommitSha,
) -> Result<(), ApiError> {
    if reference == "refs/heads/main" {
        return record_head(state, repo, user, commit, "repo.commit").await.map(drop);
    }
    let detail = json!({"ref": reference, "commit": commit});
    audit::record(state, user, "repo.commit", &repo.path(), detail).await
}

/// Why a commit was not made.
fn refusal(outcome: CommitOutcome, reference: &str) -> ApiError {
    match outcome {
        CommitOutcome::ParentMoved(_) => ApiError::stale(STALE),
        CommitOutcome::UnknownRef | CommitOutcome::Committed { .. } | CommitOutcome::Unchanged(_) => {
            ApiError::no_revision(reference)
        }
        CommitOutcome::MissingPath(path) => ApiError::no_entry(&path),
        CommitOutcome::InvalidPath { path, why } => {
            ApiError::bad_request(format!("{:?} cannot be a path of a repository: {why}", clip(&path)))
        }
        CommitOutcome::Clash { path, with } if path == with => ApiError::bad_request(format!(
            "{:?} is a folder; a file can take its place when the folder is deleted in the same commit, before it",
            clip(&path)
        )),
        CommitOutcome::Clash { path, with } => ApiError::bad_request(format!(
            "{:?} cannot be a file: {:?}, which would be its folder, is a file; delete it in the same commit, before it",
            clip(&path),
            clip(&with)
        )),
        CommitOutcome::TooLarge { path, bytes, limit } => ApiError::bad_request(format!(
            "{:?} has {bytes} bytes; up to {limit} can be sent inside of a commit, larger files go through LFS or Xet",
            clip(&path)
        )),
        CommitOutcome::InvalidLfsObject { path } => ApiError::bad_request(format!(
            "'oid' of {:?} is not a SHA-256: it must be 64 lower-case hexadecimal digits",
            clip(&path)
        )),
    }
}

/// Refuses a README whose front matter cannot be read. Hub: the same, with the list `errors`.
async fn check_readme(repo: &Repo, changes: &[Change]) -> Result<(), ApiError> {
    let content = changes.iter().rev().find_map(|change| match change {
        Change::Put { path, content } if path == "README.md" => Some(content),
        _ => None,
    });
    let read;
    let readme: &[u8] = match content {
        None => return Ok(()),
        Some(FileContent::Bytes(bytes)) => bytes,
        Some(FileContent::Spooled(path)) => {
            read = beginning(path).await.map_err(ApiError::internal)?;
            &read
        }
    };
    let mistakes = mistakes(repo.kind, readme);
    let Some(first) = mistakes.first() else { return Ok(()) };
    let message = format!("Invalid metadata in README.md: {}", first.message);
    Err(ApiError::bad_request(message).with("errors", json!(mistakes)))
}

async fn beginning(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use tokio::io::AsyncReadExt as _;
    let mut text = Vec::new();
    tokio::fs::File::open(path).await?.take(MAX_README).read_to_end(&mut text).await?;
    Ok(text)
}

/// What git shall do. Large files must have been uploaded; from now on they belong to the repository.
async fn operations(state: &ApiState, to: &WriteRepo, changes: Vec<Change>) -> Result<Vec<Operation>, ApiError> {
    let named = changes.iter().filter_map(|change| match change {
        Change::PutLarge { path, sha256, size } => {
            Some(Taken { path: path.clone(), sha256: sha256.clone(), size: *size })
        }
        _ => None,
    });
    let read = ReadRepo { repo: to.repo.clone(), caller: to.user.clone().into(), rights: to.rights };
    let mut objects = take(state, &read, named.collect()).await?.into_iter();
    let mut operations = Vec::with_capacity(changes.len());
    for change in changes {
        operations.push(match change {
            Change::Put { path, content } => Operation::Put { path, content },
            Change::PutLarge { path, .. } => {
                Operation::PutLfs { path, object: objects.next().expect("one object for each large file") }
            }
            Change::DeleteFile { path } => Operation::DeleteFile { path },
            Change::DeleteFolder { path } => Operation::DeleteFolder { path },
        });
    }
    Ok(operations)
}
