//! Repositories that stay open between reads.
//!
//! A client that downloads a repository asks for each of its files. Opening costs as much as reading a small file does, and
//! libgit2 keeps what it read of commits and folders with what it opened. What others write is seen: refs are read from
//! the disk each time, and objects that are not found are looked for again. So few are kept, and
//! given up so soon once others are read, that packs which were replaced do not stay on the disk for long.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use git2::Repository;
use spaceport_core::RepoId;

/// At most so many are open while nobody reads.
const MOST: usize = 16;
/// For so long since they were last read.
const FOR: Duration = Duration::from_secs(10);

/// Open repositories that nobody reads at the moment.
#[derive(Default)]
pub(crate) struct Readers(Mutex<Vec<Idle>>);

struct Idle {
    repo: RepoId,
    opened: Repository,
    since: Instant,
}

impl Readers {
    /// One that is open, for one reader.
    pub(crate) fn take(&self, repo: RepoId) -> Option<Repository> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|one| one.since.elapsed() < FOR);
        let at = idle.iter().position(|one| one.repo == repo)?;
        Some(idle.remove(at).opened)
    }

    /// Gives one back, or keeps a new one.
    pub(crate) fn keep(&self, repo: RepoId, opened: Repository) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|one| one.since.elapsed() < FOR);
        if idle.len() == MOST {
            // The one that was read least recently.
            idle.remove(0);
        }
        idle.push(Idle { repo, opened, since: Instant::now() });
    }

    /// Closes those of a repository that is removed or packed anew.
    pub(crate) fn close(&self, repo: RepoId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|one| one.repo != repo);
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}
