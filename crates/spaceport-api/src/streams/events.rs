//! The state of a Space on each change, for pages that show it live.

use axum::extract::State;
use axum::response::Response;

use crate::access::ReadSpace;
use crate::error::{ApiError, ErrorBody};
use crate::repos::info::info;
use crate::state::ApiState;
use crate::streams::follow::wait_for_change;
use crate::streams::reader::Reader;
use crate::streams::{event, sse};
use crate::views::SpacePath;

/// The state of a Space, as events
///
/// The whole Space at once and then on each change, until the client leaves or the Space is gone.
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/events", tag = "logs", params(SpacePath),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 404, body = ErrorBody)))]
pub async fn stream_events(State(state): State<ApiState>, read: ReadSpace) -> Result<Response, ApiError> {
    let ReadSpace { space, caller, .. } = read;
    // Subscribed before the first look, so that nothing in between is lost.
    let mut changes = state.control.changes();
    let reader = Reader::of_state(&state, caller.clone(), space.id);
    let events = async_stream::stream! {
        let mut sent = None;
        loop {
            // Looked up again each time: credential, visibility and rights may have changed.
            let Ok(Some(caller)) = caller.renewed(&state).await else { break };
            let found = crate::access::find_space(&state, &space.name, caller).await;
            let Ok(read) = found else { break };
            let Ok(view) = info(&state, &read).await else { break };
            let next = event(&view);
            if sent.as_ref() != Some(&next) {
                yield next.clone();
                sent = Some(next);
            }
            wait_for_change(&mut changes, space.id).await;
        }
    };
    Ok(sse(reader, events))
}
