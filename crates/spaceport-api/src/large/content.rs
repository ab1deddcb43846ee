//! Gives out a stored file: whole, in a range, or not at all when the client has it.

use std::io;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;

use spaceport_core::Sha256;
use spaceport_objects::{ByteStream, Object};

use crate::files::range::{Wanted, is_known, wanted};

/// The answer to a request for a stored file. The caller adds what it knows of the file's name.
pub(crate) fn respond(object: &Object, sha256: Sha256, request: &HeaderMap) -> Response {
    let etag = format!("\"{sha256}\"");
    let size = object.size();
    let mut response = match wanted(request, size, &etag) {
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

/// Stored bytes as a body.
pub(crate) fn body(bytes: ByteStream) -> Body {
    Body::from_stream(bytes.map_err(|error| {
        // The status is out already: the body ends too early, which every client notices.
        tracing::error!(%error, "a large file could not be read to its end: {error}");
        io::Error::other(error)
    }))
}

/// The same of a known length.
pub(crate) fn streamed(status: StatusCode, bytes: ByteStream, length: u64) -> Response {
    let mut response = (status, body(bytes)).into_response();
    set(&mut response, CONTENT_LENGTH, &length.to_string());
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    // Made of digits and hashes.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
