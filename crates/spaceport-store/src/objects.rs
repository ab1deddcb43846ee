//! Which repository has which large file: the right to read it.
//!
//! A row is made when a file is uploaded to a repository, by somebody who had its bytes, and again
//! when a commit takes it over from a repository its author may read. Rows of uploads that no
//! commit followed go after a while; rows of committed files stay with the repository, whatever
//! becomes of its branches, until they are removed by name.

use std::collections::HashSet;
use std::fmt::Write as _;

use futures::TryFutureExt;
use sqlx::{AssertSqlSafe, FromRow};

use spaceport_core::{AccountId, Repo, RepoId, Sha256, Timestamp};

use crate::repos::{NewRepo, RepoRow};
use crate::rows::text;
use crate::{Store, StoreError, Tx, run, run_tx};

/// Placeholders of one query; SQLite takes 32766.
const AT_ONCE: usize = 1000;

/// A large file that came to a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewObject {
    /// Its name.
    pub sha256: Sha256,
    /// Its length, in bytes.
    pub size: u64,
    /// The hash by which Xet clients ask for it.
    pub xet: Option<String>,
}

/// A large file that a repository has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoObject {
    /// Its name.
    pub sha256: Sha256,
    /// Its length, in bytes.
    pub size: u64,
    /// The hash by which Xet clients ask for it.
    pub xet: Option<String>,
    /// A path at which a commit has it.
    pub path: Option<String>,
    /// Who uploaded it to this repository last.
    pub uploader: Option<AccountId>,
    /// When it came.
    pub pushed_at: Timestamp,
    /// Whether it is in a commit.
    pub is_committed: bool,
}

#[derive(FromRow)]
struct ObjectRow {
    sha256: String,
    size: i64,
    xet: Option<String>,
    path: Option<String>,
    uploader_id: Option<String>,
    pushed_at: i64,
    committed_at: Option<i64>,
}

impl ObjectRow {
    fn into_object(self) -> Result<RepoObject, StoreError> {
        Ok(RepoObject {
            sha256: text("repo_objects.sha256", &self.sha256)?,
            size: u64::try_from(self.size).unwrap_or(0),
            xet: self.xet,
            path: self.path,
            uploader: self.uploader_id.map(|id| text("repo_objects.uploader_id", &id)).transpose()?,
            pushed_at: Timestamp::from_millis(self.pushed_at),
            is_committed: self.committed_at.is_some(),
        })
    }
}

// An upload of what is here already changes only who may commit it.
const OBJECT_UPLOADED: &str = "INSERT INTO repo_objects (repo_id, sha256, size, xet, uploader_id, pushed_at) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (repo_id, sha256) DO UPDATE SET \
     xet = COALESCE(excluded.xet, repo_objects.xet), uploader_id = excluded.uploader_id, pushed_at = excluded.pushed_at";
const OBJECT_FIRST_COMMITTED: &str = "UPDATE repo_objects SET committed_at = $1, path = COALESCE($2, path) \
     WHERE repo_id = $3 AND sha256 = $4 AND committed_at IS NULL";
// The time moves, by which whoever was first sees that somebody else relies on the file as well.
const OBJECT_COMMITTED: &str = "UPDATE repo_objects SET committed_at = committed_at + 1, path = COALESCE($1, path) \
     WHERE repo_id = $2 AND sha256 = $3";
const OBJECT_GIVE_BACK: &str = "UPDATE repo_objects SET committed_at = NULL, pushed_at = $1 \
     WHERE repo_id = $2 AND sha256 = $3 AND committed_at = $4";
const OBJECT_REPOS: &str = "SELECT r.* FROM repo_objects o JOIN repos r ON r.id = o.repo_id \
     WHERE o.sha256 = $1 AND o.committed_at IS NOT NULL AND r.name_key NOT LIKE '!%' \
     ORDER BY r.visibility DESC, r.id LIMIT $2";
const OBJECTS_PAGE: &str = "SELECT * FROM repo_objects WHERE repo_id = $1 AND committed_at IS NOT NULL AND sha256 > $2 \
     ORDER BY sha256 LIMIT $3";
