//! `GET /api/{kind}-tags-by-type`: the tags that the repositories of this hub have, for those who pick from a list.
//! The Hub answers the tags that it knows; here those that find something are more use.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::{RepoKind, card};
use spaceport_store::RepoFilter;

use crate::access::rights;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::repos::list::seen_by;
use crate::state::ApiState;

/// Rows read at once.
const BATCH: i64 = 1000;
/// So many repositories are looked at, those that changed last.
const MAX_REPOS: usize = 10_000;
/// So many tags are told; who picks from a list picks from no longer one.
const MAX_TAGS: usize = 10_000;

/// A tag.
#[derive(Debug, Serialize, ToSchema)]
pub struct TagView {
    /// What lists are filtered by: `license:mit`.
    pub id: String,
    /// For people: `mit`.
    pub label: String,
    /// The sort, again.
    #[serde(rename = "type")]
    pub sort: &'static str,
}

type TagsByType = BTreeMap<&'static str, Vec<TagView>>;

/// The tags of models, by sort
#[utoipa::path(get, path = "/api/models-tags-by-type", tag = "repositories",
    responses((status = 200, body = BTreeMap<String, Vec<TagView>>)))]
pub async fn list_model_tags(State(state): State<ApiState>, caller: Caller) -> Result<Json<TagsByType>, ApiError> {
    tags(&state, RepoKind::Model, &caller).await.map(Json)
}

/// The tags of data sets, by sort
#[utoipa::path(get, path = "/api/datasets-tags-by-type", tag = "repositories",
    responses((status = 200, body = BTreeMap<String, Vec<TagView>>)))]
pub async fn list_dataset_tags(State(state): State<ApiState>, caller: Caller) -> Result<Json<TagsByType>, ApiError> {
    tags(&state, RepoKind::Dataset, &caller).await.map(Json)
}

async fn tags(state: &ApiState, kind: RepoKind, caller: &Caller) -> Result<TagsByType, ApiError> {
    let mut filter = RepoFilter { limit: BATCH, ..seen_by(kind, caller) };
    let (mut found, mut looked_at) = (BTreeSet::new(), 0);
    loop {
        let repos = state.store.repos(&filter).await?;
        let full = i64::try_from(repos.len()).is_ok_and(|count| count == BATCH);
        looked_at += repos.len();
        filter.after = repos.last().map(|(repo, position)| (*position, repo.id.to_string()));
        for (repo, _) in repos.iter().filter(|(repo, _)| rights(repo, caller).code) {
            found.extend(card::sorted_tags(kind, repo.card.as_ref()));
        }
        if !full || looked_at >= MAX_REPOS || found.len() >= MAX_TAGS {
            break;
        }
    }
    let mut tags = TagsByType::new();
    for (sort, id, label) in found.into_iter().take(MAX_TAGS) {
        tags.entry(sort).or_default().push(TagView { id, label, sort });
    }
    Ok(tags)
}
