//! The files of a commit for builds and volumes, with the content of large files in place of their
//! pointers.

use std::path::Path;

use spaceport_core::{CommitSha, RepoId};
use spaceport_git::{ArchiveOptions, GitError, SourceLimits, SourceSummary};

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
    parts.repositories.archive(repo, sha, to, options, None).await
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
    parts.repositories.extract(repo, sha, to, limits, None).await
}
