//! Commits made by the platform: the Hub's `POST …/commit/{rev}`.
//!
//! In this process and not through a git command, since that would cost several processes per commit. All or
//! nothing: objects first, then one compare-and-set of the ref. A push that comes in between is never
//! overwritten; the commit is made anew on top of it.

use std::collections::HashMap;

use git2::{ObjectType, Oid, Repository};
use spaceport_core::{CommitSha, RepoId, Timestamp};

use crate::import::identity;
use crate::objects::{FileContent, NewObject, store};
use crate::opened::{blocking, failed, oid, sha};
use crate::overlay::{Clash, Overlay};
use crate::references::{Target, contend, move_ref};
use crate::revision::{commit_of, tree_of};
use crate::tree::check_new_path;
use crate::{Author, GitError, LfsObject, Repositories};

const OPERATION: &str = "make the commit";

/// A commit to be made.
#[derive(Debug, Clone)]
pub struct CommitSpec {
    /// Who wrote it.
    pub author: Author,
    /// Who makes it; mostly the same.
    pub committer: Author,
    /// When.
    pub at: Timestamp,
    /// The first line of its message.
    pub summary: String,
    /// The rest of its message; may be empty.
    pub description: String,
    /// The commit the ref must point to, if the caller insists.
    pub parent: Option<CommitSha>,
    /// What it changes, in this order.
    pub operations: Vec<Operation>,
}

/// One change. Paths are relative to the root, with `/` between the parts.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Adds or replaces a file.
    Put {
        /// Where.
        path: String,
        /// What.
        content: FileContent,
    },
    /// Adds or replaces a file whose content is kept elsewhere: its pointer is written.
    PutLfs {
        /// Where.
        path: String,
        /// What it points to.
        object: LfsObject,
    },
    /// Removes a file; also a folder. Hub: the same.
    DeleteFile {
        /// Which.
        path: String,
    },
    /// Removes a folder with all that is in it. A `/` at the end does no harm.
    DeleteFolder {
        /// Which.
        path: String,
    },
}

/// What became of a commit. Nothing has changed unless it is `Committed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The ref points to it.
    Committed {
        /// The new commit.
        commit: CommitSha,
        /// The one before; `None` when it is the first.
        previous: Option<CommitSha>,
    },
    /// The files are like this already; where the ref points to.
    Unchanged(Option<CommitSha>),
    /// The ref does not point to the given parent; where it does.
    ParentMoved(Option<CommitSha>),
    /// There is no such ref.
    UnknownRef,
    /// A path that is to be deleted is not there.
    MissingPath(String),
    /// A path that cannot be in a commit.
    InvalidPath {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A path whose place is taken, by a file where it needs a folder or by a folder.
    Clash {
        /// The path.
        path: String,
        /// What is in its way.
        with: String,
    },
    /// A file that is too large for git.
    TooLarge {
        /// The file.
        path: String,
        /// Its size.
        bytes: u64,
        /// The most that is allowed.
        limit: u64,
    },
    /// A digest that is none.
    InvalidLfsObject {
        /// The file.
        path: String,
    },
}

/// An operation whose content has an id.
enum Step {
    Put { path: String, oid: Oid },
    Remove { path: String, only_folder: bool },
}

struct Prepared {
    steps: Vec<Step>,
    blobs: HashMap<Oid, NewObject>,
}

impl Repositories {
    /// Makes a commit on a ref: `refs/heads/…` or `refs/pr/…`. In a repository without commits it is the first
    /// of `refs/heads/main`. Commits of one repository are made one after the other, without losing any.
    ///
    /// # Errors
    /// When the repository cannot be read or written.
    pub async fn commit(&self, repo: RepoId, reference: &str, mut spec: CommitSpec) -> Result<CommitOutcome, GitError> {
        let Some(target) = Target::parse(reference) else { return Ok(CommitOutcome::UnknownRef) };
        let (operations, limit) = (std::mem::take(&mut spec.operations), self.limits.max_file_bytes);
        // Outside of the repository's turn: it reads every uploaded byte.
        let prepared = match blocking(move || prepare(operations, limit)).await? {
            Ok(prepared) => prepared,
            Err(outcome) => return Ok(outcome),
        };
        let scratch = self.temporary(repo);
        self.writing(repo, move |opened| commit(opened, &target, &spec, prepared, &scratch)).await
    }
}

