//! Webhooks: what somebody watches, what happened to it, and when a delivery is tried again.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::Subject;
use crate::account::names;
use crate::discussion::DiscussionStatus;
use crate::gpu::NoticeKind;
use crate::space::{BuildState, Visibility};
use crate::{
    AccountId, BuildId, CommitSha, DeliveryId, Diagnosis, DiscussionEventId, DiscussionId, HookEventId, RepoId,
    RepoKind, RepoName, SpaceStage, Subdomain, Timestamp, WebhookId,
};

/// A delivery that failed is tried again after these times, then it is dead: about a day in all.
const RETRIES: [Duration; 8] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 60 * 60),
    Duration::from_secs(4 * 60 * 60),
    Duration::from_secs(8 * 60 * 60),
    Duration::from_secs(10 * 60 * 60),
];

/// When a delivery is tried again after so many attempts; `None` when it is given up.
#[must_use]
pub fn retry_after(attempts: i64) -> Option<Duration> {
    let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
    RETRIES.get(index).copied()
}

names!(
    /// What kind of event a webhook is told of. Hub: `domains`; the last two are Spaceport's.
    Domain, UnknownDomain, "domain of a webhook", {
        /// The repository: its code, its settings, its life.
        Repo = "repo",
        /// Discussions, pull requests and comments.
        Discussion = "discussion",
        /// Builds of a Space.
        Build = "build",
        /// The stage of a Space.
        Runtime = "runtime",
    }
);

names!(
    /// What a webhook watches.
    WatchedKind, UnknownWatchedKind, "kind of thing to watch", {
        /// All repositories of a user.
        User = "user",
        /// All repositories of an organization.
        Org = "org",
        /// A model.
        Model = "model",
        /// A data set.
        Dataset = "dataset",
        /// A Space.
        Space = "space",
    }
);

names!(
    /// Where a delivery stands.
    DeliveryState, UnknownDeliveryState, "state of a delivery", {
        /// It will be tried, perhaps again.
        Pending = "pending",
        /// The receiver took it.
        Delivered = "delivered",
        /// It was given up.
        Dead = "dead",
    }
);

/// A thing that is watched: by its id, so that it is still watched after it moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// What it is.
    pub kind: WatchedKind,
    /// The id of the account or of the repository.
    pub target: String,
    /// Its name when it was asked to be watched.
    pub name: String,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Never changes.
    pub id: WebhookId,
    /// Whose it is: it is told what this account may read.
    pub owner: AccountId,
    /// Where it is delivered to.
    pub url: String,
    /// What it signs with, sealed.
    pub sealed_secret: Option<String>,
    /// What it is told of.
    pub domains: BTreeSet<Domain>,
    /// What it watches.
    pub watched: Vec<Watched>,
    /// Nothing is delivered.
    pub disabled: bool,
    /// Made.
    pub created_at: Timestamp,
}

/// Something that happened to a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct HookEvent {
    /// Never changes; the same for all that are told.
    pub id: HookEventId,
    /// When.
    pub at: Timestamp,
    /// The repository as it was then.
    pub repo: RepoThen,
    /// What.
    pub change: Change,
}

/// A repository as it was when something happened to it; it may be gone since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepoThen {
    /// Identity.
    pub id: RepoId,
    /// What it holds.
    pub kind: RepoKind,
    /// `owner/name`.
    pub name: RepoName,
    /// The account it belonged to.
    pub owner: AccountId,
    /// Who created it.
    pub creator: AccountId,
    /// Who could see it.
    pub visibility: Visibility,
    /// The commit `main` pointed to.
    pub head: Option<CommitSha>,
    /// Of a Space: its host label.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subdomain: Option<Subdomain>,
}

