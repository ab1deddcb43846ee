//! Builds: asked for once per commit, claimed under a lease, ended once.

use std::collections::BTreeMap;

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::space::{Artifact, Build, BuildState};
use spaceport_core::{BuildId, CommitSha, Diagnosis, SpaceId, Timestamp};

use crate::hook_events::tell_build;
use crate::rows::{json, json_opt, text, to_json};
use crate::{Store, StoreError, Tx, run, run_tx};

/// How a build ended.
#[derive(Debug, Clone)]
pub struct BuildEnd {
    /// Succeeded, failed or canceled.
    pub state: BuildState,
    /// Why, unless it succeeded.
    pub diagnosis: Option<Diagnosis>,
    /// What it made.
    pub artifact: Option<Artifact>,
    /// Milliseconds each phase took.
    pub phases: BTreeMap<String, u64>,
    /// When.
    pub at: Timestamp,
}

#[derive(FromRow)]
pub(crate) struct BuildRow {
    id: String,
    space_id: String,
    number: i64,
    sha: String,
    rebuild: i64,
    no_cache: bool,
    state: String,
    queued_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    diagnosis: Option<String>,
    artifact: Option<String>,
    phases: String,
    cancel_requested: bool,
}

impl BuildRow {
    pub(crate) fn into_build(self) -> Result<Build, StoreError> {
        Ok(Build {
            id: text("builds.id", &self.id)?,
            space: text("builds.space_id", &self.space_id)?,
            number: self.number,
            sha: text("builds.sha", &self.sha)?,
            rebuild: self.rebuild,
            no_cache: self.no_cache,
            state: text("builds.state", &self.state)?,
            queued_at: Timestamp::from_millis(self.queued_at),
            started_at: self.started_at.map(Timestamp::from_millis),
            finished_at: self.finished_at.map(Timestamp::from_millis),
            diagnosis: json_opt("builds.diagnosis", self.diagnosis.as_ref())?,
            artifact: json_opt("builds.artifact", self.artifact.as_ref())?,
            phases: json("builds.phases", &self.phases)?,
            cancel_requested: self.cancel_requested,
        })
    }
}

const BUILD_ADD: &str = "INSERT INTO builds (id, space_id, number, sha, rebuild, no_cache, state, queued_at, phases, \
     cancel_requested) SELECT $1, $2, COALESCE(MAX(number), 0) + 1, $3, $4, $5, 'queued', $6, '{}', FALSE \
     FROM builds WHERE space_id = $2 ON CONFLICT DO NOTHING";
const BUILD_BY_ID: &str = "SELECT * FROM builds WHERE id = $1";
const BUILD_OF: &str = "SELECT * FROM builds WHERE space_id = $1 AND sha = $2 AND rebuild = $3";
const BUILD_BY_NUMBER: &str = "SELECT * FROM builds WHERE space_id = $1 AND number = $2";
const BUILDS_OF: &str = "SELECT * FROM builds WHERE space_id = $1 ORDER BY number DESC LIMIT $2";
const BUILD_LAST_GOOD: &str =
    "SELECT * FROM builds WHERE space_id = $1 AND state = 'succeeded' ORDER BY number DESC LIMIT 1";
const BUILDS_UNFINISHED: &str = "SELECT * FROM builds WHERE state IN ('queued', 'running') ORDER BY queued_at, id";
const BUILD_CLAIM: &str = "UPDATE builds SET state = 'running', lease = $1, started_at = $2, diagnosis = NULL \
     WHERE id = $3 AND state = 'queued' AND NOT cancel_requested";
const BUILD_WAITS: &str =
    "UPDATE builds SET diagnosis = $1 WHERE id = $2 AND state = 'queued' AND NOT cancel_requested";
const BUILD_PROGRESS: &str = "UPDATE builds SET diagnosis = $1 \
     WHERE id = $2 AND state = 'running' AND lease = $3 AND NOT cancel_requested";
const BUILD_FINISH: &str = "UPDATE builds SET state = $1, finished_at = $2, diagnosis = $3, artifact = $4, phases = $5, \
     lease = NULL WHERE id = $6 AND state = 'running' AND lease = $7";
