//! Pull requests as git sees them: their refs, what they bring, what moves them.
//!
//! A pull request is a row and a ref `refs/pr/N`. The number is taken first, then the ref is made, and
//! the row comes last: what a crash leaves is a ref that no pull request names, and a number that is
//! left out, never a pull request without commits.

use std::collections::HashSet;

use serde_json::json;

use spaceport_core::discussion::{Act, Pull, Refusal};
use spaceport_core::webhook::MovedRef;
use spaceport_core::{CommitSha, Discussion, DiscussionStatus, Repo};
use spaceport_git::{GitError, PushAccess, RefChange, RefCreated};
use spaceport_store::NewDiscussion;

use crate::audit;
use crate::caller::User;
use crate::error::ApiError;
use crate::state::ApiState;

/// So many commits of one push are shown; the newest.
const MAX_COMMITS: usize = 100;
/// Commits before a push that are looked at, to tell which are new.
const MAX_KNOWN: usize = 2000;
/// Numbers that are tried: a ref without a pull request may have one.
const MAX_NUMBERS: usize = 100;

/// A pull request to be opened.
#[derive(Debug, Clone)]
pub(crate) struct NewPull {
    /// What it is about.
    pub(crate) title: String,
    /// Why, in Markdown.
    pub(crate) description: String,
    /// The ref it is to be merged into: `refs/heads/main`.
    pub(crate) base: String,
    /// What its own ref points to.
    pub(crate) head: CommitSha,
}

/// A number and a ref that were taken for a pull request that is not open yet: commits can be made on the
/// ref before anybody sees it.
#[derive(Debug)]
#[must_use = "a ref stays behind unless it is opened or abandoned"]
pub(crate) struct ReservedPull {
    number: i64,
    start: CommitSha,
}

/// Takes the next number of a repository, and makes the ref of a pull request at a commit.
///
/// # Errors
/// `RevisionNotFound` when there is no such commit.
pub(crate) async fn reserve_pull(state: &ApiState, repo: &Repo, start: &CommitSha) -> Result<ReservedPull, ApiError> {
    for _ in 0..MAX_NUMBERS {
        let number = state.store.discussion_number(repo.id).await?;
        let name = u64::try_from(number).map_err(ApiError::internal)?;
        match state.repositories.create_pull_ref(repo.id, name, start).await? {
            RefCreated::Created(_) => return Ok(ReservedPull { number, start: start.clone() }),
            // Of a pull request that was never opened, or one that came with the repository.
            RefCreated::Exists(_) => {}
            RefCreated::UnknownStart => return Err(ApiError::no_revision(start.as_str())),
            RefCreated::InvalidName(why) => return Err(ApiError::internal(why)),
        }
    }
    Err(ApiError::internal("no number for a pull request is free"))
}

impl ReservedPull {
    /// The ref to commit to: `refs/pr/3`.
    pub(crate) fn reference(&self) -> String {
        Discussion::reference(self.number)
    }

    /// Opens it: as a draft when it brings nothing yet.
    ///
    /// # Errors
    /// When git or the database fails.
    pub(crate) async fn open(
        self,
        state: &ApiState,
        repo: &Repo,
        user: &User,
        new: NewPull,
    ) -> Result<Discussion, ApiError> {
        let NewPull { title, description, base, head } = new;
        let commits = commits(state, repo, &self.start, &head).await?;
        let status = if head == self.start { DiscussionStatus::Draft } else { DiscussionStatus::Open };
        let opened = NewDiscussion {
            repo: repo.id,
            number: self.number,
            author: user.account().id,
            title,
            text: description,
            status,
            pull: Some(Pull { base, head, merged: None }),
            commits,
            at: state.control.clock().now(),
        };
        let opened = state.store.discussion_open(opened).await?;
        state.control.activate_webhooks();
        let detail = json!({"number": opened.number, "title": opened.title});
        audit::record(state, user, "pull.open", &repo.path(), detail).await?;
        Ok(opened)
    }

    /// Gives the ref back; the number is left out.
    pub(crate) async fn abandon(self, state: &ApiState, repo: &Repo) {
        let name = u64::try_from(self.number).unwrap_or_default();
        if let Err(error) = state.repositories.delete_pull_ref(repo.id, name).await {
            tracing::warn!(repo = %repo.path(), %error, "the ref of a pull request that was not opened stays");
        }
    }
}

