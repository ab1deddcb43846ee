//! The demand of the last days, as it was recorded: for trying out what other quotas would have made of it.

use std::collections::BTreeMap;
use std::time::Duration;

use spaceport_core::gpu::schedule::{Running, World};
use spaceport_core::gpu::trial::Demand;
use spaceport_core::gpu::{Claim, Lease};
use spaceport_core::{ClaimId, Timestamp};
use spaceport_store::{Store, StoreError, StoredLease};

use super::demand::spent;
use super::past::{HALF_LIVES, Past};

/// So far back at most.
const DAYS: u64 = 7;
/// So many claims at most, so that somebody can wait for the answer; the latest ones.
const CLAIMS: u32 = 2000;
/// A claim that was given up before it ran would have run so long when nothing is known of its like.
const UNKNOWN: Duration = Duration::from_secs(3600);

/// What somebody wanted, and what there was when it begins.
#[derive(Debug)]
pub struct Recorded {
    /// Its beginning: who had what, with the machines and settings of today.
    pub world: World,
    /// Every claim since then.
    pub demand: Vec<Demand>,
    /// Its end.
    pub until: Timestamp,
}

/// Reads the demand of the last days. `today` is what the scheduler decided from last.
///
/// # Errors
/// When the database fails.
pub async fn recorded(store: &Store, today: &World, now: Timestamp) -> Result<Recorded, StoreError> {
    let days_ago = now - Duration::from_secs(DAYS * 86_400);
    let from = store.claim_before_last(CLAIMS).await?.map_or(days_ago, |at| at.max(days_ago));
    let claims = store.claims_between(from, now).await?;
    let half_life = Duration::from_millis(today.policy.half_life_ms.max(1));
    let leases = store.leases_between(from - half_life.saturating_mul(HALF_LIVES), now).await?;
    let (before, within): (Vec<_>, Vec<_>) =
        leases.into_iter().partition(|lease| lease.ended_at.is_some_and(|at| at <= from));
    let mut past = Past::new(&before, half_life, from);
    let mut of: BTreeMap<ClaimId, Vec<&StoredLease>> = BTreeMap::new();
    for lease in &within {
        of.entry(lease.lease.claim).or_default().push(lease);
    }
    let (mut demand, mut running, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for claim in claims {
        let leases = of.remove(&claim.claim.id).unwrap_or_default();
        if let Some(lease) = leases.iter().find(|lease| lease.lease.started_at <= from) {
            let had = Lease { ends_by: None, ..lease.lease.clone() };
            running.push(Running { claim: claim.claim.clone(), lease: had, notice: None });
            held.push((*lease).clone());
        }
        demand.push(wanted(claim.claim, claim.ended_at, &leases, &past, from));
    }
    let world = World {
        now: from,
        nodes: today.nodes.clone(),
        quotas: today.quotas.clone(),
        running,
        used: past.used(&held, from),
        spent: spent(store, &today.quotas, from).await?,
        run_lengths: past.run_lengths.clone(),
        workload: today.workload.clone(),
        policy: today.policy.clone(),
        ..World::default()
    };
    Ok(Recorded { world, demand, until: now })
}

/// A claim as demand: one that is live goes on, one that is over ran as long as it had its hardware.
fn wanted(claim: Claim, ended_at: Option<Timestamp>, leases: &[&StoredLease], past: &Past, from: Timestamp) -> Demand {
    let Some(ended_at) = ended_at else { return Demand { claim, runs: None, given_up_at: None } };
    if leases.is_empty() {
        let expected = past.run_lengths.fresh_ms(&claim.account, claim.limit_ms).map_or(UNKNOWN, Duration::from_millis);
        return Demand { claim, runs: Some(expected), given_up_at: Some(ended_at) };
    }
    let had = leases.iter().map(|lease| lease.ended_at.unwrap_or(ended_at).since(lease.lease.started_at.max(from)));
    Demand { claim, runs: Some(had.sum()), given_up_at: None }
}
