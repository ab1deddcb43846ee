//! `POST /api/settings/password`: one's own password.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::access::Credential;

use crate::audit;
use crate::caller::Owner;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::sign_in::login::check_password;
use crate::state::ApiState;

/// A new password for oneself.
#[derive(Deserialize, ToSchema)]
pub struct PasswordChange {
    /// The new one: 10 characters or more.
    pub password: String,
    /// The one before; needed when there is one, so that a session or a token that was left behind
    /// does not become an account.
    pub current: Option<String>,
}

/// Change one's password
///
/// Ends all other sessions of the account. Tokens stay.
#[utoipa::path(post, path = "/api/settings/password", tag = "account", request_body = PasswordChange,
    responses((status = 200, body = Object), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 429, body = ErrorBody)))]
pub async fn set_own_password(
    State(state): State<ApiState>,
    Owner(user): Owner,
    JsonBody(body): JsonBody<PasswordChange>,
) -> Result<Json<Value>, ApiError> {
    let account = user.account();
    if state.store.password_of(account.id).await?.is_some() {
        let current = body.current.ok_or_else(|| ApiError::bad_request("'current' must be the current password"))?;
        if check_password(&state, &account.name, current, &user.origin).await?.is_none() {
            return Err(ApiError::forbidden("'current' is not the current password"));
        }
    }
    let hash = state.sign_in.passwords().hash(body.password).await?;
    let keep = match &user.viewer.credential {
        Credential::Session(session) => Some(session.id),
        Credential::Token(_) => None,
    };
    state.store.password_set(account.id, &hash, keep, state.control.clock().now()).await?;
    audit::record(&state, &user, "password.set", &account.name, json!({})).await?;
    Ok(Json(json!({})))
}
