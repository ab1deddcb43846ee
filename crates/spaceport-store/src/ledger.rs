//! The ledger: rows are added and never changed.

use std::collections::{BTreeMap, HashSet};

use futures::{Stream, TryFutureExt, stream};
use sqlx::FromRow;

use spaceport_core::gpu::ledger::{DeviceTime, Entry, Period};
use spaceport_core::gpu::{DeviceId, LeaseEnd, NodeName, QuotaPath};
use spaceport_core::{EntryId, FlavorName, LeaseId, SpaceId, Timestamp};

use crate::rows::{random, text};
use crate::{Store, StoreError, Tx, run, run_tx};

/// Rows that are read at once.
const PAGE: i64 = 1000;

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
/// Rows of a condition, which says by which index they are found.
macro_rules! entries {
    ($w:literal) => {
        concat!(
            "SELECT * FROM ledger WHERE ",
            $w,
            " AND until_at > $2 AND from_at < $3 AND (until_at, id) > ($4, $5) \
             AND ($6 = '' OR account = $6 OR SUBSTR(account, 1, LENGTH($6) + 1) = $6 || '/') \
             AND ($7 = '' OR device_id = $7) ORDER BY until_at, id LIMIT $8"
        )
    };
}
const ENTRIES: &str = entries!("$1 = ''");
const ENTRIES_OF_SPACE: &str = entries!("space_id = $1");
const ENTRIES_OF_ACCOUNT: &str = entries!("account = $1");
/// With the leases that are live at the same moment. Grouped by an expression, since SQLite would read all of an index
/// by account before it read a part of one by time.
const CHARGED: &str = "SELECT account || '' AS account, '' AS lease_id, \
     CAST(SUM((CASE WHEN refund_of IS NULL THEN milli ELSE -milli END) * \
     ((CASE WHEN until_at < $2 THEN until_at ELSE $2 END) - (CASE WHEN from_at > $1 THEN from_at ELSE $1 END))) \
     AS BIGINT) AS device_time FROM ledger WHERE until_at > $1 AND from_at < $2 AND from_at < until_at \
     GROUP BY account || '' \
     UNION ALL SELECT account, id AS lease_id, 0 AS device_time FROM leases WHERE ended_at IS NULL";
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
        // Nothing lies below what a user has.
        let is_one = account.starts_with('~') || account.contains('/');
        let (sql, key) = match filter.space {
            Some(space) => (ENTRIES_OF_SPACE, space.to_string()),
            None if is_one => (ENTRIES_OF_ACCOUNT, account.to_owned()),
            None => (ENTRIES, String::new()),
        };
        let (end, id) = after.map_or((i64::MIN, String::new()), |(end, id)| (end.as_millis(), id.to_string()));
        run!(self, "ledger", db => sqlx::query_as::<_, EntryRow>(sql)
            .bind(&key)
            .bind(filter.period.from.as_millis())
            .bind(filter.period.until.as_millis())
            .bind(end)
            .bind(&id)
            .bind(account)
            .bind(filter.device.as_ref().map_or("", |device| device.0.as_str()))
            .bind(limit)
            .fetch_all(db))?
        .into_iter()
        .map(EntryRow::into_entry)
        .collect()
    }

    /// Everything that has to do with a period, a page at a time, and with the last page what live leases have used up
    /// to `now`: what reports and forecasts are made from.
    pub fn ledger_with_open(
        &self,
        filter: LedgerFilter,
        now: Timestamp,
    ) -> impl Stream<Item = Result<Vec<Entry>, StoreError>> + Send + use<> {
        let reading = Reading { store: self.clone(), filter, now, open: None, after: None, is_over: false };
        stream::try_unfold(reading, Reading::page)
    }

    /// What is charged to each account in a period, with what live leases have used up to `now`. Only rows of the
    /// period are read, and the database adds them up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ledger_charged(
        &self,
        period: Period,
        now: Timestamp,
    ) -> Result<BTreeMap<QuotaPath, DeviceTime>, StoreError> {
        // The leases first: one that ends in between is among the sums, and not live with them.
        let open = self.leases_live().await?;
        let rows = run!(self, "ledger_charged", db => sqlx::query_as::<_, (String, String, i64)>(CHARGED)
            .bind(period.from.as_millis()).bind(period.until.as_millis()).fetch_all(db))?;
        let mut live = HashSet::new();
        let mut sums: BTreeMap<QuotaPath, DeviceTime> = BTreeMap::new();
        for (account, lease, time) in rows {
            if lease.is_empty() {
                *sums.entry(QuotaPath(account)).or_default() += DeviceTime(time.into());
            } else {
                live.insert(lease);
            }
        }
        for lease in open.iter().filter(|lease| live.contains(&lease.lease.id.to_string())) {
            let time = lease.entries(now).iter().map(|entry| entry.time_within(period)).sum::<DeviceTime>();
            *sums.entry(lease.account.clone()).or_default() += time;
        }
        Ok(sums)
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

/// How far the ledger has been read.
struct Reading {
    store: Store,
    filter: LedgerFilter,
    now: Timestamp,
    /// What live leases have used, but for those that were found in the ledger since.
    open: Option<Vec<Entry>>,
    after: Option<(Timestamp, EntryId)>,
    is_over: bool,
}

impl Reading {
    async fn page(mut self) -> Result<Option<(Vec<Entry>, Self)>, StoreError> {
        if self.is_over {
            return Ok(None);
        }
        // The leases first: one that ends in between is then in both, and is left out here.
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.live().await?,
        };
        let mut page = self.store.ledger(&self.filter, self.after, PAGE).await?;
        let ended: HashSet<LeaseId> = page.iter().map(|row| row.lease).collect();
        open.retain(|entry| !ended.contains(&entry.lease));
        self.is_over = i64::try_from(page.len()).is_ok_and(|rows| rows < PAGE);
        self.after = page.last().map(|row| (row.until, row.id));
        if self.is_over {
            page.append(&mut open);
        }
        self.open = Some(open);
        Ok(Some((page, self)))
    }

    async fn live(&self) -> Result<Vec<Entry>, StoreError> {
        let LedgerFilter { period, account, space, device } = &self.filter;
        let mut open = Vec::new();
        for lease in self.store.leases_live().await? {
            let is_asked = account.as_ref().is_none_or(|place| lease.account.is_within(place))
                && space.is_none_or(|space| lease.space == space);
            if is_asked && lease.lease.started_at < period.until {
                open.extend(lease.entries(self.now));
            }
        }
        open.retain(|entry| device.as_ref().is_none_or(|device| entry.device == *device));
        Ok(open)
    }
}
