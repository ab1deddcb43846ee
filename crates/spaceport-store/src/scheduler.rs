//! What the scheduler keeps from one decision to the next.

use futures::TryFutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use spaceport_core::Timestamp;

use crate::rows::{json, to_json};
use crate::{Store, StoreError, run};

const CARRIED: &str = "SELECT carried FROM scheduler WHERE id = 1";
const CARRIED_SET: &str = "INSERT INTO scheduler (id, carried, updated_at) VALUES (1, $1, $2) \
     ON CONFLICT (id) DO UPDATE SET carried = excluded.carried, updated_at = excluded.updated_at";

impl Store {
    /// What the last decision left for the next; `None` before the first.
    ///
    /// # Errors
    /// When the database fails, or another version of the program wrote it.
    pub async fn carried<T: DeserializeOwned>(&self) -> Result<Option<T>, StoreError> {
        run!(self, "carried", db => sqlx::query_as::<_, (String,)>(CARRIED).fetch_optional(db))?
            .map(|(carried,)| json("scheduler.carried", &carried))
            .transpose()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn carried_set<T: Serialize + Sync>(&self, carried: &T, at: Timestamp) -> Result<(), StoreError> {
        run!(self, "carried_set", db => sqlx::query(CARRIED_SET)
            .bind(to_json(carried)).bind(at.as_millis()).execute(db).map_ok(crate::unit))
    }
}
