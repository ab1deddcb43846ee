//! Repositories of all kinds: identity, who may see them, and what lists need to know of them.

use futures::TryFutureExt;
use sqlx::{AssertSqlSafe, FromRow};

use spaceport_core::discussion::MAIN;
use spaceport_core::space::Visibility;
use spaceport_core::webhook::{Change, MovedRef};
use spaceport_core::{AccountId, CommitSha, Repo, RepoId, RepoKind, RepoName, Timestamp};

use crate::hook_events::tell;
use crate::rows::{json_opt, like, like_ascii, text, to_json};
use crate::{Store, StoreError, Tx, exists, run, run_tx};
use crate::{moves, objects};

/// A repository to be created.
#[derive(Debug, Clone)]
pub struct NewRepo {
    /// Identity.
    pub id: RepoId,
    /// What it holds.
    pub kind: RepoKind,
    /// `owner/name`.
    pub name: RepoName,
    /// The account it belongs to.
    pub owner: AccountId,
    /// Who creates it.
    pub creator: AccountId,
    /// Who may see it.
    pub visibility: Visibility,
    /// The commit `main` points to.
    pub head: Option<CommitSha>,
    /// Now.
    pub at: Timestamp,
}

/// The order of a list, always descending.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum RepoSort {
    /// By last change.
    #[default]
    Updated,
    /// By creation.
    Created,
    /// By likes of the last days.
    Trending,
    /// By likes.
    Likes,
    /// By downloads.
    Downloads,
}

impl RepoSort {
    const fn column(self) -> &'static str {
        match self {
            Self::Updated => "r.updated_at",
            Self::Created => "r.created_at",
            Self::Trending => "r.trending",
            Self::Likes => "r.likes",
            Self::Downloads => "r.downloads",
        }
    }
}

/// Which repositories a list holds.
#[derive(Debug, Clone)]
pub struct RepoFilter {
    /// Of this kind.
    pub kind: RepoKind,
    /// Public ones, those of this account and of its organizations; `None` sees public ones only.
    pub viewer: Option<AccountId>,
    /// Everything, for site admins.
    pub all: bool,
    /// Of this owner.
    pub author: Option<String>,
    /// Substrings of `owner/name`, whatever their case; all of them.
    pub search: Vec<String>,
    /// Tags; all of them.
    pub tags: Vec<String>,
    /// Words of which at least one is in the name or the front matter, whatever their case. What is not ASCII
    /// may find more than it should.
    pub words: Vec<String>,
    /// In this order.
    pub sort: RepoSort,
    /// After this value of the order, and this id.
    pub after: Option<(i64, String)>,
    /// At most so many.
    pub limit: i64,
}

impl RepoFilter {
    /// The newest public ones of a kind.
    #[must_use]
    pub fn of(kind: RepoKind) -> Self {
        Self {
            kind,
            viewer: None,
            all: false,
            author: None,
            search: Vec::new(),
            tags: Vec::new(),
            words: Vec::new(),
            sort: RepoSort::default(),
            after: None,
            limit: 100,
        }
    }

    fn sql(&self) -> String {
        let column = self.sort.column();
        let mut sql = format!(
            "SELECT r.*, r.{} AS position FROM repos r WHERE r.kind = $1 AND r.name_key NOT LIKE '!%' \
             AND ($2 OR r.visibility <> 'private' OR r.owner_id = $3 \
                  OR EXISTS (SELECT 1 FROM members m WHERE m.org_id = r.owner_id AND m.user_id = $3)) \
             AND ($4 = '' OR r.name_key LIKE $4 ESCAPE '\\') \
             AND ({column} < $5 OR ({column} = $5 AND r.id < $6))",
            column.trim_start_matches("r.")
        );
        let mut next = 8;
        for _ in &self.search {
            sql.push_str(&format!(" AND r.name_key LIKE ${next} ESCAPE '\\'"));
            next += 1;
        }
        for _ in &self.tags {
            sql.push_str(&format!(
                " AND EXISTS (SELECT 1 FROM repo_tags t WHERE t.repo_id = r.id AND t.tag = ${next})"
            ));
            next += 1;
        }
        for number in 0..self.words.len() {
            let (name, card) = (next + 2 * number, next + 2 * number + 1);
            let either = if number == 0 { "AND (" } else { "OR" };
            sql.push_str(&format!(
                " {either} r.name_key LIKE ${name} ESCAPE '\\' OR lower(COALESCE(r.card, '')) LIKE ${card} ESCAPE '\\'"
            ));
        }
        if !self.words.is_empty() {
            sql.push(')');
        }
        sql.push_str(&format!(" ORDER BY {column} DESC, r.id DESC LIMIT $7"));
        sql
    }
}

