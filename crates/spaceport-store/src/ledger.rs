//! The ledger: rows are added and never changed.

use std::collections::HashSet;

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::gpu::ledger::{Entry, Period};
use spaceport_core::gpu::{DeviceId, LeaseEnd, NodeName, QuotaPath};
use spaceport_core::{EntryId, FlavorName, LeaseId, SpaceId, Timestamp};

use crate::rows::{random, text};
use crate::{Store, StoreError, Tx, run, run_tx};

/// Which rows; what is `None` is any.
#[derive(Debug, Clone)]
pub struct LedgerFilter {
    /// Those that have to do with this time.
    pub period: Period,
    /// This place of the quota tree, and what lies below it.
    pub account: Option<QuotaPath>,
    /// This Space.
    pub space: Option<SpaceId>,
    /// This device.
    pub device: Option<DeviceId>,
}

impl Default for LedgerFilter {
    fn default() -> Self {
        Self { period: Period::ALWAYS, account: None, space: None, device: None }
    }
}

/// What became of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refunded {
    /// It is written.
    Done(EntryId),
    /// There is no such row, or it is a refund itself.
    NoEntry,
    /// The time does not lie in that of the row, or some of it was given back before.
    NotWithin,
}

#[derive(FromRow)]
struct EntryRow {
    id: String,
    lease_id: String,
    account: String,
    space_id: String,
    space_name: String,
    flavor: String,
    node: String,
    device_id: String,
    model: String,
    milli: i64,
    weight_milli: i64,
    from_at: i64,
    until_at: i64,
    why: String,
    refund_of: Option<String>,
}

impl EntryRow {
    fn into_entry(self) -> Result<Entry, StoreError> {
        Ok(Entry {
            id: text("ledger.id", &self.id)?,
            lease: text("ledger.lease_id", &self.lease_id)?,
            account: QuotaPath(self.account),
            space: text("ledger.space_id", &self.space_id)?,
            space_name: self.space_name,
            flavor: FlavorName(self.flavor),
            node: NodeName(self.node),
            device: DeviceId(self.device_id),
            model: self.model,
            milli: u32::try_from(self.milli).unwrap_or_default(),
            weight_milli: u32::try_from(self.weight_milli).unwrap_or_default(),
            from: Timestamp::from_millis(self.from_at),
            until: Timestamp::from_millis(self.until_at),
            why: Some(text("ledger.why", &self.why)?),
            refund_of: self.refund_of.map(|id| text("ledger.refund_of", &id)).transpose()?,
        })
    }
}

const ENTRY_ADD: &str = "INSERT INTO ledger (id, lease_id, account, space_id, space_name, flavor, node, device_id, model, \
     milli, weight_milli, from_at, until_at, why, refund_of, written_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
const ENTRIES: &str = "SELECT * FROM ledger WHERE until_at >= $1 AND from_at < $2 \
     AND ($3 = '' OR account = $3 OR SUBSTR(account, 1, LENGTH($3) + 1) = $3 || '/') AND ($4 = '' OR space_id = $4) \
     AND ($5 = '' OR device_id = $5) AND (until_at > $6 OR (until_at = $6 AND id > $7)) \
     ORDER BY until_at, id LIMIT $8";
const ENTRY_BY_ID: &str = "SELECT * FROM ledger WHERE id = $1";
const REFUNDS_OF: &str = "SELECT * FROM ledger WHERE refund_of = $1";
/// Refunds of one lease come one after the other on either engine.
const LEASE_LOCK: &str = "UPDATE leases SET node = node WHERE id = $1";

pub(crate) async fn add(tx: &mut Tx, entry: &Entry, at: Timestamp) -> Result<(), StoreError> {
    run_tx!(tx, "entry_add", db => sqlx::query(ENTRY_ADD)
        .bind(entry.id.to_string())
        .bind(entry.lease.to_string())
        .bind(&entry.account.0)
        .bind(entry.space.to_string())
        .bind(&entry.space_name)
        .bind(&entry.flavor.0)
        .bind(&entry.node.0)
        .bind(&entry.device.0)
        .bind(&entry.model)
        .bind(i64::from(entry.milli))
        .bind(i64::from(entry.weight_milli))
        .bind(entry.from.as_millis())
        .bind(entry.until.as_millis())
        .bind(entry.why.map(LeaseEnd::as_str))
        .bind(entry.refund_of.map(|id| id.to_string()))
        .bind(at.as_millis())
        .execute(db).map_ok(crate::unit))
}