const OBJECTS_COPY: &str = "INSERT INTO repo_objects (repo_id, sha256, size, xet, path, uploader_id, pushed_at, \
     committed_at) SELECT CAST($1 AS TEXT), sha256, size, xet, path, CAST($2 AS TEXT), CAST($3 AS BIGINT), \
     CAST($3 AS BIGINT) FROM repo_objects WHERE repo_id = $4 AND committed_at IS NOT NULL";
const OBJECT_REMOVE: &str = "DELETE FROM repo_objects WHERE repo_id = $1 AND sha256 = $2";
const UPLOADS_FORGET: &str = "DELETE FROM repo_objects WHERE committed_at IS NULL AND pushed_at < $1";
const OBJECT_NAMES: &str = "SELECT sha256 FROM repo_objects WHERE repo_id = $1 AND committed_at IS NOT NULL";
const OBJECTS_LIVE: &str = "SELECT DISTINCT sha256 FROM repo_objects";
const REPO_STORAGE: &str = "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM repo_objects \
     WHERE repo_id = $1 AND committed_at IS NOT NULL";

/// What a copy has from the beginning: every file that a commit of the other one has.
pub(crate) async fn copy(tx: &mut Tx, to: &NewRepo, from: RepoId) -> Result<(), StoreError> {
    run_tx!(tx, "objects_copy", db => sqlx::query(OBJECTS_COPY)
        .bind(to.id.to_string())
        .bind(to.creator.to_string())
        .bind(to.at.as_millis())
        .bind(from.to_string())
        .execute(db).map_ok(crate::unit))
}

