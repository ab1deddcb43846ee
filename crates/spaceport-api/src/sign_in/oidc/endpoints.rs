//! What a browser calls on its way: out, back, and to connect an account that is there. Errors lead to
//! the page `/login`, which has words for each; the log has what is for administrators.

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::access::Credential;
use spaceport_core::account::Account;

use crate::audit;
use crate::caller::{Caller, Owner, User, origin};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{CalledUrl, JsonBody, Params};
use crate::sign_in::oidc::errand::{Errand, own_path, redirect_uri};
use crate::sign_in::oidc::{Oidc, Problem, admit};
use crate::sign_in::session;
use crate::state::ApiState;

/// Who somebody is at the provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct IdentityView {
    /// The provider.
    pub issuer: String,
    /// Who it is there.
    pub subject: String,
}

/// Where one comes back to.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ConnectRequest {
    /// A path of this hub.
    pub next: Option<String>,
}

/// Where to go.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectView {
    /// The provider's page.
    pub url: String,
}

/// `GET /login/oidc`: to the provider.
pub(crate) async fn depart(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let params = Params::from_request_parts(&mut parts, &state).await?;
    let Some(oidc) = state.sign_in.oidc() else { return Err(ApiError::no_provider()) };
    let next = own_path(&state.site, params.get("next"));
    // The provider sends people to the hub's own address; a cookie of another name would stay behind.
    let called = CalledUrl::from_request_parts(&mut parts, &state).await?.0;
    if host(&called) != host(&state.site.hub_url) && !params.flag("moved") {
        let query = Params::default().with("next", &next);
        return Ok(redirect(&format!("{}/login/oidc?{query}&moved", state.site.hub_url), None));
    }
    let now = state.control.clock().now();
    let errand = Errand::new(next, None, now);
    match way(&state, oidc, &errand).await {
        Ok(address) => Ok(redirect(&address, Some(errand.pack(&state.vault, &state.site)?))),
        Err(problem) => Ok(failed(&parts, &problem, &errand.next)),
    }
}

/// `GET /login/oidc/callback`: back from it.
pub(crate) async fn come_back(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let params = Params::from_request_parts(&mut parts, &state).await?;
    let Some(oidc) = state.sign_in.oidc() else { return Err(ApiError::no_provider()) };
    let now = state.control.clock().now();
    let stated = params.get("state").unwrap_or("");
    let errand = match Errand::unpack(&parts.headers, &state.vault, &state.site, stated, now) {
        Ok(errand) => errand,
        // The cookie stays: it may be that of another window, whose answer is still to come.
        Err(problem) => return Ok(failed(&parts, &problem, "/")),
    };
    let answer = match settle(&state, oidc, &errand, &params, &parts).await {
        Ok(cookie) => redirect(&errand.next, cookie),
        Err(problem) => failed(&parts, &problem, &errand.next),
    };
    Ok(session::with_cookie(answer, Errand::forget(&state.site)?))
}

/// What an answer of the provider comes to: the cookie of a session, or none where an account was connected.
async fn settle(
    state: &ApiState,
    oidc: &Oidc,
    errand: &Errand,
    params: &Params,
    parts: &Parts,
) -> Result<Option<HeaderValue>, Problem> {
    let (config, now, origin) = (oidc.config(), state.control.clock().now(), origin(parts));
    // RFC 9207: whose answer it is, so that one provider's code is never given to another.
    let expects_issuer = match params.get("iss") {
        Some(issuer) if issuer != config.issuer => {
            return Err(Problem::Errand("its answer is another provider's"));
        }
        Some(_) => false,
        None => oidc.provider().document(now).await?.authorization_response_iss_parameter_supported,
    };
    if expects_issuer {
        return Err(Problem::Errand("its answer does not say whose it is"));
    }
    if let Some(error) = params.get("error") {
        let error: String = error.chars().take(60).filter(|c| c.is_ascii_graphic()).collect();
        return Err(match error.as_str() {
            "server_error" | "temporarily_unavailable" => Problem::Provider(format!("it answered {error}")),
            "access_denied" | "login_required" | "interaction_required" | "consent_required" => Problem::Denied(error),
            _ => Problem::Provider(format!("it answered {error}; the client may be registered wrongly there")),
        });
    }
    let code = params.get("code").ok_or(Problem::Errand("its answer has no code"))?;
    let wants = |claims: &serde_json::Map<String, Value>| admit::wants_more(config, claims);
    let redirect_uri = redirect_uri(&state.site);
    let provider = oidc.provider();
    // Each code costs the provider a question, and there are only so many turns for all: neither one errand nor one
    // address has them all.
    let (gate, key) = (state.sign_in.gate(), format!("errand {}", errand.nonce));
    gate.attempt(&key, &origin, now).map_err(|_| Problem::Busy)?;
    let claims = provider.redeem(code, &errand.verifier, &errand.nonce, &redirect_uri, now, wants).await?;
    gate.succeeded(&key, &origin);
    if let Some(id) = errand.connect {
        let account = still_signed_in(state, parts).await?.filter(|account| account.id == id);
        let account = account.ok_or(Problem::Errand("nobody, or somebody else, is signed in now"))?;
        admit::connect(state, config, &claims, &account, &origin).await?;
        return Ok(None);
    }
    let account = admit::admit(state, config, &claims, &origin).await?;
    let (_, cookie) = session::begin(state, &account, parts, "oidc").await?;
    Ok(Some(cookie))
}

