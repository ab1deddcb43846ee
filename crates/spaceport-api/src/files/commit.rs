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
use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::{CommitSha, Repo};
use spaceport_git::{CommitOutcome, CommitSpec, FileContent, Operation, RevisionKind};

use crate::access::{DiscussRepo, ReadRepo};
use crate::allowance;
use crate::audit;
use crate::caller::User;
use crate::community::{NewPull, reserve_pull};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{CalledUrl, Params};
use crate::files::commit::body::{Change, Wish};
use crate::files::commit::spool::Spool;
use crate::files::large::{Taken, take};
use crate::files::target::{Target, ref_moved};
use crate::files::{MAIN, ReadAt};
use crate::large::holdings::First;
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
    /// With `create_pr`: the pull request that was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_request_url: Option<String>,
}

/// Commit to a branch
///
/// One JSON value per line: `{"key": "header", "value": {"summary", "description", "parentCommit"}}` first, then
/// `file` (`path`, `content`, `encoding`), `lfsFile` (`path`, `algo`, `oid`, `size`), `deletedFile` and `deletedFolder`
/// (`path`). All of it happens, or nothing. Bodies may be gigabytes.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/commit/{*revision}", tag = "files",
    params(RepoPath, ("revision" = String, Path, description = "A branch, or `refs/pr/N`"),
        ("create_pr" = Option<bool>, Query, description = "Open a pull request to the branch instead")),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = CommitAnswer), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 412, body = ErrorBody)))]
