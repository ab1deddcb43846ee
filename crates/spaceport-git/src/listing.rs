//! The files and folders of a commit as the Hub lists them.

use std::path::Path;

use git2::{ObjectType, Odb, Oid, Repository, Tree};
use spaceport_core::{CommitSha, RepoId};

use crate::lfs::look;
use crate::opened::{ObjectId, failed, oid, optional};
use crate::revision::{resolve, tree_of};
use crate::tree::check_path;
use crate::{GitError, LfsObject, Repositories, Revision};

const OPERATION: &str = "list the files";
/// Longer paths are not listed: no file system takes them, and they bound the depth.
const MAX_PATH: usize = 4096;
/// The mode of a submodule. git: `Documentation/gitformat-index`.
const SUBMODULE: i32 = 0o160_000;

/// A file or a folder of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From the root, with `/` between the parts.
    pub path: String,
    /// What it is.
    pub kind: NodeKind,
    /// The id of the content or of the folder. Of an LFS file: that of its pointer.
    pub oid: ObjectId,
    /// Bytes of the content, for an LFS file of what it points to; 0 for folders.
    pub size: u64,
    /// For an LFS file.
    pub lfs: Option<LfsPointer>,
}

/// What an entry of a listing is. A symbolic link is a file, whose content is its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A file or a link.
    File,
    /// A folder.
    Directory,
}

/// What an LFS file points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LfsPointer {
    /// The content.
    pub object: LfsObject,
    /// Bytes of the pointer itself.
    pub pointer_size: u64,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the order of git: by name, a folder as if its name ended in `/`, and what is in it behind it.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<String>,
}

/// Which part of a commit is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The folder; empty for the root.
    pub folder: String,
    /// Whether folders are descended into.
    pub recursive: bool,
    /// The [`Page::next`] of the page before.
    pub after: Option<String>,
    /// The most entries of a page.
    pub limit: usize,
    /// Whether folders are left out; then a page has the most files, and begins anew at a file.
    pub only_files: bool,
}

/// A path at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the revision means.
    pub revision: Revision,
    /// What is there; `None` when there is nothing.
    pub entry: Option<Entry>,
}

impl Repositories {
    /// One page of the files and folders of a commit; `None` when there is no such folder. Submodules and names
    /// that are not UTF-8 are left out: nothing of them can be asked for.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn list(&self, repo: RepoId, commit: &CommitSha, listing: Listing) -> Result<Option<Page>, GitError> {
        let commit = oid(commit);
        self.reading(repo, move |opened| {
            let Some(root) = tree_of(opened, commit)? else { return Ok(None) };
            let Some(folder) = subfolder(opened, root, &listing.folder)? else { return Ok(None) };
            page(opened, folder, &listing).map(Some).map_err(failed(OPERATION))
        })
        .await
    }

    /// The entries at some paths of a commit, in the given order. What is not there is left out.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn entries(&self, repo: RepoId, commit: &CommitSha, paths: Vec<String>) -> Result<Vec<Entry>, GitError> {
        let commit = oid(commit);
        self.reading(repo, move |opened| {
            let Some(root) = tree_of(opened, commit)? else { return Ok(Vec::new()) };
            let found = paths.iter().map(|path| entry_at(opened, &root, path));
            found.filter_map(Result::transpose).collect()
        })
        .await
    }

    /// What a revision means and what is at a path of it, in one step; `None` when the revision is unknown.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn find(&self, repo: RepoId, revision: &str, path: &str) -> Result<Option<Found>, GitError> {
        let (revision, path) = (revision.to_owned(), path.to_owned());
        self.reading(repo, move |opened| {
            let Some(revision) = resolve(opened, &revision)? else { return Ok(None) };
            let Some(root) = tree_of(opened, oid(&revision.commit))? else { return Ok(None) };
            let entry = entry_at(opened, &root, &path)?;
            Ok(Some(Found { revision, entry }))
        })
        .await
    }
}

/// The folder at a path; the root for the empty path.
fn subfolder<'r>(opened: &'r Repository, root: Tree<'r>, path: &str) -> Result<Option<Tree<'r>>, GitError> {
    if path.is_empty() {
        return Ok(Some(root));
    }
    if check_path(path).is_err() {
        return Ok(None);
    }
    match optional(root.get_path(Path::new(path))).map_err(failed(OPERATION))? {
        Some(entry) if entry.kind() == Some(ObjectType::Tree) => {
            opened.find_tree(entry.id()).map(Some).map_err(failed(OPERATION))
        }
        _ => Ok(None),
    }
}