const BUILD_CANCEL_REQUEST: &str = "UPDATE builds SET cancel_requested = TRUE, diagnosis = $1 \
     WHERE id = $2 AND state IN ('queued', 'running') AND NOT cancel_requested";
const BUILD_CANCEL_QUEUED: &str = "UPDATE builds SET state = 'canceled', finished_at = $1, diagnosis = $2, \
     cancel_requested = TRUE WHERE id = $3 AND state = 'queued'";
const BUILDS_REQUEUE: &str = "UPDATE builds SET lease = NULL, started_at = NULL, \
     state = CASE WHEN cancel_requested THEN 'canceled' ELSE 'queued' END, \
     diagnosis = CASE WHEN cancel_requested THEN diagnosis ELSE NULL END, \
     finished_at = CASE WHEN cancel_requested THEN CAST($1 AS BIGINT) ELSE NULL END \
     WHERE state = 'running' AND lease <> $2 RETURNING id, space_id";
const BUILD_REQUEUE: &str = "UPDATE builds SET lease = NULL, started_at = NULL, \
     state = CASE WHEN cancel_requested THEN 'canceled' ELSE 'queued' END, \
     diagnosis = CASE WHEN cancel_requested THEN diagnosis ELSE NULL END, \
     finished_at = CASE WHEN cancel_requested THEN CAST($1 AS BIGINT) ELSE NULL END \
     WHERE id = $2 AND state = 'running' AND lease = $3";
const BUILD_REPEAT: &str = "UPDATE builds SET state = 'queued', cancel_requested = FALSE, queued_at = $1, \
     started_at = NULL, finished_at = NULL, diagnosis = NULL WHERE id = $2 AND state = 'canceled'";

