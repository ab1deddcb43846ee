//! Takes large files out of a history: every commit that leads to one of their pointers is made anew without it.
//! Hub: `permanently_delete_lfs_files`.
//!
//! What `git filter-repo --strip-blobs-with-ids` does, in this process: a commit keeps its people, times and
//! message, also when nothing is left of its change, and loses its signature, which would no longer be true. All refs
//! are locked before the first moves, so a push sees either the old history or the new one; one that
//! was faster is rewritten as well.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use git2::{ErrorCode, ObjectType, Oid, Repository, Sort, Tree};
use spaceport_core::{RepoId, Sha256};

use crate::introduced::lfs_files;
use crate::objects::{NewObject, store};
use crate::opened::{failed, sha};
use crate::references::{MAIN, contend, patiently};
use crate::{GitError, RefChange, Repositories};

const OPERATION: &str = "rewrite the history";
/// New objects that are kept in memory before they are stored.
const BATCH: usize = 4096;
/// Headers of a commit that vouch for its old content.
const SIGNATURES: [&[u8]; 3] = [b"gpgsig", b"gpgsig-sha256", b"mergetag"];

impl Repositories {
    /// Takes the pointers to these large files out of every branch, tag and pull request. Gives the refs that moved,
    /// `main` first; none when no commit names the files. All of them move, or none.
    ///
    /// # Errors
    /// When the repository cannot be read or written.
    pub async fn forget_lfs_files(&self, repo: RepoId, files: HashSet<Sha256>) -> Result<Vec<RefChange>, GitError> {
        let scratch = self.temporary(repo);
        self.writing(repo, move |opened| {
            let mut rewrite = Rewrite {
                opened,
                scratch: &scratch,
                gone: HashSet::new(),
                made: HashMap::new(),
                trees: HashMap::new(),
                new: Vec::new(),
            };
            contend(|| {
                let refs = refs(opened).map_err(failed(OPERATION))?;
                rewrite.look_for(&files, &refs)?;
                let moved = rewrite.refs(&refs)?;
                Ok(move_all(opened, &moved)?.then(|| changes(&moved)))
            })
        })
        .await
    }
}

/// A ref: its name, the object it names, and the commit that leads to.
#[derive(Debug, Clone)]
struct Seen {
    name: String,
    target: Oid,
    commit: Oid,
}

/// A ref that moves: to which object, and to which commit.
struct Moved<'a> {
    seen: &'a Seen,
    target: Oid,
    commit: Oid,
}

/// Those that users see. The platform's own hold nothing that a user committed.
fn refs(opened: &Repository) -> Result<Vec<Seen>, git2::Error> {
    let mut seen = Vec::new();
    for reference in opened.references()? {
        let reference = reference?;
        let (Ok(name), Some(target)) = (reference.name(), reference.target()) else { continue };
        let kept = ["refs/heads/", "refs/tags/", "refs/pr/"].iter().any(|prefix| name.starts_with(prefix));
        if let Some(commit) = kept.then(|| reference.peel_to_commit().ok()).flatten() {
            seen.push(Seen { name: name.to_owned(), target, commit: commit.id() });
        }
    }
    Ok(seen)
}

fn changes(moved: &[Moved<'_>]) -> Vec<RefChange> {
    let change = |Moved { seen, commit, .. }: &Moved<'_>| RefChange {
        name: seen.name.clone(),
        old: Some(sha(seen.commit)),
        new: Some(sha(*commit)),
    };
    let mut changes: Vec<_> = moved.iter().map(change).collect();
    changes.sort_by_key(|change| change.name != MAIN);
    changes
}

/// Moves refs from where they were seen; `false`, and none moves, when somebody else was faster.
fn move_all(opened: &Repository, moved: &[Moved<'_>]) -> Result<bool, GitError> {
    let moved = patiently(|| {
        let mut transaction = opened.transaction()?;
        for Moved { seen, .. } in moved {
            transaction.lock_ref(&seen.name)?;
        }
        for Moved { seen, target, .. } in moved {
            // Nobody can move it any more, but somebody may have.
            if opened.refname_to_id(&seen.name)? != seen.target {
                return Ok(false);
            }
            transaction.set_target(&seen.name, *target, None, "")?;
        }
        transaction.commit()?;
        Ok(true)
    });
    match moved {
        Ok(done) => Ok(done),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(failed(OPERATION)(error)),
    }
}

/// What has been made anew. It outlives an attempt: the next one rewrites only what came meanwhile.
struct Rewrite<'r> {
    opened: &'r Repository,
    scratch: &'r Path,
    /// Pointers that vanish.
    gone: HashSet<Oid>,
    /// Commits and what they become.
    made: HashMap<Oid, Oid>,
    /// Folders and what they become; `None` when nothing is left.
    trees: HashMap<Oid, Option<Oid>>,
    new: Vec<NewObject>,
}

