//! Discussions and pull requests of a repository: list, open, look at.

use std::collections::{BTreeSet, HashMap};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderName;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::discussion::{MAIN, Pull, Refusal};
use spaceport_core::{CommitSha, Discussion, DiscussionStatus, Repo};
use spaceport_git::Mergeability;
use spaceport_store::{DiscussionFilter, NewDiscussion};

use crate::access::{DiscussRepo, ReadFiles};
use crate::audit;
use crate::community::{NewPull, open_pull};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{CalledUrl, JsonBody, Params};
use crate::state::ApiState;
use crate::views::RepoPath;
use crate::views::account::Authors;
use crate::views::discussion::{ChangesView, DetailsView, DiscussionView, EventView, people};

/// Discussions of a page.
const PAGE: i64 = 50;
/// Longest title, in characters.
const MAX_TITLE: usize = 200;
/// Longest text of a comment, in bytes.
const MAX_TEXT: usize = 64 << 10;
/// Longest diff that is shown, in bytes.
const MAX_DIFF: usize = 1 << 20;
/// How many there are in all.
const X_TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// A page of discussions.
#[derive(Debug, Serialize, ToSchema)]
pub struct DiscussionPage {
    /// The page.
    discussions: Vec<DiscussionView>,
    /// How many there are in all.
    count: i64,
    /// How many come before this page.
    start: i64,
}

/// A discussion or a pull request to be opened.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewDiscussion)]
pub struct NewDiscussionBody {
    /// What it is about.
    title: String,
    /// The first comment, in Markdown.
    #[serde(default)]
    description: String,
    /// Whether it is a pull request: a draft whose ref begins at `main`.
    #[serde(default)]
    pull_request: bool,
}

/// The discussions and pull requests of a repository, newest first
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/discussions", tag = "community",
    params(RepoPath, ("p" = Option<u64>, Query, description = "The page, from 0"),
        ("type" = Option<String>, Query, description = "`pull_request`, `discussion` or `all`"),
        ("status" = Option<String>, Query, description = "`open` (with drafts), `closed` (with merged ones) or `all`"),
        ("author" = Option<String>, Query, description = "Opened by this account")),
    responses((status = 200, body = DiscussionPage), (status = 404, body = ErrorBody)))]
pub async fn list_discussions(
    State(state): State<ApiState>,
    ReadFiles(read): ReadFiles,
    CalledUrl(hub): CalledUrl,
    params: Params,
) -> Result<Response, ApiError> {
    let page = i64::try_from(params.number("p")?.unwrap_or(0)).unwrap_or(i64::MAX);
    let start = page.saturating_mul(PAGE);
    let mut filter = DiscussionFilter {
        pulls: choice(&params, "type", [("pull_request", Some(true)), ("discussion", Some(false)), ("all", None)])?,
        open: choice(&params, "status", [("open", Some(true)), ("closed", Some(false)), ("all", None)])?,
        author: None,
        start,
        limit: PAGE,
    };
    let mut unknown_author = false;
    if let Some(name) = params.get("author") {
        filter.author = state.store.account_by_name(name).await?.map(|account| account.id);
        unknown_author = filter.author.is_none();
    }
    let (found, count) =
        if unknown_author { (Vec::new(), 0) } else { state.store.discussions(read.repo.id, &filter).await? };
    let ids: BTreeSet<_> = found.iter().map(|discussion| discussion.author).collect();
    let authors = Authors::of(state.store.accounts_of(&ids).await?, &state.site);
    let views = found.iter().map(|discussion| DiscussionView::of(discussion, &read.repo, &authors, &hub));
    let mut response = Json(DiscussionPage { discussions: views.collect(), count, start }).into_response();
    response.headers_mut().insert(X_TOTAL_COUNT, count.into());
    Ok(response)
}

/// One of the values a parameter may have; absent is `None`.
fn choice(params: &Params, key: &str, values: [(&'static str, Option<bool>); 3]) -> Result<Option<bool>, ApiError> {
    let Some(text) = params.get(key) else { return Ok(None) };
    let found = values.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names = values.map(|(name, _)| name);
        ApiError::bad_request(format!("'{key}' cannot be {:?}; it must be {}", clip(text), names.join(", ")))
    })
}

