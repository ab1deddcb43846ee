//! Leases: who has which devices.
//!
//! Taken in one transaction that raises the generation of the node, which was read before everything the decision
//! rests on; a device's amount is raised under a condition that keeps it at a whole device at most. So nothing is
//! given twice, whatever else happens at the same time and whatever the engine isolates. Ending one gives the amounts
//! back and writes the ledger, all in one.

mod rows;

use std::collections::BTreeMap;

use futures::TryFutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use spaceport_core::gpu::ledger::{DeviceTime, Entry, Period};
use spaceport_core::gpu::{DeviceId, Ending, Lease, LeaseEnd, Notice, Priority, QuotaPath, Shape};
use spaceport_core::{EntryId, FlavorName, Generation, LeaseId, SpaceId, Timestamp};

use crate::claims::{Again, StoredClaim};
use crate::rows::{json_opt, random, to_json};
use crate::{Store, StoreError, Tx, ledger, notices, run, run_tx};

/// A lease to be taken.
#[derive(Debug)]
pub struct NewLease<'a> {
    /// What, for which claim.
    pub lease: &'a Lease,
    /// The claim as the decision saw it.
    pub claim: &'a StoredClaim,
    /// The name of the Space, for the ledger.
    pub space_name: &'a str,
    /// The node's generation as the decision saw it.
    pub node: Generation,
    /// What an hour of a device counts beside others, in thousandths; 1000 where nothing is said.
    pub weights: &'a BTreeMap<DeviceId, u32>,
}

/// A lease as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLease {
    /// Who has what.
    pub lease: Lease,
    /// The Space.
    pub space: SpaceId,
    /// Its name when the lease began.
    pub space_name: String,
    /// Whose use it is.
    pub account: QuotaPath,
    /// What was asked for.
    pub flavor: FlavorName,
    /// What that needs.
    pub shape: Shape,
    /// The claim's class when the lease began.
    pub priority: Priority,
    /// Since when the claim waited for this lease.
    pub waited_since: Timestamp,
    /// Raised by whatever is about to run on it.
    pub generation: Generation,
    /// It was told to end.
    pub ending: Option<Ending>,
    /// For whom, as it was given.
    notice: Option<String>,
    /// It is over since.
    pub ended_at: Option<Timestamp>,
    /// Why.
    pub why: Option<LeaseEnd>,
    /// Its devices, in the order of `lease.devices`.
    pub parts: Vec<LeasedPart>,
    /// When the platform did not give what it says.
    pub outages: Vec<Outage>,
}

/// A device of a lease, as the ledger needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedPart {
    /// Which.
    pub device: DeviceId,
    /// What it is.
    pub model: String,
    /// How much of it, in thousandths.
    pub milli: u32,
    /// What an hour of it counts, in thousandths.
    pub weight_milli: u32,
}

/// The platform did not give what a lease says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// From.
    pub from: Timestamp,
    /// Until; `None`: it goes on.
    pub until: Option<Timestamp>,
    /// Why.
    pub why: LeaseEnd,
}

impl StoredLease {
    /// For whose sake it was told to end.
    ///
    /// # Errors
    /// When another version of the program wrote it.
    pub fn notice<T: DeserializeOwned>(&self) -> Result<Option<T>, StoreError> {
        json_opt("leases.notice", self.notice.as_ref())
    }

    /// What the ledger would say of it: one row for each device and each refund. One that goes on is counted up to
    /// `now`; those rows have no reason, and identities of their own.
    #[must_use]
    pub fn entries(&self, now: Timestamp) -> Vec<Entry> {
        let until = self.ended_at.unwrap_or(now).max(self.lease.started_at);
        let mut entries = Vec::new();
        for part in &self.parts {
            let id = EntryId::from(self.lease.id);
            let row = Entry {
                id,
                lease: self.lease.id,
                account: self.account.clone(),
                space: self.space,
                space_name: self.space_name.clone(),
                flavor: self.flavor.clone(),
                node: self.lease.node.clone(),
                device: part.device.clone(),
                model: part.model.clone(),
                milli: part.milli,
                weight_milli: part.weight_milli,
                from: self.lease.started_at,
                until,
                why: self.ended_at.and(self.why),
                refund_of: None,
            };
            for (period, why) in refunds(&self.outages, self.lease.started_at, until) {
                let (from, until) = (period.from, period.until);
                entries.push(Entry { from, until, why: Some(why), refund_of: Some(id), ..row.clone() });
            }
            entries.push(row);
        }
        entries
    }

