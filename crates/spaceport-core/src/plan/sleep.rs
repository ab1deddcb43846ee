//! Sleeping: what nobody uses is stopped, and started for the next visitor.
//!
//! The owner's wish stays as it is; that a Space sleeps is something that was observed. It holds for one release and one
//! restart, so a push and a restart wake it like a visitor.

use std::time::Duration;

use super::hardware::{self, Hold};
use super::run::Progress;
use super::{Action, Code, Draft, Limits, Observed, Plan, plan_retirement, told};
use crate::gpu::LeaseEnd;
use crate::space::Desired;
use crate::{Diagnosis, Reason, ReleaseId, SpaceStage, Timestamp};

/// A Space sleeps: nothing runs until somebody comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asleep {
    /// The release that sleeps.
    pub release: ReleaseId,
    /// The Space's `restart` then.
    pub restart: i64,
    /// Since when.
    pub since: Timestamp,
    /// Why: nobody came, or its hardware was reclaimed.
    pub why: LeaseEnd,
}

/// Whether anybody uses a Space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IdleSeen {
    /// When it was last used, as far as this process saw. What is in flight counts as use all the time.
    pub last_used: Option<Timestamp>,
    /// When this process began to look.
    pub watched_since: Option<Timestamp>,
    /// It may sleep so long after that; `None`: never.
    pub sleep_after: Option<Duration>,
}

/// Whether the Space sleeps; if something woke it, that is recorded first.
pub(super) fn asleep(desired: &Desired, observed: &Observed, draft: &mut Draft) -> Option<Asleep> {
    let asleep = observed.asleep?;
    let holds =
        observed.wanted.as_ref().is_some_and(|wanted| wanted.id == asleep.release) && desired.restart == asleep.restart;
    let visited = observed.idle.last_used.is_some_and(|used| used > asleep.since);
    if holds && !visited {
        return Some(asleep);
    }
    draft.actions.push(Action::Wake);
    None
}

/// The plan of a Space that sleeps. Its code is built all the same.
pub(super) fn plan(asleep: Asleep, code: Code, observed: &Observed, limits: &Limits, mut draft: Draft) -> Plan {
    hardware::end_claim(observed, asleep.why, &mut draft);
    plan_retirement(observed, None, &[], &Hold::none(), limits, &mut draft);
    let (stage, diagnosis) = match code {
        Code::Verdict(stage, diagnosis) => (stage, diagnosis),
        Code::Underway(diagnosis) => (SpaceStage::Building, diagnosis),
        Code::Built => (SpaceStage::Sleeping, diagnosis(asleep)),
    };
    Plan { stage, diagnosis: Some(diagnosis), serving: None, actions: draft.actions, look_again: draft.look_again }
}

/// Puts a Space to sleep that nobody has used for so long, or whose hardware is reclaimed.
pub(super) fn fall_asleep(
    code: &Code,
    progress: Option<&Progress>,
    hold: &Hold<'_>,
    observed: &Observed,
    draft: &mut Draft,
) {
    let Some(release) = observed.wanted.as_ref().map(|wanted| wanted.id) else { return };
    if hold.over() == Some(LeaseEnd::Reclaimed) {
        draft.actions.push(Action::Sleep { release, why: LeaseEnd::Reclaimed });
        return;
    }
    let Some(Progress::Ready(instance)) = progress else { return };
    // Somebody is at work on it.
    if matches!(code, Code::Underway(_)) {
        return;
    }
    let Some(after) = observed.idle.sleep_after else { return };
    let ready_at = observed.instances.iter().find(|seen| seen.row.id == *instance).and_then(|seen| seen.row.ready_at);
    let Some(since) = ready_at.max(observed.idle.last_used).max(observed.idle.watched_since) else { return };
    if draft.now >= since + after {
        draft.actions.push(Action::Sleep { release, why: LeaseEnd::Slept });
    } else {
        draft.look_again(since + after);
    }
}

fn diagnosis(asleep: Asleep) -> Diagnosis {
    let message = match asleep.why {
        LeaseEnd::Reclaimed => "Its hardware was held and not used, so it sleeps.",
        _ => "Nobody used it for a while, so it sleeps.",
    };
    told(Reason::Sleeping, "asleep", message, "Open the app, or restart it: it wakes by itself.", asleep.since)
}