/// Open a discussion or a pull request
///
/// Whoever may read a repository may do both. A pull request begins as a draft at the newest commit of `main`; its
/// commits are pushed to `refs/pr/N` or made with `…/commit/refs%2Fpr%2FN`.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/discussions", tag = "community", params(RepoPath),
    request_body = NewDiscussionBody,
    responses((status = 200, body = DiscussionView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn create_discussion(
    State(state): State<ApiState>,
    to: DiscussRepo,
    CalledUrl(hub): CalledUrl,
    JsonBody(body): JsonBody<NewDiscussionBody>,
) -> Result<Json<DiscussionView>, ApiError> {
    let title = check_title(&body.title)?;
    let description = check_text("description", &body.description)?;
    let work = state.lifetime.detach({
        let state = state.clone();
        async move {
            let opened = open(&state, &to, title, description, body.pull_request).await?;
            let authors = Authors::of(vec![to.user.account().clone()], &state.site);
            Ok::<_, ApiError>(DiscussionView::of(&opened, &to.repo, &authors, &hub))
        }
    });
    Ok(Json(work.await.map_err(ApiError::internal)??))
}

async fn open(
    state: &ApiState,
    to: &DiscussRepo,
    title: String,
    text: String,
    pull: bool,
) -> Result<Discussion, ApiError> {
    let DiscussRepo { repo, user, .. } = to;
    if pull {
        let head = state.repositories.head(repo.id, "main").await?;
        let head = head.ok_or_else(|| {
            ApiError::conflict("There is no commit to base a pull request on; commit to 'main' first")
        })?;
        let new = NewPull { title, description: text, base: MAIN.to_owned(), head: head.clone() };
        return open_pull(state, repo, user, &head, new).await;
    }
    let new = NewDiscussion {
        repo: repo.id,
        number: state.store.discussion_number(repo.id).await?,
        author: user.account().id,
        title,
        text,
        status: DiscussionStatus::Open,
        pull: None,
        commits: Vec::new(),
        at: state.control.clock().now(),
    };
    let opened = state.store.discussion_open(new).await?;
    state.control.activate_webhooks();
    let detail = json!({"number": opened.number, "title": opened.title});
    audit::record(state, user, "discussion.open", &repo.path(), detail).await?;
    Ok(opened)
}

/// A discussion or a pull request with all that happened in it
#[utoipa::path(get, path = "/api/{kind}/{owner}/{name}/discussions/{number}", tag = "community",
    params(RepoPath, ("number" = i64, Path, description = "Its number"),
        ("diff" = Option<String>, Query, description = "`1`: with what a pull request changes")),
    responses((status = 200, body = DetailsView), (status = 404, body = ErrorBody)))]
pub async fn get_discussion(
    State(state): State<ApiState>,
    ReadFiles(read): ReadFiles,
    CalledUrl(hub): CalledUrl,
    Path(path): Path<HashMap<String, String>>,
    params: Params,
) -> Result<Json<DetailsView>, ApiError> {
    let discussion = find(&state, &read.repo, &path).await?;
    let events = state.store.discussion_events(discussion.id).await?;
    let mut ids = people(&events);
    ids.insert(discussion.author);
    let authors = Authors::of(state.store.accounts_of(&ids).await?, &state.site);
    let mut details = DetailsView {
        discussion: DiscussionView::of(&discussion, &read.repo, &authors, &hub),
        events: events.iter().map(|event| EventView::of(event, &authors)).collect(),
        changes: None,
        files_with_conflicts: None,
        diff: None,
        diff_truncated: None,
    };
    if let Some(pull) = &discussion.pull {
        let live = discussion.status.is_live();
        let head = head_of(&state, &read.repo, discussion.number, pull).await?;
        let merge_commit_id = pull.merged.as_ref().map(|merged| merged.commit.to_string());
        details.changes = Some(ChangesView { base: pull.base.clone(), head: head.to_string(), merge_commit_id });
        let base = base_of(&state, &read.repo, pull).await?;
        details.files_with_conflicts = Some(match &base {
            Some(base) if live => conflicts(&state, &read.repo, base, &head).await?,
            _ => Value::Bool(false),
        });
        if params.flag("diff") {
            let (diff, truncated) = diff(&state, &read.repo, base.as_ref(), &head).await?;
            (details.diff, details.diff_truncated) = (Some(diff), Some(truncated));
        }
    }
    Ok(Json(details))
}

