//! `hf auth login`: a program without a browser gets a token when somebody who is signed in says so on a
//! page (RFC 8628). The token is an ordinary one, in the list of the account's tokens, that ends by itself.
//!
//! What waits for a word is kept in memory: a program that began before a restart is told that its time
//! is over, and begins anew. There are so few codes at a time, and so few tries of each account, that
//! guessing one is of no use; and whoever is talked into typing a code of somebody else sees from where
//! and how long ago it was asked for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::Timestamp;
use spaceport_core::access::Credential;
use spaceport_core::account::{Account, Scopes, TokenRole, UnknownRole};
use spaceport_store::{NewToken, token_hash};

use crate::account::tokens::random_token;
use crate::audit;
use crate::caller::{Owner, User, origin};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{JsonBody, Params, read_body};
use crate::sign_in::gate::network;
use crate::sign_in::session::random_secret;
use crate::state::ApiState;

/// A code waits so long.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// A program asks as often as this.
const INTERVAL: Duration = Duration::from_secs(5);
/// Programs that wait at the same time, and those of one address or network.
const MOST: usize = 1000;
const MOST_OF_ONE: usize = 20;
/// How long a token of this kind is good.
const TOKEN_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Letters that make no words and are not taken for digits (RFC 8628 §6.1).
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Letters of a code.
const LETTERS: usize = 8;
/// Largest form.
const MAX_FORM: usize = 16 << 10;
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Programs that wait for a word, by the hash of their code.
#[derive(Default)]
pub(crate) struct Devices {
    waiting: Mutex<HashMap<String, Waiting>>,
}

struct Waiting {
    user_code: String,
    origin: String,
    since: Timestamp,
    asked: Option<Timestamp>,
    said: Said,
}

enum Said {
    Nothing,
    No,
    Yes(Box<Account>, TokenRole),
}

impl Devices {
    fn waiting(&self, now: Timestamp) -> std::sync::MutexGuard<'_, HashMap<String, Waiting>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, one| now.since(one.since) < LIFETIME);
        waiting
    }

    /// One more that waits: its two codes.
    fn begin(&self, origin: &str, now: Timestamp) -> Option<(String, String)> {
        let mut waiting = self.waiting(now);
        let from = network(origin);
        let of_one = waiting.values().filter(|one| network(&one.origin) == from).count();
        if waiting.len() >= MOST || of_one >= MOST_OF_ONE {
            return None;
        }
        let (device_code, mut user_code) = (random_secret(), random_code());
        while waiting.values().any(|one| one.user_code == user_code) {
            user_code = random_code();
        }
        let one = Waiting {
            user_code: user_code.clone(),
            origin: origin.to_owned(),
            since: now,
            asked: None,
            said: Said::Nothing,
        };
        waiting.insert(token_hash(&device_code), one);
        Some((device_code, user_code))
    }

    /// From where, and since when, the program with this code waits.
    fn look(&self, user_code: &str, now: Timestamp) -> Option<(String, Timestamp)> {
        let waiting = self.waiting(now);
        let one = waiting.values().find(|one| one.user_code == user_code && matches!(one.said, Said::Nothing))?;
        Some((one.origin.clone(), one.since))
    }

    /// Says yes or no to it, once.
    fn say(&self, user_code: &str, said: Said, now: Timestamp) -> bool {
        let mut waiting = self.waiting(now);
        let found = waiting.values_mut().find(|one| one.user_code == user_code && matches!(one.said, Said::Nothing));
        found.map(|one| one.said = said).is_some()
    }

    /// What a program learns that asks.
    fn ask(&self, device_code: &str, now: Timestamp) -> Result<(Account, TokenRole), &'static str> {
        let mut waiting = self.waiting(now);
        let key = token_hash(device_code);
        let one = waiting.get_mut(&key).ok_or("expired_token")?;
        match &one.said {
            Said::Nothing => {
                // A second of grace: clocks and networks are not exact.
                let early = one.asked.is_some_and(|last| now.since(last) + Duration::from_secs(1) < INTERVAL);
                one.asked = Some(now);
                Err(if early { "slow_down" } else { "authorization_pending" })
            }
            Said::No => {
                waiting.remove(&key);
                Err("access_denied")
            }
            Said::Yes(account, role) => {
                let granted = (Account::clone(account), *role);
                waiting.remove(&key);
                Ok(granted)
            }
        }
    }
}

