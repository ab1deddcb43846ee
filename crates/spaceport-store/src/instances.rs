//! Instances: one row per attempt, written before its container is made.

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::space::Instance;
use spaceport_core::{Diagnosis, FlavorName, InstanceId, SpaceId, Timestamp};

use crate::rows::{json_opt, text, to_json};
use crate::{Store, StoreError, run};

#[derive(FromRow)]
struct InstanceRow {
    id: String,
    space_id: String,
    release_id: String,
    restart: i64,
    attempt: i64,
    created_at: i64,
    started_at: Option<i64>,
    ready_at: Option<i64>,
    retired_at: Option<i64>,
    ended_at: Option<i64>,
    diagnosis: Option<String>,
    ended_by_us: bool,
}

impl InstanceRow {
    fn into_instance(self) -> Result<Instance, StoreError> {
        Ok(Instance {
            id: text("instances.id", &self.id)?,
            space: text("instances.space_id", &self.space_id)?,
            release: text("instances.release_id", &self.release_id)?,
            restart: self.restart,
            attempt: self.attempt,
            created_at: Timestamp::from_millis(self.created_at),
            started_at: self.started_at.map(Timestamp::from_millis),
            ready_at: self.ready_at.map(Timestamp::from_millis),
            retired_at: self.retired_at.map(Timestamp::from_millis),
            ended_at: self.ended_at.map(Timestamp::from_millis),
            diagnosis: json_opt("instances.diagnosis", self.diagnosis.as_ref())?,
            ended_by_us: self.ended_by_us,
        })
    }
}

const INSTANCE_ADD: &str = "INSERT INTO instances (id, space_id, release_id, restart, attempt, created_at, ended_by_us) \
     VALUES ($1, $2, $3, $4, $5, $6, FALSE) ON CONFLICT DO NOTHING";
const INSTANCES_OF: &str = "SELECT * FROM instances WHERE space_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2";
const INSTANCES_LIVE: &str = "SELECT * FROM instances WHERE ended_at IS NULL ORDER BY created_at, id";
const INSTANCES_LIVE_OF: &str =
    "SELECT * FROM instances WHERE space_id = $1 AND ended_at IS NULL ORDER BY created_at DESC, id DESC";
const FLAVORS_LIVE: &str = "SELECT DISTINCT i.space_id, r.hardware FROM instances i \
     JOIN releases r ON r.id = i.release_id WHERE i.ended_at IS NULL";
const INSTANCE_STARTED: &str = "UPDATE instances SET started_at = $1 WHERE id = $2 AND started_at IS NULL";
const INSTANCE_READY: &str =
    "UPDATE instances SET ready_at = $1, diagnosis = NULL WHERE id = $2 AND ready_at IS NULL AND ended_at IS NULL";
const INSTANCE_NOTE: &str = "UPDATE instances SET diagnosis = $1 WHERE id = $2 AND ended_at IS NULL";
const INSTANCE_RETIRED: &str = "UPDATE instances SET retired_at = $1 WHERE id = $2 AND retired_at IS NULL";
const INSTANCE_ENDED: &str = "UPDATE instances SET ended_at = $1, diagnosis = $2, ended_by_us = $3 \
     WHERE id = $4 AND ended_at IS NULL";

impl Store {
    /// Writes a new attempt; the same `(release, restart, attempt)` again changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instance_add(&self, instance: &Instance) -> Result<(), StoreError> {
        run!(self, "instance_add", db => sqlx::query(INSTANCE_ADD)
            .bind(instance.id.to_string())
            .bind(instance.space.to_string())
            .bind(instance.release.to_string())
            .bind(instance.restart)
            .bind(instance.attempt)
            .bind(instance.created_at.as_millis())
            .execute(db).map_ok(crate::unit))
    }

    /// The newest attempts of a Space, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instances_of(&self, space: SpaceId, limit: i64) -> Result<Vec<Instance>, StoreError> {
        run!(self, "instances_of", db => sqlx::query_as::<_, InstanceRow>(INSTANCES_OF)
            .bind(space.to_string()).bind(limit).fetch_all(db))?
        .into_iter()
        .map(InstanceRow::into_instance)
        .collect()
    }

    /// Every attempt that is not over, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instances_live(&self) -> Result<Vec<Instance>, StoreError> {
        run!(self, "instances_live", db => sqlx::query_as::<_, InstanceRow>(INSTANCES_LIVE).fetch_all(db))?
            .into_iter()
            .map(InstanceRow::into_instance)
            .collect()
    }

    /// Which hardware attempts that are not over have, by Space.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn flavors_live(&self) -> Result<Vec<(SpaceId, FlavorName)>, StoreError> {
        run!(self, "flavors_live", db => sqlx::query_as::<_, (String, String)>(FLAVORS_LIVE).fetch_all(db))?
            .into_iter()
            .map(|(space, flavor)| Ok((text("instances.space_id", &space)?, FlavorName(flavor))))
            .collect()
    }

    /// Every attempt of a Space that is not over, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instances_live_of(&self, space: SpaceId) -> Result<Vec<Instance>, StoreError> {
        run!(self, "instances_live_of", db => sqlx::query_as::<_, InstanceRow>(INSTANCES_LIVE_OF)
            .bind(space.to_string()).fetch_all(db))?
        .into_iter()
        .map(InstanceRow::into_instance)
        .collect()
    }

    /// Records that the container runs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instance_started(&self, id: InstanceId, at: Timestamp) -> Result<(), StoreError> {
        run!(self, "instance_started", db => sqlx::query(INSTANCE_STARTED)
            .bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::unit))
    }

    /// Records that the app answered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instance_ready(&self, id: InstanceId, at: Timestamp) -> Result<(), StoreError> {
        run!(self, "instance_ready", db => sqlx::query(INSTANCE_READY)
            .bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::unit))
    }

    /// Says what holds a starting app up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instance_note(&self, id: InstanceId, note: &Diagnosis) -> Result<(), StoreError> {
        run!(self, "instance_note", db => sqlx::query(INSTANCE_NOTE)
            .bind(to_json(note)).bind(id.to_string()).execute(db).map_ok(crate::unit))
    }

    /// Records that new requests no longer reach it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instance_retired(&self, id: InstanceId, at: Timestamp) -> Result<(), StoreError> {
        run!(self, "instance_retired", db => sqlx::query(INSTANCE_RETIRED)
            .bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::unit))
    }

    /// Records that it is over, and why.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instance_ended(
        &self,
        id: InstanceId,
        why: Option<&Diagnosis>,
        by_us: bool,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        run!(self, "instance_ended", db => sqlx::query(INSTANCE_ENDED)
            .bind(at.as_millis())
            .bind(why.map(to_json))
            .bind(by_us)
            .bind(id.to_string())
            .execute(db).map_ok(crate::unit))
    }
}
