//! The files of a repository over HTTP: listed, served, and changed by commits.
//! Hub: the calls behind `hf_hub_download`, `snapshot_download`, `HfFileSystem` and `create_commit`.

pub mod branches;
pub mod commit;
pub mod compare;
pub(crate) mod downloads;
pub mod history;
mod large;
pub mod paths_info;
mod place;
pub mod preupload;
pub(crate) mod range;
pub mod refs;
pub mod resolve;
mod served;
mod target;
pub mod tree;

pub(crate) use place::{Place, ReadAt, WriteAt};

use axum::http::HeaderValue;

use spaceport_core::Repo;
use spaceport_git::Revision;

use crate::error::ApiError;
use crate::state::ApiState;

/// The branch that is shown, indexed and built.
pub(crate) const MAIN: &str = "refs/heads/main";

/// What a revision means.
///
/// # Errors
/// `RevisionNotFound` when it means nothing.
pub(crate) async fn revision(state: &ApiState, repo: &Repo, name: &str) -> Result<Revision, ApiError> {
    let found = state.repositories.resolve(repo.id, name).await?;
    found.ok_or_else(|| ApiError::no_revision(name))
}

/// The header that leads to the next page.
fn next_page(hub: &str, path: &str, query: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(&format!("<{hub}{path}?{query}>; rel=\"next\"")).map_err(ApiError::internal)
}