    /// What it has used up to now.
    #[must_use]
    pub fn time(&self, now: Timestamp) -> DeviceTime {
        self.entries(now).iter().map(Entry::time).sum()
    }
}

/// The times to give back: within the lease, and no moment twice, however the clock went.
fn refunds(outages: &[Outage], from: Timestamp, until: Timestamp) -> Vec<(Period, LeaseEnd)> {
    let mut sorted = outages.to_vec();
    sorted.sort_by_key(|outage| outage.from);
    let mut refunds: Vec<(Period, LeaseEnd)> = Vec::new();
    for outage in sorted {
        let covered = refunds.last().map_or(from, |(last, _)| last.until);
        let period = Period { from: outage.from.max(covered), until: outage.until.unwrap_or(until).min(until) };
        if period.from < period.until {
            refunds.push((period, outage.why));
        }
    }
    refunds
}

const NODE_TAKE: &str = "UPDATE nodes SET generation = generation + 1 \
     WHERE name = $1 AND generation = $2 AND lost_at IS NULL";
const CLAIM_TAKE: &str = "UPDATE claims SET generation = generation + 1, again = NULL \
     WHERE id = $1 AND generation = $2 AND ended_at IS NULL";
const LEASE_ADD: &str = "INSERT INTO leases (id, claim_id, space_id, space_name, account, flavor, shape, priority, node, \
     waited_since, started_at, generation) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1) \
     ON CONFLICT DO NOTHING";
const DEVICE_TAKE: &str = "UPDATE devices SET leased_milli = leased_milli + $1 \
     WHERE id = $2 AND node = $3 AND lost_at IS NULL AND leased_milli + $1 <= 1000";
const DEVICE_GIVE_BACK: &str = "UPDATE devices SET leased_milli = leased_milli - $1 WHERE id = $2";
const LEASE_DEVICE_ADD: &str =
    "INSERT INTO lease_devices (lease_id, device_id, milli, weight_milli) VALUES ($1, $2, $3, $4)";
const LEASE_TELL: &str = "UPDATE leases SET ends_by = $1, why = $2, told_at = $3, notice = $4 \
     WHERE id = $5 AND ended_at IS NULL AND (ends_by IS NULL OR ends_by > $1)";
const LEASE_KEEP: &str = "UPDATE leases SET ends_by = NULL, why = NULL, told_at = NULL, notice = NULL \
     WHERE id = $1 AND ended_at IS NULL AND ends_by > $2";
const LEASE_END: &str =
    "UPDATE leases SET ended_at = $1, why = $2 WHERE id = $3 AND generation = $4 AND ended_at IS NULL";
const LEASE_USE: &str = "UPDATE leases SET generation = generation + 1 WHERE id = $1 AND ended_at IS NULL";
const CLAIM_WAIT_AGAIN: &str = "UPDATE claims SET generation = generation + 1, again = $1, decision = NULL, \
     decided_at = NULL WHERE id = $2 AND ended_at IS NULL";
const CLAIM_END: &str = "UPDATE claims SET ended_at = $1, why = $2, generation = generation + 1 \
     WHERE id = $3 AND ended_at IS NULL";
const OUTAGE_BEGIN: &str = "INSERT INTO outages (lease_id, from_at, until_at, why) SELECT $1, $2, NULL, $3 \
     WHERE NOT EXISTS (SELECT 1 FROM outages WHERE lease_id = $1 AND until_at IS NULL) ON CONFLICT DO NOTHING";