#[derive(FromRow)]
pub(crate) struct RepoRow {
    id: String,
    kind: String,
    owner_id: String,
    creator_id: String,
    name: String,
    visibility: String,
    created_at: i64,
    updated_at: i64,
    head: Option<String>,
    card: Option<String>,
    likes: i64,
    trending: i64,
    downloads: i64,
    visits: i64,
}

impl RepoRow {
    pub(crate) fn into_repo(self) -> Result<Repo, StoreError> {
        Ok(Repo {
            id: text("repos.id", &self.id)?,
            kind: text("repos.kind", &self.kind)?,
            name: text("repos.name", &self.name)?,
            owner: text("repos.owner_id", &self.owner_id)?,
            creator: text("repos.creator_id", &self.creator_id)?,
            visibility: text("repos.visibility", &self.visibility)?,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
            head: self.head.map(|sha| text("repos.head", &sha)).transpose()?,
            card: json_opt("repos.card", self.card.as_ref())?,
            likes: self.likes,
            trending: self.trending,
            downloads: self.downloads,
            visits: self.visits,
        })
    }
}

#[derive(FromRow)]
struct PlacedRow {
    position: i64,
    #[sqlx(flatten)]
    repo: RepoRow,
}

const REPO_CREATE: &str = "INSERT INTO repos (id, kind, owner_id, creator_id, name, name_key, visibility, created_at, \
     updated_at, head, likes, trending, downloads) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, 0, 0, 0)";
const REPO_BY_ID: &str = "SELECT * FROM repos WHERE id = $1";
const REPO_IDS: &str = "SELECT id FROM repos ORDER BY id";
const REPO_BY_KEY: &str = "SELECT * FROM repos WHERE name_key = $1";
const REPO_MOVED: &str = "SELECT r.* FROM redirects d JOIN repos r ON r.id = d.repo_id \
     WHERE d.name_key = $1 AND r.name_key NOT LIKE '!%'";
const REPO_HEAD: &str = "SELECT head FROM repos WHERE id = $1";
const REPO_SET_HEAD: &str =
    "UPDATE repos SET head = $1, updated_at = $2 WHERE id = $3 AND (head IS NULL OR head <> $1)";
const REPO_SET_VISIBILITY: &str = "UPDATE repos SET visibility = $1, updated_at = $2 WHERE id = $3";
const SPACE_TOUCHED: &str = "UPDATE spaces SET generation = generation + 1 WHERE id = $1";
const REPO_INDEX: &str = "UPDATE repos SET indexed = $1, card = $2 WHERE id = $3 AND head = $1";
const REPO_UNINDEXED: &str = "SELECT * FROM repos WHERE head IS NOT NULL AND (indexed IS NULL OR indexed <> head) \
     AND name_key NOT LIKE '!%' ORDER BY id LIMIT 100";
const TAGS_FORGET: &str = "DELETE FROM repo_tags WHERE repo_id = $1";
const TAG_ADD: &str = "INSERT INTO repo_tags (repo_id, tag) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const TAGS: &str = "SELECT tag FROM repo_tags WHERE repo_id = $1 ORDER BY tag";
const REPO_DELETE: &str = "DELETE FROM repos WHERE id = $1";
const REPO_VISITED: &str = "UPDATE repos SET visits = visits + $1 WHERE id = $2";
const REPO_DOWNLOADED: &str = "UPDATE repos SET downloads = downloads + $1 WHERE id = $2";
const REPOS_OF: &str = "SELECT * FROM repos WHERE owner_id = $1 AND name_key NOT LIKE '!%' ORDER BY kind, name_key";

