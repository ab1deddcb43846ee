//! What surrounds every request: an id, a span, and an answer even when a handler panics.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::Json;
use axum::extract::Request;
use axum::http::header::HeaderName;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use serde_json::json;
use tracing::Instrument;

use crate::error::{ApiError, Failure, X_ERROR_CODE, X_ERROR_MESSAGE};

/// The id of a request, in requests and answers.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Under this name the Hub's Python client sends one.
const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// Longest id that is taken over from a client.
const MAX_ID: usize = 128;

/// The outermost layer.
pub(crate) async fn envelop(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let method = request.method().clone();
    // Without the query string: people paste tokens into it.
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!("request", request.id = %id, http.request.method = %method, url.path = %path);
    let began = Instant::now();
    async move {
        // The state of a request that panicked is dropped with it.
        let answered = AssertUnwindSafe(async {
            // The databases have no such character in a text, and nothing here has one in its name.
            if request.uri().path_and_query().is_some_and(|asked| asked.as_str().contains("%00")) {
                return ApiError::bad_request("The address has a NUL character (%00) in it").into_response();
            }
            next.run(request).await
        });
        let answered = answered.catch_unwind().await;
        let mut response = answered.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            ApiError::internal(format!("a handler panicked: {text}")).into_response()
        });
        if let Some(Failure { cause }) = response.extensions_mut().remove::<Failure>() {
            tracing::error!(http.response.status_code = response.status().as_u16(), error = %cause, "a request failed");
            response = failed(response, &id);
        }
        let status = response.status().as_u16();
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(http.response.status_code = status, duration_ms, "answered {method} {path} with {status}");
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        response
    }
    .instrument(span)
    .await
}

/// The id the client sent, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let sent = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=;:.".contains(&b))
    };
    let sent = sent(X_REQUEST_ID).filter(plain).or_else(|| sent(X_AMZN_TRACE_ID).filter(plain));
    sent.map_or_else(new_id, str::to_owned)
}

fn new_id() -> String {
    let mut random = [0u8; 16];
    // Ids only tell requests apart: without random numbers all are the same, and nothing breaks.
    let _ = getrandom::fill(&mut random);
    format!("{:032x}", u128::from_le_bytes(random))
}

/// A failure of ours, with the id under which the log has its cause.
fn failed(response: Response, id: &str) -> Response {
    let (parts, _) = response.into_parts();
    let message = parts.headers.get(X_ERROR_MESSAGE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let message = format!("{message} (request {id})");
    let mut response = (parts.status, Json(json!({"error": message}))).into_response();
    for name in [X_ERROR_CODE, X_ERROR_MESSAGE] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
