//! What each account has of what quotas limit besides devices, and where in the quota tree it is.

use std::collections::HashMap;

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::account::AccountKind;
use spaceport_core::gpu::{Holding, QuotaPath};
use spaceport_core::{AccountId, RepoId};

use crate::rows::text;
use crate::{Store, StoreError, run, run_tx};

const HOLDINGS: &str = "SELECT owners.name AS owner, owners.kind AS kind, creators.name AS creator, \
     CAST(SUM(CASE WHEN spaces.run <> 'deleting' THEN 1 ELSE 0 END) AS BIGINT) AS spaces, \
     CAST(SUM(repos.git_bytes + COALESCE(large.bytes, 0)) AS BIGINT) AS bytes \
     FROM repos \
     JOIN accounts AS owners ON owners.id = repos.owner_id \
     JOIN accounts AS creators ON creators.id = repos.creator_id \
     LEFT JOIN spaces ON spaces.id = repos.id \
     LEFT JOIN (SELECT repo_id, CAST(SUM(size) AS BIGINT) AS bytes FROM repo_objects GROUP BY repo_id) AS large \
     ON large.repo_id = repos.id \
     GROUP BY owners.name, owners.kind, creators.name ORDER BY owners.name, creators.name";
const BUCKET_HOLDINGS: &str = "SELECT owners.name AS owner, owners.kind AS kind, owners.name AS creator, \
     CAST(0 AS BIGINT) AS spaces, CAST(SUM(buckets.bytes) AS BIGINT) AS bytes \
     FROM buckets JOIN accounts AS owners ON owners.id = buckets.owner_id \
     GROUP BY owners.name, owners.kind ORDER BY owners.name";
const BUCKETS_FORGET: &str = "DELETE FROM buckets";
const BUCKET_ADD: &str = "INSERT INTO buckets (owner_id, name, bytes) SELECT $1, $2, $3 \
     WHERE EXISTS (SELECT 1 FROM accounts WHERE id = $1)";
const REPO_SET_GIT_BYTES: &str = "UPDATE repos SET git_bytes = $1 WHERE id = $2 AND git_bytes <> $1";
const REPO_SIZES: &str = "SELECT repos.id AS id, repos.git_bytes AS git, \
     CAST(COALESCE((SELECT SUM(size) FROM repo_objects WHERE repo_id = repos.id AND committed_at IS NOT NULL), 0) AS BIGINT) \
     AS large FROM repos WHERE repos.owner_id = $1";
const QUOTA_PATH: &str = "SELECT owners.name AS owner, owners.kind AS kind, creators.name AS creator \
     FROM accounts AS owners JOIN accounts AS creators ON creators.id = $2 WHERE owners.id = $1";

/// What a bucket takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSize {
    /// Whose.
    pub owner: AccountId,
    /// Its name.
    pub name: String,
    /// How much.
    pub bytes: u64,
}

/// What a repository takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepoSize {
    /// Its git objects, when they were last measured; 0 before that.
    pub git_bytes: u64,
    /// Its committed large files.
    pub large_bytes: u64,
}

#[derive(FromRow)]
struct SizeRow {
    id: String,
    git: i64,
    large: i64,
}

#[derive(FromRow)]
struct HoldingRow {
    #[sqlx(flatten)]
    account: PathRow,
    spaces: i64,
    bytes: i64,
}

#[derive(FromRow)]
struct PathRow {
    owner: String,
    kind: String,
    creator: String,
}

impl PathRow {
    fn into_path(self) -> Result<QuotaPath, StoreError> {
        let kind: AccountKind = text("accounts.kind", &self.kind)?;
        Ok(QuotaPath::of_space(&self.owner, kind == AccountKind::Org, &self.creator))
    }

    /// Where what is the owner's, and no member's, counts.
    fn into_owner(self) -> Result<QuotaPath, StoreError> {
        let kind: AccountKind = text("accounts.kind", &self.kind)?;
        Ok(match kind {
            AccountKind::Org => QuotaPath(self.owner),
            AccountKind::User => QuotaPath::of_space(&self.owner, false, &self.owner),
        })
    }
}

impl Store {
    /// What each account has: whoever has nothing is not in the list. An account may be in it more than once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn holdings(&self) -> Result<Vec<Holding>, StoreError> {
        let rows = run!(self, "holdings", db => sqlx::query_as::<_, HoldingRow>(HOLDINGS).fetch_all(db))?;
        let buckets =
            run!(self, "bucket_holdings", db => sqlx::query_as::<_, HoldingRow>(BUCKET_HOLDINGS).fetch_all(db))?;
        let repos = rows.into_iter().map(|row| {
            let (spaces, bytes) = (row.spaces.unsigned_abs(), row.bytes.unsigned_abs());
            Ok(Holding { account: row.account.into_path()?, spaces, bytes, bucket_bytes: 0 })
        });
        let buckets = buckets.into_iter().map(|row| {
            let bytes = row.bytes.unsigned_abs();
            Ok(Holding { account: row.account.into_owner()?, spaces: 0, bytes, bucket_bytes: bytes })
        });
        repos.chain(buckets).collect()
    }

    /// Keeps what all buckets take; those that are not among them are gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn buckets_set(&self, buckets: &[BucketSize]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        run_tx!(&mut tx, "buckets_forget", db => sqlx::query(BUCKETS_FORGET).execute(db).map_ok(crate::unit))?;
        for BucketSize { owner, name, bytes } in buckets {
            run_tx!(&mut tx, "bucket_add", db => sqlx::query(BUCKET_ADD)
                .bind(owner.to_string()).bind(name).bind(i64::try_from(*bytes).unwrap_or(i64::MAX))
                .execute(db).map_ok(crate::unit))?;
        }
        tx.commit().await
    }

    /// Keeps what a repository's git objects take on the disk.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_set_git_bytes(&self, id: RepoId, bytes: u64) -> Result<(), StoreError> {
        run!(self, "repo_set_git_bytes", db => sqlx::query(REPO_SET_GIT_BYTES)
            .bind(i64::try_from(bytes).unwrap_or(i64::MAX)).bind(id.to_string()).execute(db).map_ok(crate::unit))
    }

    /// What each repository of an account takes, as far as it was measured.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_sizes(&self, owner: AccountId) -> Result<HashMap<RepoId, RepoSize>, StoreError> {
        run!(self, "repo_sizes", db => sqlx::query_as::<_, SizeRow>(REPO_SIZES).bind(owner.to_string()).fetch_all(db))?
            .into_iter()
            .map(|SizeRow { id, git, large }| {
                let size = RepoSize { git_bytes: git.unsigned_abs(), large_bytes: large.unsigned_abs() };
                Ok((text("repos.id", &id)?, size))
            })
            .collect()
    }

    /// The place in the quota tree of what this owner has and this account made; `None` when one of them is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn quota_path(&self, owner: AccountId, creator: AccountId) -> Result<Option<QuotaPath>, StoreError> {
        run!(self, "quota_path", db => sqlx::query_as::<_, PathRow>(QUOTA_PATH)
            .bind(owner.to_string()).bind(creator.to_string()).fetch_optional(db))?
        .map(PathRow::into_path)
        .transpose()
    }
}
