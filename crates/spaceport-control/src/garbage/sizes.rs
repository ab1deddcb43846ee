//! What repositories and buckets take, for the quotas that limit it.

use std::time::Duration;

use crate::engine::chain;
use crate::spaces::{Parts, WorkError, volumes};

/// Between two measurements of everything.
pub(super) const PERIOD: Duration = Duration::from_secs(60 * 60);

/// Measures every repository and bucket. What is not measured, since a repository or the engine does not answer, keeps
/// what was measured before; a bucket that the engine cannot measure counts nothing.
pub(super) async fn measure(parts: &Parts) {
    if let Err(error) = repositories(parts).await {
        let text = chain(&error);
        tracing::warn!(error = text, "repositories could not be measured: {text}");
    }
    if let Err(error) = buckets(parts).await {
        let text = chain(&error);
        tracing::warn!(error = text, "buckets could not be measured: {text}");
    }
}

async fn buckets(parts: &Parts) -> Result<(), WorkError> {
    Ok(parts.store.buckets_set(&volumes::bucket_sizes(parts).await?).await?)
}

async fn repositories(parts: &Parts) -> Result<(), WorkError> {
    for id in parts.store.repo_ids().await? {
        let bytes = parts.repositories.disk_bytes(id).await?;
        parts.store.repo_set_git_bytes(id, bytes).await?;
    }
    Ok(())
}
