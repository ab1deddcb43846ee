//! One request: let in, find what serves its host, answer.
//!
//! [`handle`] is the one interface between the connections of clients and everything behind them;
//! another front, such as a hand-written HTTP/1.1 path, would call it or what it calls.

use std::rc::Rc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use spaceport_core::account::SESSION_COOKIES;
use spaceport_core::route::{Access, Pass, RouteTable, Target};

use crate::body::ProxyBody;
use crate::connection::Client;
use crate::headers::{self, X_HF_AUTHORIZATION, X_REQUEST_ID, bearer};
use crate::hub::ClientAddr;
use crate::vet::{self, Refused};
use crate::worker::{Site, Worker};
use crate::{answers, files, forward, hold};

/// Answers a request.
pub(crate) async fn handle(worker: &Rc<Worker>, client: &Client, request: Request<Incoming>) -> Response<ProxyBody> {
    let busy = client.begin();
    let (mut parts, body) = request.into_parts();
    let id = headers::request_id(&parts.headers, &client.origin, &worker.ids);
    let host = vet::vet(&mut parts);
    let request = Incomer { parts, body, id: id.clone(), page: false };
    let mut response = match host {
        Ok(host) => by_host(worker, client, host.as_deref(), request).await,
        Err(Refused(why)) => {
            tracing::debug!(client.address = %client.origin.peer, why, "a request was refused");
            answers::refused(Refused(why), answers::wants_page(&request.parts))
        }
    };
    response.headers_mut().insert(X_REQUEST_ID, id);
    response.map(|body| body.hold(busy))
}

/// A request on its way through the proxy.
pub(crate) struct Incomer {
    pub(crate) parts: Parts,
    pub(crate) body: Incoming,
    pub(crate) id: http::HeaderValue,
    /// Whether a person's browser asks for a document.
    pub(crate) page: bool,
}

async fn by_host(
    worker: &Rc<Worker>,
    client: &Client,
    host: Option<&str>,
    mut request: Incomer,
) -> Response<ProxyBody> {
    let Some(host) = host else { return to_hub(worker, client, request).await };
    let mut site = worker.site(host);
    if site.is_none() && is_hub(worker, host) {
        return to_hub(worker, client, request).await;
    }
    let mut wait = hold::Hold::new();
    loop {
        let Some(found) = site.filter(|site| may_reach(worker, site, &request.parts)) else {
            return answers::not_found(
                is_below(host, &worker.config.spaces_domain),
                answers::wants_page(&request.parts),
            );
        };
        worker.used(&found);
        match &found.route.target {
            Target::Upstream { .. } => {
                drop(wait);
                strip_credentials(worker, &mut request.parts);
                return forward::forward(worker, client, host, found, request).await;
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
        site = worker.site(host);
    }
}

async fn to_hub(worker: &Worker, client: &Client, request: Incomer) -> Response<ProxyBody> {
    let Incomer { mut parts, body, id, .. } = request;
    headers::to_hub(&mut parts.headers, &client.origin, id);
    parts.extensions.insert(ClientAddr(client.origin.peer));
    let page = answers::wants_page(&parts);
    match worker.hub.call(Request::from_parts(parts, body)).await {
        Some(response) => response.map(ProxyBody::hub),
        None => answers::hub_failed(page),
    }
}

fn is_hub(worker: &Worker, host: &str) -> bool {
    host == without_port(&worker.config.hub_host) || host == "localhost" || vet::is_address(host)
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(without_port(domain)).is_some_and(|rest| rest.ends_with('.'))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Whether the request may know of the route. The credential is a hub token, sent as the Hub's
/// clients do in `X-HF-Authorization`, or in `Authorization`.
fn may_reach(worker: &Worker, site: &Site, parts: &Parts) -> bool {
    if site.route.access == Access::Public {
        return true;
    }
    let (table, now) = (worker.table(), (worker.config.clock)());
    [X_HF_AUTHORIZATION, AUTHORIZATION]
        .iter()
        .filter_map(|name| bearer(&parts.headers, name))
        .filter_map(|token| pass(&table, token))
        .any(|pass| pass.opens(&site.route, now))
}

/// Keeps the hub's tokens and sessions from the app. An app's own `Authorization` and cookies are the
/// app's business. Browsers send the hub's cookie to no other host; this is for those that do.
fn strip_credentials(worker: &Worker, parts: &mut Parts) {
    if parts.headers.contains_key(AUTHORIZATION)
        && bearer(&parts.headers, &AUTHORIZATION).is_some_and(|token| pass(&worker.table(), token).is_some())
    {
        parts.headers.remove(AUTHORIZATION);
    }
    headers::remove_cookies(&mut parts.headers, &SESSION_COOKIES);
}

fn pass<'a>(table: &'a RouteTable, token: &str) -> Option<&'a Pass> {
    use std::fmt::Write;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(token.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    table.tokens.get(&hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_below_the_domain_of_spaces_or_not() {
        assert!(is_below("a-b.localhost", "localhost:8080"));
        assert!(!is_below("localhost", "localhost:8080"));
        assert!(!is_below("xlocalhost", "localhost"));
        assert_eq!(without_port("hub.example:443"), "hub.example");
        assert_eq!(without_port("hub.example"), "hub.example");
    }
}
