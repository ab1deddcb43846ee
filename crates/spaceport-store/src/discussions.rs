//! Discussions and pull requests: rows with their events, changed one after the other.
//!
//! Whatever happens in a discussion takes its row first, so that two changes of one discussion never
//! cross; what webhooks are told is written in the same transaction.

use futures::TryFutureExt;
use sqlx::{AssertSqlSafe, FromRow};

use spaceport_core::discussion::{Act, Comment, DiscussionEvent, EventKind, Merged, Pull, Refusal};
use spaceport_core::webhook::{Change, CommentThen, DiscussionThen};
use spaceport_core::{
    AccountId, CommitSha, Discussion, DiscussionEventId, DiscussionId, DiscussionStatus, RepoId, Timestamp,
};

use crate::hook_events::tell;
use crate::rows::{json, random, text, to_json};
use crate::{Store, StoreError, Tx, run, run_tx};

/// The texts of one discussion together have at most so many bytes, history included: whoever looks
/// at it gets all of them.
pub const MAX_DISCUSSION_BYTES: i64 = 4 << 20;
/// So many things may happen in one discussion.
pub const MAX_DISCUSSION_EVENTS: i64 = 5000;

/// A discussion to be opened.
#[derive(Debug, Clone)]
pub struct NewDiscussion {
    /// Where.
    pub repo: RepoId,
    /// From [`Store::discussion_number`].
    pub number: i64,
    /// Who.
    pub author: AccountId,
    /// What it is about.
    pub title: String,
    /// The first comment, in Markdown.
    pub text: String,
    /// Open, or draft.
    pub status: DiscussionStatus,
    /// Of a pull request.
    pub pull: Option<Pull>,
    /// What the pull request brings, oldest first: the first line of the message, and the commit.
    pub commits: Vec<(String, CommitSha)>,
    /// Now.
    pub at: Timestamp,
}

/// Which discussions a list holds.
#[derive(Debug, Clone, Default)]
pub struct DiscussionFilter {
    /// Only pull requests, or only others.
    pub pulls: Option<bool>,
    /// Only those under way, or only those that are over.
    pub open: Option<bool>,
    /// Only those of this account.
    pub author: Option<AccountId>,
    /// After so many.
    pub start: i64,
    /// At most so many.
    pub limit: i64,
}

impl DiscussionFilter {
    /// What stands after `SELECT …`; only words of ours are put together.
    fn sql(&self) -> String {
        let mut sql = " FROM discussions WHERE repo_id = $1 AND ($2 = '' OR author_id = $2)".to_owned();
        sql.push_str(match self.pulls {
            Some(true) => " AND base IS NOT NULL",
            Some(false) => " AND base IS NULL",
            None => "",
        });
        sql.push_str(match self.open {
            Some(true) => " AND status IN ('open', 'draft')",
            Some(false) => " AND status IN ('closed', 'merged')",
            None => "",
        });
        sql
    }
}

/// What is done to a comment.
#[derive(Debug, Clone)]
pub enum CommentChange {
    /// It says something else.
    Edit(String),
    /// Its words go.
    Hide,
}

#[derive(FromRow)]
struct DiscussionRow {
    id: String,
    repo_id: String,
    number: i64,
    author_id: String,
    title: String,
    status: String,
    pinned: bool,
    locked: bool,
    comments: i64,
    events: i64,
    bytes: i64,
    created_at: i64,
    base: Option<String>,
    head: Option<String>,
    merge_commit: Option<String>,
    merge_previous: Option<String>,
}

