//! Who follows whom.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use spaceport_core::account::{Account, AccountKind};
use spaceport_store::After;

use crate::audit;
use crate::caller::User;
use crate::community::page::Page;
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{CalledUrl, Params};
use crate::state::ApiState;
use crate::views::account::AccountView;

/// Under which path an account is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `/api/users/`.
    User,
    /// `/api/organizations/`.
    Org,
}

/// The account of a path.
///
/// # Errors
/// 404 when there is none of this kind.
pub(crate) async fn account(state: &ApiState, kind: Kind, name: &str) -> Result<Account, ApiError> {
    let (wanted, word) = match kind {
        Kind::User => (AccountKind::User, "user"),
        Kind::Org => (AccountKind::Org, "organization"),
    };
    let account = state.store.account_by_name(name).await?.filter(|account| account.kind == wanted);
    account.ok_or_else(|| ApiError::not_found(format!("There is no {word} {:?}", clip(name))))
}

/// Follow a user
///
/// Following again changes nothing.
#[utoipa::path(post, path = "/api/users/{user}/follow", tag = "community",
    params(("user" = String, Path, description = "The account's name")),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn follow_user(
    State(state): State<ApiState>,
    by: User,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    set(state, Kind::User, by, name, true).await
}

/// Follow a user no longer
#[utoipa::path(delete, path = "/api/users/{user}/follow", tag = "community",
    params(("user" = String, Path, description = "The account's name")),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn unfollow_user(
    State(state): State<ApiState>,
    by: User,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    set(state, Kind::User, by, name, false).await
}

/// Follow an organization
///
/// Following again changes nothing.
#[utoipa::path(post, path = "/api/organizations/{organization}/follow", tag = "community",
    params(("organization" = String, Path, description = "The account's name")),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn follow_organization(
    State(state): State<ApiState>,
    by: User,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    set(state, Kind::Org, by, name, true).await
}

/// Follow an organization no longer
#[utoipa::path(delete, path = "/api/organizations/{organization}/follow", tag = "community",
    params(("organization" = String, Path, description = "The account's name")),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn unfollow_organization(
    State(state): State<ApiState>,
    by: User,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    set(state, Kind::Org, by, name, false).await
}

async fn set(state: ApiState, kind: Kind, by: User, name: String, follow: bool) -> Result<Json<Value>, ApiError> {
    let by_user = by.into_full_writer()?;
    let to = account(&state, kind, &name).await?;
    if to.id == by_user.account().id {
        return Err(ApiError::bad_request("Nobody can follow the own account"));
    }
    let work = state.lifetime.detach({
        let state = state.clone();
        async move {
            let follower = by_user.account().id;
            let changed = if follow {
                state.store.follow_add(to.id, follower, state.control.clock().now()).await?
            } else {
                state.store.follow_remove(to.id, follower).await?
            };
            if changed {
                let action = if follow { "account.follow" } else { "account.unfollow" };
                audit::record(&state, &by_user, action, &to.name, json!({})).await?;
            }
            Ok::<_, ApiError>(())
        }
    });
    work.await.map_err(ApiError::internal)??;
    Ok(Json(json!({"isFollowing": follow})))
}

/// Who follows a user
///
/// The newest first, in pages: the header `Link` with `rel="next"` leads to the next one.
#[utoipa::path(get, path = "/api/users/{user}/followers", tag = "community",
    params(("user" = String, Path, description = "The account's name"),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`")),
    responses((status = 200, body = [AccountView]), (status = 404, body = ErrorBody)))]
pub async fn list_followers(
    State(state): State<ApiState>,
    CalledUrl(hub): CalledUrl,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let of = account(&state, Kind::User, &name).await?;
    list(&state, &of, true, &format!("{hub}/api/users/{}/followers", of.name), &params).await
}

/// Whom a user follows
///
/// The newest first, in pages: the header `Link` with `rel="next"` leads to the next one.
#[utoipa::path(get, path = "/api/users/{user}/following", tag = "community",
    params(("user" = String, Path, description = "The account's name"),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`")),
    responses((status = 200, body = [AccountView]), (status = 404, body = ErrorBody)))]
pub async fn list_following(
    State(state): State<ApiState>,
    CalledUrl(hub): CalledUrl,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let of = account(&state, Kind::User, &name).await?;
    list(&state, &of, false, &format!("{hub}/api/users/{}/following", of.name), &params).await
}

/// Who follows an organization
///
/// The newest first, in pages: the header `Link` with `rel="next"` leads to the next one.
#[utoipa::path(get, path = "/api/organizations/{organization}/followers", tag = "community",
    params(("organization" = String, Path, description = "The account's name"),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`")),
    responses((status = 200, body = [AccountView]), (status = 404, body = ErrorBody)))]
pub async fn list_organization_followers(
    State(state): State<ApiState>,
    CalledUrl(hub): CalledUrl,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let of = account(&state, Kind::Org, &name).await?;
    list(&state, &of, true, &format!("{hub}/api/organizations/{}/followers", of.name), &params).await
}

async fn list(
    state: &ApiState,
    of: &Account,
    followers: bool,
    url: &str,
    params: &Params,
) -> Result<Response, ApiError> {
    let page = Page::of(params)?;
    let (after, rows) = (page.after.as_ref(), page.rows());
    let mut rows = if followers {
        state.store.followers(of.id, after, rows).await?
    } else {
        state.store.following(of.id, after, rows).await?
    };
    let next = page.cut(&mut rows, |(account, at)| After { at: *at, id: account.id.to_string() });
    Page::answer(rows.iter().map(|(account, _)| AccountView::of(account, &state.site)).collect(), next, url, params)
}
