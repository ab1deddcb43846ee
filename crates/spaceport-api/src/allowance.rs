//! Whether the quota tree lets an account have one more Space, or more bytes.
//!
//! Counted is what is known at the time: what git takes is measured after each push, and hourly. So a push whose length
//! nobody knows beforehand may go past a limit once; the next one is refused.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;

use spaceport_core::gpu::{Allowance, QuotaNode, QuotaPath, QuotaTree};
use spaceport_core::{AccountId, Repo, RepoId, RepoKind};
use spaceport_store::{NewObject, NewRepo};
use tokio::sync::OwnedMutexGuard;

use crate::error::ApiError;
use crate::state::ApiState;

/// Nobody else makes or moves a repository until this is dropped: two at a time could go past a limit that each
/// of them keeps.
pub(crate) type Turn = Option<OwnedMutexGuard<()>>;

/// Whether a new repository may be made, with so many bytes.
///
/// # Errors
/// With the numbers and the remedy when a quota has no room for it.
pub(crate) async fn for_new_repo(state: &ApiState, new: &NewRepo, bytes: u64) -> Result<Turn, ApiError> {
    let to = Account { owner: new.owner, creator: new.creator, from: None };
    for_repo(state, to, new.kind, bytes).await
}

/// Whether a repository may get another owner.
///
/// # Errors
/// With the numbers and the remedy when a quota of that owner has no room for it.
pub(crate) async fn for_moved_repo(state: &ApiState, repo: &Repo, owner: AccountId) -> Result<Turn, ApiError> {
    let to = Account { owner, creator: repo.creator, from: Some(repo.owner) };
    let git = state.repositories.disk_bytes(repo.id).await?;
    let bytes = git.saturating_add(state.store.repo_storage(repo.id).await?);
    for_repo(state, to, repo.kind, bytes).await
}

/// Whether a repository may have so many bytes more.
///
/// # Errors
/// With the numbers and the remedy when a quota has no room for them.
pub(crate) async fn for_bytes(state: &ApiState, repo: &Repo, bytes: u64) -> Result<(), ApiError> {
    let to = Account { owner: repo.owner, creator: repo.creator, from: None };
    let quotas = tree(state).await?;
    check(state, &quotas, &to, Allowance::Storage, bytes).await
}

/// How long the body of a request says it is; 0 when it does not.
pub(crate) fn length(headers: &HeaderMap) -> u64 {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// Records that somebody who had the bytes of a large file gave it to a repository.
///
/// # Errors
/// When a quota has no room for it; then nothing is recorded.
pub(crate) async fn take_object(
    state: &ApiState,
    repo: RepoId,
    object: &NewObject,
    uploader: AccountId,
) -> Result<(), ApiError> {
    let is_new = state.store.repo_objects(repo, &[object.sha256]).await?.is_empty();
    if is_new && let Some(repo) = state.store.repo_by_id(repo).await? {
        for_bytes(state, &repo, object.size).await?;
    }
    Ok(state.store.object_uploaded(repo, object, uploader, state.control.clock().now()).await?)
}

/// Measures what a repository takes, where a quota asks. What cannot be measured now is within the hour.
pub(crate) async fn measure(state: &ApiState, repo: &Repo) {
    if let Err(error) = try_measure(state, repo).await {
        tracing::warn!(repo = %repo.path(), ?error, "a repository could not be measured; it will be within the hour");
    }
}

async fn try_measure(state: &ApiState, repo: &Repo) -> Result<(), ApiError> {
    let Some(account) = state.store.quota_path(repo.owner, repo.creator).await? else { return Ok(()) };
    if tree(state).await?.limits(&account, Allowance::Storage) {
        let bytes = state.repositories.disk_bytes(repo.id).await?;
        state.store.repo_set_git_bytes(repo.id, bytes).await?;
    }
    Ok(())
}

/// Whose quota something counts against.
struct Account {
    owner: AccountId,
    creator: AccountId,
    /// The owner who has it now.
    from: Option<AccountId>,
}

async fn for_repo(state: &ApiState, to: Account, kind: RepoKind, bytes: u64) -> Result<Turn, ApiError> {
    let quotas = tree(state).await?;
    if quotas.places().next().is_none() {
        return Ok(None);
    }
    let turn = state.making.clone().lock_owned().await;
    if kind == RepoKind::Space {
        check(state, &quotas, &to, Allowance::Spaces, 1).await?;
    }
    check(state, &quotas, &to, Allowance::Storage, bytes).await?;
    Ok(Some(turn))
}

async fn check(
    state: &ApiState,
    quotas: &QuotaTree,
    to: &Account,
    what: Allowance,
    wanted: u64,
) -> Result<(), ApiError> {
    let path = async |owner| state.store.quota_path(owner, to.creator).await;
    let Some(account) = path(to.owner).await?.filter(|account| quotas.limits(account, what)) else { return Ok(()) };
    let from: Option<QuotaPath> = match to.from {
        Some(from) => path(from).await?,
        None => None,
    };
    let holdings = state.store.holdings().await?;
    match quotas.full(&account, from.as_ref(), what, wanted, &holdings) {
        Some(full) => Err(ApiError::forbidden(format!("{full}."))),
        None => Ok(()),
    }
}

async fn tree(state: &ApiState) -> Result<QuotaTree, ApiError> {
    let (_, places) = state.store.quotas().await?;
    let nodes = places.into_iter().map(|place| QuotaNode { path: place.path, quota: place.quota });
    // A tree that contradicts itself was refused when it was written.
    Ok(QuotaTree::new(nodes).unwrap_or_default())
}