pub async fn create_commit(
    State(state): State<ApiState>,
    ReadAt { read, place }: ReadAt,
    CalledUrl(hub): CalledUrl,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<CommitAnswer>, ApiError> {
    let proposes = params.flag("create_pr");
    let target = Target::find(&state, read, &place.whole, proposes).await?;
    // Files are sent as base64, which is a third longer.
    allowance::for_bytes(&state, &target.to.repo, allowance::length(&headers) / 4 * 3).await?;
    let repo = target.to.repo.clone();
    let spool = Spool::new(&state.uploads);
    let wish = match body::read(body, &spool).await {
        Ok(wish) => wish,
        Err(error) => {
            spool.remove().await;
            return Err(error);
        }
    };
    let page = format!("{hub}/{}", repo.path());
    let work = {
        let state = state.clone();
        async move {
            let made = make(&state, target, wish, proposes).await;
            spool.remove().await;
            allowance::measure(&state, &repo).await;
            made
        }
    };
    let Made { commit, pull } = state.lifetime.finish(work).await?;
    Ok(Json(CommitAnswer {
        success: true,
        commit_url: format!("{page}/commit/{commit}"),
        commit_oid: commit.into(),
        hook_output: String::new(),
        pull_request_url: pull.map(|number| format!("{page}/discussions/{number}")),
    }))
}

/// What became of a commit.
struct Made {
    /// Where the branch points to now.
    commit: CommitSha,
    /// The number of the pull request that was opened with it.
    pull: Option<i64>,
}

/// Makes the commit and records it.
async fn make(state: &ApiState, target: Target, wish: Wish, proposes: bool) -> Result<Made, ApiError> {
    let Target { to, reference, head } = target;
    let DiscussRepo { repo, user, rights } = to;
    let Wish { summary, description, parent, changes } = wish;
    check_readme(&repo, &changes).await?;
    let parent = parent_of(state, &repo, parent).await?;
    let read = ReadRepo { repo, caller: user.clone().into(), rights };
    if proposes && parent.as_ref().is_some_and(|parent| *parent != head) {
        return Err(ApiError::stale(STALE));
    }
    let (operations, first) = operations(state, &read, changes).await?;
    let repo = read.repo;
    let author = author(user.account());
    let at = state.control.clock().now();
    let (title, text) = (summary.clone(), description.clone());
    let spec = CommitSpec { committer: author.clone(), author, at, summary, description, parent, operations };
    if !proposes {
        // When it fails, nobody knows whether the branch moved, so its files stay.
        let outcome = state.repositories.commit(repo.id, &reference, spec).await?;
        if let (false, Some(first)) = (is_made(&outcome), first) {
            first.give_back(state, repo.id).await;
        }
        return Ok(Made { commit: record(state, &repo, &user, &reference, outcome).await?, pull: None });
    }
    let reserved = reserve_pull(state, &repo, &head).await?;
    let outcome = state.repositories.commit(repo.id, &reserved.reference(), spec).await;
    if let (Ok(outcome), Some(first)) = (&outcome, first)
        && !is_made(outcome)
    {
        first.give_back(state, repo.id).await;
    }
    let made = match outcome {
        Ok(CommitOutcome::Committed { commit, .. }) => Ok(commit),
        // A proposal of nothing is a draft.
        Ok(CommitOutcome::Unchanged(_)) => Ok(head),
        Ok(other) => Err(refusal(other, &reference)),
        Err(error) => Err(error.into()),
    };
    let commit = match made {
        Ok(commit) => commit,
        Err(error) => {
            reserved.abandon(state, &repo).await;
            return Err(error);
        }
    };
    let new = NewPull { title, description: text, base: reference, head: commit.clone() };
    let opened = reserved.open(state, &repo, &user, new).await?;
    Ok(Made { commit, pull: Some(opened.number) })
}

/// Whether the branch has what was asked for.
fn is_made(outcome: &CommitOutcome) -> bool {
    matches!(outcome, CommitOutcome::Committed { .. } | CommitOutcome::Unchanged(Some(_)))
}

/// The commit the caller believes the branch to be at. An id may be abbreviated; one that is unknown is
/// not where the branch is.
async fn parent_of(state: &ApiState, repo: &Repo, id: Option<String>) -> Result<Option<CommitSha>, ApiError> {
    let Some(id) = id else { return Ok(None) };
    match state.repositories.resolve(repo.id, &id).await? {
        Some(found) if found.kind == RevisionKind::Commit => Ok(Some(found.commit)),
        _ => Err(ApiError::stale(STALE)),
    }
}

/// Records that a branch moved; a moved `main` is indexed and built. Gives where the branch points to.
async fn record(
    state: &ApiState,
    repo: &Repo,
    user: &User,
    reference: &str,
    outcome: CommitOutcome,
) -> Result<CommitSha, ApiError> {
    let is_main = reference == MAIN;
    match outcome {
        CommitOutcome::Committed { commit, .. } if is_main => {
            record_head(state, repo, user, &commit, "repo.commit").await?;
            Ok(commit)
        }
        CommitOutcome::Committed { commit, previous } => {
            ref_moved(state, repo, user, reference.to_owned(), previous, Some(commit.clone())).await?;
            let detail = json!({"ref": reference, "commit": commit});
            audit::record(state, user, "repo.commit", &repo.path(), detail).await?;
            Ok(commit)
        }
        CommitOutcome::Unchanged(Some(head)) => {
            // Made before by somebody who did not live to record it.
            if is_main && repo.head.as_ref() != Some(&head) {
                record_head(state, repo, user, &head, "repo.commit").await?;
            }
            Ok(head)
        }
        other => Err(refusal(other, reference)),
    }
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
async fn operations(
    state: &ApiState,
    read: &ReadRepo,
    changes: Vec<Change>,
) -> Result<(Vec<Operation>, Option<First>), ApiError> {
    let large = |change: &Change| match change {
        Change::PutLarge(file) => Some(file.clone()),
        _ => None,
    };
    let named = changes.iter().filter_map(large).collect();
    let (objects, first) = take(state, read, named).await?;
    let mut objects = objects.into_iter();
    let mut operations = Vec::with_capacity(changes.len());
    for change in changes {
        operations.push(match change {
            Change::Put { path, content } => Operation::Put { path, content },
            Change::PutLarge(Taken { path, .. }) => {
                let object = objects.next().ok_or_else(|| ApiError::internal("a large file was not looked up"))?;
                Operation::PutLfs { path, object }
            }
            Change::DeleteFile { path } => Operation::DeleteFile { path },
            Change::DeleteFolder { path } => Operation::DeleteFolder { path },
        });
    }
    Ok((operations, first))
}
