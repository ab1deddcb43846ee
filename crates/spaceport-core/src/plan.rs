//! The planner: what to do next for one Space, as a function of what should be, what is, and the
//! time.
//!
//! It returns actions and when to look again; it does not log, count, enqueue or read a clock.
//! Executing a plan and planning again leads, step by step, to a plan without actions: the Space
//! has converged. The same function serves the first start, a restart, a crash of the app, of the
//! server and of the engine.

mod backoff;
mod code;
mod disk;
mod fault;
mod hardware;
mod observed;
#[cfg(test)]
mod properties;
mod run;
mod safe;
mod sleep;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::gpu::LeaseEnd;
use crate::space::{BuildState, Desired, DesiredRun};
use crate::{BuildId, CommitSha, Diagnosis, InstanceId, Reason, ReleaseId, SpaceStage, Timestamp};

pub use fault::{FailedStep, Fault, Part};
pub use hardware::{HardwareSeen, HardwareWait};
pub use observed::{BuildSeen, ContainerSeen, DiskSeen, InstanceSeen, Limits, Observed, ReleaseSeen};
pub use sleep::{Asleep, IdleSeen};

use code::{Code, plan_code};
use hardware::Hold;
use run::{Progress, keep_running};

/// What to do for one Space.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The stage.
    pub stage: SpaceStage,
    /// Why; `None` when it simply runs.
    pub diagnosis: Option<Diagnosis>,
    /// What answers requests.
    pub serving: Option<Serving>,
    /// To be executed in this order.
    pub actions: Vec<Action>,
    /// When to plan again if nothing happens before.
    pub look_again: Option<Timestamp>,
}

/// What answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// An app.
    Instance(InstanceId),
    /// The files of a release.
    Files(ReleaseId),
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Find out what the head commit is.
    Inspect {
        /// The commit.
        sha: CommitSha,
    },
    /// Ask for a build of the head commit.
    AddBuild {
        /// The commit.
        sha: CommitSha,
    },
    /// Begin a build again that was withdrawn.
    RepeatBuild {
        /// Which.
        build: BuildId,
    },
    /// End a build nobody needs.
    CancelBuild {
        /// Which.
        build: BuildId,
        /// What its owner is told.
        why: Diagnosis,
    },
    /// Make the release of a build with the desired settings and hardware.
    AddRelease {
        /// Which.
        build: BuildId,
    },
    /// Ask for the hardware of a release.
    Claim {
        /// Which.
        release: ReleaseId,
    },
    /// The hardware is not wanted any more.
    EndClaim {
        /// Why.
        why: LeaseEnd,
    },
    /// Put the Space to sleep.
    Sleep {
        /// The release that sleeps.
        release: ReleaseId,
        /// Why.
        why: LeaseEnd,
    },
    /// Take the Space out of its sleep.
    Wake,
    /// Begin a new attempt.
    AddInstance {
        /// Of this release.
        release: ReleaseId,
        /// Its number.
        attempt: i64,
    },
    /// Create and start the container of an attempt.
    Start(InstanceId),
    /// Ask a running app whether it answers.
    Probe(InstanceId),
    /// Find out why a container ended, and record it.
    RecordExit(InstanceId),
    /// Give up an app that did not answer in time: find out why, record it, stop it.
    GiveUp(InstanceId),
    /// End an app that may not go on, and record why.
    EndAttempt {
        /// Which.
        instance: InstanceId,
        /// What its owner is told.
        why: Diagnosis,
    },
    /// Take an instance out of the route; requests in flight may finish.
    Retire(InstanceId),
    /// Stop and remove the container, and end the instance.
    Stop(InstanceId),
    /// Remove a container that belongs to no live instance.
    RemoveOrphan(String),
    /// Remove what is left of a deleted Space.
    Forget,
}

impl Action {
    /// Whether it is the same step as one of another plan, which may give other words for it.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::CancelBuild { build, .. }, Self::CancelBuild { build: other, .. }) => build == other,
            (Self::EndAttempt { instance, .. }, Self::EndAttempt { instance: other, .. }) => instance == other,
            _ => self == other,
        }
    }

    /// Whether it takes something away that no other step of the plan builds upon.
    #[must_use]
    pub const fn only_removes(&self) -> bool {
        matches!(self, Self::RemoveOrphan(_) | Self::Stop(_))
    }
}

