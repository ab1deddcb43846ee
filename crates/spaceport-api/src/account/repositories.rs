//! What somebody's repositories take on the disk.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::AccountId;

use crate::access::rights;
use crate::caller::{Caller, User};
use crate::error::{ApiError, ErrorBody};
use crate::orgs::named;
use crate::state::ApiState;

/// A repository and its size.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageView {
    /// `owner/name`.
    pub id: String,
    /// `model`, `dataset` or `space`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Last change.
    pub updated_at: String,
    /// `public`, `protected` or `private`.
    pub visibility: String,
    /// Bytes of its git repository and of its large files.
    pub storage: u64,
    /// Of the namespace's repositories, 0 to 100.
    pub storage_percent: f64,
}

/// The caller's repositories and their sizes
#[utoipa::path(get, path = "/api/settings/repositories", tag = "account",
    responses((status = 200, body = [StorageView]), (status = 401, body = ErrorBody)))]
pub async fn list_own_repositories(
    State(state): State<ApiState>,
    user: User,
) -> Result<Json<Vec<StorageView>>, ApiError> {
    let owner = user.account().id;
    list(&state, owner, user.into()).await
}

/// An organization's repositories and their sizes
///
/// Those the caller may see.
#[utoipa::path(get, path = "/api/organizations/{org}/settings/repositories", tag = "organizations",
    params(("org" = String, Path, description = "Its name")),
    responses((status = 200, body = [StorageView]), (status = 404, body = ErrorBody)))]
pub async fn list_org_repositories(
    State(state): State<ApiState>,
    user: User,
    Path(path): Path<HashMap<String, String>>,
) -> Result<Json<Vec<StorageView>>, ApiError> {
    let org = named(&state, path.get("org").map_or("", String::as_str)).await?;
    list(&state, org.id, user.into()).await
}

async fn list(state: &ApiState, owner: AccountId, caller: Caller) -> Result<Json<Vec<StorageView>>, ApiError> {
    let mut list = Vec::new();
    for repo in state.store.repos_of(owner).await? {
        if rights(&repo, &caller).see {
            let large = state.store.repo_storage(repo.id).await?;
            list.push(StorageView {
                id: repo.name.to_string(),
                kind: repo.kind.to_string(),
                updated_at: repo.updated_at.to_rfc3339(),
                visibility: repo.visibility.as_str().to_owned(),
                storage: state.repositories.disk_bytes(repo.id).await?.saturating_add(large),
                storage_percent: 0.0,
            });
        }
    }
    let all: u64 = list.iter().map(|one| one.storage).sum();
    for one in &mut list {
        one.storage_percent = percent(one.storage, all);
    }
    Ok(Json(list))
}

/// To a hundredth.
fn percent(part: u64, all: u64) -> f64 {
    let hundredths = u128::from(part) * 10_000 / u128::from(all.max(1));
    f64::from(u32::try_from(hundredths).unwrap_or(10_000)) / 100.0
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn percents_are_of_the_whole() {
        assert_eq!(
            [percent(0, 0), percent(1, 3), percent(5, 5), percent(u64::MAX, u64::MAX)],
            [0.0, 33.33, 100.0, 100.0]
        );
    }
}