impl Store {
    /// Asks for a build of a commit; asking again for the same `(space, sha, rebuild)` changes
    /// nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_add(
        &self,
        id: BuildId,
        space: SpaceId,
        sha: &CommitSha,
        rebuild: i64,
        no_cache: bool,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "build_add", db => sqlx::query(BUILD_ADD)
            .bind(id.to_string())
            .bind(space.to_string())
            .bind(sha.as_str())
            .bind(rebuild)
            .bind(no_cache)
            .bind(at.as_millis())
            .execute(db).map_ok(crate::Rows::rows))?;
        changed(tx, id, rows, at).await.map(|_| ())
    }

    /// By id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_by_id(&self, id: BuildId) -> Result<Option<Build>, StoreError> {
        run!(self, "build_by_id", db => sqlx::query_as::<_, BuildRow>(BUILD_BY_ID)
            .bind(id.to_string()).fetch_optional(db))?
        .map(BuildRow::into_build)
        .transpose()
    }

    /// The build of a commit.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_of(&self, space: SpaceId, sha: &CommitSha, rebuild: i64) -> Result<Option<Build>, StoreError> {
        run!(self, "build_of", db => sqlx::query_as::<_, BuildRow>(BUILD_OF)
            .bind(space.to_string()).bind(sha.as_str()).bind(rebuild).fetch_optional(db))?
        .map(BuildRow::into_build)
        .transpose()
    }

    /// A build by its number within the Space.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_by_number(&self, space: SpaceId, number: i64) -> Result<Option<Build>, StoreError> {
        run!(self, "build_by_number", db => sqlx::query_as::<_, BuildRow>(BUILD_BY_NUMBER)
            .bind(space.to_string()).bind(number).fetch_optional(db))?
        .map(BuildRow::into_build)
        .transpose()
    }

    /// The newest builds of a Space, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builds_of(&self, space: SpaceId, limit: i64) -> Result<Vec<Build>, StoreError> {
        run!(self, "builds_of", db => sqlx::query_as::<_, BuildRow>(BUILDS_OF)
            .bind(space.to_string()).bind(limit).fetch_all(db))?
        .into_iter()
        .map(BuildRow::into_build)
        .collect()
    }

    /// The newest build that succeeded.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_last_good(&self, space: SpaceId) -> Result<Option<Build>, StoreError> {
        run!(self, "build_last_good", db => sqlx::query_as::<_, BuildRow>(BUILD_LAST_GOOD)
            .bind(space.to_string()).fetch_optional(db))?
        .map(BuildRow::into_build)
        .transpose()
    }

    /// Everything that waits or runs, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builds_unfinished(&self) -> Result<Vec<Build>, StoreError> {
        run!(self, "builds_unfinished", db => sqlx::query_as::<_, BuildRow>(BUILDS_UNFINISHED).fetch_all(db))?
            .into_iter()
            .map(BuildRow::into_build)
            .collect()
    }

    /// Takes a waiting build; `false` when somebody else has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_claim(&self, id: BuildId, lease: &str, at: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "build_claim", db => sqlx::query(BUILD_CLAIM)
            .bind(lease).bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        changed(tx, id, rows, at).await
    }

    /// Says what a waiting build waits for; `false` when it does not wait any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_waits(&self, id: BuildId, why: &Diagnosis) -> Result<bool, StoreError> {
        run!(self, "build_waits", db => sqlx::query(BUILD_WAITS)
            .bind(to_json(why)).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// Says what a running build is doing; `false` when the lease is lost or the build shall end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_progress(&self, id: BuildId, lease: &str, doing: &Diagnosis) -> Result<bool, StoreError> {
        run!(self, "build_progress", db => sqlx::query(BUILD_PROGRESS)
            .bind(to_json(doing)).bind(id.to_string()).bind(lease).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// Ends a build; `false` when the lease is lost, and then nothing was written.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_finish(&self, id: BuildId, lease: &str, end: &BuildEnd) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "build_finish", db => sqlx::query(BUILD_FINISH)
            .bind(end.state.as_str())
            .bind(end.at.as_millis())
            .bind(end.diagnosis.as_ref().map(to_json))
            .bind(end.artifact.as_ref().map(to_json))
            .bind(to_json(&end.phases))
            .bind(id.to_string())
            .bind(lease)
            .execute(db).map_ok(crate::Rows::rows))?;
        changed(tx, id, rows, end.at).await
    }

    /// Asks a build to end. A waiting one ends here and now with `why`; a running one is ended by
    /// its worker, which finds `why` as its diagnosis. The first who asks is the one who is heard.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_cancel(&self, id: BuildId, why: &Diagnosis, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "build_cancel_queued", db => sqlx::query(BUILD_CANCEL_QUEUED)
            .bind(at.as_millis()).bind(to_json(why)).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        changed(tx, id, rows, at).await?;
        run!(self, "build_cancel_request", db => sqlx::query(BUILD_CANCEL_REQUEST)
            .bind(to_json(why)).bind(id.to_string()).execute(db).map_ok(crate::unit))
    }

    /// Puts a canceled build into the queue once more; any other is left alone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_repeat(&self, id: BuildId, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "build_repeat", db => sqlx::query(BUILD_REPEAT)
            .bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        changed(tx, id, rows, at).await.map(|_| ())
    }

    /// Puts builds back into the queue whose worker is gone: every running one with another lease.
    /// Those that shall end are canceled. Returns the Spaces they belong to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builds_requeue(&self, own_lease: &str, at: Timestamp) -> Result<Vec<SpaceId>, StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "builds_requeue", db => sqlx::query_as::<_, (String, String)>(BUILDS_REQUEUE)
            .bind(at.as_millis()).bind(own_lease).fetch_all(db))?;
        let mut spaces = Vec::with_capacity(rows.len());
        for (id, space) in rows {
            tell_build(&mut tx, text("builds.id", &id)?, at).await?;
            spaces.push(text("builds.space_id", &space)?);
        }
        tx.commit().await?;
        Ok(spaces)
    }

    /// Puts one's own build back into the queue; one that shall end is canceled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_requeue(&self, id: BuildId, lease: &str, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "build_requeue", db => sqlx::query(BUILD_REQUEUE)
            .bind(at.as_millis()).bind(id.to_string()).bind(lease).execute(db).map_ok(crate::Rows::rows))?;
        changed(tx, id, rows, at).await.map(|_| ())
    }
}

/// Ends a transaction that may have changed the state of a build: webhooks are told of it. Gives whether
/// it changed.
async fn changed(mut tx: Tx, id: BuildId, rows: u64, at: Timestamp) -> Result<bool, StoreError> {
    if rows == 1 {
        tell_build(&mut tx, id, at).await?;
    }
    tx.commit().await?;
    Ok(rows == 1)
}