pub(crate) async fn create(tx: &mut Tx, new: &NewRepo) -> Result<(), StoreError> {
    let key = new.kind.key(&new.name);
    run_tx!(tx, "repo_create", db => sqlx::query(REPO_CREATE)
        .bind(new.id.to_string())
        .bind(new.kind.as_str())
        .bind(new.owner.to_string())
        .bind(new.creator.to_string())
        .bind(new.name.to_string())
        .bind(&key)
        .bind(new.visibility.as_str())
        .bind(new.at.as_millis())
        .bind(new.head.as_ref().map(CommitSha::as_str))
        .execute(db).map_ok(crate::unit))
    .map_err(exists("a repository of this name"))?;
    // Whoever takes an old name gets what is asked for under it.
    moves::take_name(tx, &key).await
}

pub(crate) async fn set_head(tx: &mut Tx, id: RepoId, head: &CommitSha, at: Timestamp) -> Result<bool, StoreError> {
    let before = run_tx!(tx, "repo_head", db => sqlx::query_as::<_, (Option<String>,)>(REPO_HEAD)
        .bind(id.to_string()).fetch_optional(db))?;
    let rows = run_tx!(tx, "repo_set_head", db => sqlx::query(REPO_SET_HEAD)
        .bind(head.as_str()).bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))?;
    if rows != 1 {
        return Ok(false);
    }
    let old = before.and_then(|(head,)| head).map(|sha| text("repos.head", &sha)).transpose()?;
    let moved = MovedRef { name: MAIN.to_owned(), old, new: Some(head.clone()) };
    tell(tx, id, at, &Change::RefsMoved { refs: vec![moved] }).await?;
    Ok(true)
}

