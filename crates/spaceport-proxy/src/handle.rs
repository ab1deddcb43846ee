//! One request: let in, find what serves its host, answer.
//!
//! [`handle`] is the one interface between the connections of clients and everything behind them;
//! another front, such as a hand-written HTTP/1.1 path, would call it or what it calls.

use std::fmt::Write;
use std::rc::Rc;

use http::header::CONNECTION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use spaceport_core::AccountId;
use spaceport_core::route::{Access, Target};

use crate::body::ProxyBody;
use crate::connection::Client;
use crate::headers::{self, X_REQUEST_ID};
use crate::hub::ClientAddr;
use crate::vet::{self, Refused};
use crate::visitor::{self, Entry, Visitor};
use crate::worker::{Site, Worker};
use crate::{answers, files, forward, hold};

/// Longest path somebody comes back to after signing in.
const LONGEST_WAY_BACK: usize = 800;

/// Answers a request.
pub(crate) async fn handle(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    request: Request<Incoming>,
) -> Response<ProxyBody> {
    let busy = client.begin();
    let (mut parts, body) = request.into_parts();
    let id = headers::request_id(&parts.headers, &client.origin, &worker.ids);
    let host = if client.has_two_framings() { Err(vet::TWO_FRAMINGS) } else { vet::vet(&mut parts) };
    let request = Incomer { parts, body, id: id.clone(), page: false };
    let mut response = match host {
        Ok(host) => by_host(worker, client, host.as_deref(), request).await,
        Err(Refused(why)) => {
            tracing::debug!(client.address = %client.origin.peer, why, "a request was refused");
            let mut response = answers::refused(Refused(why), answers::wants_page(&request.parts));
            if request.parts.version < Version::HTTP_2 {
                // Where this message ends is what one cannot be sure of.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    };
    response.headers_mut().insert(X_REQUEST_ID, id);
    response.map(|body| body.hold(busy))
}

/// A request on its way through the proxy.
pub(crate) struct Incomer {
    pub(crate) parts: Parts,
    pub(crate) body: Incoming,
    pub(crate) id: HeaderValue,
    /// Whether a person's browser asks for a document.
    pub(crate) page: bool,
}

async fn by_host(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    host: Option<&str>,
    mut request: Incomer,
) -> Response<ProxyBody> {
    let Some(host) = host else { return to_hub(worker, client, request).await };
    // First: a Space whose label makes the hub's own name must not take its place.
    if is_hub(worker, host) {
        return to_hub(worker, client, request).await;
    }
    let mut site = worker.site(host);
    // A Space that moved answers at its former host as well, so that pages that are open and programs that know
    // it by that go on.
    let moved = if site.is_none() { worker.table().moved_to(host, worker.config.spaces_domain()) } else { None };
    let at = moved.as_deref().unwrap_or(host);
    if moved.is_some() {
        site = worker.site(at);
    }
    let visitor = Visitor::take_from(&mut request.parts);
    let mut wait = hold::Hold::new();
    loop {
        // Looked at again after a wait: whoever has lost the right meanwhile has lost it.
        let headers = &request.parts.headers;
        let come_in = |site: Rc<Site>| Some((visitor.entry(worker, &site, host, headers)?, site));
        let Some((entry, found)) = site.and_then(come_in) else {
            let sign_in = sign_in_address(worker, host, &request.parts);
            return answers::not_found(sign_in.as_deref(), answers::wants_page(&request.parts));
        };
        if moved.is_some() && answers::wants_page(&request.parts) {
            match (&found.route.access, entry) {
                (Access::Public, _) => return move_on(worker, client, at, None, &request.parts),
                (Access::Private { .. }, Entry::Ticket(_)) => {
                    return move_on(worker, client, at, visitor.into_ticket(), &request.parts);
                }
                // The session is for the former host alone: there it is good until it ends.
                (Access::Private { .. }, Entry::Open) => {}
            }
        }
        if let Entry::Ticket(account) = entry
            && answers::wants_page(&request.parts)
        {
            return enter(worker, client, host, account, &request.parts);
        }
        worker.used(&found);
        let is_app = matches!(found.route.target, Target::Upstream { .. } | Target::Files { .. });
        if is_app && request.parts.method == Method::GET && answers::wants_page(&request.parts) {
            worker.visited(found.route.space);
        }
        match &found.route.target {
            Target::Upstream { .. } => {
                drop(wait);
                visitor::strip_credentials(worker, &mut request.parts.headers);
                return forward::forward(worker, client, at, found, request).await;
            }
            Target::Files { root, index, variables } => {
                let mut response = files::serve(worker, &found.route, root, index, variables, &request.parts).await;
                found.set_response_headers(response.headers_mut());
                return response;
            }
            Target::Page(standing) => {
                let page = answers::wants_page(&request.parts);
                return answers::standing(&found.route, standing, false, (worker.config.clock)(), page);
            }
            Target::Hold(standing) => {
                request.page = answers::wants_page(&request.parts);
                if !wait.changed(worker, &found.route, request.page).await {
                    let now = (worker.config.clock)();
                    return answers::standing(&found.route, standing, true, now, request.page);
                }
            }
        }
        site = worker.site(at);
    }
}

/// Sends a page on to the host that its Space has now.
fn move_on(worker: &Worker, client: &Client, host: &str, ticket: Option<String>, parts: &Parts) -> Response<ProxyBody> {
    let scheme = if client.origin.is_https(&parts.headers) { "https" } else { "http" };
    let domain = worker.config.spaces_domain();
    let port = &domain[without_port(domain).len()..];
    let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let and = if target.contains('?') { '&' } else { '?' };
    let ticket = ticket.map_or(String::new(), |ticket| format!("{and}{}={ticket}", visitor::SIGN));
    match HeaderValue::try_from(format!("{scheme}://{host}{port}{target}{ticket}")) {
        Ok(address) => answers::moved(address),
        Err(_) => answers::not_found(None, true),
    }
}

/// Exchanges a ticket for a session: the page loads again, without the ticket in its address.
fn enter(worker: &Rc<Worker>, client: &Client, host: &str, account: AccountId, parts: &Parts) -> Response<ProxyBody> {
    let https = client.origin.is_https(&parts.headers);
    let cookie = visitor::session_cookie(worker, host, account, https);
    match visitor::own_address(parts).zip(cookie) {
        Some((address, cookie)) => answers::entered(address, cookie),
        None => answers::not_found(sign_in_address(worker, host, parts).as_deref(), true),
    }
}

async fn to_hub(worker: &Worker, client: &Client, request: Incomer) -> Response<ProxyBody> {
    let Incomer { mut parts, body, id, .. } = request;
    headers::to_hub(&mut parts.headers, &client.origin, id);
    parts.extensions.insert(ClientAddr(client.origin.peer));
    let page = answers::wants_page(&parts);
    if parts.method == Method::CONNECT {
        return answers::refused(Refused("The hub has no websockets"), page);
    }
    match worker.hub.call(Request::from_parts(parts, body)).await {
        Some(response) => response.map(ProxyBody::hub),
        None => answers::hub_failed(page),
    }
}

fn is_hub(worker: &Worker, host: &str) -> bool {
    host == without_port(&worker.config.hub_host) || host == "localhost" || vet::is_address(host)
}

/// The page of the hub on which somebody signs in and comes back from to a private app; the same for a
/// host that serves nothing. `None` for a host that no Space can have.
fn sign_in_address(worker: &Worker, host: &str, parts: &Parts) -> Option<String> {
    let name = label_below(host, worker.config.spaces_domain())?;
    let hub = worker.config.hub_url.as_deref().unwrap_or_default();
    let mut address = format!("{hub}/login?app={}", utf8_percent_encode(name, NON_ALPHANUMERIC));
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if path != "/" && path.len() <= LONGEST_WAY_BACK {
        let _ = write!(address, "&path={}", utf8_percent_encode(path, NON_ALPHANUMERIC));
    }
    Some(address)
}

fn label_below<'a>(host: &'a str, domain: &str) -> Option<&'a str> {
    host.strip_suffix(without_port(domain))?.strip_suffix('.').filter(|name| !name.is_empty())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_below_the_domain_of_spaces_or_not() {
        assert_eq!(label_below("a-b.localhost", "localhost:8080"), Some("a-b"));
        assert_eq!(label_below("localhost", "localhost:8080"), None);
        assert_eq!(label_below("xlocalhost", "localhost"), None);
        assert_eq!(without_port("hub.example:443"), "hub.example");
        assert_eq!(without_port("hub.example"), "hub.example");
    }
}
