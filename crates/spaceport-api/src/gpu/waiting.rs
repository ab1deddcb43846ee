//! One Space in the queue: where it stands, why, and when its turn is expected; once, or live.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, VARY};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::SpaceId;
use spaceport_core::gpu::estimate::StartInterval;
use spaceport_core::gpu::{Notice, Wait, wait};
use spaceport_core::space::Space;
use spaceport_store::{Again, StoredClaim, StoredLease};

use crate::access::{ReadSpace, find_space};
use crate::caller::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::gpu::Eyes;
use crate::state::ApiState;
use crate::streams::follow::wait_for_change;
use crate::streams::reader::Reader;
use crate::streams::{event, sse};
use crate::views::SpacePath;

/// Notices that are told.
const NOTICES: i64 = 10;

/// Where a Space stands.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SpaceQueue)]
pub struct SpaceQueueView {
    /// `none` (it asks for no hardware that is given out by lease), `waiting` or `leased`.
    pub state: &'static str,
    /// How it waits.
    pub waiting: Option<WaitingView>,
    /// What it has.
    pub lease: Option<LeaseView>,
    /// What its owner was told of late, newest first; only for those who may change the Space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notices: Option<Vec<NoticeView>>,
}

/// What an owner was told.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuNotice)]
pub struct NoticeView {
    /// When.
    pub at: String,
    /// `preemption`, `kept`, `idle`, `asleep`, `lost` or `budget`.
    pub kind: &'static str,
    /// One or two sentences: what, why, by when.
    pub message: String,
    /// When it happens.
    pub due_at: Option<String>,
}

/// How a claim waits.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuWaiting)]
pub struct WaitingView {
    /// The claim's identity.
    pub claim: String,
    /// The Space; null for one the caller may not see.
    pub space: Option<String>,
    /// Whose quota it counts against; null for one the caller may not see.
    pub account: Option<String>,
    /// The flavor that was asked for.
    pub flavor: String,
    /// The same in words: `2 × NVIDIA L4`.
    pub what: String,
    /// Its class: `low`, `normal`, `high`.
    pub priority: &'static str,
    /// Since when it is in the queue; what counts for its place.
    pub submitted_at: String,
    /// Since when it waits for this: later than `submittedAt` when it had hardware before.
    pub waiting_since: String,
    /// Why it lost the hardware it had.
    pub lost: Option<String>,
    /// How many start before it if nothing changes; null until it was looked at.
    pub position: Option<u32>,
    /// One sentence with numbers: why it does not start now.
    pub reason: String,
    /// Everything that has to be otherwise; empty for Spaces the caller may not see.
    pub because: Vec<String>,
    /// What it waits for to end, as far as that is known.
    pub freed_by: Option<FreedByView>,
    /// When it will start, as far as that can be told.
    pub start: Option<StartView>,
    /// When this was decided.
    pub decided_at: Option<String>,
}

/// What has to end.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuFreedBy)]
pub struct FreedByView {
    /// The Space that has the hardware; null for one the caller may not see.
    pub space: Option<String>,
    /// Whose use it is; null for one the caller may not see.
    pub account: Option<String>,
    /// It was told to end by then.
    pub ends_by: Option<String>,
}

/// When a claim will start.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = GpuStart)]
pub struct StartView {
    /// As likely earlier as later.
    pub expected: String,
    /// In half of all cases not before.
    pub from50: String,
    /// In half of all cases not after.
    pub until50: String,
    /// In nine of ten cases not before.
    pub from90: String,
    /// In nine of ten cases not after.
    pub until90: String,
}

/// What a Space has.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuLease)]
pub struct LeaseView {
    /// The flavor.
    pub flavor: String,
    /// Since when.
    pub since: String,
    /// It ends by then.
    pub ends_by: Option<String>,
    /// Why, in a sentence.
    pub why: Option<String>,
    /// The machine; only for those who may change the Space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The ids of the devices; only for those who may change the Space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<String>>,
}

impl From<StartInterval> for StartView {
    fn from(start: StartInterval) -> Self {
        let StartInterval { expected, from_50, until_50, from_90, until_90 } = start;
        Self {
            expected: expected.to_rfc3339(),
            from50: from_50.to_rfc3339(),
            until50: until_50.to_rfc3339(),
            from90: from_90.to_rfc3339(),
            until90: until_90.to_rfc3339(),
        }
    }
}

impl LeaseView {
    fn of(lease: &StoredLease, may_write: bool) -> Self {
        Self {
            flavor: lease.flavor.0.clone(),
            since: lease.lease.started_at.to_rfc3339(),
            ends_by: lease.ending.map(|ending| ending.by.to_rfc3339()),
            why: lease.ending.map(|ending| ending.why.notice().to_owned()),
            node: may_write.then(|| lease.lease.node.0.clone()),
            devices: may_write.then(|| lease.parts.iter().map(|part| part.device.0.clone()).collect()),
        }
    }
}

