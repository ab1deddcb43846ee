//! Which headers cross the proxy: hop-by-hop fields end here (RFC 9110 §7.6.1), credentials of the
//! hub never reach an app, and the forwarding fields are ours.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{BufMut, BytesMut};
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, Entry, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use std::borrow::Cow;
use std::cell::RefCell;
use std::net::IpAddr;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const X_HF_AUTHORIZATION: HeaderName = HeaderName::from_static("x-hf-authorization");
const X_IP_TOKEN: HeaderName = HeaderName::from_static("x-ip-token");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What a peer that is not a trusted forwarder may not claim.
const CLAIMS: [&str; 12] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-scheme",
    "x-real-ip",
    "x-request-id",
    "x-ip-token",
    "x-hf-authorization",
    "forwarded",
];

/// What has a meaning here. Servers that turn `-` into `_` (CGI, WSGI) cannot tell `X_Forwarded_For`
/// from `X-Forwarded-For`, so the former is always dropped.
fn has_meaning(name: &str) -> bool {
    CLAIMS.contains(&name) || matches!(name, "content-length" | "transfer-encoding" | "host")
}

/// A credential is recognised also where the padding is missing.
const PASSWORD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Fields that a `Connection` header may not remove, since the request would mean something else.
const KEPT: [HeaderName; 3] = [HOST, CONTENT_LENGTH, COOKIE];

/// What a connection's requests are told about where they come from.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The peer's address.
    pub peer: IpAddr,
    /// The same as a header value, made once per connection.
    pub peer_value: HeaderValue,
    /// Whether its forwarding headers are believed.
    pub trusted: bool,
    /// The scheme users see.
    pub proto: HeaderValue,
}

impl Origin {
    pub(crate) fn new(peer: IpAddr, trusted: bool, https: bool) -> Self {
        let peer = peer.to_canonical();
        let peer_value = HeaderValue::try_from(peer.to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        Self { peer, peer_value, trusted, proto: HeaderValue::from_static(if https { "https" } else { "http" }) }
    }
}

impl Origin {
    /// Whether the user sees https.
    pub(crate) fn is_https(&self, headers: &HeaderMap) -> bool {
        let told = headers.get(X_FORWARDED_PROTO).filter(|_| self.trusted);
        let proto = told.unwrap_or(&self.proto).to_str().unwrap_or_default();
        proto.split(',').next().unwrap_or_default().trim().eq_ignore_ascii_case("https")
    }
}

/// The protocol a request wants to switch to. `h2c` is not one: it would open a way past the proxy.
pub(crate) fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(UPGRADE)?;
    let h2c = upgrade.to_str().ok()?.split(',').any(|name| name.trim().eq_ignore_ascii_case("h2c"));
    (!h2c && has_token(headers, &CONNECTION, "upgrade")).then(|| upgrade.clone())
}

/// Prepares the headers of a request for an app.
pub(crate) fn to_upstream(headers: &mut HeaderMap, origin: &Origin, id: HeaderValue, upgrade: Option<HeaderValue>) {
    let trailers = headers.contains_key(TE) && has_token(headers, &TE, "trailers");
    let seen = scan(headers);
    if seen.hop {
        remove_hop_by_hop(headers);
    }
    if seen.underscore {
        remove_disguised(headers);
    }
    if seen.claim {
        headers.remove(X_HF_AUTHORIZATION);
        headers.remove(X_IP_TOKEN);
    }
    if seen.cookies > 1 {
        join_cookies(headers);
    }
    forwarding(headers, origin, id, seen.claim);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// Prepares the headers of a request for the hub, which is in this process and needs its own
/// connection headers for upgrades.
pub(crate) fn to_hub(headers: &mut HeaderMap, origin: &Origin, id: HeaderValue) {
    remove_disguised(headers);
    forwarding(headers, origin, id, true);
}

/// Prepares the headers of an app's answer.
pub(crate) fn to_downstream(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if scan(headers).hop {
        remove_hop_by_hop(headers);
    }
}

/// Whether a list-valued header has a token.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.split(';').next().is_some_and(|item| item.trim().eq_ignore_ascii_case(token)))
}

/// Makes request ids: unique, cheap, and without meaning. One per thread.
pub(crate) struct RequestIds(RefCell<(u64, BytesMut, u64)>);

impl RequestIds {
    /// `seed` must differ between threads and processes.
    pub(crate) fn new(seed: u64) -> Self {
        Self(RefCell::new((0, BytesMut::new(), seed)))
    }

