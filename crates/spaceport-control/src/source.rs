//! The files of a commit for builds and volumes, with the content of large files in place of their
//! pointers.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use spaceport_core::{CommitSha, RepoId, Sha256};
use spaceport_git::{ArchiveOptions, GitError, LargeFiles, LfsObject, SourceLimits, SourceSummary};
use spaceport_objects::ObjectStore;

use crate::spaces::Parts;

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
