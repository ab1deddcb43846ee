//! Releases: immutable, numbered, made once per build, settings and hardware.

use std::collections::BTreeMap;

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::space::Release;
use spaceport_core::{BuildId, FlavorName, ReleaseId, SpaceId, Timestamp};

use crate::rows::{json, text, to_json};
use crate::{Store, StoreError, run};

#[derive(FromRow)]
struct ReleaseRow {
    id: String,
    space_id: String,
    number: i64,
    build_id: String,
    sha: String,
    config: String,
    artifact: String,
    settings: i64,
    variables: String,
    sealed_secrets: String,
    volumes: String,
    hardware: String,
    created_at: i64,
    ready_at: Option<i64>,
}

impl ReleaseRow {
    fn into_release(self) -> Result<Release, StoreError> {
        Ok(Release {
            id: text("releases.id", &self.id)?,
            space: text("releases.space_id", &self.space_id)?,
            number: self.number,
            build: text("releases.build_id", &self.build_id)?,
            sha: text("releases.sha", &self.sha)?,
            config: json("releases.config", &self.config)?,
            artifact: json("releases.artifact", &self.artifact)?,
            settings: self.settings,
            variables: json::<BTreeMap<_, _>>("releases.variables", &self.variables)?,
            sealed_secrets: json::<BTreeMap<_, _>>("releases.sealed_secrets", &self.sealed_secrets)?,
            volumes: json("releases.volumes", &self.volumes)?,
            hardware: FlavorName(self.hardware),
            created_at: Timestamp::from_millis(self.created_at),
            ready_at: self.ready_at.map(Timestamp::from_millis),
        })
    }
}

const RELEASE_ADD: &str = "INSERT INTO releases (id, space_id, number, build_id, sha, config, artifact, settings, \
     variables, sealed_secrets, volumes, hardware, created_at, ready_at) \
     SELECT $1, $2, COALESCE(MAX(number), 0) + 1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CAST($13 AS BIGINT) \
     FROM releases WHERE space_id = $2 ON CONFLICT DO NOTHING";
const RELEASE_BY_ID: &str = "SELECT * FROM releases WHERE id = $1";
const RELEASE_OF: &str = "SELECT * FROM releases WHERE build_id = $1 AND settings = $2 AND hardware = $3";
const RELEASES_OF: &str = "SELECT * FROM releases WHERE space_id = $1 ORDER BY number DESC LIMIT $2";
const RELEASE_LAST_READY: &str = "SELECT * FROM releases WHERE space_id = $1 AND ready_at IS NOT NULL AND id <> $2 \
     ORDER BY ready_at DESC, number DESC LIMIT 1";
const RELEASE_READY: &str = "UPDATE releases SET ready_at = $1 WHERE id = $2";

impl Store {
    /// Makes a release; making the same `(build, settings, hardware)` again changes nothing.
    /// The number is given by the database; `release.number` is not read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_add(&self, release: &Release) -> Result<(), StoreError> {
        run!(self, "release_add", db => sqlx::query(RELEASE_ADD)
            .bind(release.id.to_string())
            .bind(release.space.to_string())
            .bind(release.build.to_string())
            .bind(release.sha.as_str())
            .bind(to_json(&release.config))
            .bind(to_json(&release.artifact))
            .bind(release.settings)
            .bind(to_json(&release.variables))
            .bind(to_json(&release.sealed_secrets))
            .bind(to_json(&release.volumes))
            .bind(&release.hardware.0)
            .bind(release.created_at.as_millis())
            .bind(release.ready_at.map(Timestamp::as_millis))
            .execute(db).map_ok(crate::unit))
    }

    /// By id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_by_id(&self, id: ReleaseId) -> Result<Option<Release>, StoreError> {
        run!(self, "release_by_id", db => sqlx::query_as::<_, ReleaseRow>(RELEASE_BY_ID)
            .bind(id.to_string()).fetch_optional(db))?
        .map(ReleaseRow::into_release)
        .transpose()
    }

    /// The release of a build with these settings and hardware.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_of(
        &self,
        build: BuildId,
        settings: i64,
        hardware: &FlavorName,
    ) -> Result<Option<Release>, StoreError> {
        run!(self, "release_of", db => sqlx::query_as::<_, ReleaseRow>(RELEASE_OF)
            .bind(build.to_string()).bind(settings).bind(&hardware.0).fetch_optional(db))?
        .map(ReleaseRow::into_release)
        .transpose()
    }

    /// The newest releases of a Space, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn releases_of(&self, space: SpaceId, limit: i64) -> Result<Vec<Release>, StoreError> {
        run!(self, "releases_of", db => sqlx::query_as::<_, ReleaseRow>(RELEASES_OF)
            .bind(space.to_string()).bind(limit).fetch_all(db))?
        .into_iter()
        .map(ReleaseRow::into_release)
        .collect()
    }

    /// The release besides `except` that began to answer last.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_last_ready(
        &self,
        space: SpaceId,
        except: Option<ReleaseId>,
    ) -> Result<Option<Release>, StoreError> {
        run!(self, "release_last_ready", db => sqlx::query_as::<_, ReleaseRow>(RELEASE_LAST_READY)
            .bind(space.to_string())
            .bind(except.map_or(String::new(), |id| id.to_string()))
            .fetch_optional(db))?
        .map(ReleaseRow::into_release)
        .transpose()
    }

    /// Records that a release began to answer, for the first time or again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_ready(&self, id: ReleaseId, at: Timestamp) -> Result<(), StoreError> {
        run!(self, "release_ready", db => sqlx::query(RELEASE_READY)
            .bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::unit))
    }
}
