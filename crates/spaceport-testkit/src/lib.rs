//! Test helpers: the API served on a port of its own, both databases, a clock that stands still.
//!
//! Used from `tests/it/` of other crates only: unit tests would meet a second copy of the crate
//! under test. Nothing here sleeps; [`wait_for`] waits for a predicate with a deadline.

mod app;
mod clock;
mod database;
pub mod xet;

pub use app::{Answer, Events, Person, TICKETS, TestApp, choose_tls};
pub use clock::ManualClock;
pub use database::{TestDatabase, databases};

use std::future::Future;
use std::time::Duration;

/// How long [`wait_for`] waits before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `look` finds something.
///
/// # Panics
/// When it finds nothing in time: `what` says what was waited for.
pub async fn wait_for<T, F, R>(what: &str, mut look: F) -> T
where
    F: FnMut() -> R,
    R: Future<Output = Option<T>>,
{
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}
