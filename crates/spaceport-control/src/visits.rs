//! How often apps are opened: counted by the proxy, written every few seconds.
//!
//! A write per visit would make visits as slow as writes. A crash loses the count of a few seconds; an orderly end
//! loses nothing, since whoever ends the server writes once more when the proxy serves no more.

use std::time::Duration;

use spaceport_store::Store;
use tokio_util::sync::CancellationToken;

use crate::handle::ControlHandle;

/// Between two writes.
const PERIOD: Duration = Duration::from_secs(5);

/// Writes until told to stop.
pub async fn run(store: Store, control: ControlHandle, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => write(&store, &control).await,
        }
    }
}

/// Writes what was counted until now. What the database does not take is there for the next time.
pub async fn write(store: &Store, control: &ControlHandle) {
    for (space, pages) in control.take_visits() {
        if let Err(error) = store.repo_visited(space.into(), pages).await {
            tracing::warn!(space.id = %space, pages, %error, "visits could not be counted yet");
            control.add_visits(space, pages);
        }
    }
}
