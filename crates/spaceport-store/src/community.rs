//! Likes and follows, and what profiles count.

use std::collections::BTreeSet;

use futures::TryFutureExt;
use sqlx::{AssertSqlSafe, FromRow};

use spaceport_core::account::Account;
use spaceport_core::{AccountId, Repo, RepoId, Timestamp};

use crate::accounts::AccountRow;
use crate::repos::RepoRow;
use crate::{Store, StoreError, run, run_tx};

/// So many ids are asked for at once: SQLite allows no more than some thousand.
const MAX_PARAMETERS: usize = 500;

/// Where a page of a list begins: after this time and this id; the newest comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// The time of the last entry of the page before.
    pub at: Timestamp,
    /// Its id.
    pub id: String,
}

impl After {
    pub(crate) fn parts(after: Option<&Self>) -> (i64, &str) {
        after.map_or((i64::MAX, ""), |after| (after.at.as_millis(), after.id.as_str()))
    }
}

/// What a profile counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct Counts {
    /// Public models.
    pub models: i64,
    /// Public data sets.
    pub datasets: i64,
    /// Spaces that are not private.
    pub spaces: i64,
    /// Discussions and pull requests opened in public repositories.
    pub discussions: i64,
    /// Likes given to public repositories.
    pub likes: i64,
    /// Accounts that follow it.
    pub followers: i64,
    /// Accounts it follows.
    pub following: i64,
}

#[derive(FromRow)]
struct DatedAccount {
    at: i64,
    #[sqlx(flatten)]
    account: AccountRow,
}

#[derive(FromRow)]
struct DatedRepo {
    at: i64,
    #[sqlx(flatten)]
    repo: RepoRow,
}

const LIKE_ADD: &str = "INSERT INTO likes (repo_id, account_id, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const LIKE_REMOVE: &str = "DELETE FROM likes WHERE repo_id = $1 AND account_id = $2";
const LIKES_COUNT: &str = "UPDATE repos SET likes = likes + $1, \
     trending = (SELECT COUNT(*) FROM likes WHERE repo_id = repos.id AND created_at > $2) WHERE id = $3";
const LIKED: &str = "SELECT COUNT(*) FROM likes WHERE repo_id = $1 AND account_id = $2";
const LIKERS: &str = "SELECT l.created_at AS at, a.* FROM likes l JOIN accounts a ON a.id = l.account_id \
     WHERE l.repo_id = $1 AND a.disabled_at IS NULL \
     AND (l.created_at < $2 OR (l.created_at = $2 AND a.id < $3)) ORDER BY l.created_at DESC, a.id DESC LIMIT $4";
const LIKES_OF: &str = "SELECT l.created_at AS at, r.* FROM likes l JOIN repos r ON r.id = l.repo_id \
     WHERE l.account_id = $1 AND r.name_key NOT LIKE '!%' \
     AND (l.created_at < $2 OR (l.created_at = $2 AND r.id < $3)) ORDER BY l.created_at DESC, r.id DESC LIMIT $4";
const TRENDING: &str = "UPDATE repos \
     SET trending = (SELECT COUNT(*) FROM likes l WHERE l.repo_id = repos.id AND l.created_at > $1) \
     WHERE trending <> (SELECT COUNT(*) FROM likes l WHERE l.repo_id = repos.id AND l.created_at > $1)";
const FOLLOW_ADD: &str =
    "INSERT INTO follows (account_id, follower_id, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const FOLLOW_REMOVE: &str = "DELETE FROM follows WHERE account_id = $1 AND follower_id = $2";
const FOLLOWS: &str = "SELECT COUNT(*) FROM follows WHERE account_id = $1 AND follower_id = $2";
const FOLLOWERS: &str = "SELECT f.created_at AS at, a.* FROM follows f JOIN accounts a ON a.id = f.follower_id \
     WHERE f.account_id = $1 AND a.disabled_at IS NULL \
     AND (f.created_at < $2 OR (f.created_at = $2 AND a.id < $3)) ORDER BY f.created_at DESC, a.id DESC LIMIT $4";
