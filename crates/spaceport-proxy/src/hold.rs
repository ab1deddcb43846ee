//! Holding a request while its Space starts: the client waits, unaware, until a route serves.
//!
//! The body stays unread, so an upload that waits costs no memory. The number of held requests per
//! Space is bounded; whoever comes after that gets the state at once.

use std::rc::Rc;
use std::time::Duration;

use spaceport_core::SpaceId;
use spaceport_core::route::Route;
use tokio::time::{Instant, timeout_at};

use crate::worker::Worker;

/// The wait of one request.
pub(crate) struct Hold {
    begun: Option<(Instant, Place)>,
}

impl Hold {
    /// Not waiting yet.
    pub(crate) fn new() -> Self {
        Self { begun: None }
    }

    /// Waits for the next change of the table; `false` when the time is over or there is no room.
    pub(crate) async fn changed(&mut self, worker: &Rc<Worker>, route: &Route, page: bool) -> bool {
        let timeouts = &worker.config.timeouts;
        let limit = if page { timeouts.hold_navigation } else { timeouts.hold };
        let until = match &self.begun {
            Some((begun, _)) => *begun + limit,
            None => {
                let Some(place) = Place::take(worker, route.space) else { return false };
                let begun = Instant::now();
                self.begun = Some((begun, place));
                begun + limit
            }
        };
        if limit == Duration::ZERO {
            return false;
        }
        // No other task of this thread runs between the look at the table and here, so no change
        // can slip in between.
        timeout_at(until, worker.changed.notified()).await.is_ok()
    }
}

/// One of the places for held requests of a Space.
struct Place {
    worker: Rc<Worker>,
    space: SpaceId,
}

impl Place {
    fn take(worker: &Rc<Worker>, space: SpaceId) -> Option<Self> {
        let limit = worker.config.held_per_space.div_ceil(worker.config.threads.max(1));
        let mut held = worker.held.borrow_mut();
        let count = held.entry(space).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Self { worker: worker.clone(), space })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.worker.held.borrow_mut();
        if let Some(count) = held.get_mut(&self.space) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.space);
            }
        }
    }
}
