//! Following one log file to its true end: the file may not exist yet, may gain a writer again
//! after a restart of the server, and is over only when the database says so.

use std::future::Future;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::broadcast;

use spaceport_control::{ControlHandle, LogId, LogRecord};
use spaceport_core::SpaceId;

/// How long a change may go unnoticed when its event was missed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Whether more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It can.
    Open,
    /// What is in the file is all.
    Over,
}

/// What is kept of a log (the last `tail` lines when given), then what comes, until `standing`
/// says that it is over and everything was read.
pub(crate) fn follow<F, R>(
    control: &ControlHandle,
    space: SpaceId,
    log: LogId,
    tail: Option<usize>,
    standing: F,
) -> impl Stream<Item = LogRecord> + Send + use<F, R>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Standing> + Send,
{
    let (control, logs) = (control.clone(), control.logs().clone());
    async_stream::stream! {
        let mut changes = control.changes();
        let mut position = match tail {
            Some(lines) => logs.tail_position(log, lines).await,
            None => 0,
        };
        loop {
            // Asked before reading: what is written before the end is read after it.
            let now = standing().await;
            let mut lines = std::pin::pin!(logs.stream_from(log, position, now == Standing::Open));
            while let Some((record, after)) = lines.next().await {
                position = after;
                yield record;
            }
            if now == Standing::Over {
                break;
            }
            // No writer: not begun yet, just ended, or between two lives of the server.
            loop {
                wait_for_change(&mut changes, space).await;
                if logs.is_live(log) || standing().await == Standing::Over {
                    break;
                }
            }
        }
    }
}

/// Waits until something changed about a Space, or for a moment.
pub(crate) async fn wait_for_change(changes: &mut broadcast::Receiver<SpaceId>, space: SpaceId) {
    // A timeout is the second of two ways to wake, not a failure.
    let _ = tokio::time::timeout(LOOK_AGAIN, changed(changes, space)).await;
}

/// Waits until something changed about a Space.
pub(crate) async fn changed(changes: &mut broadcast::Receiver<SpaceId>, space: SpaceId) {
    loop {
        match changes.recv().await {
            Ok(changed) if changed != space => {}
            // Missed some: it may have been ours.
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
