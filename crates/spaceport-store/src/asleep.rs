//! Spaces that sleep: an observed state that a restart of the server must not forget.

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::plan::Asleep;
use spaceport_core::{ReleaseId, SpaceId, Timestamp};

use crate::rows::text;
use crate::{Store, StoreError, run};

#[derive(FromRow)]
struct AsleepRow {
    release_id: String,
    restart: i64,
    since: i64,
    why: String,
}

const ASLEEP: &str = "SELECT release_id, restart, since, why FROM asleep WHERE space_id = $1";
const ASLEEP_SET: &str = "INSERT INTO asleep (space_id, release_id, restart, since, why) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (space_id) DO UPDATE SET release_id = excluded.release_id, restart = excluded.restart, \
     since = excluded.since, why = excluded.why";
const AWAKE: &str = "DELETE FROM asleep WHERE space_id = $1";

impl Store {
    /// Whether a Space sleeps.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn asleep(&self, space: SpaceId) -> Result<Option<Asleep>, StoreError> {
        let row = run!(self, "asleep", db => sqlx::query_as::<_, AsleepRow>(ASLEEP)
            .bind(space.to_string()).fetch_optional(db))?;
        row.map(|row| {
            Ok(Asleep {
                release: text::<ReleaseId>("asleep.release_id", &row.release_id)?,
                restart: row.restart,
                since: Timestamp::from_millis(row.since),
                why: text("asleep.why", &row.why)?,
            })
        })
        .transpose()
    }

    /// Records that a Space sleeps from now on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn asleep_set(&self, space: SpaceId, asleep: &Asleep) -> Result<(), StoreError> {
        run!(self, "asleep_set", db => sqlx::query(ASLEEP_SET)
            .bind(space.to_string())
            .bind(asleep.release.to_string())
            .bind(asleep.restart)
            .bind(asleep.since.as_millis())
            .bind(asleep.why.as_str())
            .execute(db).map_ok(crate::unit))
    }

    /// Records that a Space is awake.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn awake(&self, space: SpaceId) -> Result<(), StoreError> {
        run!(self, "awake", db => sqlx::query(AWAKE).bind(space.to_string()).execute(db).map_ok(crate::unit))
    }
}
