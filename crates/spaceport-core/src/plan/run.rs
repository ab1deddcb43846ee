//! Keeping one release running: attempts, probes, back-off.

use std::time::Duration;

use super::backoff::{self, Next};
use super::hardware::{self, Hold};
use super::{Action, ContainerSeen, ENGINE_RETRY, InstanceSeen, Observed, ReleaseSeen, Serving, disk, fault, told};
use crate::space::Instance;
use crate::{Diagnosis, InstanceId, Reason, ReleaseId, SpaceStage, Timestamp};

/// How often a starting app is looked at when its probe does not report by itself.
const PROBE_AGAIN: Duration = Duration::from_millis(500);

/// Where a release stands.
#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// Files need no start.
    Files(ReleaseId),
    /// It answers.
    Ready(InstanceId),
    /// On its way; `step` brings it further.
    Starting {
        instance: Option<InstanceId>,
        step: Option<Action>,
        deadline: Option<Timestamp>,
        again: Option<Timestamp>,
        failing: Option<Box<Diagnosis>>,
    },
    /// It may not go on.
    Over { instance: InstanceId, why: Diagnosis },
    /// An attempt ended; the next one waits.
    Waiting { until: Timestamp, last: Diagnosis, was_ready: bool },
    /// It may not run now, since it has not got its hardware.
    WithoutHardware,
    /// No further attempt.
    Failed { last: Diagnosis },
}

impl Progress {
    pub(super) fn action(&self) -> Option<Action> {
        match self {
            Self::Starting { step, .. } => step.clone(),
            Self::Over { instance, why } => Some(Action::EndAttempt { instance: *instance, why: why.clone() }),
            _ => None,
        }
    }

