//! How often apps are opened: counted by the proxy, written every few seconds.
//!
//! A write per visit would make visits as slow as writes. A crash loses the count of a few seconds; an orderly end
//! loses nothing.

use std::time::Duration;

use spaceport_store::Store;
use tokio_util::sync::CancellationToken;

use crate::handle::ControlHandle;

/// Between two writes.
const PERIOD: Duration = Duration::from_secs(5);

/// Writes until told to stop, and once more then.
pub async fn run(store: Store, control: ControlHandle, stop: CancellationToken) {
    loop {
        let stopping = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(PERIOD) => false,
        };
        for (space, pages) in control.take_visits() {
            if let Err(error) = store.repo_visited(space.into(), pages).await {
                tracing::warn!(space.id = %space, pages, %error, "visits could not be counted");
            }
        }
        if stopping {
            return;
        }
    }
}
