//! What is liked now: counted anew from time to time, since likes grow old by themselves.

use std::time::{Duration, Instant};

use spaceport_store::Store;
use tokio_util::sync::CancellationToken;

use crate::engine::chain;
use crate::handle::{ControlHandle, TaskStatus};

/// Likes of this time count as trending.
pub const TRENDING: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Between two counts.
const PERIOD: Duration = Duration::from_secs(10 * 60);

/// Counts until told to stop.
pub async fn run(store: Store, control: ControlHandle, stop: CancellationToken) {
    loop {
        let began = Instant::now();
        let now = control.clock().now();
        let result = store.trending_count(now - TRENDING).await;
        let message = match &result {
            Ok(changed) => format!("{changed} repositories trend more or less than before"),
            Err(error) => chain(error),
        };
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        control.report("trending", TaskStatus { ok: result.is_ok(), message, at: now, duration_ms });
        tokio::select! {
            () = stop.cancelled() => return,
            () = control.clock().sleep(PERIOD) => {}
        }
    }
}
