//! Discussions and pull requests, the way the Hub's clients read them.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::discussion::{Comment, CommentVersion, DiscussionEvent, EventKind};
use spaceport_core::{AccountId, Discussion, Repo};

use crate::markdown;
use crate::views::account::{AuthorView, Authors};

/// What stands in place of a hidden comment. Hub: the same words.
const HIDDEN: &str = "This comment has been hidden";

/// A discussion or a pull request.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Discussion)]
pub struct DiscussionView {
    /// Counts discussions and pull requests of the repository from 1.
    pub num: i64,
    /// What it is about.
    pub title: String,
    /// `draft`, `open`, `closed` or `merged`.
    pub status: String,
    /// Opened.
    pub created_at: String,
    /// Who opened it; absent when the account was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<AuthorView>,
    /// Whether it can be merged.
    pub is_pull_request: bool,
    /// Where it is.
    pub repo: RepoNameView,
    /// Stays on top.
    pub pinned: bool,
    /// Only those who may change the repository may comment.
    pub locked: bool,
    /// Comments that are not hidden.
    pub num_comments: i64,
    /// Its page.
    pub url: String,
}

/// A repository, by name.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RepoNameView {
    /// `owner/name`.
    pub name: String,
    /// `model`, `dataset` or `space`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A discussion with all that happened in it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DiscussionDetails)]
pub struct DetailsView {
    /// The discussion.
    #[serde(flatten)]
    pub discussion: DiscussionView,
    /// What happened, oldest first.
    pub events: Vec<EventView>,
    /// Of a pull request: where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangesView>,
    /// Of a pull request: false, or the files in which it clashes with its base.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub files_with_conflicts: Option<Value>,
    /// Of a pull request, with `diff=1`: what it changes, as `git diff` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// Whether the diff is too long to be shown as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff_truncated: Option<bool>,
}

/// Where a pull request goes.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PullRequestChanges)]
pub struct ChangesView {
    /// The ref it is merged into.
    pub base: String,
    /// The commit its own ref points to.
    pub head: String,
    /// The commit that merged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_commit_id: Option<String>,
}

/// Something that happened in a discussion.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DiscussionEvent)]
pub struct EventView {
    /// Never changes.
    pub id: String,
    /// `comment`, `status-change`, `commit`, `title-change`, `pinning-change` or `locking-change`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// When.
    pub created_at: String,
    /// Who; absent when the account was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<AuthorView>,
    /// What, by `type`.
    #[schema(value_type = Object)]
    pub data: Value,
}

impl DiscussionView {
    /// Of a discussion; `hub` is the address the caller used.
    #[must_use]
    pub fn of(discussion: &Discussion, repo: &Repo, authors: &Authors, hub: &str) -> Self {
        Self {
            num: discussion.number,
            title: discussion.title.clone(),
            status: discussion.status.as_str().to_owned(),
            created_at: discussion.created_at.to_rfc3339(),
            author: authors.get(discussion.author),
            is_pull_request: discussion.pull.is_some(),
            repo: RepoNameView { name: repo.name.to_string(), kind: repo.kind.as_str().to_owned() },
            pinned: discussion.pinned,
            locked: discussion.locked,
            num_comments: discussion.comments,
            url: page(hub, repo, discussion.number),
        }
    }
}

/// The page of a discussion.
#[must_use]
pub fn page(hub: &str, repo: &Repo, number: i64) -> String {
    format!("{hub}/{}/discussions/{number}", repo.path())
}

impl EventView {
    /// Of an event.
    #[must_use]
    pub fn of(event: &DiscussionEvent, authors: &Authors) -> Self {
        let (kind, data) = match &event.kind {
            EventKind::Comment(comment) => ("comment", comment_data(comment, authors)),
            EventKind::Status { to } => ("status-change", json!({"status": to})),
            EventKind::Commit { subject, sha } => ("commit", json!({"subject": subject, "oid": sha})),
            EventKind::Title { from, to } => ("title-change", json!({"from": from, "to": to})),
            EventKind::Pinned { pinned } => ("pinning-change", json!({"pinned": pinned})),
            EventKind::Locked { locked } => ("locking-change", json!({"locked": locked})),
        };
        Self {
            id: event.id.to_string(),
            kind,
            created_at: event.at.to_rfc3339(),
            author: authors.get(event.author),
            data,
        }
    }
}

fn comment_data(comment: &Comment, authors: &Authors) -> Value {
    let version = |version: &CommentVersion| {
        let (raw, html) = if comment.is_hidden() {
            (HIDDEN.to_owned(), HIDDEN.to_owned())
        } else {
            (version.text.clone(), markdown::render(&version.text))
        };
        let mut shown = json!({"raw": raw, "html": html, "updatedAt": version.at.to_rfc3339()});
        if let Some(author) = authors.get(version.by) {
            shown["author"] = json!(author);
        }
        shown
    };
    let (latest, history) = match comment.versions.split_last() {
        Some((latest, history)) => (version(latest), history.iter().map(version).collect()),
        None => (Value::Null, Vec::new()),
    };
    let mut data = json!({
        "edited": !history.is_empty(),
        "hidden": comment.is_hidden(),
        "latest": latest,
        "history": history,
    });
    if let Some(by) = comment.hidden_by.and_then(|by| authors.get(by)) {
        data["hiddenBy"] = json!(by.name);
    }
    data
}

/// Everybody who appears in events.
#[must_use]
pub fn people(events: &[DiscussionEvent]) -> BTreeSet<AccountId> {
    let mut people = BTreeSet::new();
    for event in events {
        people.insert(event.author);
        if let EventKind::Comment(comment) = &event.kind {
            people.extend(comment.versions.iter().map(|version| version.by));
            people.extend(comment.hidden_by);
        }
    }
    people
}
