//! The quota tree: read and written as a whole, since what is right for one place may contradict another.

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::gpu::{Quota, QuotaPath};
use spaceport_core::{Generation, Timestamp};

use crate::rows::{json, to_json};
use crate::{Store, StoreError, run, run_tx};

/// A place that was given a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaPlace {
    /// Where.
    pub path: QuotaPath,
    /// What it may have.
    pub quota: Quota,
    /// The tree's generation when it was last written.
    pub generation: Generation,
    /// When that was.
    pub updated_at: Timestamp,
}

/// One change of the tree: `None` takes the place's own quota away, so that it has the default one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaChange {
    /// Where.
    pub path: QuotaPath,
    /// What it may have from now on.
    pub quota: Option<Quota>,
}

#[derive(FromRow)]
struct QuotaRow {
    path: String,
    quota: String,
    generation: i64,
    updated_at: i64,
}

impl QuotaRow {
    fn into_place(self) -> Result<QuotaPlace, StoreError> {
        Ok(QuotaPlace {
            path: QuotaPath(self.path),
            quota: json("quotas.quota", &self.quota)?,
            generation: Generation(self.generation),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

const GENERATION: &str = "SELECT generation FROM quota_tree WHERE id = 1";
const GENERATION_RAISE: &str = "UPDATE quota_tree SET generation = generation + 1 WHERE id = 1 AND generation = $1";
const QUOTAS: &str = "SELECT * FROM quotas ORDER BY path";
const QUOTA_SET: &str = "INSERT INTO quotas (path, quota, generation, updated_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (path) DO UPDATE SET quota = excluded.quota, generation = excluded.generation, \
     updated_at = excluded.updated_at";
const QUOTA_REMOVE: &str = "DELETE FROM quotas WHERE path = $1";

impl Store {
    /// All places, by path, and the tree's generation: what a change is made against.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn quotas(&self) -> Result<(Generation, Vec<QuotaPlace>), StoreError> {
        // The generation first: who reads older places with it is refused when writing, never the other way round.
        let (generation,) =
            run!(self, "quota_generation", db => sqlx::query_as::<_, (i64,)>(GENERATION).fetch_one(db))?;
        let places = run!(self, "quotas", db => sqlx::query_as::<_, QuotaRow>(QUOTAS).fetch_all(db))?;
        let places = places.into_iter().map(QuotaRow::into_place).collect::<Result<_, _>>()?;
        Ok((Generation(generation), places))
    }

    /// Changes places, all or nothing; `false` means that somebody else changed the tree since it was `seen`.
    /// Whether the tree is one afterwards is the caller's to know.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn quotas_change(
        &self,
        changes: &[QuotaChange],
        seen: Generation,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "quota_generation_raise", db => sqlx::query(GENERATION_RAISE)
            .bind(seen.0).execute(db).map_ok(crate::Rows::rows))?;
        if rows != 1 {
            return Ok(false);
        }
        for change in changes {
            match &change.quota {
                Some(quota) => run_tx!(&mut tx, "quota_set", db => sqlx::query(QUOTA_SET)
                    .bind(&change.path.0)
                    .bind(to_json(quota))
                    .bind(seen.0 + 1)
                    .bind(at.as_millis())
                    .execute(db).map_ok(crate::unit))?,
                None => run_tx!(&mut tx, "quota_remove", db => sqlx::query(QUOTA_REMOVE)
                    .bind(&change.path.0).execute(db).map_ok(crate::unit))?,
            }
        }
        tx.commit().await?;
        Ok(true)
    }
}
