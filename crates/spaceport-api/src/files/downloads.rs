//! How often files are downloaded: counted in memory, written every few seconds.
//!
//! A write per download would make reading as slow as writing. A crash loses the count of a few
//! seconds; an orderly end loses nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spaceport_core::RepoId;

use crate::state::ApiState;

/// Between two writes.
const PERIOD: Duration = Duration::from_secs(5);

/// Downloads that are not in the database yet.
#[derive(Debug, Clone, Default)]
pub struct Downloads(Arc<Mutex<Pending>>);

#[derive(Debug, Default)]
struct Pending {
    counts: HashMap<RepoId, i64>,
    /// A task waits to write them.
    scheduled: bool,
}

impl Downloads {
    /// Counts a download.
    pub(crate) fn note(&self, state: &ApiState, repo: RepoId) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pending.counts.entry(repo).or_default() += 1;
        if !std::mem::replace(&mut pending.scheduled, true) {
            let (this, state) = (self.clone(), state.clone());
            drop(state.lifetime.clone().detach(async move { this.write(&state).await }));
        }
    }

    /// Waits a while, writes what came together, and ends: the next download begins anew.
    async fn write(&self, state: &ApiState) {
        tokio::select! {
            () = state.lifetime.stop.cancelled() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
        let counts = {
            let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            pending.scheduled = false;
            std::mem::take(&mut pending.counts)
        };
        for (repo, times) in counts {
            if let Err(error) = state.store.repo_downloaded(repo, times).await {
                tracing::warn!(repo.id = %repo, times, %error, "downloads could not be counted");
            }
        }
    }
}