/// Makes the plan.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, limits: &Limits, now: Timestamp) -> Plan {
    let mut draft = Draft { actions: Vec::new(), look_again: None, now };
    for orphan in &observed.orphans {
        draft.actions.push(Action::RemoveOrphan(orphan.clone()));
    }
    match desired.run {
        DesiredRun::Running => {
            let mut plan = plan_running(desired, observed, limits, draft);
            if plan.stage.is_transitional()
                && let Some(why) = fault::of_steps(&plan.actions, observed, now)
            {
                plan.diagnosis = Some(why);
            }
            plan
        }
        DesiredRun::Paused => {
            let why =
                told(Reason::Paused, "paused", "The owner paused this Space.", "Restart it to run it again.", now);
            plan_resting(observed, SpaceStage::Paused, why, draft)
        }
        DesiredRun::Stopped => {
            let why = told(
                Reason::Stopped,
                "stopped",
                "An administrator stopped this Space.",
                "Ask the administrator of this site; a restart by the owner is refused.",
                now,
            );
            plan_resting(observed, SpaceStage::Stopped, why, draft)
        }
        DesiredRun::Deleting => {
            let why = told(Reason::Deleting, "deleting", "This Space is being deleted.", "", now);
            let live = observed.instances.iter().any(|instance| instance.row.ended_at.is_none());
            let mut plan = plan_resting(observed, SpaceStage::Deleting, why, draft);
            // A build that is asked to end may still write. The record goes last: what is left has its name in it.
            if observed.builds_under_way.is_empty() && !live && observed.orphans.is_empty() && observed.engine_up {
                plan.actions.push(Action::Forget);
            } else {
                plan.look_again = Some(now + Duration::from_secs(2));
            }
            plan.diagnosis = Some(fault::of_deleting(&plan.actions, observed, now));
            plan
        }
    }
}

struct Draft {
    actions: Vec<Action>,
    look_again: Option<Timestamp>,
    now: Timestamp,
}

impl Draft {
    fn look_again(&mut self, at: Timestamp) {
        self.look_again = Some(self.look_again.map_or(at, |before| before.min(at)));
    }
}

/// Nothing shall run: end everything.
fn plan_resting(observed: &Observed, stage: SpaceStage, why: Diagnosis, mut draft: Draft) -> Plan {
    if observed.asleep.is_some() {
        draft.actions.push(Action::Wake);
    }
    hardware::end_claim(observed, LeaseEnd::Stopped, &mut draft);
    let unfinished = observed.build.iter().filter(|build| is_unfinished(build.state)).map(|build| build.id);
    for build in unfinished.chain(observed.stale_builds.iter().copied()) {
        draft.actions.push(Action::CancelBuild { build, why: withdrawn(&why.message, draft.now) });
    }
    for instance in observed.instances.iter().filter(|instance| instance.row.ended_at.is_none()) {
        if observed.engine_up {
            draft.actions.push(Action::Stop(instance.row.id));
        } else {
            draft.look_again(draft.now + ENGINE_RETRY);
        }
    }
    Plan { stage, diagnosis: Some(why), serving: None, actions: draft.actions, look_again: draft.look_again }
}

/// How soon an engine that is away is tried again.
const ENGINE_RETRY: Duration = Duration::from_secs(2);

