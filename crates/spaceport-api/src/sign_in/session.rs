//! Sessions of browsers: the cookie, and whether a page of this hub sent a request.
//!
//! The cookie is host-only, so no app ever gets it, and `HttpOnly`, so no script reads it. A session
//! ends on its day, or when nobody used it for a while (`SESSION_IDLE` of the store).

use std::time::Duration;

use axum::http::header::{COOKIE, HOST, ORIGIN, SET_COOKIE, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use spaceport_core::account::{Account, Session, session_cookie};
use spaceport_store::NewSession;

use crate::audit;
use crate::error::ApiError;
use crate::state::{ApiState, Site};

/// A session ends then, however much it is used.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Longest name of a browser that is kept.
const MAX_AGENT: usize = 200;

/// Which page sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// One of this hub.
    OwnPage,
    /// One of somebody else.
    OtherPage,
    /// It does not say: a program, or a browser older than those headers.
    Unknown,
}

/// Which page sent a request, by what browsers say and pages cannot: `Sec-Fetch-Site` (Fetch Metadata),
/// and `Origin` where a browser does not send it, as over plain http.
pub(crate) fn sender(parts: &Parts, site: &Site) -> Sender {
    let header = |name: &str| parts.headers.get(name).map(HeaderValue::as_bytes);
    if let Some(fetch_site) = header("sec-fetch-site") {
        return if fetch_site == b"same-origin" { Sender::OwnPage } else { Sender::OtherPage };
    }
    let Some(origin) = header(ORIGIN.as_str()) else { return Sender::Unknown };
    let scheme = if site.is_https() { "https://" } else { "http://" };
    let is_called = |host: Option<&[u8]>| host.is_some() && host == origin.strip_prefix(scheme.as_bytes());
    let own = origin == site.hub_url.as_bytes() || is_called(header(HOST.as_str()));
    if own { Sender::OwnPage } else { Sender::OtherPage }
}

/// The secret of the session in a request's cookies.
pub(crate) fn secret(parts: &Parts, site: &Site) -> Option<String> {
    cookie(&parts.headers, session_cookie(site.is_https()))
}

/// A cookie by its name.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let pairs =
        headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let named = pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(key, _)| *key == name);
    named.map(|(_, value)| value.to_owned()).filter(|value| !value.is_empty())
}

/// 256 random bits, as text for cookies and addresses.
///
/// # Panics
/// When the operating system has no random numbers.
pub(crate) fn random_secret() -> String {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signs an account in: a new session, and the header with its cookie.
///
/// # Errors
/// When the database fails.
pub(crate) async fn begin(
    state: &ApiState,
    account: &Account,
    parts: &Parts,
    how: &str,
) -> Result<(Session, HeaderValue), ApiError> {
    let (clock, origin) = (state.control.clock(), crate::caller::origin(parts));
    let (now, secret) = (clock.now(), random_secret());
    let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let session = Session {
        id: clock.session_id(),
        account: account.id,
        created_at: now,
        last_used_at: now,
        expires_at: now + LIFETIME,
        origin,
        agent: agent.chars().take(MAX_AGENT).collect(),
    };
    // Whatever was signed in here before is not any more, whoever put it there.
    if let Some(before) = self::secret(parts, &state.site)
        && let Some((before, owner)) = state.store.session_account(&before, now).await?
    {
        state.store.session_delete(owner.id, before.id).await?;
    }
    state.store.session_create(&NewSession { session: session.clone(), secret: &secret }).await?;
    let detail = json!({"session": session.id, "how": how});
    audit::record_by(state, &account.name, &session.origin, "session.create", &account.name, detail).await?;
    let name = session_cookie(state.site.is_https());
    let cookie = set_cookie(&state.site, name, &secret, LIFETIME)?;
    Ok((session, cookie))
}

/// A `Set-Cookie` that only this host gets back; a lifetime of zero removes it.
pub(crate) fn set_cookie(site: &Site, name: &str, value: &str, lifetime: Duration) -> Result<HeaderValue, ApiError> {
    let secure = if site.is_https() { "; Secure" } else { "" };
    let seconds = lifetime.as_secs();
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).map_err(ApiError::internal)
}

/// An answer that also sets a cookie, and that nobody keeps.
pub(crate) fn with_cookie(answer: impl IntoResponse, cookie: HeaderValue) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().append(SET_COOKIE, cookie);
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn site(hub_url: &str) -> Site {
        Site {
            hub_url: hub_url.to_owned(),
            spaces_domain: "apps.example".to_owned(),
            https: true,
            hardware: spaceport_core::Catalog::default(),
        }
    }

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_is_our_own_pages_or_it_is_not() {
        use Sender::{OtherPage, OwnPage, Unknown};
        for (hub, headers, expected) in [
            ("https://hub.example", vec![("sec-fetch-site", "same-origin")], OwnPage),
            // An app below the same registrable domain.
            ("https://hub.example", vec![("sec-fetch-site", "same-site")], OtherPage),
            ("https://hub.example", vec![("sec-fetch-site", "cross-site")], OtherPage),
            ("https://hub.example", vec![("sec-fetch-site", "none")], OtherPage),
            (
                "https://hub.example",
                vec![("sec-fetch-site", "cross-site"), ("origin", "https://hub.example")],
                OtherPage,
            ),
            ("https://hub.example", vec![("origin", "https://hub.example")], OwnPage),
            ("https://hub.example", vec![("origin", "http://hub.example"), ("host", "hub.example")], OtherPage),
            ("https://hub.example", vec![("origin", "https://hub.example.evil")], OtherPage),
            ("https://hub.example", vec![("origin", "null")], OtherPage),
            ("https://hub.example", vec![], Unknown),
            ("http://localhost:8080", vec![("origin", "http://localhost:8080")], OwnPage),
            ("http://localhost:8080", vec![("origin", "http://alice-demo.localhost:8080")], OtherPage),
            ("http://localhost:8080", vec![("origin", "http://localhost:9090")], OtherPage),
            // Reached under another name than the configured one.
            ("http://localhost:8080", vec![("origin", "http://10.0.0.7:8080"), ("host", "10.0.0.7:8080")], OwnPage),
            ("http://localhost:8080", vec![("origin", ""), ("host", "")], OtherPage),
        ] {
            assert_eq!(sender(&request(&headers), &site(hub)), expected, "{hub} {headers:?}");
        }
    }

    #[test]
    fn the_cookie_is_for_this_host_alone() {
        let text = |hub: &str, name| {
            let cookie = set_cookie(&site(hub), name, "v", Duration::from_secs(60)).unwrap();
            cookie.to_str().unwrap().to_owned()
        };
        assert_eq!(
            text("https://hub.example", session_cookie(true)),
            "__Host-spaceport=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            text("http://localhost:8080", session_cookie(false)),
            "spaceport_session=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn finds_a_cookie_among_others() {
        let find = |value: &str| cookie(&request(&[("cookie", value)]).headers, "a");
        assert_eq!(find("b=1; a=x=y; c=2").as_deref(), Some("x=y"));
        assert_eq!(find("ab=1; A=2; a="), None);
        assert_eq!(find("a"), None);
    }
}
