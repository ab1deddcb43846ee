//! All files of a commit, as they are put on a disk: with links and the right to be executed.

use git2::{ObjectType, Repository, Tree};
use spaceport_core::{CommitSha, RepoId};

use crate::opened::{failed, oid};
use crate::revision::tree_of;
use crate::{EntryKind, GitError, Repositories, SourceProblem, TreeEntry};

const OPERATION: &str = "list the files";
/// The most files of a commit that are ever listed.
pub const MAX_FILES: usize = 100_000;
/// Deeper folders are not looked into: nothing can be made of such paths.
const MAX_DEPTH: usize = 2048;

impl Repositories {
    /// All files of a commit, links and submodules among them, in the order of their paths.
    ///
    /// # Errors
    /// [`SourceProblem::TooManyFiles`] when there are more than `most` (at most [`MAX_FILES`]).
    pub async fn files(&self, repo: RepoId, sha: &CommitSha, most: usize) -> Result<Vec<TreeEntry>, GitError> {
        let (commit, limit) = (oid(sha), most.min(MAX_FILES));
        self.reading(repo, move |opened| {
            let missing = || GitError::Failed { operation: OPERATION, message: format!("there is no commit {commit}") };
            let root = tree_of(opened, commit)?.ok_or_else(missing)?;
            files(opened, root, limit)
                .map_err(failed(OPERATION))?
                .ok_or_else(|| SourceProblem::TooManyFiles { limit }.into())
        })
        .await
    }
}

/// `None` when there are more than `limit`.
fn files(opened: &Repository, root: Tree<'_>, limit: usize) -> Result<Option<Vec<TreeEntry>>, git2::Error> {
    let odb = opened.odb()?;
    let mut files = Vec::new();
    // Folders without files must end as well: git makes none, but others can.
    let mut looked = 0;
    let mut stack = vec![(root, 0, Vec::new())];
    while let Some((tree, next, prefix)) = stack.last_mut() {
        let Some(item) = tree.get(*next) else {
            stack.pop();
            continue;
        };
        *next += 1;
        let path = [prefix.as_slice(), item.name_bytes()].concat();
        looked += 1;
        if files.len() == limit || looked > 2 * MAX_FILES + limit {
            return Ok(None);
        }
        if item.kind() == Some(ObjectType::Tree) {
            let below = opened.find_tree(item.id())?;
            drop(item);
            if stack.len() < MAX_DEPTH {
                stack.push((below, 0, [path.as_slice(), b"/"].concat()));
            }
            continue;
        }
        let kind = match item.filemode() {
            0o160_000 => EntryKind::Submodule,
            0o120_000 => EntryKind::Link,
            0o100_755 => EntryKind::File { executable: true },
            _ => EntryKind::File { executable: false },
        };
        let bytes = if kind == EntryKind::Submodule { 0 } else { odb.read_header(item.id())?.0 };
        files.push(TreeEntry {
            path: String::from_utf8_lossy(&path).into_owned(),
            kind,
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            oid: item.id().into(),
        });
    }
    Ok(Some(files))
}