const FOLLOWING: &str = "SELECT f.created_at AS at, a.* FROM follows f JOIN accounts a ON a.id = f.account_id \
     WHERE f.follower_id = $1 AND a.disabled_at IS NULL \
     AND (f.created_at < $2 OR (f.created_at = $2 AND a.id < $3)) ORDER BY f.created_at DESC, a.id DESC LIMIT $4";
const COUNTS: &str = "SELECT \
     (SELECT COUNT(*) FROM repos WHERE owner_id = $1 AND kind = 'model' AND visibility = 'public') AS models, \
     (SELECT COUNT(*) FROM repos WHERE owner_id = $1 AND kind = 'dataset' AND visibility = 'public') AS datasets, \
     (SELECT COUNT(*) FROM repos WHERE owner_id = $1 AND kind = 'space' AND visibility <> 'private' \
      AND name_key NOT LIKE '!%') AS spaces, \
     (SELECT COUNT(*) FROM discussions d JOIN repos r ON r.id = d.repo_id \
      WHERE d.author_id = $1 AND r.visibility = 'public' AND r.name_key NOT LIKE '!%') AS discussions, \
     (SELECT COUNT(*) FROM likes l JOIN repos r ON r.id = l.repo_id \
      WHERE l.account_id = $1 AND r.visibility = 'public' AND r.name_key NOT LIKE '!%') AS likes, \
     (SELECT COUNT(*) FROM follows f JOIN accounts a ON a.id = f.follower_id \
      WHERE f.account_id = $1 AND a.disabled_at IS NULL) AS followers, \
     (SELECT COUNT(*) FROM follows f JOIN accounts a ON a.id = f.account_id \
      WHERE f.follower_id = $1 AND a.disabled_at IS NULL) AS following";

