//! Every state change leaves a row: who, what, from where.

use serde_json::Value;
use ulid::Ulid;

use spaceport_store::AuditEntry;

use crate::caller::User;
use crate::error::ApiError;
use crate::state::ApiState;

/// Writes one row. The details never hold a value of a secret or a token.
///
/// # Errors
/// When the database fails: a change that cannot be recorded is reported as failed.
pub(crate) async fn record(
    state: &ApiState,
    user: &User,
    action: &str,
    subject: &str,
    detail: Value,
) -> Result<(), ApiError> {
    record_by(state, &user.account().name, &user.origin, action, subject, detail).await
}

/// The same for what is done without a caller: signing in, or revoking a token that leaked.
///
/// # Errors
/// When the database fails.
pub(crate) async fn record_by(
    state: &ApiState,
    actor: &str,
    origin: &str,
    action: &str,
    subject: &str,
    detail: Value,
) -> Result<(), ApiError> {
    let at = state.control.clock().now();
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|error| ApiError::internal(error.to_string()))?;
    let id = Ulid::from_parts(u64::try_from(at.as_millis()).unwrap_or(0), u128::from_le_bytes(random));
    let entry = AuditEntry {
        id: id.to_string().to_ascii_lowercase(),
        at: at.as_millis(),
        actor: actor.to_owned(),
        origin: origin.to_owned(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: detail.to_string(),
    };
    Ok(state.store.audit_add(&entry).await?)
}
