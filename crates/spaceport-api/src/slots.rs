//! How many git processes run at once: each takes a core and memory for as long as it lasts, and
//! anybody may clone what is public.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::error::ApiError;

/// After so many seconds it is worth trying again.
const RETRY_AFTER_S: u32 = 5;

/// What git may take.
#[derive(Debug, Clone, Copy)]
pub struct GitLimits {
    /// Processes of the whole site.
    pub site: usize,
    /// Processes of one account, or of one address of anonymous callers.
    pub caller: usize,
    /// How long a request waits for its turn.
    pub wait: Duration,
}

impl Default for GitLimits {
    fn default() -> Self {
        Self { site: 16, caller: 4, wait: Duration::from_secs(10) }
    }
}

/// The turns of git processes.
#[derive(Debug, Clone)]
pub struct GitSlots(Arc<Slots>);

#[derive(Debug)]
struct Slots {
    limits: GitLimits,
    site: Arc<Semaphore>,
    /// Of callers that have or wait for a turn; others are forgotten.
    callers: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    _of_site: OwnedSemaphorePermit,
    _of_caller: OwnedSemaphorePermit,
}

impl Default for GitSlots {
    fn default() -> Self {
        Self::new(GitLimits::default())
    }
}

impl GitSlots {
    /// All free.
    #[must_use]
    pub fn new(limits: GitLimits) -> Self {
        let site = Arc::new(Semaphore::new(limits.site));
        Self(Arc::new(Slots { limits, site, callers: Mutex::default() }))
    }

    /// Waits for a turn; callers are served in the order they came.
    ///
    /// # Errors
    /// 503 with `Retry-After` when it does not come in time.
    pub async fn take(&self, caller: &str) -> Result<Slot, ApiError> {
        let GitLimits { caller: per_caller, wait, .. } = self.0.limits;
        let until = Instant::now() + wait;
        // The caller's own turn first: who waits for it must not stand in the way of others.
        let of_caller = timeout_at(until, self.of(caller).acquire_owned()).await.map_err(|_| {
            let message =
                format!("You run {per_caller} git commands here already, the most at once; try again when one ends");
            ApiError::busy(message, RETRY_AFTER_S)
        })?;
        let of_site = timeout_at(until, Arc::clone(&self.0.site).acquire_owned()).await.map_err(|_| {
            ApiError::busy(
                "This server has as many git commands to run as it can; try again in a moment",
                RETRY_AFTER_S,
            )
        })?;
        // The semaphores are never closed.
        let (of_caller, of_site) = (of_caller.map_err(ApiError::internal)?, of_site.map_err(ApiError::internal)?);
        Ok(Slot { _of_site: of_site, _of_caller: of_caller })
    }

    fn of(&self, caller: &str) -> Arc<Semaphore> {
        let mut callers = self.0.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = callers.get(caller).and_then(Weak::upgrade) {
            return slots;
        }
        callers.retain(|_, slots| slots.strong_count() > 0);
        let slots = Arc::new(Semaphore::new(self.0.limits.caller));
        callers.insert(caller.to_owned(), Arc::downgrade(&slots));
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_are_limited_per_caller_and_in_all() {
        let slots = GitSlots::new(GitLimits { site: 3, caller: 2, wait: Duration::from_millis(20) });
        let alice = (slots.take("alice").await.unwrap(), slots.take("alice").await.unwrap());
        let own = slots.take("alice").await.unwrap_err();
        assert!(own.status().as_u16() == 503 && own.message().contains("2 git commands"), "{own:?}");
        let bob = slots.take("bob").await.unwrap();
        let site = slots.take("carol").await.unwrap_err();
        assert!(site.status().as_u16() == 503 && site.message().starts_with("This server"), "{site:?}");
        drop(alice);
        let carol = (slots.take("carol").await.unwrap(), slots.take("carol").await.unwrap());
        drop((bob, carol));
        slots.take("dave").await.unwrap();
        assert_eq!(slots.0.callers.lock().unwrap().len(), 1, "callers that left are forgotten");
    }

    #[tokio::test]
    async fn whoever_waits_gets_the_next_turn() {
        let slots = GitSlots::new(GitLimits { site: 1, caller: 1, wait: Duration::from_secs(20) });
        let first = slots.take("alice").await.unwrap();
        let waiting = slots.take("bob");
        let (second, ()) = futures::future::join(waiting, async move { drop(first) }).await;
        second.unwrap();
    }
}
