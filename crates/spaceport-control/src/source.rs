//! The files of a commit for builds and volumes.

use std::path::Path;

use spaceport_core::{CommitSha, RepoId};
use spaceport_git::{ArchiveOptions, GitError, SourceSummary};

use crate::spaces::Parts;

/// Writes the files of a commit as a tar archive.
///
/// # Errors
/// When the commit breaks a limit, or git fails.
pub(crate) async fn archive(
    parts: &Parts,
    repo: RepoId,
    sha: &CommitSha,
    to: &Path,
    options: &ArchiveOptions,
) -> Result<SourceSummary, GitError> {
    parts.repositories.archive(repo, sha, to, options).await
}
