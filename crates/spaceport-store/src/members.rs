//! Who is in which organization.

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::account::{Account, OrgRole};
use spaceport_core::{AccountId, Timestamp};

use crate::accounts::AccountRow;
use crate::rows::text;
use crate::{Store, StoreError, Tx, run, run_tx};

#[derive(FromRow)]
struct MemberRow {
    role: String,
    #[sqlx(flatten)]
    account: AccountRow,
}

impl MemberRow {
    fn into_member(self) -> Result<(Account, OrgRole), StoreError> {
        Ok((self.account.into_account()?, text("members.role", &self.role)?))
    }
}

pub(crate) const MEMBER_SET: &str = "INSERT INTO members (org_id, user_id, role, created_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role";
const MEMBER_REMOVE: &str = "DELETE FROM members WHERE org_id = $1 AND user_id = $2";
const ORG_LOCK: &str = "UPDATE accounts SET name = name WHERE id = $1";
const ADMINS_OF: &str = "SELECT m.user_id FROM members m JOIN accounts a ON a.id = m.user_id \
     WHERE m.org_id = $1 AND m.role = 'admin' AND a.disabled_at IS NULL";
const MEMBERS_OF: &str = "SELECT m.role, a.* FROM members m JOIN accounts a ON a.id = m.user_id \
     WHERE m.org_id = $1 AND a.disabled_at IS NULL ORDER BY a.name_key";
const ORGS_OF: &str = "SELECT m.role, a.* FROM members m JOIN accounts a ON a.id = m.org_id \
     WHERE m.user_id = $1 AND a.disabled_at IS NULL ORDER BY a.name_key";
const ROLES_OF: &str = "SELECT m.org_id, m.role FROM members m JOIN accounts a ON a.id = m.org_id \
     WHERE m.user_id = $1 AND a.disabled_at IS NULL";
const MEMBER_IDS: &str = "SELECT m.org_id, m.user_id FROM members m JOIN accounts a ON a.id = m.user_id \
     WHERE a.disabled_at IS NULL ORDER BY m.org_id, m.user_id";

/// What became of a change of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// It is done.
    Done,
    /// There is no such member.
    NoMember,
    /// It would have left the organization without an admin; nothing changed.
    LastAdmin,
}

impl Store {
    /// Adds a member, or changes its role.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn member_set(
        &self,
        org: AccountId,
        user: AccountId,
        role: OrgRole,
        at: Timestamp,
    ) -> Result<MemberChange, StoreError> {
        let mut tx = self.begin().await?;
        if role != OrgRole::Admin && tx.is_last_admin(org, user).await? {
            return Ok(MemberChange::LastAdmin);
        }
        run_tx!(&mut tx, "member_set", db => sqlx::query(MEMBER_SET)
            .bind(org.to_string())
            .bind(user.to_string())
            .bind(role.as_str())
            .bind(at.as_millis())
            .execute(db).map_ok(crate::unit))?;
        tx.commit().await?;
        Ok(MemberChange::Done)
    }

    /// Removes a member.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn member_remove(&self, org: AccountId, user: AccountId) -> Result<MemberChange, StoreError> {
        let mut tx = self.begin().await?;
        if tx.is_last_admin(org, user).await? {
            return Ok(MemberChange::LastAdmin);
        }
        let rows = run_tx!(&mut tx, "member_remove", db => sqlx::query(MEMBER_REMOVE)
            .bind(org.to_string()).bind(user.to_string()).execute(db).map_ok(crate::Rows::rows))?;
        tx.commit().await?;
        Ok(if rows > 0 { MemberChange::Done } else { MemberChange::NoMember })
    }

    /// The members of an organization with their roles, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn members_of(&self, org: AccountId) -> Result<Vec<(Account, OrgRole)>, StoreError> {
        self.members(MEMBERS_OF, org).await
    }

    /// The organizations of a user with the user's roles, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orgs_of(&self, user: AccountId) -> Result<Vec<(Account, OrgRole)>, StoreError> {
        self.members(ORGS_OF, user).await
    }

    async fn members(&self, sql: &'static str, of: AccountId) -> Result<Vec<(Account, OrgRole)>, StoreError> {
        run!(self, "members", db => sqlx::query_as::<_, MemberRow>(sql).bind(of.to_string()).fetch_all(db))?
            .into_iter()
            .map(MemberRow::into_member)
            .collect()
    }

    /// The roles of a user in its organizations: what every request of it needs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn roles_of(&self, user: AccountId) -> Result<Vec<(AccountId, OrgRole)>, StoreError> {
        run!(self, "roles_of", db => sqlx::query_as::<_, (String, String)>(ROLES_OF)
            .bind(user.to_string()).fetch_all(db))?
        .into_iter()
        .map(|(org, role)| Ok((text("members.org_id", &org)?, text("members.role", &role)?)))
        .collect()
    }

    /// Every organization with every member of it: what the proxy needs to know who may see what.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn member_ids(&self) -> Result<Vec<(AccountId, AccountId)>, StoreError> {
        run!(self, "member_ids", db => sqlx::query_as::<_, (String, String)>(MEMBER_IDS).fetch_all(db))?
            .into_iter()
            .map(|(org, user)| Ok((text("members.org_id", &org)?, text("members.user_id", &user)?)))
            .collect()
    }
}

impl Tx {
    /// Whether a member is the only admin left. The organization's row is locked first, so that two
    /// admins who leave at the same time come one after the other on either engine.
    async fn is_last_admin(&mut self, org: AccountId, user: AccountId) -> Result<bool, StoreError> {
        run_tx!(self, "org_lock", db => sqlx::query(ORG_LOCK)
            .bind(org.to_string()).execute(db).map_ok(crate::unit))?;
        let admins = run_tx!(self, "admins_of", db => sqlx::query_as::<_, (String,)>(ADMINS_OF)
            .bind(org.to_string()).fetch_all(db))?;
        Ok(matches!(admins.as_slice(), [(only,)] if *only == user.to_string()))
    }
}
