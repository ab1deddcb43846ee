//! Reading leases: each with its devices and outages.

use std::collections::BTreeMap;

use sqlx::FromRow;

use spaceport_core::gpu::{DeviceId, Ending, Lease, LeaseEnd, LeasedDevice, NodeName, QuotaPath};
use spaceport_core::{ClaimId, FlavorName, Generation, LeaseId, SpaceId, Timestamp};

use super::{LeasedPart, Outage, StoredLease};
use crate::rows::{json, text};
use crate::{Store, StoreError, Tx, run, run_tx};

#[derive(FromRow)]
struct LeaseRow {
    id: String,
    claim_id: String,
    space_id: String,
    space_name: String,
    account: String,
    flavor: String,
    shape: String,
    priority: String,
    node: String,
    waited_since: i64,
    started_at: i64,
    generation: i64,
    told_at: Option<i64>,
    ends_by: Option<i64>,
    ended_at: Option<i64>,
    why: Option<String>,
    notice: Option<String>,
}

#[derive(FromRow)]
struct PartRow {
    lease_id: String,
    device_id: String,
    model: String,
    milli: i64,
    weight_milli: i64,
}

#[derive(FromRow)]
struct OutageRow {
    lease_id: String,
    from_at: i64,
    until_at: Option<i64>,
    why: String,
}

impl OutageRow {
    fn into_outage(self) -> Result<Outage, StoreError> {
        Ok(Outage {
            from: Timestamp::from_millis(self.from_at),
            until: self.until_at.map(Timestamp::from_millis),
            why: text("outages.why", &self.why)?,
        })
    }
}

impl LeaseRow {
    fn into_lease(self, parts: Vec<LeasedPart>, outages: Vec<Outage>) -> Result<StoredLease, StoreError> {
        let why = self.why.map(|why| text::<LeaseEnd>("leases.why", &why)).transpose()?;
        let ends_by = self.ends_by.map(Timestamp::from_millis);
        let ending = match (why, self.told_at, ends_by) {
            (Some(why), Some(told_at), Some(by)) => Some(Ending { why, told_at: Timestamp::from_millis(told_at), by }),
            _ => None,
        };
        Ok(StoredLease {
            lease: Lease {
                id: text("leases.id", &self.id)?,
                claim: text("leases.claim_id", &self.claim_id)?,
                node: NodeName(self.node),
                devices: parts
                    .iter()
                    .map(|part| LeasedDevice { device: part.device.clone(), milli: part.milli })
                    .collect(),
                started_at: Timestamp::from_millis(self.started_at),
                ends_by,
            },
            space: text("leases.space_id", &self.space_id)?,
            space_name: self.space_name,
            account: QuotaPath(self.account),
            flavor: FlavorName(self.flavor),
            shape: json("leases.shape", &self.shape)?,
            priority: text("leases.priority", &self.priority)?,
            waited_since: Timestamp::from_millis(self.waited_since),
            generation: Generation(self.generation),
            ending,
            notice: self.notice,
            ended_at: self.ended_at.map(Timestamp::from_millis),
            why: self.ended_at.and(why),
            parts,
            outages,
        })
    }
}

/// Leases of a condition, each row whole; the same condition finds their devices and outages.
macro_rules! lease_queries {
    ($leases:ident, $parts:ident, $outages:ident, $w:literal) => {
        const $leases: &str = concat!("SELECT l.* FROM leases l WHERE ", $w, " ORDER BY l.started_at, l.id");
        const $parts: &str = concat!(
            "SELECT p.lease_id, p.device_id, d.model, p.milli, p.weight_milli FROM lease_devices p \
             JOIN leases l ON l.id = p.lease_id JOIN devices d ON d.id = p.device_id WHERE ",
            $w,
            " ORDER BY d.number, d.id"
        );
        const $outages: &str =
            concat!("SELECT o.* FROM outages o JOIN leases l ON l.id = o.lease_id WHERE ", $w, " ORDER BY o.from_at");
    };
}

// Each has the same two parameters, so that one function reads all.
lease_queries!(LIVE, LIVE_PARTS, LIVE_OUTAGES, "l.ended_at IS NULL AND $1 <> $2");
lease_queries!(LIVE_OF, LIVE_OF_PARTS, LIVE_OF_OUTAGES, "l.ended_at IS NULL AND l.space_id = $1 AND l.space_id <> $2");
lease_queries!(BY_ID, BY_ID_PARTS, BY_ID_OUTAGES, "l.id = $1 AND l.id <> $2");
lease_queries!(OF_CLAIM, OF_CLAIM_PARTS, OF_CLAIM_OUTAGES, "l.claim_id = $1 AND l.claim_id <> $2");
const BETWEEN: &str = "SELECT l.* FROM leases l WHERE l.started_at < $2 AND (l.ended_at IS NULL OR l.ended_at >= $1) \
     ORDER BY l.started_at, l.id";