const OUTAGE_END: &str = "UPDATE outages SET until_at = $1 WHERE lease_id = $2 AND until_at IS NULL";
const OUTAGE_WITHDRAW: &str = "DELETE FROM outages WHERE lease_id = $1 AND until_at IS NULL";

impl Store {
    /// Takes a lease, all or nothing; `false` when node, device or claim changed since the decision.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease_take(&self, new: &NewLease<'_>) -> Result<bool, StoreError> {
        let NewLease { lease, claim, .. } = new;
        let mut tx = self.begin().await?;
        let node = run_tx!(&mut tx, "node_take", db => sqlx::query(NODE_TAKE)
            .bind(&lease.node.0).bind(new.node.0).execute(db).map_ok(crate::Rows::rows))?;
        let claimed = run_tx!(&mut tx, "claim_take", db => sqlx::query(CLAIM_TAKE)
            .bind(lease.claim.to_string()).bind(claim.generation.0).execute(db).map_ok(crate::Rows::rows))?;
        if node != 1 || claimed != 1 {
            return Ok(false);
        }
        let waited_since = claim.again.map_or(claim.claim.submitted_at, |again| again.since);
        let added = run_tx!(&mut tx, "lease_add", db => sqlx::query(LEASE_ADD)
            .bind(lease.id.to_string())
            .bind(lease.claim.to_string())
            .bind(claim.claim.space.to_string())
            .bind(new.space_name)
            .bind(&claim.claim.account.0)
            .bind(&claim.claim.flavor.0)
            .bind(to_json(&claim.claim.shape))
            .bind(claim.claim.priority.as_str())
            .bind(&lease.node.0)
            .bind(waited_since.as_millis())
            .bind(lease.started_at.as_millis())
            .execute(db).map_ok(crate::Rows::rows))?;
        if added != 1 {
            return Ok(false);
        }
        for part in &lease.devices {
            let taken = run_tx!(&mut tx, "device_take", db => sqlx::query(DEVICE_TAKE)
                .bind(i64::from(part.milli)).bind(&part.device.0).bind(&lease.node.0)
                .execute(db).map_ok(crate::Rows::rows))?;
            if taken != 1 {
                return Ok(false);
            }
            let weight = new.weights.get(&part.device).copied().unwrap_or(1000);
            run_tx!(&mut tx, "lease_device_add", db => sqlx::query(LEASE_DEVICE_ADD)
                .bind(lease.id.to_string())
                .bind(&part.device.0)
                .bind(i64::from(part.milli))
                .bind(i64::from(weight))
                .execute(db).map_ok(crate::unit))?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Tells a lease to end, for whose sake it does, and its owner; `false` when it is over, or was told to end as soon
    /// or sooner, and then nobody is told anything.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease_tell<T: Serialize + Sync>(
        &self,
        id: LeaseId,
        ending: Ending,
        sake: Option<&T>,
        notice: &Notice,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "lease_tell", db => sqlx::query(LEASE_TELL)
            .bind(ending.by.as_millis())
            .bind(ending.why.as_str())
            .bind(ending.told_at.as_millis())
            .bind(sake.map(to_json))
            .bind(id.to_string())
            .execute(db).map_ok(crate::Rows::rows))?;
        told(tx, rows == 1, notice).await
    }

    /// Takes back that a lease was told to end, and tells its owner; `false` when it is over, or its time is, and then
    /// nobody is told anything.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease_keep(&self, id: LeaseId, now: Timestamp, notice: &Notice) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "lease_keep", db => sqlx::query(LEASE_KEEP)
            .bind(id.to_string()).bind(now.as_millis()).execute(db).map_ok(crate::Rows::rows))?;
        told(tx, rows == 1, notice).await
    }

    /// Says that something is about to run on a lease; `false` when it is over. Whoever saw it unused before cannot
    /// end it any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease_use(&self, id: LeaseId) -> Result<bool, StoreError> {
        run!(self, "lease_use", db => sqlx::query(LEASE_USE)
            .bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// Ends a lease: its devices are free, the ledger has its rows, and the claim waits again or is over, as the
    /// reason says. `false` when it was over or used since it was read, and then nothing is written.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease_end(&self, lease: &StoredLease, why: LeaseEnd, at: Timestamp) -> Result<bool, StoreError> {
        // However the clock went: nothing ends before it began.
        let at = at.max(lease.lease.started_at);
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "lease_end", db => sqlx::query(LEASE_END)
            .bind(at.as_millis()).bind(why.as_str()).bind(lease.lease.id.to_string()).bind(lease.generation.0)
            .execute(db).map_ok(crate::Rows::rows))?;
        if rows != 1 {
            return Ok(false);
        }
        for part in &lease.parts {
            run_tx!(&mut tx, "device_give_back", db => sqlx::query(DEVICE_GIVE_BACK)
                .bind(i64::from(part.milli)).bind(&part.device.0).execute(db).map_ok(crate::unit))?;
        }
        let outages = rows::outages_of(&mut tx, lease.lease.id).await?;
        let over = StoredLease { ended_at: Some(at), why: Some(why), outages, ..lease.clone() };
        write(&mut tx, over.entries(at), at).await?;
        let claim = lease.lease.claim.to_string();
        if why.waits_again() {
            let again = Again { why, since: at };
            run_tx!(&mut tx, "claim_wait_again", db => sqlx::query(CLAIM_WAIT_AGAIN)
                .bind(to_json(&again)).bind(claim).execute(db).map_ok(crate::unit))?;
        } else {
            run_tx!(&mut tx, "claim_end", db => sqlx::query(CLAIM_END)
                .bind(at.as_millis()).bind(why.as_str()).bind(claim).execute(db).map_ok(crate::unit))?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Records that a lease is not worth anything from a time on, for which the account is not to be charged. One
    /// outage at a time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outage_begin(&self, lease: LeaseId, why: LeaseEnd, at: Timestamp) -> Result<(), StoreError> {
        run!(self, "outage_begin", db => sqlx::query(OUTAGE_BEGIN)
            .bind(lease.to_string()).bind(at.as_millis()).bind(why.as_str()).execute(db).map_ok(crate::unit))
    }

    /// Records that the outage of a lease, if there is one, is over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outage_end(&self, lease: LeaseId, at: Timestamp) -> Result<(), StoreError> {
        run!(self, "outage_end", db => sqlx::query(OUTAGE_END)
            .bind(at.as_millis()).bind(lease.to_string()).execute(db).map_ok(crate::unit))
    }

    /// The outage of a lease that goes on, if there is one, turned out to be none: the app ran all the time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outage_withdraw(&self, lease: LeaseId) -> Result<(), StoreError> {
        run!(self, "outage_withdraw", db => sqlx::query(OUTAGE_WITHDRAW)
            .bind(lease.to_string()).execute(db).map_ok(crate::unit))
    }
}

/// The owner is told if, and only if, something became of the lease.
async fn told(mut tx: Tx, is_changed: bool, notice: &Notice) -> Result<bool, StoreError> {
    if is_changed {
        notices::add(&mut tx, notice).await?;
        tx.commit().await?;
    }
    Ok(is_changed)
}

/// Writes the rows of a lease that ended, each under an id of its own.
async fn write(tx: &mut Tx, mut entries: Vec<Entry>, at: Timestamp) -> Result<(), StoreError> {
    // A refund names its row, so that is written first.
    entries.sort_by_key(|entry| (entry.device.clone(), entry.refund_of.is_some(), entry.from));
    let mut of = None;
    for entry in &mut entries {
        entry.id = EntryId::new(at, random());
        if entry.refund_of.is_some() {
            entry.refund_of = of;
        } else {
            of = Some(entry.id);
        }
        ledger::add(tx, entry, at).await?;
    }
    Ok(())
}
