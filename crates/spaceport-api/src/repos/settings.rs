//! `PUT /api/{kind}/{id}/settings`: who may see a repository.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::RepoKind;

use crate::access::{ReadRepo, WriteRepo};
use crate::audit;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::repos::create::visibility;
use crate::state::ApiState;
use crate::views::RepoPath;

/// Changed settings.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RepoSettings {
    /// `public`, `protected` or `private`.
    pub visibility: Option<String>,
    /// Of older clients: true is `private`, false `public`.
    pub private: Option<bool>,
    /// False, or absent: access is never asked for here.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub gated: Value,
}

/// The settings as they are now.
#[derive(Debug, Serialize, ToSchema)]
pub struct RepoSettingsView {
    /// `public`, `protected` or `private`.
    pub visibility: String,
    /// Whether it is hidden from others.
    pub private: bool,
}

/// Change who may see a repository
#[utoipa::path(put, path = "/api/{kind}/{owner}/{name}/settings", tag = "repositories", params(RepoPath),
    request_body = RepoSettings,
    responses((status = 200, body = RepoSettingsView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn update_settings(
    State(state): State<ApiState>,
    read: ReadRepo,
    JsonBody(body): JsonBody<RepoSettings>,
) -> Result<Json<RepoSettingsView>, ApiError> {
    let WriteRepo { repo, user, .. } = read.into_own()?;
    if !matches!(body.gated, Value::Null | Value::Bool(false)) {
        // Answered with success, its owner would take it for closed while everybody reads it.
        let message = "'gated' must be false: this hub has no gated access; make the repository private, or a member \
                       of an organization of everybody who may read it";
        return Err(ApiError::bad_request(message));
    }
    let wanted = match (&body.visibility, body.private) {
        (None, None) => repo.visibility,
        (text, private) => visibility(repo.kind, text.as_deref(), private)?,
    };
    if wanted != repo.visibility {
        state.store.repo_set_visibility(repo.id, wanted, state.control.clock().now()).await?;
        if repo.kind == RepoKind::Space {
            state.control.activate_routes();
            state.control.activate(repo.id.into());
        }
        let detail = json!({"from": repo.visibility, "to": wanted});
        audit::record(&state, &user, "repo.visibility", &repo.path(), detail).await?;
    }
    Ok(Json(RepoSettingsView {
        visibility: wanted.as_str().to_owned(),
        private: wanted == spaceport_core::space::Visibility::Private,
    }))
}