/// Who one is at the providers
#[utoipa::path(get, path = "/api/settings/identities", tag = "account",
    responses((status = 200, body = [IdentityView]), (status = 401, body = ErrorBody)))]
pub async fn list_identities(State(state): State<ApiState>, user: User) -> Result<Json<Vec<IdentityView>>, ApiError> {
    let user = user.into_full_reader()?;
    let identities = state.store.identities_of(user.account().id).await?;
    let view =
        |identity: spaceport_store::Identity| IdentityView { issuer: identity.issuer, subject: identity.subject };
    Ok(Json(identities.into_iter().map(view).collect()))
}

/// Connect one's account with the provider
///
/// For a browser that is signed in: it goes to the address in the answer, and comes back connected.
#[utoipa::path(post, path = "/api/settings/identities", tag = "account", request_body = ConnectRequest,
    responses((status = 200, body = ConnectView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn connect_identity(
    State(state): State<ApiState>,
    Owner(user): Owner,
    JsonBody(body): JsonBody<ConnectRequest>,
) -> Result<Response, ApiError> {
    if let Credential::Token(_) = user.viewer.credential {
        return Err(ApiError::forbidden("An account is connected in a browser that is signed in; tokens cannot do it"));
    }
    let Some(oidc) = state.sign_in.oidc() else { return Err(ApiError::no_provider()) };
    let next = own_path(&state.site, body.next.as_deref());
    let errand = Errand::new(next, Some(user.account().id), state.control.clock().now());
    let url = way(&state, oidc, &errand).await.map_err(|problem| {
        tracing::warn!(error = &problem as &dyn std::error::Error, "an account could not be connected: {problem}");
        ApiError::unavailable("The provider cannot be asked at the moment; try again", problem)
    })?;
    Ok(session::with_cookie(Json(ConnectView { url }), errand.pack(&state.vault, &state.site)?))
}

/// Disconnect one's account from a provider
///
/// Refused when there would be no other way to sign in: set a password first.
#[utoipa::path(delete, path = "/api/settings/identities", tag = "account", request_body = IdentityIssuer,
    responses((status = 200, body = Object), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn disconnect_identity(
    State(state): State<ApiState>,
    Owner(user): Owner,
    JsonBody(body): JsonBody<IdentityIssuer>,
) -> Result<Json<Value>, ApiError> {
    let account = user.account();
    if state.store.password_of(account.id).await?.is_none() {
        return Err(ApiError::conflict("You could not sign in any more; set a password first"));
    }
    if !state.store.identity_remove(account.id, &body.issuer).await? {
        return Err(ApiError::not_found("Your account is not connected with this provider"));
    }
    audit::record(&state, &user, "identity.remove", &account.name, json!({"issuer": body.issuer})).await?;
    Ok(Json(json!({})))
}

/// A provider.
#[derive(Debug, Deserialize, ToSchema)]
pub struct IdentityIssuer {
    /// As `GET` of the same path has it.
    pub issuer: String,
}

async fn way(state: &ApiState, oidc: &Oidc, errand: &Errand) -> Result<String, Problem> {
    let document = oidc.provider().document(state.control.clock().now()).await?;
    errand.address(&document.authorization_endpoint, oidc.config(), &state.site)
}

async fn still_signed_in(state: &ApiState, parts: &Parts) -> Result<Option<Account>, Problem> {
    let caller = Caller::of(parts, state).await?;
    let viewer = caller.viewer.filter(|viewer| matches!(viewer.credential, Credential::Session(_)));
    Ok(viewer.map(|viewer| viewer.account))
}

/// The page that says what went wrong, and the line in the log that says why.
fn failed(parts: &Parts, problem: &Problem, next: &str) -> Response {
    let (code, address) = (problem.code(), origin(parts));
    if problem.is_ours() {
        tracing::warn!(client.address = address, problem = code, "somebody could not sign in: {problem}");
    } else {
        tracing::info!(client.address = address, problem = code, "somebody could not sign in: {problem}");
    }
    let query = Params::default().with("problem", code);
    let next = if next == "/" { String::new() } else { format!("&{}", Params::default().with("next", next)) };
    redirect(&format!("/login?{query}{next}"), None)
}

fn redirect(to: &str, cookie: Option<HeaderValue>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    if let Ok(to) = HeaderValue::from_str(to) {
        headers.insert(LOCATION, to);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Codes and states are nobody's business.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    response
}

fn host(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, host)| host)
}
