//! One writer per repository at a time, within this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use spaceport_core::RepoId;
use tokio::sync::Mutex as Turn;

/// Above so many entries those that nobody holds are dropped.
const SWEPT_ABOVE: usize = 256;

/// Who may write. Repositories nobody writes to take no room.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<RepoId, Weak<Turn<()>>>>);

impl Turns {
    /// The lock of a repository.
    pub(crate) fn of(&self, repo: RepoId) -> Arc<Turn<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&repo).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= SWEPT_ABOVE {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn::new(()));
        turns.insert(repo, Arc::downgrade(&turn));
        turn
    }
}
