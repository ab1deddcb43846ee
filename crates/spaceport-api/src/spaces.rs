//! What an owner does with a Space: each handler records what should be; the reconciler does the
//! rest.

pub mod agents;
pub mod builds;
pub mod hardware;
pub mod jwt;
pub mod refused;
pub mod run;
pub mod search;
pub mod secrets;
mod setting;
pub mod templates;
pub mod variables;
pub mod volumes;

pub(crate) use setting::{NewSetting, check_settings};

use std::time::Duration;

use axum::Json;
use serde_json::Value;
use tokio::sync::broadcast;

use spaceport_core::space::{Desired, DesiredRun, Space};
use spaceport_core::{SpaceId, SpaceStage};

use crate::access::WriteSpace;
use crate::audit;
use crate::error::ApiError;
use crate::state::ApiState;
use crate::views::runtime::{Insight, RuntimeView, runtime_view};

/// An answer waits at most so long for the stage to follow.
const SETTLED: Duration = Duration::from_secs(1);

/// Changes the desired state, records who did it, wakes the reconciler, answers the runtime.
pub(crate) async fn change(
    state: &ApiState,
    to: &WriteSpace,
    action: &str,
    detail: Value,
    change: impl Fn(&mut Desired) + Send + Sync,
) -> Result<Json<RuntimeView>, ApiError> {
    let always = |desired: &mut Desired| {
        change(desired);
        Ok(())
    };
    try_change(state, to, action, detail, always).await
}

/// As [`change`], for a change that may be refused for what the state is at that moment.
pub(crate) async fn try_change(
    state: &ApiState,
    to: &WriteSpace,
    action: &str,
    detail: Value,
    change: impl Fn(&mut Desired) -> Result<(), ApiError> + Send + Sync,
) -> Result<Json<RuntimeView>, ApiError> {
    let WriteSpace { space, user } = to;
    let changes = state.control.changes();
    let changed = state.store.space_try_change(space.id, state.control.clock().now(), change).await??;
    let changed = changed.ok_or_else(|| ApiError::no_repo(false))?;
    state.control.activate(space.id);
    audit::record(state, user, action, &space.name.to_string(), detail).await?;
    // Clients of the Hub read the stage from this very answer: one that was paused is `PAUSED`, and
    // one that was restarted is not, or they would wait for nothing.
    let follows = |space: &Space| {
        let ended = matches!(space.stage, SpaceStage::Paused | SpaceStage::Stopped);
        ended == (space.desired.run != DesiredRun::Running)
    };
    let settled = settled(state, changed, changes, follows).await?;
    Ok(Json(runtime_view(state, &settled, Insight::All).await?))
}

/// Waits a moment until the stage, which is the reconciler's to compute, follows a change.
pub(crate) async fn settled(
    state: &ApiState,
    mut space: Space,
    mut changes: broadcast::Receiver<SpaceId>,
    follows: impl Fn(&Space) -> bool + Send,
) -> Result<Space, ApiError> {
    let id = space.id;
    let deadline = tokio::time::Instant::now() + SETTLED;
    while !follows(&space) {
        match tokio::time::timeout_at(deadline, changes.recv()).await {
            Err(_) | Ok(Err(broadcast::error::RecvError::Closed)) => break,
            Ok(Ok(other)) if other != id => {}
            Ok(Ok(_) | Err(broadcast::error::RecvError::Lagged(_))) => {
                let now = state.store.space_by_id(id).await?;
                space = now.ok_or_else(|| ApiError::no_repo(false))?;
            }
        }
    }
    Ok(space)
}
