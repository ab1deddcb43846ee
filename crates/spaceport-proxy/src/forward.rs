//! A request to an app and its answer back: unbuffered, both ways at once.
//!
//! Interim answers of an app (103, 102) end here: hyper's server has no way to send one before the
//! answer itself, and no client may depend on them (RFC 9110 §15.2).

use std::rc::Rc;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;

use crate::answers::{self, Upset};
use crate::body::ProxyBody;
use crate::connection::Client;
use crate::handle::Incomer;
use crate::tunnel::{self, Front};
use crate::upstream::{AnswerBody, ConnectError, Connection, InFlight, Instance, RequestBody};
use crate::worker::{Site, Worker};
use crate::{headers, vet};

/// How often one request is tried, all reasons together.
const TRIES: u32 = 3;

/// Forwards a request to the app behind `site`.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    host: &str,
    site: Rc<Site>,
    request: Incomer,
) -> Response<ProxyBody> {
    let page = answers::wants_page(&request.parts);
    match attempt(worker, client, host, &site, request).await {
        Ok(mut response) => {
            site.set_response_headers(response.headers_mut());
            response
        }
        Err(upset) => answers::upset(&site.route, upset, page),
    }
}

async fn attempt(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    host: &str,
    site: &Rc<Site>,
    request: Incomer,
) -> Result<Response<ProxyBody>, Upset> {
    let Incomer { mut parts, body, id, .. } = request;
    let is_http2_websocket = vet::is_websocket(&parts);
    let wanted = match parts.version {
        Version::HTTP_11 => headers::wanted_upgrade(&parts.headers),
        _ if is_http2_websocket => Some(tunnel::ask_as_http1(&mut parts).map_err(|_| Upset::Unreachable)?),
        _ => None,
    };
    let downstream = wanted.is_some().then(|| parts.extensions.remove::<OnUpgrade>()).flatten();
    headers::to_upstream(&mut parts.headers, &client.origin, id, wanted.filter(|_| downstream.is_some()));
    let front = downstream.map(|upgrade| Front { upgrade, is_http2: is_http2_websocket });
    let mut target = Outgoing {
        method: parts.method,
        uri: origin_form(parts.uri),
        headers: parts.headers,
        body: if body.is_end_stream() { None } else { Some(body) },
    };
    let Some(mut in_flight) = site.instance.as_ref().map(Instance::enter) else { return Err(Upset::Unreachable) };
    let timeouts = &worker.config.timeouts;
    let mut fresh = false;
    for _ in 0..TRIES {
        let instance = in_flight.instance().clone();
        let (mut connection, reused) = match instance.connection(fresh, timeouts).await {
            Ok(connection) => connection,
            Err(error) => {
                // The app may have been replaced in between: then its successor gets the request.
                let next = worker.site(host).and_then(|site| site.instance.clone());
                if let Some(next) = next.filter(|next| next.name != instance.name && next.space == instance.space) {
                    in_flight = next.enter();
                    continue;
                }
                tracing::debug!(space.id = %instance.space, error = &error as &dyn std::error::Error,
                    "no connection to the app");
                return Err(if matches!(error, ConnectError::Busy { .. }) { Upset::Busy } else { Upset::Unreachable });
            }
        };
        // Only a connection that was idle can have been closed by the app before it saw the
        // request; then a request without a body that is safe to repeat is sent again.
        let spare = (reused && target.body.is_none() && is_idempotent(&target.method)).then(|| target.copy());
        connection.begin(target.body.is_none());
        let sent = connection.send.try_send_request(target.into_request(&connection)).await;
        connection.answered();
        match sent {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let Some(front) = front else {
                    // An app must not switch protocols unasked.
                    connection.cut();
                    return Err(Upset::Broken);
                };
                return Ok(tunnel::open(worker, client, front, response, connection, in_flight));
            }
            Ok(response) if is_http2_websocket && response.status().is_success() => {
                // For the client this would be an open tunnel (RFC 8441 §5).
                connection.cut();
                return Err(Upset::Broken);
            }
            Ok(response) => return Ok(answer(response, connection, in_flight)),
            Err(mut error) => {
                let late = connection.exchange.timed_out.get();
                connection.cut();
                if connection.exchange.unreadable.get() {
                    return Err(Upset::Unreadable);
                }
                target = match error.take_message().map(Outgoing::from_request).or(spare) {
                    Some(target) if !late => target,
                    _ => {
                        let error = error.into_error();
                        tracing::debug!(space.id = %instance.space, error = &error as &dyn std::error::Error,
                            "the app did not answer");
                        return Err(if late { Upset::Late } else { Upset::Broken });
                    }
                };
                fresh = true;
            }
        }
    }
    Err(Upset::Broken)
}

/// A request as it goes out.
struct Outgoing {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Option<Incoming>,
}

impl Outgoing {
    fn copy(&self) -> Self {
        Self { method: self.method.clone(), uri: self.uri.clone(), headers: self.headers.clone(), body: None }
    }

    fn into_request(self, connection: &Connection) -> Request<RequestBody> {
        let body = match self.body {
            None => RequestBody::Empty,
            Some(body) => RequestBody::Client { body, exchange: connection.exchange.clone() },
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }

    fn from_request(request: Request<RequestBody>) -> Self {
        let (parts, body) = request.into_parts();
        let body = match body {
            RequestBody::Empty => None,
            RequestBody::Client { body, .. } => Some(body),
        };
        Self { method: parts.method, uri: parts.uri, headers: parts.headers, body }
    }
}

fn answer(response: Response<Incoming>, connection: Connection, in_flight: InFlight) -> Response<ProxyBody> {
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_11;
    headers::to_downstream(&mut parts.headers);
    let body = AnswerBody::new(body, connection, in_flight);
    // An answer that is complete with its head frees its connection right here.
    let body = if body.is_end_stream() { ProxyBody::empty() } else { ProxyBody::app(body) };
    Response::from_parts(parts, body)
}

/// Apps get the path and query alone; the host is in the header.
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let target = uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/"));
    Uri::from(target)
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}
