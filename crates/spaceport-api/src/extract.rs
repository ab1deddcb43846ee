//! Bodies and query strings, read the way the Hub's clients send them, refused in our own format.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::error::{ApiError, clip};

/// Largest JSON body.
pub const MAX_BODY_BYTES: usize = 2 << 20;
/// Longest a JSON body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body. `Content-Type` is not looked at (clients of several generations call), unknown
/// fields are ignored, an empty body is `{}`.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = read_body(request.into_body(), MAX_BODY_BYTES).await?;
        let text: &[u8] = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { &body };
        if has_nul(text) {
            return Err(ApiError::bad_request("The body has a NUL character (\\u0000) in it; texts cannot have one"));
        }
        let read = serde_json::from_slice(text);
        read.map(Self)
            .map_err(|error| ApiError::bad_request(format!("The body is not the JSON expected here: {error}")))
    }
}

/// Whether a JSON text has a NUL in one of its strings, where it stands escaped: the databases have
/// no such character in a text.
fn has_nul(json: &[u8]) -> bool {
    const NUL: &[u8] = b"\\u0000";
    json.windows(NUL.len()).enumerate().filter(|(_, window)| *window == NUL).any(|(at, _)| {
        // An even number of backslashes before it are escaped themselves, an odd one escapes its own.
        json[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
    })
}

/// All of a body, within a size and a time.
pub(crate) async fn read_body(body: Body, limit: usize) -> Result<bytes::Bytes, ApiError> {
    // One that says it is too large is refused before it is sent.
    if usize::try_from(body.size_hint().lower()).is_ok_and(|bytes| bytes > limit) {
        return Err(ApiError::too_large(limit));
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::too_large(limit)),
        Ok(Err(_)) => Err(ApiError::bad_request("The request body ended before it was complete")),
        Err(_) => Err(ApiError::body_timeout(BODY_TIMEOUT.as_secs())),
    }
}

/// The query string, in order, keys may repeat; `expand[]` is `expand`.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// The last value of a key; an empty one is none.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let last = self.0.iter().rfind(|(name, _)| name == key);
        last.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Every value of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on: `true`, `1`, or the bare key.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.all(key).last().is_some_and(|value| matches!(value, "" | "1") || value.eq_ignore_ascii_case("true"))
    }

    /// A whole number.
    ///
    /// # Errors
    /// When it is something else.
    pub fn number(&self, key: &str) -> Result<Option<u64>, ApiError> {
        let read = |text: &str| {
            let wrong = || ApiError::bad_request(format!("'{key}' must be a whole number, not {:?}", clip(text)));
            text.parse().map_err(|_| wrong())
        };
        self.get(key).map(read).transpose()
    }

    /// The query string with one value replaced.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> String {
        self.with_all(&[(key, value.to_owned())])
    }

    /// The query string with some values replaced.
    #[must_use]
    pub fn with_all(&self, pairs: &[(&str, String)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, kept) in self.0.iter().filter(|(name, _)| pairs.iter().all(|(key, _)| name != key)) {
            query.append_pair(name, kept);
        }
        query.extend_pairs(pairs).finish()
    }
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes());
        let own = |(key, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (key.strip_suffix("[]").unwrap_or(&key).to_owned(), value.into_owned())
        };
        Ok(Self(pairs.map(own).collect()))
    }
}

/// The address the caller used, scheme and host, for absolute URLs in answers: the Hub's clients
/// refuse a URL with another host name than the one they called.
#[derive(Debug, Clone)]
pub struct CalledUrl(pub String);

impl FromRequestParts<crate::ApiState> for CalledUrl {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &crate::ApiState) -> Result<Self, ApiError> {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(first);
        let host = header("x-forwarded-host")
            .or_else(|| header("host"))
            .or_else(|| parts.uri.authority().map(|host| host.as_str().to_owned()));
        let plain = |host: &String| {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_'))
        };
        let configured = &state.site.hub_url;
        let Some(host) = host.filter(plain) else { return Ok(Self(configured.clone())) };
        let scheme = configured.split_once("://").map_or("http", |(scheme, _)| scheme).to_owned();
        let scheme = header("x-forwarded-proto").filter(|proto| proto == "http" || proto == "https").unwrap_or(scheme);
        Ok(Self(format!("{scheme}://{host}")))
    }
}

fn first(list: &str) -> String {
    list.split(',').next().unwrap_or("").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::has_nul;

    #[test]
    fn a_nul_is_seen_however_it_is_escaped() {
        for (json, nul) in [
            (r#"{"a": "b\u0000"}"#, true),
            (r#"{"a": "\\\u0000"}"#, true),
            (r#"{"a\u0000": 1}"#, true),
            (r#"{"a": "\\u0000"}"#, false),
            (r#"{"a": "\\\\u0000"}"#, false),
            (r#"{"a": "\u00001"}"#, true),
            (r#"{"a": "\u0001 u0000"}"#, false),
        ] {
            assert_eq!(has_nul(json.as_bytes()), nul, "{json}");
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            let parsed = value.as_object().unwrap().iter();
            let parsed = parsed.flat_map(|(key, value)| [key.clone(), value.as_str().unwrap_or("").to_owned()]);
            assert_eq!(parsed.collect::<String>().contains('\0'), nul, "{json}");
        }
    }
}
