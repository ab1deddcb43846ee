//! Which large files somebody may use in a repository.
//!
//! Knowing a file's name gives nothing: a file may be committed by those who uploaded it to this
//! repository, by everybody who may write to it once somebody did, and by those who may read it in
//! another repository.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use spaceport_core::{Repo, RepoId, Sha256, Timestamp};
use spaceport_git::{LfsCheck, LfsObject};
use spaceport_store::{NewObject, RepoObject};

use crate::access::{ReadRepo, rights};
use crate::allowance;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::ApiState;

/// So many repositories with a file are looked at for one that the caller may read.
const OTHERS: i64 = 100;

/// A large file that a caller names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its name.
    pub sha256: Sha256,
    /// Its length in bytes, where the caller knows it.
    pub size: Option<u64>,
    /// Where a commit has it.
    pub path: Option<String>,
}

/// Where a file that a caller may use is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holding {
    /// In this repository.
    Here(RepoObject),
    /// In another that the caller may read.
    Elsewhere(NewObject),
    /// Nowhere that the caller may read.
    Missing,
}

/// Looks files up for a caller, in the order they are named. Those that are found are spared by
/// garbage collection for a while.
///
/// # Errors
/// When database or disk fail.
pub(crate) async fn look(state: &ApiState, read: &ReadRepo, named: &[Named]) -> Result<Vec<Holding>, ApiError> {
    let names: Vec<Sha256> = named.iter().map(|named| named.sha256).collect();
    let here = state.store.repo_objects(read.repo.id, &names).await?;
    let here: HashMap<Sha256, RepoObject> = here.into_iter().map(|object| (object.sha256, object)).collect();
    let now = state.control.clock().now();
    let mut holdings = Vec::with_capacity(named.len());
    for file in named {
        let fits = |size: u64| file.size.is_none_or(|named| named == size);
        let object = here.get(&file.sha256).filter(|object| is_usable(object, read) && fits(object.size));
        let elsewhere = match object {
            Some(_) => None,
            None => readable_repo(state, &read.caller, file.sha256).await?,
        };
        if object.is_none() && elsewhere.is_none() {
            holdings.push(Holding::Missing);
            continue;
        }
        // What the database has and the disk has lost can be uploaded again.
        let stored = state.large.objects.claim(file.sha256, now).await?.filter(|stored| fits(stored.size));
        holdings.push(match (stored, object) {
            (None, _) => Holding::Missing,
            (Some(_), Some(object)) => Holding::Here(object.clone()),
            (Some(stored), None) => Holding::Elsewhere(NewObject {
                sha256: file.sha256,
                size: stored.size,
                xet: stored.xet.map(|hash| hash.to_string()),
            }),
        });
    }
    Ok(holdings)
}

/// Files that a commit is the first to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct First {
    names: Vec<Sha256>,
    at: Timestamp,
}

impl First {
    /// Gives them back, for a commit that was not made: they are uploads again, which go after a while unless a
    /// commit follows. What another commit relies on meanwhile stays.
    pub(crate) async fn give_back(self, state: &ApiState, repo: RepoId) {
        let Self { names, at } = self;
        if names.is_empty() {
            return;
        }
        let now = state.control.clock().now();
        if let Err(error) = state.store.objects_give_back(repo, &names, at, now).await {
            tracing::warn!(repo.id = %repo, %error, "large files of a refused commit of {repo} still count: {error}");
        }
    }
}

/// What became of the wish to commit files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// All may be committed.
    All {
        /// Their sizes in bytes, in the order they were named.
        sizes: Vec<u64>,
        /// Those that no commit had before.
        first: First,
    },
    /// These may not, and nothing was recorded.
    Missing(Vec<Named>),
}

/// Records that a commit is about to have these files. Call this before a ref moves, and give back what was
/// recorded first when it does not.
///
/// # Errors
/// When database or disk fail.
pub(crate) async fn hold(state: &ApiState, read: &ReadRepo, named: &[Named]) -> Result<Held, ApiError> {
    let Some(account) = read.caller.account() else { return Err(ApiError::sign_in()) };
    let (mut sizes, mut copies, mut missing) = (Vec::with_capacity(named.len()), Vec::new(), Vec::new());
    for (named, holding) in named.iter().zip(look(state, read, named).await?) {
        match holding {
            Holding::Here(object) => sizes.push(object.size),
            Holding::Elsewhere(object) => {
                sizes.push(object.size);
                copies.push(object);
            }
            Holding::Missing => missing.push(named.clone()),
        }
    }
    if !missing.is_empty() {
        return Ok(Held::Missing(missing));
    }
    let now = state.control.clock().now();
    for object in &copies {
        allowance::take_object(state, read.repo.id, object, account.id).await?;
    }
    let committed: Vec<_> = named.iter().map(|named| (named.sha256, named.path.clone())).collect();
    let names = state.store.objects_committed(read.repo.id, &committed, now).await?;
    Ok(Held::All { sizes, first: First { names, at: now } })
}

/// Holds the files of a push, for git to ask about while refs wait. The cell has what it was the first to have.
pub(crate) fn push_check(state: &ApiState, read: ReadRepo) -> (LfsCheck, Arc<OnceLock<First>>) {
    let state = state.clone();
    let cell = Arc::new(OnceLock::new());
    let kept = cell.clone();
    let named = |object: &LfsObject| {
        let LfsObject { sha256, size } = object;
        Some(Named { sha256: sha256.parse().ok()?, size: Some(*size), path: None })
    };
    let check: LfsCheck = Box::new(move |objects| {
        Box::pin(async move {
            let named: Vec<Named> = objects.iter().filter_map(named).collect();
            let held = hold(&state, &read, &named).await.map_err(|error| {
                error.log();
                error.message().to_owned()
            })?;
            let missing = match held {
                Held::All { first, .. } => {
                    // Git asks once.
                    let _ = kept.set(first);
                    return Ok(Vec::new());
                }
                Held::Missing(missing) => missing,
            };
            let is_missing = |object: &LfsObject| missing.iter().any(|named| named.sha256.to_string() == object.sha256);
            Ok(objects.into_iter().filter(is_missing).collect())
        })
    });
    (check, cell)
}

/// The row of a file that the caller may read in a repository.
///
/// # Errors
/// When the database fails.
pub(crate) async fn readable(
    state: &ApiState,
    read: &ReadRepo,
    sha256: Sha256,
) -> Result<Option<RepoObject>, ApiError> {
    let rows = state.store.repo_objects(read.repo.id, &[sha256]).await?;
    Ok(rows.into_iter().find(|object| is_usable(object, read)))
}

/// Whether the caller may read all of these files in a repository.
///
/// # Errors
/// When the database fails.
pub(crate) async fn are_readable(state: &ApiState, read: &ReadRepo, names: &[Sha256]) -> Result<bool, ApiError> {
    let rows = state.store.repo_objects(read.repo.id, names).await?;
    Ok(names.iter().all(|name| rows.iter().any(|row| row.sha256 == *name && is_usable(row, read))))
}

/// What was uploaded and is in no commit yet is for its uploader and for those who write here.
fn is_usable(object: &RepoObject, read: &ReadRepo) -> bool {
    let theirs = object.uploader.is_some() && object.uploader == read.caller.account().map(|account| account.id);
    object.is_committed || read.rights.write || theirs
}

async fn readable_repo(state: &ApiState, caller: &Caller, sha256: Sha256) -> Result<Option<Repo>, ApiError> {
    let repos = state.store.object_repos(sha256, OTHERS).await?;
    Ok(repos.into_iter().find(|repo| rights(repo, caller).code))
}
