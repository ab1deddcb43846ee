//! The planner: what to do next for one Space, as a function of what should be, what is, and the
//! time.
//!
//! It returns actions and when to look again; it does not log, count, enqueue or read a clock.
//! Executing a plan and planning again leads, step by step, to a plan without actions: the Space
//! has converged. The same function serves the first start, a restart, a crash of the app, of the
//! server and of the engine.

mod backoff;
mod hardware;
#[cfg(test)]
mod properties;
mod run;
mod sleep;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::FlavorName;
use crate::config::ConfigError;
use crate::diagnose::sentence;
use crate::front_matter;
use crate::gpu::LeaseEnd;
use crate::space::{BuildState, Desired, DesiredRun, Inspection, Instance};
use crate::{BuildId, CommitSha, Diagnosis, InstanceId, Reason, ReleaseId, SpaceStage, Timestamp};

pub use hardware::{HardwareSeen, HardwareWait};
pub use sleep::{Asleep, IdleSeen};

use hardware::Hold;
use run::{Progress, keep_running};

/// What a plan is made from, besides the desired state.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// What the head commit turned out to be; `None` when nobody looked yet.
    pub inspection: Option<Inspection>,
    /// The build of the head commit.
    pub build: Option<BuildSeen>,
    /// Builds of other commits that wait or run.
    pub stale_builds: Vec<BuildId>,
    /// Some build waits or runs, even if it was asked to end.
    pub builds_under_way: bool,
    /// The build whose release should serve: the head's if it succeeded, else the last good one.
    pub good: Option<BuildId>,
    /// The release of `good` with the desired settings and hardware.
    pub wanted: Option<ReleaseSeen>,
    /// The newest other release that ever answered.
    pub fallback: Option<ReleaseSeen>,
    /// Every instance that is not over, and the recent ones that are; newest first.
    pub instances: Vec<InstanceSeen>,
    /// Containers of this Space without a live instance.
    pub orphans: Vec<String>,
    /// The engine answered.
    pub engine_up: bool,
    /// Apps are not started, since what keeps them from the node and from each other is not in place.
    pub starts_refused: bool,
    /// What it has of the hardware that is given out by lease.
    pub hardware: HardwareSeen,
    /// It was put to sleep.
    pub asleep: Option<Asleep>,
    /// When it was used, and when it may sleep.
    pub idle: IdleSeen,
}

/// A build, as far as the plan needs it.
#[derive(Debug, Clone)]
pub struct BuildSeen {
    /// Identity.
    pub id: BuildId,
    /// State.
    pub state: BuildState,
    /// Asked for.
    pub queued_at: Timestamp,
    /// Began.
    pub started_at: Option<Timestamp>,
    /// What it is doing, or why it failed.
    pub diagnosis: Option<Diagnosis>,
}

/// A release, as far as the plan needs it.
#[derive(Debug, Clone)]
pub struct ReleaseSeen {
    /// Identity.
    pub id: ReleaseId,
    /// Served as files, without a container.
    pub files: bool,
    /// Not answering by then is a runtime error.
    pub startup_timeout: Duration,
    /// Runs only with a lease of this flavor.
    pub needs: Option<FlavorName>,
}

/// An instance and its container.
#[derive(Debug, Clone)]
pub struct InstanceSeen {
    /// The row.
    pub row: Instance,
    /// The container.
    pub container: ContainerSeen,
    /// The proxy has nothing in flight for it any more.
    pub drained: bool,
    /// Its release runs only with a lease of this flavor.
    pub needs: Option<FlavorName>,
}

/// What the engine says of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerSeen {
    /// The engine does not answer.
    Unknown,
    /// There is none.
    Missing,
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Ended.
    Exited,
}

/// Limits of the site.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A build may run so long.
    pub build_time: Duration,
    /// Requests in flight on a retired instance may take so long.
    pub drain: Duration,
}

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
    /// Take an instance out of the route; requests in flight may finish.
    Retire(InstanceId),
    /// Stop and remove the container, and end the instance.
    Stop(InstanceId),
    /// Remove a container that belongs to no live instance.
    RemoveOrphan(String),
    /// Remove what is left of a deleted Space.
    Forget,
}

