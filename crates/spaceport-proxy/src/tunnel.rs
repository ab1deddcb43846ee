//! Websockets: after the switch, two byte streams that count as in flight until both have ended.
//!
//! HTTP/2 asks for one with an extended CONNECT (RFC 8441). Apps speak HTTP/1.1, so the request
//! becomes the usual one and its 101 the client's 200.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::{AbortHandle, Abortable};
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::ProxyBody;
use crate::connection::{Busy, Client};
use crate::headers;
use crate::upstream::{Connection, InFlight};
use crate::worker::Worker;

/// Buffer of a tunnel, each way.
const BUFFER: usize = 8 * 1024;

/// The client's side of a tunnel that is asked for.
pub(crate) struct Front {
    pub(crate) upgrade: OnUpgrade,
    pub(crate) is_http2: bool,
}

/// Turns an extended CONNECT into the handshake of RFC 6455 §4.1, and returns the protocol to ask
/// for.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn ask_as_http1(parts: &mut Parts) -> Result<HeaderValue, getrandom::Error> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce)?;
    let key = HeaderValue::try_from(STANDARD.encode(nonce)).expect("base64 is a header value");
    parts.headers.insert(SEC_WEBSOCKET_KEY, key);
    parts.headers.remove(CONTENT_LENGTH);
    parts.method = Method::GET;
    Ok(HeaderValue::from_static("websocket"))
}

/// Connects the two sides, and returns what the client is told.
pub(crate) fn open(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    front: Front,
    mut response: Response<Incoming>,
    connection: Connection,
    in_flight: InFlight,
) -> Response<ProxyBody> {
    let upstream = hyper::upgrade::on(&mut response);
    let protocol = response.headers_mut().remove(UPGRADE);
    let mut parts = response.into_parts().0;
    headers::to_downstream(&mut parts.headers);
    parts.headers.remove(CONTENT_LENGTH);
    if front.is_http2 {
        parts.status = StatusCode::OK;
        parts.version = Version::HTTP_2;
        parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
    } else {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            parts.headers.insert(UPGRADE, protocol);
        }
    }
    let (end, ended) = AbortHandle::new_pair();
    let busy = client.begin_tunnel(end);
    let count = Count::one(worker);
    let slot = in_flight.instance().slot();
    let tunnel = async move {
        let (_count, _slot, _in_flight, _connection) = (count, slot, in_flight, connection);
        let (Ok(downstream), Ok(upstream)) = tokio::join!(front.upgrade, upstream) else { return };
        let mut downstream = Downstream { io: TokioIo::new(downstream), busy };
        let mut upstream = TokioIo::new(upstream);
        // How a tunnel ends is the business of its two ends.
        let _ = tokio::io::copy_bidirectional_with_sizes(&mut downstream, &mut upstream, BUFFER, BUFFER).await;
    };
    tokio::task::spawn_local(Abortable::new(tunnel, ended));
    Response::from_parts(parts, ProxyBody::empty())
}

/// Counts a tunnel, which hyper no longer does, so that a shutdown waits for it.
struct Count(Rc<Worker>);

impl Count {
    fn one(worker: &Rc<Worker>) -> Self {
        worker.tunnels.set(worker.tunnels.get() + 1);
        Self(worker.clone())
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.tunnels.set(self.0.tunnels.get() - 1);
    }
}

/// The client's side, which notes whether the client takes what it is sent.
struct Downstream<T> {
    io: T,
    busy: Busy,
}

impl<T: AsyncRead + Unpin> AsyncRead for Downstream<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Downstream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.busy.blocked(result.is_pending());
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
