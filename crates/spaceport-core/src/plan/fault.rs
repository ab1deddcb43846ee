//! What the platform fails at. Nobody's app is to blame, so the stage stays, and every step is tried again for as long
//! as it takes. Most faults pass within a minute, and until then the ordinary phase is told; after that, whoever waits
//! is told what for, since when, what was last said, and whom to ask.

use std::time::Duration;

use super::safe::safe;
use super::{Action, Observed};
use crate::{Diagnosis, InstanceId, Reason, Timestamp};

/// A fault that is over by then is not told: a restart of the engine or of the database takes less.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// What whoever waits can do.
const REMEDY: &str = "Nothing to do for you: it goes on by itself as soon as that is mended. If it takes long, ask the \
                      administrator of this site.";

/// A part of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The database.
    Database,
    /// The repositories.
    Repository,
    /// The container engine.
    Engine,
    /// What keeps apps from the node and from each other.
    PacketFilter,
    /// The files of the platform.
    Disk,
}

/// A part that does not do what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub part: Part,
    /// Since when, without an interruption.
    pub since: Timestamp,
    /// What it said last, as the owner of a Space may read it.
    error: String,
}

impl Fault {
    /// Of a part that said this; what is not for the eyes of a Space's owner is left out.
    #[must_use]
    pub fn new(part: Part, since: Timestamp, error: &str) -> Self {
        Self { part, since, error: safe(error) }
    }

    /// What it said last.
    #[must_use]
    pub fn error(&self) -> &str {
        &self.error
    }
}

/// A step that was tried and did not succeed since.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedStep {
    /// Which.
    pub step: Action,
    /// Why.
    pub fault: Fault,
}

/// The diagnosis of a Space whose next steps are these, when one of them does not succeed for too long.
pub(super) fn of_steps(steps: &[Action], observed: &Observed, now: Timestamp) -> Option<Diagnosis> {
    let failed = steps.iter().find_map(|step| failed(step, observed))?;
    waiting(waits(&failed.step), &failed.fault, observed, now)
}

/// As [`of_steps`], for one that cannot be tried, since the engine is away or nothing may be started.
pub(super) fn of_engine(what: &str, observed: &Observed, now: Timestamp) -> Option<Diagnosis> {
    waiting(what, observed.engine_fault.as_ref()?, observed, now)
}

/// The diagnosis of a Space that is being deleted, with what cannot be removed.
pub(super) fn of_deleting(steps: &[Action], observed: &Observed, now: Timestamp) -> Diagnosis {
    let began = observed.told.as_ref().filter(|told| told.reason == Reason::Deleting).map_or(now, |told| told.since);
    let mut why = super::told(Reason::Deleting, "deleting", "This Space is being deleted.", "", began);
    if now < began + PATIENCE {
        return why;
    }
    let failed = steps.iter().find_map(|step| failed(step, observed)).map(|failed| (remains(failed), &failed.fault));
    let away = || {
        let live = observed.instances.iter().find(|seen| seen.row.ended_at.is_none())?;
        Some((container(live.row.id), observed.engine_fault.as_ref().filter(|_| !observed.engine_up)?))
    };
    let (what, error) = match (failed.or_else(away), observed.builds_under_way.first()) {
        (Some((what, fault)), _) => (format!("{what} cannot be removed: {}", fault.part.fails()), Some(&fault.error)),
        (None, Some(number)) => (format!("build {number} was asked to end and still runs"), None),
        (None, None) => return why,
    };
    why.message = format!("This Space has been waiting to be deleted since {} UTC, and {what}.", began.to_minute());
    REMEDY.clone_into(&mut why.remedy);
    why.evidence = error.map(|error| last_error(error)).into_iter().collect();
    why
}