/// Opens a pull request whose commits are there.
///
/// # Errors
/// `RevisionNotFound` when they are not.
pub(crate) async fn open_pull(
    state: &ApiState,
    repo: &Repo,
    user: &User,
    start: &CommitSha,
    new: NewPull,
) -> Result<Discussion, ApiError> {
    let reserved = reserve_pull(state, repo, start).await?;
    reserved.open(state, repo, user, new).await
}

/// Shows the commits of a pull request whose ref moved. A ref that belongs to none is left alone.
async fn pull_moved(
    state: &ApiState,
    repo: &Repo,
    user: &User,
    reference: &str,
    head: &CommitSha,
) -> Result<(), ApiError> {
    let Some(number) = Discussion::number_of(reference) else { return Ok(()) };
    let Some(discussion) = state.store.discussion(repo.id, number).await? else { return Ok(()) };
    let Some(pull) = &discussion.pull else { return Ok(()) };
    if pull.head == *head {
        return Ok(());
    }
    let commits = commits(state, repo, &pull.head, head).await?;
    let (by, at) = (user.account().id, state.control.clock().now());
    let act = |commits| vec![Act::Push { head: head.clone(), commits }];
    let done = state.store.discussion_act(discussion.id, act(commits), by, at).await?;
    if matches!(done, Some(Err(Refusal::Full))) {
        // What it merges counts also when there is no room to show it.
        state.store.discussion_act(discussion.id, act(Vec::new()), by, at).await?;
    }
    Ok(())
}

/// Records what a push or a commit over HTTP moved besides `main`: pull requests show their commits, webhooks
/// are told.
///
/// # Errors
/// When git or the database fails; the next move of a pull request makes up for it.
pub(crate) async fn refs_moved(
    state: &ApiState,
    repo: &Repo,
    user: &User,
    changes: &[RefChange],
) -> Result<(), ApiError> {
    // What main means is recorded with its head.
    let others = changes.iter().filter(|change| change.name != spaceport_core::discussion::MAIN);
    let refs: Vec<MovedRef> = others
        .map(|change| MovedRef { name: change.name.clone(), old: change.old.clone(), new: change.new.clone() })
        .collect();
    for moved in &refs {
        if let Some(head) = &moved.new {
            pull_moved(state, repo, user, &moved.name, head).await?;
        }
    }
    if !refs.is_empty() {
        state.store.refs_moved(repo.id, refs, state.control.clock().now()).await?;
    }
    state.control.activate_webhooks();
    Ok(())
}

/// Which refs somebody may push to who may not change the repository: those of the own pull requests that can
/// still be merged. `None` when there is none.
///
/// # Errors
/// When the database fails.
pub(crate) async fn pushable_pulls(state: &ApiState, repo: &Repo, user: &User) -> Result<Option<PushAccess>, ApiError> {
    let numbers = state.store.live_pulls_of(repo.id, user.account().id).await?;
    let refs: Vec<String> = numbers.into_iter().map(Discussion::reference).collect();
    Ok((!refs.is_empty()).then_some(PushAccess::Only(refs)))
}

/// What `head` has and `known` does not, oldest first.
async fn commits(
    state: &ApiState,
    repo: &Repo,
    known: &CommitSha,
    head: &CommitSha,
) -> Result<Vec<(String, CommitSha)>, GitError> {
    if known == head {
        return Ok(Vec::new());
    }
    let git = &state.repositories;
    let mut before: HashSet<CommitSha> = HashSet::new();
    // Main as well: a pull request that is brought up to date does not bring what main has.
    for start in [Some(known.clone()), git.head(repo.id, "main").await?].into_iter().flatten() {
        // After a forced push nothing leads to the old commits, and git drops them some day.
        if git.commit_info(repo.id, &start).await?.is_none() {
            continue;
        }
        before.extend(git.log(repo.id, &start, 0, MAX_KNOWN).await?.into_iter().map(|commit| commit.sha));
    }
    let all = git.log(repo.id, head, 0, MAX_KNOWN).await?;
    let mut new: Vec<_> = all
        .into_iter()
        .filter(|commit| !before.contains(&commit.sha))
        .take(MAX_COMMITS)
        .map(|commit| (commit.title, commit.sha))
        .collect();
    new.reverse();
    Ok(new)
}
