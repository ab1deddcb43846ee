//! A Space as its owner wants it: the desired state, and the records its life leaves behind.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, SpaceConfig};
use crate::volume::ReleaseVolume;
use crate::{
    AccountId, BuildId, CommitSha, Diagnosis, FlavorName, Generation, ImageDigest, InstanceId, ReleaseId, RepoName,
    Sdk, SpaceId, SpaceStage, Subdomain, Timestamp,
};

/// Who may see a Space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everyone sees code and app.
    Public,
    /// Everyone reaches the app; the code is private.
    Protected,
    /// A 404 for everyone without a right.
    Private,
}

impl Visibility {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Protected => "protected",
            Self::Private => "private",
        }
    }
}

/// What the owner (or the platform) wants the Space to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredRun {
    /// Serve.
    Running,
    /// By the owner.
    Paused,
    /// By an admin or the platform.
    Stopped,
    /// Go away.
    Deleting,
}

impl DesiredRun {
    /// The name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Deleting => "deleting",
        }
    }
}

/// The text names no such value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of {allowed}")]
pub struct UnknownValue {
    text: String,
    allowed: &'static str,
}

macro_rules! from_text {
    ($name:ident, $allowed:literal, [$($variant:ident),+]) => {
        impl FromStr for $name {
            type Err = UnknownValue;
            fn from_str(text: &str) -> Result<Self, UnknownValue> {
                [$(Self::$variant),+].into_iter().find(|value| value.as_str() == text)
                    .ok_or_else(|| UnknownValue { text: text.to_owned(), allowed: $allowed })
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

from_text!(Visibility, "public, protected, private", [Public, Protected, Private]);
from_text!(DesiredRun, "running, paused, stopped, deleting", [Running, Paused, Stopped, Deleting]);

/// A Space: identity, desired state, and the stage last computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    /// Never changes.
    pub id: SpaceId,
    /// `owner/name`.
    pub name: RepoName,
    /// The account it belongs to.
    pub owner: AccountId,
    /// Who created it.
    pub creator: AccountId,
    /// Its host label.
    pub subdomain: Subdomain,
    /// Who may see it.
    pub visibility: Visibility,
    /// As chosen at creation; the front matter of the head commit wins.
    pub sdk: Sdk,
    /// Created.
    pub created_at: Timestamp,
    /// Last change of desired state or code.
    pub updated_at: Timestamp,
    /// The desired state.
    pub desired: Desired,
    /// The stage last computed; lists read it.
    pub stage: SpaceStage,
    /// The diagnosis last computed.
    pub diagnosis: Option<Diagnosis>,
}

/// What should be. Every change raises `generation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Counts the changes.
    pub generation: Generation,
    /// What it should do.
    pub run: DesiredRun,
    /// The commit `main` points to; `None` before the first push.
    pub head: Option<CommitSha>,
    /// Raised to build the same commit once more.
    pub rebuild: i64,
    /// Whether that build ignores every cache.
    pub no_cache: bool,
    /// Raised to start the same release anew.
    pub restart: i64,
    /// Raised by every change of variables or secrets.
    pub settings: i64,
    /// Hardware.
    pub hardware: FlavorName,
    /// Seconds until it may sleep; `None` is never. Hub: `gcTimeout`.
    pub sleep_after_s: Option<i64>,
}

/// What a commit turned out to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Inspection {
    /// It can be built.
    Buildable(Box<SpaceConfig>),
    /// Its front matter is wrong.
    ConfigError(Vec<ConfigError>),
    /// There is nothing to run: the file that is missing.
    NoAppFile {
        /// The missing file.
        file: String,
    },
}

/// The state of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    /// Waits for its turn.
    Queued,
    /// Runs, under a lease.
    Running,
    /// Has a result.
    Succeeded,
    /// Ended without one.
    Failed,
    /// Somebody canceled it, or a newer push did.
    Canceled,
}

impl BuildState {
    /// The name in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

from_text!(BuildState, "queued, running, succeeded, failed, canceled", [Queued, Running, Succeeded, Failed, Canceled]);

/// One build of one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Build {
    /// Identity.
    pub id: BuildId,
    /// The Space.
    pub space: SpaceId,
    /// Counts the Space's builds from 1.
    pub number: i64,
    /// The commit.
    pub sha: CommitSha,
    /// The Space's `rebuild` it was made for.
    pub rebuild: i64,
    /// Whether it ignores every cache.
    pub no_cache: bool,
    /// State.
    pub state: BuildState,
    /// Asked for.
    pub queued_at: Timestamp,
    /// Began.
    pub started_at: Option<Timestamp>,
    /// Ended.
    pub finished_at: Option<Timestamp>,
    /// What it is doing, or why it failed.
    pub diagnosis: Option<Diagnosis>,
    /// The result.
    pub artifact: Option<Artifact>,
    /// Milliseconds each phase took.
    pub phases: BTreeMap<String, u64>,
    /// Somebody wants it to end.
    pub cancel_requested: bool,
}

/// What a build makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Artifact {
    /// An image.
    Image {
        /// Its content.
        digest: ImageDigest,
    },
    /// A folder of files.
    Files {
        /// The folder, immutable.
        root: PathBuf,
        /// The file for `/`.
        index: String,
    },
}

/// Image, settings and hardware: immutable, numbered.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Identity.
    pub id: ReleaseId,
    /// The Space.
    pub space: SpaceId,
    /// Counts the Space's releases from 1.
    pub number: i64,
    /// The build it came from.
    pub build: BuildId,
    /// The commit.
    pub sha: CommitSha,
    /// The configuration of that commit.
    pub config: SpaceConfig,
    /// What runs.
    pub artifact: Artifact,
    /// The Space's `settings` it has.
    pub settings: i64,
    /// The variables it has.
    pub variables: BTreeMap<String, String>,
    /// The secrets it has, sealed.
    pub sealed_secrets: BTreeMap<String, String>,
    /// What is mounted.
    pub volumes: Vec<ReleaseVolume>,
    /// The hardware it has.
    pub hardware: FlavorName,
    /// Made.
    pub created_at: Timestamp,
    /// When it last began to answer: its first instance, or a later one.
    pub ready_at: Option<Timestamp>,
}

/// One attempt to run a release.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Identity; the container carries it as a label.
    pub id: InstanceId,
    /// The Space.
    pub space: SpaceId,
    /// The release.
    pub release: ReleaseId,
    /// The Space's `restart` it was started for.
    pub restart: i64,
    /// Counts the attempts for that release and restart, from 1.
    pub attempt: i64,
    /// Written before the container is.
    pub created_at: Timestamp,
    /// The container ran.
    pub started_at: Option<Timestamp>,
    /// The app answered.
    pub ready_at: Option<Timestamp>,
    /// Taken out of the route; requests in flight may finish.
    pub retired_at: Option<Timestamp>,
    /// Over: the container is gone or will never run again.
    pub ended_at: Option<Timestamp>,
    /// Why it ended, or what holds it up.
    pub diagnosis: Option<Diagnosis>,
    /// Whether it was ended and did not end: by us on purpose, or with the engine.
    pub ended_by_us: bool,
}