fn waiting(what: &str, fault: &Fault, observed: &Observed, now: Timestamp) -> Option<Diagnosis> {
    let part = fault.part;
    // A former process may have told of it: it knew since when.
    let before = observed.told.as_ref().filter(|told| told.phase == part.phase() && !told.evidence.is_empty());
    if before.is_none() && now < fault.since + PATIENCE {
        return None;
    }
    let since = before.map_or(fault.since, |told| told.since.min(fault.since));
    Some(Diagnosis {
        reason: part.reason(),
        phase: part.phase().to_owned(),
        message: format!("{what} since {} UTC: {}.", since.to_minute(), part.fails()),
        remedy: format!("{REMEDY}{}", part.hint()),
        evidence: vec![last_error(&fault.error)],
        since,
        deadline: None,
    })
}

fn failed<'a>(step: &Action, observed: &'a Observed) -> Option<&'a FailedStep> {
    observed.failed.iter().find(|failed| failed.step.is_same(step))
}

fn last_error(error: &str) -> String {
    format!("last error: {error}")
}

fn container(instance: InstanceId) -> String {
    format!("the container of instance {instance}")
}

/// What waits for a step.
fn waits(step: &Action) -> &'static str {
    match step {
        Action::Inspect { .. } => "The commit has been waiting to be read",
        Action::AddBuild { .. } | Action::RepeatBuild { .. } => "The build has been waiting for its place in the queue",
        Action::AddRelease { .. } => "The release has been waiting to be made",
        Action::Claim { .. } | Action::EndClaim { .. } => "What it asks of the hardware has been waiting to be noted",
        Action::AddInstance { .. }
        | Action::Start(_)
        | Action::Probe(_)
        | Action::RecordExit(_)
        | Action::GiveUp(_)
        | Action::EndAttempt { .. }
        | Action::Sleep { .. }
        | Action::Wake => "The app has been waiting to be started",
        Action::CancelBuild { .. } | Action::Retire(_) | Action::Stop(_) | Action::RemoveOrphan(_) | Action::Forget => {
            "What came before has been waiting to be ended"
        }
    }
}

/// What a failed step leaves behind.
fn remains(failed: &FailedStep) -> String {
    match &failed.step {
        Action::Stop(id) | Action::Retire(id) => container(*id),
        Action::RemoveOrphan(id) => format!("the container {}", id.get(..12).unwrap_or(id)),
        Action::CancelBuild { build, .. } => format!("the build {build}"),
        Action::Forget => match failed.fault.part {
            Part::Repository => "its repository".to_owned(),
            Part::Disk => "its files".to_owned(),
            Part::Database | Part::Engine | Part::PacketFilter => "its record".to_owned(),
        },
        Action::Inspect { .. }
        | Action::AddBuild { .. }
        | Action::RepeatBuild { .. }
        | Action::AddRelease { .. }
        | Action::Claim { .. }
        | Action::EndClaim { .. }
        | Action::Sleep { .. }
        | Action::Wake
        | Action::AddInstance { .. }
        | Action::Start(_)
        | Action::Probe(_)
        | Action::RecordExit(_)
        | Action::EndAttempt { .. }
        | Action::GiveUp(_) => "what it has of the hardware".to_owned(),
    }
}

impl Part {
    const fn reason(self) -> Reason {
        match self {
            Self::Engine | Self::PacketFilter => Reason::EngineUnavailable,
            Self::Database | Self::Repository | Self::Disk => Reason::Internal,
        }
    }

    const fn phase(self) -> &'static str {
        match self {
            Self::Database => "waiting for the database",
            Self::Repository => "waiting for the repository",
            Self::Engine => "waiting for the engine",
            Self::PacketFilter => "waiting for the packet filter",
            Self::Disk => "waiting for the disk",
        }
    }

    const fn fails(self) -> &'static str {
        match self {
            Self::Database => "the database of this site fails",
            Self::Repository => "this site cannot read a repository",
            Self::Engine => "the container engine does not answer or fails",
            Self::PacketFilter => "what keeps apps from the node and from each other is not in place",
            Self::Disk => "this site cannot write or remove a file",
        }
    }

    /// Where the administrator looks first.
    const fn hint(self) -> &'static str {
        match self {
            Self::Engine => " Administrators: is dockerd running?",
            Self::PacketFilter => " Administrators: the engine's part of /api/health says what is missing.",
            Self::Database | Self::Repository | Self::Disk => " Administrators: the server's log has the whole cause.",
        }
    }
}
