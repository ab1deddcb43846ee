//! What a repository takes on the disk.

use std::path::Path;

use spaceport_core::RepoId;

use crate::{GitError, Repositories};

impl Repositories {
    /// The bytes of a repository's files, objects that nothing refers to any more included; 0 when
    /// there is none.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub async fn disk_bytes(&self, repo: RepoId) -> Result<u64, GitError> {
        let folder = self.path(repo);
        let summed = tokio::task::spawn_blocking(move || sum(&folder)).await;
        summed.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(GitError::io("read the repository"))
    }
}

/// Files come and go while git works: what is gone counts nothing.
fn sum(folder: &Path) -> std::io::Result<u64> {
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if gone(&error) => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += sum(&entry.path())?,
            Ok(metadata) => bytes += metadata.len(),
            Err(error) if gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}
