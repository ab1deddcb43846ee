//! Places of the quota tree, as people name them.

use spaceport_core::account::AccountKind;
use spaceport_core::gpu::QuotaPath;

use crate::error::{ApiError, clip};
use crate::state::ApiState;

/// The whole site. No account can be called so.
pub(super) const SITE: &str = "@site";

/// A place as it is written on the wire.
pub(super) fn name(place: &QuotaPath) -> String {
    if place.0.is_empty() { SITE.to_owned() } else { place.0.clone() }
}

/// The place that a text names, if there are such accounts: `@site`, `~alice`, `lab`, `lab/alice`.
///
/// # Errors
/// 404 with what is meant instead.
pub(super) async fn named(state: &ApiState, text: &str) -> Result<QuotaPath, ApiError> {
    if text == SITE {
        return Ok(QuotaPath::site());
    }
    if let Some(user) = text.strip_prefix('~') {
        let user = account(state, user, AccountKind::User).await?;
        return Ok(QuotaPath::of_space(&user, false, &user));
    }
    let (org, member) = text.split_once('/').map_or((text, None), |(org, member)| (org, Some(member)));
    let org = account(state, org, AccountKind::Org).await?;
    match member {
        None => Ok(QuotaPath(org)),
        Some(member) => Ok(QuotaPath::of_space(&org, true, &account(state, member, AccountKind::User).await?)),
    }
}

/// The name of an account, spelt as the account spells it.
async fn account(state: &ApiState, name: &str, kind: AccountKind) -> Result<String, ApiError> {
    let shown = clip(name);
    match (state.store.account_by_name(name).await?, kind) {
        (Some(found), _) if found.kind == kind => Ok(found.name),
        (Some(found), AccountKind::Org) => Err(ApiError::not_found(format!(
            "{} is a user; the place of a user's own Spaces is ~{}, that in an organization ORGANIZATION/{}",
            found.name, found.name, found.name
        ))),
        (Some(found), AccountKind::User) => {
            Err(ApiError::not_found(format!("{} is an organization; its place is {}", found.name, found.name)))
        }
        (None, AccountKind::Org) => Err(ApiError::not_found(format!(
            "There is no organization {shown:?}. Places are {SITE}, ~USER, ORGANIZATION and ORGANIZATION/USER"
        ))),
        (None, AccountKind::User) => Err(ApiError::not_found(format!("There is no user {shown:?}"))),
    }
}
