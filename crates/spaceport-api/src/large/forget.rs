//! Large files that shall not have been. Hub: `permanently_delete_lfs_files`.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::Sha256;
use spaceport_git::RefChange;

use super::files::MOST;
use crate::access::{ReadRepo, WriteRepo};
use crate::audit;
use crate::community::refs_moved;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::repos::record::record_head;
use crate::state::ApiState;
use crate::views::RepoPath;

/// Files to be removed.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Deletions {
    /// Which, and how.
    pub deletions: Deletion,
}

/// Which, and how.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Deletion {
    /// Their `fileOid`, at most 1000.
    pub sha: Vec<String>,
    /// Whether the commits that name them are made anew without them.
    #[serde(rename = "rewriteHistory", default)]
    pub rewrite_history: bool,
}

/// Remove large files for good
///
/// With `rewriteHistory`, every branch, tag and pull request forgets them: commits that named them, and those that
/// follow, get new ids. Without, commits keep naming what is gone. Takes the right to administer the repository.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/lfs-files/batch", tag = "large files", params(RepoPath),
    request_body = Deletions,
    responses((status = 200, body = Object), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn delete_large_files(
    State(state): State<ApiState>,
    read: ReadRepo,
    JsonBody(body): JsonBody<Deletions>,
) -> Result<Json<Value>, ApiError> {
    let to = read.into_own()?;
    let Deletion { sha, rewrite_history } = body.deletions;
    if sha.len() > MOST {
        return Err(ApiError::bad_request(format!("At most {MOST} files are removed by one call")));
    }
    let names: HashSet<Sha256> = sha.iter().map(|name| name.parse()).collect::<Result<_, _>>().map_err(|_| {
        ApiError::bad_request("'sha' holds the 'fileOid' of files, as the list of large files gives them")
    })?;
    let work = state.lifetime.detach({
        let state = state.clone();
        async move { delete(&state, &to, names, rewrite_history).await }
    });
    let (removed, moved) = work.await.map_err(ApiError::internal)??;
    Ok(Json(json!({"removed": removed, "refs": moved})))
}

/// Gives how many files went, and the refs that moved.
async fn delete(
    state: &ApiState,
    to: &WriteRepo,
    names: HashSet<Sha256>,
    rewrite_history: bool,
) -> Result<(usize, Vec<String>), ApiError> {
    let mut moved = Vec::new();
    if rewrite_history {
        moved.extend(rewrite(state, to, &names).await?);
    }
    let mut removed = Vec::new();
    for name in &names {
        if state.store.repo_object_remove(to.repo.id, *name).await? {
            removed.push(name.to_string());
        }
    }
    if rewrite_history && !removed.is_empty() {
        // What was checked while the files were still there, and landed after the first time.
        moved.extend(rewrite(state, to, &names).await?);
    }
    moved.sort_unstable();
    moved.dedup();
    let detail = json!({"files": removed, "refs": moved});
    audit::record(state, &to.user, "repo.large_files.delete", &to.repo.path(), detail).await?;
    Ok((removed.len(), moved))
}

async fn rewrite(state: &ApiState, to: &WriteRepo, names: &HashSet<Sha256>) -> Result<Vec<String>, ApiError> {
    let changes = state.repositories.forget_lfs_files(to.repo.id, names.clone()).await?;
    let main = changes.iter().find(|change| change.name == spaceport_core::discussion::MAIN);
    if let Some(RefChange { new: Some(head), .. }) = main {
        record_head(state, &to.repo, &to.user, head, "repo.rewrite").await?;
    }
    refs_moved(state, &to.repo, &to.user, &changes).await?;
    Ok(changes.into_iter().map(|change| change.name).collect())
}
