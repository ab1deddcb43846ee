//! Merging pull requests, without a working copy.
//!
//! A merge is a commit with two parents, the base and the head of the pull request, also where the branch could
//! just be moved forward: so the history shows that there was a request, and its commits keep their ids.

use git2::{ErrorCode, Index, MergeOptions, Oid, Repository};
use spaceport_core::{CommitSha, RepoId, Timestamp};

use crate::commit::{commit_object, message, signature};
use crate::objects::store;
use crate::opened::{failed, oid, sha};
use crate::references::{Target, contend, move_ref};
use crate::revision::commit_of;
use crate::{Author, GitError, Repositories};

const OPERATION: &str = "merge";
/// How many conflicts are named.
const MOST_CONFLICTS: usize = 200;
/// Merge bases of merge bases are merged up to this depth.
const RECURSION: u32 = 8;

/// Whether one commit can be merged into another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mergeability {
    /// Without help.
    Clean,
    /// There is nothing to merge.
    UpToDate,
    /// Both changed the same in these files; at most 200 are named.
    Conflicts(Vec<String>),
}

/// What became of a merge. Nothing has changed unless it is `Merged`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeOutcome {
    /// The base points to it.
    Merged {
        /// The merge commit.
        commit: CommitSha,
        /// Where the base pointed.
        previous: CommitSha,
    },
    /// There is nothing to merge; where the base points.
    UpToDate(CommitSha),
    /// Both changed the same in these files; at most 200 are named.
    Conflicts(Vec<String>),
    /// The base or the head does not exist.
    UnknownRef,
}

impl Repositories {
    /// The newest commit two commits have in common; `None` when they have none.
    ///
    /// # Errors
    /// When the repository cannot be read, or lacks one of them.
    pub async fn merge_base(
        &self,
        repo: RepoId,
        one: &CommitSha,
        other: &CommitSha,
    ) -> Result<Option<CommitSha>, GitError> {
        let (one, other) = (oid(one), oid(other));
        self.reading(repo, move |opened| Ok(merge_base(opened, one, other)?.map(sha))).await
    }

    /// Whether `head` can be merged into `base`.
    ///
    /// # Errors
    /// When the repository cannot be read, or lacks one of them.
    pub async fn mergeability(
        &self,
        repo: RepoId,
        base: &CommitSha,
        head: &CommitSha,
    ) -> Result<Mergeability, GitError> {
        let (base, head) = (oid(base), oid(head));
        self.reading(repo, move |opened| {
            let common = merge_base(opened, base, head)?;
            if common == Some(head) {
                return Ok(Mergeability::UpToDate);
            }
            if common == Some(base) {
                return Ok(Mergeability::Clean);
            }
            let merged = merged(opened, base, head)?;
            if !merged.has_conflicts() {
                return Ok(Mergeability::Clean);
            }
            conflicts(&merged).map(Mergeability::Conflicts).map_err(failed(OPERATION))
        })
        .await
    }

    /// Merges a ref, such as `refs/pr/3`, into a branch. A push that comes in between is merged with as well.
    ///
    /// # Errors
    /// When the repository cannot be read or written.
    pub async fn merge(
        &self,
        repo: RepoId,
        branch: &str,
        head: &str,
        text: &str,
        author: &Author,
        at: Timestamp,
    ) -> Result<MergeOutcome, GitError> {
        let Some(target) = Target::parse(&format!("refs/heads/{branch}")) else { return Ok(MergeOutcome::UnknownRef) };
        let (summary, rest) = text.split_once('\n').unwrap_or((text, ""));
        let (text, author) = (message(summary, rest.trim_start_matches('\n')), signature(author, at));
        let (head, scratch) = (head.to_owned(), self.temporary(repo));
        self.writing(repo, move |opened| {
            contend(|| {
                let (base, head) = (commit_of(opened, target.name())?, commit_of(opened, &head)?);
                let (Some(base), Some(head)) = (base, head) else { return Ok(Some(MergeOutcome::UnknownRef)) };
                let common = merge_base(opened, base, head)?;
                if common == Some(head) {
                    return Ok(Some(MergeOutcome::UpToDate(sha(base))));
                }
                let tree = if common == Some(base) {
                    opened.find_commit(head).map_err(failed(OPERATION))?.tree_id()
                } else {
                    let mut merged = merged(opened, base, head)?;
                    if merged.has_conflicts() {
                        let conflicts = conflicts(&merged).map_err(failed(OPERATION))?;
                        return Ok(Some(MergeOutcome::Conflicts(conflicts)));
                    }
                    merged.write_tree_to(opened).map_err(failed(OPERATION))?
                };
                let commit = commit_object(tree, &[base, head], &author, &author, &text)?;
                let id = commit.oid;
                store(opened, &scratch, vec![commit])?;
                let outcome = MergeOutcome::Merged { commit: sha(id), previous: sha(base) };
                Ok(move_ref(opened, target.name(), id, Some(base))?.then_some(outcome))
            })
        })
        .await
    }
}

fn merge_base(opened: &Repository, one: Oid, other: Oid) -> Result<Option<Oid>, GitError> {
    match opened.merge_base(one, other) {
        Ok(common) => Ok(Some(common)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(failed(OPERATION)(error)),
    }
}

fn merged(opened: &Repository, base: Oid, head: Oid) -> Result<Index, GitError> {
    let merge = || {
        let (base, head) = (opened.find_commit(base)?, opened.find_commit(head)?);
        opened.merge_commits(&base, &head, Some(MergeOptions::new().recursion_limit(RECURSION)))
    };
    merge().map_err(failed(OPERATION))
}

fn conflicts(merged: &Index) -> Result<Vec<String>, git2::Error> {
    let mut paths = Vec::new();
    for conflict in merged.conflicts()? {
        let conflict = conflict?;
        let sides = [conflict.our, conflict.their, conflict.ancestor];
        let path = sides.into_iter().flatten().next().map(|side| String::from_utf8_lossy(&side.path).into_owned());
        paths.extend(path);
    }
    paths.sort();
    paths.dedup();
    paths.truncate(MOST_CONFLICTS);
    Ok(paths)
}
