//! Values and decisions of Spaceport.
//!
//! Everything here is a plain value or a pure function: no IO, no async, no clock, no randomness.
//! That is why every hard decision (what to build, start, route, stop) is tested without Docker
//! or a database. Types of this crate are not wire types: API views and table rows are converted
//! at their own border.

pub mod access;
pub mod account;
pub mod address;
pub mod card;
pub mod config;
pub mod diagnose;
pub mod diagnosis;
pub mod discussion;
pub mod dockerfile;
pub mod front_matter;
pub mod gpu;
pub mod hardware;
pub mod id;
pub mod name;
pub mod plan;
pub mod queue;
pub mod repo;
pub mod route;
pub mod sdk;
pub mod search;
pub mod sha256;
pub mod space;
pub mod stage;
pub mod ticket;
pub mod time;
pub mod volume;
pub mod webhook;

pub use diagnosis::{Diagnosis, Reason};
pub use discussion::{Discussion, DiscussionStatus};
pub use hardware::{Catalog, FlavorName, HardwareFlavor};
pub use id::{
    AccountId, BuildId, ClaimId, CommitSha, DeliveryId, DiscussionEventId, DiscussionId, EntryId, Generation,
    HookEventId, ImageDigest, InstanceId, LeaseId, NoticeId, ReleaseId, RepoId, ReservationId, SessionId, SpaceId,
    TokenId, WebhookId,
};
pub use name::{RepoName, Subdomain};
pub use repo::{Repo, RepoKind};
pub use sdk::Sdk;
pub use sha256::{InvalidHash, Sha256};
pub use stage::SpaceStage;
pub use time::Timestamp;
pub use volume::Volume;
