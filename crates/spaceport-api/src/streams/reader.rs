//! Whether whoever reads a stream still may: tokens are revoked and rights are lost while it runs.

use std::time::Duration;

use spaceport_core::SpaceId;
use spaceport_core::access::Rights;

use crate::access::find_space;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::ApiState;
use crate::streams::follow::changed;

/// How long a loss may go unnoticed that nobody told.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Who reads a stream of a Space, and by which right.
pub(crate) struct Reader {
    pub(crate) state: ApiState,
    caller: Caller,
    space: SpaceId,
    may: fn(&Rights) -> bool,
}

impl Reader {
    /// Somebody who sees that the Space is there.
    pub(crate) fn of_state(state: &ApiState, caller: Caller, space: SpaceId) -> Self {
        Self { state: state.clone(), caller, space, may: |rights| rights.see }
    }

    /// Somebody who may change the Space.
    pub(crate) fn of_logs(state: &ApiState, caller: Caller, space: SpaceId) -> Self {
        Self { state: state.clone(), caller, space, may: |rights| rights.write }
    }

    /// Waits until the right is lost.
    pub(crate) async fn lost(self) {
        let mut changes = self.state.control.changes();
        let mut people = self.state.control.people();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = changed(&mut changes, self.space) => {}
                Ok(()) = people.changed() => {}
            }
            // A database that is away for a moment takes no rights away.
            if matches!(self.still().await, Ok(false)) {
                return;
            }
        }
    }

    async fn still(&self) -> Result<bool, ApiError> {
        let Some(caller) = self.caller.renewed(&self.state).await? else { return Ok(false) };
        let Some(space) = self.state.store.space_by_id(self.space).await? else { return Ok(false) };
        match find_space(&self.state, &space.name, caller).await {
            Ok(read) => Ok((self.may)(&read.rights)),
            Err(error) if error.status().is_server_error() => Err(error),
            Err(_) => Ok(false),
        }
    }
}
