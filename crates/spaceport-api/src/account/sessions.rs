//! The browsers in which the caller is signed in.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::access::Credential;

use crate::audit;
use crate::caller::{Owner, User};
use crate::error::{ApiError, ErrorBody};
use crate::state::ApiState;

/// A browser that is signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Identity.
    pub id: String,
    /// Whether it is the one that asks.
    pub current: bool,
    /// Signed in.
    pub created_at: String,
    /// Last used, give or take some minutes.
    pub last_used_at: String,
    /// Ends then, however much it is used.
    pub expires_at: String,
    /// The address it was made from.
    pub origin: String,
    /// What the browser calls itself.
    pub user_agent: String,
}

/// The browsers in which the caller is signed in
#[utoipa::path(get, path = "/api/settings/sessions", tag = "account",
    responses((status = 200, body = [SessionView]), (status = 401, body = ErrorBody)))]
pub async fn list_sessions(State(state): State<ApiState>, user: User) -> Result<Json<Vec<SessionView>>, ApiError> {
    let user = user.into_full_reader()?;
    let current = match &user.viewer.credential {
        Credential::Session(session) => Some(session.id),
        Credential::Token(_) => None,
    };
    let sessions = state.store.sessions_of(user.account().id, state.control.clock().now()).await?;
    let view = |session: spaceport_core::account::Session| SessionView {
        id: session.id.to_string(),
        current: current == Some(session.id),
        created_at: session.created_at.to_rfc3339(),
        last_used_at: session.last_used_at.to_rfc3339(),
        expires_at: session.expires_at.to_rfc3339(),
        origin: session.origin,
        user_agent: session.agent,
    };
    Ok(Json(sessions.into_iter().map(view).collect()))
}

/// Sign a browser out
#[utoipa::path(delete, path = "/api/settings/sessions/{session}", tag = "account",
    params(("session" = String, Path, description = "Its id")),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn delete_session(
    State(state): State<ApiState>,
    Owner(user): Owner,
    Path(session): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let missing = || ApiError::not_found("You have no such session");
    let id = session.parse().map_err(|_| missing())?;
    if !state.store.session_delete(user.account().id, id).await? {
        return Err(missing());
    }
    audit::record(&state, &user, "session.delete", &user.account().name, json!({"session": id})).await?;
    Ok(Json(json!({})))
}
