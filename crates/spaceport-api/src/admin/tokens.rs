//! Tokens of any user, for site admins.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;

use crate::account::tokens::{NewTokenView, TokenRequest, TokenView, create, delete, list};
use crate::caller::Admin;
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::state::ApiState;
use crate::users::user_named;

/// The tokens of a user
#[utoipa::path(get, path = "/api/admin/users/{user}/tokens", tag = "admin",
    params(("user" = String, Path, description = "The account's name")),
    responses((status = 200, body = [TokenView]), (status = 404, body = ErrorBody)))]
pub async fn list_tokens(
    State(state): State<ApiState>,
    _: Admin,
    Path(user): Path<String>,
) -> Result<Json<Vec<TokenView>>, ApiError> {
    list(&state, &user_named(&state, &user).await?).await
}

/// Make a token for a user
///
/// Its value is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/admin/users/{user}/tokens", tag = "admin", request_body = TokenRequest,
    params(("user" = String, Path, description = "The account's name")),
    responses((status = 200, body = NewTokenView), (status = 409, body = ErrorBody)))]
pub async fn create_token(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(user): Path<String>,
    JsonBody(body): JsonBody<TokenRequest>,
) -> Result<Json<NewTokenView>, ApiError> {
    create(&state, &admin, &user_named(&state, &user).await?, &body).await
}

/// Delete a token of a user
#[utoipa::path(delete, path = "/api/admin/users/{user}/tokens/{token}", tag = "admin",
    params(("user" = String, Path, description = "The account's name"),
        ("token" = String, Path, description = "The token's name or id")),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn delete_token(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(path): Path<HashMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    let part = |name: &str| path.get(name).map_or("", String::as_str);
    delete(&state, &admin, &user_named(&state, part("user")).await?, part("token")).await
}