impl DiscussionRow {
    fn into_discussion(self) -> Result<Discussion, StoreError> {
        let sha = |what, column: Option<String>| column.map(|sha| text(what, &sha)).transpose();
        let merge = sha("discussions.merge_commit", self.merge_commit)?;
        let merged = match (merge, sha("discussions.merge_previous", self.merge_previous)?) {
            (Some(commit), Some(previous)) => Some(Merged { commit, previous }),
            _ => None,
        };
        let pull = match (self.base, sha("discussions.head", self.head)?) {
            (Some(base), Some(head)) => Some(Pull { base, head, merged }),
            _ => None,
        };
        Ok(Discussion {
            id: text("discussions.id", &self.id)?,
            repo: text("discussions.repo_id", &self.repo_id)?,
            number: self.number,
            author: text("discussions.author_id", &self.author_id)?,
            title: self.title,
            status: text("discussions.status", &self.status)?,
            pinned: self.pinned,
            locked: self.locked,
            comments: self.comments,
            created_at: Timestamp::from_millis(self.created_at),
            pull,
        })
    }
}

#[derive(FromRow)]
struct EventRow {
    id: String,
    author_id: String,
    created_at: i64,
    kind: String,
}

impl EventRow {
    fn into_event(self) -> Result<DiscussionEvent, StoreError> {
        Ok(DiscussionEvent {
            id: text("discussion_events.id", &self.id)?,
            author: text("discussion_events.author_id", &self.author_id)?,
            at: Timestamp::from_millis(self.created_at),
            kind: json("discussion_events.kind", &self.kind)?,
        })
    }
}

const NUMBER_TAKE: &str = "INSERT INTO discussion_numbers (repo_id, last) VALUES ($1, 1) \
     ON CONFLICT (repo_id) DO UPDATE SET last = discussion_numbers.last + 1 RETURNING last";
const DISCUSSION_ADD: &str = "INSERT INTO discussions (id, repo_id, number, author_id, title, status, pinned, locked, \
     comments, events, bytes, created_at, base, head) \
     VALUES ($1, $2, $3, $4, $5, $6, FALSE, FALSE, 0, 0, 0, $7, $8, $9)";
const DISCUSSION: &str = "SELECT * FROM discussions WHERE repo_id = $1 AND number = $2";
/// Changes nothing and keeps others from changing the row until the transaction ends.
const DISCUSSION_TAKE: &str = "UPDATE discussions SET events = events WHERE id = $1 RETURNING *";
const DISCUSSION_SET: &str = "UPDATE discussions SET title = $1, status = $2, pinned = $3, locked = $4, comments = $5, \
     events = $6, bytes = $7, head = $8, merge_commit = $9, merge_previous = $10 WHERE id = $11";
const EVENT_ADD: &str = "INSERT INTO discussion_events (id, discussion_id, number, author_id, created_at, kind) \
     VALUES ($1, $2, $3, $4, $5, $6)";
const EVENT_SET: &str = "UPDATE discussion_events SET kind = $1 WHERE id = $2";
const EVENT: &str = "SELECT * FROM discussion_events WHERE discussion_id = $1 AND id = $2";
const EVENTS: &str = "SELECT * FROM discussion_events WHERE discussion_id = $1 ORDER BY number";
const LIVE_PULLS_OF: &str = "SELECT number FROM discussions WHERE repo_id = $1 AND author_id = $2 \
     AND base IS NOT NULL AND status IN ('open', 'draft') ORDER BY number";

