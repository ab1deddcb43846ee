//! What can go wrong, and whose fault it was.

use std::io;

use spaceport_core::{Reason, RepoId};

/// An operation on a repository failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no repository with this id.
    #[error("there is no repository {0}")]
    NoRepository(RepoId),
    /// There is one already.
    #[error("repository {0} exists already")]
    AlreadyExists(RepoId),
    /// The client's request is malformed; the text is for the client.
    #[error("{0}")]
    Request(String),
    /// The client went away before its request was complete. Nothing has changed.
    #[error("the client went away")]
    ClientGone,
    /// A file is larger than the caller is willing to read.
    #[error("{path} has {bytes} bytes; at most {limit} are read")]
    FileTooLarge {
        /// The path in the commit.
        path: String,
        /// Its size.
        bytes: u64,
        /// The limit of the call.
        limit: u64,
    },
    /// The commit cannot be used as a source; the author of the Space can change that.
    #[error(transparent)]
    Source(#[from] SourceProblem),
    /// The git command failed.
    #[error("git {operation} failed: {message}")]
    Failed {
        /// What was attempted.
        operation: &'static str,
        /// The end of what git wrote to its standard error.
        message: String,
    },
    /// The git command took too long and was ended.
    #[error("git {0} took too long and was ended")]
    Timeout(&'static str),
    /// The operating system refused something.
    #[error("cannot {operation}")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl GitError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Io { .. } | Self::ClientGone)
    }

    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}

/// Why a commit cannot be built or served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceProblem {
    /// A symbolic link leads, or may lead, out of the repository.
    #[error("the symbolic link `{path}` -> `{target}` {why}")]
    UnsafeLink {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
        /// What is wrong with that.
        why: &'static str,
    },
    /// A path that no file system should be asked to make.
    #[error("the path `{0}` is unsafe")]
    UnsafePath(String),
    /// One file is too large.
    #[error("the file `{path}` has {bytes} bytes; at most {limit} are allowed")]
    FileTooLarge {
        /// The file.
        path: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// All files together are too large.
    #[error("the commit has {bytes} bytes of files; at most {limit} are allowed")]
    TooLarge {
        /// The size of all files.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The folder that is asked for is not there, or empty.
    #[error("the commit has no files in the folder `{0}`")]
    NoFolder(String),
    /// A file that is asked for is not there.
    #[error("the commit has no file `{0}`")]
    NoFile(String),
    /// There are too many files.
    #[error("the commit has more than {limit} files")]
    TooManyFiles {
        /// The limit.
        limit: usize,
    },
}

impl SourceProblem {
    /// The code under which people are told.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::UnsafeLink { .. } | Self::UnsafePath(_) => Reason::SourceUnsafe,
            Self::NoFolder(_) => Reason::VolumeUnavailable,
            Self::NoFile(_) => Reason::PreloadFailed,
            Self::FileTooLarge { .. } | Self::TooLarge { .. } | Self::TooManyFiles { .. } => Reason::SourceTooLarge,
        }
    }

    /// What the author can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::UnsafeLink { .. } => {
                "Replace the link by a copy, or let it point to a file below the repository's root."
            }
            Self::UnsafePath(_) => "Rename the file.",
            Self::NoFolder(_) => "Name a folder of the repository, or leave 'path' out.",
            Self::NoFile(_) => "Name files of the repository, or none to have all of them.",
            Self::FileTooLarge { .. } | Self::TooLarge { .. } => {
                "Remove large files from the commit, and let the app download them when it starts."
            }
            Self::TooManyFiles { .. } => "Remove generated files such as node_modules or datasets from the commit.",
        }
    }
}
