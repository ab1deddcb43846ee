//! What commits brought: every content they have at a path where their parents had another.
//!
//! Walking only what changed makes the cost that of the changes and not that of the files.

use std::collections::{HashMap, HashSet};

use git2::{ObjectType, Oid, Repository, Tree};
use spaceport_core::{CommitSha, RepoId};

use crate::lfs::look;
use crate::opened::{ObjectId, failed, oid};
use crate::{GitError, LfsObject, Repositories};

const OPERATION: &str = "look through the commits";

/// A file of some commit whose content is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LfsFile {
    /// What it points to.
    pub object: LfsObject,
    /// The id of the pointer.
    pub pointer: ObjectId,
    /// A path it has in one of the commits.
    pub path: String,
}

impl Repositories {
    /// The LFS files of `new` and what leads to it that `old` does not lead to: what a push brought. Without
    /// `old`, of the whole history. Each pointer once.
    ///
    /// # Errors
    /// When the repository cannot be read, or lacks one of the commits.
    pub async fn lfs_files_between(
        &self,
        repo: RepoId,
        old: Option<&CommitSha>,
        new: &CommitSha,
    ) -> Result<Vec<LfsFile>, GitError> {
        let (old, new) = (old.map(oid), oid(new));
        self.reading(repo, move |opened| lfs_files(opened, &[new], old.as_slice()).map_err(failed(OPERATION))).await
    }

    /// The LFS files of every commit that any ref leads to, also those of pull requests and of the platform's own
    /// refs. Each pointer once. Takes as long as reading the history does. What is committed or pushed meanwhile may
    /// be missing: whoever deletes large files that are not in it must spare young ones.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn all_lfs_files(&self, repo: RepoId) -> Result<Vec<LfsFile>, GitError> {
        // Twice: a ref that git packs while refs are listed is seen neither as a file nor in the pack.
        let before = self.reading(repo, |opened| tips(opened).map_err(failed(OPERATION))).await?;
        self.reading(repo, move |opened| {
            let all = || lfs_files(opened, &[tips(opened)?, before].concat(), &[]);
            all().map_err(failed(OPERATION))
        })
        .await
    }
}

/// The commits that refs lead to.
pub(crate) fn tips(opened: &Repository) -> Result<Vec<Oid>, git2::Error> {
    let mut tips = Vec::new();
    for reference in opened.references()? {
        tips.extend(reference?.peel_to_commit().ok().map(|commit| commit.id()));
    }
    tips.sort_unstable();
    tips.dedup();
    Ok(tips)
}

pub(crate) fn lfs_files(opened: &Repository, new: &[Oid], known: &[Oid]) -> Result<Vec<LfsFile>, git2::Error> {
    let odb = opened.odb()?;
    let mut files = Vec::new();
    introduced(opened, new, known, |blob, path| {
        if let (_, Some(object)) = look(&odb, blob)? {
            files.push(LfsFile { object, pointer: blob.into(), path: path() });
        }
        Ok(())
    })?;
    Ok(files)
}

/// A folder of a commit beside the same folder of its parents.
struct Folder {
    tree: Oid,
    parents: Vec<Oid>,
    prefix: Vec<u8>,
}

/// Calls `visit` with every content, and a path of it, that the commits of `new` brought and that `known` do not
/// lead to. Each content once; some of them may be known from elsewhere.
pub(crate) fn introduced(
    opened: &Repository,
    new: &[Oid],
    known: &[Oid],
    mut visit: impl FnMut(Oid, &dyn Fn() -> String) -> Result<(), git2::Error>,
) -> Result<(), git2::Error> {
    let mut walk = opened.revwalk()?;
    for commit in new {
        walk.push(*commit)?;
    }
    for commit in known {
        walk.hide(*commit)?;
    }
    let (mut seen, mut compared) = (HashSet::new(), HashSet::new());
    for commit in walk {
        let commit = opened.find_commit(commit?)?;
        let parents = commit.parents().map(|parent| parent.tree_id()).collect();
        let mut folders = vec![Folder { tree: commit.tree_id(), parents, prefix: Vec::new() }];
        while let Some(Folder { tree, parents, prefix }) = folders.pop() {
            if parents.contains(&tree) {
                continue;
            }
            let tree = opened.find_tree(tree)?;
            let before = parents.iter().map(|parent| opened.find_tree(*parent)).collect::<Result<Vec<_>, _>>()?;
            for item in &tree {
                let name = item.name_bytes();
                let same_name = |parent: &Tree<'_>| parent.get_name_bytes(name).map(|item| (item.kind(), item.id()));
                let before: Vec<_> = before.iter().filter_map(same_name).collect();
                if before.iter().any(|(_, id)| *id == item.id()) {
                    continue;
                }
                match item.kind() {
                    Some(ObjectType::Blob) if seen.insert(item.id()) => {
                        let path = || String::from_utf8_lossy(&[prefix.as_slice(), name].concat()).into_owned();
                        visit(item.id(), &path)?;
                    }
                    Some(ObjectType::Tree) => {
                        let is_folder = |(kind, _): &&(Option<ObjectType>, Oid)| *kind == Some(ObjectType::Tree);
                        let parents: Vec<_> = before.iter().filter(is_folder).map(|(_, id)| *id).collect();
                        // The same comparison once, wherever it occurs: a tree may hold itself many times over.
                        if compared.insert((item.id(), parents.clone())) {
                            let prefix = [prefix.as_slice(), name, b"/"].concat();
                            folders.push(Folder { tree: item.id(), parents, prefix });
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// Whether a commit of `new`, or one that leads to it and not to `known`, has more than `most` files. A few small
/// trees can hold each other so often that listing them would never end.
pub(crate) fn too_many_files(opened: &Repository, new: &[Oid], known: &[Oid], most: u64) -> Result<bool, git2::Error> {
    let mut walk = opened.revwalk()?;
    for commit in new {
        walk.push(*commit)?;
    }
    for commit in known {
        walk.hide(*commit)?;
    }
    let mut counted: HashMap<Oid, u64> = HashMap::new();
    for commit in walk {
        let root = opened.find_commit(commit?)?.tree_id();
        // Each tree is opened to count what is below it, and again when that is known.
        let mut open = vec![root];
        while let Some(id) = open.last().copied() {
            if counted.contains_key(&id) {
                open.pop();
                continue;
            }
            let tree = opened.find_tree(id)?;
            let folders = || tree.iter().filter(|item| item.kind() == Some(ObjectType::Tree)).map(|item| item.id());
            let missing: Vec<_> = folders().filter(|folder| !counted.contains_key(folder)).collect();
            if !missing.is_empty() {
                open.extend(missing);
                continue;
            }
            let below =
                folders().filter_map(|folder| counted.get(&folder)).fold(0_u64, |sum, n| sum.saturating_add(*n));
            let own = u64::try_from(tree.len()).unwrap_or(u64::MAX);
            let count = own.saturating_add(below);
            if count > most {
                return Ok(true);
            }
            counted.insert(id, count);
            open.pop();
        }
    }
    Ok(false)
}
