//! `POST …/paths-info/{rev}`: what is at some paths.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::CONTENT_TYPE;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorBody};
use crate::extract::{MAX_BODY_BYTES, read_body};
use crate::files::tree::views;
use crate::files::{ReadAt, revision};
use crate::state::ApiState;
use crate::views::RepoPath;
use crate::views::file::EntryView;

/// Most paths of one call.
const MAX_PATHS: usize = 10_000;
/// Most paths of one call with the commits that last changed them.
const MAX_EXPANDED: usize = 1000;

/// Which paths. The Hub's Python client sends a form with `paths` repeated, others JSON.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct PathsQuery {
    /// From the root.
    #[serde(default)]
    pub paths: OneOrMany,
    /// With the commit that last changed each.
    #[serde(default)]
    pub expand: bool,
}

/// One path or a list of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Some.
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<S: Sync> FromRequest<S> for PathsQuery {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("").to_owned();
        let body = read_body(request.into_body(), MAX_BODY_BYTES).await?;
        if kind.starts_with("application/json") {
            let wrong = |error| ApiError::bad_request(format!("The body is not the JSON expected here: {error}"));
            return serde_json::from_slice(&body).map_err(wrong);
        }
        let (mut paths, mut expand) = (Vec::new(), false);
        for (key, value) in url::form_urlencoded::parse(&body) {
            match key.strip_suffix("[]").unwrap_or(&key) {
                "paths" => paths.push(value.into_owned()),
                "expand" => expand = value.eq_ignore_ascii_case("true") || value == "1",
                _ => {}
            }
        }
        Ok(Self { paths: OneOrMany::Many(paths), expand })
    }
}

/// What is at some paths
///
/// Paths that are not there are left out.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/paths-info/{*revision}", tag = "files", request_body = PathsQuery,
    params(RepoPath, ("revision" = String, Path, description = "Branch, tag or commit")),
    responses((status = 200, body = [EntryView]), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn get_paths_info(
    State(state): State<ApiState>,
    ReadAt { read, place }: ReadAt,
    PathsQuery { paths, expand }: PathsQuery,
) -> Result<Json<Vec<EntryView>>, ApiError> {
    let mut paths = match paths {
        OneOrMany::One(path) => vec![path],
        OneOrMany::Many(paths) => paths,
    };
    let most = if expand { MAX_EXPANDED } else { MAX_PATHS };
    if paths.len() > most {
        return Err(ApiError::bad_request(format!("At most {most} paths can be asked for at once")));
    }
    let mut seen = std::collections::HashSet::new();
    paths.retain(|path| seen.insert(path.trim_end_matches('/').to_owned()));
    let commit = revision(&state, &read.repo, &place.whole).await?.commit;
    let entries = state.repositories.entries(read.repo.id, &commit, paths).await?;
    views(&state, &read.repo, &commit, entries, expand).await.map(Json)
}
