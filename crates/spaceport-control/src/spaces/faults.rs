//! Which steps of which Space do not succeed, as far as this process saw. The plan tells of them; they decide nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use spaceport_core::plan::{Action, FailedStep, Fault, Part};
use spaceport_core::{SpaceId, Timestamp};

use super::WorkError;
use crate::engine::chain;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<HashMap<SpaceId, Vec<FailedStep>>>>);

impl Faults {
    pub(super) fn of(&self, space: SpaceId) -> Vec<FailedStep> {
        self.lock().get(&space).cloned().unwrap_or_default()
    }

    /// What no plan asks for any more has not failed.
    pub(super) fn keep(&self, space: SpaceId, wanted: &[Action]) {
        let mut faults = self.lock();
        if let Some(failed) = faults.get_mut(&space) {
            failed.retain(|failed| wanted.iter().any(|step| step.is_same(&failed.step)));
            if failed.is_empty() {
                faults.remove(&space);
            }
        }
    }

    /// Notes how a step went.
    pub(super) fn note(&self, space: SpaceId, step: &Action, result: &Result<(), WorkError>, now: Timestamp) {
        let mut faults = self.lock();
        let failed = faults.entry(space).or_default();
        let before = failed.iter().position(|failed| failed.step.is_same(step)).map(|at| failed.swap_remove(at));
        if let Err(error) = result {
            let since = before.map_or(now, |before| before.fault.since);
            failed.push(FailedStep { step: step.clone(), fault: Fault::new(error.part(), since, &chain(error)) });
        }
    }

    /// `; 2 wait for the platform, 01J… for one: the database failed at …`; empty when none does. A Space that is being
    /// deleted has no page of its own any more, so this is where it is told.
    pub(super) fn summary(&self) -> String {
        let faults = self.lock();
        let oldest = |(space, failed): (&SpaceId, &Vec<FailedStep>)| {
            failed.iter().map(|failed| (failed.fault.since, *space, failed.fault.error().to_owned())).min()
        };
        match faults.iter().filter_map(oldest).min() {
            Some((_, space, error)) => {
                let count = faults.values().filter(|failed| !failed.is_empty()).count();
                format!("; {count} waiting for the platform, {space} the longest: {error}")
            }
            None => String::new(),
        }
    }

    pub(super) fn forget(&self, space: SpaceId) {
        self.lock().remove(&space);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SpaceId, Vec<FailedStep>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorkError {
    /// Which part of the platform failed.
    fn part(&self) -> Part {
        match self {
            Self::Store(_) => Part::Database,
            Self::Git(_) => Part::Repository,
            Self::Runtime(_) => Part::Engine,
            Self::Io(_) => Part::Disk,
        }
    }
}
