//! SQL for SQLite and PostgreSQL: rows in, core values out. Knows no HTTP and no Docker.
//!
//! One SQL text per query, in the subset both engines speak, run on whichever pool is open; no
//! `Any` driver (eight types), no trait with two implementations, no ORM. Correctness never
//! rests on an isolation level: desired state changes by compare-and-set on `generation`, work
//! is claimed by a conditional update, uniqueness is a constraint.

mod accounts;
mod asleep;
mod audit;
mod builds;
mod claims;
mod community;
mod deliveries;
mod devices;
mod discussions;
mod holdings;
mod hook_events;
mod identities;
mod instances;
mod leases;
mod ledger;
mod members;
mod moves;
mod notices;
mod objects;
mod organizations;
mod quotas;
mod releases;
mod repos;
mod reservations;
mod rows;
mod scheduler;
mod sessions;
mod settings;
mod spaces;
mod tallies;
mod tokens;
pub mod vault;
mod webhooks;

pub use accounts::AdminChange;
pub use audit::AuditEntry;
pub use builds::BuildEnd;
pub use claims::{Again, StoredClaim};
pub use community::{After, Counts};
pub use deliveries::AttemptEnd;
pub use devices::{KnownDevice, KnownNode, Mark};
pub use discussions::{CommentChange, DiscussionFilter, MAX_DISCUSSION_BYTES, NewDiscussion};
pub use holdings::{BucketSize, RepoSize};
pub use identities::Identity;
pub use leases::{LeasedPart, NewLease, Outage, StoredLease};
pub use ledger::{LedgerFilter, Refunded};
pub use members::MemberChange;
pub use objects::{NewObject, RepoObject};
pub use organizations::OrgDeletion;
pub use quotas::{QuotaChange, QuotaPlace};
pub use repos::{NewRepo, RepoFilter, RepoSort};
pub use reservations::StoredReservation;
pub use sessions::{NewSession, SESSION_IDLE};
pub use settings::{Secret, Variable};
pub use spaces::NewSpace;
pub use tallies::{EndTally, WaitTally};
pub use tokens::{NewToken, token_hash};
pub use webhooks::WebhookChange;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

