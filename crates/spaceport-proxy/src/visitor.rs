//! Who a request comes from, as far as private Spaces need to know: a token in a header, a ticket
//! in the address, or the session of a browser in a cookie. All of them end here; no app sees one.

use std::borrow::Cow;
use std::rc::Rc;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use spaceport_core::AccountId;
use spaceport_core::account::SESSION_COOKIES;
use spaceport_core::route::{Access, RouteTable, TokenHolder};
use spaceport_core::ticket::{Audience, SESSION_LIFETIME};

use crate::headers::{X_HF_AUTHORIZATION, remove_cookies, token};
use crate::worker::{Site, Worker};

/// The parameter with a ticket (the Hub's).
pub(crate) const SIGN: &str = "__sign";
/// The cookie with a session. The prefix makes browsers refuse one that another host has set.
const COOKIE_HTTPS: &str = "__Host-spaceport-session";
/// The same without TLS, where browsers have no such promise to give.
const COOKIE_HTTP: &str = "spaceport-session";

/// What a browser brought.
#[derive(Default)]
pub(crate) struct Visitor {
    ticket: Option<String>,
    sessions: Vec<String>,
}

/// How somebody may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// By what the request has.
    Open,
    /// By a ticket in the address, which a page exchanges for a session.
    Ticket(AccountId),
}

impl Visitor {
    /// Takes what is the hub's business out of address and cookies. Cheap where there is neither.
    pub(crate) fn take_from(parts: &mut Parts) -> Self {
        Self { ticket: take_ticket(parts), sessions: take_sessions(&mut parts.headers) }
    }

    /// The ticket it came with, which is for the Space, whatever its host.
    pub(crate) fn into_ticket(self) -> Option<String> {
        self.ticket
    }

    /// How the visitor may come in at `host`; `None` when it may not know of the Space.
    pub(crate) fn entry(&self, worker: &Worker, site: &Site, host: &str, headers: &HeaderMap) -> Option<Entry> {
        if site.route.access == Access::Public {
            return Some(Entry::Open);
        }
        let table = worker.table();
        let now = (worker.config.clock)();
        let of_ticket = |ticket: &String, audience| {
            let account = table.key.as_ref()?.open(ticket, audience, now)?;
            table.lets_in_account(&site.route, account).then_some(account)
        };
        if let Some(account) = self.ticket.as_ref().and_then(|text| of_ticket(text, Audience::Space(site.route.space)))
        {
            return Some(Entry::Ticket(account));
        }
        let by_token = [X_HF_AUTHORIZATION, AUTHORIZATION]
            .iter()
            .flat_map(|name| headers.get_all(name))
            .filter_map(|value| holder(&table, value))
            .any(|holder| table.lets_in(&site.route, holder, now));
        let by_session = || self.sessions.iter().any(|text| of_ticket(text, Audience::Host(host)).is_some());
        (by_token || by_session()).then_some(Entry::Open)
    }
}

/// Keeps the hub's tokens and sessions from the app. An app's own `Authorization` and cookies are the app's
/// business. Browsers send the hub's cookie to no other host; this is for those that do.
pub(crate) fn strip_credentials(worker: &Worker, headers: &mut HeaderMap) {
    remove_cookies(headers, &SESSION_COOKIES);
    if !headers.contains_key(AUTHORIZATION) {
        return;
    }
    let table = worker.table();
    let values = headers.get_all(AUTHORIZATION).iter();
    let own: Vec<HeaderValue> = values.filter(|value| holder(&table, value).is_none()).cloned().collect();
    headers.remove(AUTHORIZATION);
    for value in own {
        headers.append(AUTHORIZATION, value);
    }
}

/// The cookie of a session. A page in a frame of the hub's is a third party there, so over https
/// the cookie is kept for each top-level site apart.
pub(crate) fn session_cookie(worker: &Rc<Worker>, host: &str, account: AccountId, https: bool) -> Option<HeaderValue> {
    let table = worker.table();
    let now = (worker.config.clock)();
    let session = table.key.as_ref()?.seal(Audience::Host(host), account, now, SESSION_LIFETIME);
    let (name, attributes) =
        if https { (COOKIE_HTTPS, "SameSite=None; Secure; Partitioned") } else { (COOKIE_HTTP, "SameSite=Lax") };
    let age = SESSION_LIFETIME.as_secs();
    HeaderValue::try_from(format!("{name}={session}; Path=/; Max-Age={age}; HttpOnly; {attributes}")).ok()
}

/// The address of a request, as a value for `Location` that stays on its host: a browser takes what
/// begins with two slashes, of either kind, for another host.
pub(crate) fn own_address(parts: &Parts) -> Option<HeaderValue> {
    let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let elsewhere = matches!(target.as_bytes(), [_, b'/' | b'\\', ..]);
    HeaderValue::try_from(format!("{}{target}", if elsewhere { "/." } else { "" })).ok()
}

