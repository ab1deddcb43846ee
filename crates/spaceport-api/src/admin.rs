//! What only site admins do; every change leaves a row in the audit.

pub mod site;
pub mod tokens;
pub mod users;

use spaceport_core::account::Account;

use crate::error::{ApiError, clip};
use crate::state::ApiState;

/// The account a path names.
pub(crate) async fn account(state: &ApiState, name: &str) -> Result<Account, ApiError> {
    let found = state.store.account_by_name(name).await?;
    found.ok_or_else(|| ApiError::not_found(format!("There is no user {:?}", clip(name))))
}
