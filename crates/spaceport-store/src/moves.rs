//! Repositories that get another name or another owner, and what leads from the old name to the new one.
//!
//! A repository is its id, so everything that hangs on it stays. Its old name, and of a Space the old host label,
//! lead to it until a new repository takes them.

use futures::TryFutureExt;

use spaceport_core::gpu::LeaseEnd;
use spaceport_core::webhook::Change;
use spaceport_core::{AccountId, Repo, RepoKind, RepoName, SpaceId, Subdomain, Timestamp};

use crate::hook_events::tell;
use crate::{Store, StoreError, Tx, exists, run, run_tx};

/// Host labels tried before giving up: collisions are rare, and each attempt has another suffix.
const LABEL_ATTEMPTS: u32 = 8;

const REPO_MOVE: &str = "UPDATE repos SET name = $1, name_key = $2, owner_id = $3, updated_at = $4 \
     WHERE id = $5 AND name_key = $6";
const REDIRECT_FORGET: &str = "DELETE FROM redirects WHERE name_key = $1";
const REDIRECT_ADD: &str = "INSERT INTO redirects (name_key, repo_id) VALUES ($1, $2) \
     ON CONFLICT (name_key) DO UPDATE SET repo_id = excluded.repo_id";
/// A label that another Space has, or had before it moved: programs and bookmarks still come there, unless the name
/// that it was made of is the one that is taken now.
const LABEL_TAKEN: &str = "SELECT (SELECT COUNT(*) FROM spaces WHERE subdomain = $1 AND id <> $2) + \
     (SELECT COUNT(*) FROM former_labels f WHERE f.label = $1 AND f.space_id <> $2 AND NOT EXISTS \
     (SELECT 1 FROM redirects r WHERE r.name_key = $3 AND r.repo_id = f.space_id))";
/// Hardware is one owner's: under another the Space asks for it anew.
const CLAIM_FORGET: &str = "UPDATE claims SET ended_at = $1, why = $2, generation = generation + 1 \
     WHERE space_id = $3 AND ended_at IS NULL";
const LABEL_OF: &str = "SELECT subdomain FROM spaces WHERE id = $1";
const LABEL_SET: &str = "UPDATE spaces SET subdomain = $1 WHERE id = $2";
const LABEL_FORGET: &str = "DELETE FROM former_labels WHERE label = $1";
const LABELS_FORGET: &str = "DELETE FROM former_labels WHERE space_id = $1";
const LABEL_LEFT: &str = "INSERT INTO former_labels (label, space_id) VALUES ($1, $2) \
     ON CONFLICT (label) DO UPDATE SET space_id = excluded.space_id";
const LABELS_LEFT: &str = "SELECT f.label, s.subdomain FROM former_labels f JOIN spaces s ON s.id = f.space_id \
     ORDER BY f.label";
/// What an app is told of its name is in its environment, so a new release is made.
const SPACE_RENAMED: &str = "UPDATE spaces SET settings = settings + 1, generation = generation + 1 WHERE id = $1";

/// What is asked for under a name that is given to a new repository belongs to that from now on.
pub(crate) async fn take_name(tx: &mut Tx, key: &str) -> Result<(), StoreError> {
    run_tx!(tx, "redirect_forget", db => sqlx::query(REDIRECT_FORGET).bind(key).execute(db).map_ok(crate::unit))
}

/// A host label for a Space of this name that no other Space has; whatever led from it to another Space ends. Asked
/// before [`take_name`].
pub(crate) async fn take_label(tx: &mut Tx, space: SpaceId, name: &RepoName) -> Result<Subdomain, StoreError> {
    let key = RepoKind::Space.key(name);
    let mut label = Subdomain::of(name, 0);
    for attempt in 1..LABEL_ATTEMPTS {
        let (taken,) = run_tx!(tx, "label_taken", db => sqlx::query_as::<_, (i64,)>(LABEL_TAKEN)
            .bind(label.as_str()).bind(space.to_string()).bind(&key).fetch_one(db))?;
        if taken == 0 {
            break;
        }
        label = Subdomain::of(name, attempt);
    }
    run_tx!(tx, "label_forget", db => sqlx::query(LABEL_FORGET)
        .bind(label.as_str()).execute(db).map_ok(crate::unit))?;
    Ok(label)
}

