//! `POST /api/credentials/revoke`: a token that leaked is worth nothing from now on. Whoever has it may
//! say so, as on the Hub; that needs no account, and the answer tells nothing about the token.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::audit;
use crate::caller::origin;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::state::ApiState;

/// Most tokens of one call.
const MOST: usize = 100;

/// Tokens that leaked.
#[derive(Deserialize, ToSchema)]
pub struct Leaked {
    /// The tokens themselves.
    pub credentials: Vec<String>,
}

/// Revoke tokens that leaked
///
/// They are deleted for good. The answer is the same for what is no token.
#[utoipa::path(post, path = "/api/credentials/revoke", tag = "account", request_body = Leaked,
    responses((status = 202, body = Object), (status = 400, body = ErrorBody)))]
pub async fn revoke_credentials(
    State(state): State<ApiState>,
    parts: Parts,
    JsonBody(body): JsonBody<Leaked>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if body.credentials.len() > MOST {
        return Err(ApiError::bad_request(format!("At most {MOST} tokens can be revoked at once")));
    }
    let origin = origin(&parts);
    for token in &body.credentials {
        let gone = state.store.token_revoke(token.trim(), state.control.clock().now()).await?;
        let Some((account, name)) = gone else { continue };
        state.control.activate_routes();
        let owner = state.store.account_by_id(account).await?.map_or_else(|| account.to_string(), |owner| owner.name);
        audit::record_by(&state, "", &origin, "token.revoke", &owner, json!({"token": name})).await?;
    }
    Ok((StatusCode::ACCEPTED, Json(json!({}))))
}
