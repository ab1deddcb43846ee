//! Lists of repositories: what the caller may see, in pages.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use spaceport_core::{Repo, RepoKind, card};
use spaceport_store::{RepoFilter, RepoSort};

use crate::access::{ReadRepo, rights};
use crate::caller::Caller;
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{CalledUrl, Params};
use crate::repos::info::{entries, siblings, space_view, view};
use crate::repos::weights::weights;
use crate::state::ApiState;
use crate::views::repo::{Fields, RepoView};
use crate::views::space::SpaceView;

/// Entries of a page unless `limit` says otherwise.
const DEFAULT_LIMIT: u64 = 100;
/// Most entries of a page.
const MAX_LIMIT: u64 = 1000;
/// Files looked at for a page, in all its entries: whoever asks for more gets the rest with the next page.
const MAX_FILES: usize = 50_000;
/// Rows read at once: not every row of them need be in the answer.
const BATCH: i64 = 200;
/// Most tags and most words of one question.
const MAX_CONDITIONS: usize = 16;
/// Longest text that is searched for.
const MAX_SEARCH: usize = 200;

/// The models the caller may see
///
/// In pages: the header `Link` with `rel="next"` leads to the next one.
#[utoipa::path(get, path = "/api/models", tag = "repositories",
    params(("search" = Option<String>, Query, description = "Part of `owner/name`"),
        ("author" = Option<String>, Query, description = "Of this owner"),
        ("filter" = Option<Vec<String>>, Query, description = "Tags; all must be there"),
        ("pipeline_tag" = Option<String>, Query, description = "For this task"),
        ("sort" = Option<String>, Query, description = "`lastModified`, `createdAt`, `trendingScore`, `likes` or `downloads`"),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`"),
        ("full" = Option<bool>, Query, description = "With files and front matter"),
        ("expand" = Option<Vec<String>>, Query, description = "Answer only these fields")),
    responses((status = 200, body = [RepoView]), (status = 400, body = ErrorBody)))]
pub async fn list_models(
    State(state): State<ApiState>,
    caller: Caller,
    CalledUrl(hub): CalledUrl,
    params: Params,
) -> Result<Response, ApiError> {
    list(&state, RepoKind::Model, &caller, &hub, &params).await
}

/// The data sets the caller may see
///
/// In pages: the header `Link` with `rel="next"` leads to the next one.
#[utoipa::path(get, path = "/api/datasets", tag = "repositories",
    params(("search" = Option<Vec<String>>, Query, description = "Parts of `owner/name`"),
        ("author" = Option<String>, Query, description = "Of this owner"),
        ("filter" = Option<Vec<String>>, Query, description = "Tags; all must be there"),
        ("sort" = Option<String>, Query, description = "`lastModified`, `createdAt`, `trendingScore`, `likes` or `downloads`"),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`"),
        ("full" = Option<bool>, Query, description = "With files and front matter"),
        ("expand" = Option<Vec<String>>, Query, description = "Answer only these fields")),
    responses((status = 200, body = [RepoView]), (status = 400, body = ErrorBody)))]
pub async fn list_datasets(
    State(state): State<ApiState>,
    caller: Caller,
    CalledUrl(hub): CalledUrl,
    params: Params,
) -> Result<Response, ApiError> {
    list(&state, RepoKind::Dataset, &caller, &hub, &params).await
}

/// The Spaces the caller may see
///
/// In pages: the header `Link` with `rel="next"` leads to the next one.
#[utoipa::path(get, path = "/api/spaces", tag = "repositories",
    params(("search" = Option<String>, Query, description = "Part of `owner/name`"),
        ("author" = Option<String>, Query, description = "Of this owner"),
        ("filter" = Option<Vec<String>>, Query, description = "Tags; all must be there"),
        ("models" = Option<Vec<String>>, Query, description = "Uses this model"),
        ("datasets" = Option<Vec<String>>, Query, description = "Uses this data set"),
        ("linked" = Option<bool>, Query, description = "Uses any model or data set"),
        ("sort" = Option<String>, Query, description = "`lastModified`, `createdAt`, `trendingScore` or `likes`"),
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
    list(&state, RepoKind::Space, &caller, &hub, &params).await
}

async fn list(
    state: &ApiState,
    kind: RepoKind,
    caller: &Caller,
    hub: &str,
    params: &Params,
) -> Result<Response, ApiError> {
    let fields = Fields::of(kind, params)?;
    let limit = params.number("limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut filter = filter(kind, caller, params)?;
    if asks_for_the_impossible(params) {
        return Ok(Json(json!([])).into_response());
    }
    let (mut page, mut files): (Vec<Value>, usize) = (Vec::new(), 0);
    let next = 'pages: loop {
        let repos = state.store.repos(&filter).await?;
        let full = i64::try_from(repos.len()).is_ok_and(|count| count == filter.limit);
        for (repo, position) in repos {
            if page.len() == limit || files >= MAX_FILES {
                break 'pages filter.after;
            }
            filter.after = Some((position, repo.id.to_string()));
            page.extend(entry(state, caller, &fields, params, &repo, &mut files).await?);
        }
        if !full {
            break None;
        }
    };
    let mut response = Json(page).into_response();
    if let Some(next) = next {
        let query = params.with("cursor", &write_cursor(&next));
        let link = format!("<{hub}/api/{}?{query}>; rel=\"next\"", kind.segment());
        response.headers_mut().insert(LINK, HeaderValue::from_str(&link).map_err(ApiError::internal)?);
    }
    Ok(response)
}