fn random_code() -> String {
    let mut code = String::with_capacity(LETTERS + 1);
    let mut bytes = [0u8; 64];
    while code.len() < LETTERS {
        getrandom::fill(&mut bytes).expect("the operating system has random numbers");
        // No letter is likelier than another.
        let fair = bytes.iter().filter(|byte| usize::from(**byte) < 12 * ALPHABET.len());
        code.extend(
            fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).take(LETTERS - code.len()),
        );
    }
    code.insert(LETTERS / 2, '-');
    code
}

/// A code as people type it.
fn typed(code: &str) -> String {
    let letters: String = code.chars().filter(char::is_ascii_alphabetic).take(LETTERS + 1).collect();
    let letters = letters.to_ascii_uppercase();
    let (first, second) = letters.split_at_checked(LETTERS / 2).unwrap_or((&letters, ""));
    format!("{first}-{second}")
}

/// `POST /oauth/device`: a program asks for a code (RFC 8628 §3.1).
pub(crate) async fn begin(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let form = form(body).await?;
    if form.get("client_id").is_none_or(String::is_empty) {
        return Ok(refused("invalid_request", "'client_id' is missing"));
    }
    let begun = state.sign_in.devices().begin(&origin(&parts), state.control.clock().now());
    let busy = || ApiError::busy("Too many programs wait for a sign-in; try again in a minute", 60);
    let (device_code, user_code) = begun.ok_or_else(busy)?;
    let page = format!("{}/login/device", state.site.hub_url);
    Ok(unkept(Json(json!({
        "device_code": device_code,
        "verification_uri_complete": format!("{page}?code={user_code}"),
        "user_code": user_code,
        "verification_uri": page,
        "expires_in": LIFETIME.as_secs(),
        "interval": INTERVAL.as_secs(),
    }))))
}

/// `POST /oauth/token`: a program asks whether somebody has said yes (RFC 8628 §3.4).
pub(crate) async fn ask(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let form = form(body).await?;
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    match field("grant_type") {
        GRANT => {}
        "refresh_token" => return Ok(refused("invalid_grant", "Tokens are not renewed here; log in again")),
        _ => {
            return Ok(refused(
                "unsupported_grant_type",
                "Only the device code flow of 'hf auth login' is spoken here",
            ));
        }
    }
    let now = state.control.clock().now();
    let (account, role) = match state.sign_in.devices().ask(field("device_code"), now) {
        Ok(granted) => granted,
        Err(error) => return Ok(refused(error, words(error))),
    };
    // Whoever said yes may have been disabled since.
    let Some(account) = state.store.account_by_id(account.id).await? else {
        return Ok(refused("access_denied", words("access_denied")));
    };
    let token = grant(&state, &account, role, &parts).await?;
    Ok(unkept(Json(json!({
        "access_token": token,
        "token_type": "bearer",
        "expires_in": TOKEN_LIFETIME.as_secs(),
        "scope": if role == TokenRole::Write { "write-repos" } else { "read-repos" },
    }))))
}

async fn grant(state: &ApiState, account: &Account, role: TokenRole, parts: &Parts) -> Result<String, ApiError> {
    let token = random_token().map_err(|error| ApiError::internal(error.to_string()))?;
    let clock = state.control.clock();
    let (id, at) = (clock.token_id(), clock.now());
    let expires_at = at + TOKEN_LIFETIME;
    // The client keeps it under this name.
    let day = at.to_rfc3339();
    let name = format!("hf-auth-login-{}-{}", day.get(..10).unwrap_or(""), random_code().to_ascii_lowercase());
    let new = NewToken {
        id,
        account: account.id,
        name: &name,
        role,
        scopes: Scopes::default(),
        token: &token,
        at,
        expires_at: Some(expires_at),
    };
    state.store.token_create(&new).await?;
    state.control.activate_routes();
    let detail = json!({"token": name, "role": role, "expiresAt": expires_at.to_rfc3339(), "how": "device"});
    audit::record_by(state, &account.name, &origin(parts), "token.create", &account.name, detail).await?;
    Ok(token)
}

/// A program that waits.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceView {
    /// Its code.
    pub code: String,
    /// The address it asked from.
    pub origin: String,
    /// When it asked.
    pub since: String,
}

/// A word on a program that waits.
#[derive(Debug, Deserialize, ToSchema)]
pub struct DeviceAnswer {
    /// Its code.
    pub code: String,
    /// Whether it gets a token.
    pub allow: bool,
    /// `read` or `write`; `write` when absent.
    pub role: Option<String>,
}

