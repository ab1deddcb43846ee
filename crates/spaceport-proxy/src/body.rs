//! The body of every answer of the proxy, whatever it comes from.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use crate::connection::Busy;
use crate::upstream::AnswerBody;

/// Any error that can be passed on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer of the hub.
pub type HubBody = UnsyncBoxBody<Bytes, BoxError>;

/// A body and, until it has been sent, the proof that its connection is busy.
pub(crate) struct ProxyBody {
    kind: Kind,
    busy: Option<Busy>,
}

enum Kind {
    Empty,
    Full(Bytes),
    App(Box<AnswerBody>),
    Hub(HubBody),
    File(Box<http_serve::Body>),
}

impl ProxyBody {
    pub(crate) fn empty() -> Self {
        Kind::Empty.into()
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Kind::Full(bytes.into()).into()
    }

    pub(crate) fn app(body: AnswerBody) -> Self {
        Kind::App(Box::new(body)).into()
    }

    pub(crate) fn hub(body: HubBody) -> Self {
        Kind::Hub(body).into()
    }

    pub(crate) fn file(body: http_serve::Body) -> Self {
        Kind::File(Box::new(body)).into()
    }

    /// Keeps the connection marked busy until the body is gone.
    pub(crate) fn hold(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl From<Kind> for ProxyBody {
    fn from(kind: Kind) -> Self {
        Self { kind, busy: None }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::App(body) => body.poll_frame(cx),
            Kind::Hub(body) => Pin::new(body).poll_frame(cx),
            Kind::File(body) => Pin::new(&mut **body).poll_frame(cx),
        };
        if let Some(busy) = &self.busy {
            // Whoever has a frame asks for the next one as soon as there is room for it.
            busy.blocked(matches!(frame, Poll::Ready(Some(Ok(_)))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::App(body) => body.is_end_stream(),
            Kind::Hub(body) => body.is_end_stream(),
            Kind::File(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::App(body) => body.size_hint(),
            Kind::Hub(body) => body.size_hint(),
            Kind::File(body) => body.size_hint(),
        }
    }
}
