//! Sums of everything that ever was, for metrics: counters that only grow.

use sqlx::FromRow;

use spaceport_core::Timestamp;
use spaceport_core::gpu::ledger::DeviceTime;
use spaceport_core::gpu::{LeaseEnd, QuotaPath};

use crate::rows::text;
use crate::{Store, StoreError, run};

/// How long the claims of an account waited for their leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitTally {
    /// Whose.
    pub account: QuotaPath,
    /// How many leases were given.
    pub leases: i64,
    /// How long they were waited for, all together.
    pub waited_ms: i64,
}

/// How many leases of an account ended for a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndTally {
    /// Whose.
    pub account: QuotaPath,
    /// Why.
    pub why: LeaseEnd,
    /// How many.
    pub leases: i64,
}

#[derive(FromRow)]
struct WaitRow {
    account: String,
    leases: i64,
    waited_ms: i64,
}

#[derive(FromRow)]
struct EndRow {
    account: String,
    why: String,
    leases: i64,
}

#[derive(FromRow)]
struct TimeRow {
    account: String,
    device_time: i64,
}

const WAIT_TALLIES: &str = "SELECT account, COUNT(*) AS leases, \
     CAST(SUM(CASE WHEN started_at > waited_since THEN started_at - waited_since ELSE 0 END) AS BIGINT) AS waited_ms \
     FROM leases GROUP BY account ORDER BY account";
const END_TALLIES: &str = "SELECT account, why, COUNT(*) AS leases FROM leases \
     WHERE ended_at IS NOT NULL AND why IS NOT NULL GROUP BY account, why ORDER BY account, why";
/// One statement, so that a lease that ends meanwhile is counted once.
const TIME_TALLIES: &str = "SELECT account, CAST(SUM(milli * (until_at - from_at)) AS BIGINT) AS device_time FROM ( \
     SELECT account, milli, from_at, until_at FROM ledger WHERE refund_of IS NULL \
     UNION ALL SELECT l.account, p.milli, l.started_at, $1 FROM leases l JOIN lease_devices p ON p.lease_id = l.id \
     WHERE l.ended_at IS NULL AND l.started_at < $1) AS times GROUP BY account ORDER BY account";

impl Store {
    /// How long claims waited, by account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wait_tallies(&self) -> Result<Vec<WaitTally>, StoreError> {
        let rows = run!(self, "wait_tallies", db => sqlx::query_as::<_, WaitRow>(WAIT_TALLIES).fetch_all(db))?;
        let tally =
            |WaitRow { account, leases, waited_ms }| WaitTally { account: QuotaPath(account), leases, waited_ms };
        Ok(rows.into_iter().map(tally).collect())
    }

    /// Why leases ended, by account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_tallies(&self) -> Result<Vec<EndTally>, StoreError> {
        let rows = run!(self, "end_tallies", db => sqlx::query_as::<_, EndRow>(END_TALLIES).fetch_all(db))?;
        let tally = |EndRow { account, why, leases }| {
            Ok(EndTally { account: QuotaPath(account), why: text("leases.why", &why)?, leases })
        };
        rows.into_iter().map(tally).collect()
    }

    /// What leases had, by account, with those that go on up to `now`; what was given back of it is not taken off.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn time_tallies(&self, now: Timestamp) -> Result<Vec<(QuotaPath, DeviceTime)>, StoreError> {
        let rows = run!(self, "time_tallies", db => sqlx::query_as::<_, TimeRow>(TIME_TALLIES)
            .bind(now.as_millis()).fetch_all(db))?;
        let tally = |row: TimeRow| (QuotaPath(row.account), DeviceTime(row.device_time.into()));
        Ok(rows.into_iter().map(tally).collect())
    }
}
