//! The log of a build: followed while it runs, downloaded as text afterwards.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, StreamExt};

use spaceport_control::{LogId, LogRecord};
use spaceport_core::space::{Build, BuildState, Inspection};
use spaceport_core::{BuildId, SpaceId};

use crate::access::WriteSpace;
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::spaces::builds::numbered;
use crate::state::ApiState;
use crate::streams::follow::{Standing, follow, wait_for_change};
use crate::streams::reader::Reader;
use crate::streams::{log_event, sse};
use crate::views::SpacePath;

/// Looks for a build that was asked for but is not there yet, so many times.
const LOOKS_FOR_A_NEW_BUILD: usize = 10;

/// The log of the newest build, as events
///
/// What is kept comes first, then each line as it is written; the stream ends with the build.
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/logs/build", tag = "logs",
    params(SpacePath, ("tail" = Option<u64>, Query, description = "Only the last lines of what is kept"),
        ("follow" = Option<bool>, Query, description = "false ends the stream after what is kept")),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 403, body = ErrorBody)))]
pub async fn stream_build_log(
    State(state): State<ApiState>,
    to: WriteSpace,
    params: Params,
) -> Result<Response, ApiError> {
    let options = LogOptions::of(&params)?;
    let space = to.space.id;
    let reader = Reader::of_logs(&state, to.user.into(), space);
    let events = async_stream::stream! {
        if let Some(build) = newest_build(&state, space, options.follow).await {
            let mut lines = std::pin::pin!(lines(&state, space, build, options));
            while let Some(record) = lines.next().await {
                yield log_event(&record);
            }
        }
    };
    Ok(sse(reader, events))
}

/// The log of one build
///
/// Plain text of what is kept; as events with `Accept: text/event-stream`, and then followed.
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/builds/{number}/log", tag = "builds",
    params(SpacePath, ("number" = i64, Path, description = "Counts the Space's builds from 1"),
        ("tail" = Option<u64>, Query, description = "Only the last lines of what is kept"),
        ("follow" = Option<bool>, Query, description = "false ends the stream after what is kept")),
    responses((status = 200, content_type = "text/plain", body = String), (status = 404, body = ErrorBody)))]
pub async fn get_build_log(
    State(state): State<ApiState>,
    to: WriteSpace,
    Path(path): Path<HashMap<String, String>>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let options = LogOptions::of(&params)?;
    let build = numbered(&state, to.space.id, &path).await?;
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if accepts.contains("text/event-stream") {
        let events = lines(&state, to.space.id, build.id, options).map(|record| log_event(&record));
        return Ok(sse(Reader::of_logs(&state, to.user.into(), to.space.id), events));
    }
    let log = LogId::Build(to.space.id, build.id);
    let text = state.control.logs().stream(log, options.tail, false);
    let text = text.map(|record| Ok::<_, std::convert::Infallible>(text_line(&record)));
    let mut response = Response::new(Body::from_stream(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

fn text_line(record: &LogRecord) -> Bytes {
    Bytes::from(format!("{} {}\n", record.at.to_rfc3339(), record.text))
}

/// `tail` and `follow`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogOptions {
    pub(crate) tail: Option<usize>,
    pub(crate) follow: bool,
}

impl LogOptions {
    pub(crate) fn of(params: &Params) -> Result<Self, ApiError> {
        let tail = params.number("tail")?.map(|tail| usize::try_from(tail).unwrap_or(usize::MAX));
        let follow = params.get("follow").is_none() || params.flag("follow");
        Ok(Self { tail, follow })
    }
}

fn lines(
    state: &ApiState,
    space: SpaceId,
    build: BuildId,
    options: LogOptions,
) -> impl Stream<Item = LogRecord> + Send + use<> {
    let store = state.store.clone();
    follow(&state.control, space, LogId::Build(space, build), options.tail, move || {
        let store = store.clone();
        async move {
            let build = if options.follow { store.build_by_id(build).await.ok().flatten() } else { None };
            match build.map(|build| build.state) {
                Some(BuildState::Queued | BuildState::Running) => Standing::Open,
                _ => Standing::Over,
            }
        }
    })
}

/// The build of the newest commit, waited for when it is still to come; otherwise the newest one.
async fn newest_build(state: &ApiState, space: SpaceId, wait: bool) -> Option<BuildId> {
    let mut changes = state.control.changes();
    for _ in 0..LOOKS_FOR_A_NEW_BUILD {
        let newest = state.store.builds_of(space, 1).await.ok()?.into_iter().next();
        if !wait || !is_to_come(state, space, newest.as_ref()).await {
            return newest.map(|build| build.id);
        }
        wait_for_change(&mut changes, space).await;
    }
    state.store.builds_of(space, 1).await.ok()?.first().map(|build| build.id)
}

/// Whether the newest commit is to be built and is not in the list of builds yet.
async fn is_to_come(state: &ApiState, space: SpaceId, newest: Option<&Build>) -> bool {
    let Ok(Some(space)) = state.store.space_by_id(space).await else { return false };
    let Some(head) = &space.desired.head else { return false };
    if newest.is_some_and(|build| build.sha == *head && build.rebuild == space.desired.rebuild) {
        return false;
    }
    // A commit that cannot be built never gets a build; one that was not looked at may.
    !matches!(
        state.store.revision(space.id, head).await,
        Ok(Some(Inspection::ConfigError(_) | Inspection::NoAppFile { .. })) | Err(_)
    )
}
