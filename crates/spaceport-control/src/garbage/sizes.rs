//! What repositories take, for the quotas that limit it.

use std::time::Duration;

use crate::engine::chain;
use crate::spaces::{Parts, WorkError};

/// Between two measurements of all repositories.
pub(super) const PERIOD: Duration = Duration::from_secs(60 * 60);

/// Measures every repository; one that cannot be measured keeps what was measured before.
pub(super) async fn measure(parts: &Parts) {
    if let Err(error) = try_measure(parts).await {
        let text = chain(&error);
        tracing::warn!(error = text, "repositories could not be measured: {text}");
    }
}

async fn try_measure(parts: &Parts) -> Result<(), WorkError> {
    for id in parts.store.repo_ids().await? {
        let bytes = parts.repositories.disk_bytes(id).await?;
        parts.store.repo_set_git_bytes(id, bytes).await?;
    }
    Ok(())
}