/// The commit a pull request brings: where its ref points, which a crash may have kept from being recorded; the
/// one that was merged for one that is merged.
async fn head_of(state: &ApiState, repo: &Repo, number: i64, pull: &Pull) -> Result<CommitSha, ApiError> {
    if pull.merged.is_some() {
        return Ok(pull.head.clone());
    }
    let found = state.repositories.resolve(repo.id, &Discussion::reference(number)).await?;
    Ok(found.map_or_else(|| pull.head.clone(), |found| found.commit))
}

/// The commit a pull request is compared with: where its base points, or pointed before it was merged.
async fn base_of(state: &ApiState, repo: &Repo, pull: &Pull) -> Result<Option<CommitSha>, ApiError> {
    match (&pull.merged, pull.base.strip_prefix("refs/heads/")) {
        (Some(merged), _) => Ok(Some(merged.previous.clone())),
        (None, Some(branch)) => Ok(state.repositories.head(repo.id, branch).await?),
        (None, None) => Ok(None),
    }
}

async fn conflicts(state: &ApiState, repo: &Repo, base: &CommitSha, head: &CommitSha) -> Result<Value, ApiError> {
    Ok(match state.repositories.mergeability(repo.id, base, head).await? {
        Mergeability::Clean | Mergeability::UpToDate => Value::Bool(false),
        Mergeability::Conflicts(files) => json!(files),
    })
}

/// What a pull request changes since it left its base, and whether that was cut off.
async fn diff(
    state: &ApiState,
    repo: &Repo,
    base: Option<&CommitSha>,
    head: &CommitSha,
) -> Result<(String, bool), ApiError> {
    let left = match base {
        Some(base) => state.repositories.merge_base(repo.id, base, head).await?,
        None => None,
    };
    let compared = state.repositories.diff(repo.id, left.as_ref(), head, MAX_DIFF).await?;
    Ok((compared.patch, compared.truncated))
}

/// The discussion of a path.
///
/// # Errors
/// 404 when there is none.
pub(super) async fn find(
    state: &ApiState,
    repo: &Repo,
    path: &HashMap<String, String>,
) -> Result<Discussion, ApiError> {
    let text = path.get("number").map_or("", String::as_str);
    let found = match text.parse() {
        Ok(number) => state.store.discussion(repo.id, number).await?,
        Err(_) => None,
    };
    found.ok_or_else(|| ApiError::not_found(format!("{} has no discussion {:?}", repo.name, clip(text))))
}

/// A title, without white space around it.
///
/// # Errors
/// When it cannot be one.
pub(super) fn check_title(title: &str) -> Result<String, ApiError> {
    let title = title.trim();
    if title.is_empty() || title.chars().count() > MAX_TITLE || title.chars().any(char::is_control) {
        let message = format!("'title' must have 1 to {MAX_TITLE} characters, all on one line");
        return Err(ApiError::bad_request(message));
    }
    Ok(title.to_owned())
}

/// Markdown that is not too long; it may be empty.
///
/// # Errors
/// When it cannot be kept.
pub(super) fn check_text(field: &str, text: &str) -> Result<String, ApiError> {
    if text.len() > MAX_TEXT {
        let message = format!("'{field}' must have at most {} KiB; put longer texts into a file", MAX_TEXT >> 10);
        return Err(ApiError::bad_request(message));
    }
    if text.contains('\0') {
        return Err(ApiError::bad_request(format!("'{field}' must be text, and text has no NUL")));
    }
    Ok(text.to_owned())
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        let mut chars = text.chars();
        let text: String = chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect();
        match refusal {
            Refusal::NoComment => Self::not_found(text),
            Refusal::NoPull => Self::bad_request(text),
            Refusal::Status { .. } | Refusal::Full | Refusal::Hidden => Self::conflict(text),
        }
    }
}