impl Store {
    /// Creates a model or a data set; a Space is created by [`Store::space_create`].
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken, whatever its case.
    pub async fn repo_create(&self, new: &NewRepo) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        create(&mut tx, new).await?;
        tell(&mut tx, new.id, new.at, &Change::RepoCreated).await?;
        tx.commit().await
    }

    /// As [`Store::repo_create`], with the large files of another repository.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken, whatever its case.
    pub async fn repo_create_copy(&self, new: &NewRepo, of: RepoId) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        create(&mut tx, new).await?;
        objects::copy(&mut tx, new, of).await?;
        tell(&mut tx, new.id, new.at, &Change::RepoCreated).await?;
        tx.commit().await
    }

    /// By id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_by_id(&self, id: RepoId) -> Result<Option<Repo>, StoreError> {
        self.repo_by(REPO_BY_ID, &id.to_string()).await
    }

    /// The ids of all repositories.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_ids(&self) -> Result<Vec<RepoId>, StoreError> {
        run!(self, "repo_ids", db => sqlx::query_as::<_, (String,)>(REPO_IDS).fetch_all(db))?
            .iter()
            .map(|(id,)| text("repos.id", id))
            .collect()
    }

    /// By kind and name, whatever its case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_by_name(&self, kind: RepoKind, name: &RepoName) -> Result<Option<Repo>, StoreError> {
        self.repo_by(REPO_BY_KEY, &kind.key(name)).await
    }

    /// The repository that had this name before it moved.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_moved_from(&self, kind: RepoKind, name: &RepoName) -> Result<Option<Repo>, StoreError> {
        self.repo_by(REPO_MOVED, &kind.key(name)).await
    }

    async fn repo_by(&self, sql: &'static str, key: &str) -> Result<Option<Repo>, StoreError> {
        run!(self, "repo_by", db => sqlx::query_as::<_, RepoRow>(sql).bind(key).fetch_optional(db))?
            .map(RepoRow::into_repo)
            .transpose()
    }

    /// A list, with the position of each in its order: what the next page begins after.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repos(&self, filter: &RepoFilter) -> Result<Vec<(Repo, i64)>, StoreError> {
        let (at, id) = filter.after.clone().unwrap_or((i64::MAX, String::new()));
        let author = filter
            .author
            .as_ref()
            .map_or(String::new(), |author| format!("{}/{}/%", filter.kind.segment(), like(author)));
        // Only placeholders and names of columns are put together here.
        let sql = filter.sql();
        let rows = run!(self, "repos", db => {
            let mut query = sqlx::query_as::<_, PlacedRow>(AssertSqlSafe(sql))
                .bind(filter.kind.as_str())
                .bind(filter.all)
                .bind(filter.viewer.map_or(String::new(), |id| id.to_string()))
                .bind(&author)
                .bind(at)
                .bind(&id)
                .bind(filter.limit);
            for part in &filter.search {
                query = query.bind(format!("{}/%{}%", filter.kind.segment(), like(part)));
            }
            for tag in &filter.tags {
                query = query.bind(tag);
            }
            for word in &filter.words {
                let word = like_ascii(word);
                query = query.bind(format!("{}/%{word}%", filter.kind.segment())).bind(format!("%{word}%"));
            }
            query.fetch_all(db)
        })?;
        rows.into_iter().map(|row| Ok((row.repo.into_repo()?, row.position))).collect()
    }

    /// All repositories of an account, whatever their kind.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repos_of(&self, owner: AccountId) -> Result<Vec<Repo>, StoreError> {
        run!(self, "repos_of", db => sqlx::query_as::<_, RepoRow>(REPOS_OF).bind(owner.to_string()).fetch_all(db))?
            .into_iter()
            .map(RepoRow::into_repo)
            .collect()
    }

    /// Records where `main` points to; `false` when that was known. Of a Space, the desired state
    /// has it: use [`Store::space_change`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_set_head(&self, id: RepoId, head: &CommitSha, at: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let moved = set_head(&mut tx, id, head, at).await?;
        tx.commit().await?;
        Ok(moved)
    }

    /// Changes who may see a repository.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_set_visibility(&self, id: RepoId, to: Visibility, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        run_tx!(&mut tx, "repo_set_visibility", db => sqlx::query(REPO_SET_VISIBILITY)
            .bind(to.as_str()).bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::unit))?;
        run_tx!(&mut tx, "space_touched", db => sqlx::query(SPACE_TOUCHED)
            .bind(id.to_string()).execute(db).map_ok(crate::unit))?;
        tell(&mut tx, id, at, &Change::RepoVisibility { to }).await?;
        tx.commit().await
    }

    /// Keeps what lists need of a commit: the front matter and the tags. A commit that is no longer
    /// the head changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_index(
        &self,
        id: RepoId,
        head: &CommitSha,
        card: Option<&serde_json::Value>,
        tags: &[String],
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "repo_index", db => sqlx::query(REPO_INDEX)
            .bind(head.as_str()).bind(card.map(to_json)).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        if rows == 1 {
            run_tx!(&mut tx, "tags_forget", db => sqlx::query(TAGS_FORGET)
                .bind(id.to_string()).execute(db).map_ok(crate::unit))?;
            for tag in tags {
                run_tx!(&mut tx, "tag_add", db => sqlx::query(TAG_ADD)
                    .bind(id.to_string()).bind(tag).execute(db).map_ok(crate::unit))?;
            }
        }
        tx.commit().await
    }

    /// Some repositories whose head was not indexed yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repos_unindexed(&self) -> Result<Vec<Repo>, StoreError> {
        run!(self, "repos_unindexed", db => sqlx::query_as::<_, RepoRow>(REPO_UNINDEXED).fetch_all(db))?
            .into_iter()
            .map(RepoRow::into_repo)
            .collect()
    }

    /// The tags of a repository.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_tags(&self, id: RepoId) -> Result<Vec<String>, StoreError> {
        let rows = run!(self, "repo_tags", db => sqlx::query_as::<_, (String,)>(TAGS)
            .bind(id.to_string()).fetch_all(db))?;
        Ok(rows.into_iter().map(|(tag,)| tag).collect())
    }

    /// Forgets a repository with everything that hangs on it. A Space goes by [`Store::space_doom`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_delete(&self, id: RepoId, at: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        tell(&mut tx, id, at, &Change::RepoDeleted).await?;
        let rows = run_tx!(&mut tx, "repo_delete", db => sqlx::query(REPO_DELETE)
            .bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        tx.commit().await?;
        Ok(rows == 1)
    }

    /// Counts visits.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_visited(&self, id: RepoId, times: i64) -> Result<(), StoreError> {
        run!(self, "repo_visited", db => sqlx::query(REPO_VISITED)
            .bind(times).bind(id.to_string()).execute(db).map_ok(crate::unit))
    }

    /// Counts downloads.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repo_downloaded(&self, id: RepoId, times: i64) -> Result<(), StoreError> {
        run!(self, "repo_downloaded", db => sqlx::query(REPO_DOWNLOADED)
            .bind(times).bind(id.to_string()).execute(db).map_ok(crate::unit))
    }
}
