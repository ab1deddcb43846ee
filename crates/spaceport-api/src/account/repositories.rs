//! What somebody's repositories take on the disk.

use std::cmp::Reverse;
use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::{AccountId, Repo};
use spaceport_store::{After, RepoSize};

use crate::access::rights;
use crate::caller::{Caller, User};
use crate::community::page::Page;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{CalledUrl, Params};
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
///
/// The newest first. In pages: the header `Link` with `rel="next"` leads to the next one.
#[utoipa::path(get, path = "/api/settings/repositories", tag = "account",
    params(("limit" = Option<u64>, Query, description = "Entries of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`")),
    responses((status = 200, body = [StorageView]), (status = 401, body = ErrorBody)))]
pub async fn list_own_repositories(
    State(state): State<ApiState>,
    user: User,
    CalledUrl(hub): CalledUrl,
    params: Params,
) -> Result<Response, ApiError> {
    let owner = user.account().id;
    list(&state, owner, user.into(), &format!("{hub}/api/settings/repositories"), &params).await
}

/// An organization's repositories and their sizes
///
/// Those the caller may see, the newest first. In pages: the header `Link` with `rel="next"` leads to the next one.
#[utoipa::path(get, path = "/api/organizations/{org}/settings/repositories", tag = "organizations",
    params(("org" = String, Path, description = "Its name"),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`")),
    responses((status = 200, body = [StorageView]), (status = 404, body = ErrorBody)))]
pub async fn list_org_repositories(
    State(state): State<ApiState>,
    user: User,
    CalledUrl(hub): CalledUrl,
    Path(path): Path<HashMap<String, String>>,
    params: Params,
) -> Result<Response, ApiError> {
    let org = named(&state, path.get("org").map_or("", String::as_str)).await?;
    let url = format!("{hub}/api/organizations/{}/settings/repositories", org.name);
    list(&state, org.id, user.into(), &url, &params).await
}

async fn list(
    state: &ApiState,
    owner: AccountId,
    caller: Caller,
    url: &str,
    params: &Params,
) -> Result<Response, ApiError> {
    let page = Page::of(params)?;
    let sizes = state.store.repo_sizes(owner).await?;
    let (mut rows, mut all): (Vec<(Repo, u64)>, u64) = (Vec::new(), 0);
    for repo in state.store.repos_of(owner).await?.into_iter().filter(|repo| rights(repo, &caller).see) {
        let RepoSize { mut git_bytes, large_bytes } = sizes.get(&repo.id).copied().unwrap_or_default();
        // Younger than the last measurement of everything.
        if git_bytes == 0 {
            git_bytes = state.repositories.disk_bytes(repo.id).await?;
            state.store.repo_set_git_bytes(repo.id, git_bytes).await?;
        }
        let bytes = git_bytes.saturating_add(large_bytes);
        all = all.saturating_add(bytes);
        rows.push((repo, bytes));
    }
    let place = |repo: &Repo| (repo.created_at, repo.id.to_string());
    rows.sort_by_key(|(repo, _)| Reverse(place(repo)));
    if let Some(After { at, id }) = &page.after {
        rows.retain(|(repo, _)| place(repo) < (*at, id.clone()));
    }
    let next = page.cut(&mut rows, |(repo, _)| After { at: repo.created_at, id: repo.id.to_string() });
    let view = |(repo, storage): (Repo, u64)| StorageView {
        id: repo.name.to_string(),
        kind: repo.kind.to_string(),
        updated_at: repo.updated_at.to_rfc3339(),
        visibility: repo.visibility.as_str().to_owned(),
        storage,
        storage_percent: percent(storage, all),
    };
    Page::answer(rows.into_iter().map(view).collect(), next, url, params)
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
