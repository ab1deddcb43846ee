//! Who changed what, from where: append-only.

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::Timestamp;

use crate::{Store, StoreError, run};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AuditEntry {
    /// A ULID.
    pub id: String,
    /// Unix milliseconds.
    pub at: i64,
    /// The account's name.
    pub actor: String,
    /// The peer's address.
    pub origin: String,
    /// `space.create`, `token.create`, ….
    pub action: String,
    /// What it was done to: `alice/demo`.
    pub subject: String,
    /// JSON with what changed; never a secret value.
    pub detail: String,
}

const AUDIT_ADD: &str =
    "INSERT INTO audit (id, at, actor, origin, action, subject, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)";
const AUDIT_LATEST: &str = "SELECT * FROM audit WHERE at <= $1 ORDER BY at DESC, id DESC LIMIT $2";

impl Store {
    /// Adds an entry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_add(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        run!(self, "audit_add", db => sqlx::query(AUDIT_ADD)
            .bind(&entry.id)
            .bind(entry.at)
            .bind(&entry.actor)
            .bind(&entry.origin)
            .bind(&entry.action)
            .bind(&entry.subject)
            .bind(&entry.detail)
            .execute(db).map_ok(crate::unit))
    }

    /// The newest entries up to a time, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_latest(&self, until: Timestamp, limit: i64) -> Result<Vec<AuditEntry>, StoreError> {
        run!(self, "audit_latest", db => sqlx::query_as::<_, AuditEntry>(AUDIT_LATEST)
            .bind(until.as_millis()).bind(limit).fetch_all(db))
    }
}
