//! Who somebody is at an OpenID Connect provider. An identity is issuer and subject, never a name or
//! an address: those can change hands there.

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::account::Account;
use spaceport_core::{AccountId, Timestamp};

use crate::rows::text;
use crate::{Store, StoreError, Tx, exists, run, run_tx};

/// An identity that belongs to an account.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// Who it is there.
    pub subject: String,
}

const IDENTITY_ACCOUNT: &str = "SELECT account_id FROM identities WHERE issuer = $1 AND subject = $2";
const IDENTITY_ADD: &str = "INSERT INTO identities (issuer, subject, account_id, created_at) VALUES ($1, $2, $3, $4)";
const IDENTITIES_OF: &str =
    "SELECT issuer, subject FROM identities WHERE account_id = $1 ORDER BY created_at, issuer, subject";
const IDENTITY_REMOVE: &str = "DELETE FROM identities WHERE account_id = $1 AND issuer = $2";

impl Store {
    /// Whose identity it is; the account may be a disabled one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn identity_account(&self, identity: &Identity) -> Result<Option<AccountId>, StoreError> {
        run!(self, "identity_account", db => sqlx::query_as::<_, (String,)>(IDENTITY_ACCOUNT)
            .bind(&identity.issuer).bind(&identity.subject).fetch_optional(db))?
        .map(|(account,)| text("identities.account_id", &account))
        .transpose()
    }

    /// Gives an account one more identity.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when it is somebody's already.
    pub async fn identity_add(&self, account: AccountId, identity: &Identity, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.identity_add(account, identity, at).await?;
        tx.commit().await
    }

    /// Adds a user together with an identity: both or neither.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken, or the identity is somebody's already.
    pub async fn account_create_with(&self, account: &Account, identity: &Identity) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.account_create(account).await?;
        tx.identity_add(account.id, identity, account.created_at).await?;
        tx.commit().await
    }

    /// The identities of an account, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn identities_of(&self, account: AccountId) -> Result<Vec<Identity>, StoreError> {
        run!(self, "identities_of", db => sqlx::query_as::<_, Identity>(IDENTITIES_OF)
            .bind(account.to_string()).fetch_all(db))
    }

    /// Takes an account's identities at a provider away; `false` when there are none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn identity_remove(&self, account: AccountId, issuer: &str) -> Result<bool, StoreError> {
        run!(self, "identity_remove", db => sqlx::query(IDENTITY_REMOVE)
            .bind(account.to_string()).bind(issuer).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows > 0)
    }
}

impl Tx {
    async fn identity_add(&mut self, account: AccountId, identity: &Identity, at: Timestamp) -> Result<(), StoreError> {
        run_tx!(self, "identity_add", db => sqlx::query(IDENTITY_ADD)
            .bind(&identity.issuer)
            .bind(&identity.subject)
            .bind(account.to_string())
            .bind(at.as_millis())
            .execute(db).map_ok(crate::unit))
        .map_err(exists("an account with this identity"))
    }
}