const BETWEEN_PARTS: &str = "SELECT p.lease_id, p.device_id, d.model, p.milli, p.weight_milli FROM lease_devices p \
     JOIN leases l ON l.id = p.lease_id JOIN devices d ON d.id = p.device_id \
     WHERE l.started_at < $2 AND (l.ended_at IS NULL OR l.ended_at >= $1) ORDER BY d.number, d.id";
const BETWEEN_OUTAGES: &str = "SELECT o.* FROM outages o JOIN leases l ON l.id = o.lease_id \
     WHERE l.started_at < $2 AND (l.ended_at IS NULL OR l.ended_at >= $1) ORDER BY o.from_at";
const OUTAGES_OF: &str = "SELECT * FROM outages WHERE lease_id = $1 ORDER BY from_at";

pub(super) async fn outages_of(tx: &mut Tx, lease: LeaseId) -> Result<Vec<Outage>, StoreError> {
    run_tx!(tx, "outages_of", db => sqlx::query_as::<_, OutageRow>(OUTAGES_OF)
        .bind(lease.to_string()).fetch_all(db))?
    .into_iter()
    .map(OutageRow::into_outage)
    .collect()
}

impl Store {
    /// Every live lease, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn leases_live(&self) -> Result<Vec<StoredLease>, StoreError> {
        self.leases_where([LIVE, LIVE_PARTS, LIVE_OUTAGES], "a").await
    }

    /// The live lease of a Space.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease_of(&self, space: SpaceId) -> Result<Option<StoredLease>, StoreError> {
        let found = self.leases_where([LIVE_OF, LIVE_OF_PARTS, LIVE_OF_OUTAGES], &space.to_string()).await?;
        Ok(found.into_iter().next())
    }

    /// By id, also one that is over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease_by_id(&self, id: LeaseId) -> Result<Option<StoredLease>, StoreError> {
        let found = self.leases_where([BY_ID, BY_ID_PARTS, BY_ID_OUTAGES], &id.to_string()).await?;
        Ok(found.into_iter().next())
    }

    /// Every lease a claim ever had, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn leases_of_claim(&self, claim: ClaimId) -> Result<Vec<StoredLease>, StoreError> {
        self.leases_where([OF_CLAIM, OF_CLAIM_PARTS, OF_CLAIM_OUTAGES], &claim.to_string()).await
    }

    async fn leases_where(&self, sql: [&'static str; 3], key: &str) -> Result<Vec<StoredLease>, StoreError> {
        let [leases, parts, outages] = sql;
        // No id is empty, and neither is any key.
        let rows = run!(self, "leases", db => sqlx::query_as::<_, LeaseRow>(leases).bind(key).bind("").fetch_all(db))?;
        let parts = run!(self, "lease_parts", db => sqlx::query_as::<_, PartRow>(parts)
            .bind(key).bind("").fetch_all(db))?;
        let outages = run!(self, "lease_outages", db => sqlx::query_as::<_, OutageRow>(outages)
            .bind(key).bind("").fetch_all(db))?;
        joined(rows, parts, outages)
    }

    /// Every lease that was live at some time in between, oldest first: what the scheduler learns from.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn leases_between(&self, from: Timestamp, until: Timestamp) -> Result<Vec<StoredLease>, StoreError> {
        let (from, until) = (from.as_millis(), until.as_millis());
        let rows = run!(self, "leases_between", db => sqlx::query_as::<_, LeaseRow>(BETWEEN)
            .bind(from).bind(until).fetch_all(db))?;
        let parts = run!(self, "leases_between_parts", db => sqlx::query_as::<_, PartRow>(BETWEEN_PARTS)
            .bind(from).bind(until).fetch_all(db))?;
        let outages = run!(self, "leases_between_outages", db => sqlx::query_as::<_, OutageRow>(BETWEEN_OUTAGES)
            .bind(from).bind(until).fetch_all(db))?;
        joined(rows, parts, outages)
    }
}

fn joined(rows: Vec<LeaseRow>, parts: Vec<PartRow>, outages: Vec<OutageRow>) -> Result<Vec<StoredLease>, StoreError> {
    let mut parts_of: BTreeMap<String, Vec<LeasedPart>> = BTreeMap::new();
    for row in parts {
        parts_of.entry(row.lease_id).or_default().push(LeasedPart {
            device: DeviceId(row.device_id),
            model: row.model,
            milli: u32::try_from(row.milli).unwrap_or_default(),
            weight_milli: u32::try_from(row.weight_milli).unwrap_or_default(),
        });
    }
    let mut outages_of: BTreeMap<String, Vec<Outage>> = BTreeMap::new();
    for row in outages {
        outages_of.entry(row.lease_id.clone()).or_default().push(row.into_outage()?);
    }
    rows.into_iter()
        .map(|row| {
            let parts = parts_of.remove(&row.id).unwrap_or_default();
            let outages = outages_of.remove(&row.id).unwrap_or_default();
            row.into_lease(parts, outages)
        })
        .collect()
}
