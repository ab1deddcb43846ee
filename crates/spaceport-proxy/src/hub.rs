//! The way to the hub, which runs in the same process but on threads of its own.
//!
//! A handler that computes, or a body that is produced slowly, must not stand in the way of the
//! requests to apps that share a proxy thread; so both run on the runtime of the hub, and the
//! answer comes over through a short channel that keeps the back-pressure.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::body::{BoxError, HubBody};

/// Frames of an answer that may wait for the client.
const FRAMES_AHEAD: usize = 4;

/// Who asks: in the extensions of every request the hub gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(
    /// The peer of the connection, which is a load balancer where there is one.
    pub IpAddr,
);

type Answer = Pin<Box<dyn Future<Output = Response<HubBody>> + Send>>;
type Call = dyn Fn(Request<Incoming>) -> Answer + Send + Sync;

/// Answers the requests for the hub's own host.
#[derive(Clone)]
pub struct Hub {
    call: Arc<Call>,
    runtime: Handle,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

impl Hub {
    /// `call` answers a request; it and the bodies it returns run on `runtime`.
    ///
    /// A request whose client goes away is dropped where it waits, as axum does it.
    pub fn new<F, A, B>(runtime: Handle, call: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let call = move |request| -> Answer {
            let answer = call(request);
            Box::pin(async move { answer.await.map(|body| body.map_err(Into::into).boxed_unsync()) })
        };
        Self { call: Arc::new(call), runtime }
    }

    /// `None` when the handler panicked.
    pub(crate) async fn call(&self, request: Request<Incoming>) -> Option<Response<HubBody>> {
        let (send, receive) = oneshot::channel();
        let answer = (self.call)(request);
        let task = self.runtime.spawn(async move {
            let (parts, mut body) = answer.await.into_parts();
            let hint = body.size_hint();
            let (frames, channel) = mpsc::channel(FRAMES_AHEAD);
            let ended = body.is_end_stream();
            if send.send((parts, hint, channel)).is_err() || ended {
                return;
            }
            while let Some(frame) = body.frame().await {
                if frames.send(frame).await.is_err() {
                    return;
                }
            }
        });
        let task = AbortOnDropHandle::new(task);
        let (parts, hint, frames) = receive.await.ok()?;
        let body = Relayed { frames, hint, ended: hint.exact() == Some(0), _task: task };
        Some(Response::from_parts(parts, body.boxed_unsync()))
    }
}

/// A body that is produced on another runtime.
struct Relayed {
    frames: mpsc::Receiver<Result<Frame<Bytes>, BoxError>>,
    /// What is left.
    hint: SizeHint,
    ended: bool,
    _task: AbortOnDropHandle<()>,
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(self.frames.poll_recv(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(left), Some(data)) = (self.hint.exact(), frame.data_ref()) {
                    let left = left.saturating_sub(data.len() as u64);
                    self.hint = SizeHint::with_exact(left);
                    self.ended = left == 0;
                }
            }
            Some(Err(_)) => {}
            None => {
                self.ended = true;
                // A producer that panicked must not look like a body that is complete.
                if self.hint.lower() > 0 {
                    return Poll::Ready(Some(Err("the answer of the hub ended early".into())));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