/// How a claim waits, as far as the caller may know.
///
/// # Errors
/// When the database fails.
pub(super) async fn waiting_view(
    eyes: &mut Eyes<'_>,
    stored: &StoredClaim,
    leases: &[StoredLease],
) -> Result<WaitingView, ApiError> {
    let claim = &stored.claim;
    let (space, account) = eyes.whose(claim.space, &claim.account).await?;
    let sees_numbers = eyes.sees_use(&claim.account);
    // What another version of the program wrote is decided anew in a moment.
    let decided = stored.decision::<Wait>().ok().flatten();
    let told = decided.clone().unwrap_or(Wait { position: 0, because: Vec::new(), freed_by: None, start: None });
    let freed_by = match leases.iter().find(|lease| Some(lease.lease.claim) == told.freed_by) {
        Some(lease) => {
            let (space, account) = eyes.whose(lease.space, &lease.account).await?;
            Some(FreedByView { space, account, ends_by: lease.ending.map(|ending| ending.by.to_rfc3339()) })
        }
        None => None,
    };
    let lost = stored.again.map(|Again { why, .. }| why.sentence().to_owned());
    Ok(WaitingView {
        claim: claim.id.to_string(),
        flavor: claim.flavor.0.clone(),
        what: wait::what(&claim.shape, &claim.flavor),
        priority: claim.priority.as_str(),
        submitted_at: claim.submitted_at.to_rfc3339(),
        waiting_since: stored.again.map_or(claim.submitted_at, |again| again.since).to_rfc3339(),
        lost,
        position: decided.map(|wait| wait.position),
        reason: if sees_numbers { told.reason() } else { told.reason_for_others() },
        because: if sees_numbers { told.reasons() } else { Vec::new() },
        freed_by,
        start: told.start.map(StartView::from),
        decided_at: stored.decided_at.map(|at| at.to_rfc3339()),
        space,
        account,
    })
}

/// Where a Space stands, for somebody who may see it.
pub(super) async fn space_queue(state: &ApiState, read: &ReadSpace) -> Result<SpaceQueueView, ApiError> {
    let id = read.space.id;
    let notices = if read.rights.write { Some(notices(state, id).await?) } else { None };
    if let Some(lease) = state.store.lease_of(id).await? {
        let lease = LeaseView::of(&lease, read.rights.write);
        return Ok(SpaceQueueView { state: "leased", waiting: None, lease: Some(lease), notices });
    }
    let Some(claim) = state.store.claim_of(id).await? else {
        return Ok(SpaceQueueView { state: "none", waiting: None, lease: None, notices });
    };
    let freed_by = claim.decision::<Wait>().ok().flatten().and_then(|wait| wait.freed_by);
    let mut leases = match freed_by {
        Some(claim) => state.store.leases_of_claim(claim).await?,
        None => Vec::new(),
    };
    leases.retain(|lease| lease.ended_at.is_none());
    let mut eyes = Eyes::of(state, read.caller.clone()).await?;
    let waiting = waiting_view(&mut eyes, &claim, &leases).await?;
    Ok(SpaceQueueView { state: "waiting", waiting: Some(waiting), lease: None, notices })
}

async fn notices(state: &ApiState, space: SpaceId) -> Result<Vec<NoticeView>, ApiError> {
    let view = |notice: Notice| NoticeView {
        at: notice.at.to_rfc3339(),
        kind: notice.kind.as_str(),
        message: notice.message,
        due_at: notice.due_at.map(|at| at.to_rfc3339()),
    };
    Ok(state.store.notices_of(space, NOTICES).await?.into_iter().map(view).collect())
}

/// A Space in the queue for hardware
///
/// Position, reason and expected start. With `Accept: text/event-stream` at once and then on each change, until the
/// client leaves or the Space is gone.
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/queue", tag = "gpu", params(SpacePath),
    responses(
        (status = 200, description = "As JSON, or as events", content(
            (SpaceQueueView = "application/json"), (String = "text/event-stream"))),
        (status = 404, body = ErrorBody)))]
pub async fn get_space_queue(
    State(state): State<ApiState>,
    read: ReadSpace,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    let mut response = if accepts.contains("text/event-stream") {
        live(&state, read.space, read.caller)
    } else {
        Json(space_queue(&state, &read).await?).into_response()
    };
    response.headers_mut().insert(VARY, ACCEPT.into());
    Ok(response)
}

fn live(state: &ApiState, space: Space, caller: Caller) -> Response {
    let state = state.clone();
    // Subscribed before the first look, so that nothing in between is lost.
    let mut changes = state.control.changes();
    let reader = Reader::of_state(&state, caller.clone(), space.id);
    let events = async_stream::stream! {
        let mut sent = None;
        loop {
            // Looked up again each time: credential, visibility and rights may have changed.
            let Ok(Some(caller)) = caller.renewed(&state).await else { break };
            let Ok(read) = find_space(&state, &space.name, caller).await else { break };
            let Ok(view) = space_queue(&state, &read).await else { break };
            if sent.as_ref() != Some(&view) {
                yield event(&view);
                sent = Some(view);
            }
            wait_for_change(&mut changes, space.id).await;
        }
    };
    sse(reader, events)
}
