//! Server-sent events, in the form the Hub's clients read: a line `data: {…}` and an empty line.
//!
//! The body is written here and not by a library, since the clients match the bytes: a line that
//! does not begin with `data: {` is ignored, so keep-alives are comments.

pub mod build_log;
pub mod events;
pub(crate) mod follow;
pub mod metrics;
pub(crate) mod reader;
pub mod run_log;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::Serialize;

use spaceport_control::LogRecord;

use crate::streams::reader::Reader;

/// A silent stream sends a comment this often; the Hub's clients give up after 30 s to 120 s.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A response that sends events until they end, the client goes or may no longer read them, or the
/// server stops.
pub(crate) fn sse(reader: Reader, events: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let stop = reader.state.lifetime.stop.clone();
    let body = async_stream::stream! {
        let mut lost = std::pin::pin!(reader.lost());
        let mut events = std::pin::pin!(events);
        let mut beat = tokio::time::interval(KEEP_ALIVE);
        beat.reset();
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                () = &mut lost => None,
                event = events.next() => event,
                _ = beat.tick() => Some(Bytes::from_static(b": keep-alive\n\n")),
            };
            let Some(next) = next else { break };
            yield Ok::<_, Infallible>(next);
            beat.reset();
        }
    };
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Reverse proxies in front of the hub must not collect events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One event.
pub(crate) fn event<T: Serialize>(value: &T) -> Bytes {
    let json = serde_json::to_string(value).expect("views serialise to JSON");
    Bytes::from(format!("data: {json}\n\n"))
}

#[derive(Serialize)]
struct LogEvent<'a> {
    data: &'a str,
    timestamp: String,
}

/// A line of a log as an event.
pub(crate) fn log_event(record: &LogRecord) -> Bytes {
    event(&LogEvent { data: &format!("{}\n", record.text), timestamp: record.at.to_rfc3339() })
}
