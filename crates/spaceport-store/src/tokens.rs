//! Access tokens. They are random, so their SHA-256 is enough to find and to hide them.

use std::collections::HashMap;
use std::time::Duration;

use futures::TryFutureExt;
use sha2::{Digest, Sha256};
use sqlx::FromRow;

use spaceport_core::account::{Account, Scopes, Token, TokenRole};
use spaceport_core::route::TokenHolder;
use spaceport_core::{AccountId, Timestamp, TokenId};

use crate::rows::{json, text, to_json};
use crate::{Store, StoreError, exists, run, run_tx};

/// The last use is written down once in so long: not every request needs a write.
const TOUCH_EVERY: Duration = Duration::from_secs(5 * 60);

/// A token to be stored.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// Identity.
    pub id: TokenId,
    /// Whose.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: &'a str,
    /// What it may do.
    pub role: TokenRole,
    /// What a fine-grained one may do.
    pub scopes: Scopes,
    /// The token itself; only its hash is kept.
    pub token: &'a str,
    /// Now.
    pub at: Timestamp,
    /// Worth nothing from then on; `None` is never.
    pub expires_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct TokenRow {
    id: String,
    account_id: String,
    name: String,
    role: String,
    scopes: String,
    hash: String,
    hint: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl TokenRow {
    fn into_token(self) -> Result<Token, StoreError> {
        Ok(Token {
            id: text("tokens.id", &self.id)?,
            account: text("tokens.account_id", &self.account_id)?,
            name: self.name,
            role: text("tokens.role", &self.role)?,
            scopes: json("tokens.scopes", &self.scopes)?,
            hint: self.hint,
            created_at: Timestamp::from_millis(self.created_at),
            expires_at: self.expires_at.map(Timestamp::from_millis),
            last_used_at: self.last_used_at.map(Timestamp::from_millis),
        })
    }
}

const TOKEN_CREATE: &str = "INSERT INTO tokens (id, account_id, name, role, scopes, hash, hint, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const TOKEN_BY_HASH: &str = "SELECT * FROM tokens WHERE hash = $1 AND (expires_at IS NULL OR expires_at > $2)";
const TOKEN_BY_ID: &str = "SELECT * FROM tokens WHERE id = $1 AND (expires_at IS NULL OR expires_at > $2)";
const TOKEN_TOUCH: &str = "UPDATE tokens SET last_used_at = $1 WHERE id = $2";
const TOKENS_OF: &str = "SELECT * FROM tokens WHERE account_id = $1 ORDER BY created_at, id";
const TOKEN_HOLDERS: &str = "SELECT * FROM tokens WHERE (expires_at IS NULL OR expires_at > $1) \
     AND account_id IN (SELECT id FROM accounts WHERE disabled_at IS NULL)";
const TOKEN_DELETE: &str = "DELETE FROM tokens WHERE account_id = $1 AND (name = $2 OR id = $2)";
const TOKEN_REVOKE: &str = "DELETE FROM tokens WHERE hash = $1 RETURNING account_id, name";
const REVOKED_ADD: &str = "INSERT INTO revoked_tokens (hash, revoked_at) VALUES ($1, $2)";
const REVOKED: &str = "SELECT COUNT(*) FROM revoked_tokens WHERE hash = $1";

/// What is stored of a token, or of any other long random secret: its SHA-256 in lower-case hex.
#[must_use]
pub fn token_hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a last use is old enough to be written again.
pub(crate) fn is_stale(last_used: Option<Timestamp>, now: Timestamp) -> bool {
    last_used.is_none_or(|last| now.since(last) >= TOUCH_EVERY)
}

/// The time of the last use is for people alone: a request does not fail for want of it.
pub(crate) fn unless_touched(touched: Result<(), StoreError>) {
    if let Err(error) = touched {
        tracing::warn!(error = &error as &dyn std::error::Error, "the last use of a credential could not be written");
    }
}

impl Store {
    /// Adds a token.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the account has one of this name.
    pub async fn token_create(&self, new: &NewToken<'_>) -> Result<(), StoreError> {
        let hint: String = new.token.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
        run!(self, "token_create", db => sqlx::query(TOKEN_CREATE)
            .bind(new.id.to_string())
            .bind(new.account.to_string())
            .bind(new.name)
            .bind(new.role.as_str())
            .bind(to_json(&new.scopes))
            .bind(token_hash(new.token))
            .bind(&hint)
            .bind(new.at.as_millis())
            .bind(new.expires_at.map(Timestamp::as_millis))
            .execute(db).map_ok(crate::unit))
        .map_err(exists("a token of this name"))
    }

    /// The token and its account, if the token is valid. That it was used is written down.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_account(&self, token: &str, now: Timestamp) -> Result<Option<(Token, Account)>, StoreError> {
        let row = run!(self, "token_by_hash", db => sqlx::query_as::<_, TokenRow>(TOKEN_BY_HASH)
            .bind(token_hash(token)).bind(now.as_millis()).fetch_optional(db))?;
        let Some(token) = row.map(TokenRow::into_token).transpose()? else { return Ok(None) };
        let Some(account) = self.account_by_id(token.account).await? else { return Ok(None) };
        if is_stale(token.last_used_at, now) {
            let touched = run!(self, "token_touch", db => sqlx::query(TOKEN_TOUCH)
                .bind(now.as_millis()).bind(token.id.to_string()).execute(db).map_ok(crate::unit));
            unless_touched(touched);
        }
        Ok(Some((token, account)))
    }

    /// A token and its account by its id, if it is valid still.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_by_id(&self, id: TokenId, now: Timestamp) -> Result<Option<(Token, Account)>, StoreError> {
        let row = run!(self, "token_by_id", db => sqlx::query_as::<_, TokenRow>(TOKEN_BY_ID)
            .bind(id.to_string()).bind(now.as_millis()).fetch_optional(db))?;
        let Some(token) = row.map(TokenRow::into_token).transpose()? else { return Ok(None) };
        Ok(self.account_by_id(token.account).await?.map(|account| (token, account)))
    }

    /// The tokens of an account, oldest first; expired ones too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens_of(&self, account: AccountId) -> Result<Vec<Token>, StoreError> {
        run!(self, "tokens_of", db => sqlx::query_as::<_, TokenRow>(TOKENS_OF)
            .bind(account.to_string()).fetch_all(db))?
        .into_iter()
        .map(TokenRow::into_token)
        .collect()
    }

    /// Every valid token by its hash, with what it opens: what the proxy needs to know a caller.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_holders(&self, now: Timestamp) -> Result<HashMap<String, TokenHolder>, StoreError> {
        let rows = run!(self, "token_holders", db => sqlx::query_as::<_, TokenRow>(TOKEN_HOLDERS)
            .bind(now.as_millis()).fetch_all(db))?;
        let mut holders = HashMap::with_capacity(rows.len());
        for mut row in rows {
            let hash = std::mem::take(&mut row.hash);
            let token = row.into_token()?;
            let scopes = (token.role == TokenRole::FineGrained).then_some(token.scopes);
            holders.insert(hash, TokenHolder { account: token.account, until: token.expires_at, scopes });
        }
        Ok(holders)
    }

    /// Deletes a token by its name or its id; `false` when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_delete(&self, account: AccountId, name: &str) -> Result<bool, StoreError> {
        run!(self, "token_delete", db => sqlx::query(TOKEN_DELETE)
            .bind(account.to_string()).bind(name).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows > 0)
    }

    /// Deletes a token that leaked, for good: its account and its name, or `None` when it is no token.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_revoke(&self, token: &str, at: Timestamp) -> Result<Option<(AccountId, String)>, StoreError> {
        let hash = token_hash(token);
        let mut tx = self.begin().await?;
        let gone = run_tx!(&mut tx, "token_revoke", db => sqlx::query_as::<_, (String, String)>(TOKEN_REVOKE)
            .bind(&hash).fetch_optional(db))?;
        let Some((account, name)) = gone else { return Ok(None) };
        run_tx!(&mut tx, "revoked_add", db => sqlx::query(REVOKED_ADD)
            .bind(&hash).bind(at.as_millis()).execute(db).map_ok(crate::unit))?;
        tx.commit().await?;
        Ok(Some((text("tokens.account_id", &account)?, name)))
    }

    /// Whether a token was revoked because it leaked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_is_revoked(&self, token: &str) -> Result<bool, StoreError> {
        run!(self, "revoked", db => sqlx::query_as::<_, (i64,)>(REVOKED).bind(token_hash(token)).fetch_one(db))
            .map(|(count,)| count > 0)
    }
}
