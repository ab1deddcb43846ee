//! Claims: one live one per Space, waiting or with a lease.

use futures::TryFutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::FromRow;

use spaceport_core::gpu::{Claim, LeaseEnd, Priority, QuotaPath};
use spaceport_core::{ClaimId, FlavorName, Generation, SpaceId, Timestamp};

use crate::rows::{json, json_opt, text, to_json};
use crate::{Store, StoreError, run};

/// A claim as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredClaim {
    /// What is wanted.
    pub claim: Claim,
    /// A lease is taken against it; whoever changes the claim raises it.
    pub generation: Generation,
    /// Why its last lease ended, while it waits for another.
    pub again: Option<Again>,
    /// What the scheduler said last, as it was given.
    decision: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// It is over since.
    pub ended_at: Option<Timestamp>,
    /// Why.
    pub why: Option<LeaseEnd>,
}

impl StoredClaim {
    /// What the scheduler said last; `None` when it said nothing yet.
    ///
    /// # Errors
    /// When another version of the program wrote it.
    pub fn decision<T: DeserializeOwned>(&self) -> Result<Option<T>, StoreError> {
        json_opt("claims.decision", self.decision.as_ref())
    }
}

/// A claim had hardware and waits for it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Again {
    /// Why its lease ended.
    pub why: LeaseEnd,
    /// When.
    pub since: Timestamp,
}

#[derive(FromRow)]
struct ClaimRow {
    id: String,
    space_id: String,
    account: String,
    flavor: String,
    shape: String,
    priority: String,
    submitted_at: i64,
    limit_ms: Option<i64>,
    generation: i64,
    again: Option<String>,
    decision: Option<String>,
    decided_at: Option<i64>,
    ended_at: Option<i64>,
    why: Option<String>,
}

impl ClaimRow {
    fn into_claim(self) -> Result<StoredClaim, StoreError> {
        Ok(StoredClaim {
            claim: Claim {
                id: text("claims.id", &self.id)?,
                space: text("claims.space_id", &self.space_id)?,
                account: QuotaPath(self.account),
                flavor: FlavorName(self.flavor),
                shape: json("claims.shape", &self.shape)?,
                priority: text("claims.priority", &self.priority)?,
                submitted_at: Timestamp::from_millis(self.submitted_at),
                limit_ms: self.limit_ms.map(i64::unsigned_abs),
            },
            generation: Generation(self.generation),
            again: json_opt("claims.again", self.again.as_ref())?,
            decision: self.decision,
            decided_at: self.decided_at.map(Timestamp::from_millis),
            ended_at: self.ended_at.map(Timestamp::from_millis),
            why: self.why.map(|why| text("claims.why", &why)).transpose()?,
        })
    }
}

const CLAIM_ADD: &str = "INSERT INTO claims (id, space_id, account, flavor, shape, priority, submitted_at, limit_ms, \
     generation) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1) ON CONFLICT DO NOTHING";
const CLAIM_BY_ID: &str = "SELECT * FROM claims WHERE id = $1";
const CLAIM_OF: &str = "SELECT * FROM claims WHERE space_id = $1 AND ended_at IS NULL";
const CLAIMS_LIVE: &str = "SELECT * FROM claims WHERE ended_at IS NULL ORDER BY submitted_at, id";
const CLAIMS_BETWEEN: &str = "SELECT * FROM claims WHERE submitted_at < $2 AND (ended_at IS NULL OR ended_at >= $1) \
     ORDER BY submitted_at, id";
const CLAIM_LAST: &str = "SELECT submitted_at FROM claims ORDER BY submitted_at DESC LIMIT 1 OFFSET $1";
const CLAIM_DECIDE: &str =
    "UPDATE claims SET decision = $1, decided_at = $2 WHERE id = $3 AND generation = $4 AND ended_at IS NULL";
const CLAIM_MOVE: &str = "UPDATE claims SET priority = $1, submitted_at = $2, generation = generation + 1 \
     WHERE id = $3 AND generation = $4 AND ended_at IS NULL";
