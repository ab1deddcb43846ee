//! A repository: what models, data sets and Spaces have in common.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::space::Visibility;
use crate::{AccountId, CommitSha, RepoId, RepoName, Timestamp};

/// What a repository holds. Hub: `type` of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepoKind {
    /// Weights.
    Model,
    /// Data.
    Dataset,
    /// An app.
    Space,
}

impl RepoKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Model, Self::Dataset, Self::Space];

    /// The name on the wire and in the database: `model`, `dataset`, `space`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
            Self::Space => "space",
        }
    }

    /// The segment of API paths: `models`, `datasets`, `spaces`.
    #[must_use]
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
            Self::Space => "spaces",
        }
    }

    /// What stands before `owner/name` in addresses of pages and of git: models are at the root.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
            Self::Space => "spaces/",
        }
    }

    /// From the segment of an API path.
    #[must_use]
    pub fn from_segment(segment: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.segment() == segment)
    }

    /// The form of a name that is unique among all repositories: `models/alice/tiny`, lower case.
    #[must_use]
    pub fn key(self, name: &RepoName) -> String {
        format!("{}/{}", self.segment(), name.key())
    }

    /// The path of a repository's page and of its git remote: `datasets/alice/tiny`.
    #[must_use]
    pub fn path(self, name: &RepoName) -> String {
        format!("{}{name}", self.prefix())
    }
}

impl fmt::Display for RepoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no kind of repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a type of repository; it must be model, dataset or space")]
pub struct UnknownKind(String);

impl FromStr for RepoKind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKind(text.chars().take(40).collect()))
    }
}

/// A repository, whatever it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Repo {
    /// Never changes.
    pub id: RepoId,
    /// What it holds.
    pub kind: RepoKind,
    /// `owner/name`.
    pub name: RepoName,
    /// The account it belongs to.
    pub owner: AccountId,
    /// Who created it.
    pub creator: AccountId,
    /// Who may see it.
    pub visibility: Visibility,
    /// Created.
    pub created_at: Timestamp,
    /// Last change of its code or of who may see it. Hub: `lastModified`.
    pub updated_at: Timestamp,
    /// The commit `main` points to.
    pub head: Option<CommitSha>,
    /// The front matter of its README at `head`, as JSON; `None` when it has none that can be read.
    pub card: Option<serde_json::Value>,
    /// How many accounts like it.
    pub likes: i64,
    /// Of these, the likes of the last days.
    pub trending: i64,
    /// How often a file of it was downloaded.
    pub downloads: i64,
    /// Of a Space: how often its app was opened in a browser.
    pub visits: i64,
}

impl Repo {
    /// The path of its page and of its git remote: `spaces/alice/demo`.
    #[must_use]
    pub fn path(&self) -> String {
        self.kind.path(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_may_stand_once_per_kind() {
        let name: RepoName = "Alice/Tiny".parse().unwrap();
        assert_eq!(RepoKind::Model.key(&name), "models/alice/tiny");
        assert_eq!(RepoKind::Model.path(&name), "Alice/Tiny");
        assert_eq!(RepoKind::Dataset.path(&name), "datasets/Alice/Tiny");
        for kind in RepoKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(RepoKind::from_segment(kind.segment()), Some(kind));
        }
    }
}