impl RepoThen {
    /// What the decision about rights needs.
    #[must_use]
    pub const fn subject(&self) -> Subject {
        Subject { repo: self.id, owner: self.owner, creator: self.creator, visibility: self.visibility }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// It was created.
    RepoCreated,
    /// It was deleted.
    RepoDeleted,
    /// It has another name, and perhaps another owner, since.
    RepoMoved {
        /// The new name.
        to: RepoName,
        /// The new owner.
        owner: AccountId,
    },
    /// Who may see it changed.
    RepoVisibility {
        /// To this.
        to: Visibility,
    },
    /// Branches, tags or pull requests moved.
    RefsMoved {
        /// Which.
        refs: Vec<MovedRef>,
    },
    /// A discussion was opened, with its first comment.
    DiscussionOpened(DiscussionThen, CommentThen),
    /// Its title, its status, or what it would merge changed.
    DiscussionChanged(DiscussionThen),
    /// Somebody said something.
    CommentMade(DiscussionThen, CommentThen),
    /// Somebody edited or hid what was said.
    CommentChanged(DiscussionThen, CommentThen),
    /// A build was asked for, began or ended.
    Build(BuildThen),
    /// The stage of a Space changed.
    Stage {
        /// The stage.
        stage: SpaceStage,
        /// Why.
        diagnosis: Option<Diagnosis>,
    },
    /// The owner of a Space was told something about its hardware.
    Notice {
        /// What it is about.
        kind: NoticeKind,
        /// What.
        message: String,
        /// When it happens.
        due_at: Option<Timestamp>,
    },
}

impl Change {
    /// Who wants to know.
    #[must_use]
    pub const fn domain(&self) -> Domain {
        match self {
            Self::RepoCreated
            | Self::RepoDeleted
            | Self::RepoMoved { .. }
            | Self::RepoVisibility { .. }
            | Self::RefsMoved { .. } => Domain::Repo,
            Self::DiscussionOpened(..)
            | Self::DiscussionChanged(_)
            | Self::CommentMade(..)
            | Self::CommentChanged(..) => Domain::Discussion,
            Self::Build(_) => Domain::Build,
            Self::Stage { .. } | Self::Notice { .. } => Domain::Runtime,
        }
    }
}

/// A ref that moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovedRef {
    /// `refs/heads/main`.
    pub name: String,
    /// Where it pointed; `None` when it is new.
    pub old: Option<CommitSha>,
    /// Where it points; `None` when it is gone.
    pub new: Option<CommitSha>,
}

/// A discussion when something happened in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscussionThen {
    /// Identity.
    pub id: DiscussionId,
    /// Its number in the repository.
    pub number: i64,
    /// What it is about.
    pub title: String,
    /// Where it stands.
    pub status: DiscussionStatus,
    /// Who opened it.
    pub author: AccountId,
    /// Of a pull request: the ref it is merged into.
    pub base: Option<String>,
    /// Of a merged one.
    pub merge_commit: Option<CommitSha>,
}

/// A comment when it was made or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommentThen {
    /// Identity.
    pub id: DiscussionEventId,
    /// Who made it.
    pub author: AccountId,
    /// What it says; `None` when it is hidden.
    pub text: Option<String>,
}

/// A build when its state changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildThen {
    /// Identity.
    pub id: BuildId,
    /// Its number in the Space.
    pub number: i64,
    /// The commit.
    pub sha: CommitSha,
    /// Its state.
    pub state: BuildState,
    /// Asked for.
    pub queued_at: Timestamp,
    /// Began.
    pub started_at: Option<Timestamp>,
    /// Ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub diagnosis: Option<Diagnosis>,
}

/// One event on its way to one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Never changes; another one for a replay.
    pub id: DeliveryId,
    /// To this webhook.
    pub webhook: WebhookId,
    /// The event.
    pub event: HookEventId,
    /// The repository; it may be gone.
    pub repo: RepoId,
    /// Its kind of event.
    pub domain: Domain,
    /// What is sent: JSON.
    pub body: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next, while it is pending.
    pub next_at: Timestamp,
    /// Made.
    pub created_at: Timestamp,
    /// When the last attempt ended; `None` before the first and while one is under way.
    pub ended_at: Option<Timestamp>,
    /// What the receiver answered, if it did.
    pub status: Option<i64>,
    /// What went wrong.
    pub error: Option<String>,
    /// The delivery this one repeats.
    pub replay_of: Option<DeliveryId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_tried_nine_times_over_a_day() {
        let waits: Vec<_> = (1..20).map_while(retry_after).collect();
        assert_eq!(waits.len(), 8);
        assert!(waits.is_sorted());
        let total: Duration = waits.iter().sum();
        assert!(total > Duration::from_secs(24 * 60 * 60) && total < Duration::from_secs(26 * 60 * 60), "{total:?}");
        assert_eq!(retry_after(0), None);
    }
}
