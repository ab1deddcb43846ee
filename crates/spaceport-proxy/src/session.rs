//! One connection of a client: which HTTP it speaks, and its requests.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::body::ProxyBody;
use crate::connection::{Client, Command, STREAM};
use crate::handle::handle;
use crate::worker::Worker;

/// Before it is asked again what a client that sent less than three bytes has sent.
const ONE_BYTE_AT_A_TIME: Duration = Duration::from_millis(10);
/// Largest read buffer of a client's connection.
const MAX_BUFFER: usize = 128 * 1024;
/// Streams one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 200;

/// Serves a connection until it ends.
pub(crate) async fn serve_client(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let trusted = worker.config.trusts(peer.ip());
    let client = Rc::new(Client::new(peer, trusted, worker.config.https, &worker.ticks));
    let _registered = Registered { slot: worker.clients.insert(client.clone()), worker: worker.clone() };
    let http2 = tokio::select! {
        http2 = speaks_http2(&stream) => http2,
        // Too slow, or the proxy stops before it said anything.
        () = client.told() => return,
    };
    let service = Service { worker: worker.clone(), client: client.clone() };
    let max_head = worker.config.max_head_bytes;
    match http2 {
        Ok(true) => {
            client.is_http2();
            let io = TokioIo::new(client.socket(stream, max_head));
            let mut builder = http2::Builder::new(Local);
            // Websockets, which browsers open over a connection they have (RFC 8441).
            builder.enable_connect_protocol();
            builder.max_concurrent_streams(MAX_STREAMS);
            builder.max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX));
            let connection = pin!(builder.serve_connection(io, service));
            drive(&client, connection, http2::Connection::graceful_shutdown).await;
        }
        Ok(false) => {
            let io = TokioIo::new(client.socket(stream, max_head));
            let mut builder = http1::Builder::new();
            builder.max_header_size(max_head).max_buf_size(max_head.max(MAX_BUFFER));
            let connection = pin!(builder.serve_connection(io, service).with_upgrades());
            drive(&client, connection, http1::UpgradeableConnection::graceful_shutdown).await;
        }
        // The client is gone.
        Err(_) => {}
    }
}

/// Runs a connection until it ends or is told to.
async fn drive<C>(client: &Client, mut connection: Pin<&mut C>, finish: impl Fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut finishing = false;
    poll_fn(|cx| {
        match client.command(cx) {
            Command::Go => {}
            Command::Finish if finishing => {}
            Command::Finish => {
                finishing = true;
                finish(connection.as_mut());
            }
            Command::Cut => return Poll::Ready(()),
        }
        connection.as_mut().poll(cx).map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(
                    client.address = %client.origin.peer,
                    error = &error as &dyn std::error::Error,
                    "a connection ended with an error"
                );
            }
        })
    })
    .await;
}

/// Whether the client begins with the preface of HTTP/2 (RFC 9113 §3.4). Three bytes decide, and
/// they are only looked at, so that either side of hyper finds all of them.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI";
    let mut head = [0; 3];
    loop {
        let seen = stream.peek(&mut head).await?;
        let head = &head[..seen];
        if seen == 0 || seen == PREFACE.len() || !PREFACE.starts_with(head) {
            return Ok(head == PREFACE);
        }
        // Readiness has been reported already; a client that sends single bytes is asked again.
        sleep(ONE_BYTE_AT_A_TIME).await;
    }
}

struct Registered {
    worker: Rc<Worker>,
    slot: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.clients.remove(self.slot);
    }
}

/// The requests of one connection.
struct Service {
    worker: Rc<Worker>,
    client: Rc<Client>,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<ProxyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (worker, client) = (self.worker.clone(), self.client.clone());
        // Boxed, so that a connection that waits is small.
        Box::pin(async move { Ok(handle(&worker, &client, request).await) })
    }
}

/// Runs the streams of HTTP/2 on this thread, each so that it can be ended alone.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, stream: F) {
        let (end, ended) = AbortHandle::new_pair();
        let stream = Abortable::new(stream, ended);
        tokio::task::spawn_local(STREAM.scope(end, async move {
            // Dropped, it is reset for the client.
            let _ = stream.await;
        }));
    }
}
