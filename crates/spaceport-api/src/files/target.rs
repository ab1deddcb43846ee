//! Where a commit over HTTP goes, and who may send it there.

use spaceport_core::{CommitSha, Repo};
use spaceport_git::{PushAccess, RefChange, RevisionKind};

use crate::access::{DiscussRepo, ReadRepo};
use crate::caller::User;
use crate::community::{pushable_pulls, refs_moved};
use crate::error::ApiError;
use crate::files::revision;
use crate::state::ApiState;

/// A branch or a pull request that the caller may commit to, or propose commits for.
#[derive(Debug)]
pub(super) struct Target {
    /// The repository, and who commits.
    pub to: DiscussRepo,
    /// The full name of the ref.
    pub reference: String,
    /// Where it points.
    pub head: CommitSha,
}

impl Target {
    /// Writers commit to every branch and pull request; others to their own pull requests, and
    /// propose to branches. Tags and commits are no targets.
    ///
    /// # Errors
    /// `RevisionNotFound` when there is no such ref; 401 or 403 when the caller may not.
    pub(super) async fn find(state: &ApiState, read: ReadRepo, name: &str, proposes: bool) -> Result<Self, ApiError> {
        let rights = read.rights;
        if !rights.write && !rights.discuss {
            return Err(refusal(read, proposes));
        }
        let found = revision(state, &read.repo, name).await?;
        let (reference, head) = match (found.kind, found.reference) {
            (RevisionKind::Branch, Some(reference)) => (reference, found.commit),
            (RevisionKind::Pull, Some(reference)) if !proposes => (reference, found.commit),
            _ => return Err(ApiError::no_revision(name)),
        };
        let mut allowed = rights.write || proposes;
        if !allowed && found.kind == RevisionKind::Pull {
            let user = read.caller.clone().into_user()?;
            let own = pushable_pulls(state, &read.repo, &user).await?;
            allowed = matches!(own, Some(PushAccess::Only(refs)) if refs.contains(&reference));
        }
        if !allowed {
            return Err(refusal(read, proposes));
        }
        let ReadRepo { repo, caller, rights } = read;
        Ok(Self { to: DiscussRepo { repo, user: caller.into_user()?, rights }, reference, head })
    }
}

/// Why the caller may not.
fn refusal(read: ReadRepo, proposes: bool) -> ApiError {
    let why = if proposes { read.into_discuss().err() } else { read.into_write().err() };
    why.unwrap_or_else(|| ApiError::forbidden("You may not commit here"))
}

/// Tells whoever follows the repository that a ref other than `main` moved.
pub(super) async fn ref_moved(
    state: &ApiState,
    repo: &Repo,
    user: &User,
    name: String,
    old: Option<CommitSha>,
    new: Option<CommitSha>,
) -> Result<(), ApiError> {
    refs_moved(state, repo, user, &[RefChange { name, old, new }]).await
}
