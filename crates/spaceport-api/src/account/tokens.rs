//! Tokens: listed without their value, shown once when made, deleted by name.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::account::{Account, Scopes, Token, TokenRole};
use spaceport_store::NewToken;

use crate::audit;
use crate::caller::{User, Writer};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::state::ApiState;

/// Characters after `hf_`. Hub: the form of a user access token.
const RANDOM_CHARS: usize = 37;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Longest name of a token.
const MAX_NAME: usize = 100;

/// A token without its value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// What its owner calls it.
    pub name: String,
    /// `read` or `write`.
    pub role: &'static str,
    /// Its last four characters.
    pub hint: String,
    /// Made.
    pub created_at: String,
}

impl TokenView {
    fn of(token: &Token) -> Self {
        Self {
            name: token.name.clone(),
            role: token.role.as_str(),
            hint: token.hint.clone(),
            created_at: token.created_at.to_rfc3339(),
        }
    }
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub struct TokenRequest {
    /// What its owner calls it; unique within the account.
    pub name: String,
    /// `read` or `write`; `read` when absent.
    pub role: Option<String>,
}

/// A new token: the only time its value is shown.
#[derive(Serialize, ToSchema)]
pub struct NewTokenView {
    /// What its owner calls it.
    pub name: String,
    /// `read` or `write`.
    pub role: &'static str,
    /// The token. Only its hash is kept.
    pub token: String,
}

/// The caller's tokens
#[utoipa::path(get, path = "/api/settings/tokens", tag = "account",
    responses((status = 200, body = [TokenView]), (status = 401, body = ErrorBody)))]
pub async fn list_own_tokens(State(state): State<ApiState>, user: User) -> Result<Json<Vec<TokenView>>, ApiError> {
    list(&state, user.account()).await
}

/// Make a token
///
/// Its value is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/settings/tokens", tag = "account", request_body = TokenRequest,
    responses((status = 200, body = NewTokenView), (status = 409, body = ErrorBody)))]
pub async fn create_own_token(
    State(state): State<ApiState>,
    Writer(user): Writer,
    JsonBody(body): JsonBody<TokenRequest>,
) -> Result<Json<NewTokenView>, ApiError> {
    create(&state, &user, user.account(), &body).await
}

/// Delete a token of the caller
#[utoipa::path(delete, path = "/api/settings/tokens/{token}", tag = "account",
    params(("token" = String, Path, description = "Its name")),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn delete_own_token(
    State(state): State<ApiState>,
    Writer(user): Writer,
    Path(token): Path<String>,
) -> Result<Json<Value>, ApiError> {
    delete(&state, &user, user.account(), &token).await
}

pub(crate) async fn list(state: &ApiState, account: &Account) -> Result<Json<Vec<TokenView>>, ApiError> {
    Ok(Json(state.store.tokens_of(account.id).await?.iter().map(TokenView::of).collect()))
}

pub(crate) async fn create(
    state: &ApiState,
    user: &User,
    account: &Account,
    body: &TokenRequest,
) -> Result<Json<NewTokenView>, ApiError> {
    let name = body.name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) || name.contains('/') {
        return Err(ApiError::bad_request(format!(
            "{:?} is not a valid name of a token: use 1 to {MAX_NAME} characters, without '/' and line breaks",
            clip(name)
        )));
    }
    let role: TokenRole = match &body.role {
        Some(role) => role
            .parse()
            .map_err(|error: spaceport_core::account::UnknownRole| ApiError::bad_request(error.to_string()))?,
        None => TokenRole::Read,
    };
    let token = random_token().map_err(|error| ApiError::internal(error.to_string()))?;
    let clock = state.control.clock();
    let new = NewToken {
        id: clock.token_id(),
        account: account.id,
        name,
        role,
        scopes: Scopes::default(),
        token: &token,
        at: clock.now(),
    };
    state.store.token_create(&new).await?;
    state.control.activate_routes();
    let detail = json!({"token": name, "role": role.as_str()});
    audit::record(state, user, "token.create", &account.name, detail).await?;
    Ok(Json(NewTokenView { name: name.to_owned(), role: role.as_str(), token }))
}

pub(crate) async fn delete(
    state: &ApiState,
    user: &User,
    account: &Account,
    name: &str,
) -> Result<Json<Value>, ApiError> {
    if !state.store.token_delete(account.id, name).await? {
        return Err(ApiError::not_found(format!("{} has no token {:?}", account.name, clip(name))));
    }
    state.control.activate_routes();
    audit::record(state, user, "token.delete", &account.name, json!({"token": name})).await?;
    Ok(Json(json!({})))
}

/// A new token, `hf_` and letters and digits.
///
/// # Errors
/// When the operating system has no random numbers.
pub fn random_token() -> Result<String, getrandom::Error> {
    let mut token = String::from("hf_");
    let mut bytes = [0u8; 64];
    while token.len() < 3 + RANDOM_CHARS {
        getrandom::fill(&mut bytes)?;
        // Values above the largest multiple of the alphabet are left out, so that no character is
        // likelier than another.
        let fair = bytes.iter().filter(|byte| usize::from(**byte) < 4 * ALPHABET.len());
        let chars = fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
        token.extend(chars.take(3 + RANDOM_CHARS - token.len()));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::random_token;

    #[test]
    fn tokens_have_the_hubs_form_and_differ() {
        let (a, b) = (random_token().unwrap(), random_token().unwrap());
        assert_ne!(a, b);
        assert!(a.starts_with("hf_") && a.len() == 40 && a[3..].bytes().all(|b| b.is_ascii_alphanumeric()), "{a}");
    }
}