impl Store {
    /// Takes the next number for a discussion or a pull request of a repository. One that is not used
    /// is left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn discussion_number(&self, repo: RepoId) -> Result<i64, StoreError> {
        run!(self, "discussion_number", db => sqlx::query_as::<_, (i64,)>(NUMBER_TAKE)
            .bind(repo.to_string()).fetch_one(db))
        .map(|(number,)| number)
    }

    /// Opens a discussion with its first comment.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn discussion_open(&self, new: NewDiscussion) -> Result<Discussion, StoreError> {
        let NewDiscussion { repo, number, author, title, text: said, status, pull, commits, at } = new;
        let id = DiscussionId::new(at, random());
        let mut tx = self.begin().await?;
        run_tx!(&mut tx, "discussion_open", db => sqlx::query(DISCUSSION_ADD)
            .bind(id.to_string())
            .bind(repo.to_string())
            .bind(number)
            .bind(author.to_string())
            .bind(&title)
            .bind(status.as_str())
            .bind(at.as_millis())
            .bind(pull.as_ref().map(|pull| pull.base.clone()))
            .bind(pull.as_ref().map(|pull| pull.head.as_str().to_owned()))
            .execute(db).map_ok(crate::unit))?;
        let mut taken = Taken::of(&mut tx, id).await?.ok_or_else(|| gone("discussion_open"))?;
        taken.discussion.comments = 1;
        let mut kinds = vec![EventKind::Comment(Comment::new(said, author, at))];
        kinds.extend(commits.into_iter().map(|(subject, sha)| EventKind::Commit { subject, sha }));
        let events = taken.add(&mut tx, kinds, author, at).await?;
        taken.write(&mut tx).await?;
        let discussion = taken.discussion;
        if let Some(comment) = events.first().and_then(comment_then) {
            tell(&mut tx, repo, at, &Change::DiscussionOpened(then(&discussion), comment)).await?;
        }
        tx.commit().await?;
        Ok(discussion)
    }

    /// By repository and number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn discussion(&self, repo: RepoId, number: i64) -> Result<Option<Discussion>, StoreError> {
        run!(self, "discussion", db => sqlx::query_as::<_, DiscussionRow>(DISCUSSION)
            .bind(repo.to_string()).bind(number).fetch_optional(db))?
        .map(DiscussionRow::into_discussion)
        .transpose()
    }

    /// What happened in a discussion, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn discussion_events(&self, id: DiscussionId) -> Result<Vec<DiscussionEvent>, StoreError> {
        run!(self, "discussion_events", db => sqlx::query_as::<_, EventRow>(EVENTS)
            .bind(id.to_string()).fetch_all(db))?
        .into_iter()
        .map(EventRow::into_event)
        .collect()
    }

    /// One thing that happened in a discussion.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn discussion_event(
        &self,
        id: DiscussionId,
        event: DiscussionEventId,
    ) -> Result<Option<DiscussionEvent>, StoreError> {
        run!(self, "discussion_event", db => sqlx::query_as::<_, EventRow>(EVENT)
            .bind(id.to_string()).bind(event.to_string()).fetch_optional(db))?
        .map(EventRow::into_event)
        .transpose()
    }

    /// A page of a repository's discussions, newest first, and how many there are in all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn discussions(
        &self,
        repo: RepoId,
        filter: &DiscussionFilter,
    ) -> Result<(Vec<Discussion>, i64), StoreError> {
        let sql = filter.sql();
        let author = filter.author.map_or(String::new(), |id| id.to_string());
        let count = format!("SELECT COUNT(*){sql}");
        let (count,) = run!(self, "discussions_count", db => sqlx::query_as::<_, (i64,)>(AssertSqlSafe(count))
            .bind(repo.to_string()).bind(&author).fetch_one(db))?;
        let page = format!("SELECT *{sql} ORDER BY number DESC LIMIT $3 OFFSET $4");
        let rows = run!(self, "discussions", db => sqlx::query_as::<_, DiscussionRow>(AssertSqlSafe(page))
            .bind(repo.to_string())
            .bind(&author)
            .bind(filter.limit)
            .bind(filter.start)
            .fetch_all(db))?;
        let page = rows.into_iter().map(DiscussionRow::into_discussion).collect::<Result<_, _>>()?;
        Ok((page, count))
    }

    /// The numbers of an account's pull requests in a repository that can still be merged.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn live_pulls_of(&self, repo: RepoId, author: AccountId) -> Result<Vec<i64>, StoreError> {
        let rows = run!(self, "live_pulls_of", db => sqlx::query_as::<_, (i64,)>(LIVE_PULLS_OF)
            .bind(repo.to_string()).bind(author.to_string()).fetch_all(db))?;
        Ok(rows.into_iter().map(|(number,)| number).collect())
    }

    /// Does things in a discussion, one after the other and all or none; gives it as it is then, and what
    /// it shows of them. `None` when it is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn discussion_act(
        &self,
        id: DiscussionId,
        acts: Vec<Act>,
        by: AccountId,
        at: Timestamp,
    ) -> Result<Option<Result<(Discussion, Vec<DiscussionEvent>), Refusal>>, StoreError> {
        let mut tx = self.begin().await?;
        let Some(mut taken) = Taken::of(&mut tx, id).await? else { return Ok(None) };
        let before = then(&taken.discussion);
        let head = taken.discussion.pull.as_ref().map(|pull| pull.head.clone());
        let mut kinds = Vec::new();
        for act in acts {
            match taken.discussion.apply(act, by, at) {
                Ok(more) => kinds.extend(more),
                Err(refusal) => return Ok(Some(Err(refusal))),
            }
        }
        if taken.is_full(&kinds) {
            return Ok(Some(Err(Refusal::Full)));
        }
        let events = taken.add(&mut tx, kinds, by, at).await?;
        taken.write(&mut tx).await?;
        let discussion = taken.discussion;
        let after = then(&discussion);
        if after != before || discussion.pull.as_ref().map(|pull| pull.head.clone()) != head {
            tell(&mut tx, discussion.repo, at, &Change::DiscussionChanged(after)).await?;
        }
        for event in &events {
            tell_comment(&mut tx, &discussion, event, at).await?;
        }
        tx.commit().await?;
        Ok(Some(Ok((discussion, events))))
    }

    /// Edits or hides a comment; gives it as it is then. `None` when the discussion is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn comment_change(
        &self,
        id: DiscussionId,
        event: DiscussionEventId,
        change: CommentChange,
        by: AccountId,
        at: Timestamp,
    ) -> Result<Option<Result<DiscussionEvent, Refusal>>, StoreError> {
        let mut tx = self.begin().await?;
        let Some(mut taken) = Taken::of(&mut tx, id).await? else { return Ok(None) };
        let row = run_tx!(&mut tx, "comment", db => sqlx::query_as::<_, EventRow>(EVENT)
            .bind(id.to_string()).bind(event.to_string()).fetch_optional(db))?;
        let Some(mut event) = row.map(EventRow::into_event).transpose()? else {
            return Ok(Some(Err(Refusal::NoComment)));
        };
        let EventKind::Comment(comment) = &mut event.kind else { return Ok(Some(Err(Refusal::NoComment))) };
        if comment.is_hidden() {
            return Ok(Some(Err(Refusal::Hidden)));
        }
        let before = size(comment);
        match change {
            CommentChange::Edit(said) if said == comment.text() => return Ok(Some(Ok(event))),
            CommentChange::Edit(said) => comment.edit(said, by, at),
            CommentChange::Hide => {
                comment.hide(by, at);
                taken.discussion.comments -= 1;
            }
        }
        taken.bytes += size(comment) - before;
        if taken.bytes > MAX_DISCUSSION_BYTES {
            return Ok(Some(Err(Refusal::Full)));
        }
        run_tx!(&mut tx, "comment_set", db => sqlx::query(EVENT_SET)
            .bind(to_json(&event.kind)).bind(event.id.to_string()).execute(db).map_ok(crate::unit))?;
        taken.write(&mut tx).await?;
        if let Some(comment) = comment_then(&event) {
            let change = Change::CommentChanged(then(&taken.discussion), comment);
            tell(&mut tx, taken.discussion.repo, at, &change).await?;
        }
        tx.commit().await?;
        Ok(Some(Ok(event)))
    }
}

