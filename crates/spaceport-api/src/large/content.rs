//! Gives out a stored file: whole, in a range, or not at all when the client has it.
//! Specification: RFC 9110, sections 13 (conditions) and 14 (ranges).

use std::io;
use std::ops::Range;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;

use spaceport_core::Sha256;
use spaceport_objects::{ByteStream, Object};

/// What a `Range` header asks of something of a known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it: no range, several, or one that is no range.
    Whole,
    /// A part that is there.
    Part(Range<u64>),
    /// A part that is not there.
    Nothing,
}

/// The answer to a request for a stored file. The caller adds what it knows of the file's name.
pub(crate) fn respond(object: &Object, sha256: Sha256, request: &HeaderMap) -> Response {
    let etag = format!("\"{sha256}\"");
    let size = object.size();
    let mut response = match wanted(request, &etag, size) {
        _ if is_known(request, &etag) => StatusCode::NOT_MODIFIED.into_response(),
        Wanted::Nothing => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
            response
        }
        Wanted::Whole => streamed(StatusCode::OK, object.stream(0..size), size),
        Wanted::Part(part) => {
            let length = part.end - part.start;
            let mut response = streamed(StatusCode::PARTIAL_CONTENT, object.stream(part.clone()), length);
            set(&mut response, CONTENT_RANGE, &format!("bytes {}-{}/{size}", part.start, part.end - 1));
            response
        }
    };
    set(&mut response, ETAG, &etag);
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// A body of a known length.
pub(crate) fn streamed(status: StatusCode, bytes: ByteStream, length: u64) -> Response {
    let body = Body::from_stream(bytes.map_err(|error| {
        // The status is out already: the body ends too early, which every client notices.
        tracing::error!(%error, "a large file could not be read to its end: {error}");
        io::Error::other(error)
    }));
    let mut response = (status, body).into_response();
    set(&mut response, CONTENT_LENGTH, &length.to_string());
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    // Made of digits and hashes.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn is_known(request: &HeaderMap, etag: &str) -> bool {
    let known = request.get_all(IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|list| list.split(',')).map(str::trim);
    known.any(|known| known == "*" || known.trim_start_matches("W/") == etag)
}

fn wanted(request: &HeaderMap, etag: &str, size: u64) -> Wanted {
    let text = |name: HeaderName| request.get(name).and_then(|value| value.to_str().ok());
    // A part of another version is of no use to the client.
    if text(IF_RANGE).is_some_and(|version| version.trim() != etag) {
        return Wanted::Whole;
    }
    text(RANGE).map_or(Wanted::Whole, |range| part(range, size))
}

/// Reads `bytes=a-b`, `bytes=a-` and `bytes=-n`.
pub(crate) fn part(range: &str, size: u64) -> Wanted {
    let Some((first, last)) = range.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Wanted::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let part = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.is_empty() => first..size,
        (Err(_), Ok(length)) if first.is_empty() => size.saturating_sub(length)..size,
        _ => return Wanted::Whole,
    };
    if part.start < part.end { Wanted::Part(part) } else { Wanted::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_clients_write_them() {
        for (range, size, expected) in [
            ("bytes=0-0", 10, Wanted::Part(0..1)),
            ("bytes=3-", 10, Wanted::Part(3..10)),
            ("bytes=3-99", 10, Wanted::Part(3..10)),
            ("bytes=-4", 10, Wanted::Part(6..10)),
            ("bytes=-99", 10, Wanted::Part(0..10)),
            ("bytes=10-", 10, Wanted::Nothing),
            ("bytes=-0", 10, Wanted::Nothing),
            ("bytes=0-", 0, Wanted::Nothing),
            ("bytes=0-18446744073709551615", 10, Wanted::Part(0..10)),
            ("bytes=4-3", 10, Wanted::Whole),
            ("bytes=0-1,4-5", 10, Wanted::Whole),
            ("bytes=-", 10, Wanted::Whole),
            ("lines=0-1", 10, Wanted::Whole),
        ] {
            assert_eq!(part(range, size), expected, "{range}");
        }
    }
}
