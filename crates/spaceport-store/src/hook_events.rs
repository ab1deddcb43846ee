//! What webhooks shall be told: written with the change itself, in the same transaction, and only when
//! somebody watches. So nothing is lost to a crash, and a site without webhooks writes nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::space::Build;
use spaceport_core::webhook::{BuildThen, Change, Delivery, HookEvent, MovedRef, RepoThen};
use spaceport_core::{BuildId, HookEventId, RepoId, Subdomain, Timestamp};

use crate::builds::BuildRow;
use crate::rows::{json, random, text, to_json};
use crate::{Store, StoreError, Tx, deliveries, run, run_tx};

#[derive(FromRow)]
struct WatchedRepo {
    id: String,
    kind: String,
    name: String,
    owner_id: String,
    creator_id: String,
    visibility: String,
    head: Option<String>,
    subdomain: Option<String>,
}

impl WatchedRepo {
    fn into_repo(self) -> Result<RepoThen, StoreError> {
        Ok(RepoThen {
            id: text("repos.id", &self.id)?,
            kind: text("repos.kind", &self.kind)?,
            name: text("repos.name", &self.name)?,
            owner: text("repos.owner_id", &self.owner_id)?,
            creator: text("repos.creator_id", &self.creator_id)?,
            visibility: text("repos.visibility", &self.visibility)?,
            head: self.head.map(|sha| text("repos.head", &sha)).transpose()?,
            subdomain: self.subdomain.map(Subdomain::from_stored),
        })
    }
}

#[derive(FromRow)]
struct HookEventRow {
    id: String,
    at: i64,
    repo: String,
    change: String,
}

impl HookEventRow {
    fn into_event(self) -> Result<HookEvent, StoreError> {
        Ok(HookEvent {
            id: text("hook_events.id", &self.id)?,
            at: Timestamp::from_millis(self.at),
            repo: json("hook_events.repo", &self.repo)?,
            change: json("hook_events.change", &self.change)?,
        })
    }
}

const REPO_WATCHED: &str = "SELECT r.id, r.kind, r.name, r.owner_id, r.creator_id, r.visibility, r.head, s.subdomain \
     FROM repos r LEFT JOIN spaces s ON s.id = r.id WHERE r.id = $1 AND r.name_key NOT LIKE '!%' \
     AND EXISTS (SELECT 1 FROM watched w WHERE w.target_id IN (r.id, r.owner_id))";
const HOOK_EVENT_ADD: &str =
    "INSERT INTO hook_events (id, repo_id, owner_id, at, repo, change) VALUES ($1, $2, $3, $4, $5, $6)";
const HOOK_EVENTS: &str = "SELECT id, at, repo, change FROM hook_events ORDER BY at, id LIMIT $1";
const HOOK_EVENT_DONE: &str = "DELETE FROM hook_events WHERE id = $1";
const BUILD_BY_ID: &str = "SELECT * FROM builds WHERE id = $1";

/// Tells events of one millisecond apart, so that they are told in the order in which they were written.
static SEQUENCE: AtomicU32 = AtomicU32::new(0);

/// An id that comes after those this process made before it.
fn next_id(at: Timestamp) -> HookEventId {
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    HookEventId::new(at, u128::from(sequence) << 48 | random() >> 80)
}

/// Writes what happened to a repository, if somebody watches it. Called before what makes a repository
/// go away, after everything else.
pub(crate) async fn tell(tx: &mut Tx, repo: RepoId, at: Timestamp, change: &Change) -> Result<(), StoreError> {
    let watched = run_tx!(tx, "repo_watched", db => sqlx::query_as::<_, WatchedRepo>(REPO_WATCHED)
        .bind(repo.to_string()).fetch_optional(db))?;
    let Some(repo) = watched.map(WatchedRepo::into_repo).transpose()? else { return Ok(()) };
    run_tx!(tx, "hook_event_add", db => sqlx::query(HOOK_EVENT_ADD)
        .bind(next_id(at).to_string())
        .bind(repo.id.to_string())
        .bind(repo.owner.to_string())
        .bind(at.as_millis())
        .bind(to_json(&repo))
        .bind(to_json(change))
        .execute(db).map_ok(crate::unit))
}

/// Writes the state of a build, if somebody watches its Space.
pub(crate) async fn tell_build(tx: &mut Tx, id: BuildId, at: Timestamp) -> Result<(), StoreError> {
    let row = run_tx!(tx, "build_by_id", db => sqlx::query_as::<_, BuildRow>(BUILD_BY_ID)
        .bind(id.to_string()).fetch_optional(db))?;
    let Some(build) = row.map(BuildRow::into_build).transpose()? else { return Ok(()) };
    let space = build.space.into();
    let Build { id, number, sha, state, queued_at, started_at, finished_at, diagnosis, .. } = build;
    let then = BuildThen { id, number, sha, state, queued_at, started_at, finished_at, diagnosis };
    tell(tx, space, at, &Change::Build(then)).await
}

impl Store {
    /// Writes that refs other than `main` moved, if somebody watches the repository: `main` is told of when
    /// its head is recorded.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refs_moved(&self, repo: RepoId, refs: Vec<MovedRef>, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tell(&mut tx, repo, at, &Change::RefsMoved { refs }).await?;
        tx.commit().await
    }

    /// What nobody was told yet, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hook_events(&self, limit: i64) -> Result<Vec<HookEvent>, StoreError> {
        run!(self, "hook_events", db => sqlx::query_as::<_, HookEventRow>(HOOK_EVENTS).bind(limit).fetch_all(db))?
            .into_iter()
            .map(HookEventRow::into_event)
            .collect()
    }

    /// Turns an event into its deliveries, all or nothing; `false` when that was done before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hook_event_done(&self, event: HookEventId, deliveries: &[Delivery]) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "hook_event_done", db => sqlx::query(HOOK_EVENT_DONE)
            .bind(event.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        if rows != 1 {
            return Ok(false);
        }
        for delivery in deliveries {
            deliveries::add(&mut tx, delivery).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}
