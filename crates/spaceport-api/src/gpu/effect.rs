//! What other quotas would do at once, and what they would have done to the demand of the last days: the scheduler decides
//! with them, and nothing is written.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use spaceport_control::hardware::{Recorded, recorded, spent};
use spaceport_core::gpu::schedule::{Notice, World};
use spaceport_core::gpu::trial::{Difference, Fared, Outcome, replay, with_quotas};
use spaceport_core::gpu::{Claim, QuotaPath, QuotaTree, Wait};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::gpu::waiting::StartView;
use crate::gpu::{Eyes, Sight};
use crate::state::ApiState;

/// What a change would do at once, and would have done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QuotaEffect)]
pub struct EffectView {
    /// How many have hardware and would have to give it back.
    pub leave: usize,
    /// How many wait and would start at once.
    pub start: usize,
    /// Everybody who would fare differently.
    pub changes: Vec<DifferenceView>,
    /// The demand of the last days, with the quotas as they are and as they would be.
    pub replay: ReplayView,
}

/// The demand of the last days, run through the scheduler twice with the machines of today.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaReplay)]
pub struct ReplayView {
    /// From when.
    pub from: String,
    /// Until when.
    pub until: String,
    /// How many claims were made in that time, or waited or ran when it began.
    pub claims: usize,
    /// The accounts that would have fared differently, those whose waits would have changed most first.
    pub accounts: Vec<FaredView>,
}

/// An account that would have fared differently.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaReplayOf)]
pub struct FaredView {
    /// Which; null: all those together whose use the caller may not see.
    pub account: Option<String>,
    /// How many claims it had.
    pub claims: u32,
    /// With the quotas as they are.
    pub before: FareView,
    /// With the quotas as they would be.
    pub after: FareView,
}

/// What would have become of the claims of an account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QuotaReplayFare)]
pub struct FareView {
    /// How many claims would have got hardware.
    pub started: u32,
    /// How long a claim would have waited on average, in seconds.
    pub mean_wait_seconds: u64,
    /// How often one would have had to leave before it was done.
    pub left: u32,
    /// What they would have used, in device seconds.
    pub used_device_seconds: i64,
}

/// A Space that would fare differently.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaEffectOn)]
pub struct DifferenceView {
    /// The claim.
    pub claim: String,
    /// The Space; null for one the caller may not see.
    pub space: Option<String>,
    /// Whose quota it counts against; null for one the caller may not see.
    pub account: Option<String>,
    /// The flavor.
    pub flavor: String,
    /// As it is.
    pub before: OutcomeView,
    /// As it would be.
    pub after: OutcomeView,
}

/// What becomes of a claim.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QuotaOutcome)]
pub struct OutcomeView {
    /// `runs`, `leaves`, `starts` or `waits`.
    pub state: &'static str,
    /// Of one that leaves: by when.
    pub ends_by: Option<String>,
    /// Why it leaves, or waits.
    pub reason: Option<String>,
    /// Of one that waits: how many start before it.
    pub position: Option<u32>,
    /// Of one that waits: when it will start, as far as that can be told.
    pub start: Option<StartView>,
}

/// Decides with other quotas.
///
/// # Errors
/// When the scheduler has not looked yet, or the database fails.
pub(super) async fn effect(state: &ApiState, caller: Caller, quotas: QuotaTree) -> Result<EffectView, ApiError> {
    let world = state.control.world().ok_or_else(|| {
        ApiError::busy("Nothing can be tried yet: the scheduler has seen no machine since the server started", 5)
    })?;
    let now = state.control.clock().now();
    let recorded = recorded(&state.store, &world, now).await?;
    let then = World {
        spent: spent(&state.store, &quotas, recorded.world.now).await?,
        quotas: quotas.clone(),
        ..recorded.world.clone()
    };
    let spent = spent(&state.store, &quotas, now).await?;
    let mut eyes = Eyes::of(state, caller).await?;
    let sight = eyes.sight.clone();
    // Ten thousand claims take a tenth of a second, twice; the days before that, seconds.
    let tried = tokio::task::spawn_blocking(move || {
        let differences = with_quotas(&world, quotas, spent);
        let Recorded { world: now, demand, until } = recorded;
        let fared = [&now, &then].map(|world| by_account(replay(world, &demand, until), &sight));
        let [before, after] = fared;
        let (from, until) = (now.now.to_rfc3339(), until.to_rfc3339());
        (differences, ReplayView { from, until, claims: demand.len(), accounts: accounts(before, &after) })
    });
    let (differences, replay) = tried.await.map_err(ApiError::internal)?;
    let count = |is: fn(&Outcome) -> bool| differences.iter().filter(|one| is(&one.after) && !is(&one.before)).count();
    let leave = count(|outcome| matches!(outcome, Outcome::Leaves { .. }));
    let start = count(|outcome| matches!(outcome, Outcome::Starts));
    let mut changes = Vec::with_capacity(differences.len());
    for difference in differences {
        changes.push(view(&mut eyes, difference).await?);
    }
    Ok(EffectView { leave, start, changes, replay })
}

