//! Signing in and out: by password, by a one-time link.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::access::{Credential, Viewer};
use spaceport_core::account::{Account, AccountKind, session_cookie};

use crate::audit;
use crate::avatar::avatar_url;
use crate::caller::{Caller, origin};
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::sign_in::oidc::{Oidc, OidcConfig};
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

/// How one can sign in here, and who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignInView {
    /// Who is signed in; null is nobody.
    pub user: Option<SignedInUser>,
    /// The provider to sign in with besides a password; null is none.
    pub provider: Option<ProviderView>,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedInUser {
    /// The account's name.
    pub name: String,
    /// For people.
    pub fullname: String,
    /// A picture.
    pub avatar_url: String,
    /// Administers this site.
    pub is_admin: bool,
    /// `session`, or `access_token`.
    pub by: &'static str,
    /// Whether the account is connected with the provider.
    pub connected: bool,
    /// Whether it has a password.
    pub has_password: bool,
}

/// A provider to sign in with.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderView {
    /// What its button says.
    pub label: String,
    /// Where the button leads; `?next=` is where one comes back to.
    pub url: &'static str,
}

/// How one can sign in here, and who is signed in
#[utoipa::path(get, path = "/api/login", tag = "sign-in", responses((status = 200, body = SignInView)))]
pub async fn get_sign_in(State(state): State<ApiState>, caller: Caller) -> Result<impl IntoResponse, ApiError> {
    let provider = state.sign_in.oidc().map(Oidc::config);
    let user = match &caller.viewer {
        Some(viewer) => Some(signed_in_user(&state, viewer, provider).await?),
        None => None,
    };
    let provider = provider.map(|config| ProviderView { label: config.label.clone(), url: "/login/oidc" });
    Ok(([(CACHE_CONTROL, "no-store")], Json(SignInView { user, provider })))
}

async fn signed_in_user(
    state: &ApiState,
    viewer: &Viewer,
    provider: Option<&OidcConfig>,
) -> Result<SignedInUser, ApiError> {
    let account = &viewer.account;
    let identities = state.store.identities_of(account.id).await?;
    Ok(SignedInUser {
        name: account.name.clone(),
        fullname: account.full_name.clone(),
        avatar_url: avatar_url(&state.site, &account.name),
        is_admin: account.is_admin,
        by: match viewer.credential {
            Credential::Session(_) => "session",
            Credential::Token(_) => "access_token",
        },
        connected: provider.is_some_and(|config| identities.iter().any(|identity| identity.issuer == config.issuer)),
        has_password: state.store.password_of(account.id).await?.is_some(),
    })
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
/// 429 when too many attempts failed; 503 when too many others sign in.
pub(crate) async fn check_password(
    state: &ApiState,
    name: &str,
    password: String,
    address: &str,
) -> Result<Option<Account>, ApiError> {
    let (gate, passwords) = (state.sign_in.gate(), state.sign_in.passwords());
    // Before the attempt counts: whoever is sent away has not failed.
    let place = passwords.queue()?;
    gate.attempt(name, address, state.control.clock().now()).map_err(ApiError::too_many_attempts)?;
    let account = state.store.account_by_name(name).await?.filter(|account| account.kind == AccountKind::User);
    let hash = match &account {
        Some(account) => state.store.password_of(account.id).await?,
        None => None,
    };
    if passwords.is_right(place, password, hash).await? {
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
