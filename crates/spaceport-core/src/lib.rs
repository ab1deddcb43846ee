//! Values and decisions of Spaceport.
//!
//! Everything here is a plain value or a pure function: no IO, no async, no clock, no randomness.
//! That is why every hard decision (what to build, start, route, stop) is tested without Docker
//! or a database. Types of this crate are not wire types: API views and table rows are converted
//! at their own border.

pub mod access;
pub mod account;
pub mod card;
pub mod config;
pub mod diagnose;
pub mod diagnosis;
pub mod front_matter;
pub mod hardware;
pub mod id;
pub mod name;
pub mod plan;
pub mod queue;
pub mod repo;
pub mod route;
pub mod sdk;
pub mod space;
pub mod stage;
pub mod time;

pub use diagnosis::{Diagnosis, Reason};
pub use hardware::{FlavorName, HardwareFlavor};
pub use id::{
    AccountId, BuildId, CommitSha, Generation, ImageDigest, InstanceId, ReleaseId, RepoId, SessionId, SpaceId, TokenId,
};
pub use name::{RepoName, Subdomain};
pub use repo::{Repo, RepoKind};
pub use sdk::Sdk;
pub use stage::SpaceStage;
pub use time::Timestamp;
