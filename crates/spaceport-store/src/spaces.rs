//! Spaces: identity, desired state, and the stage last computed.

use std::convert::Infallible;

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::space::{Desired, DesiredRun, Inspection, Space, Visibility};
use spaceport_core::webhook::Change;
use spaceport_core::{
    AccountId, CommitSha, Diagnosis, FlavorName, Generation, RepoId, RepoKind, RepoName, Sdk, SpaceId, SpaceStage,
    Subdomain, Timestamp, Volume,
};

use crate::hook_events::tell;
use crate::repos::{self, NewRepo};
use crate::rows::{json, json_opt, text, to_json};
use crate::{Secret, Store, StoreError, Tx, Variable, exists, moves, objects, run, run_tx};

/// A Space to be created.
#[derive(Debug)]
pub struct NewSpace {
    /// Identity.
    pub id: SpaceId,
    /// `owner/name`.
    pub name: RepoName,
    /// The account it belongs to.
    pub owner: AccountId,
    /// Who creates it.
    pub creator: AccountId,
    /// Who may see it.
    pub visibility: Visibility,
    /// SDK.
    pub sdk: Sdk,
    /// Hardware.
    pub hardware: FlavorName,
    /// Seconds until it may sleep.
    pub sleep_after_s: Option<i64>,
    /// First variables.
    pub variables: Vec<(String, Variable)>,
    /// First secrets.
    pub secrets: Vec<(String, Secret)>,
    /// First volumes.
    pub volumes: Vec<Volume>,
    /// The commit `main` points to.
    pub head: Option<CommitSha>,
    /// Whether that commit has the file that starts an app; one without is told so from the beginning.
    pub has_app: bool,
    /// Now.
    pub at: Timestamp,
}

#[derive(FromRow)]
struct SpaceRow {
    id: String,
    owner_id: String,
    creator_id: String,
    name: String,
    subdomain: String,
    visibility: String,
    sdk: String,
    created_at: i64,
    updated_at: i64,
    generation: i64,
    run: String,
    head: Option<String>,
    rebuild: i64,
    no_cache: bool,
    restart: i64,
    settings: i64,
    hardware: String,
    sleep_after_s: Option<i64>,
    stage: String,
    diagnosis: Option<String>,
}

impl SpaceRow {
    fn into_space(self) -> Result<Space, StoreError> {
        Ok(Space {
            id: text("spaces.id", &self.id)?,
            name: text("spaces.name", &self.name)?,
            owner: text("spaces.owner_id", &self.owner_id)?,
            creator: text("spaces.creator_id", &self.creator_id)?,
            subdomain: Subdomain::from_stored(self.subdomain),
            visibility: text("spaces.visibility", &self.visibility)?,
            sdk: text("spaces.sdk", &self.sdk)?,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
            desired: Desired {
                generation: Generation(self.generation),
                run: text("spaces.run", &self.run)?,
                head: self.head.map(|sha| text("spaces.head", &sha)).transpose()?,
                rebuild: self.rebuild,
                no_cache: self.no_cache,
                restart: self.restart,
                settings: self.settings,
                hardware: FlavorName(self.hardware),
                sleep_after_s: self.sleep_after_s,
            },
            stage: text("spaces.stage", &self.stage)?,
            diagnosis: json_opt("spaces.diagnosis", self.diagnosis.as_ref())?,
        })
    }
}

const SPACE_CREATE: &str = "INSERT INTO spaces (id, subdomain, sdk, generation, run, rebuild, no_cache, restart, \
     settings, hardware, sleep_after_s, volumes, stage) VALUES ($1, $2, $3, 1, 'running', 0, FALSE, 0, 0, $4, $5, $6, $7)";
const VARIABLE_ADD: &str =
    "INSERT INTO variables (space_id, name, value, description, updated_at) VALUES ($1, $2, $3, $4, $5)";
const SECRET_ADD: &str =
    "INSERT INTO secrets (space_id, name, sealed, description, updated_at) VALUES ($1, $2, $3, $4, $5)";
