//! The bodies of a request and its answer, which decide what becomes of their connection.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{Connection, Exchange, InFlight};
use crate::body::BoxError;
use crate::headers;

/// The body of a request on its way to an app.
pub(crate) enum RequestBody {
    Empty,
    Client { body: Incoming, exchange: Rc<Exchange> },
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self::Client { body, exchange } = self.get_mut() else { return Poll::Ready(None) };
        let mut frame = Pin::new(&mut *body).poll_frame(cx);
        match &mut frame {
            Poll::Ready(Some(Ok(frame))) => {
                exchange.goes_on();
                if let Some(trailers) = frame.trailers_mut() {
                    headers::trailers_to_upstream(trailers);
                }
            }
            Poll::Ready(Some(Err(_))) => exchange.unreadable.set(true),
            Poll::Ready(None) | Poll::Pending => {}
        }
        if matches!(frame, Poll::Ready(None)) || body.is_end_stream() {
            exchange.sent.set(true);
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client { body, .. } => body.size_hint(),
        }
    }
}

/// The body of an app's answer. Dropping it frees the connection, for the next request or for good.
pub(crate) struct AnswerBody {
    body: Incoming,
    ended: bool,
    connection: Option<Connection>,
    in_flight: InFlight,
}

impl AnswerBody {
    pub(crate) fn new(body: Incoming, connection: Connection, in_flight: InFlight) -> Self {
        Self { ended: body.is_end_stream(), body, connection: Some(connection), in_flight }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Ok(_))) => self.ended = self.body.is_end_stream(),
            _ => {}
        }
        frame.map_err(Into::into)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.ended && connection.exchange.sent.get() {
            self.in_flight.instance().put_back(connection);
        } else {
            connection.cut();
        }
    }
}
