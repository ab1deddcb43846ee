//! How users sign in, for site admins: a password, a one-time link.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::audit;
use crate::caller::Admin;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::sign_in::sign_in_link;
use crate::state::ApiState;
use crate::users::user_named;

/// A new password.
#[derive(Deserialize, ToSchema)]
pub struct NewPassword {
    /// 10 characters or more.
    pub password: String,
}

/// A link that signs in once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignInLinkView {
    /// Where to; whoever has it may sign in.
    pub url: String,
    /// Until when.
    pub expires_at: String,
}

/// Set a user's password
///
/// Ends all sessions of the user. Tokens stay.
#[utoipa::path(put, path = "/api/admin/users/{user}/password", tag = "admin", request_body = NewPassword,
    params(("user" = String, Path, description = "The account's name")),
    responses((status = 200, body = Object), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn set_password(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(user): Path<String>,
    JsonBody(body): JsonBody<NewPassword>,
) -> Result<Json<Value>, ApiError> {
    let user = user_named(&state, &user).await?;
    let hash = state.sign_in.passwords().hash(body.password).await?;
    state.store.password_set(user.id, &hash, None, state.control.clock().now()).await?;
    audit::record(&state, &admin, "password.set", &user.name, json!({})).await?;
    Ok(Json(json!({})))
}

/// Make a link with which a user signs in once
///
/// It works for a day, and signs in whoever has it.
#[utoipa::path(post, path = "/api/admin/users/{user}/sign-in-link", tag = "admin",
    params(("user" = String, Path, description = "The account's name")),
    responses((status = 200, body = SignInLinkView), (status = 404, body = ErrorBody)))]
pub async fn create_sign_in_link(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(user): Path<String>,
) -> Result<Json<SignInLinkView>, ApiError> {
    let user = user_named(&state, &user).await?;
    let link = sign_in_link(&state.store, state.control.clock(), &state.site.hub_url, &user).await?;
    let expires_at = link.expires_at.to_rfc3339();
    audit::record(&state, &admin, "sign_in_link.create", &user.name, json!({"expiresAt": expires_at})).await?;
    Ok(Json(SignInLinkView { url: link.url, expires_at }))
}