/// A Space with what it has as a repository; `$w` is a condition.
macro_rules! space_where {
    ($w:literal) => {
        concat!(
            "SELECT r.id, r.owner_id, r.creator_id, r.name, r.visibility, r.created_at, r.updated_at, r.head, \
             s.subdomain, s.sdk, s.generation, s.run, s.rebuild, s.no_cache, s.restart, s.settings, s.hardware, \
             s.sleep_after_s, s.stage, s.diagnosis FROM spaces s JOIN repos r ON r.id = s.id WHERE ",
            $w
        )
    };
}
const SPACE_BY_ID: &str = space_where!("s.id = $1");
const SPACE_BY_NAME: &str = space_where!("r.name_key = $1");
const SPACE_BY_SUBDOMAIN: &str = space_where!("s.subdomain = $1");
const SPACE_MOVED_FROM: &str = space_where!("s.id = (SELECT f.space_id FROM former_labels f WHERE f.label = $1)");
const SPACE_IDS: &str = "SELECT id FROM spaces ORDER BY id";
const SPACE_SET_DESIRED: &str = "UPDATE spaces SET run = $1, rebuild = $2, no_cache = $3, restart = $4, \
     hardware = $5, sleep_after_s = $6, generation = generation + 1 WHERE id = $7 AND generation = $8";
const SPACE_STAGE: &str = "SELECT stage FROM spaces WHERE id = $1";
const SPACE_SET_STAGE: &str = "UPDATE spaces SET stage = $1, diagnosis = $2 WHERE id = $3";
const SPACE_DOOM: &str = "UPDATE spaces SET run = 'deleting', stage = 'DELETING', diagnosis = NULL, \
     subdomain = id, generation = generation + 1 WHERE id = $1 AND run <> 'deleting'";
/// A name that begins with `!` belongs to a repository that is going away: nobody finds it.
const REPO_DOOM: &str = "UPDATE repos SET name_key = '!' || id, updated_at = $1 WHERE id = $2";
const REDIRECTS_FORGET: &str = "DELETE FROM redirects WHERE repo_id = $1";
const SPACE_DELETE: &str = "DELETE FROM repos WHERE id = $1 AND id IN (SELECT id FROM spaces WHERE run = 'deleting')";
const REVISION: &str = "SELECT inspection FROM revisions WHERE space_id = $1 AND sha = $2";
const REVISION_ADD: &str = "INSERT INTO revisions (space_id, sha, inspection, created_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (space_id, sha) DO UPDATE SET inspection = excluded.inspection";

async fn create(tx: &mut Tx, new: &NewSpace) -> Result<(NewRepo, Subdomain), StoreError> {
    let subdomain = moves::take_label(tx, new.id, &new.name).await?;
    let stage = if new.has_app { SpaceStage::Building } else { SpaceStage::NoAppFile };
    let repo = NewRepo {
        id: new.id.into(),
        kind: RepoKind::Space,
        name: new.name.clone(),
        owner: new.owner,
        creator: new.creator,
        visibility: new.visibility,
        head: new.head.clone(),
        at: new.at,
    };
    repos::create(tx, &repo).await?;
    run_tx!(tx, "space_create", db => sqlx::query(SPACE_CREATE)
        .bind(new.id.to_string())
        .bind(subdomain.as_str())
        .bind(new.sdk.as_str())
        .bind(&new.hardware.0)
        .bind(new.sleep_after_s)
        .bind(to_json(&new.volumes))
        .bind(stage.as_str())
        .execute(db).map_ok(crate::unit))
    .map_err(exists("a Space with this host name"))?;
    for (name, variable) in &new.variables {
        run_tx!(tx, "variable_add", db => sqlx::query(VARIABLE_ADD)
            .bind(new.id.to_string())
            .bind(name)
            .bind(&variable.value)
            .bind(&variable.description)
            .bind(variable.updated_at.as_millis())
            .execute(db).map_ok(crate::unit))?;
    }
    for (name, secret) in &new.secrets {
        run_tx!(tx, "secret_add", db => sqlx::query(SECRET_ADD)
            .bind(new.id.to_string())
            .bind(name)
            .bind(&secret.sealed)
            .bind(&secret.description)
            .bind(secret.updated_at.as_millis())
            .execute(db).map_ok(crate::unit))?;
    }
    Ok((repo, subdomain))
}