impl Store {
    /// Likes a repository; `false` when it was liked before. Likes since `trending_since` are the
    /// ones that count as trending.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn like_add(
        &self,
        repo: RepoId,
        account: AccountId,
        at: Timestamp,
        trending_since: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "like_add", db => sqlx::query(LIKE_ADD)
            .bind(repo.to_string())
            .bind(account.to_string())
            .bind(at.as_millis())
            .execute(db).map_ok(crate::Rows::rows))?;
        count_likes(&mut tx, repo, i64::from(rows == 1), trending_since).await?;
        tx.commit().await?;
        Ok(rows == 1)
    }

    /// Takes a like back; `false` when there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn like_remove(
        &self,
        repo: RepoId,
        account: AccountId,
        trending_since: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "like_remove", db => sqlx::query(LIKE_REMOVE)
            .bind(repo.to_string()).bind(account.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        count_likes(&mut tx, repo, -i64::from(rows == 1), trending_since).await?;
        tx.commit().await?;
        Ok(rows == 1)
    }

    /// Whether an account likes a repository.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn likes(&self, repo: RepoId, account: AccountId) -> Result<bool, StoreError> {
        run!(self, "liked", db => sqlx::query_as::<_, (i64,)>(LIKED)
            .bind(repo.to_string()).bind(account.to_string()).fetch_one(db))
        .map(|(count,)| count > 0)
    }

    /// Who likes a repository, the newest like first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn likers(
        &self,
        repo: RepoId,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<(Account, Timestamp)>, StoreError> {
        self.dated_accounts(LIKERS, &repo.to_string(), after, limit).await
    }

    /// What an account likes, the newest like first; also what others may not see.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn likes_of(
        &self,
        account: AccountId,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<(Repo, Timestamp)>, StoreError> {
        let (at, id) = After::parts(after);
        run!(self, "likes_of", db => sqlx::query_as::<_, DatedRepo>(LIKES_OF)
            .bind(account.to_string()).bind(at).bind(id).bind(limit).fetch_all(db))?
        .into_iter()
        .map(|row| Ok((row.repo.into_repo()?, Timestamp::from_millis(row.at))))
        .collect()
    }

    /// Counts anew what is trending: the likes since then. Says how many repositories changed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn trending_count(&self, since: Timestamp) -> Result<u64, StoreError> {
        run!(self, "trending_count", db => sqlx::query(TRENDING)
            .bind(since.as_millis()).execute(db).map_ok(crate::Rows::rows))
    }

    /// Follows an account; `false` when it was followed before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn follow_add(&self, account: AccountId, follower: AccountId, at: Timestamp) -> Result<bool, StoreError> {
        run!(self, "follow_add", db => sqlx::query(FOLLOW_ADD)
            .bind(account.to_string())
            .bind(follower.to_string())
            .bind(at.as_millis())
            .execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// Follows an account no longer; `false` when it was not followed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn follow_remove(&self, account: AccountId, follower: AccountId) -> Result<bool, StoreError> {
        run!(self, "follow_remove", db => sqlx::query(FOLLOW_REMOVE)
            .bind(account.to_string()).bind(follower.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// Whether an account is followed by another.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn follows(&self, account: AccountId, follower: AccountId) -> Result<bool, StoreError> {
        run!(self, "follows", db => sqlx::query_as::<_, (i64,)>(FOLLOWS)
            .bind(account.to_string()).bind(follower.to_string()).fetch_one(db))
        .map(|(count,)| count > 0)
    }

    /// Who follows an account, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn followers(
        &self,
        account: AccountId,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<(Account, Timestamp)>, StoreError> {
        self.dated_accounts(FOLLOWERS, &account.to_string(), after, limit).await
    }

    /// Whom an account follows, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn following(
        &self,
        account: AccountId,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<(Account, Timestamp)>, StoreError> {
        self.dated_accounts(FOLLOWING, &account.to_string(), after, limit).await
    }

    /// Accounts by id; one that was deleted is left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn accounts_of(&self, ids: &BTreeSet<AccountId>) -> Result<Vec<Account>, StoreError> {
        let mut accounts = Vec::with_capacity(ids.len());
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        for some in ids.chunks(MAX_PARAMETERS) {
            let places: Vec<String> = (1..=some.len()).map(|number| format!("${number}")).collect();
            // Only placeholders are put together here.
            let sql = format!("SELECT * FROM accounts WHERE disabled_at IS NULL AND id IN ({})", places.join(", "));
            let rows = run!(self, "accounts_of", db => {
                let mut query = sqlx::query_as::<_, AccountRow>(AssertSqlSafe(sql));
                for id in some {
                    query = query.bind(id);
                }
                query.fetch_all(db)
            })?;
            for row in rows {
                accounts.push(row.into_account()?);
            }
        }
        Ok(accounts)
    }

    async fn dated_accounts(
        &self,
        sql: &'static str,
        of: &str,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<(Account, Timestamp)>, StoreError> {
        let (at, id) = After::parts(after);
        run!(self, "dated_accounts", db => sqlx::query_as::<_, DatedAccount>(sql)
            .bind(of).bind(at).bind(id).bind(limit).fetch_all(db))?
        .into_iter()
        .map(|row| Ok((row.account.into_account()?, Timestamp::from_millis(row.at))))
        .collect()
    }

    /// What the profile of an account counts: only what everybody may see.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn counts(&self, account: AccountId) -> Result<Counts, StoreError> {
        run!(self, "counts", db => sqlx::query_as::<_, Counts>(COUNTS).bind(account.to_string()).fetch_one(db))
    }
}

async fn count_likes(tx: &mut crate::Tx, repo: RepoId, by: i64, trending_since: Timestamp) -> Result<(), StoreError> {
    if by == 0 {
        return Ok(());
    }
    run_tx!(tx, "likes_count", db => sqlx::query(LIKES_COUNT)
        .bind(by).bind(trending_since.as_millis()).bind(repo.to_string()).execute(db).map_ok(crate::unit))
}