impl Store {
    /// Rows by the time they end, after one that was read before (its end and id), so many at most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ledger(
        &self,
        filter: &LedgerFilter,
        after: Option<(Timestamp, EntryId)>,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let account = filter.account.as_ref().map_or("", |account| account.0.as_str());
        let (end, id) = after.map_or((i64::MIN, String::new()), |(end, id)| (end.as_millis(), id.to_string()));
        run!(self, "ledger", db => sqlx::query_as::<_, EntryRow>(ENTRIES)
            .bind(filter.period.from.as_millis())
            .bind(filter.period.until.as_millis())
            .bind(account)
            .bind(filter.space.map(|space| space.to_string()).unwrap_or_default())
            .bind(filter.device.as_ref().map_or("", |device| device.0.as_str()))
            .bind(end)
            .bind(&id)
            .bind(limit)
            .fetch_all(db))?
        .into_iter()
        .map(EntryRow::into_entry)
        .collect()
    }

    /// Everything that has to do with a period, and what live leases have used up to `now`: what reports, budgets
    /// and forecasts are made from.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ledger_with_open(&self, filter: &LedgerFilter, now: Timestamp) -> Result<Vec<Entry>, StoreError> {
        // The leases first: one that ends in between is then in both, and is left out here.
        let open = self.leases_live().await?;
        let mut entries = self.ledger(filter, None, i64::MAX).await?;
        let told: HashSet<LeaseId> = entries.iter().map(|entry| entry.lease).collect();
        for lease in open {
            if told.contains(&lease.lease.id) {
                continue;
            }
            let is_asked = filter.account.as_ref().is_none_or(|place| lease.account.is_within(place))
                && filter.space.is_none_or(|space| lease.space == space);
            let of = lease.entries(now);
            entries.extend(
                of.into_iter()
                    .filter(|entry| is_asked && filter.device.as_ref().is_none_or(|device| entry.device == *device)),
            );
        }
        Ok(entries)
    }

    /// One row.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ledger_entry(&self, id: EntryId) -> Result<Option<Entry>, StoreError> {
        run!(self, "entry_by_id", db => sqlx::query_as::<_, EntryRow>(ENTRY_BY_ID)
            .bind(id.to_string()).fetch_optional(db))?
        .map(EntryRow::into_entry)
        .transpose()
    }

    /// Gives back a part of a row, or all of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ledger_refund(
        &self,
        of: EntryId,
        time: Period,
        why: LeaseEnd,
        at: Timestamp,
    ) -> Result<Refunded, StoreError> {
        let Some(entry) = self.ledger_entry(of).await?.filter(|entry| entry.refund_of.is_none()) else {
            return Ok(Refunded::NoEntry);
        };
        let mut tx = self.begin().await?;
        run_tx!(&mut tx, "lease_lock", db => sqlx::query(LEASE_LOCK)
            .bind(entry.lease.to_string()).execute(db).map_ok(crate::unit))?;
        let before = run_tx!(&mut tx, "refunds_of", db => sqlx::query_as::<_, EntryRow>(REFUNDS_OF)
            .bind(of.to_string()).fetch_all(db))?;
        let before = before.into_iter().map(EntryRow::into_entry).collect::<Result<Vec<_>, _>>()?;
        let overlaps = before.iter().any(|refund| refund.from < time.until && time.from < refund.until);
        if overlaps || time.from < entry.from || time.until > entry.until || time.from >= time.until {
            return Ok(Refunded::NotWithin);
        }
        let id = EntryId::new(at, random());
        let refund = Entry { id, from: time.from, until: time.until, why: Some(why), refund_of: Some(of), ..entry };
        add(&mut tx, &refund, at).await?;
        tx.commit().await?;
        Ok(Refunded::Done(id))
    }
}