impl Store {
    /// Creates a Space with its first settings, all or nothing, and says which host label it got.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken, whatever its case.
    pub async fn space_create(&self, new: &NewSpace) -> Result<Subdomain, StoreError> {
        let mut tx = self.begin().await?;
        let (_, subdomain) = create(&mut tx, new).await?;
        tell(&mut tx, new.id.into(), new.at, &Change::RepoCreated).await?;
        tx.commit().await?;
        Ok(subdomain)
    }

    /// As [`Store::space_create`], with the large files of another repository.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken, whatever its case.
    pub async fn space_create_copy(&self, new: &NewSpace, of: RepoId) -> Result<Subdomain, StoreError> {
        let mut tx = self.begin().await?;
        let (repo, subdomain) = create(&mut tx, new).await?;
        objects::copy(&mut tx, &repo, of).await?;
        tell(&mut tx, new.id.into(), new.at, &Change::RepoCreated).await?;
        tx.commit().await?;
        Ok(subdomain)
    }

    /// By id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn space_by_id(&self, id: SpaceId) -> Result<Option<Space>, StoreError> {
        self.space_by(SPACE_BY_ID, &id.to_string()).await
    }

    /// By name, whatever its case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn space_by_name(&self, name: &RepoName) -> Result<Option<Space>, StoreError> {
        self.space_by(SPACE_BY_NAME, &RepoKind::Space.key(name)).await
    }

    /// By host label.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn space_by_subdomain(&self, subdomain: &str) -> Result<Option<Space>, StoreError> {
        self.space_by(SPACE_BY_SUBDOMAIN, &subdomain.to_ascii_lowercase()).await
    }

    /// The Space whose app had this host label before it moved.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn space_moved_from(&self, subdomain: &str) -> Result<Option<Space>, StoreError> {
        self.space_by(SPACE_MOVED_FROM, &subdomain.to_ascii_lowercase()).await
    }

    async fn space_by(&self, sql: &'static str, key: &str) -> Result<Option<Space>, StoreError> {
        run!(self, "space_by", db => sqlx::query_as::<_, SpaceRow>(sql).bind(key).fetch_optional(db))?
            .map(SpaceRow::into_space)
            .transpose()
    }

    /// The ids of all Spaces.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn space_ids(&self) -> Result<Vec<SpaceId>, StoreError> {
        run!(self, "space_ids", db => sqlx::query_as::<_, (String,)>(SPACE_IDS).fetch_all(db))?
            .iter()
            .map(|(id,)| text("spaces.id", id))
            .collect()
    }

    /// Writes a new desired state over the one that was `seen`; `false` means that somebody else
    /// changed the Space first. `settings` is not written: variables and secrets raise it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn space_set_desired(
        &self,
        id: SpaceId,
        to: &Desired,
        seen: Generation,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "space_set_desired", db => sqlx::query(SPACE_SET_DESIRED)
            .bind(to.run.as_str())
            .bind(to.rebuild)
            .bind(to.no_cache)
            .bind(to.restart)
            .bind(&to.hardware.0)
            .bind(to.sleep_after_s)
            .bind(id.to_string())
            .bind(seen.0)
            .execute(db).map_ok(crate::Rows::rows))?;
        if rows != 1 {
            return Ok(false);
        }
        if let Some(head) = &to.head {
            repos::set_head(&mut tx, id.into(), head, at).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Reads, changes and writes the desired state until nobody was faster. `None` when the
    /// Space is gone or being deleted; the Space as it was written otherwise.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn space_change(
        &self,
        id: SpaceId,
        at: Timestamp,
        change: impl Fn(&mut Desired) + Send + Sync,
    ) -> Result<Option<Space>, StoreError> {
        let always = |desired: &mut Desired| -> Result<(), Infallible> {
            change(desired);
            Ok(())
        };
        match self.space_try_change(id, at, always).await? {
            Ok(space) => Ok(space),
            Err(never) => match never {},
        }
    }

    /// As [`Store::space_change`], for a change that may be refused: whoever decides sees what the
    /// change is made to, however many others change it at the same time.
    ///
    /// # Errors
    /// When the database fails; the inner error is the refusal, with which nothing was written.
    pub async fn space_try_change<E>(
        &self,
        id: SpaceId,
        at: Timestamp,
        change: impl Fn(&mut Desired) -> Result<(), E> + Send + Sync,
    ) -> Result<Result<Option<Space>, E>, StoreError> {
        loop {
            let Some(mut space) = self.space_by_id(id).await? else { return Ok(Ok(None)) };
            if space.desired.run == DesiredRun::Deleting {
                return Ok(Ok(None));
            }
            let seen = space.desired.generation;
            let before = space.desired.clone();
            if let Err(refusal) = change(&mut space.desired) {
                return Ok(Err(refusal));
            }
            if space.desired == before {
                return Ok(Ok(Some(space)));
            }
            if self.space_set_desired(id, &space.desired, seen, at).await? {
                space.desired.generation = Generation(seen.0 + 1);
                if space.desired.head != before.head {
                    space.updated_at = at;
                }
                return Ok(Ok(Some(space)));
            }
        }
    }

    /// Keeps the stage last computed, for lists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn space_set_stage(
        &self,
        id: SpaceId,
        stage: SpaceStage,
        diagnosis: Option<&Diagnosis>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let before = run_tx!(&mut tx, "space_stage", db => sqlx::query_as::<_, (String,)>(SPACE_STAGE)
            .bind(id.to_string()).fetch_optional(db))?;
        run_tx!(&mut tx, "space_set_stage", db => sqlx::query(SPACE_SET_STAGE)
            .bind(stage.as_str())
            .bind(diagnosis.map(to_json))
            .bind(id.to_string())
            .execute(db).map_ok(crate::unit))?;
        if before.is_some_and(|(before,)| before != stage.as_str()) {
            let change = Change::Stage { stage, diagnosis: diagnosis.cloned() };
            tell(&mut tx, id.into(), at, &change).await?;
        }
        tx.commit().await
    }

    /// Marks a Space for deletion and frees its name and host label at once, so that both can be
    /// used again while the rest of it goes; `false` when that was done before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn space_doom(&self, id: SpaceId, at: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        tell(&mut tx, id.into(), at, &Change::RepoDeleted).await?;
        // The repository's row first, as a move does: two that lock in one order never wait for each other.
        run_tx!(&mut tx, "repo_doom", db => sqlx::query(REPO_DOOM)
            .bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::unit))?;
        let rows = run_tx!(&mut tx, "space_doom", db => sqlx::query(SPACE_DOOM)
            .bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        if rows != 1 {
            return Ok(false);
        }
        run_tx!(&mut tx, "redirects_forget", db => sqlx::query(REDIRECTS_FORGET)
            .bind(id.to_string()).execute(db).map_ok(crate::unit))?;
        moves::forget_labels(&mut tx, id).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Forgets a Space that is being deleted, with everything that hangs on it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn space_delete(&self, id: SpaceId) -> Result<(), StoreError> {
        run!(self, "space_delete", db => sqlx::query(SPACE_DELETE).bind(id.to_string()).execute(db).map_ok(crate::unit))
    }

    /// What a commit turned out to be, if it was inspected.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revision(&self, space: SpaceId, sha: &CommitSha) -> Result<Option<Inspection>, StoreError> {
        run!(self, "revision", db => sqlx::query_as::<_, (String,)>(REVISION)
            .bind(space.to_string()).bind(sha.as_str()).fetch_optional(db))?
        .map(|(inspection,)| json("revisions.inspection", &inspection))
        .transpose()
    }

    /// Records what a commit turned out to be.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revision_add(
        &self,
        space: SpaceId,
        sha: &CommitSha,
        inspection: &Inspection,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        run!(self, "revision_add", db => sqlx::query(REVISION_ADD)
            .bind(space.to_string())
            .bind(sha.as_str())
            .bind(to_json(inspection))
            .bind(at.as_millis())
            .execute(db).map_ok(crate::unit))
    }
}
