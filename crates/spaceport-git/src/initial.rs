//! The first commit of a new repository.

use spaceport_core::Timestamp;

/// Who made a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The account's name.
    pub name: String,
    /// An address, which need not exist.
    pub email: String,
}

/// One file of the first commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialFile {
    /// Relative to the root, with `/` between the parts.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// The first commit of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialCommit {
    /// Who made it.
    pub author: Author,
    /// When.
    pub at: Timestamp,
    /// Its title; the Hub's is `initial commit`.
    pub title: String,
    /// Its files.
    pub files: Vec<InitialFile>,
}

impl InitialCommit {
    /// The bytes of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.content.len() as u64).sum()
    }
}