/// Nothing leads to a Space that goes away.
pub(crate) async fn forget_labels(tx: &mut Tx, space: SpaceId) -> Result<(), StoreError> {
    run_tx!(tx, "labels_forget", db => sqlx::query(LABELS_FORGET)
        .bind(space.to_string()).execute(db).map_ok(crate::unit))
}

impl Store {
    /// Gives a repository another name, and perhaps another owner; what asks for the old one is led to it. The app
    /// of a Space gets the host label of the new name, and runs on until a release that knows it is ready. `false`
    /// when the repository was moved or deleted meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken.
    pub async fn repo_move(
        &self,
        repo: &Repo,
        to: &RepoName,
        owner: AccountId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (old, new) = (repo.kind.key(&repo.name), repo.kind.key(to));
        let mut tx = self.begin().await?;
        tell(&mut tx, repo.id, at, &Change::RepoMoved { to: to.clone(), owner }).await?;
        let rows = run_tx!(&mut tx, "repo_move", db => sqlx::query(REPO_MOVE)
            .bind(to.to_string())
            .bind(&new)
            .bind(owner.to_string())
            .bind(at.as_millis())
            .bind(repo.id.to_string())
            .bind(&old)
            .execute(db).map_ok(crate::Rows::rows))
        .map_err(exists("a repository of this name"))?;
        if rows != 1 {
            return Ok(false);
        }
        if repo.kind == RepoKind::Space && old != new {
            move_label(&mut tx, repo.id.into(), to).await?;
        }
        if old != new {
            take_name(&mut tx, &new).await?;
            run_tx!(&mut tx, "redirect_add", db => sqlx::query(REDIRECT_ADD)
                .bind(&old).bind(repo.id.to_string()).execute(db).map_ok(crate::unit))?;
        }
        if repo.kind == RepoKind::Space {
            if repo.owner != owner {
                run_tx!(&mut tx, "claim_forget", db => sqlx::query(CLAIM_FORGET)
                    .bind(at.as_millis()).bind(LeaseEnd::HardwareChanged.as_str()).bind(repo.id.to_string())
                    .execute(db).map_ok(crate::unit))?;
            }
            run_tx!(&mut tx, "space_renamed", db => sqlx::query(SPACE_RENAMED)
                .bind(repo.id.to_string()).execute(db).map_ok(crate::unit))?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Every host label that a Space had before it moved, with the one it has now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn former_labels(&self) -> Result<Vec<(Subdomain, Subdomain)>, StoreError> {
        let rows = run!(self, "labels_left", db => sqlx::query_as::<_, (String, String)>(LABELS_LEFT).fetch_all(db))?;
        let read = |(label, now)| (Subdomain::from_stored(label), Subdomain::from_stored(now));
        Ok(rows.into_iter().map(read).collect())
    }
}

async fn move_label(tx: &mut Tx, space: SpaceId, to: &RepoName) -> Result<(), StoreError> {
    let before = run_tx!(tx, "label_of", db => sqlx::query_as::<_, (String,)>(LABEL_OF)
        .bind(space.to_string()).fetch_optional(db))?;
    let Some((before,)) = before else { return Ok(()) };
    let label = take_label(tx, space, to).await?;
    if label.as_str() == before {
        return Ok(());
    }
    run_tx!(tx, "label_set", db => sqlx::query(LABEL_SET)
        .bind(label.as_str()).bind(space.to_string()).execute(db).map_ok(crate::unit))
    .map_err(exists("a Space with this host name"))?;
    run_tx!(tx, "label_left", db => sqlx::query(LABEL_LEFT)
        .bind(&before).bind(space.to_string()).execute(db).map_ok(crate::unit))
}
