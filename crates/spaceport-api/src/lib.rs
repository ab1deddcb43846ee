//! Spaceport's HTTP API: the Hub's wire protocol, git over HTTP, and the hub's web page.
//!
//! Handlers record what should be and return; they never start a container. What one may not see
//! is a 404. The crate opens no socket and spawns nothing that outlives [`Lifetime`]: the binary
//! serves [`router`] and decides when to stop.

mod access;
mod account;
mod admin;
mod allowance;
mod audit;
mod avatar;
mod caller;
mod community;
mod envelope;
mod error;
mod extract;
mod files;
mod finish;
mod git;
mod gpu;
mod health;
mod large;
mod markdown;
mod orgs;
mod repos;
mod router;
mod sign_in;
mod slots;
mod spaces;
mod state;
mod streams;
mod unasked;
mod users;
mod views;
mod web;
mod webhooks;

pub use account::tokens::random_token;
pub use error::ApiError;
pub use files::commit::spool::Uploads;
pub use files::downloads::Downloads;
pub use health::{Health, HealthPart};
pub use large::{ClaimKey, LargeFiles};
pub use router::{openapi, openapi_json, router};
pub use sign_in::oidc::{Admission, CannotCall, GroupRole, Oidc, OidcConfig};
pub use sign_in::{SignIn, sign_in_link};
pub use slots::{GitLimits, GitSlots, Slot};
pub use state::{ApiState, HealthProbe, Lifetime, Site};
