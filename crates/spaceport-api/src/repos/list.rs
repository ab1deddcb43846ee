//! `GET /api/spaces`: what the caller may see, in pages.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use spaceport_core::space::Space;
use spaceport_store::{SpaceFilter, SpaceSort};

use crate::access::Rights;
use crate::caller::Caller;
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{CalledUrl, Params};
use crate::repos::info::view;
use crate::state::ApiState;
use crate::views::space::{Fields, SpaceView};

/// Entries of a page unless `limit` says otherwise.
const DEFAULT_LIMIT: u64 = 100;
/// Most entries of a page.
const MAX_LIMIT: u64 = 1000;
/// Rows read at once when not every row of them is in the answer.
const BATCH: i64 = 200;

/// The Spaces the caller may see
///
/// Newest first, in pages: the header `Link` with `rel="next"` leads to the next one.
#[utoipa::path(get, path = "/api/spaces", tag = "repositories",
    params(("search" = Option<String>, Query, description = "Part of `owner/name`"),
        ("author" = Option<String>, Query, description = "Of this owner"),
        ("filter" = Option<Vec<String>>, Query, description = "Tags; all must be there"),
        ("models" = Option<Vec<String>>, Query, description = "Uses this model"),
        ("datasets" = Option<Vec<String>>, Query, description = "Uses this data set"),
        ("sort" = Option<String>, Query, description = "`lastModified` (also for `trendingScore` and `likes`) or `createdAt`"),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`"),
        ("expand" = Option<Vec<String>>, Query, description = "Answer only these fields")),
    responses((status = 200, body = [SpaceView]), (status = 400, body = ErrorBody)))]
pub async fn list_spaces(
    State(state): State<ApiState>,
    caller: Caller,
    CalledUrl(hub): CalledUrl,
    params: Params,
) -> Result<Response, ApiError> {
    let fields = Fields::of(&params)?;
    let sort = sort(params.get("sort"))?;
    let limit = params.number("limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut filter = SpaceFilter {
        viewer: caller.account().map(|account| account.id),
        all: caller.account().is_some_and(|account| account.is_admin),
        author: params.get("author").map(str::to_owned),
        search: params.get("search").map(str::to_owned),
        sort,
        after: params.get("cursor").map(read_cursor).transpose()?,
        limit: BATCH,
    };
    let mut page: Vec<Value> = Vec::new();
    let next = 'pages: loop {
        let spaces = state.store.spaces(&filter).await?;
        let full = i64::try_from(spaces.len()).is_ok_and(|count| count == filter.limit);
        for space in spaces {
            if page.len() == limit {
                break 'pages filter.after;
            }
            filter.after = Some(position(&space, sort));
            let rights = Rights::of_caller(&space, &caller);
            let view = view(&state, &space, rights.code, rights.write).await?;
            if wanted(&view, &params) {
                page.push(fields.keep(&view));
            }
        }
        if !full {
            break None;
        }
    };
    let mut response = Json(page).into_response();
    if let Some(next) = next {
        let link = format!("<{hub}/api/spaces?{}>; rel=\"next\"", params.with("cursor", &write_cursor(&next)));
        let link = HeaderValue::from_str(&link).map_err(ApiError::internal)?;
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

fn sort(text: Option<&str>) -> Result<SpaceSort, ApiError> {
    match text {
        None | Some("lastModified" | "last_modified" | "trendingScore" | "trending_score" | "likes" | "downloads") => {
            Ok(SpaceSort::Updated)
        }
        Some("createdAt" | "created_at") => Ok(SpaceSort::Created),
        Some(other) => Err(ApiError::bad_request(format!(
            "'sort' cannot be {:?}; it must be lastModified, createdAt, trendingScore, likes or downloads",
            clip(other)
        ))),
    }
}

/// Whether a Space has every tag, model and data set asked for.
fn wanted(view: &SpaceView, params: &Params) -> bool {
    let has = |list: &[String], key: &str| {
        params.all(key).all(|wanted| wanted.is_empty() || list.iter().any(|one| one == wanted))
    };
    has(&view.tags, "filter") && has(&view.models, "models") && has(&view.datasets, "datasets")
}

fn position(space: &Space, sort: SpaceSort) -> (i64, String) {
    let at = match sort {
        SpaceSort::Updated => space.updated_at,
        SpaceSort::Created => space.created_at,
    };
    (at.as_millis(), space.id.to_string())
}

fn write_cursor((at, id): &(i64, String)) -> String {
    URL_SAFE_NO_PAD.encode(format!("{at}:{id}"))
}

fn read_cursor(text: &str) -> Result<(i64, String), ApiError> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (at, id) = text.split_once(':')?;
        Some((at.parse().ok()?, id.parse::<spaceport_core::SpaceId>().ok()?.to_string()))
    };
    read().ok_or_else(|| ApiError::bad_request("'cursor' is not one of ours; take it from the header 'Link'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_others_are_refused() {
        let id = spaceport_core::SpaceId::new(spaceport_core::Timestamp::from_millis(7), 9).to_string();
        let cursor = write_cursor(&(1234, id.clone()));
        assert_eq!(read_cursor(&cursor).unwrap(), (1234, id));
        for wrong in ["", "%%%", "AAAA", &URL_SAFE_NO_PAD.encode("1:'; DROP TABLE spaces")] {
            assert!(read_cursor(wrong).is_err(), "{wrong}");
        }
    }
}
