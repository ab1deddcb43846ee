//! Organizations: accounts that have members instead of a password.

use futures::TryFutureExt;

use spaceport_core::AccountId;
use spaceport_core::account::{Account, OrgRole};

use crate::members::MEMBER_SET;
use crate::{Store, StoreError, run, run_tx};

/// What became of an organization that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrgDeletion {
    /// It is gone, and its name is free.
    Done,
    /// It has repositories still, or some that are going away.
    HasRepositories,
}

const ORG_CREATE: &str = "INSERT INTO organizations (id, details) VALUES ($1, '')";
const ORG_DETAILS: &str = "SELECT details FROM organizations WHERE id = $1";
const ORG_SET_DETAILS: &str = "UPDATE organizations SET details = $1 WHERE id = $2";
const ORG_SET_FULL_NAME: &str = "UPDATE accounts SET full_name = $1 WHERE id = $2";
const ORG_DELETE: &str = "DELETE FROM accounts WHERE id = $1 AND kind = 'org' \
     AND NOT EXISTS (SELECT 1 FROM repos WHERE owner_id = $1)";

impl Store {
    /// Adds an organization with its first admin.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken, whatever its case.
    pub async fn org_create(&self, org: &Account, admin: AccountId) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.account_create(org).await?;
        run_tx!(&mut tx, "org_create", db => sqlx::query(ORG_CREATE)
            .bind(org.id.to_string()).execute(db).map_ok(crate::unit))?;
        run_tx!(&mut tx, "member_set", db => sqlx::query(MEMBER_SET)
            .bind(org.id.to_string())
            .bind(admin.to_string())
            .bind(OrgRole::Admin.as_str())
            .bind(org.created_at.as_millis())
            .execute(db).map_ok(crate::unit))?;
        tx.commit().await
    }

    /// What an organization says about itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn org_details(&self, org: AccountId) -> Result<String, StoreError> {
        run!(self, "org_details", db => sqlx::query_as::<_, (String,)>(ORG_DETAILS)
            .bind(org.to_string()).fetch_optional(db))
        .map(|row| row.map(|(details,)| details).unwrap_or_default())
    }

    /// Changes what an organization is called and says about itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn org_update(&self, org: AccountId, full_name: &str, details: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        run_tx!(&mut tx, "org_set_full_name", db => sqlx::query(ORG_SET_FULL_NAME)
            .bind(full_name).bind(org.to_string()).execute(db).map_ok(crate::unit))?;
        run_tx!(&mut tx, "org_set_details", db => sqlx::query(ORG_SET_DETAILS)
            .bind(details).bind(org.to_string()).execute(db).map_ok(crate::unit))?;
        tx.commit().await
    }

    /// Deletes an organization without repositories, and frees its name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn org_delete(&self, org: AccountId) -> Result<OrgDeletion, StoreError> {
        let deleted = run!(self, "org_delete", db => sqlx::query(ORG_DELETE)
            .bind(org.to_string()).execute(db).map_ok(crate::Rows::rows));
        match deleted {
            Ok(0) => Ok(OrgDeletion::HasRepositories),
            Ok(_) => Ok(OrgDeletion::Done),
            // One was created between the look and the deletion.
            Err(StoreError::Query { source: sqlx::Error::Database(db), .. }) if db.is_foreign_key_violation() => {
                Ok(OrgDeletion::HasRepositories)
            }
            Err(error) => Err(error),
        }
    }
}
