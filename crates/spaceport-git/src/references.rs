//! Branches, tags and the refs of pull requests: made, moved and deleted by compare-and-set.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use git2::{ErrorCode, ObjectType, Oid, Reference, Repository};
use spaceport_core::{CommitSha, RepoId, Timestamp};

use crate::commit::{commit_object, message, signature};
use crate::objects::{NewObject, store};
use crate::opened::{failed, oid, optional, sha};
use crate::revision::{commit_of, resolve};
use crate::{Author, GitError, Repositories};

const OPERATION: &str = "change a ref";
/// How often a change is tried again because a push was faster.
const ATTEMPTS: usize = 50;
/// How long another process may hold the lock of a ref, and how often one looks.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_PERIOD: Duration = Duration::from_millis(5);
/// The longest part of a name: a file name, with room for git's `.lock`.
const MAX_NAME_PART: usize = 240;
const MAX_NAME: usize = 400;
pub(crate) const MAIN: &str = "refs/heads/main";

/// A ref on which the platform makes commits.
#[derive(Debug, Clone)]
pub(crate) struct Target(String);

impl Target {
    /// A branch or a pull request, by its full name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let pull = name.strip_prefix("refs/pr/").is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()));
        let branch = name.strip_prefix("refs/heads/").is_some_and(|_| Reference::is_valid_name(name));
        (pull || branch).then(|| Self(name.to_owned()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Whether a first commit may make it. `main` is never deleted: where it is missing, nothing was ever
    /// committed.
    pub(crate) fn may_begin(&self) -> bool {
        self.0 == MAIN
    }
}

/// What became of a branch or a tag that was to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefCreated {
    /// It is there; the commit it leads to.
    Created(CommitSha),
    /// There was one already; the commit it leads to.
    Exists(CommitSha),
    /// The revision it was to begin at is unknown.
    UnknownStart,
    /// The name cannot be one, for the given reason.
    InvalidName(String),
}

/// What became of a branch or a tag that was to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefDeleted {
    /// It is gone; where it led to.
    Deleted(CommitSha),
    /// There was none.
    Unknown,
    /// `main` stays.
    Protected,
}

/// Who made a tag, when, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagMessage {
    /// The text.
    pub text: String,
    /// Who.
    pub author: Author,
    /// When.
    pub at: Timestamp,
}

impl Repositories {
    /// Makes a branch at a revision.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub async fn create_branch(&self, repo: RepoId, name: &str, start: &str) -> Result<RefCreated, GitError> {
        let (name, start) = (name.to_owned(), start.to_owned());
        self.writing(repo, move |opened| {
            if let Err(why) = check_name(&name) {
                return Ok(RefCreated::InvalidName(why));
            }
            let Some(start) = resolve(opened, &start)? else { return Ok(RefCreated::UnknownStart) };
            create(opened, &format!("refs/heads/{name}"), oid(&start.commit), &start.commit)
        })
        .await
    }

    /// Makes a tag of a revision: with a message an annotated one. The revision is looked at before the name.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub async fn create_tag(
        &self,
        repo: RepoId,
        name: &str,
        revision: &str,
        annotation: Option<TagMessage>,
    ) -> Result<RefCreated, GitError> {
        let (name, revision, scratch) = (name.to_owned(), revision.to_owned(), self.temporary(repo));
        self.writing(repo, move |opened| {
            let Some(revision) = resolve(opened, &revision)? else { return Ok(RefCreated::UnknownStart) };
            if let Err(why) = check_name(&name) {
                return Ok(RefCreated::InvalidName(why));
            }
            let full_name = format!("refs/tags/{name}");
            let target = match annotation {
                None => oid(&revision.commit),
                // Looked at first, so that no object is made for nothing.
                Some(_) if commit_of(opened, &full_name)?.is_some() => oid(&revision.commit),
                Some(TagMessage { text, author, at }) => {
                    let (commit, tagger, text) = (&revision.commit, signature(&author, at), message(&text, ""));
                    let tag = format!("object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{text}");
                    let tag = NewObject::of(ObjectType::Tag, tag.into()).map_err(failed(OPERATION))?;
                    let target = tag.oid;
                    store(opened, &scratch, vec![tag])?;
                    target
                }
            };
            create(opened, &full_name, target, &revision.commit)
        })
        .await
    }

    /// Deletes a branch.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub async fn delete_branch(&self, repo: RepoId, name: &str) -> Result<RefDeleted, GitError> {
        let name = format!("refs/heads/{name}");
        if name == MAIN {
            return Ok(RefDeleted::Protected);
        }
        self.writing(repo, move |opened| delete(opened, &name)).await
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub async fn delete_tag(&self, repo: RepoId, name: &str) -> Result<RefDeleted, GitError> {
        let name = format!("refs/tags/{name}");
        self.writing(repo, move |opened| delete(opened, &name)).await
    }

    /// Makes the ref of a new pull request, `refs/pr/{number}`.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub async fn create_pull_ref(&self, repo: RepoId, number: u64, at: &CommitSha) -> Result<RefCreated, GitError> {
        let at = at.clone();
        self.writing(repo, move |opened| {
            if optional(opened.find_commit(oid(&at))).map_err(failed(OPERATION))?.is_none() {
                return Ok(RefCreated::UnknownStart);
            }
            create(opened, &format!("refs/pr/{number}"), oid(&at), &at)
        })
        .await
    }

    /// Deletes the ref of a pull request that comes to nothing before it was opened. One that was open keeps
    /// its ref, so that its commits can still be seen.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub async fn delete_pull_ref(&self, repo: RepoId, number: u64) -> Result<RefDeleted, GitError> {
        self.writing(repo, move |opened| delete(opened, &format!("refs/pr/{number}"))).await
    }

    /// Makes a branch one commit without parents, with the files it has: its history is forgotten. Gives the
    /// new commit; `None` when there is no such branch. A push that comes in between is squashed as well.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub async fn squash(
        &self,
        repo: RepoId,
        branch: &str,
        title: &str,
        author: &Author,
        at: Timestamp,
    ) -> Result<Option<CommitSha>, GitError> {
        let (name, text) = (format!("refs/heads/{branch}"), message(title, ""));
        let (author, scratch) = (signature(author, at), self.temporary(repo));
        self.writing(repo, move |opened| {
            contend(|| {
                let Some(head) = commit_of(opened, &name)? else { return Ok(Some(None)) };
                let commit = squashed(opened, head, &author, &text, &scratch)?;
                Ok(move_ref(opened, &name, commit, Some(head))?.then(|| Some(sha(commit))))
            })
        })
        .await
    }
}

