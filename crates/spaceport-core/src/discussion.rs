//! Discussions and pull requests: one number line per repository, and what happened in each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AccountId, CommitSha, DiscussionEventId, DiscussionId, RepoId, Timestamp};

/// The ref a pull request is merged into. Hub: `changes.base`.
pub const MAIN: &str = "refs/heads/main";

/// Where a discussion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiscussionStatus {
    /// A pull request that is not ready.
    Draft,
    /// Under way.
    Open,
    /// Over.
    Closed,
    /// A pull request that is in its base.
    Merged,
}

impl DiscussionStatus {
    /// The name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Merged => "merged",
        }
    }

    /// Whether people may ask for this step. A merge is no such step: it moves commits.
    const fn may_become(self, to: Self) -> bool {
        matches!((self, to), (Self::Draft | Self::Closed, Self::Open) | (Self::Draft | Self::Open, Self::Closed))
    }

    /// Whether a pull request can still be merged.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Draft | Self::Open)
    }
}

impl fmt::Display for DiscussionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a status of a discussion")]
pub struct UnknownStatus(String);

impl FromStr for DiscussionStatus {
    type Err = UnknownStatus;
    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        [Self::Draft, Self::Open, Self::Closed, Self::Merged]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownStatus(text.chars().take(40).collect()))
    }
}

/// A discussion, or a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discussion {
    /// Never changes.
    pub id: DiscussionId,
    /// Where it is.
    pub repo: RepoId,
    /// Counts discussions and pull requests of the repository from 1.
    pub number: i64,
    /// Who opened it.
    pub author: AccountId,
    /// What it is about.
    pub title: String,
    /// Where it stands.
    pub status: DiscussionStatus,
    /// Stays on top of the list.
    pub pinned: bool,
    /// Only those who may change the repository may comment.
    pub locked: bool,
    /// Comments that are not hidden.
    pub comments: i64,
    /// Opened.
    pub created_at: Timestamp,
    /// Of a pull request.
    pub pull: Option<Pull>,
}

/// What somebody does in a discussion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Says something, in Markdown.
    Comment(String),
    /// Opens or closes it.
    Status(DiscussionStatus),
    /// Gives it another title.
    Title(String),
    /// Keeps it on top, or no longer.
    Pin(bool),
    /// Lets only those comment who may change the repository, or everybody again.
    Lock(bool),
    /// Moved the ref of the pull request.
    Push {
        /// Where it points now.
        head: CommitSha,
        /// What came with it, oldest first: the first line of the message, and the commit.
        commits: Vec<(String, CommitSha)>,
    },
    /// Merged the pull request.
    Merge(Merged),
}

/// Why something cannot be done in a discussion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is so already, or cannot become so.
    #[error("this discussion is {from} and cannot become {to}")]
    Status {
        /// Where it stands.
        from: DiscussionStatus,
        /// What was asked for.
        to: DiscussionStatus,
    },
    /// Only pull requests have commits.
    #[error("this is a discussion, not a pull request")]
    NoPull,
    /// Too much was said in it.
    #[error("this discussion is full: open another one and link to it")]
    Full,
    /// The comment is not there.
    #[error("there is no such comment in this discussion")]
    NoComment,
    /// A hidden comment stays as it is.
    #[error("this comment is hidden and cannot be changed")]
    Hidden,
}

impl Discussion {
    /// Does it, and says what the discussion shows of it.
    ///
    /// # Errors
    /// When it cannot be done as things are.
    pub fn apply(&mut self, act: Act, by: AccountId, at: Timestamp) -> Result<Vec<EventKind>, Refusal> {
        Ok(match act {
            Act::Comment(text) => {
                self.comments += 1;
                vec![EventKind::Comment(Comment::new(text, by, at))]
            }
            Act::Status(to) if self.status.may_become(to) => {
                self.status = to;
                vec![EventKind::Status { to }]
            }
            Act::Status(to) => return Err(Refusal::Status { from: self.status, to }),
            Act::Title(to) if to == self.title => Vec::new(),
            Act::Title(to) => {
                let from = std::mem::replace(&mut self.title, to.clone());
                vec![EventKind::Title { from, to }]
            }
            Act::Pin(pinned) if pinned == self.pinned => Vec::new(),
            Act::Pin(pinned) => {
                self.pinned = pinned;
                vec![EventKind::Pinned { pinned }]
            }
            Act::Lock(locked) if locked == self.locked => Vec::new(),
            Act::Lock(locked) => {
                self.locked = locked;
                vec![EventKind::Locked { locked }]
            }
            Act::Push { head, commits } => {
                self.pull.as_mut().ok_or(Refusal::NoPull)?.head = head;
                commits.into_iter().map(|(subject, sha)| EventKind::Commit { subject, sha }).collect()
            }
            Act::Merge(merged) => {
                let to = DiscussionStatus::Merged;
                let pull = self.pull.as_mut().ok_or(Refusal::NoPull)?;
                // One that was closed at the same moment is merged all the same: its base has moved.
                if self.status == to {
                    return Err(Refusal::Status { from: to, to });
                }
                pull.merged = Some(merged);
                self.status = to;
                vec![EventKind::Status { to }]
            }
        })
    }

