//! When is an instance that left the table really unused?
//!
//! Every thread counts its own requests. When an instance leaves, each thread gets a ticket and
//! hands it back once nothing of that instance is in flight there and its own table is the new
//! one. With all tickets back the instance is drained. An instance that returns to the table makes
//! its tickets worthless.

use std::collections::HashMap;
use std::sync::Arc;

use spaceport_core::route::{ProxyEvent, RouteTable, Target};
use tokio::sync::{mpsc, watch};

/// What a thread tells the drain.
pub(crate) enum Note {
    /// Nothing is in flight for the instance of this ticket.
    Idle(u64),
    /// An instance left this thread's table; the drain may have missed the table it was in.
    Left(String),
}

/// What a thread is asked: to return the ticket when the instance is unused.
#[derive(Debug, Clone)]
pub(crate) struct Departure {
    pub(crate) instance: String,
    pub(crate) ticket: u64,
}

pub(crate) struct Drain {
    pub(crate) routes: watch::Receiver<Arc<RouteTable>>,
    pub(crate) threads: Vec<mpsc::UnboundedSender<Departure>>,
    pub(crate) notes: mpsc::UnboundedReceiver<Note>,
    pub(crate) events: mpsc::Sender<ProxyEvent>,
}

struct Leaving {
    instance: String,
    threads_left: usize,
}

impl Drain {
    /// Runs until the threads or the control plane are gone.
    pub(crate) async fn run(mut self) {
        let mut table = self.routes.borrow_and_update().clone();
        let mut leaving: HashMap<u64, Leaving> = HashMap::new();
        let mut last_ticket = 0;
        loop {
            let mut departed = Vec::new();
            tokio::select! {
                changed = self.routes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let next = self.routes.borrow_and_update().clone();
                    if next.version < table.version {
                        continue;
                    }
                    leaving.retain(|_, gone| !serves(&next, &gone.instance));
                    departed = departures(&table, &next);
                    table = next;
                }
                note = self.notes.recv() => match note {
                    None => return,
                    Some(Note::Left(instance)) => departed.push(instance),
                    Some(Note::Idle(ticket)) => {
                        let Some(gone) = leaving.get_mut(&ticket) else { continue };
                        gone.threads_left -= 1;
                        if gone.threads_left == 0
                            && let Some(Leaving { instance, .. }) = leaving.remove(&ticket)
                            && self.events.send(ProxyEvent::Drained { instance }).await.is_err()
                        {
                            return;
                        }
                    }
                },
            }
            for instance in departed {
                if serves(&table, &instance) || leaving.values().any(|gone| gone.instance == instance) {
                    continue;
                }
                last_ticket += 1;
                for thread in &self.threads {
                    // A thread that has ended has nothing in flight, and the proxy ends with it.
                    let _ = thread.send(Departure { instance: instance.clone(), ticket: last_ticket });
                }
                leaving.insert(last_ticket, Leaving { instance, threads_left: self.threads.len() });
            }
        }
    }
}

fn instance_of(target: &Target) -> Option<&str> {
    match target {
        Target::Upstream { instance, .. } => Some(instance),
        Target::Files { .. } | Target::Hold(_) | Target::Page(_) => None,
    }
}

fn serves(table: &RouteTable, instance: &str) -> bool {
    table.hosts.values().any(|route| instance_of(&route.target) == Some(instance))
}

/// The instances of `old` that `new` does not have. Routes that are the same value are skipped, so
/// that one change among many costs little.
fn departures(old: &RouteTable, new: &RouteTable) -> Vec<String> {
    let changed = old
        .hosts
        .iter()
        .filter(|(host, route)| !new.hosts.get(*host).is_some_and(|other| Arc::ptr_eq(route, other)))
        .filter_map(|(_, route)| instance_of(&route.target));
    let mut gone: Vec<String> = Vec::new();
    for instance in changed {
        if !gone.iter().any(|name| name == instance) && !serves(new, instance) {
            gone.push(instance.to_owned());
        }
    }
    gone
}