fn squashed(opened: &Repository, head: Oid, author: &str, text: &str, scratch: &Path) -> Result<Oid, GitError> {
    let tree = opened.find_commit(head).and_then(|commit| commit.tree()).map_err(failed(OPERATION))?.id();
    let commit = commit_object(tree, &[], author, author, text)?;
    let id = commit.oid;
    store(opened, scratch, vec![commit])?;
    Ok(id)
}

/// Tries a change of a ref until nobody else was faster; `None` is another try.
pub(crate) fn contend<T>(mut attempt: impl FnMut() -> Result<Option<T>, GitError>) -> Result<T, GitError> {
    for _ in 0..ATTEMPTS {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
    }
    let message = format!("others moved it {ATTEMPTS} times meanwhile");
    Err(GitError::Failed { operation: OPERATION, message })
}

/// Moves a ref from where it was seen to; makes it when it was not there. `false` when somebody else moved it
/// first.
pub(crate) fn move_ref(opened: &Repository, name: &str, to: Oid, seen: Option<Oid>) -> Result<bool, GitError> {
    let seen = seen.unwrap_or(Oid::ZERO_SHA1);
    let moved = patiently(|| opened.reference_matching(name, to, true, seen, "").map(drop));
    match moved {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::NotFound) => Ok(false),
        Err(error) => Err(failed(OPERATION)(error)),
    }
}

fn create(opened: &Repository, name: &str, to: Oid, commit: &CommitSha) -> Result<RefCreated, GitError> {
    contend(|| {
        if let Some(there) = commit_of(opened, name)? {
            return Ok(Some(RefCreated::Exists(sha(there))));
        }
        if let Some(other) = collision(opened, name)? {
            let why = format!("`{other}` exists: git keeps names like folders, and one cannot be inside the other");
            return Ok(Some(RefCreated::InvalidName(why)));
        }
        Ok(move_ref(opened, name, to, None)?.then(|| RefCreated::Created(commit.clone())))
    })
}

fn delete(opened: &Repository, name: &str) -> Result<RefDeleted, GitError> {
    contend(|| {
        let Some(commit) = commit_of(opened, name)? else { return Ok(Some(RefDeleted::Unknown)) };
        // Compares with what was just read, under the lock of the ref.
        match patiently(|| opened.find_reference(name)?.delete()) {
            Ok(()) => Ok(Some(RefDeleted::Deleted(sha(commit)))),
            Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(failed(OPERATION)(error)),
        }
    })
}

/// A ref that is a folder of this name, or has it as a folder.
fn collision(opened: &Repository, name: &str) -> Result<Option<String>, GitError> {
    for (at, _) in name.match_indices('/').skip(2) {
        if commit_of(opened, &name[..at])?.is_some() {
            return Ok(Some(name[..at].to_owned()));
        }
    }
    let mut below = opened.references_glob(&format!("{name}/*")).map_err(failed(OPERATION))?;
    Ok(below.names().find_map(|name| name.ok().map(str::to_owned)))
}

/// Why a text cannot be the name of a branch or a tag.
fn check_name(name: &str) -> Result<(), String> {
    let hex = name.len() == 40 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let why = if name.starts_with("refs/") {
        "it begins with `refs/`"
    } else if hex {
        "it looks like the id of a commit"
    } else if name == "HEAD" || name.starts_with('-') {
        "git would take it for something else"
    } else if name.len() > MAX_NAME || name.split('/').any(|part| part.len() > MAX_NAME_PART) {
        "it is too long"
    } else if !Reference::is_valid_name(&format!("refs/heads/{name}")) {
        "git does not allow it: no spaces, no control characters, none of `~ ^ : ? * [ \\`, no `..`, no `@{`, and no part that begins or ends with `.` or ends with `.lock`"
    } else {
        return Ok(());
    };
    Err(why.to_owned())
}

/// Waits while another process holds a lock, as every push does for a moment.
pub(crate) fn patiently<T>(mut change: impl FnMut() -> Result<T, git2::Error>) -> Result<T, git2::Error> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match change() {
            Err(error) if error.code() == ErrorCode::Locked && Instant::now() < deadline => thread::sleep(LOCK_PERIOD),
            other => return other,
        }
    }
}
