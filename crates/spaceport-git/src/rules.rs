//! What a commit's `.gitattributes` and `.gitignore` say about files that are to be uploaded.
//!
//! libgit2 has the rules of both: nested attribute files, macros, negation. It reads them from an index, so the
//! attribute files of the commit are put into one in memory.

use std::collections::BTreeSet;
use std::path::Path;

use git2::{AttrCheckFlags, Index, IndexEntry, IndexTime, ObjectType, Repository, Tree};
use spaceport_core::{CommitSha, RepoId};

use crate::opened::{failed, oid, optional};
use crate::revision::tree_of;
use crate::tree::check_path;
use crate::{GitError, Repositories};

const OPERATION: &str = "read the rules of the repository";
/// Larger rule files are taken as empty.
pub(crate) const MAX_RULES: usize = 1 << 20;

/// What the rules say about a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathRules {
    /// `.gitattributes` gives it `filter=lfs`.
    pub lfs: bool,
    /// `.gitignore` excludes it.
    pub ignored: bool,
}

impl Repositories {
    /// What the rules of a commit say about paths, in the given order. `ignore` are more lines of a `.gitignore`,
    /// which come after those of the commit's; only that of its root is read.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn rules(
        &self,
        repo: RepoId,
        commit: Option<&CommitSha>,
        ignore: Option<String>,
        paths: Vec<String>,
    ) -> Result<Vec<PathRules>, GitError> {
        let commit = commit.map(oid);
        self.reading_alone(repo, move |opened| {
            let root = match commit {
                Some(commit) => tree_of(opened, commit)?,
                None => None,
            };
            rules(opened, root.as_ref(), ignore.as_deref().unwrap_or(""), &paths).map_err(failed(OPERATION))
        })
        .await
    }
}

fn rules(
    opened: &Repository,
    root: Option<&Tree<'_>>,
    ignore: &str,
    paths: &[String],
) -> Result<Vec<PathRules>, git2::Error> {
    let mut index = Index::new()?;
    opened.set_index(&mut index)?;
    let mut ignored = String::new();
    if let Some(root) = root {
        index_attributes(opened, root, paths, &mut index)?;
        ignored = text_at(opened, root, ".gitignore")?;
    }
    opened.add_ignore_rule(&format!("{ignored}\n{}\n", ignore.replace('\0', "")))?;
    let flags = AttrCheckFlags::INDEX_ONLY | AttrCheckFlags::NO_SYSTEM;
    let of = |path: &String| {
        if check_path(path).is_err() {
            return Ok(PathRules::default());
        }
        let filter = opened.get_attr_bytes(Path::new(path), "filter", flags)?;
        Ok(PathRules { lfs: filter == Some(b"lfs"), ignored: is_ignored(opened, path)? })
    };
    paths.iter().map(of).collect()
}

/// Whether a path is excluded: itself, or a folder above it, from which no rule can bring it back.
fn is_ignored(opened: &Repository, path: &str) -> Result<bool, git2::Error> {
    for (at, _) in path.match_indices('/') {
        if opened.is_path_ignored(&path[..=at])? {
            return Ok(true);
        }
    }
    opened.is_path_ignored(path)
}

/// Adds the attribute files that matter for some paths.
pub(crate) fn index_attributes(
    opened: &Repository,
    root: &Tree<'_>,
    paths: &[String],
    index: &mut Index,
) -> Result<(), git2::Error> {
    let mut folders: BTreeSet<&str> = BTreeSet::from([""]);
    for path in paths.iter().filter(|path| check_path(path).is_ok()) {
        folders.extend(path.match_indices('/').map(|(at, _)| &path[..=at]));
    }
    for folder in folders {
        let path = format!("{folder}.gitattributes");
        let Some(item) = optional(root.get_path(Path::new(&path)))? else { continue };
        let fits = |size: usize| size <= MAX_RULES;
        if item.kind() != Some(ObjectType::Blob) || !fits(opened.odb()?.read_header(item.id())?.0) {
            continue;
        }
        let zero = IndexTime::new(0, 0);
        index.add(&IndexEntry {
            ctime: zero,
            mtime: zero,
            dev: 0,
            ino: 0,
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            file_size: 0,
            id: item.id(),
            flags: 0,
            flags_extended: 0,
            path: path.into_bytes(),
        })?;
    }
    Ok(())
}

fn text_at(opened: &Repository, root: &Tree<'_>, path: &str) -> Result<String, git2::Error> {
    let Some(item) = optional(root.get_path(Path::new(path)))? else { return Ok(String::new()) };
    let odb = opened.odb()?;
    if item.kind() != Some(ObjectType::Blob) || odb.read_header(item.id())?.0 > MAX_RULES {
        return Ok(String::new());
    }
    // NUL would end the text for libgit2.
    Ok(String::from_utf8_lossy(odb.read(item.id())?.data()).replace('\0', ""))
}
