//! What goes over the wire: core values converted at this border, spelt as the Hub's clients read
//! them.

pub mod account;
pub mod build;
pub mod discussion;
pub mod file;
pub mod repo;
pub mod runtime;
pub mod space;
pub mod webhook;

use utoipa::IntoParams;

/// The repository of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path in the OpenAPI document; the extractors read it")]
pub struct RepoPath {
    /// `models`, `datasets` or `spaces`.
    kind: String,
    /// The account it belongs to.
    owner: String,
    /// Its name.
    name: String,
}

/// The Space of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path in the OpenAPI document; the extractors read it")]
pub struct SpacePath {
    /// The account it belongs to.
    owner: String,
    /// Its name.
    name: String,
}
