//! The scheduler's world, made of what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spaceport_core::gpu::ledger::{DeviceTime, Period};
use spaceport_core::gpu::schedule::{Carried, Running, Spent, World};
use spaceport_core::gpu::{Claim, Lease, QuotaPath, QuotaTree};
use spaceport_core::{ClaimId, Timestamp};
use spaceport_store::{Store, StoreError};

use super::past::{self, HALF_LIVES, Past};
use super::{Hardware, Seen};
use crate::spaces::Parts;

impl Hardware {
    pub(super) async fn world(&self, seen: &Seen) -> Result<World, StoreError> {
        let Parts { config, .. } = &self.parts;
        self.remember(seen.now).await?;
        let (used, run_lengths, mut workload) = self.with_memory(|memory| match &mut memory.past {
            Some(past) => (past.used(&seen.leases, seen.now), past.run_lengths.clone(), past.workload.clone()),
            None => Default::default(),
        });
        for claim in &seen.claims {
            workload.see(&claim.claim.shape);
        }
        let leased: BTreeSet<ClaimId> = seen.leases.iter().map(|lease| lease.lease.claim).collect();
        let claims: BTreeMap<ClaimId, &Claim> = seen.claims.iter().map(|one| (one.claim.id, &one.claim)).collect();
        let mut running = Vec::with_capacity(seen.leases.len());
        for lease in &seen.leases {
            let claim = claims.get(&lease.lease.claim);
            // Whose claim is over leaves as soon as nothing runs on it.
            let ends_by = if claim.is_some() { lease.lease.ends_by } else { Some(seen.now) };
            running.push(Running {
                claim: claim.map_or_else(|| past::claim(lease), |claim| (*claim).clone()),
                lease: Lease { ends_by, ..lease.lease.clone() },
                notice: lease.notice().ok().flatten(),
            });
        }
        let Carried { holds, start_times, promises, displaced } = seen.carried.clone();
        let waiting = claims.into_values().filter(|claim| !leased.contains(&claim.id)).cloned();
        Ok(World {
            now: seen.now,
            nodes: seen.there.nodes.clone(),
            quotas: seen.quotas.clone(),
            waiting: waiting.collect(),
            running,
            used,
            spent: spent(&self.parts.store, &seen.quotas, seen.now).await?,
            reservations: seen.reservations.clone(),
            holds,
            run_lengths,
            policy: config.gpu.scheduler.clone(),
            start_times,
            promises,
            displaced,
            workload,
        })
    }

    /// Reads the past once.
    async fn remember(&self, now: Timestamp) -> Result<(), StoreError> {
        if self.with_memory(|memory| memory.past.is_some()) {
            return Ok(());
        }
        let half_life = Duration::from_millis(self.parts.config.gpu.scheduler.half_life_ms.max(1));
        let since = now - half_life.saturating_mul(HALF_LIVES);
        let until = Timestamp::from_millis(i64::MAX);
        let leases = self.parts.store.leases_between(since, until).await?;
        self.with_memory(|memory| memory.past = Some(Past::new(&leases, half_life, now)));
        Ok(())
    }
}

/// What each place with a budget has spent by `now` of the period that runs then.
///
/// # Errors
/// When the database fails.
pub async fn spent(store: &Store, quotas: &QuotaTree, now: Timestamp) -> Result<Vec<Spent>, StoreError> {
    let mut spent = Vec::new();
    let mut sums: Vec<(Period, BTreeMap<QuotaPath, DeviceTime>)> = Vec::new();
    for (place, quota) in quotas.places() {
        let Some(period) = quota.budget.map(|budget| budget.period(now)) else { continue };
        if !sums.iter().any(|(read, _)| *read == period) {
            let until = period.until.min(now);
            sums.push((period, store.ledger_charged(Period { until, ..period }, now).await?));
        }
        let charged = sums.iter().find(|(read, _)| *read == period).into_iter().flat_map(|(_, sums)| sums);
        let used: DeviceTime = charged.filter(|(account, _)| account.is_within(place)).map(|(_, time)| *time).sum();
        let milli_seconds = u64::try_from(used.milli_seconds()).unwrap_or_default();
        spent.push(Spent { place: place.clone(), milli_seconds, renews_at: period.until });
    }
    Ok(spent)
}
