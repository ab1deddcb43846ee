//! Organizations: accounts that people share, each with a role.

pub mod manage;
pub mod members;
pub mod overview;

use spaceport_core::account::{Account, AccountKind, TokenRole};

use crate::caller::User;
use crate::error::{ApiError, clip};
use crate::state::ApiState;

/// The organization a path names.
///
/// # Errors
/// 404 when there is none.
pub(crate) async fn named(state: &ApiState, name: &str) -> Result<Account, ApiError> {
    let found = state.store.account_by_name(name).await?.filter(|account| account.kind == AccountKind::Org);
    found.ok_or_else(|| ApiError::not_found(format!("There is no organization {:?}", clip(name))))
}

/// Lets those through who may manage an organization.
///
/// # Errors
/// 403 with the missing right.
pub(crate) fn check_manages(user: &User, org: &Account) -> Result<(), ApiError> {
    if user.viewer.may_manage(org.id) {
        return Ok(());
    }
    if !user.viewer.is_admin_of(org.id) {
        return Err(ApiError::forbidden(format!("Only an admin of {} may do this", org.name)));
    }
    Err(match user.viewer.credential.role() {
        TokenRole::FineGrained => ApiError::token_lacks(&format!("the permission 'org.write' for {}", org.name)),
        TokenRole::Read | TokenRole::Write => ApiError::read_token(),
    })
}
