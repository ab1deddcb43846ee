//! Waiting for a predicate with a deadline, never for a length of time.

use std::time::Duration;

use tokio::time::Instant;

/// How often a predicate is asked.
const PACE: Duration = Duration::from_millis(40);
/// One answer may take so long.
const ONE_ANSWER: Duration = Duration::from_secs(20);

/// Asks `predicate` until it gives a value.
///
/// `Err` is what it saw instead; the last one is in the panic when the deadline passes, so that a
/// failure in CI can be read without repeating it.
///
/// # Panics
/// When `limit_s` seconds have passed.
pub async fn until<T>(what: &str, limit_s: u64, mut predicate: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(limit_s);
    let mut tick = tokio::time::interval(PACE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let seen = match tokio::time::timeout(ONE_ANSWER, predicate()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(seen)) => seen,
            Err(_) => format!("no answer within {} s", ONE_ANSWER.as_secs()),
        };
        assert!(Instant::now() < deadline, "{what}: not within {limit_s} s; last seen: {seen}");
    }
}
