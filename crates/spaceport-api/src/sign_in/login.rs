//! Signing in and out: by password, by a one-time link.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::access::Credential;
use spaceport_core::account::{Account, AccountKind, session_cookie};

use crate::audit;
use crate::caller::{Caller, origin};
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::sign_in::session::{self, Sender};
use crate::state::ApiState;

/// Name and password.
#[derive(Deserialize, ToSchema)]
pub struct Login {
    /// The account's name.
    pub user: String,
    /// Its password.
    pub password: String,
}

/// A link that signs in once.
#[derive(Deserialize, ToSchema)]
pub struct LinkLogin {
    /// What follows `/login/link/` in it.
    pub link: String,
}

/// Who is signed in now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedIn {
    /// The account's name.
    pub name: String,
    /// The session ends then, however much it is used.
    pub expires_at: String,
}

/// Sign in with a password
///
/// The answer sets a cookie that counts as the account's own token, in this browser. After several
/// failures each attempt must wait longer than the one before.
#[utoipa::path(post, path = "/api/login", tag = "sign-in", request_body = Login,
    responses((status = 200, body = SignedIn), (status = 401, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub async fn sign_in(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let (parts, Login { user, password }) = own_page(&state, request).await?;
    let user = user.trim();
    let account = check_password(&state, user, password, &origin(&parts)).await?;
    let Some(account) = account else {
        tracing::info!(client.address = origin(&parts), "somebody failed to sign in");
        return Err(ApiError::wrong_password());
    };
    signed_in(&state, &account, &parts, "password").await
}

/// Sign in with a one-time link
#[utoipa::path(post, path = "/api/login/link", tag = "sign-in", request_body = LinkLogin,
    responses((status = 200, body = SignedIn), (status = 401, body = ErrorBody)))]
pub async fn sign_in_with_link(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let (parts, LinkLogin { link }) = own_page(&state, request).await?;
    let account = state.store.sign_in_link_take(link.trim(), state.control.clock().now()).await?;
    let account = account.ok_or_else(ApiError::spent_link)?;
    signed_in(&state, &account, &parts, "link").await
}

/// Sign out
///
/// Ends the session and removes its cookie. Signing out of nothing is no error.
#[utoipa::path(post, path = "/api/logout", tag = "sign-in", responses((status = 200, body = Object)))]
pub async fn sign_out(State(state): State<ApiState>, caller: Caller) -> Result<Response, ApiError> {
    if let Some(viewer) = &caller.viewer
        && let Credential::Session(session) = &viewer.credential
    {
        state.store.session_delete(viewer.account.id, session.id).await?;
        let name = &viewer.account.name;
        let detail = json!({"session": session.id});
        audit::record_by(&state, name, &caller.origin, "session.delete", name, detail).await?;
    }
    let name = session_cookie(state.site.is_https());
    let gone = session::set_cookie(&state.site, name, "", std::time::Duration::ZERO)?;
    Ok(session::with_cookie(Json(json!({})), gone))
}

/// Whose password it is. Unknown names take as long, and wait as long, as known ones.
///
/// # Errors
/// 429 when too many attempts failed.
pub(crate) async fn check_password(
    state: &ApiState,
    name: &str,
    password: String,
    address: &str,
) -> Result<Option<Account>, ApiError> {
    let gate = state.sign_in.gate();
    gate.attempt(name, address, state.control.clock().now()).map_err(ApiError::too_many_attempts)?;
    let account = state.store.account_by_name(name).await?.filter(|account| account.kind == AccountKind::User);
    let hash = match &account {
        Some(account) => state.store.password_of(account.id).await?,
        None => None,
    };
    if state.sign_in.passwords().is_right(password, hash).await? {
        gate.succeeded(name, address);
        return Ok(account);
    }
    Ok(None)
}

async fn signed_in(state: &ApiState, account: &Account, parts: &Parts, how: &str) -> Result<Response, ApiError> {
    let (session, cookie) = session::begin(state, account, parts, how).await?;
    let body = SignedIn { name: account.name.clone(), expires_at: session.expires_at.to_rfc3339() };
    Ok(session::with_cookie(Json(body), cookie))
}

/// Refuses pages of others, which could sign a visitor in as somebody else without being noticed.
async fn own_page<T: serde::de::DeserializeOwned>(state: &ApiState, request: Request) -> Result<(Parts, T), ApiError> {
    let (parts, body) = request.into_parts();
    if session::sender(&parts, &state.site) == Sender::OtherPage {
        return Err(ApiError::other_site());
    }
    let JsonBody(value) = JsonBody::<T>::from_request(Request::new(body), state).await?;
    Ok((parts, value))
}