    /// The ref of a pull request with this number.
    #[must_use]
    pub fn reference(number: i64) -> String {
        format!("refs/pr/{number}")
    }

    /// The number in the name of a pull request's ref.
    #[must_use]
    pub fn number_of(reference: &str) -> Option<i64> {
        let number = reference.strip_prefix("refs/pr/")?;
        number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok())?
    }
}

/// What a pull request changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// The ref it is merged into, `refs/heads/main`.
    pub base: String,
    /// The commit its own ref points to.
    pub head: CommitSha,
    /// Of a merged one.
    pub merged: Option<Merged>,
}

/// How a pull request ended in its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The commit its base pointed to after.
    pub commit: CommitSha,
    /// The commit its base pointed to before.
    pub previous: CommitSha,
}

/// Something that happened in a discussion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscussionEvent {
    /// Never changes.
    pub id: DiscussionEventId,
    /// Who did it.
    pub author: AccountId,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum EventKind {
    /// Somebody said something.
    Comment(Comment),
    /// The status changed.
    Status {
        /// To this.
        to: DiscussionStatus,
    },
    /// A pull request got a commit.
    Commit {
        /// The first line of its message.
        subject: String,
        /// The commit.
        sha: CommitSha,
    },
    /// The title changed.
    Title {
        /// From this.
        from: String,
        /// To this.
        to: String,
    },
    /// It was pinned, or no longer is.
    Pinned {
        /// Whether it is.
        pinned: bool,
    },
    /// It was locked, or no longer is.
    Locked {
        /// Whether it is.
        locked: bool,
    },
}

/// What somebody said, in Markdown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Comment {
    /// What it said from time to time; the last one counts. Never empty.
    pub versions: Vec<CommentVersion>,
    /// Who hid it. Its words are gone for good then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hidden_by: Option<AccountId>,
}

/// What a comment said at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommentVersion {
    /// Markdown as it was typed; never HTML that may be shown as it is.
    pub text: String,
    /// Who typed it.
    pub by: AccountId,
    /// When.
    pub at: Timestamp,
}

impl Comment {
    /// A new one.
    #[must_use]
    pub fn new(text: String, by: AccountId, at: Timestamp) -> Self {
        Self { versions: vec![CommentVersion { text, by, at }], hidden_by: None }
    }

    /// What it says.
    #[must_use]
    pub fn text(&self) -> &str {
        self.versions.last().map_or("", |version| version.text.as_str())
    }

    /// Whether somebody hid it.
    #[must_use]
    pub const fn is_hidden(&self) -> bool {
        self.hidden_by.is_some()
    }

    /// Makes it say something else; what it said stays in its history.
    pub fn edit(&mut self, text: String, by: AccountId, at: Timestamp) {
        self.versions.push(CommentVersion { text, by, at });
    }

    /// Takes its words away, the earlier ones as well.
    pub fn hide(&mut self, by: AccountId, at: Timestamp) {
        self.versions = vec![CommentVersion { text: String::new(), by, at }];
        self.hidden_by = Some(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_merged_stays_merged_and_nothing_becomes_a_draft() {
        use DiscussionStatus::{Closed, Draft, Merged, Open};
        let all = [Draft, Open, Closed, Merged];
        let allowed: Vec<_> = all
            .into_iter()
            .flat_map(|from| all.into_iter().map(move |to| (from, to)))
            .filter(|(from, to)| from.may_become(*to))
            .collect();
        assert_eq!(allowed, [(Draft, Open), (Draft, Closed), (Open, Closed), (Closed, Open)]);
    }

    #[test]
    fn numbers_and_refs_of_pull_requests() {
        assert_eq!(Discussion::number_of(&Discussion::reference(12)), Some(12));
        for other in ["refs/pr/", "refs/pr/-1", "refs/pr/1/2", "refs/heads/1", "refs/pr/99999999999999999999"] {
            assert_eq!(Discussion::number_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_hidden_comment_has_no_words_left() {
        let (one, two) = (AccountId::new(Timestamp::from_millis(1), 1), AccountId::new(Timestamp::from_millis(1), 2));
        let mut comment = Comment::new("first".to_owned(), one, Timestamp::from_millis(1));
        comment.edit("second".to_owned(), two, Timestamp::from_millis(2));
        assert_eq!((comment.text(), comment.versions.len()), ("second", 2));
        comment.hide(two, Timestamp::from_millis(3));
        assert!(comment.is_hidden() && !serde_json::to_string(&comment).unwrap().contains("first"));
    }
}
