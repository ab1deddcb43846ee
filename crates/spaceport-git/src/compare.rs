//! What differs between two commits.

use git2::{Delta, Diff, DiffFindOptions, DiffFormat, DiffOptions, ErrorCode, Repository};
use spaceport_core::{CommitSha, RepoId};

use crate::opened::{failed, oid};
use crate::revision::tree_of;
use crate::{GitError, Repositories};

const OPERATION: &str = "compare the commits";
/// Larger files are compared as binary ones: that they differ, and not where.
const MAX_COMPARED: i64 = 2 << 20;
/// Up to so many files are looked at for renames.
const RENAME_LIMIT: usize = 200;
/// How many changed files are named.
const MOST_FILES: usize = 10_000;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeStatus {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// Its content or its mode changed.
    Modified,
    /// It has another path, and about the same content.
    Renamed,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// Its path, for a deleted file the one it had.
    pub path: String,
    /// The path a renamed file had.
    pub old_path: Option<String>,
    /// What happened.
    pub status: ChangeStatus,
}

/// What differs between two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The files, in the order of their paths.
    pub files: Vec<ChangedFile>,
    /// As `git diff` shows it: a unified diff. What is not UTF-8 is shown with replacement characters.
    pub patch: String,
    /// Whether the patch or the list was cut off.
    pub truncated: bool,
}

impl Repositories {
    /// Compares two commits, or a commit with nothing.
    ///
    /// # Errors
    /// When the repository cannot be read, or lacks one of them.
    pub async fn diff(
        &self,
        repo: RepoId,
        old: Option<&CommitSha>,
        new: &CommitSha,
        max_bytes: usize,
    ) -> Result<Comparison, GitError> {
        let (old, new) = (old.map(oid), oid(new));
        self.reading(repo, move |opened| {
            let tree = |commit| {
                let missing =
                    || GitError::Failed { operation: OPERATION, message: format!("there is no commit {commit}") };
                tree_of(opened, commit)?.ok_or_else(missing)
            };
            let (old, new) = (old.map(tree).transpose()?, tree(new)?);
            compare(opened, old.as_ref(), &new, max_bytes).map_err(failed(OPERATION))
        })
        .await
    }
}

fn compare(
    opened: &Repository,
    old: Option<&git2::Tree<'_>>,
    new: &git2::Tree<'_>,
    max_bytes: usize,
) -> Result<Comparison, git2::Error> {
    let mut options = DiffOptions::new();
    options.max_size(MAX_COMPARED).indent_heuristic(true);
    let mut diff = opened.diff_tree_to_tree(old, Some(new), Some(&mut options))?;
    diff.find_similar(Some(DiffFindOptions::new().renames(true).rename_limit(RENAME_LIMIT)))?;
    let mut files: Vec<_> = diff.deltas().take(MOST_FILES + 1).filter_map(|delta| changed(&delta)).collect();
    let all = files.len() <= MOST_FILES;
    files.truncate(MOST_FILES);
    let (patch, whole) = patch(&diff, max_bytes)?;
    Ok(Comparison { files, patch, truncated: !(all && whole) })
}

fn changed(delta: &git2::DiffDelta<'_>) -> Option<ChangedFile> {
    let path = |file: git2::DiffFile<'_>| file.path_bytes().map(|path| String::from_utf8_lossy(path).into_owned());
    let (old, new) = (path(delta.old_file()), path(delta.new_file()));
    let (path, old_path, status) = match delta.status() {
        Delta::Added | Delta::Copied => (new?, None, ChangeStatus::Added),
        Delta::Deleted => (old?, None, ChangeStatus::Deleted),
        Delta::Renamed => (new?, old, ChangeStatus::Renamed),
        _ => (new?, None, ChangeStatus::Modified),
    };
    Some(ChangedFile { path, old_path, status })
}

/// The text, and whether it is all of it.
fn patch(diff: &Diff<'_>, max_bytes: usize) -> Result<(String, bool), git2::Error> {
    let mut text = Vec::new();
    let mut whole = true;
    let printed = diff.print(DiffFormat::Patch, |_, _, line| {
        let mark = Some(line.origin()).filter(|origin| matches!(origin, '+' | '-' | ' '));
        if text.len() + line.content().len() + 1 > max_bytes {
            whole = false;
            return false;
        }
        text.extend(mark.and_then(|mark| u8::try_from(mark).ok()));
        text.extend_from_slice(line.content());
        true
    });
    match printed {
        Err(error) if error.code() == ErrorCode::User && !whole => {}
        other => other?,
    }
    Ok((String::from_utf8_lossy(&text).into_owned(), whole))
}
