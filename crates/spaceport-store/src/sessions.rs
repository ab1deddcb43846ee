//! How people sign in and stay signed in: passwords, browser sessions and one-time links.
//!
//! The secrets of sessions and links are random and long, so a hash as fast as SHA-256 hides them;
//! passwords come here hashed by a slow one.

use std::time::Duration;

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::account::{Account, Session};
use spaceport_core::{AccountId, SessionId, Timestamp};

use crate::rows::text;
use crate::tokens::{is_stale, token_hash, unless_touched};
use crate::{Store, StoreError, exists, run, run_tx};

/// A session to be stored.
#[derive(Debug)]
pub struct NewSession<'a> {
    /// Identity, whose, until when, from where; not used yet.
    pub session: Session,
    /// The secret in the cookie; only its hash is kept.
    pub secret: &'a str,
}

#[derive(FromRow)]
struct SessionRow {
    id: String,
    account_id: String,
    created_at: i64,
    last_used_at: i64,
    expires_at: i64,
    origin: String,
    agent: String,
}

impl SessionRow {
    fn into_session(self) -> Result<Session, StoreError> {
        Ok(Session {
            id: text("sessions.id", &self.id)?,
            account: text("sessions.account_id", &self.account_id)?,
            created_at: Timestamp::from_millis(self.created_at),
            last_used_at: Timestamp::from_millis(self.last_used_at),
            expires_at: Timestamp::from_millis(self.expires_at),
            origin: self.origin,
            agent: self.agent,
        })
    }
}

const PASSWORD_OF: &str = "SELECT hash FROM passwords WHERE account_id = $1";
const PASSWORD_SET: &str = "INSERT INTO passwords (account_id, hash, updated_at) VALUES ($1, $2, $3) \
     ON CONFLICT (account_id) DO UPDATE SET hash = excluded.hash, updated_at = excluded.updated_at";
const SESSION_CREATE: &str = "INSERT INTO sessions (id, account_id, hash, created_at, last_used_at, expires_at, origin, agent) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const SESSIONS_EXPIRE: &str = "DELETE FROM sessions WHERE expires_at <= $1 OR last_used_at <= $2";
const SESSION_BY_HASH: &str = "SELECT * FROM sessions WHERE hash = $1 AND expires_at > $2 AND last_used_at > $3";
const SESSION_BY_ID: &str = "SELECT * FROM sessions WHERE id = $1 AND expires_at > $2 AND last_used_at > $3";
const SESSION_TOUCH: &str = "UPDATE sessions SET last_used_at = $1 WHERE id = $2";
const SESSIONS_OF: &str = "SELECT * FROM sessions WHERE account_id = $1 AND expires_at > $2 AND last_used_at > $3 \
     ORDER BY created_at, id";
const SESSION_DELETE: &str = "DELETE FROM sessions WHERE account_id = $1 AND id = $2";
const SESSIONS_END: &str = "DELETE FROM sessions WHERE account_id = $1 AND id <> $2";
const LINK_CREATE: &str =
    "INSERT INTO sign_in_links (hash, account_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
const LINKS_EXPIRE: &str = "DELETE FROM sign_in_links WHERE expires_at <= $1";
const LINK_TAKE: &str = "DELETE FROM sign_in_links WHERE hash = $1 AND expires_at > $2 RETURNING account_id";

/// How long a session that nobody uses stays valid.
pub const SESSION_IDLE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

