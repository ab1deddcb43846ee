//! Tokens: listed without their value, shown once when made, deleted by name or id.
//!
//! Only a credential that may do everything makes or deletes tokens: one that holds something back
//! could otherwise make one that does not.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::TokenId;
use spaceport_core::account::{Account, Scopes, Token, TokenRole, UnknownRole};
use spaceport_store::NewToken;

use crate::account::scopes::{self, ScopesRequest, ScopesView};
use crate::audit;
use crate::caller::{Owner, User};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::state::ApiState;

/// Characters after `hf_`. Hub: the form of a user access token.
const RANDOM_CHARS: usize = 37;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Longest name of a token.
const MAX_NAME: usize = 100;
/// Longest lifetime of a token that expires: ten years.
const MAX_LIFETIME_S: u64 = 3660 * 24 * 60 * 60;

/// A token without its value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// Never changes.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// `read`, `write` or `fineGrained`.
    pub role: &'static str,
    /// What a fine-grained one may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fine_grained: Option<ScopesView>,
    /// Its last four characters.
    pub hint: String,
    /// Made.
    pub created_at: String,
    /// Worth nothing from then on; null is never.
    pub expires_at: Option<String>,
    /// Last used, give or take some minutes; null is not yet.
    pub last_used_at: Option<String>,
}

impl TokenView {
    async fn of(state: &ApiState, account: &Account, token: &Token) -> Result<Self, ApiError> {
        let fine_grained = match token.role {
            TokenRole::FineGrained => Some(scopes::view(&state.store, account, &token.scopes).await?),
            TokenRole::Read | TokenRole::Write => None,
        };
        Ok(Self {
            id: token.id.to_string(),
            name: token.name.clone(),
            role: token.role.as_str(),
            fine_grained,
            hint: token.hint.clone(),
            created_at: token.created_at.to_rfc3339(),
            expires_at: token.expires_at.map(|at| at.to_rfc3339()),
            last_used_at: token.last_used_at.map(|at| at.to_rfc3339()),
        })
    }
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequest {
    /// What its owner calls it; unique within the account.
    pub name: String,
    /// `read`, `write` or `fineGrained`; `read` when absent.
    pub role: Option<String>,
    /// What a fine-grained one may do.
    pub fine_grained: Option<ScopesRequest>,
    /// Worth nothing after so many seconds; it does not expire when absent.
    pub expires_in_seconds: Option<u64>,
}

/// A new token: the only time its value is shown.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewTokenView {
    /// Never changes.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// `read`, `write` or `fineGrained`.
    pub role: &'static str,
    /// Worth nothing from then on; null is never.
    pub expires_at: Option<String>,
    /// The token. Only its hash is kept.
    pub token: String,
}

/// The caller's tokens
#[utoipa::path(get, path = "/api/settings/tokens", tag = "account",
    responses((status = 200, body = [TokenView]), (status = 401, body = ErrorBody)))]
pub async fn list_own_tokens(State(state): State<ApiState>, user: User) -> Result<Json<Vec<TokenView>>, ApiError> {
    let user = user.into_full_reader()?;
    list(&state, user.account()).await
}

/// Make a token
///
/// Its value is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/settings/tokens", tag = "account", request_body = TokenRequest,
    responses((status = 200, body = NewTokenView), (status = 409, body = ErrorBody)))]
pub async fn create_own_token(
    State(state): State<ApiState>,
    Owner(user): Owner,
    JsonBody(body): JsonBody<TokenRequest>,
) -> Result<Json<NewTokenView>, ApiError> {
    create(&state, &user, user.account(), &body).await
}

/// Delete a token of the caller
#[utoipa::path(delete, path = "/api/settings/tokens/{token}", tag = "account",
    params(("token" = String, Path, description = "Its name or its id")),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn delete_own_token(
    State(state): State<ApiState>,
    Owner(user): Owner,
    Path(token): Path<String>,
) -> Result<Json<Value>, ApiError> {
    delete(&state, &user, user.account(), &token).await
}

pub(crate) async fn list(state: &ApiState, account: &Account) -> Result<Json<Vec<TokenView>>, ApiError> {
    let mut views = Vec::new();
    for token in &state.store.tokens_of(account.id).await? {
        views.push(TokenView::of(state, account, token).await?);
    }
    Ok(Json(views))
}

pub(crate) async fn create(
    state: &ApiState,
    user: &User,
    account: &Account,
    body: &TokenRequest,
) -> Result<Json<NewTokenView>, ApiError> {
    let name = body.name.trim();
    check_name(name)?;
    let role: TokenRole = match &body.role {
        Some(role) => role.parse().map_err(|error: UnknownRole| ApiError::bad_request(error.to_string()))?,
        None => TokenRole::Read,
    };
    let scopes = match (role, &body.fine_grained) {
        (TokenRole::FineGrained, request) => {
            let nothing = ScopesRequest::default();
            scopes::read(&state.store, account, request.as_ref().unwrap_or(&nothing)).await?
        }
        (TokenRole::Read | TokenRole::Write, None) => Scopes::default(),
        (TokenRole::Read | TokenRole::Write, Some(_)) => {
            return Err(ApiError::bad_request(format!(
                "A token with the role '{role}' has no scopes; use the role 'fineGrained' or leave 'fineGrained' out"
            )));
        }
    };
    let token = random_token().map_err(|error| ApiError::internal(error.to_string()))?;
    let clock = state.control.clock();
    let (id, at) = (clock.token_id(), clock.now());
    let expires_at = expiry(body.expires_in_seconds)?.map(|lifetime| at + lifetime);
    let detail =
        json!({"token": name, "role": role, "scopes": scopes, "expiresAt": expires_at.map(|at| at.to_rfc3339())});
    let new = NewToken { id, account: account.id, name, role, scopes, token: &token, at, expires_at };
    state.store.token_create(&new).await?;
    state.control.activate_routes();
    audit::record(state, user, "token.create", &account.name, detail).await?;
    Ok(Json(NewTokenView {
        id: id.to_string(),
        name: name.to_owned(),
        role: role.as_str(),
        expires_at: expires_at.map(|at| at.to_rfc3339()),
        token,
    }))
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let printable = !name.chars().any(char::is_control) && !name.contains('/');
    if name.is_empty() || name.chars().count() > MAX_NAME || !printable {
        return Err(ApiError::bad_request(format!(
            "{:?} is not a valid name of a token: use 1 to {MAX_NAME} characters, without '/' and line breaks",
            clip(name)
        )));
    }
    // A token is deleted by its name or its id, so no name may look like an id.
    if name.parse::<TokenId>().is_ok() {
        return Err(ApiError::bad_request("A token cannot be called like the id of one"));
    }
    Ok(())
}

fn expiry(seconds: Option<u64>) -> Result<Option<Duration>, ApiError> {
    match seconds {
        None => Ok(None),
        Some(seconds @ 1..=MAX_LIFETIME_S) => Ok(Some(Duration::from_secs(seconds))),
        Some(seconds) => Err(ApiError::bad_request(format!(
            "'expiresInSeconds' must be 1 to {MAX_LIFETIME_S}, or absent for a token that does not expire, not {seconds}"
        ))),
    }
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