/// A discussion that nobody else changes until the transaction ends.
struct Taken {
    discussion: Discussion,
    events: i64,
    bytes: i64,
}

impl Taken {
    async fn of(tx: &mut Tx, id: DiscussionId) -> Result<Option<Self>, StoreError> {
        let row = run_tx!(tx, "discussion_take", db => sqlx::query_as::<_, DiscussionRow>(DISCUSSION_TAKE)
            .bind(id.to_string()).fetch_optional(db))?;
        let Some(row) = row else { return Ok(None) };
        let (events, bytes) = (row.events, row.bytes);
        Ok(Some(Self { discussion: row.into_discussion()?, events, bytes }))
    }

    fn is_full(&self, more: &[EventKind]) -> bool {
        // A merge is never refused for what was said before it.
        let merge = |kind: &EventKind| matches!(kind, EventKind::Status { to: DiscussionStatus::Merged });
        let bytes: i64 = more.iter().map(bytes).sum();
        let events = i64::try_from(more.len()).unwrap_or(i64::MAX);
        let full = self.events.saturating_add(events) > MAX_DISCUSSION_EVENTS
            || self.bytes.saturating_add(bytes) > MAX_DISCUSSION_BYTES;
        full && !more.iter().any(merge)
    }

    async fn add(
        &mut self,
        tx: &mut Tx,
        kinds: Vec<EventKind>,
        author: AccountId,
        at: Timestamp,
    ) -> Result<Vec<DiscussionEvent>, StoreError> {
        let mut events = Vec::with_capacity(kinds.len());
        for kind in kinds {
            self.events += 1;
            self.bytes += bytes(&kind);
            let event = DiscussionEvent { id: DiscussionEventId::new(at, random()), author, at, kind };
            run_tx!(tx, "discussion_event_add", db => sqlx::query(EVENT_ADD)
                .bind(event.id.to_string())
                .bind(self.discussion.id.to_string())
                .bind(self.events)
                .bind(author.to_string())
                .bind(at.as_millis())
                .bind(to_json(&event.kind))
                .execute(db).map_ok(crate::unit))?;
            events.push(event);
        }
        Ok(events)
    }

