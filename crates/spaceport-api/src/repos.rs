//! Repositories through the Hub's API: create, delete, info, list, settings.

pub mod auth_check;
pub mod create;
pub mod delete;
pub mod info;
pub mod list;
pub mod settings;

use crate::error::ApiError;

/// What `type` says; absent means a model, as on the Hub.
pub(crate) fn only_spaces(kind: Option<&str>) -> Result<(), ApiError> {
    match kind {
        Some("space") => Ok(()),
        None | Some("model" | "dataset" | "kernel") => Err(ApiError::bad_request(format!(
            "This server hosts Spaces only, not repositories of type {:?}: send \"type\": \"space\"",
            kind.unwrap_or("model")
        ))),
        Some(other) => Err(ApiError::bad_request(format!(
            "'type' cannot be {:?}; the only type this server hosts is \"space\"",
            crate::error::clip(other)
        ))),
    }
}
