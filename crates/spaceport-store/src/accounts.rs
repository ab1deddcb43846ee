//! Accounts: users and organizations in one namespace.

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::account::{Account, AccountKind};
use spaceport_core::{AccountId, Timestamp};

use crate::rows::text;
use crate::{Store, StoreError, Tx, exists, run, run_tx};

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
struct ListedRow {
    disabled_at: Option<i64>,
    #[sqlx(flatten)]
    account: AccountRow,
}

impl ListedRow {
    fn into_listed(self) -> Result<(Account, Option<Timestamp>), StoreError> {
        Ok((self.account.into_account()?, self.disabled_at.map(Timestamp::from_millis)))
    }
}

const ACCOUNT_CREATE: &str = "INSERT INTO accounts (id, name, name_key, kind, full_name, email, is_admin, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const ACCOUNT_BY_ID: &str = "SELECT * FROM accounts WHERE id = $1 AND disabled_at IS NULL";
const ACCOUNT_BY_NAME: &str = "SELECT * FROM accounts WHERE name_key = $1 AND disabled_at IS NULL";
const ACCOUNT_LISTED: &str = "SELECT * FROM accounts WHERE name_key = $1";
const ACCOUNTS: &str = "SELECT * FROM accounts WHERE disabled_at IS NULL ORDER BY name_key";
const ACCOUNTS_LISTED: &str = "SELECT * FROM accounts WHERE kind = $1 ORDER BY name_key";
const ACCOUNT_DISABLE: &str = "UPDATE accounts SET disabled_at = $1 WHERE id = $2 AND disabled_at IS NULL";
const ACCOUNT_ENABLE: &str = "UPDATE accounts SET disabled_at = NULL WHERE id = $1 AND disabled_at IS NOT NULL";
const ADMINS_LOCK: &str = "UPDATE accounts SET name = name WHERE is_admin AND disabled_at IS NULL";
const ADMINS: &str = "SELECT id FROM accounts WHERE is_admin AND disabled_at IS NULL";
const ADMIN_SET: &str = "UPDATE accounts SET is_admin = $1 WHERE id = $2";
const TOKENS_FORGET: &str = "DELETE FROM tokens WHERE account_id = $1";
const PASSWORD_FORGET: &str = "DELETE FROM passwords WHERE account_id = $1";
const SESSIONS_FORGET: &str = "DELETE FROM sessions WHERE account_id = $1";
const LINKS_FORGET: &str = "DELETE FROM sign_in_links WHERE account_id = $1";
const IDENTITIES_FORGET: &str = "DELETE FROM identities WHERE account_id = $1";

/// What became of a change of who administers the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminChange {
    /// It is done.
    Done,
    /// It would have left the site without an admin; nothing changed.
    LastAdmin,
}

impl Store {
    /// Makes an account a site admin, or not one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_set_admin(&self, id: AccountId, is_admin: bool) -> Result<AdminChange, StoreError> {
        let mut tx = self.begin().await?;
        // Locked first, so that two admins who stop being one come one after the other.
        run_tx!(&mut tx, "admins_lock", db => sqlx::query(ADMINS_LOCK).execute(db).map_ok(crate::unit))?;
        let admins = run_tx!(&mut tx, "admins", db => sqlx::query_as::<_, (String,)>(ADMINS).fetch_all(db))?;
        if !is_admin && matches!(admins.as_slice(), [(only,)] if *only == id.to_string()) {
            return Ok(AdminChange::LastAdmin);
        }
        run_tx!(&mut tx, "admin_set", db => sqlx::query(ADMIN_SET)
            .bind(is_admin).bind(id.to_string()).execute(db).map_ok(crate::unit))?;
        tx.commit().await?;
        Ok(AdminChange::Done)
    }

    /// Adds a user or an organization.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken, whatever its case.
    pub async fn account_create(&self, account: &Account) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.account_create(account).await?;
        tx.commit().await
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

    /// By name, whatever its case, with the time it was disabled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_listed(&self, name: &str) -> Result<Option<(Account, Option<Timestamp>)>, StoreError> {
        run!(self, "account_listed", db => sqlx::query_as::<_, ListedRow>(ACCOUNT_LISTED)
            .bind(name.to_ascii_lowercase()).fetch_optional(db))?
        .map(ListedRow::into_listed)
        .transpose()
    }

    /// All of a kind by name, with the time they were disabled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn accounts_listed(&self, kind: AccountKind) -> Result<Vec<(Account, Option<Timestamp>)>, StoreError> {
        run!(self, "accounts_listed", db => sqlx::query_as::<_, ListedRow>(ACCOUNTS_LISTED)
            .bind(kind.as_str()).fetch_all(db))?
        .into_iter()
        .map(ListedRow::into_listed)
        .collect()
    }

    /// Disables an account: nobody is it any more, and nobody signs in as it, until it is enabled.
    /// Its tokens stay and are worth nothing meanwhile; `false` when it was disabled before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_disable(&self, id: AccountId, at: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let disabled = tx.account_disable(id, at).await?;
        tx.commit().await?;
        Ok(disabled)
    }

    /// Disables an account and forgets every way to be it or to sign in as it; its name stays taken.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_retire(&self, id: AccountId, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.account_disable(id, at).await?;
        for sql in [TOKENS_FORGET, PASSWORD_FORGET, IDENTITIES_FORGET] {
            run_tx!(&mut tx, "account_retire", db => sqlx::query(sql)
                .bind(id.to_string()).execute(db).map_ok(crate::unit))?;
        }
        tx.commit().await
    }

    /// Enables a disabled account; `false` when it was not disabled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_enable(&self, id: AccountId) -> Result<bool, StoreError> {
        run!(self, "account_enable", db => sqlx::query(ACCOUNT_ENABLE)
            .bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows > 0)
    }
}

impl Tx {
    pub(crate) async fn account_create(&mut self, account: &Account) -> Result<(), StoreError> {
        run_tx!(self, "account_create", db => sqlx::query(ACCOUNT_CREATE)
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

    async fn account_disable(&mut self, id: AccountId, at: Timestamp) -> Result<bool, StoreError> {
        let rows = run_tx!(self, "account_disable", db => sqlx::query(ACCOUNT_DISABLE)
            .bind(at.as_millis()).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        for sql in [SESSIONS_FORGET, LINKS_FORGET] {
            run_tx!(self, "sessions_forget", db => sqlx::query(sql)
                .bind(id.to_string()).execute(db).map_ok(crate::unit))?;
        }
        Ok(rows > 0)
    }
}