impl Rewrite<'_> {
    /// Finds the pointers. Others than those known already make what was rewritten worthless.
    fn look_for(&mut self, files: &HashSet<Sha256>, refs: &[Seen]) -> Result<(), GitError> {
        let tips: Vec<_> = refs.iter().map(|seen| seen.commit).collect();
        let found = lfs_files(self.opened, &tips, &[]).map_err(failed(OPERATION))?;
        let named = found.into_iter().filter(|file| file.object.sha256.parse().is_ok_and(|name| files.contains(&name)));
        let before = self.gone.len();
        self.gone.extend(named.map(|file| Oid::from(file.pointer)));
        if self.gone.len() != before {
            self.made.clear();
            self.trees.clear();
        }
        Ok(())
    }

    /// Makes what the refs lead to anew, and stores it.
    fn refs<'a>(&mut self, refs: &'a [Seen]) -> Result<Vec<Moved<'a>>, GitError> {
        if self.gone.is_empty() {
            return Ok(Vec::new());
        }
        let tips: Vec<_> = refs.iter().map(|seen| seen.commit).collect();
        self.commits(&tips)?;
        let mut moved = Vec::new();
        for seen in refs {
            let commit = self.made.get(&seen.commit).copied().unwrap_or(seen.commit);
            if commit != seen.commit {
                let target = if seen.target == seen.commit { commit } else { self.tag(seen.target)? };
                moved.push(Moved { seen, target, commit });
            }
        }
        self.flush()?;
        Ok(moved)
    }

    fn commits(&mut self, tips: &[Oid]) -> Result<(), GitError> {
        let failed = failed(OPERATION);
        let mut walk = self.opened.revwalk().map_err(failed)?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE).map_err(failed)?;
        for tip in tips {
            walk.push(*tip).map_err(failed)?;
        }
        for commit in walk {
            let commit = commit.map_err(failed)?;
            if !self.made.contains_key(&commit) {
                let new = self.commit(commit)?;
                self.made.insert(commit, new);
            }
            if self.new.len() >= BATCH {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Gives what a commit becomes. Its parents have been made.
    fn commit(&mut self, id: Oid) -> Result<Oid, GitError> {
        let failed = failed(OPERATION);
        let commit = self.opened.find_commit(id).map_err(failed)?;
        let tree = match self.tree(commit.tree_id()).map_err(failed)? {
            Some(tree) => tree,
            None => self.keep(ObjectType::Tree, Vec::new()).map_err(failed)?,
        };
        let parents = || commit.parent_ids().map(|parent| self.made.get(&parent).copied().unwrap_or(parent));
        if tree == commit.tree_id() && parents().eq(commit.parent_ids()) {
            return Ok(id);
        }
        let mut text = format!("tree {tree}\n").into_bytes();
        text.extend(parents().flat_map(|parent| format!("parent {parent}\n").into_bytes()));
        let odb = self.opened.odb().map_err(failed)?;
        text.extend(rest_of(odb.read(id).map_err(failed)?.data()));
        self.keep(ObjectType::Commit, text).map_err(failed)
    }

    /// Gives what a tag becomes that says who made it, or a tag of a tag.
    fn tag(&mut self, id: Oid) -> Result<Oid, GitError> {
        let failed = failed(OPERATION);
        let Ok(tag) = self.opened.find_tag(id) else { return Ok(self.made.get(&id).copied().unwrap_or(id)) };
        let inner = self.tag(tag.target_id())?;
        if inner == tag.target_id() {
            return Ok(id);
        }
        let odb = self.opened.odb().map_err(failed)?;
        let read = odb.read(id).map_err(failed)?;
        let end = read.data().iter().position(|byte| *byte == b'\n').unwrap_or_default();
        let text = [format!("object {inner}").as_bytes(), unsigned(&read.data()[end..])].concat();
        self.keep(ObjectType::Tag, text).map_err(failed)
    }

    /// Gives what a folder becomes. A folder is made after those in it, without recursion: a push may nest deeply.
    fn tree(&mut self, root: Oid) -> Result<Option<Oid>, git2::Error> {
        let mut open = vec![root];
        while let Some(id) = open.last().copied() {
            if !self.trees.contains_key(&id) {
                let tree = self.opened.find_tree(id)?;
                let folders = tree.iter().filter(|item| item.kind() == Some(ObjectType::Tree)).map(|item| item.id());
                let before = open.len();
                open.extend(folders.filter(|folder| !self.trees.contains_key(folder)));
                if open.len() > before {
                    continue;
                }
                let new = self.folder(&tree)?;
                self.trees.insert(id, new);
            }
            open.pop();
        }
        Ok(self.trees.get(&root).copied().flatten())
    }

    fn folder(&mut self, tree: &Tree<'_>) -> Result<Option<Oid>, git2::Error> {
        let (mut changed, mut text) = (false, Vec::new());
        for item in tree {
            let id = match item.kind() {
                Some(ObjectType::Tree) => self.trees.get(&item.id()).copied().unwrap_or(Some(item.id())),
                _ => (!self.gone.contains(&item.id())).then(|| item.id()),
            };
            changed |= id != Some(item.id());
            if let Some(id) = id {
                text.extend(format!("{:o} ", item.filemode_raw()).into_bytes());
                text.extend_from_slice(item.name_bytes());
                text.push(0);
                text.extend_from_slice(id.as_bytes());
            }
        }
        match (changed, text.is_empty()) {
            (false, _) => Ok(Some(tree.id())),
            (true, true) => Ok(None),
            (true, false) => self.keep(ObjectType::Tree, text).map(Some),
        }
    }

    fn keep(&mut self, kind: ObjectType, text: Vec<u8>) -> Result<Oid, git2::Error> {
        let object = NewObject::of(kind, text.into())?;
        let id = object.oid;
        self.new.push(object);
        Ok(id)
    }

    fn flush(&mut self) -> Result<(), GitError> {
        store(self.opened, self.scratch, std::mem::take(&mut self.new))
    }
}

/// A commit behind its tree and parents, without signatures.
fn rest_of(commit: &[u8]) -> Vec<u8> {
    let end = commit.windows(2).position(|pair| pair == b"\n\n").map_or(commit.len(), |at| at + 1);
    let (head, message) = commit.split_at(end);
    let mut rest = Vec::with_capacity(commit.len());
    let mut kept = true;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        // A line that begins with a space goes on with the header before it.
        if !line.starts_with(b" ") {
            let key = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            kept = !matches!(key, b"tree" | b"parent") && !SIGNATURES.contains(&key);
        }
        if kept {
            rest.extend_from_slice(line);
        }
    }
    rest.extend_from_slice(message);
    rest
}

/// A tag without the signature at its end.
fn unsigned(tag: &[u8]) -> &[u8] {
    const BEGIN: &[u8] = b"\n-----BEGIN ";
    let at = tag.windows(BEGIN.len()).position(|window| window == BEGIN);
    at.map_or(tag, |at| &tag[..=at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_go_and_the_rest_stays_as_it_is() {
        let commit = b"tree 1\nparent 2\nparent 3\nauthor a <a> 1 +0000\ncommitter b <b> 2 +0100\ngpgsig -----BEGIN\n x\n -----END\nencoding latin1\n\nTitle\n\ntree house\n";
        let rest = b"author a <a> 1 +0000\ncommitter b <b> 2 +0100\nencoding latin1\n\nTitle\n\ntree house\n";
        assert_eq!(rest_of(commit), rest);
        let tag = b"\ntype commit\n\nText\n-----BEGIN PGP SIGNATURE-----\nx\n";
        assert_eq!(unsigned(tag), b"\ntype commit\n\nText\n");
        assert_eq!(unsigned(b"\ntype commit\n\nText\n"), b"\ntype commit\n\nText\n");
    }
}
