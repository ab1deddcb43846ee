//! The files of a commit for builds and volumes, with the content of large files in place of their
//! pointers.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use spaceport_core::access::{Rights, Subject};
use spaceport_core::space::Visibility;
use spaceport_core::{AccountId, CommitSha, Repo, RepoId, RepoKind, RepoName, Sha256};
use spaceport_git::{ArchiveOptions, GitError, LargeFiles, LfsObject, SourceLimits, SourceSummary};
use spaceport_objects::ObjectStore;
use spaceport_store::StoreError;

use crate::spaces::Parts;

/// A repository by its name or a former one, if the owner of a Space may read it. Whoever asked for it,
/// by a setting or in a commit, may be gone by now.
///
/// # Errors
/// When the database fails.
pub(crate) async fn readable(
    parts: &Parts,
    owner: AccountId,
    kind: RepoKind,
    name: &RepoName,
) -> Result<Option<Repo>, StoreError> {
    let repo = match parts.store.repo_by_name(kind, name).await? {
        Some(repo) => Some(repo),
        None => parts.store.repo_moved_from(kind, name).await?,
    };
    let Some(repo) = repo else { return Ok(None) };
    Ok(may_read(parts, owner, &repo).await?.then_some(repo))
}

/// Whether the owner of a Space may read the files of a repository.
///
/// # Errors
/// When the database fails.
pub(crate) async fn may_read(parts: &Parts, owner: AccountId, repo: &Repo) -> Result<bool, StoreError> {
    let subject = Subject { repo: repo.id, owner: repo.owner, creator: repo.creator, visibility: repo.visibility };
    if repo.owner == owner || Rights::of(subject, None).code {
        return Ok(true);
    }
    let member = parts.store.roles_of(owner).await?.iter().any(|(org, _)| *org == repo.owner);
    Ok(member && repo.visibility != Visibility::Public)
}

/// Writes the files of a commit as a tar archive.
///
/// # Errors
/// When the commit breaks a limit, or it cannot be read.
pub(crate) async fn archive(
    parts: &Parts,
    repo: RepoId,
    sha: &CommitSha,
    to: &Path,
    options: &ArchiveOptions,
) -> Result<SourceSummary, GitError> {
    let large = large_files(parts, repo).await?;
    parts.repositories.archive(repo, sha, to, options, Some(large)).await
}

/// Puts the files of a commit into a new folder.
///
/// # Errors
/// When the commit breaks a limit, or it cannot be read.
pub(crate) async fn extract(
    parts: &Parts,
    repo: RepoId,
    sha: &CommitSha,
    to: &Path,
    limits: SourceLimits,
) -> Result<SourceSummary, GitError> {
    let large = large_files(parts, repo).await?;
    parts.repositories.extract(repo, sha, to, limits, Some(large)).await
}

async fn large_files(parts: &Parts, repo: RepoId) -> Result<Arc<dyn LargeFiles>, GitError> {
    let names = parts.store.repo_object_names(repo).await.map_err(|error| GitError::Io {
        operation: "look up the large files of the repository",
        source: io::Error::other(error),
    })?;
    Ok(Arc::new(OfRepo { objects: parts.objects.clone(), names }))
}

/// The large files of one repository: a pointer to a file that only others have stays a pointer.
struct OfRepo {
    objects: ObjectStore,
    names: HashSet<Sha256>,
}

impl LargeFiles for OfRepo {
    fn open(&self, object: &LfsObject) -> io::Result<Option<Box<dyn Read + '_>>> {
        let name = object.sha256.parse().ok().filter(|name| self.names.contains(name));
        let Some(name) = name else { return Ok(None) };
        let found = self.objects.open_object_blocking(name).map_err(io::Error::other)?;
        let found = found.filter(|found| found.size() == object.size);
        Ok(found.map(|found| Box::new(found.into_reader()) as Box<dyn Read>))
    }
}
