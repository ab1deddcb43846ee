//! Hardware that is given out by lease: a release that needs some starts only with it.
//!
//! A Space has one claim at a time, which the plan makes and ends, and one lease at a time, which the scheduler gives
//! and which ends when nothing runs on it any more. Old and new containers share the lease while a push swaps them.

use std::time::Duration;

use super::run::Progress;
use super::{Action, Draft, Limits, Observed, ReleaseSeen, told};
use crate::gpu::{Ending, LeaseEnd};
use crate::{Diagnosis, FlavorName, Reason, SpaceStage, Timestamp};

/// Who waits for hardware is looked at so often, whatever was signalled.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What a Space has of the hardware that is given out by lease.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum HardwareSeen {
    /// Neither claim nor lease.
    #[default]
    None,
    /// There can be no claim: the site has no such hardware.
    Impossible {
        /// Why, in a sentence.
        why: String,
    },
    /// It waits.
    Waiting(HardwareWait),
    /// It has a lease.
    Leased {
        /// Of this flavor.
        flavor: FlavorName,
        /// The claim goes on; without it the lease ends as soon as nothing runs on it.
        claimed: bool,
        /// It was told to end.
        ending: Option<Ending>,
    },
}

/// A claim that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct HardwareWait {
    /// For this flavor.
    pub flavor: FlavorName,
    /// In words: `1 × A100`.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
    /// Why, in a sentence; `None`: nobody has decided yet.
    pub reason: Option<String>,
    /// How many claims start before it, as far as it is known.
    pub position: Option<u32>,
    /// When it will start, in nine of ten cases.
    pub starts: Option<(Timestamp, Timestamp)>,
    /// It had hardware, and lost it for this reason at this time.
    pub again: Option<(LeaseEnd, Timestamp)>,
}

/// What may run on what the Space has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold<'a> {
    lease: Option<(&'a FlavorName, bool)>,
    ending: Option<Ending>,
    /// When requests in flight need the rest of its time.
    ends: Option<Timestamp>,
    /// That is now.
    over: bool,
    /// What is to run next needs a lease.
    wants: bool,
}

impl<'a> Hold<'a> {
    pub(super) fn of(observed: &'a Observed, limits: &Limits, now: Timestamp) -> Self {
        match &observed.hardware {
            HardwareSeen::Leased { flavor, claimed, ending } => Self {
                lease: Some((flavor, *claimed)),
                ending: *ending,
                ends: ending.map(|ending| ending.by - limits.drain),
                over: ending.is_some_and(|ending| now >= ending.by - limits.drain),
                wants: true,
            },
            HardwareSeen::None | HardwareSeen::Impossible { .. } | HardwareSeen::Waiting(_) => {
                Self { lease: None, ending: None, ends: None, over: false, wants: true }
            }
        }
    }

    /// Nothing may run any more.
    pub(super) fn none() -> Self {
        Self { lease: None, ending: None, ends: None, over: true, wants: true }
    }

    /// Whether something that needs this may start and go on.
    pub(super) fn lets_run(&self, needs: Option<&FlavorName>) -> bool {
        needs.is_none_or(|needs| self.lease == Some((needs, true)) && !self.over)
    }

    /// Whether something that runs may serve on. Beside what needs no lease, what ran before keeps its own until it
    /// is replaced.
    pub(super) fn keeps(&self, needs: Option<&FlavorName>) -> bool {
        needs.is_none_or(|needs| {
            self.lease.is_some_and(|(flavor, claimed)| flavor == needs && (claimed || !self.wants)) && !self.over
        })
    }

    /// Until when requests in flight may finish.
    pub(super) fn until(&self, needs: Option<&FlavorName>, drained_by: Timestamp) -> Timestamp {
        match self.ending {
            Some(ending) if needs.is_some() => ending.by.min(drained_by),
            _ => drained_by,
        }
    }

    /// Why its time is over.
    pub(super) fn over(&self) -> Option<LeaseEnd> {
        self.ending.filter(|_| self.over).map(|ending| ending.why)
    }

    /// What the owner of an app that runs must know.
    pub(super) fn notice(&self) -> Option<Diagnosis> {
        let Ending { why, told_at, by } = self.ending?;
        let (phase, remedy) = match why {
            LeaseEnd::Reclaimed => {
                ("idle", "Use it, and it stays. Otherwise it sleeps, and the next visitor wakes it.")
            }
            _ => ("ending", "It will wait for hardware again and start by itself."),
        };
        let mut notice = told(Reason::HardwareEnding, phase, why.notice(), remedy, told_at);
        notice.deadline = Some(by);
        Some(notice)
    }
}

