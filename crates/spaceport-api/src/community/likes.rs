//! Likes: `…/like`, `…/likers`, `/api/users/{user}/likes`.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use spaceport_control::community::TRENDING;
use utoipa::ToSchema;

use spaceport_core::Timestamp;
use spaceport_store::After;

use crate::access::{DiscussRepo, ReadFiles, rights};
use crate::audit;
use crate::caller::Caller;
use crate::community::follows::{Kind, account};
use crate::community::page::Page;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{CalledUrl, Params};
use crate::state::ApiState;
use crate::views::RepoPath;
use crate::views::account::AccountView;
use crate::views::discussion::RepoNameView;

/// Rows read at once: not every row of them need be in the answer.
const BATCH: i64 = 200;

/// Something an account likes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LikeView {
    /// What.
    repo: RepoNameView,
    /// Since when.
    created_at: String,
}

/// Like a repository
///
/// Liking again changes nothing.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/like", tag = "community", params(RepoPath),
    responses((status = 200, body = Object), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn like_repo(State(state): State<ApiState>, to: DiscussRepo) -> Result<Json<Value>, ApiError> {
    set(state, to, true).await
}

/// Like a repository no longer
///
/// It is fine when it was not liked.
#[utoipa::path(delete, path = "/api/{kind}/{owner}/{name}/like", tag = "community", params(RepoPath),
    responses((status = 200, body = Object), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn unlike_repo(State(state): State<ApiState>, to: DiscussRepo) -> Result<Json<Value>, ApiError> {
    set(state, to, false).await
}

async fn set(state: ApiState, to: DiscussRepo, like: bool) -> Result<Json<Value>, ApiError> {
    let work = state.lifetime.detach({
        let state = state.clone();
        async move {
            let (repo, account, now) = (&to.repo, to.user.account().id, state.control.clock().now());
            let changed = if like {
                state.store.like_add(repo.id, account, now, since(now)).await?
            } else {
                state.store.like_remove(repo.id, account, since(now)).await?
            };
            if changed {
                let action = if like { "repo.like" } else { "repo.unlike" };
                audit::record(&state, &to.user, action, &repo.path(), json!({})).await?;
            }
            Ok::<_, ApiError>(())
        }
    });
    work.await.map_err(ApiError::internal)??;
    Ok(Json(json!({"liked": like})))
}

/// Likes after this time are trending.
fn since(now: Timestamp) -> Timestamp {
    now - TRENDING
}

/// Who likes a repository
///
/// The newest like first, in pages: the header `Link` with `rel="next"` leads to the next one.
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/likers", tag = "community",
    params(RepoPath, ("limit" = Option<u64>, Query, description = "Entries of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`")),
    responses((status = 200, body = [AccountView]), (status = 404, body = ErrorBody)))]
pub async fn list_likers(
    State(state): State<ApiState>,
    ReadFiles(read): ReadFiles,
    CalledUrl(hub): CalledUrl,
    params: Params,
) -> Result<Response, ApiError> {
    let page = Page::of(&params)?;
    let mut rows = state.store.likers(read.repo.id, page.after.as_ref(), page.rows()).await?;
    let next = page.cut(&mut rows, |(account, at)| After { at: *at, id: account.id.to_string() });
    let views = rows.iter().map(|(account, _)| AccountView::of(account, &state.site)).collect();
    let url = format!("{hub}/api/{}/{}/likers", read.repo.kind.segment(), read.repo.name);
    Page::answer(views, next, &url, &params)
}

/// What a user likes
///
/// Of what the caller may see, the newest like first, in pages: the header `Link` with `rel="next"` leads to the
/// next one.
#[utoipa::path(get, path = "/api/users/{user}/likes", tag = "community",
    params(("user" = String, Path, description = "The account's name"),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`")),
    responses((status = 200, body = [LikeView]), (status = 404, body = ErrorBody)))]
pub async fn list_likes(
    State(state): State<ApiState>,
    caller: Caller,
    CalledUrl(hub): CalledUrl,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let user = account(&state, Kind::User, &name).await?;
    let page = Page::of(&params)?;
    let mut after = page.after.clone();
    let mut views = Vec::new();
    let next = 'rows: loop {
        let rows = state.store.likes_of(user.id, after.as_ref(), BATCH).await?;
        let full = i64::try_from(rows.len()).is_ok_and(|count| count == BATCH);
        for (repo, at) in rows {
            if views.len() == page.limit {
                break 'rows after;
            }
            after = Some(After { at, id: repo.id.to_string() });
            if rights(&repo, &caller).code {
                let repo = RepoNameView { name: repo.name.to_string(), kind: repo.kind.as_str().to_owned() };
                views.push(LikeView { repo, created_at: at.to_rfc3339() });
            }
        }
        if !full {
            break None;
        }
    };
    Page::answer(views, next, &format!("{hub}/api/users/{}/likes", user.name), &params)
}