    async fn write(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let Discussion { id, title, status, pinned, locked, comments, pull, .. } = &self.discussion;
        let merged = pull.as_ref().and_then(|pull| pull.merged.as_ref());
        run_tx!(tx, "discussion_set", db => sqlx::query(DISCUSSION_SET)
            .bind(title)
            .bind(status.as_str())
            .bind(*pinned)
            .bind(*locked)
            .bind(*comments)
            .bind(self.events)
            .bind(self.bytes)
            .bind(pull.as_ref().map(|pull| pull.head.as_str()))
            .bind(merged.map(|merged| merged.commit.as_str()))
            .bind(merged.map(|merged| merged.previous.as_str()))
            .bind(id.to_string())
            .execute(db).map_ok(crate::unit))
    }
}

/// What was just written is not there.
fn gone(query: &'static str) -> StoreError {
    StoreError::Query { query, source: sqlx::Error::RowNotFound }
}

fn bytes(kind: &EventKind) -> i64 {
    match kind {
        EventKind::Comment(comment) => size(comment),
        EventKind::Title { from, to } => length(from) + length(to),
        EventKind::Commit { subject, .. } => length(subject),
        EventKind::Status { .. } | EventKind::Pinned { .. } | EventKind::Locked { .. } => 0,
    }
}

fn size(comment: &Comment) -> i64 {
    comment.versions.iter().map(|version| length(&version.text)).sum()
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

/// What webhooks are told of a discussion.
fn then(discussion: &Discussion) -> DiscussionThen {
    let pull = discussion.pull.as_ref();
    DiscussionThen {
        id: discussion.id,
        number: discussion.number,
        title: discussion.title.clone(),
        status: discussion.status,
        author: discussion.author,
        base: pull.map(|pull| pull.base.clone()),
        merge_commit: pull.and_then(|pull| pull.merged.as_ref()).map(|merged| merged.commit.clone()),
    }
}

fn comment_then(event: &DiscussionEvent) -> Option<CommentThen> {
    let EventKind::Comment(comment) = &event.kind else { return None };
    let text = (!comment.is_hidden()).then(|| comment.text().to_owned());
    Some(CommentThen { id: event.id, author: event.author, text })
}

/// Tells of a new comment; of anything else nothing.
async fn tell_comment(
    tx: &mut Tx,
    discussion: &Discussion,
    event: &DiscussionEvent,
    at: Timestamp,
) -> Result<(), StoreError> {
    let Some(comment) = comment_then(event) else { return Ok(()) };
    tell(tx, discussion.repo, at, &Change::CommentMade(then(discussion), comment)).await
}