    /// The next id: 24 hexadecimal digits.
    pub(crate) fn next(&self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        const LEN: usize = 24;
        let (count, buffer, seed) = &mut *self.0.borrow_mut();
        *count += 1;
        if buffer.capacity() < LEN {
            // Many ids share one allocation.
            *buffer = BytesMut::with_capacity(LEN * 64);
        }
        for (value, digits) in [(*seed, 16), (*count, LEN - 16)] {
            for digit in (0..digits).rev() {
                buffer.put_u8(DIGITS[usize::from((value >> (digit * 4)).to_le_bytes()[0] & 15)]);
            }
        }
        HeaderValue::from_maybe_shared(buffer.split().freeze()).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// The request's id: the inbound one if a trusted forwarder set a sane one.
pub(crate) fn request_id(headers: &HeaderMap, origin: &Origin, ids: &RequestIds) -> HeaderValue {
    if origin.trusted
        && let Some(id) = headers.get(X_REQUEST_ID)
        && (1..=128).contains(&id.len())
        && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-._:/+=@".contains(b))
    {
        return id.clone();
    }
    ids.next()
}

#[derive(Default)]
struct Seen {
    hop: bool,
    claim: bool,
    underscore: bool,
    cookies: usize,
}

/// One pass over the names, so that the usual request pays for no look-up of what it does not have.
fn scan(headers: &HeaderMap) -> Seen {
    let mut seen = Seen::default();
    for name in headers.keys() {
        match *name {
            CONNECTION | TRANSFER_ENCODING | TE | UPGRADE | EXPECT | PROXY_AUTHORIZATION | PROXY_AUTHENTICATE => {
                seen.hop = true;
            }
            COOKIE => seen.cookies = headers.get_all(COOKIE).iter().count(),
            _ => {
                let text = name.as_str();
                match text.as_bytes() {
                    [b'x', b'-', ..] => seen.claim |= CLAIMS.contains(&text),
                    [b'f', ..] => seen.claim |= text == "forwarded",
                    [b'k', ..] => seen.hop |= text == "keep-alive",
                    [b'p', ..] => seen.hop |= text == "proxy-connection",
                    [b'h', ..] => seen.hop |= text == "http2-settings",
                    _ => {}
                }
                seen.underscore |= text.contains('_');
            }
        }
    }
    seen
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::try_from(name.trim()).ok())
            .filter(|name| !KEPT.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [
        TRANSFER_ENCODING,
        TE,
        UPGRADE,
        // hyper has sent 100 (Continue) by the time the body is read.
        EXPECT,
        PROXY_AUTHORIZATION,
        PROXY_AUTHENTICATE,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
}

fn remove_disguised(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_') && has_meaning(&name.as_str().replace('_', "-")))
        .cloned()
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Removes cookies by name and leaves all others as they are.
pub(crate) fn remove_cookies(headers: &mut HeaderMap, names: &[&str]) {
    let is_one = |pair: &[u8]| {
        let name = pair.trim_ascii().split(|byte| *byte == b'=').next().unwrap_or_default();
        names.iter().any(|one| name.trim_ascii() == one.as_bytes())
    };
    let found = |value: &HeaderValue| value.as_bytes().split(|byte| *byte == b';').any(is_one);
    if !headers.get_all(COOKIE).iter().any(found) {
        return;
    }
    let kept: Vec<Vec<u8>> = headers
        .get_all(COOKIE)
        .iter()
        .map(|value| {
            let pairs: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b';').filter(|pair| !is_one(pair)).collect();
            pairs.join(&b';').trim_ascii().to_vec()
        })
        .filter(|value| !value.is_empty())
        .collect();
    headers.remove(COOKIE);
    for value in kept {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.append(COOKIE, value);
        }
    }
}

/// HTTP/2 may split cookies over several fields; HTTP/1.1 has one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut joined = Vec::new();
    for value in headers.get_all(COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(value.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, value);
    }
}

fn forwarding(headers: &mut HeaderMap, origin: &Origin, id: HeaderValue, claims: bool) {
    let host = headers.get(HOST).cloned();
    if claims && !origin.trusted {
        for name in CLAIMS {
            if name != "x-hf-authorization" {
                headers.remove(name);
            }
        }
    }
    match headers.entry(X_FORWARDED_FOR) {
        Entry::Vacant(entry) => {
            entry.insert(origin.peer_value.clone());
        }
        Entry::Occupied(mut entry) => {
            let mut chain: Vec<u8> = Vec::new();
            for value in entry.iter() {
                chain.extend_from_slice(value.as_bytes());
                chain.extend_from_slice(b", ");
            }
            chain.extend_from_slice(origin.peer_value.as_bytes());
            entry.insert(HeaderValue::from_bytes(&chain).unwrap_or_else(|_| origin.peer_value.clone()));
        }
    }
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    headers.entry(X_FORWARDED_PROTO).or_insert_with(|| origin.proto.clone());
    headers.insert(X_REQUEST_ID, id);
}

/// The token of a credential: `Bearer TOKEN`, or `Basic` with the token as password, as git and
/// curl send it. Whose token it is, is another question.
pub(crate) fn token(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let (scheme, rest) = value.to_str().ok()?.trim().split_once(' ')?;
    let rest = rest.trim();
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        Cow::Borrowed(rest)
    } else if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(PASSWORD.decode(rest).ok()?).ok()?;
        Cow::Owned(pair.split_once(':')?.1.to_owned())
    } else {
        return None;
    };
    (!token.is_empty()).then_some(token)
}

/// Trailers of a request that may go on: servers that merge them with the headers must not find
/// what a header of that name would not have brought.
pub(crate) fn trailers_to_upstream(trailers: &mut HeaderMap) {
    let named: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| [AUTHORIZATION, COOKIE].contains(name) || has_meaning(&name.as_str().replace('_', "-")))
        .cloned()
        .collect();
    for name in named {
        trailers.remove(name);
    }
}

#[cfg(test)]
#[path = "headers/tests.rs"]
mod tests;
