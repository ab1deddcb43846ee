//! `PUT /api/spaces/{id}/settings`: who may see a Space.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::access::WriteSpace;
use crate::audit;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::repos::create::visibility;
use crate::state::ApiState;
use crate::views::SpacePath;

/// Changed settings.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RepoSettings {
    /// `public`, `protected` or `private`.
    pub visibility: Option<String>,
    /// Of older clients: true is `private`, false `public`.
    pub private: Option<bool>,
}

/// The settings as they are now.
#[derive(Debug, Serialize, ToSchema)]
pub struct RepoSettingsView {
    /// `public`, `protected` or `private`.
    pub visibility: String,
    /// Whether it is hidden from others.
    pub private: bool,
}

/// Change who may see a Space
#[utoipa::path(put, path = "/api/spaces/{owner}/{name}/settings", tag = "repositories", params(SpacePath),
    request_body = RepoSettings,
    responses((status = 200, body = RepoSettingsView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn update_settings(
    State(state): State<ApiState>,
    to: WriteSpace,
    JsonBody(body): JsonBody<RepoSettings>,
) -> Result<Json<RepoSettingsView>, ApiError> {
    let wanted = match (&body.visibility, body.private) {
        (None, None) => to.space.visibility,
        (text, private) => visibility(text.as_deref(), private)?,
    };
    if wanted != to.space.visibility {
        state.store.space_set_visibility(to.space.id, wanted, state.control.clock().now()).await?;
        state.control.activate_routes();
        state.control.activate(to.space.id);
        let detail = json!({"from": to.space.visibility, "to": wanted});
        audit::record(&state, &to.user, "space.visibility", &to.space.name.to_string(), detail).await?;
    }
    Ok(Json(RepoSettingsView {
        visibility: wanted.as_str().to_owned(),
        private: wanted == spaceport_core::space::Visibility::Private,
    }))
}