/// One entry, unless this token may not see it, or it does not use what is asked for. Adds to `files` how many were
/// looked at.
async fn entry(
    state: &ApiState,
    caller: &Caller,
    fields: &Fields,
    params: &Params,
    repo: &Repo,
    files: &mut usize,
) -> Result<Option<Value>, ApiError> {
    let rights = rights(repo, caller);
    if !rights.see {
        return Ok(None);
    }
    if repo.kind == RepoKind::Space && !uses(repo, rights.code, params) {
        return Ok(None);
    }
    let mut view = view(state, repo, rights.code).await?;
    if rights.code && (fields.names("siblings") || (params.flag("full") && !fields.is_restricted())) {
        let siblings = siblings(state, repo, repo.head.as_ref(), false).await?;
        *files += siblings.len();
        view.siblings = Some(siblings);
    }
    if rights.code && repo.kind == RepoKind::Model && fields.names("safetensors") {
        let read = ReadRepo { repo: repo.clone(), caller: caller.clone(), rights };
        let entries = entries(state, repo, repo.head.as_ref()).await?;
        *files += entries.len();
        view.safetensors = weights(state, &read, &entries).await?;
    }
    if rights.code && fields.names("usedStorage") {
        view.used_storage = Some(state.store.repo_storage(repo.id).await?);
    }
    if repo.kind != RepoKind::Space {
        return Ok(Some(fields.keep(&view)));
    }
    let Some(space) = state.store.space_by_id(repo.id.into()).await? else { return Ok(None) };
    let view = space_view(state, &space, view, rights.code, rights.write).await?;
    // Tags are in the code: who may not read it cannot find a Space by them either, but for the one
    // that everybody sees.
    if !rights.code && params.all("filter").any(|tag| !tag.is_empty() && tag != view.sdk) {
        return Ok(None);
    }
    Ok(Some(fields.keep(&view)))
}

/// Whether a Space uses the models and data sets that are asked for: its front matter says so. Looked at before the rest
/// of a Space is, since a question that fits nothing looks at all of them.
fn uses(repo: &Repo, code: bool, params: &Params) -> bool {
    let texts = |key| if code { card::texts(repo.card.as_ref(), key) } else { Vec::new() };
    let (models, datasets) = (texts("models"), texts("datasets"));
    let all = |list: &[String], key: &str| {
        params.all(key).all(|wanted| wanted.is_empty() || list.iter().any(|one| one == wanted))
    };
    let linked = !params.flag("linked") || !models.is_empty() || !datasets.is_empty();
    linked && all(&models, "models") && all(&datasets, "datasets")
}

fn filter(kind: RepoKind, caller: &Caller, params: &Params) -> Result<RepoFilter, ApiError> {
    let texts = |key: &str| params.all(key).filter(|text| !text.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    if let Some(unknown) = ["num_parameters", "apps"].into_iter().find(|key| params.get(key).is_some()) {
        return Err(ApiError::bad_request(format!("Nothing can be listed by '{unknown}' here; leave it out")));
    }
    let search = texts("search");
    let mut tags = texts("filter");
    tags.extend(params.get("pipeline_tag").map(str::to_owned));
    if search.len() + tags.len() > MAX_CONDITIONS {
        return Err(ApiError::bad_request(format!("At most {MAX_CONDITIONS} words and tags can be asked for at once")));
    }
    if search.iter().any(|text| text.len() > MAX_SEARCH) {
        return Err(ApiError::bad_request(format!("'search' must have at most {MAX_SEARCH} bytes")));
    }
    Ok(RepoFilter {
        author: params.get("author").map(str::to_owned),
        search,
        tags,
        sort: sort(params.get("sort"))?,
        after: params.get("cursor").map(read_cursor).transpose()?,
        limit: BATCH,
        ..seen_by(kind, caller)
    })
}

/// Nothing here is gated, and no provider runs a model of this hub. A list that does not look at what it is asked
/// for would say the contrary.
fn asks_for_the_impossible(params: &Params) -> bool {
    params.flag("gated") || params.get("inference").is_some() || params.get("inference_provider").is_some()
}

/// What an account may see at most; what its token may not see is left out afterwards.
pub(crate) fn seen_by(kind: RepoKind, caller: &Caller) -> RepoFilter {
    RepoFilter {
        viewer: caller.account().map(|account| account.id),
        all: caller.account().is_some_and(|account| account.is_admin),
        ..RepoFilter::of(kind)
    }
}

fn sort(text: Option<&str>) -> Result<RepoSort, ApiError> {
    Ok(match text {
        None | Some("lastModified" | "last_modified") => RepoSort::Updated,
        Some("createdAt" | "created_at") => RepoSort::Created,
        Some("trendingScore" | "trending_score") => RepoSort::Trending,
        Some("likes") => RepoSort::Likes,
        Some("downloads") => RepoSort::Downloads,
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "'sort' cannot be {:?}; it must be lastModified, createdAt, trendingScore, likes or downloads",
                clip(other)
            )));
        }
    })
}

fn write_cursor((at, id): &(i64, String)) -> String {
    URL_SAFE_NO_PAD.encode(format!("{at}:{id}"))
}

fn read_cursor(text: &str) -> Result<(i64, String), ApiError> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (at, id) = text.split_once(':')?;
        Some((at.parse().ok()?, id.parse::<spaceport_core::RepoId>().ok()?.to_string()))
    };
    read().ok_or_else(|| ApiError::bad_request("'cursor' is not one of ours; take it from the header 'Link'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_others_are_refused() {
        let id = spaceport_core::RepoId::new(spaceport_core::Timestamp::from_millis(7), 9).to_string();
        let cursor = write_cursor(&(1234, id.clone()));
        assert_eq!(read_cursor(&cursor).unwrap(), (1234, id));
        for wrong in ["", "%%%", "AAAA", &URL_SAFE_NO_PAD.encode("1:'; DROP TABLE spaces")] {
            assert!(read_cursor(wrong).is_err(), "{wrong}");
        }
    }
}
