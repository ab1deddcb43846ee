//! What an owner does with a Space: each handler records what should be and returns; the
//! reconciler does the rest.

pub mod builds;
pub mod hardware;
pub mod run;
pub mod secrets;
mod setting;
pub mod variables;

pub(crate) use setting::{NewSetting, check_settings};

use axum::Json;
use serde_json::Value;

use spaceport_core::space::Desired;

use crate::access::WriteSpace;
use crate::audit;
use crate::error::ApiError;
use crate::state::ApiState;
use crate::views::runtime::{RuntimeView, runtime_view};

/// Changes the desired state, records who did it, wakes the reconciler, answers the runtime.
pub(crate) async fn change(
    state: &ApiState,
    to: &WriteSpace,
    action: &str,
    detail: Value,
    change: impl Fn(&mut Desired) + Send + Sync,
) -> Result<Json<RuntimeView>, ApiError> {
    let WriteSpace { space, user } = to;
    let changed = state.store.space_change(space.id, state.control.clock().now(), change).await?;
    let changed = changed.ok_or_else(|| ApiError::no_repo(false))?;
    state.control.activate(space.id);
    audit::record(state, user, action, &space.name.to_string(), detail).await?;
    Ok(Json(runtime_view(state, &changed, true).await?))
}
