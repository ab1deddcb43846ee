//! The content-addressed store, reading: how a file is put together, and parts of xorbs.
//! Specification: <https://huggingface.co/docs/xet/api>, "Get File Reconstruction".
//!
//! A xorb may hold chunks of several files, also of files that the reader may not see. So an
//! address of a xorb allows exactly the bytes that the file consists of.

use std::io;
use std::ops::Range;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value, json};

use spaceport_objects::{Reconstruction, XetHash, XorbSpan};

use super::cas::{Session, parse};
use super::claims::Claim;
use super::content::streamed;
use crate::error::ApiError;
use crate::extract::{CalledUrl, Params};
use crate::files::range::{Wanted, wanted};
use crate::state::ApiState;

/// An address of a xorb is good for so long: clients ask again when it has ended.
const ADDRESS_TIME: Duration = Duration::from_secs(60 * 60);
/// Parts of a xorb in one address: it stays under 8 KiB, the longest that proxies pass on.
const SPANS_PER_ADDRESS: usize = 100;
/// Between the parts of an answer. Chunks may contain it by chance of one in 2^200.
const BOUNDARY: &str = "spaceport-4b1c0e6d9a7f4f0e8d5b3a2c1f6e7d80";

/// `GET …/v1/reconstructions/{file}`: an address for each part of a xorb.
pub async fn get_v1(
    State(state): State<ApiState>,
    session: Session,
    hub: CalledUrl,
    Path((_, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let plan = plan(&state, session, &file, &headers).await?;
    let mut fetch = Map::new();
    for xorb in &plan.xorbs {
        let at = Address { state: &state, hub: &hub.0, session, xorb: xorb.xorb };
        let info = |span: &XorbSpan| json!({"range": chunks(span), "url": at.of(std::slice::from_ref(span)), "url_range": bytes(span)});
        fetch.insert(xorb.xorb.to_string(), xorb.spans.iter().map(info).collect());
    }
    Ok(Json(json!({
        "offset_into_first_range": plan.offset_into_first_range,
        "terms": terms(&plan),
        "fetch_info": fetch,
    })))
}

/// `GET …/v2/reconstructions/{file}`: an address for many parts of a xorb.
pub async fn get_v2(
    State(state): State<ApiState>,
    session: Session,
    hub: CalledUrl,
    Path((_, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let plan = plan(&state, session, &file, &headers).await?;
    let mut xorbs = Map::new();
    for xorb in &plan.xorbs {
        let at = Address { state: &state, hub: &hub.0, session, xorb: xorb.xorb };
        let fetch = |spans: &[XorbSpan]| {
            let ranges: Vec<Value> =
                spans.iter().map(|span| json!({"chunks": chunks(span), "bytes": bytes(span)})).collect();
            json!({"url": at.of(spans), "ranges": ranges})
        };
        xorbs.insert(xorb.xorb.to_string(), xorb.spans.chunks(SPANS_PER_ADDRESS).map(fetch).collect());
    }
    Ok(Json(json!({
        "offset_into_first_range": plan.offset_into_first_range,
        "terms": terms(&plan),
        "xorbs": xorbs,
    })))
}

async fn plan(state: &ApiState, session: Session, file: &str, headers: &HeaderMap) -> Result<Reconstruction, ApiError> {
    let missing = || ApiError::not_found("The repository has no such file");
    let objects = &state.large.objects;
    let sha256 = objects.sha256_of(parse(file)?).await?.ok_or_else(missing)?;
    let rows = state.store.repo_objects(session.repo, &[sha256]).await?;
    let mine = session.account.is_some();
    let row =
        rows.iter().find(|row| row.is_committed || (mine && row.uploader == session.account)).ok_or_else(missing)?;
    let range = match wanted(headers, row.size, "") {
        Wanted::Whole => None,
        Wanted::Part(range) => Some(range),
        Wanted::Nothing => return Err(ApiError::no_range(row.size)),
    };
    // Clients ask piece by piece: whoever asks for the beginning counts.
    if range.as_ref().is_none_or(|range| range.start == 0) {
        state.downloads.note(state, session.repo);
    }
    objects.reconstruction(sha256, range).await?.ok_or_else(missing)
}

fn terms(plan: &Reconstruction) -> Vec<Value> {
    let term = |term: &spaceport_objects::Term| {
        let range = json!({"start": term.start, "end": term.end});
        json!({"hash": term.xorb.to_string(), "unpacked_length": term.length, "range": range})
    };
    plan.terms.iter().map(term).collect()
}

fn chunks(span: &XorbSpan) -> Value {
    json!({"start": span.chunks.start, "end": span.chunks.end})
}

/// As in a `Range` header: the end is the last byte.
fn bytes(span: &XorbSpan) -> Value {
    json!({"start": span.bytes.start, "end": span.bytes.end.saturating_sub(1)})
}

/// Makes addresses of a xorb.
struct Address<'a> {
    state: &'a ApiState,
    hub: &'a str,
    session: Session,
    xorb: XetHash,
}

impl Address<'_> {
    fn of(&self, spans: &[XorbSpan]) -> String {
        let key = &self.state.large.key;
        let spans = spans.iter().map(|span| (span.bytes.start, span.bytes.end)).collect();
        let claim = Claim::Xorb { xorb: self.xorb.to_string(), spans };
        let claim = key.sign(claim, self.state.control.clock().now() + ADDRESS_TIME);
        format!("{}/api/cas/{}/xorb?claim={claim}", self.hub, key.store_name(self.session.account))
    }
}

/// `GET …/xorb?claim=…`: the parts that the `Range` header names, which must be parts that the
/// address allows. Without the header, all of those.
pub async fn get_xorb(State(state): State<ApiState>, params: Params, headers: HeaderMap) -> Result<Response, ApiError> {
    let text = params.get("claim").unwrap_or("");
    let Claim::Xorb { xorb, spans } = state.large.key.read(text, state.control.clock().now())? else {
        return Err(ApiError::forbidden("This address is not of a xorb; ask for a new one"));
    };
    let xorb = parse(&xorb)?;
    let allowed = |range: &Range<u64>| spans.iter().any(|(start, end)| *start <= range.start && range.end <= *end);
    let ranges = match headers.get(RANGE) {
        None => spans.iter().map(|(start, end)| *start..*end).collect(),
        Some(header) => header.to_str().ok().and_then(ranges).ok_or_else(|| {
            ApiError::bad_request("The Range header must be like 'bytes=0-99,200-299', as the reconstruction said")
        })?,
    };
    if !ranges.iter().all(allowed) {
        return Err(ApiError::forbidden("The address does not allow this range; ask for the one it was made for"));
    }
    match ranges.as_slice() {
        [] => Err(ApiError::bad_request("The address allows no range")),
        [range] => one(&state, xorb, range.clone()).await,
        _ => Ok(several(state, xorb, ranges)),
    }
}

async fn one(state: &ApiState, xorb: XetHash, range: Range<u64>) -> Result<Response, ApiError> {
    let bytes = state.large.objects.read_xorb(xorb, range.clone()).await?;
    let bytes = bytes.ok_or_else(|| ApiError::not_found("The xorb is no longer kept"))?;
    let mut response = streamed(StatusCode::PARTIAL_CONTENT, bytes, range.end - range.start);
    if let Ok(value) = HeaderValue::from_str(&content_range(&range)) {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// RFC 9110, section 14.6.
fn several(state: ApiState, xorb: XetHash, ranges: Vec<Range<u64>>) -> Response {
    let parts = stream::iter(ranges).then(move |range| {
        let state = state.clone();
        async move {
            let head = format!(
                "\r\n--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\nContent-Range: {}\r\n\r\n",
                content_range(&range)
            );
            let bytes = state.large.objects.read_xorb(xorb, range).await.map_err(io::Error::other)?;
            let bytes = bytes.ok_or_else(|| io::Error::other("the xorb is no longer kept"))?;
            let head = stream::once(async move { Ok(Bytes::from(head)) });
            Ok::<_, io::Error>(head.chain(bytes.map_err(io::Error::other)))
        }
    });
    let end = stream::once(async { Ok(Bytes::from(format!("\r\n--{BOUNDARY}--\r\n"))) });
    let body = Body::from_stream(parts.try_flatten().chain(end));
    let kind = format!("multipart/byteranges; boundary={BOUNDARY}");
    (StatusCode::PARTIAL_CONTENT, [(CONTENT_TYPE, kind)], body).into_response()
}

fn content_range(range: &Range<u64>) -> String {
    format!("bytes {}-{}/*", range.start, range.end.saturating_sub(1))
}

/// Reads `bytes=a-b,c-d`, with both ends of each.
fn ranges(header: &str) -> Option<Vec<Range<u64>>> {
    let range = |text: &str| {
        let (first, last) = text.trim().split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last < u64::MAX).then(|| first..last + 1)
    };
    header.trim().strip_prefix("bytes=")?.split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_both_ends() {
        assert_eq!(ranges("bytes=0-9").unwrap(), std::slice::from_ref(&(0..10)));
        assert_eq!(ranges("bytes=0-9, 20-29"), Some(vec![0..10, 20..30]));
        for text in ["", "bytes=", "bytes=5-4", "bytes=1-", "bytes=-1", "bytes=0-18446744073709551615", "0-1"] {
            assert_eq!(ranges(text), None, "{text}");
        }
    }
}