/// How long a query may wait for a connection or a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the database could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("could not open the database {url}")]
    Open {
        /// Without its password.
        url: String,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("could not migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A constraint says no: the name is taken.
    #[error("{0} already exists")]
    Exists(&'static str),
    /// A query failed.
    #[error("the database failed at {query}")]
    Query {
        /// The function's name.
        query: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value is not what this version writes.
    #[error("the database holds an unreadable {what}: {text:?}")]
    Corrupt {
        /// The column.
        what: &'static str,
        /// The value, shortened.
        text: String,
    },
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool,
}

#[derive(Debug, Clone)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A transaction on either engine.
enum Tx {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

/// Runs one expression on whichever pool is there; `$db` is an executor in it.
macro_rules! run {
    ($store:expr, $query:literal, $db:ident => $expr:expr) => {
        match &$store.pool {
            crate::Pool::Sqlite($db) => $expr.await,
            crate::Pool::Postgres($db) => $expr.await,
        }
        .map_err(|source| crate::StoreError::Query { query: $query, source })
    };
}

/// As `run!`, inside a transaction.
macro_rules! run_tx {
    ($tx:expr, $query:literal, $db:ident => $expr:expr) => {
        match $tx {
            crate::Tx::Sqlite(inner) => {
                let $db = &mut **inner;
                $expr.await
            }
            crate::Tx::Postgres(inner) => {
                let $db = &mut **inner;
                $expr.await
            }
        }
        .map_err(|source| crate::StoreError::Query { query: $query, source })
    };
}

pub(crate) use {run, run_tx};

impl Store {
    /// Opens `sqlite:PATH`, a bare path, or `postgres://…`, and brings the schema up to date.
    ///
    /// # Errors
    /// When it cannot be reached or migrated.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { url: without_password(url), source };
        let pool = match Target::of(url).map_err(failed)? {
            Target::Postgres(options) => {
                let pool = PgPoolOptions::new().max_connections(16).acquire_timeout(BUSY_TIMEOUT);
                Pool::Postgres(pool.connect_with(*options).await.map_err(failed)?)
            }
            Target::Sqlite(options) => {
                let pool = SqlitePoolOptions::new().max_connections(8).acquire_timeout(BUSY_TIMEOUT);
                Pool::Sqlite(pool.connect_with(*options).await.map_err(failed)?)
            }
        };
        let migrator = sqlx::migrate!("../../migrations");
        match &pool {
            Pool::Sqlite(db) => migrator.run(db).await,
            Pool::Postgres(db) => migrator.run(db).await,
        }
        .map_err(StoreError::Migrate)?;
        Ok(Self { pool })
    }

    /// Answers when the database does.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        run!(self, "ping", db => sqlx::query_as::<_, (i32,)>("SELECT 1").fetch_one(db)).map(|_| ())
    }

    /// `SQLite` or `PostgreSQL`.
    #[must_use]
    pub fn engine(&self) -> &'static str {
        match self.pool {
            Pool::Sqlite(_) => "SQLite",
            Pool::Postgres(_) => "PostgreSQL",
        }
    }

    /// Waits for running queries and closes.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(db) => db.close().await,
            Pool::Postgres(db) => db.close().await,
        }
    }

    /// A transaction that may write. On SQLite it takes the write lock at once: a transaction
    /// that reads first and writes later fails at once, whatever the busy timeout.
    async fn begin(&self) -> Result<Tx, StoreError> {
        let failed = |source| StoreError::Query { query: "begin", source };
        Ok(match &self.pool {
            Pool::Sqlite(db) => Tx::Sqlite(db.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?),
            Pool::Postgres(db) => Tx::Postgres(db.begin().await.map_err(failed)?),
        })
    }
}

impl Tx {
    async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
        .map_err(|source| StoreError::Query { query: "commit", source })
    }
}

/// Turns the violation of a unique constraint into [`StoreError::Exists`].
fn exists(what: &'static str) -> impl FnOnce(StoreError) -> StoreError {
    move |error| match &error {
        StoreError::Query { source: sqlx::Error::Database(db), .. } if db.is_unique_violation() => {
            StoreError::Exists(what)
        }
        _ => error,
    }
}

/// What an address names.
enum Target {
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

impl Target {
    fn of(url: &str) -> Result<Self, sqlx::Error> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(Box::new(PgConnectOptions::from_str(url)?)));
        }
        let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
        if path.is_empty() || path.contains("://") {
            let wrong = "a database is sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE";
            return Err(sqlx::Error::Configuration(wrong.into()));
        }
        let options = SqliteConnectOptions::from_str("sqlite:")?
            .filename(Path::new(path))
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // WAL with NORMAL loses no committed row to a crash of the process, only to one
            // of the machine; the reconciler repairs what a power cut may take back.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        Ok(Self::Sqlite(Box::new(options)))
    }
}

/// Whether an address can name a database; it is not connected to.
///
/// # Errors
/// When it cannot.
pub fn check_url(url: &str) -> Result<(), StoreError> {
    Target::of(url).map(|_| ()).map_err(|source| StoreError::Open { url: without_password(url), source })
}

fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}://…@{}", &url[..scheme], &url[at + 1..]),
        _ => url.to_owned(),
    }
}

/// How many rows a statement changed, on either engine.
trait Rows {
    fn rows(self) -> u64;
}

impl Rows for sqlx::sqlite::SqliteQueryResult {
    fn rows(self) -> u64 {
        self.rows_affected()
    }
}

impl Rows for sqlx::postgres::PgQueryResult {
    fn rows(self) -> u64 {
        self.rows_affected()
    }
}

fn unit<R: Rows>(_: R) {}
