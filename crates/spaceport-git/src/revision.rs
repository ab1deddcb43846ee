//! What a name means: branches, tags, full refs and commit ids.

use git2::{ErrorCode, ObjectType, Oid, Reference, Repository, Tree};
use spaceport_core::{CommitSha, RepoId};

use crate::opened::{failed, optional, sha};
use crate::{GitError, Repositories};

/// An abbreviated commit id has at least this many digits. Hub: the same.
const MIN_ABBREVIATION: usize = 7;
const OPERATION: &str = "find the revision";

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RevisionKind {
    /// `refs/heads/…`.
    Branch,
    /// `refs/tags/…`.
    Tag,
    /// `refs/pr/…`: the head of a pull request.
    Pull,
    /// `refs/convert/…`: what the platform made of the files.
    Convert,
    /// A commit id, in full or abbreviated.
    Commit,
}

impl RevisionKind {
    /// Of refs that people name: with the prefix of their names.
    const NAMED: [(&'static str, Self); 4] = [
        ("refs/heads/", Self::Branch),
        ("refs/tags/", Self::Tag),
        ("refs/pr/", Self::Pull),
        ("refs/convert/", Self::Convert),
    ];

    /// The kind of a full ref name and the rest of the name.
    fn of(reference: &str) -> Option<(Self, &str)> {
        Self::NAMED.iter().find_map(|(prefix, kind)| Some((*kind, reference.strip_prefix(prefix)?)))
    }
}

/// A revision that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The commit; that of a tag, not the tag's own id.
    pub commit: CommitSha,
    /// How it was named.
    pub kind: RevisionKind,
    /// The full name of the ref; `None` for a commit id.
    pub reference: Option<String>,
}

/// A branch, a tag, a pull request or a conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// What it is.
    pub kind: RevisionKind,
    /// Its name without `refs/heads/` and the like.
    pub name: String,
    /// Its full name.
    pub full_name: String,
    /// The commit it leads to; that of a tag, not the tag's own id.
    pub commit: CommitSha,
}

impl Repositories {
    /// The commit a branch points to.
    ///
    /// # Errors
    /// When the repository cannot be read; an unknown branch is `None`.
    pub async fn head(&self, repo: RepoId, branch: &str) -> Result<Option<CommitSha>, GitError> {
        let name = format!("refs/heads/{branch}");
        self.reading(repo, move |opened| Ok(commit_of(opened, &name)?.map(sha))).await
    }

    /// What a revision means. Forty digits are the id of a commit first, so that no branch can pass for a
    /// commit that clients keep for good. Everything else is tried as branch, tag, full ref and abbreviated
    /// commit id of at least seven digits. Hub: the same order.
    ///
    /// # Errors
    /// When the repository cannot be read; an unknown revision is `None`, and so is any other text.
    pub async fn resolve(&self, repo: RepoId, revision: &str) -> Result<Option<Revision>, GitError> {
        let revision = revision.to_owned();
        self.reading(repo, move |opened| resolve(opened, &revision)).await
    }

    /// All branches, tags, pull requests and conversions, in the order of their full names. Refs that do not
    /// lead to a commit are left out.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn refs(&self, repo: RepoId) -> Result<Vec<Ref>, GitError> {
        self.reading(repo, |opened| {
            let failed = failed("list the refs");
            let mut refs = Vec::new();
            for reference in opened.references().map_err(failed)? {
                let reference = reference.map_err(failed)?;
                let Ok(full_name) = reference.name() else { continue };
                let Some((kind, name)) = RevisionKind::of(full_name) else { continue };
                let Some(commit) = peeled(&reference) else { continue };
                refs.push(Ref { kind, name: name.to_owned(), full_name: full_name.to_owned(), commit: sha(commit) });
            }
            refs.sort_by(|a, b| a.full_name.cmp(&b.full_name));
            Ok(refs)
        })
        .await
    }
}

pub(crate) fn resolve(opened: &Repository, revision: &str) -> Result<Option<Revision>, GitError> {
    let hex = revision.bytes().all(|b| b.is_ascii_hexdigit()) && (MIN_ABBREVIATION..=40).contains(&revision.len());
    let by_id = || -> Result<Option<Revision>, GitError> {
        let commit = commit_by_prefix(opened, revision)?;
        Ok(commit.map(|commit| Revision { commit: sha(commit), kind: RevisionKind::Commit, reference: None }))
    };
    if hex
        && revision.len() == 40
        && let Some(found) = by_id()?
    {
        return Ok(Some(found));
    }
    let names = [format!("refs/heads/{revision}"), format!("refs/tags/{revision}"), revision.to_owned()];
    for name in names {
        let Some((kind, _)) = RevisionKind::of(&name) else { continue };
        if let Some(commit) = commit_of(opened, &name)? {
            return Ok(Some(Revision { commit: sha(commit), kind, reference: Some(name) }));
        }
    }
    if hex { by_id() } else { Ok(None) }
}

/// The commit a ref leads to, by the ref's full name.
pub(crate) fn commit_of(opened: &Repository, name: &str) -> Result<Option<Oid>, GitError> {
    // Anything else would be an error of libgit2 and not an answer.
    if name.len() > 512 || !Reference::is_valid_name(name) {
        return Ok(None);
    }
    let found = match opened.find_reference(name) {
        Err(error) if error.code() == ErrorCode::InvalidSpec => None,
        other => optional(other).map_err(failed(OPERATION))?,
    };
    Ok(found.and_then(|reference| peeled(&reference)))
}

fn peeled(reference: &Reference<'_>) -> Option<Oid> {
    reference.peel_to_commit().ok().map(|commit| commit.id())
}

fn commit_by_prefix(opened: &Repository, digits: &str) -> Result<Option<Oid>, GitError> {
    let object = match opened.find_object_by_prefix(digits, None) {
        // Digits that several objects begin with name none of them.
        Err(error) if error.code() == ErrorCode::Ambiguous => None,
        other => optional(other).map_err(failed(OPERATION))?,
    };
    Ok(object.and_then(|object| object.peel(ObjectType::Commit).ok()).map(|commit| commit.id()))
}

/// The tree of a commit; `None` when there is no such commit.
pub(crate) fn tree_of(opened: &Repository, commit: Oid) -> Result<Option<Tree<'_>>, GitError> {
    let Some(commit) = optional(opened.find_commit(commit)).map_err(failed(OPERATION))? else { return Ok(None) };
    commit.tree().map(Some).map_err(failed("read the commit"))
}