/// The entry at a path below `root`.
pub(crate) fn entry_at(opened: &Repository, root: &Tree<'_>, path: &str) -> Result<Option<Entry>, GitError> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if check_path(path).is_err() {
        return Ok(None);
    }
    let found = optional(root.get_path(Path::new(path))).map_err(failed(OPERATION))?;
    let Some(found) = found.filter(|found| found.filemode_raw() != SUBMODULE) else { return Ok(None) };
    let odb = opened.odb().map_err(failed(OPERATION))?;
    entry(&odb, path.to_owned(), found.id(), found.kind() == Some(ObjectType::Tree))
        .map(Some)
        .map_err(failed(OPERATION))
}

fn entry(odb: &Odb<'_>, path: String, id: Oid, folder: bool) -> Result<Entry, git2::Error> {
    let oid = id.into();
    if folder {
        return Ok(Entry { path, kind: NodeKind::Directory, oid, size: 0, lfs: None });
    }
    let (bytes, object) = look(odb, id)?;
    let size = object.as_ref().map_or(bytes, |object| object.size);
    let lfs = object.map(|object| LfsPointer { object, pointer_size: bytes });
    Ok(Entry { path, kind: NodeKind::File, oid, size, lfs })
}

/// A folder that is being listed.
struct Level<'r> {
    tree: Tree<'r>,
    next: usize,
    /// Its path and a `/`; empty for the root.
    prefix: String,
}

fn page(opened: &Repository, folder: Tree<'_>, listing: &Listing) -> Result<Page, git2::Error> {
    let Listing { folder: path, recursive, after, limit, only_files } = listing;
    let odb = opened.odb()?;
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let mut stack = vec![Level { tree: folder, next: 0, prefix }];
    if let Some(after) = after {
        skip(opened, &mut stack, after, *recursive)?;
    }
    let mut entries = Vec::new();
    while let Some(level) = stack.last_mut() {
        let Some(item) = level.tree.get(level.next) else {
            stack.pop();
            continue;
        };
        let Some(path) = listed(&item, &level.prefix) else {
            level.next += 1;
            continue;
        };
        let is_folder = item.kind() == Some(ObjectType::Tree);
        let left_out = is_folder && *only_files;
        if entries.len() == *limit && !left_out {
            let next = entries.last().map(|last: &Entry| last.path.clone());
            return Ok(Page { entries, next });
        }
        let below = if is_folder && *recursive {
            Some(Level { tree: opened.find_tree(item.id())?, next: 0, prefix: format!("{path}/") })
        } else {
            None
        };
        if !left_out {
            entries.push(entry(&odb, path, item.id(), is_folder)?);
        }
        drop(item);
        level.next += 1;
        stack.extend(below);
    }
    Ok(Page { entries, next: None })
}

/// The path of an item, if it is one that is listed.
fn listed(item: &git2::TreeEntry<'_>, prefix: &str) -> Option<String> {
    let name = item.name().ok()?;
    let fits = item.filemode_raw() != SUBMODULE && prefix.len() + name.len() <= MAX_PATH;
    fits.then(|| format!("{prefix}{name}"))
}

/// Moves behind an entry that was listed before.
fn skip<'r>(
    opened: &'r Repository,
    stack: &mut Vec<Level<'r>>,
    after: &str,
    recursive: bool,
) -> Result<(), git2::Error> {
    let mut rest = match stack.last() {
        Some(level) => after.strip_prefix(level.prefix.as_str()).unwrap_or(after),
        None => return Ok(()),
    };
    while let Some(level) = stack.last_mut() {
        let (name, deeper) = rest.split_once('/').map_or((rest, None), |(name, deeper)| (name, Some(deeper)));
        let Some(at) = level.tree.iter().position(|item| item.name_bytes() == name.as_bytes()) else {
            // A cursor of another commit: what sorts behind it.
            level.next = level.tree.iter().take_while(|item| item.name_bytes() <= name.as_bytes()).count();
            return Ok(());
        };
        level.next = at + 1;
        let folder = level.tree.get(at).filter(|item| item.kind() == Some(ObjectType::Tree)).map(|item| item.id());
        let Some(folder) = folder.filter(|_| recursive) else { return Ok(()) };
        let prefix = format!("{}{name}/", level.prefix);
        // What is in a folder comes behind the folder.
        stack.push(Level { tree: opened.find_tree(folder)?, next: 0, prefix });
        let Some(deeper) = deeper else { return Ok(()) };
        rest = deeper;
    }
    Ok(())
}
