//! Variables, secrets and volumes of a Space. Every change raises the Space's `settings` and generation
//! in the same transaction, so the reconciler makes a new release.

use std::collections::BTreeMap;

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::{SpaceId, Timestamp, Volume};

use crate::rows::{json, to_json};
use crate::{Store, StoreError, run, run_tx};

/// A public setting: build argument and environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The value.
    pub value: String,
    /// For people.
    pub description: Option<String>,
    /// Last change.
    pub updated_at: Timestamp,
}

/// A write-only setting: build secret and environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The sealed value.
    pub sealed: String,
    /// For people.
    pub description: Option<String>,
    /// Last change.
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
struct SettingRow {
    name: String,
    value: String,
    description: Option<String>,
    updated_at: i64,
}

const VARIABLES: &str = "SELECT name, value, description, updated_at FROM variables WHERE space_id = $1 ORDER BY name";
const SECRETS: &str =
    "SELECT name, sealed AS value, description, updated_at FROM secrets WHERE space_id = $1 ORDER BY name";
const VARIABLE_SET: &str = "INSERT INTO variables (space_id, name, value, description, updated_at) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (space_id, name) DO UPDATE \
     SET value = excluded.value, description = excluded.description, updated_at = excluded.updated_at";
const SECRET_SET: &str = "INSERT INTO secrets (space_id, name, sealed, description, updated_at) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (space_id, name) DO UPDATE \
     SET sealed = excluded.sealed, description = excluded.description, updated_at = excluded.updated_at";
const VARIABLE_DELETE: &str = "DELETE FROM variables WHERE space_id = $1 AND name = $2";
const SECRET_DELETE: &str = "DELETE FROM secrets WHERE space_id = $1 AND name = $2";
const VOLUMES: &str = "SELECT volumes FROM spaces WHERE id = $1";
const VOLUMES_SET: &str = "UPDATE spaces SET volumes = $1 WHERE id = $2 AND volumes <> $1";
const SETTINGS_CHANGED: &str = "UPDATE spaces SET settings = settings + 1, generation = generation + 1 WHERE id = $1";

impl Store {
    /// The variables of a Space.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn variables(&self, space: SpaceId) -> Result<BTreeMap<String, Variable>, StoreError> {
        let rows = run!(self, "variables", db => sqlx::query_as::<_, SettingRow>(VARIABLES)
            .bind(space.to_string()).fetch_all(db))?;
        let read = |row: SettingRow| {
            let updated_at = Timestamp::from_millis(row.updated_at);
            (row.name, Variable { value: row.value, description: row.description, updated_at })
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// The secrets of a Space, sealed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn secrets(&self, space: SpaceId) -> Result<BTreeMap<String, Secret>, StoreError> {
        let rows = run!(self, "secrets", db => sqlx::query_as::<_, SettingRow>(SECRETS)
            .bind(space.to_string()).fetch_all(db))?;
        let read = |row: SettingRow| {
            let updated_at = Timestamp::from_millis(row.updated_at);
            (row.name, Secret { sealed: row.value, description: row.description, updated_at })
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Adds or replaces a variable.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn variable_set(&self, space: SpaceId, name: &str, variable: &Variable) -> Result<(), StoreError> {
        self.setting_set(
            VARIABLE_SET,
            space,
            name,
            &variable.value,
            variable.description.as_deref(),
            variable.updated_at,
        )
        .await
    }

    /// Adds or replaces a secret.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn secret_set(&self, space: SpaceId, name: &str, secret: &Secret) -> Result<(), StoreError> {
        self.setting_set(SECRET_SET, space, name, &secret.sealed, secret.description.as_deref(), secret.updated_at)
            .await
    }

    /// Deletes a variable; one that is not there changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn variable_delete(&self, space: SpaceId, name: &str) -> Result<(), StoreError> {
        self.setting_delete(VARIABLE_DELETE, space, name).await
    }

    /// Deletes a secret; one that is not there changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn secret_delete(&self, space: SpaceId, name: &str) -> Result<(), StoreError> {
        self.setting_delete(SECRET_DELETE, space, name).await
    }

    /// The volumes of a Space, in the order they were given.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn volumes(&self, space: SpaceId) -> Result<Vec<Volume>, StoreError> {
        let row = run!(self, "volumes", db => sqlx::query_as::<_, (String,)>(VOLUMES)
            .bind(space.to_string()).fetch_optional(db))?;
        row.map_or(Ok(Vec::new()), |(volumes,)| json("spaces.volumes", &volumes))
    }

    /// Replaces the volumes of a Space; the same ones again change nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn volumes_set(&self, space: SpaceId, volumes: &[Volume]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let changed = run_tx!(&mut tx, "volumes_set", db => sqlx::query(VOLUMES_SET)
            .bind(to_json(&volumes)).bind(space.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        if changed > 0 {
            run_tx!(&mut tx, "settings_changed", db => sqlx::query(SETTINGS_CHANGED)
                .bind(space.to_string()).execute(db).map_ok(crate::unit))?;
        }
        tx.commit().await
    }

    async fn setting_set(
        &self,
        sql: &'static str,
        space: SpaceId,
        name: &str,
        value: &str,
        description: Option<&str>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        run_tx!(&mut tx, "setting_set", db => sqlx::query(sql)
            .bind(space.to_string())
            .bind(name)
            .bind(value)
            .bind(description)
            .bind(at.as_millis())
            .execute(db).map_ok(crate::unit))?;
        run_tx!(&mut tx, "settings_changed", db => sqlx::query(SETTINGS_CHANGED)
            .bind(space.to_string()).execute(db).map_ok(crate::unit))?;
        tx.commit().await
    }

    async fn setting_delete(&self, sql: &'static str, space: SpaceId, name: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let deleted = run_tx!(&mut tx, "setting_delete", db => sqlx::query(sql)
            .bind(space.to_string()).bind(name).execute(db).map_ok(crate::Rows::rows))?;
        if deleted > 0 {
            run_tx!(&mut tx, "settings_changed", db => sqlx::query(SETTINGS_CHANGED)
                .bind(space.to_string()).execute(db).map_ok(crate::unit))?;
        }
        tx.commit().await
    }
}