fn plan_running(desired: &Desired, observed: &Observed, limits: &Limits, mut draft: Draft) -> Plan {
    let now = draft.now;
    for build in &observed.stale_builds {
        let why = withdrawn("A newer push replaced this build.", now);
        draft.actions.push(Action::CancelBuild { build: *build, why });
    }
    let code = plan_code(desired, observed, limits, &mut draft);

    if let Some(asleep) = sleep::asleep(desired, observed, &mut draft) {
        return sleep::plan(asleep, code, observed, limits, draft);
    }
    // Whatever became of the newest commit, the last good build is released and kept running.
    let hold = Hold::of(observed, limits, now);
    let progress = match (&observed.wanted, observed.good) {
        (Some(release), _) => Some(keep_running(release, Some(desired.restart), &hold, observed, now)),
        (None, Some(build)) => {
            draft.actions.push(Action::AddRelease { build });
            None
        }
        (None, None) => None,
    };
    let failed = matches!(progress, Some(Progress::Failed { .. }));
    let fallback = observed
        .fallback
        .as_ref()
        .filter(|_| failed)
        .map(|release| (release, keep_running(release, None, &hold, observed, now)));
    let hold = hardware::claim(&hold, progress.as_ref(), fallback.as_ref(), observed, &mut draft);
    for step in progress.iter().chain(fallback.iter().map(|(_, step)| step)) {
        draft.actions.extend(step.action());
        if let Some(at) = step.look_again() {
            draft.look_again(at);
        }
    }

    let serving = choose_serving(desired, observed, &hold, progress.as_ref(), now);
    let current: Vec<InstanceId> =
        progress.iter().chain(fallback.iter().map(|(_, step)| step)).filter_map(Progress::instance).collect();
    plan_retirement(observed, serving, &current, &hold, limits, &mut draft);
    sleep::fall_asleep(&code, progress.as_ref(), &hold, observed, &mut draft);

    let (stage, diagnosis) = match code {
        Code::Verdict(stage, diagnosis) => (stage, Some(diagnosis)),
        Code::Underway(diagnosis) => {
            let stage = if serving.is_some() { SpaceStage::RunningBuilding } else { SpaceStage::Building };
            (stage, Some(diagnosis))
        }
        Code::Built => run::stage(progress.as_ref(), serving, &hold, observed, now),
    };
    let diagnosis = diagnosis.map(|mut diagnosis| {
        if serving.is_some() && !stage.is_serving() {
            diagnosis.message.push_str(" The last good release keeps serving.");
        }
        diagnosis
    });
    Plan { stage, diagnosis, serving, actions: draft.actions, look_again: draft.look_again }
}

/// The wanted release if it answers, else whatever answered last: a failing push never takes
/// down what serves.
fn choose_serving(
    desired: &Desired,
    observed: &Observed,
    hold: &Hold<'_>,
    progress: Option<&Progress>,
    now: Timestamp,
) -> Option<Serving> {
    if let Some(Progress::Files(release)) = progress {
        return Some(Serving::Files(*release));
    }
    let ready = |seen: &&InstanceSeen| {
        seen.row.ended_at.is_none()
            && seen.row.ready_at.is_some()
            && hold.keeps(seen.needs.as_ref())
            && disk::exceeded(seen, now).is_none()
            && matches!(seen.container, ContainerSeen::Running | ContainerSeen::Unknown)
    };
    let is_wanted = |seen: &InstanceSeen| {
        observed.wanted.as_ref().is_some_and(|release| release.id == seen.row.release)
            && seen.row.restart == desired.restart
    };
    let newest = observed
        .instances
        .iter()
        .filter(ready)
        .max_by_key(|seen| (is_wanted(seen), seen.row.retired_at.is_none(), seen.row.ready_at))
        .map(|seen| Serving::Instance(seen.row.id));
    newest.or_else(|| {
        observed.fallback.as_ref().filter(|release| release.files).map(|release| Serving::Files(release.id))
    })
}

fn plan_retirement(
    observed: &Observed,
    serving: Option<Serving>,
    current: &[InstanceId],
    hold: &Hold<'_>,
    limits: &Limits,
    draft: &mut Draft,
) {
    for seen in observed.instances.iter().filter(|seen| seen.row.ended_at.is_none()) {
        let id = seen.row.id;
        if current.contains(&id) || serving == Some(Serving::Instance(id)) {
            continue;
        }
        if !observed.engine_up {
            draft.look_again(draft.now + ENGINE_RETRY);
            continue;
        }
        match seen.row.retired_at {
            // Never answered, or its container is gone: nobody waits for it.
            _ if seen.row.ready_at.is_none() || seen.container != ContainerSeen::Running => {
                draft.actions.push(Action::Stop(id));
            }
            None => draft.actions.push(Action::Retire(id)),
            Some(at) => {
                let until = hold.until(seen.needs.as_ref(), at + limits.drain);
                if seen.drained || draft.now >= until {
                    draft.actions.push(Action::Stop(id));
                } else {
                    draft.look_again(until);
                }
            }
        }
    }
}

fn is_unfinished(state: BuildState) -> bool {
    matches!(state, BuildState::Queued | BuildState::Running)
}

fn withdrawn(message: &str, now: Timestamp) -> Diagnosis {
    told(Reason::BuildWithdrawn, "withdrawn", message, "", now)
}

/// A diagnosis without evidence or deadline.
pub(crate) fn told(reason: Reason, phase: &str, message: &str, remedy: &str, since: Timestamp) -> Diagnosis {
    Diagnosis {
        reason,
        phase: phase.to_owned(),
        message: message.to_owned(),
        remedy: remedy.to_owned(),
        evidence: Vec::new(),
        since,
        deadline: None,
    }
}
