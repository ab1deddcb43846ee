//! What other quotas would do at once: the scheduler decides with them, and nothing is written.

use serde::Serialize;
use utoipa::ToSchema;

use spaceport_control::hardware::spent;
use spaceport_core::gpu::schedule::Notice;
use spaceport_core::gpu::trial::{Difference, Outcome, with_quotas};
use spaceport_core::gpu::{Claim, QuotaTree, Wait};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::gpu::Eyes;
use crate::gpu::waiting::StartView;
use crate::state::ApiState;

/// What a change would do at once.
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
    let spent = spent(&state.store, &quotas, state.control.clock().now()).await?;
    // Ten thousand claims take a tenth of a second, twice.
    let differences = tokio::task::spawn_blocking(move || with_quotas(&world, quotas, spent)).await;
    let differences = differences.map_err(ApiError::internal)?;
    let count = |is: fn(&Outcome) -> bool| differences.iter().filter(|one| is(&one.after) && !is(&one.before)).count();
    let leave = count(|outcome| matches!(outcome, Outcome::Leaves { .. }));
    let start = count(|outcome| matches!(outcome, Outcome::Starts));
    let mut eyes = Eyes::of(state, caller).await?;
    let mut changes = Vec::with_capacity(differences.len());
    for difference in differences {
        changes.push(view(&mut eyes, difference).await?);
    }
    Ok(EffectView { leave, start, changes })
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
