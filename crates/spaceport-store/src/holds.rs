//! What the scheduler keeps from one decision to the next.

use futures::TryFutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use spaceport_core::Timestamp;

use crate::rows::{json, to_json};
use crate::{Store, StoreError, run};

const HOLDS: &str = "SELECT holds FROM holds WHERE id = 1";
const HOLDS_SET: &str = "INSERT INTO holds (id, holds, updated_at) VALUES (1, $1, $2) \
     ON CONFLICT (id) DO UPDATE SET holds = excluded.holds, updated_at = excluded.updated_at";

impl Store {
    /// What the last decision keeps for whom; `None` before the first.
    ///
    /// # Errors
    /// When the database fails, or another version of the program wrote it.
    pub async fn holds<T: DeserializeOwned>(&self) -> Result<Option<T>, StoreError> {
        run!(self, "holds", db => sqlx::query_as::<_, (String,)>(HOLDS).fetch_optional(db))?
            .map(|(holds,)| json("holds.holds", &holds))
            .transpose()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn holds_set<T: Serialize + Sync>(&self, holds: &T, at: Timestamp) -> Result<(), StoreError> {
        run!(self, "holds_set", db => sqlx::query(HOLDS_SET)
            .bind(to_json(holds)).bind(at.as_millis()).execute(db).map_ok(crate::unit))
    }
}