/// Makes the plan.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, limits: &Limits, now: Timestamp) -> Plan {
    let mut draft = Draft { actions: Vec::new(), look_again: None, now };
    for orphan in &observed.orphans {
        draft.actions.push(Action::RemoveOrphan(orphan.clone()));
    }
    match desired.run {
        DesiredRun::Running => plan_running(desired, observed, limits, draft),
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
            // A build that is asked to end may still write.
            if !observed.builds_under_way && !live && observed.engine_up {
                plan.actions.push(Action::Forget);
            } else {
                plan.look_again = Some(now + Duration::from_secs(2));
            }
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

    let serving = choose_serving(desired, observed, &hold, progress.as_ref());
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

/// Where the newest commit is on its way to an image.
enum Code {
    /// It will not become one.
    Verdict(SpaceStage, Diagnosis),
    /// It is being looked at or built.
    Underway(Diagnosis),
    /// It is one.
    Built,
}

fn plan_code(desired: &Desired, observed: &Observed, limits: &Limits, draft: &mut Draft) -> Code {
    let now = draft.now;
    let Some(sha) = &desired.head else {
        let why = told(
            Reason::EmptyRepository,
            "empty",
            "The repository has no commit on main yet.",
            "Push your app: git push origin main.",
            now,
        );
        return Code::Verdict(SpaceStage::NoAppFile, why);
    };
    match &observed.inspection {
        None => {
            draft.actions.push(Action::Inspect { sha: sha.clone() });
            return Code::Underway(told(Reason::BuildQueued, "reading", "Reading the commit.", "", now));
        }
        Some(Inspection::ConfigError(errors)) => {
            return Code::Verdict(SpaceStage::ConfigError, config_error(errors, now));
        }
        Some(Inspection::NoAppFile { file }) => {
            let dockerfile = file == "Dockerfile";
            let why = told(
                if dockerfile { Reason::DockerfileMissing } else { Reason::AppFileMissing },
                "no app file",
                &format!("The commit has no {file}."),
                &if dockerfile {
                    "Add a Dockerfile at the root of the repository.".to_owned()
                } else {
                    format!("Add {file}, or set app_file in README.md to the file that starts your app.")
                },
                now,
            );
            return Code::Verdict(SpaceStage::NoAppFile, why);
        }
        Some(Inspection::Buildable(_)) => {}
    }
    let Some(build) = &observed.build else {
        draft.actions.push(Action::AddBuild { sha: sha.clone() });
        return Code::Underway(told(Reason::BuildQueued, "queued", "Waiting for a free builder.", "", now));
    };
    match build.state {
        BuildState::Succeeded => Code::Built,
        BuildState::Queued => Code::Underway(build.diagnosis.clone().unwrap_or_else(|| {
            told(Reason::BuildQueued, "queued", "Waiting for a free builder.", "", build.queued_at)
        })),
        BuildState::Running => {
            let since = build.started_at.unwrap_or(build.queued_at);
            let mut why = build
                .diagnosis
                .clone()
                .unwrap_or_else(|| told(Reason::BuildRunning, "building", "Building.", "", since));
            why.deadline = Some(since + limits.build_time);
            Code::Underway(why)
        }
        BuildState::Canceled if build.diagnosis.as_ref().is_some_and(|why| why.reason == Reason::BuildWithdrawn) => {
            draft.actions.push(Action::RepeatBuild { build: build.id });
            Code::Underway(told(Reason::BuildQueued, "queued", "Waiting for a free builder.", "", now))
        }
        BuildState::Failed | BuildState::Canceled => {
            let why = build.diagnosis.clone().unwrap_or_else(|| canceled("The build was canceled.", build.queued_at));
            Code::Verdict(SpaceStage::BuildError, why)
        }
    }
}

/// The wanted release if it answers, else whatever answered last: a failing push never takes
/// down what serves.
fn choose_serving(
    desired: &Desired,
    observed: &Observed,
    hold: &Hold<'_>,
    progress: Option<&Progress>,
) -> Option<Serving> {
    if let Some(Progress::Files(release)) = progress {
        return Some(Serving::Files(*release));
    }
    let ready = |seen: &&InstanceSeen| {
        seen.row.ended_at.is_none()
            && seen.row.ready_at.is_some()
            && hold.keeps(seen.needs.as_ref())
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

fn config_error(errors: &[ConfigError], now: Timestamp) -> Diagnosis {
    let first = errors.first();
    let more = errors.len().saturating_sub(1);
    let mut message = first
        .map_or_else(|| "The front matter of README.md is invalid.".to_owned(), |error| sentence(&error.to_string()));
    if more > 0 {
        // The evidence has all of them.
        message = format!("{} ({more} more below).", message.trim_end_matches('.'));
    }
    let allowed = first.map(|error| error.allowed.as_str()).filter(|allowed| !allowed.is_empty());
    Diagnosis {
        reason: Reason::ConfigInvalid,
        phase: "configuration".to_owned(),
        message,
        remedy: match (first, allowed) {
            (Some(_), Some(allowed)) if allowed == front_matter::README_FORM => format!("Push {allowed}."),
            (Some(error), Some(allowed)) if !error.key.is_empty() => {
                format!("Change {} in line {} of README.md; allowed: {allowed}.", error.key, error.line)
            }
            (Some(error), _) => format!("Correct line {} of README.md and push again.", error.line),
            (None, _) => "Correct README.md and push again.".to_owned(),
        },
        evidence: errors.iter().map(ToString::to_string).collect(),
        since: now,
        deadline: None,
    }
}

fn canceled(message: &str, now: Timestamp) -> Diagnosis {
    told(Reason::BuildCanceled, "canceled", message, "Restart the Space to build this commit.", now)
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