impl Store {
    /// The hash of an account's password, if it has one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn password_of(&self, account: AccountId) -> Result<Option<String>, StoreError> {
        run!(self, "password_of", db => sqlx::query_as::<_, (String,)>(PASSWORD_OF)
            .bind(account.to_string()).fetch_optional(db))
        .map(|row| row.map(|(hash,)| hash))
    }

    /// Sets a password and ends the account's sessions but one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn password_set(
        &self,
        account: AccountId,
        hash: &str,
        keep: Option<SessionId>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        run_tx!(&mut tx, "password_set", db => sqlx::query(PASSWORD_SET)
            .bind(account.to_string()).bind(hash).bind(at.as_millis()).execute(db).map_ok(crate::unit))?;
        run_tx!(&mut tx, "sessions_end", db => sqlx::query(SESSIONS_END)
            .bind(account.to_string())
            .bind(keep.map(String::from).unwrap_or_default())
            .execute(db).map_ok(crate::unit))?;
        tx.commit().await
    }

    /// Adds a session, and forgets those that are over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_create(&self, new: &NewSession<'_>) -> Result<(), StoreError> {
        let Session { id, account, created_at, last_used_at, expires_at, origin, agent } = &new.session;
        let mut tx = self.begin().await?;
        run_tx!(&mut tx, "sessions_expire", db => sqlx::query(SESSIONS_EXPIRE)
            .bind(created_at.as_millis())
            .bind(idle_before(*created_at))
            .execute(db).map_ok(crate::unit))?;
        run_tx!(&mut tx, "session_create", db => sqlx::query(SESSION_CREATE)
            .bind(id.to_string())
            .bind(account.to_string())
            .bind(token_hash(new.secret))
            .bind(created_at.as_millis())
            .bind(last_used_at.as_millis())
            .bind(expires_at.as_millis())
            .bind(origin)
            .bind(agent)
            .execute(db).map_ok(crate::unit))
        .map_err(exists("this session"))?;
        tx.commit().await
    }

    /// The session and its account, if the secret is one of a session that is not over. That it was
    /// used is written down.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_account(
        &self,
        secret: &str,
        now: Timestamp,
    ) -> Result<Option<(Session, Account)>, StoreError> {
        let row = run!(self, "session_by_hash", db => sqlx::query_as::<_, SessionRow>(SESSION_BY_HASH)
            .bind(token_hash(secret)).bind(now.as_millis()).bind(idle_before(now)).fetch_optional(db))?;
        let Some(session) = row.map(SessionRow::into_session).transpose()? else { return Ok(None) };
        let Some(account) = self.account_by_id(session.account).await? else { return Ok(None) };
        if is_stale(Some(session.last_used_at), now) {
            let touched = run!(self, "session_touch", db => sqlx::query(SESSION_TOUCH)
                .bind(now.as_millis()).bind(session.id.to_string()).execute(db).map_ok(crate::unit));
            unless_touched(touched);
        }
        Ok(Some((session, account)))
    }

    /// A session and its account by its id, if it is not over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_by_id(&self, id: SessionId, now: Timestamp) -> Result<Option<(Session, Account)>, StoreError> {
        let row = run!(self, "session_by_id", db => sqlx::query_as::<_, SessionRow>(SESSION_BY_ID)
            .bind(id.to_string()).bind(now.as_millis()).bind(idle_before(now)).fetch_optional(db))?;
        let Some(session) = row.map(SessionRow::into_session).transpose()? else { return Ok(None) };
        Ok(self.account_by_id(session.account).await?.map(|account| (session, account)))
    }

    /// The sessions of an account, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sessions_of(&self, account: AccountId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        run!(self, "sessions_of", db => sqlx::query_as::<_, SessionRow>(SESSIONS_OF)
            .bind(account.to_string()).bind(now.as_millis()).bind(idle_before(now)).fetch_all(db))?
        .into_iter()
        .map(SessionRow::into_session)
        .collect()
    }

    /// Ends a session; `false` when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_delete(&self, account: AccountId, id: SessionId) -> Result<bool, StoreError> {
        run!(self, "session_delete", db => sqlx::query(SESSION_DELETE)
            .bind(account.to_string()).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows > 0)
    }

    /// Adds a link that signs in once, and forgets those that are over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sign_in_link_create(
        &self,
        account: AccountId,
        secret: &str,
        at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        run_tx!(&mut tx, "links_expire", db => sqlx::query(LINKS_EXPIRE)
            .bind(at.as_millis()).execute(db).map_ok(crate::unit))?;
        run_tx!(&mut tx, "link_create", db => sqlx::query(LINK_CREATE)
            .bind(token_hash(secret))
            .bind(account.to_string())
            .bind(at.as_millis())
            .bind(expires_at.as_millis())
            .execute(db).map_ok(crate::unit))?;
        tx.commit().await
    }

    /// Takes a link: its account, once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sign_in_link_take(&self, secret: &str, now: Timestamp) -> Result<Option<Account>, StoreError> {
        let row = run!(self, "link_take", db => sqlx::query_as::<_, (String,)>(LINK_TAKE)
            .bind(token_hash(secret)).bind(now.as_millis()).fetch_optional(db))?;
        match row {
            Some((account,)) => self.account_by_id(text("sign_in_links.account_id", &account)?).await,
            None => Ok(None),
        }
    }
}

/// A session last used then or earlier is over.
fn idle_before(now: Timestamp) -> i64 {
    (now - SESSION_IDLE).as_millis()
}