fn prepare(operations: Vec<Operation>, limit: u64) -> Result<Result<Prepared, CommitOutcome>, GitError> {
    let mut prepared = Prepared { steps: Vec::with_capacity(operations.len()), blobs: HashMap::new() };
    for operation in operations {
        let (path, content, only_folder) = match operation {
            Operation::Put { path, content } => (path, Some(content), false),
            Operation::PutLfs { path, object } if object.is_valid() => {
                (path, Some(FileContent::Bytes(object.pointer().into())), false)
            }
            Operation::PutLfs { path, .. } => return Ok(Err(CommitOutcome::InvalidLfsObject { path })),
            Operation::DeleteFile { path } => (path, None, false),
            Operation::DeleteFolder { path } => (path, None, true),
        };
        let path = match (path.strip_suffix('/'), &content) {
            (Some(folder), None) => folder.to_owned(),
            _ => path,
        };
        if let Err(why) = check_new_path(&path) {
            return Ok(Err(CommitOutcome::InvalidPath { path: path.chars().take(200).collect(), why }));
        }
        let Some(content) = content else {
            prepared.steps.push(Step::Remove { path, only_folder });
            continue;
        };
        let blob = NewObject::blob(content)?;
        if blob.size() > limit {
            return Ok(Err(CommitOutcome::TooLarge { path, bytes: blob.size(), limit }));
        }
        prepared.steps.push(Step::Put { path, oid: blob.oid });
        prepared.blobs.insert(blob.oid, blob);
    }
    Ok(Ok(prepared))
}

fn commit(
    opened: &Repository,
    target: &Target,
    spec: &CommitSpec,
    prepared: Prepared,
    scratch: &std::path::Path,
) -> Result<CommitOutcome, GitError> {
    let Prepared { steps, mut blobs } = prepared;
    contend(|| {
        let head = commit_of(opened, target.name())?;
        if spec.parent.is_some() && spec.parent.as_ref().map(oid) != head {
            return Ok(Some(CommitOutcome::ParentMoved(head.map(sha))));
        }
        if head.is_none() && !target.may_begin() {
            return Ok(Some(CommitOutcome::UnknownRef));
        }
        let before = match head {
            Some(head) => tree_of(opened, head)?.map(|tree| tree.id()),
            None => None,
        };
        let mut overlay = Overlay::new(opened, before);
        let mut needed = Vec::new();
        for step in &steps {
            if let Err(outcome) = apply(&mut overlay, step, &mut needed).map_err(failed(OPERATION))? {
                return Ok(Some(outcome));
            }
        }
        let (tree, mut objects) = overlay.finish().map_err(failed(OPERATION))?;
        if before == Some(tree) || (head.is_none() && steps.is_empty()) {
            return Ok(Some(CommitOutcome::Unchanged(head.map(sha))));
        }
        let new = new_commit(tree, head.as_slice(), spec)?;
        let id = new.oid;
        objects.extend(needed.into_iter().filter_map(|oid| blobs.remove(&oid)));
        objects.push(new);
        store(opened, scratch, objects)?;
        let outcome = CommitOutcome::Committed { commit: sha(id), previous: head.map(sha) };
        Ok(move_ref(opened, target.name(), id, head)?.then_some(outcome))
    })
}

fn apply(
    overlay: &mut Overlay<'_>,
    step: &Step,
    needed: &mut Vec<Oid>,
) -> Result<Result<(), CommitOutcome>, git2::Error> {
    match step {
        Step::Put { path, oid } => match overlay.put(path, *oid)? {
            Ok(new) => needed.extend(new.then_some(*oid)),
            Err(Clash::File(with)) => return Ok(Err(CommitOutcome::Clash { path: path.clone(), with })),
            Err(Clash::Folder) => return Ok(Err(CommitOutcome::Clash { path: path.clone(), with: path.clone() })),
        },
        Step::Remove { path, only_folder } => {
            if !overlay.remove(path, *only_folder)? {
                return Ok(Err(CommitOutcome::MissingPath(path.clone())));
            }
        }
    }
    Ok(Ok(()))
}

fn new_commit(tree: Oid, parents: &[Oid], spec: &CommitSpec) -> Result<NewObject, GitError> {
    let CommitSpec { author, committer, at, summary, description, .. } = spec;
    commit_object(tree, parents, &signature(author, *at), &signature(committer, *at), &message(summary, description))
}

/// A commit as git stores it: headers, an empty line, the message. git: `git cat-file commit` shows it.
pub(crate) fn commit_object(
    tree: Oid,
    parents: &[Oid],
    author: &str,
    committer: &str,
    message: &str,
) -> Result<NewObject, GitError> {
    let parents: String = parents.iter().map(|parent| format!("parent {parent}\n")).collect();
    let text = format!("tree {tree}\n{parents}author {author}\ncommitter {committer}\n\n{message}");
    NewObject::of(ObjectType::Commit, text.into()).map_err(failed(OPERATION))
}

/// A person and a time, as they stand in a commit.
pub(crate) fn signature(author: &Author, at: Timestamp) -> String {
    // git knows no time before 1970.
    let seconds = at.as_millis().div_euclid(1000).max(0);
    format!("{} <{}> {seconds} +0000", identity(&author.name), identity(&author.email))
}

/// A title and the rest, as git likes them: without control characters that git objects to, ending in a line.
pub(crate) fn message(summary: &str, description: &str) -> String {
    let plain = |text: &str| text.replace("\r\n", "\n").replace('\0', "");
    let (summary, description) = (plain(summary), plain(description));
    let (summary, description) = (summary.trim(), description.trim_end());
    if description.is_empty() { format!("{summary}\n") } else { format!("{summary}\n\n{description}\n") }
}