/// Makes or ends the claim, so that it is what shall run next that waits for hardware. Returns what may run beside it.
pub(super) fn claim<'a>(
    hold: &Hold<'a>,
    wanted: Option<&Progress>,
    fallback: Option<&(&ReleaseSeen, Progress)>,
    observed: &Observed,
    draft: &mut Draft,
) -> Hold<'a> {
    let is_lost = |progress: Option<&Progress>| matches!(progress, None | Some(Progress::Failed { .. }));
    let next = if is_lost(wanted) {
        fallback.filter(|(_, progress)| !is_lost(Some(progress))).map(|(release, _)| *release)
    } else {
        observed.wanted.as_ref()
    };
    // While a release is being made, what runs keeps what it has.
    let is_made = observed.wanted.is_some() || observed.good.is_none();
    let needs = next.and_then(|release| release.needs.as_ref());
    match (&observed.hardware, needs) {
        (HardwareSeen::None, Some(_)) => {
            draft.actions.extend(next.map(|release| Action::Claim { release: release.id }));
        }
        (HardwareSeen::None | HardwareSeen::Impossible { .. }, None) | (HardwareSeen::Impossible { .. }, Some(_)) => {}
        (HardwareSeen::Waiting(HardwareWait { flavor, .. }) | HardwareSeen::Leased { flavor, .. }, Some(needs)) => {
            if flavor != needs {
                end_claim(observed, LeaseEnd::HardwareChanged, draft);
            }
        }
        (HardwareSeen::Waiting(_) | HardwareSeen::Leased { .. }, None) if is_made => {
            let failed = matches!(wanted, Some(Progress::Failed { .. }));
            end_claim(observed, if failed { LeaseEnd::AppFailed } else { LeaseEnd::HardwareChanged }, draft);
        }
        (HardwareSeen::Waiting(_) | HardwareSeen::Leased { .. }, None) => {}
    }
    if matches!(wanted, Some(Progress::WithoutHardware)) {
        // The scheduler tells; this is for what it says getting lost.
        draft.look_again(draft.now + LOOK_AGAIN);
    }
    if let Some(ends) = hold.ends.filter(|_| !hold.over) {
        draft.look_again(ends);
    }
    let other = |flavor: &FlavorName| needs.is_some_and(|needs| needs != flavor);
    let lease = hold.lease.filter(|(flavor, _)| !other(flavor));
    Hold { lease, wants: needs.is_some(), ..*hold }
}

/// Ends the claim, if there is one.
pub(super) fn end_claim(observed: &Observed, why: LeaseEnd, draft: &mut Draft) {
    let claimed = match &observed.hardware {
        HardwareSeen::None | HardwareSeen::Impossible { .. } => false,
        HardwareSeen::Waiting(_) => true,
        HardwareSeen::Leased { claimed, .. } => *claimed,
    };
    if claimed {
        draft.actions.push(Action::EndClaim { why });
    }
}

/// The stage of a Space whose newest release may not run for want of hardware.
pub(super) fn stage(
    starting: SpaceStage,
    hold: &Hold<'_>,
    observed: &Observed,
    now: Timestamp,
) -> (SpaceStage, Option<Diagnosis>) {
    let mut why = told(Reason::HardwareWaiting, "waiting for hardware", "", "", now);
    let mut stage = starting;
    match &observed.hardware {
        HardwareSeen::Waiting(wait) => {
            why.since = wait.again.map_or(wait.since, |(_, at)| at);
            why.message = wait.sentence();
            why.remedy = "Nothing to do for you: it starts as soon as it is its turn.".to_owned();
            why.deadline = None;
            if let Some((lost, _)) = wait.again {
                if stage == SpaceStage::AppStarting {
                    stage = SpaceStage::Sleeping;
                }
                "asleep until there is hardware".clone_into(&mut why.phase);
                why.message = format!("{} {}", lost.sentence(), why.message);
            }
        }
        HardwareSeen::Leased { .. } => {
            let message = hold.ending.map_or("Its former hardware is given back.", |ending| ending.why.sentence());
            why = told(Reason::HardwareWaiting, "giving hardware back", message, "", now);
            if hold.ending.is_some() && stage == SpaceStage::AppStarting {
                stage = SpaceStage::Sleeping;
            }
        }
        HardwareSeen::Impossible { why: reason } => {
            // Nothing is on its way: who waits for the app to start shall not wait for ever.
            stage = SpaceStage::RuntimeError;
            why.reason = Reason::DeviceUnavailable;
            "no such hardware".clone_into(&mut why.phase);
            why.message.clone_from(reason);
            "Choose other hardware in the settings, or ask the administrator.".clone_into(&mut why.remedy);
        }
        HardwareSeen::None => "It asks for its hardware.".clone_into(&mut why.message),
    }
    (stage, Some(why))
}

impl HardwareWait {
    /// `Waiting for 1 × A100: all 4 are in use. 2 others come first; it starts in about 10 to 40 minutes.`
    #[must_use]
    pub fn sentence(&self) -> String {
        let what = &self.what;
        let Some(reason) = &self.reason else { return format!("Waiting for {what}.") };
        let mut sentence = format!("Waiting for {what}: {reason}.");
        let place = match self.position {
            None => None,
            Some(0) => Some("It is next".to_owned()),
            Some(1) => Some("One comes before it".to_owned()),
            Some(others) => Some(format!("{others} come before it")),
        };
        let starts = self.starts.map(|(from, until)| {
            format!("expected to start between {} and {} UTC", from.to_minute(), until.to_minute())
        });
        match (place, starts) {
            (Some(place), Some(starts)) => sentence.push_str(&format!(" {place}; {starts}.")),
            (Some(place), None) => sentence.push_str(&format!(" {place}.")),
            (None, Some(starts)) => sentence.push_str(&format!(" It is {starts}.")),
            (None, None) => {}
        }
        sentence
    }
}
