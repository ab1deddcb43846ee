//! A request to an app and its answer back: unbuffered, both ways at once.

use std::rc::Rc;

use http::header::CONTENT_LENGTH;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::answers::{self, Upset};
use crate::body::ProxyBody;
use crate::connection::Client;
use crate::handle::Incomer;
use crate::headers;
use crate::upstream::{AnswerBody, ConnectError, Connection, InFlight, Instance, RequestBody};
use crate::worker::{Site, Worker};

/// How often one request is tried, all reasons together.
const TRIES: u32 = 3;
/// Buffer of an upgraded connection, each way.
const TUNNEL_BUFFER: usize = 8 * 1024;

/// Forwards a request to the app behind `site`.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    client: &Client,
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
    client: &Client,
    host: &str,
    site: &Rc<Site>,
    request: Incomer,
) -> Result<Response<ProxyBody>, Upset> {
    let Incomer { mut parts, body, id, .. } = request;
    let wanted = if parts.version == Version::HTTP_11 { headers::wanted_upgrade(&parts.headers) } else { None };
    let downstream = wanted.is_some().then(|| parts.extensions.remove::<OnUpgrade>()).flatten();
    headers::to_upstream(&mut parts.headers, &client.origin, id, wanted.filter(|_| downstream.is_some()));
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
        connection.begin(&worker.ticks, target.body.is_none());
        let sent = connection.send.try_send_request(target.into_request(&connection)).await;
        connection.answered();
        match sent {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return tunnel(worker, response, downstream, connection, in_flight);
            }
            Ok(response) => return Ok(answer(response, connection, in_flight)),
            Err(mut error) => {
                let late = connection.exchange.timed_out.get();
                connection.cut();
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

/// Connects the two sides of an upgraded connection. It counts as in flight until both have ended.
fn tunnel(
    worker: &Rc<Worker>,
    mut response: Response<Incoming>,
    downstream: Option<OnUpgrade>,
    connection: Connection,
    in_flight: InFlight,
) -> Result<Response<ProxyBody>, Upset> {
    let Some(downstream) = downstream else {
        // An app must not switch protocols unasked.
        connection.cut();
        return Err(Upset::Broken);
    };
    let upstream = hyper::upgrade::on(&mut response);
    let protocol = response.headers_mut().remove(http::header::UPGRADE);
    let mut parts = response.into_parts().0;
    headers::to_downstream(&mut parts.headers);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        parts.headers.insert(http::header::UPGRADE, protocol);
    }
    let open = Tunnel::open(worker);
    let slot = in_flight.instance().slot();
    tokio::task::spawn_local(async move {
        let (_open, _slot, _in_flight, _connection) = (open, slot, in_flight, connection);
        let (Ok(downstream), Ok(upstream)) = tokio::join!(downstream, upstream) else { return };
        let (mut downstream, mut upstream) = (TokioIo::new(downstream), TokioIo::new(upstream));
        // How a tunnel ends is the business of its two ends.
        let _ = tokio::io::copy_bidirectional_with_sizes(&mut downstream, &mut upstream, TUNNEL_BUFFER, TUNNEL_BUFFER)
            .await;
    });
    Ok(Response::from_parts(parts, ProxyBody::empty()))
}

/// Counts an upgraded connection, so that a shutdown waits for it.
struct Tunnel(Rc<Worker>);

impl Tunnel {
    fn open(worker: &Rc<Worker>) -> Self {
        worker.tunnels.set(worker.tunnels.get() + 1);
        Self(worker.clone())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.tunnels.set(self.0.tunnels.get() - 1);
    }
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
