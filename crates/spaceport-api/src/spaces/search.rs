//! `GET /api/spaces/semantic-search`: Spaces by what their cards say, best first. The Hub compares meanings; here words
//! are compared, and the score says how well they fit.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::search::{Text, score, words};
use spaceport_core::space::Space;
use spaceport_core::{Repo, RepoKind, SpaceStage, card};
use spaceport_store::{RepoFilter, RepoSort};

use crate::access::rights;
use crate::caller::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::repos::list::seen_by;
use crate::state::ApiState;
use crate::views::runtime::{Insight, RuntimeView, runtime_view};

/// So many Spaces with one of the words are compared, those that are liked most.
const MAX_CANDIDATES: i64 = 1000;
/// Most results.
const MAX_RESULTS: usize = 50;
/// Longest question, in bytes.
const MAX_QUESTION: usize = 500;

/// A Space that was found.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpaceFound {
    /// `owner/name`.
    pub id: String,
    /// The owner.
    pub author: String,
    /// Its title.
    pub title: String,
    /// One emoji.
    pub emoji: Option<String>,
    /// The SDK.
    pub sdk: String,
    /// How many accounts like it.
    pub likes: i64,
    /// Likes of the last days.
    #[serde(rename = "trendingScore")]
    pub trending_score: i64,
    /// Whether it is hidden from others.
    pub private: bool,
    /// What lists filter by.
    pub tags: Vec<String>,
    /// How it runs.
    pub runtime: RuntimeView,
    /// What its owner says it does.
    pub ai_short_description: Option<String>,
    /// Always null: nobody sorts Spaces here.
    pub ai_category: Option<String>,
    /// From 0 to 1: how well its card fits.
    #[serde(rename = "semanticRelevancyScore")]
    pub semantic_relevancy_score: f64,
}

/// Search Spaces by what they say of themselves
///
/// Every word of the question is looked for in title, name, tags and description; those that have more of them come
/// first. Only Spaces that answer are found unless `includeNonRunning` is set.
#[utoipa::path(get, path = "/api/spaces/semantic-search", tag = "spaces",
    params(("q" = String, Query, description = "Some words"),
        ("filter" = Option<Vec<String>>, Query, description = "Tags; all must be there"),
        ("sdk" = Option<Vec<String>>, Query, description = "One of these SDKs"),
        ("includeNonRunning" = Option<bool>, Query, description = "Also those that do not answer")),
    responses((status = 200, body = [SpaceFound]), (status = 400, body = ErrorBody)))]
pub async fn search_spaces(
    State(state): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<Vec<SpaceFound>>, ApiError> {
    let question = params.get("q").unwrap_or("");
    if question.len() > MAX_QUESTION {
        return Err(ApiError::bad_request(format!("'q' must have at most {MAX_QUESTION} bytes")));
    }
    let asked = words(question);
    if asked.is_empty() {
        return Ok(Json(Vec::new()));
    }
    let filter = RepoFilter {
        words: asked.clone(),
        sort: RepoSort::Likes,
        limit: MAX_CANDIDATES,
        ..seen_by(RepoKind::Space, &caller)
    };
    let mut found: Vec<(f64, Repo, Card)> = Vec::new();
    for (repo, _) in state.store.repos(&filter).await? {
        let rights = rights(&repo, &caller);
        if !rights.see {
            continue;
        }
        let card = Card::of(&repo, rights.code);
        let text = Text {
            title: card.title.as_deref().unwrap_or(""),
            name: &repo.name.to_string(),
            description: card.description.as_deref().unwrap_or(""),
            tags: &card.tags,
        };
        let score = score(&asked, text);
        if score > 0.0 && params.all("filter").all(|tag| tag.is_empty() || card.tags.iter().any(|own| own == tag)) {
            found.push((score, repo, card));
        }
    }
    // Of two that fit alike the one that is liked more came first already.
    found.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    let mut results = Vec::new();
    for (score, repo, card) in found {
        let Some(space) = state.store.space_by_id(repo.id.into()).await? else { continue };
        if is_wanted(&space, &params) {
            results.push(view(&state, &caller, score, &repo, card, &space).await?);
        }
        if results.len() == MAX_RESULTS {
            break;
        }
    }
    Ok(Json(results))
}

fn is_wanted(space: &Space, params: &Params) -> bool {
    // One that sleeps wakes when it is asked.
    let answers = space.stage.is_serving() || space.stage == SpaceStage::Sleeping;
    let mut sdks = params.all("sdk").filter(|sdk| !sdk.is_empty()).peekable();
    let fits = sdks.peek().is_none() || sdks.any(|sdk| sdk.eq_ignore_ascii_case(space.sdk.as_str()));
    (answers || params.flag("includeNonRunning")) && fits
}

async fn view(
    state: &ApiState,
    caller: &Caller,
    score: f64,
    repo: &Repo,
    card: Card,
    space: &Space,
) -> Result<SpaceFound, ApiError> {
    let rights = rights(repo, caller);
    let runtime = runtime_view(state, space, Insight::of(rights.code, rights.write)).await?;
    let Card { title, emoji, description, tags } = card;
    Ok(SpaceFound {
        id: repo.name.to_string(),
        author: repo.name.owner().to_owned(),
        title: title.unwrap_or_else(|| repo.name.name().to_owned()),
        emoji,
        sdk: space.sdk.as_str().to_owned(),
        likes: repo.likes,
        trending_score: repo.trending,
        private: repo.visibility == spaceport_core::space::Visibility::Private,
        tags,
        runtime,
        ai_short_description: description,
        ai_category: None,
        semantic_relevancy_score: score,
    })
}

/// What a card says; nothing to those who may not read the code it is part of.
struct Card {
    title: Option<String>,
    emoji: Option<String>,
    description: Option<String>,
    tags: Vec<String>,
}

impl Card {
    fn of(repo: &Repo, code: bool) -> Self {
        let card = repo.card.as_ref().filter(|_| code);
        let one = |key| card::texts(card, key).into_iter().next();
        Self {
            title: one("title"),
            emoji: one("emoji"),
            description: one("short_description"),
            tags: card::tags(RepoKind::Space, card),
        }
    }
}
