//! Repositories through the Hub's API: create, delete, move, duplicate, info, list, settings.

mod attributes;
pub mod auth_check;
pub(crate) mod beginning;
pub mod create;
pub mod delete;
pub mod duplicate;
pub mod info;
pub mod list;
pub mod moving;
pub(crate) mod record;
pub mod settings;
pub mod tags;
pub(crate) mod weights;

use spaceport_core::RepoKind;

use crate::error::ApiError;

/// What `type` says; absent means a model, as on the Hub.
pub(crate) fn kind(text: Option<&str>) -> Result<RepoKind, ApiError> {
    text.map_or(Ok(RepoKind::Model), |text| {
        text.parse().map_err(|error: spaceport_core::repo::UnknownKind| ApiError::bad_request(error.to_string()))
    })
}