    pub(super) fn look_again(&self) -> Option<Timestamp> {
        match self {
            Self::Starting { again, .. } => *again,
            Self::Waiting { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// The instance that belongs to it and must not be retired.
    pub(super) fn instance(&self) -> Option<InstanceId> {
        match self {
            Self::Ready(id) => Some(*id),
            Self::Starting { instance, .. } => *instance,
            Self::Over { instance, .. } => Some(*instance),
            _ => None,
        }
    }
}

/// Brings a release one step further. `restart` is given for the wanted release: attempts made
/// for an earlier restart do not count for it.
pub(super) fn keep_running(
    release: &ReleaseSeen,
    restart: Option<i64>,
    hold: &Hold<'_>,
    observed: &Observed,
    now: Timestamp,
) -> Progress {
    if release.files {
        return Progress::Files(release.id);
    }
    let ours: Vec<&InstanceSeen> = observed
        .instances
        .iter()
        .filter(|seen| seen.row.release == release.id && restart.is_none_or(|restart| seen.row.restart == restart))
        .collect();
    let ended: Vec<&Instance> =
        ours.iter().map(|seen| &seen.row).filter(|row| row.ended_at.is_some() && !row.ended_by_us).collect();
    let failing =
        ended.first().filter(|row| row.ready_at.is_none()).and_then(|row| row.diagnosis.clone()).map(Box::new);
    let live = ours.iter().find(|seen| seen.row.ended_at.is_none() && seen.row.retired_at.is_none());
    let has_hardware = hold.lets_run(release.needs.as_ref());
    if let Some(seen) = live {
        if !has_hardware {
            return Progress::WithoutHardware;
        }
        return live_progress(seen, release, failing, observed.starts_refused, now);
    }
    let next_attempt = ours.iter().map(|seen| seen.row.attempt).max().unwrap_or(0) + 1;
    let can_start = observed.engine_up && !observed.starts_refused;
    let start = |failing| match has_hardware {
        false => Progress::WithoutHardware,
        true => Progress::Starting {
            instance: None,
            step: can_start.then_some(Action::AddInstance { release: release.id, attempt: next_attempt }),
            deadline: None,
            again: (!can_start).then(|| now + ENGINE_RETRY),
            failing,
        },
    };
    let Some(next) = backoff::next(&ended) else { return start(None) };
    let last = ended
        .first()
        .and_then(|row| row.diagnosis.clone())
        .unwrap_or_else(|| told(Reason::Crashed, "crashed", "The app ended.", "Look at its log.", now));
    let was_ready = ended.first().is_some_and(|row| row.ready_at.is_some());
    match next {
        Next::Never => Progress::Failed { last },
        Next::At(at) if at <= now => start(failing),
        Next::At(until) => Progress::Waiting { until, last, was_ready },
    }
}

fn live_progress(
    seen: &InstanceSeen,
    release: &ReleaseSeen,
    failing: Option<Box<Diagnosis>>,
    starts_refused: bool,
    now: Timestamp,
) -> Progress {
    let row = &seen.row;
    if let Some(why) = disk::exceeded(seen, now) {
        return Progress::Over { instance: row.id, why };
    }
    let started = row.started_at.unwrap_or(row.created_at);
    let deadline = started + release.startup_timeout;
    let starting = |step, again| Progress::Starting {
        instance: Some(row.id),
        step,
        deadline: Some(deadline),
        again,
        failing: failing.clone(),
    };
    match seen.container {
        ContainerSeen::Unknown if row.ready_at.is_some() => Progress::Ready(row.id),
        ContainerSeen::Unknown => starting(None, Some(now + ENGINE_RETRY)),
        ContainerSeen::Missing | ContainerSeen::Created if row.started_at.is_none() && starts_refused => {
            starting(None, Some(now + ENGINE_RETRY))
        }
        ContainerSeen::Missing | ContainerSeen::Created if row.started_at.is_none() => {
            starting(Some(Action::Start(row.id)), None)
        }
        ContainerSeen::Missing | ContainerSeen::Created | ContainerSeen::Exited => {
            starting(Some(Action::RecordExit(row.id)), None)
        }
        ContainerSeen::Running if row.ready_at.is_some() => Progress::Ready(row.id),
        ContainerSeen::Running if now >= deadline => starting(Some(Action::GiveUp(row.id)), None),
        // A container that ran before its row could say so gets its start recorded by `Start`.
        ContainerSeen::Running if row.started_at.is_none() => starting(Some(Action::Start(row.id)), None),
        ContainerSeen::Running => starting(Some(Action::Probe(row.id)), Some(deadline.min(now + PROBE_AGAIN))),
    }
}

/// The stage of a Space whose newest commit is built.
pub(super) fn stage(
    progress: Option<&Progress>,
    serving: Option<Serving>,
    hold: &Hold<'_>,
    observed: &Observed,
    now: Timestamp,
) -> (SpaceStage, Option<Diagnosis>) {
    let starting = if serving.is_some() { SpaceStage::RunningAppStarting } else { SpaceStage::AppStarting };
    match progress {
        Some(Progress::Files(_)) => (SpaceStage::Running, None),
        Some(Progress::Ready(_)) => (SpaceStage::Running, hold.notice()),
        Some(Progress::WithoutHardware) => hardware::stage(starting, hold, observed, now),
        None => (starting, Some(told(Reason::Starting, "releasing", "Making the release.", "", now))),
        Some(Progress::Starting { instance, deadline, failing, .. }) => {
            let row =
                instance.and_then(|id| observed.instances.iter().find(|seen| seen.row.id == id)).map(|seen| &seen.row);
            let since = row.map_or(now, |row| row.started_at.unwrap_or(row.created_at));
            let is_started = row.is_some_and(|row| row.started_at.is_some());
            let mut why =
                row.and_then(|row| row.diagnosis.clone()).unwrap_or_else(|| waits(is_started, since, observed, now));
            why.deadline = *deadline;
            match failing {
                // Until an attempt answers, the stage tells why the one before did not.
                Some(last) => {
                    (SpaceStage::RuntimeError, Some(Diagnosis { phase: "trying again".to_owned(), ..(**last).clone() }))
                }
                None => (starting, Some(why)),
            }
        }
        Some(Progress::Waiting { until, last, was_ready }) => {
            let mut why = last.clone();
            why.phase = "waiting to try again".to_owned();
            why.deadline = Some(*until);
            if *was_ready {
                why.reason = Reason::CrashLoop;
            }
            (SpaceStage::RuntimeError, Some(why))
        }
        Some(Progress::Over { why, .. }) => (SpaceStage::RuntimeError, Some(why.clone())),
        Some(Progress::Failed { last }) => (SpaceStage::RuntimeError, Some(last.clone())),
    }
}

/// What a start waits for.
fn waits(is_started: bool, since: Timestamp, observed: &Observed, now: Timestamp) -> Diagnosis {
    let refused = observed.engine_up && observed.starts_refused && !is_started;
    if observed.engine_up && !refused {
        return told(Reason::Starting, "starting", "The app is starting.", "", since);
    }
    let since = observed.engine_fault.as_ref().map_or(since, |fault| fault.since);
    let ordinary = || match refused {
        true => told(
            Reason::EngineUnavailable,
            "waiting for the packet filter",
            "What keeps apps from the node and from each other is not in place, so none is started.",
            "Nothing to do for you: it starts as soon as that is mended. Administrators: the engine's part of \
             /api/health says what is missing.",
            since,
        ),
        false => told(
            Reason::EngineUnavailable,
            "waiting for the engine",
            "The container engine does not answer.",
            "Nothing to do for you: it starts as soon as the engine is back. Administrators: is dockerd running?",
            since,
        ),
    };
    fault::of_engine("The app has been waiting to be started", observed, now).unwrap_or_else(ordinary)
}