const CLAIM_END: &str = "UPDATE claims SET ended_at = $1, why = $2, generation = generation + 1 \
     WHERE id = $3 AND ended_at IS NULL";

impl Store {
    /// Adds a claim; `false` when the Space has one already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_add(&self, claim: &Claim) -> Result<bool, StoreError> {
        run!(self, "claim_add", db => sqlx::query(CLAIM_ADD)
            .bind(claim.id.to_string())
            .bind(claim.space.to_string())
            .bind(&claim.account.0)
            .bind(&claim.flavor.0)
            .bind(to_json(&claim.shape))
            .bind(claim.priority.as_str())
            .bind(claim.submitted_at.as_millis())
            .bind(claim.limit_ms.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX)))
            .execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// By id, also one that is over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_by_id(&self, id: ClaimId) -> Result<Option<StoredClaim>, StoreError> {
        run!(self, "claim_by_id", db => sqlx::query_as::<_, ClaimRow>(CLAIM_BY_ID)
            .bind(id.to_string()).fetch_optional(db))?
        .map(ClaimRow::into_claim)
        .transpose()
    }

    /// The live claim of a Space.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_of(&self, space: SpaceId) -> Result<Option<StoredClaim>, StoreError> {
        run!(self, "claim_of", db => sqlx::query_as::<_, ClaimRow>(CLAIM_OF)
            .bind(space.to_string()).fetch_optional(db))?
        .map(ClaimRow::into_claim)
        .transpose()
    }

    /// When the claim was made after which so many others were; `None` when there are fewer.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_before_last(&self, later: u32) -> Result<Option<Timestamp>, StoreError> {
        run!(self, "claim_before_last", db => sqlx::query_as::<_, (i64,)>(CLAIM_LAST)
            .bind(i64::from(later)).fetch_optional(db))
        .map(|row| row.map(|(at,)| Timestamp::from_millis(at)))
    }

    /// Every live claim, by the time it was made.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claims_live(&self) -> Result<Vec<StoredClaim>, StoreError> {
        run!(self, "claims_live", db => sqlx::query_as::<_, ClaimRow>(CLAIMS_LIVE).fetch_all(db))?
            .into_iter()
            .map(ClaimRow::into_claim)
            .collect()
    }

    /// Every claim that was live at some time in between: the recorded demand.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claims_between(&self, from: Timestamp, until: Timestamp) -> Result<Vec<StoredClaim>, StoreError> {
        run!(self, "claims_between", db => sqlx::query_as::<_, ClaimRow>(CLAIMS_BETWEEN)
            .bind(from.as_millis()).bind(until.as_millis()).fetch_all(db))?
        .into_iter()
        .map(ClaimRow::into_claim)
        .collect()
    }

    /// Keeps what the scheduler said about a claim; `false` when the claim changed since it was `seen`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_decide<T: Serialize + Sync>(
        &self,
        id: ClaimId,
        seen: Generation,
        decision: &T,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        run!(self, "claim_decide", db => sqlx::query(CLAIM_DECIDE)
            .bind(to_json(decision))
            .bind(at.as_millis())
            .bind(id.to_string())
            .bind(seen.0)
            .execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// Gives a claim another class, or another place in time, as an admin wants it; `false` when the claim
    /// changed since it was `seen`, or is over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_move(
        &self,
        id: ClaimId,
        priority: Priority,
        submitted_at: Timestamp,
        seen: Generation,
    ) -> Result<bool, StoreError> {
        run!(self, "claim_move", db => sqlx::query(CLAIM_MOVE)
            .bind(priority.as_str())
            .bind(submitted_at.as_millis())
            .bind(id.to_string())
            .bind(seen.0)
            .execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// Ends a claim; its lease ends when nothing runs on it any more. `false` when it was over before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_end(&self, id: ClaimId, why: LeaseEnd, at: Timestamp) -> Result<bool, StoreError> {
        run!(self, "claim_end", db => sqlx::query(CLAIM_END)
            .bind(at.as_millis()).bind(why.as_str()).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }
}