/// A program that waits for a token
///
/// For the page on which somebody who is signed in lets `hf auth login` in.
#[utoipa::path(get, path = "/api/login/device", tag = "sign-in",
    params(("code" = String, Query, description = "What the program shows")),
    responses((status = 200, body = DeviceView), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 429, body = ErrorBody)))]
pub async fn get_device(
    State(state): State<ApiState>,
    Owner(user): Owner,
    params: Params,
) -> Result<Response, ApiError> {
    let code = typed(params.get("code").unwrap_or(""));
    let (origin, since) = guarded(&state, &user, || state.sign_in.devices().look(&code, state.control.clock().now()))?;
    Ok(unkept(Json(DeviceView { code, origin, since: since.to_rfc3339() })))
}

/// Let a program in, or not
///
/// It gets a token of the account that ends after 90 days.
#[utoipa::path(post, path = "/api/login/device", tag = "sign-in", request_body = DeviceAnswer,
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 429, body = ErrorBody)))]
pub async fn answer_device(
    State(state): State<ApiState>,
    Owner(user): Owner,
    JsonBody(body): JsonBody<DeviceAnswer>,
) -> Result<Json<Value>, ApiError> {
    let role = match &body.role {
        Some(role) => role.parse().map_err(|error: UnknownRole| ApiError::bad_request(error.to_string()))?,
        None => TokenRole::Write,
    };
    if role == TokenRole::FineGrained {
        return Err(ApiError::bad_request(
            "A program gets 'read' or 'write'; make a fine-grained token in your settings",
        ));
    }
    let account = user.account().clone();
    let said = if body.allow { Said::Yes(Box::new(account), role) } else { Said::No };
    let (code, now) = (typed(&body.code), state.control.clock().now());
    guarded(&state, &user, || state.sign_in.devices().say(&code, said, now).then_some(()))?;
    Ok(Json(json!({})))
}

/// Looks a code up for a browser that is signed in, and keeps whoever guesses waiting.
fn guarded<T>(state: &ApiState, user: &User, look: impl FnOnce() -> Option<T>) -> Result<T, ApiError> {
    if let Credential::Token(_) = user.viewer.credential {
        return Err(ApiError::forbidden("A token cannot let programs in; do it in a browser that is signed in"));
    }
    let (gate, key) = (state.sign_in.gate(), format!("code of {}", user.account().id));
    gate.attempt(&key, &user.origin, state.control.clock().now()).map_err(ApiError::too_many_attempts)?;
    let found = look().ok_or_else(|| ApiError::not_found("No program waits with this code; it may have expired"))?;
    gate.succeeded(&key, &user.origin);
    Ok(found)
}

async fn form(body: axum::body::Body) -> Result<HashMap<String, String>, ApiError> {
    let body = read_body(body, MAX_FORM).await?;
    Ok(url::form_urlencoded::parse(&body).into_owned().collect())
}

fn words(error: &str) -> &'static str {
    match error {
        "authorization_pending" => "Nobody has confirmed the code yet",
        "slow_down" => "Ask less often",
        "access_denied" => "The sign-in was refused",
        _ => "The code is unknown or has expired; begin again",
    }
}

/// RFC 6749 §5.2.
fn refused(error: &str, description: &str) -> Response {
    let body = Json(json!({"error": error, "error_description": description}));
    unkept((StatusCode::BAD_REQUEST, body))
}

fn unkept(answer: impl IntoResponse) -> Response {
    ([(CACHE_CONTROL, "no-store")], answer).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_people_type_them() {
        let code = random_code();
        assert_eq!(code.len(), LETTERS + 1);
        assert_ne!(code, random_code());
        for how in
            [code.clone(), code.to_ascii_lowercase(), code.replace('-', ""), format!(" {} ", code.replace('-', " "))]
        {
            assert_eq!(typed(&how), code, "{how}");
        }
        for wrong in ["", "A", "ABCD-EFGHI", "äöü"] {
            assert_ne!(typed(wrong).len(), LETTERS + 1, "{wrong}");
        }
    }

    #[test]
    fn one_address_does_not_fill_the_room() {
        let (devices, now) = (Devices::default(), Timestamp::from_millis(1));
        for _ in 0..MOST_OF_ONE {
            assert!(devices.begin("192.0.2.1", now).is_some());
        }
        assert!(devices.begin("192.0.2.1", now).is_none());
        assert!(devices.begin("192.0.2.2", now).is_some());
        assert!(devices.begin("192.0.2.1", now + LIFETIME).is_some());
    }
}