fn take_ticket(parts: &mut Parts) -> Option<String> {
    let query = parts.uri.query()?;
    let is_sign = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or("");
        let name = if name.contains('%') { percent_decode_str(name).decode_utf8_lossy() } else { Cow::Borrowed(name) };
        name == SIGN
    };
    // Whoever writes the name in another way does not get it past this either.
    let sign = query.split('&').rfind(is_sign)?;
    let ticket = sign.split_once('=').map_or("", |(_, value)| value).to_owned();
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_sign(pair)).collect();
    let target = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    let target = PathAndQuery::try_from(format!("{}{target}", parts.uri.path())).ok();
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(target.unwrap_or(PathAndQuery::from_static("/")));
    parts.uri = http::Uri::from_parts(uri).unwrap_or_default();
    Some(ticket)
}

fn take_sessions(headers: &mut HeaderMap) -> Vec<String> {
    let is_ours = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or("").trim();
        name == COOKIE_HTTPS || name == COOKIE_HTTP
    };
    let mut sessions = Vec::new();
    let mut kept = Vec::new();
    for value in headers.get_all(COOKIE) {
        // An app may set what is no text; ours is.
        let Ok(text) = value.to_str() else {
            kept.push(value.clone());
            continue;
        };
        if !text.split(';').any(|pair| is_ours(&pair)) {
            kept.push(value.clone());
            continue;
        }
        let (ours, others): (Vec<&str>, Vec<&str>) = text.split(';').partition(is_ours);
        sessions.extend(ours.iter().filter_map(|pair| Some(pair.split_once('=')?.1.trim().to_owned())));
        let others = others.join(";");
        if let Ok(others) = HeaderValue::from_str(others.trim())
            && !others.is_empty()
        {
            kept.push(others);
        }
    }
    if !sessions.is_empty() {
        headers.remove(COOKIE);
        for value in kept {
            headers.append(COOKIE, value);
        }
    }
    sessions
}

/// Whom a header's value speaks for, if it is a token of the hub.
fn holder<'a>(table: &'a RouteTable, value: &HeaderValue) -> Option<&'a TokenHolder> {
    use std::fmt::Write;
    let token = token(value)?;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(token.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    table.tokens.get(&hex)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(target: &str, cookies: &[&str]) -> Parts {
        let mut request = Request::get(target);
        for cookie in cookies {
            request = request.header(COOKIE, *cookie);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_ticket_leaves_the_address_as_it_was_without() {
        for (target, ticket, left) in [
            ("/?__sign=t", Some("t"), "/"),
            ("/a?__sign=t", Some("t"), "/a"),
            ("/a?x=1&__sign=t&y=%20", Some("t"), "/a?x=1&y=%20"),
            ("/a?__sign=s&__sign=t", Some("t"), "/a"),
            ("/a?%5f%5Fsign=t", Some("t"), "/a"),
            ("/a?__sign", Some(""), "/a"),
            ("/a?x__sign=t&__signs=u", None, "/a?x__sign=t&__signs=u"),
            ("/a?", None, "/a?"),
            ("/__sign=t", None, "/__sign=t"),
            ("http://b/a?__sign=t&z", Some("t"), "http://b/a?z"),
        ] {
            let mut parts = parts(target, &[]);
            assert_eq!(take_ticket(&mut parts).as_deref(), ticket, "{target}");
            assert_eq!(parts.uri.to_string(), left, "{target}");
        }
    }

    #[test]
    fn sessions_leave_the_cookies_of_the_app() {
        for (cookies, sessions, left) in [
            (vec!["a=b; spaceport-session=s; c=d"], vec!["s"], vec!["a=b; c=d"]),
            (vec!["__Host-spaceport-session=s"], vec!["s"], vec![]),
            (vec!["spaceport-session=s;a=b"], vec!["s"], vec!["a=b"]),
            (vec!["a=b", "spaceport-session=s", "spaceport-session=t; c=d"], vec!["s", "t"], vec!["a=b", "c=d"]),
            (
                vec!["xspaceport-session=s; spaceport-sessions=t"],
                vec![],
                vec!["xspaceport-session=s; spaceport-sessions=t"],
            ),
        ] {
            let mut parts = parts("/", &cookies);
            assert_eq!(take_sessions(&mut parts.headers), sessions, "{cookies:?}");
            let now: Vec<_> = parts.headers.get_all(COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(now, left, "{cookies:?}");
        }
    }

    #[test]
    fn a_redirect_stays_on_its_host() {
        for (target, location) in
            [("/a?b", "/a?b"), ("//evil.example/a", "/.//evil.example/a"), ("/\\evil.example", "/./\\evil.example")]
        {
            assert_eq!(own_address(&parts(target, &[])).unwrap(), location);
        }
    }
}
