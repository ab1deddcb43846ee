//! Accounts and tokens. Tokens are random, so their SHA-256 is enough to find and to hide them.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use sqlx::FromRow;

use spaceport_core::account::{Account, Scopes, Token, TokenRole};
use spaceport_core::route::TokenHolder;
use spaceport_core::{AccountId, Timestamp, TokenId};

use futures::TryFutureExt;

use crate::rows::{json, text, to_json};

use crate::{Store, StoreError, exists, run};

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
}

#[derive(FromRow)]
pub(crate) struct AccountRow {
    id: String,
    name: String,
    kind: String,
    full_name: String,
    email: Option<String>,
    is_admin: bool,
    created_at: i64,
}

impl AccountRow {
    pub(crate) fn into_account(self) -> Result<Account, StoreError> {
        Ok(Account {
            id: text("accounts.id", &self.id)?,
            name: self.name,
            kind: text("accounts.kind", &self.kind)?,
            full_name: self.full_name,
            email: self.email,
            is_admin: self.is_admin,
            created_at: Timestamp::from_millis(self.created_at),
        })
    }
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
        })
    }
}

const ACCOUNT_CREATE: &str = "INSERT INTO accounts (id, name, name_key, kind, full_name, email, is_admin, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const ACCOUNT_BY_ID: &str = "SELECT * FROM accounts WHERE id = $1 AND disabled_at IS NULL";
const ACCOUNT_BY_NAME: &str = "SELECT * FROM accounts WHERE name_key = $1 AND disabled_at IS NULL";
const ACCOUNTS: &str = "SELECT * FROM accounts WHERE disabled_at IS NULL ORDER BY name_key";
const ACCOUNT_DISABLE: &str = "UPDATE accounts SET disabled_at = $1 WHERE id = $2 AND disabled_at IS NULL";
const TOKENS_OF_ACCOUNT_DELETE: &str = "DELETE FROM tokens WHERE account_id = $1";
const TOKEN_CREATE: &str = "INSERT INTO tokens (id, account_id, name, role, scopes, hash, hint, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const TOKEN_BY_HASH: &str = "SELECT * FROM tokens WHERE hash = $1";
const TOKENS_OF: &str = "SELECT * FROM tokens WHERE account_id = $1 ORDER BY created_at, id";
const TOKEN_HOLDERS: &str = "SELECT * FROM tokens \
     WHERE account_id IN (SELECT id FROM accounts WHERE disabled_at IS NULL)";
const TOKEN_DELETE: &str = "DELETE FROM tokens WHERE account_id = $1 AND name = $2";

/// What is stored of a token: its SHA-256 in lower-case hex.
#[must_use]
pub fn token_hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Store {
    /// Adds a user or an organization.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken, whatever its case.
    pub async fn account_create(&self, account: &Account) -> Result<(), StoreError> {
        run!(self, "account_create", db => sqlx::query(ACCOUNT_CREATE)
            .bind(account.id.to_string())
            .bind(&account.name)
            .bind(account.name.to_ascii_lowercase())
            .bind(account.kind.as_str())
            .bind(&account.full_name)
            .bind(&account.email)
            .bind(account.is_admin)
            .bind(account.created_at.as_millis())
            .execute(db).map_ok(crate::unit))
        .map_err(exists("an account of this name"))
    }

    /// By id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_by_id(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        run!(self, "account_by_id", db => sqlx::query_as::<_, AccountRow>(ACCOUNT_BY_ID)
            .bind(id.to_string()).fetch_optional(db))?
        .map(AccountRow::into_account)
        .transpose()
    }

    /// By name, whatever its case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        run!(self, "account_by_name", db => sqlx::query_as::<_, AccountRow>(ACCOUNT_BY_NAME)
            .bind(name.to_ascii_lowercase()).fetch_optional(db))?
        .map(AccountRow::into_account)
        .transpose()
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        run!(self, "accounts", db => sqlx::query_as::<_, AccountRow>(ACCOUNTS).fetch_all(db))?
            .into_iter()
            .map(AccountRow::into_account)
            .collect()
    }

    /// Disables an account and deletes its tokens; its name stays taken.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_disable(&self, id: AccountId, at: Timestamp) -> Result<bool, StoreError> {
        run!(self, "tokens_of_account_delete", db => sqlx::query(TOKENS_OF_ACCOUNT_DELETE)
            .bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        run!(self, "account_disable", db => sqlx::query(ACCOUNT_DISABLE)
            .bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows > 0)
    }

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
            .execute(db).map_ok(crate::unit))
        .map_err(exists("a token of this name"))
    }

    /// The token and its account, if the token is valid.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_account(&self, token: &str) -> Result<Option<(Token, Account)>, StoreError> {
        let row = run!(self, "token_by_hash", db => sqlx::query_as::<_, TokenRow>(TOKEN_BY_HASH)
            .bind(token_hash(token)).fetch_optional(db))?;
        let Some(token) = row.map(TokenRow::into_token).transpose()? else { return Ok(None) };
        Ok(self.account_by_id(token.account).await?.map(|account| (token, account)))
    }

    /// The tokens of an account, oldest first.
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

    /// Every token by its hash, with whom it speaks for: what the proxy needs to know a caller, and
    /// to keep every token of the hub from the apps.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_holders(&self) -> Result<HashMap<String, TokenHolder>, StoreError> {
        let rows = run!(self, "token_holders", db => sqlx::query_as::<_, TokenRow>(TOKEN_HOLDERS).fetch_all(db))?;
        let mut holders = HashMap::with_capacity(rows.len());
        for mut row in rows {
            let hash = std::mem::take(&mut row.hash);
            let token = row.into_token()?;
            let scopes = (token.role == TokenRole::FineGrained).then_some(token.scopes);
            holders.insert(hash, TokenHolder { account: token.account, scopes });
        }
        Ok(holders)
    }

    /// Deletes a token; `false` when there is none of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_delete(&self, account: AccountId, name: &str) -> Result<bool, StoreError> {
        run!(self, "token_delete", db => sqlx::query(TOKEN_DELETE)
            .bind(account.to_string()).bind(name).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows > 0)
    }
}