/// What became of each account, those together whose use is not seen.
fn by_account(fared: BTreeMap<QuotaPath, Fared>, sight: &Sight) -> BTreeMap<Option<String>, Fared> {
    let mut seen: BTreeMap<Option<String>, Fared> = BTreeMap::new();
    for (account, one) in fared {
        let account = sight.sees_use(&account).then_some(account.0);
        *seen.entry(account).or_default() += one;
    }
    seen
}

fn accounts(before: BTreeMap<Option<String>, Fared>, after: &BTreeMap<Option<String>, Fared>) -> Vec<FaredView> {
    let mut changed: Vec<(Option<String>, Fared, Fared)> = before
        .into_iter()
        .filter_map(|(account, before)| after.get(&account).map(|after| (account, before, *after)))
        .filter(|(_, before, after)| before != after)
        .collect();
    changed.sort_by_key(|(_, before, after)| std::cmp::Reverse(before.waited.abs_diff(after.waited)));
    let view = |(account, before, after): (Option<String>, Fared, Fared)| FaredView {
        account,
        claims: before.claims,
        before: before.into(),
        after: after.into(),
    };
    changed.into_iter().map(view).collect()
}

impl From<Fared> for FareView {
    fn from(fared: Fared) -> Self {
        Self {
            started: fared.started,
            mean_wait_seconds: fared.mean_wait().as_secs(),
            left: fared.left,
            used_device_seconds: i64::try_from(fared.used.milli_seconds() / 1000).unwrap_or(i64::MAX),
        }
    }
}

async fn view(eyes: &mut Eyes<'_>, difference: Difference) -> Result<DifferenceView, ApiError> {
    let Difference { claim, before, after } = difference;
    let Claim { id, space, account, flavor, .. } = claim;
    let is_known = eyes.sees_use(&account);
    let (space, account) = eyes.whose(space, &account).await?;
    Ok(DifferenceView {
        claim: id.to_string(),
        space,
        account,
        flavor: flavor.0,
        before: OutcomeView::of(before, is_known),
        after: OutcomeView::of(after, is_known),
    })
}

impl OutcomeView {
    fn of(outcome: Outcome, is_known: bool) -> Self {
        let plain = |state| Self { state, ends_by: None, reason: None, position: None, start: None };
        match outcome {
            Outcome::Runs => plain("runs"),
            Outcome::Starts => plain("starts"),
            Outcome::Leaves { by, notice } => Self {
                ends_by: Some(by.to_rfc3339()),
                reason: notice.map(|notice| leaves_for(&notice).to_owned()),
                ..plain("leaves")
            },
            Outcome::Waits(wait) => {
                let Wait { position, start, .. } = wait;
                let reason = if is_known { wait.reason() } else { wait.reason_for_others() };
                Self {
                    reason: Some(reason),
                    position: Some(position),
                    start: start.map(StartView::from),
                    ..plain("waits")
                }
            }
        }
    }
}

fn leaves_for(notice: &Notice) -> &'static str {
    match notice {
        Notice::Guarantee(_) => "what it borrows goes back to whom it is guaranteed",
        Notice::Held(_) => "what it has is kept for one that comes first",
        Notice::Reservation(_) => "what it has is reserved",
        Notice::Budget(_) => "the device time of its account is used up for this period",
    }
}
