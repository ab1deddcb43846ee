//! Repositories opened in this process, with libgit2.
//!
//! Reading a file of a commit through the `git` binary costs a process; through libgit2 it costs a few
//! system calls. What is read often stays open for a moment ([`crate::readers`]); ten thousand repositories hold no memory
//! while nobody asks.
//!
//! libgit2 blocks, so every call runs on a thread for blocking work. Nothing of it is seen outside this crate.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use git2::{Config, ConfigLevel, ErrorCode, Oid, Repository};
use spaceport_core::{CommitSha, RepoId};

use crate::{GitError, Repositories};

/// Settings of repositories that are opened for writing.
pub(crate) const SETTINGS: &str = "\
# Written when the server starts. A crash of the machine must not lose what a client was told is stored.
[core]
	fsyncObjectFiles = true
";

/// The id of any object of a repository: of a file's content, of a folder, of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(Oid);

impl From<Oid> for ObjectId {
    fn from(oid: Oid) -> Self {
        Self(oid)
    }
}

impl From<ObjectId> for Oid {
    fn from(id: ObjectId) -> Self {
        id.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

/// A text is not 40 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of an object: it must be 40 hexadecimal digits")]
pub struct InvalidObjectId(String);

impl FromStr for ObjectId {
    type Err = InvalidObjectId;
    fn from_str(text: &str) -> Result<Self, InvalidObjectId> {
        let invalid = || InvalidObjectId(text.chars().take(80).collect());
        if text.len() != 40 {
            return Err(invalid());
        }
        Oid::from_str(text).map(Self).map_err(|_| invalid())
    }
}

/// A commit's id as libgit2 has it.
pub(crate) fn oid(sha: &CommitSha) -> Oid {
    Oid::from_str(sha.as_str()).expect("a commit id has 40 hexadecimal digits")
}

/// And back.
pub(crate) fn sha(oid: Oid) -> CommitSha {
    oid.to_string().parse().expect("libgit2 writes 40 lower-case hexadecimal digits")
}

/// What libgit2 says, as an error of this crate.
pub(crate) fn failed(operation: &'static str) -> impl Fn(git2::Error) -> GitError + Copy {
    move |error| GitError::Failed { operation, message: error.message().to_owned() }
}

/// "Not found" is no error.
pub(crate) fn optional<T>(result: Result<T, git2::Error>) -> Result<Option<T>, git2::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Repositories {
    /// Runs work that reads a repository.
    pub(crate) async fn reading<T: Send + 'static>(
        &self,
        repo: RepoId,
        work: impl FnOnce(&Repository) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let (folder, readers) = (self.path(repo), self.readers.clone());
        blocking(move || {
            let opened = readers.take(repo).map_or_else(|| open(&folder, repo), Ok)?;
            let result = work(&opened)?;
            readers.keep(repo, opened);
            Ok(result)
        })
        .await
    }

    /// Runs work that changes what it opened, in memory: adds objects that are not part of the repository yet, an index.
    pub(crate) async fn reading_alone<T: Send + 'static>(
        &self,
        repo: RepoId,
        work: impl FnOnce(&Repository) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let folder = self.path(repo);
        blocking(move || work(&open(&folder, repo)?)).await
    }

    /// Runs work that changes a repository. Within this process one after the other: whoever loses a race is
    /// made to wait and not to start again. Pushes are other processes; against them refs are changed by
    /// compare-and-set.
    pub(crate) async fn writing<T: Send + 'static>(
        &self,
        repo: RepoId,
        work: impl FnOnce(&Repository) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let (folder, settings) = (self.path(repo), self.settings());
        let turn = self.turns.of(repo).lock_owned().await;
        blocking(move || {
            // Held until the work ends, also when nobody waits for it any more.
            let _turn = turn;
            work(&open_for_writing(&folder, &settings, repo)?)
        })
        .await
    }
}

/// Runs blocking work on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| GitError::Io { operation: "finish the work", source: std::io::Error::other(error) })?
}

fn open(folder: &Path, repo: RepoId) -> Result<Repository, GitError> {
    Repository::open_bare(folder).map_err(|error| match error.code() {
        ErrorCode::NotFound => GitError::NoRepository(repo),
        _ => failed("open the repository")(error),
    })
}

/// Opens a repository so that what is written is on the disk when the call returns.
pub(crate) fn open_for_writing(folder: &Path, settings: &Path, repo: RepoId) -> Result<Repository, GitError> {
    let opened = open(folder, repo)?;
    let durable = || {
        // Before objects or refs are touched: libgit2 looks at the settings then.
        let mut config = Config::new()?;
        config.add_file(&folder.join("config"), ConfigLevel::Local, false)?;
        config.add_file(settings, ConfigLevel::App, false)?;
        opened.set_config(&config)
    };
    durable().map_err(failed("open the repository"))?;
    Ok(opened)
}