impl Store {
    /// Records that somebody who had the bytes of a file uploaded it to a repository.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn object_uploaded(
        &self,
        repo: RepoId,
        object: &NewObject,
        uploader: AccountId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        run!(self, "object_uploaded", db => sqlx::query(OBJECT_UPLOADED)
            .bind(repo.to_string())
            .bind(object.sha256.to_string())
            .bind(i64::try_from(object.size).unwrap_or(i64::MAX))
            .bind(object.xet.clone())
            .bind(uploader.to_string())
            .bind(at.as_millis())
            .execute(db).map_ok(crate::unit))
    }

    /// Those of these files that a repository has, in no order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_objects(&self, repo: RepoId, names: &[Sha256]) -> Result<Vec<RepoObject>, StoreError> {
        let mut found = Vec::new();
        for names in names.chunks(AT_ONCE) {
            let mut sql = "SELECT * FROM repo_objects WHERE repo_id = $1 AND sha256 IN (".to_owned();
            for number in 0..names.len() {
                // Writing to a string cannot fail.
                let _ = write!(sql, "{}${}", if number == 0 { "" } else { ", " }, number + 2);
            }
            sql.push(')');
            // Only placeholders are put together here.
            let rows = run!(self, "repo_objects", db => {
                let mut query = sqlx::query_as::<_, ObjectRow>(AssertSqlSafe(sql)).bind(repo.to_string());
                for name in names {
                    query = query.bind(name.to_string());
                }
                query.fetch_all(db)
            })?;
            for row in rows {
                found.push(row.into_object()?);
            }
        }
        Ok(found)
    }

    /// Records that a commit has these files, with a path of each. Gives those that were in none before.
    ///
    /// # Errors
    /// When the database fails; then nothing is recorded.
    pub async fn objects_committed(
        &self,
        repo: RepoId,
        objects: &[(Sha256, Option<String>)],
        at: Timestamp,
    ) -> Result<Vec<Sha256>, StoreError> {
        let mut first = Vec::new();
        let mut tx = self.begin().await?;
        for (name, path) in objects {
            let rows = run_tx!(&mut tx, "object_first_committed", db => sqlx::query(OBJECT_FIRST_COMMITTED)
                .bind(at.as_millis())
                .bind(path.clone())
                .bind(repo.to_string())
                .bind(name.to_string())
                .execute(db).map_ok(crate::Rows::rows))?;
            if rows == 1 {
                first.push(*name);
            } else if !first.contains(name) {
                run_tx!(&mut tx, "object_committed", db => sqlx::query(OBJECT_COMMITTED)
                    .bind(path.clone())
                    .bind(repo.to_string())
                    .bind(name.to_string())
                    .execute(db).map_ok(crate::unit))?;
            }
        }
        tx.commit().await?;
        Ok(first)
    }

    /// Takes back that files are in a commit, for the one that was first to have them, at that time, and was not
    /// made. Those that another commit relies on meanwhile stay; the others are uploads from now on.
    ///
    /// # Errors
    /// When the database fails; then nothing is taken back.
    pub async fn objects_give_back(
        &self,
        repo: RepoId,
        first: &[Sha256],
        committed_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for name in first {
            run_tx!(&mut tx, "object_give_back", db => sqlx::query(OBJECT_GIVE_BACK)
                .bind(now.as_millis())
                .bind(repo.to_string())
                .bind(name.to_string())
                .bind(committed_at.as_millis())
                .execute(db).map_ok(crate::unit))?;
        }
        tx.commit().await
    }

    /// Repositories that have a file in a commit, public ones first, at most `limit` of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn object_repos(&self, name: Sha256, limit: i64) -> Result<Vec<Repo>, StoreError> {
        run!(self, "object_repos", db => sqlx::query_as::<_, RepoRow>(OBJECT_REPOS)
            .bind(name.to_string()).bind(limit).fetch_all(db))?
        .into_iter()
        .map(RepoRow::into_repo)
        .collect()
    }

    /// The committed files of a repository, by name, after this one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_objects_page(
        &self,
        repo: RepoId,
        after: Option<Sha256>,
        limit: i64,
    ) -> Result<Vec<RepoObject>, StoreError> {
        run!(self, "repo_objects_page", db => sqlx::query_as::<_, ObjectRow>(OBJECTS_PAGE)
            .bind(repo.to_string())
            .bind(after.map_or(String::new(), |name| name.to_string()))
            .bind(limit)
            .fetch_all(db))?
        .into_iter()
        .map(ObjectRow::into_object)
        .collect()
    }

    /// The names of the committed files of a repository.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_object_names(&self, repo: RepoId) -> Result<HashSet<Sha256>, StoreError> {
        run!(self, "repo_object_names", db => sqlx::query_as::<_, (String,)>(OBJECT_NAMES)
            .bind(repo.to_string()).fetch_all(db))?
        .iter()
        .map(|(name,)| text("repo_objects.sha256", name))
        .collect()
    }

    /// Takes a file from a repository; `false` when it did not have it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_object_remove(&self, repo: RepoId, name: Sha256) -> Result<bool, StoreError> {
        run!(self, "repo_object_remove", db => sqlx::query(OBJECT_REMOVE)
            .bind(repo.to_string()).bind(name.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows > 0)
    }

    /// Forgets uploads before this time that no commit followed. Says how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn object_uploads_forget(&self, before: Timestamp) -> Result<u64, StoreError> {
        run!(self, "object_uploads_forget", db => sqlx::query(UPLOADS_FORGET)
            .bind(before.as_millis()).execute(db).map_ok(crate::Rows::rows))
    }

    /// Every file that any repository has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn objects_live(&self) -> Result<HashSet<Sha256>, StoreError> {
        run!(self, "objects_live", db => sqlx::query_as::<_, (String,)>(OBJECTS_LIVE).fetch_all(db))?
            .iter()
            .map(|(name,)| text("repo_objects.sha256", name))
            .collect()
    }

    /// Bytes of the committed large files of a repository. Hub: `usedStorage`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_storage(&self, repo: RepoId) -> Result<u64, StoreError> {
        run!(self, "repo_storage", db => sqlx::query_as::<_, (i64,)>(REPO_STORAGE).bind(repo.to_string()).fetch_one(db))
            .map(|(bytes,)| u64::try_from(bytes).unwrap_or(0))
    }
}
