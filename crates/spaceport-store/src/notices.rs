//! What owners were told about their hardware.

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::gpu::{Notice, QuotaPath};
use spaceport_core::webhook::Change;
use spaceport_core::{SpaceId, Timestamp};

use crate::hook_events::tell;
use crate::rows::text;
use crate::{Store, StoreError, Tx, run, run_tx};

#[derive(FromRow)]
struct NoticeRow {
    id: String,
    space_id: String,
    account: String,
    at: i64,
    kind: String,
    message: String,
    due_at: Option<i64>,
}

impl NoticeRow {
    fn into_notice(self) -> Result<Notice, StoreError> {
        Ok(Notice {
            id: text("notices.id", &self.id)?,
            space: text("notices.space_id", &self.space_id)?,
            account: QuotaPath(self.account),
            at: Timestamp::from_millis(self.at),
            kind: text("notices.kind", &self.kind)?,
            message: self.message,
            due_at: self.due_at.map(Timestamp::from_millis),
        })
    }
}

const NOTICE_ADD: &str = "INSERT INTO notices (id, space_id, account, at, kind, message, due_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";
const NOTICES_OF: &str = "SELECT * FROM notices WHERE space_id = $1 ORDER BY at DESC, id DESC LIMIT $2";
const NOTICES: &str = "SELECT * FROM notices WHERE at >= $1 ORDER BY at DESC, id DESC LIMIT $2";
const NOTICES_FORGET: &str = "DELETE FROM notices WHERE at < $1";

/// Tells an owner something, together with what it is about; webhooks that watch the Space are told, too.
pub(crate) async fn add(tx: &mut Tx, notice: &Notice) -> Result<(), StoreError> {
    run_tx!(tx, "notice_add", db => sqlx::query(NOTICE_ADD)
        .bind(notice.id.to_string())
        .bind(notice.space.to_string())
        .bind(&notice.account.0)
        .bind(notice.at.as_millis())
        .bind(notice.kind.as_str())
        .bind(&notice.message)
        .bind(notice.due_at.map(Timestamp::as_millis))
        .execute(db).map_ok(crate::unit))?;
    let change = Change::Notice { kind: notice.kind, message: notice.message.clone(), due_at: notice.due_at };
    tell(tx, notice.space.into(), notice.at, &change).await
}

impl Store {
    /// The newest of a Space, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notices_of(&self, space: SpaceId, limit: i64) -> Result<Vec<Notice>, StoreError> {
        run!(self, "notices_of", db => sqlx::query_as::<_, NoticeRow>(NOTICES_OF)
            .bind(space.to_string()).bind(limit).fetch_all(db))?
        .into_iter()
        .map(NoticeRow::into_notice)
        .collect()
    }

    /// The newest since a time, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notices(&self, since: Timestamp, limit: i64) -> Result<Vec<Notice>, StoreError> {
        run!(self, "notices", db => sqlx::query_as::<_, NoticeRow>(NOTICES)
            .bind(since.as_millis()).bind(limit).fetch_all(db))?
        .into_iter()
        .map(NoticeRow::into_notice)
        .collect()
    }

    /// Forgets those from before a time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notices_forget(&self, before: Timestamp) -> Result<(), StoreError> {
        run!(self, "notices_forget", db => sqlx::query(NOTICES_FORGET)
            .bind(before.as_millis()).execute(db).map_ok(crate::unit))
    }
}
