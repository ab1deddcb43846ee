//! The index of repositories: what lists and info need of a commit, kept in the database.

use serde_json::Value;

use spaceport_core::{CommitSha, Repo, card, front_matter};
use spaceport_git::{GitError, Repositories};
use spaceport_store::{Store, StoreError};

/// Longest README that is read for the card, in bytes.
const MAX_README_BYTES: u64 = 1 << 20;

/// What a commit's README says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Card {
    /// The front matter.
    pub card: Option<Value>,
    /// What lists filter by.
    pub tags: Vec<String>,
}

/// Why a commit could not be indexed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The repository.
    #[error("the repository could not be read")]
    Git(#[from] GitError),
    /// The database.
    #[error("the index could not be written")]
    Store(#[from] StoreError),
}

/// Reads the card of a commit. A README that is too large or no front matter is no card.
///
/// # Errors
/// When the repository cannot be read.
pub async fn card(repositories: &Repositories, repo: &Repo, sha: &CommitSha) -> Result<Card, GitError> {
    let readme = match repositories.read_file(repo.id, sha, "README.md", MAX_README_BYTES).await {
        Ok(readme) => readme,
        Err(GitError::FileTooLarge { .. }) => None,
        Err(error) => return Err(error),
    };
    let card = readme.as_deref().and_then(front_matter::card);
    let tags = card::tags(repo.kind, card.as_ref());
    Ok(Card { card, tags })
}

/// Indexes the newest commit of a repository.
///
/// # Errors
/// When the repository or the database fails; the next pass tries again.
pub async fn index(
    store: &Store,
    repositories: &Repositories,
    repo: &Repo,
    head: &CommitSha,
) -> Result<(), IndexError> {
    let Card { card, tags } = card(repositories, repo, head).await?;
    Ok(store.repo_index(repo.id, head, card.as_ref(), &tags).await?)
}

/// Indexes what a crash left out, until nothing is left or nothing helps.
///
/// # Errors
/// When the database fails.
pub async fn catch_up(store: &Store, repositories: &Repositories) -> Result<usize, StoreError> {
    let mut indexed = 0;
    loop {
        let before = indexed;
        for repo in store.repos_unindexed().await? {
            let Some(head) = &repo.head else { continue };
            match index(store, repositories, &repo, head).await {
                Ok(()) => indexed += 1,
                Err(error) => tracing::warn!(repo = %repo.path(), %error, "a repository could not be indexed"),
            }
        }
        if indexed == before {
            return Ok(indexed);
        }
    }
}
