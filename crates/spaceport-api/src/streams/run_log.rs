//! What an app prints: the kept logs of the last attempts in their order, each under a line that
//! says which one it is, then the newest one live, then those that follow it.

use axum::extract::State;
use axum::response::Response;
use futures::{Stream, StreamExt};

use spaceport_control::{LogId, LogRecord};
use spaceport_core::space::Instance;
use spaceport_core::{InstanceId, SpaceId};

use crate::access::WriteSpace;
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::state::ApiState;
use crate::streams::build_log::LogOptions;
use crate::streams::follow::{Standing, follow, wait_for_change};
use crate::streams::reader::Reader;
use crate::streams::{log_event, sse};
use crate::views::SpacePath;

/// Attempts that are replayed.
const ATTEMPTS_REPLAYED: i64 = 5;

/// What the app prints, as events
///
/// The kept logs of the last attempts come first, then each line as it is printed, over restarts
/// and new releases, until the client leaves.
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/logs/run", tag = "logs",
    params(SpacePath, ("tail" = Option<u64>, Query, description = "Only the last lines of what is kept"),
        ("follow" = Option<bool>, Query, description = "false ends the stream after what is kept")),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 403, body = ErrorBody)))]
pub async fn stream_run_log(
    State(state): State<ApiState>,
    to: WriteSpace,
    params: Params,
) -> Result<Response, ApiError> {
    let options = LogOptions::of(&params)?;
    let attempts = attempts(&state, to.space.id).await?;
    let reader = Reader::of_logs(&state, to.user.into(), to.space.id);
    let lines = lines(state, to.space.id, attempts, options);
    Ok(sse(reader, lines.map(|record| log_event(&record))))
}

/// The newest attempts, oldest first.
async fn attempts(state: &ApiState, space: SpaceId) -> Result<Vec<Instance>, ApiError> {
    let mut attempts = state.store.instances_of(space, ATTEMPTS_REPLAYED).await?;
    attempts.reverse();
    Ok(attempts)
}

fn lines(
    state: ApiState,
    space: SpaceId,
    attempts: Vec<Instance>,
    options: LogOptions,
) -> impl Stream<Item = LogRecord> + Send {
    async_stream::stream! {
        let mut changes = state.control.changes();
        let mut plan = plan(&state, space, attempts, options.tail).await;
        let mut last: Option<InstanceId> = None;
        loop {
            let count = plan.len();
            for (index, part) in plan.into_iter().enumerate() {
                last = Some(part.attempt.id);
                if part.heading {
                    yield heading(&part.attempt);
                }
                let live = options.follow && index + 1 == count;
                let mut lines = std::pin::pin!(part.lines(&state, space, live));
                loop {
                    let next = tokio::select! {
                        biased;
                        record = lines.next() => Next::Line(record),
                        () = wait_for_change(&mut changes, space), if live => Next::Look,
                    };
                    match next {
                        Next::Line(Some(record)) => yield record,
                        Next::Line(None) => break,
                        // The previous release may print for long after a newer one began.
                        Next::Look if !newer(&state, space, last).await.is_empty() => break,
                        Next::Look => {}
                    }
                }
            }
            if !options.follow {
                break;
            }
            plan = loop {
                let newer = newer(&state, space, last).await;
                if !newer.is_empty() {
                    break newer;
                }
                match state.store.space_by_id(space).await {
                    Ok(None) => return,
                    _ => wait_for_change(&mut changes, space).await,
                }
            };
        }
    }
}

enum Next {
    Line(Option<LogRecord>),
    Look,
}

/// What is sent of one attempt.
struct Part {
    attempt: Instance,
    /// Only the last lines of its log.
    tail: Option<usize>,
    heading: bool,
}

impl Part {
    fn lines(&self, state: &ApiState, space: SpaceId, live: bool) -> impl Stream<Item = LogRecord> + Send + use<> {
        let (store, id) = (state.store.clone(), self.attempt.id);
        follow(&state.control, space, LogId::Run(space, id), self.tail, move || {
            let store = store.clone();
            async move {
                if !live {
                    return Standing::Over;
                }
                let attempts = store.instances_of(space, ATTEMPTS_REPLAYED).await.unwrap_or_default();
                let open = attempts.iter().any(|attempt| attempt.id == id && attempt.ended_at.is_none());
                if open { Standing::Open } else { Standing::Over }
            }
        })
    }
}

/// Which attempts are replayed, and how much of each: a tail counts lines over all of them.
async fn plan(state: &ApiState, space: SpaceId, attempts: Vec<Instance>, tail: Option<usize>) -> Vec<Part> {
    let Some(mut left) = tail else {
        return attempts.into_iter().map(|attempt| Part { attempt, tail: None, heading: true }).collect();
    };
    let mut plan = Vec::new();
    for (age, attempt) in attempts.into_iter().rev().enumerate() {
        // The newest is always there: it is the one that is followed.
        if left == 0 && age > 0 {
            break;
        }
        let kept = state.control.logs().stream(LogId::Run(space, attempt.id), None, false).count().await;
        plan.push(Part { attempt, tail: Some(left), heading: kept < left });
        left = left.saturating_sub(kept);
    }
    plan.reverse();
    plan
}

/// Attempts that began after the last one that was sent.
async fn newer(state: &ApiState, space: SpaceId, last: Option<InstanceId>) -> Vec<Part> {
    let attempts = attempts(state, space).await.unwrap_or_default();
    let unseen = attempts.iter().rposition(|attempt| Some(attempt.id) == last).map_or(0, |index| index + 1);
    attempts.into_iter().skip(unseen).map(|attempt| Part { attempt, tail: None, heading: true }).collect()
}

fn heading(attempt: &Instance) -> LogRecord {
    let text = format!("===== Application Startup at {} (attempt {}) =====", attempt.created_at, attempt.attempt);
    LogRecord { at: attempt.created_at, text, position: None }
}
