//! `/api/settings/webhooks`: the caller's own webhooks.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;
use utoipa::ToSchema;

use spaceport_core::account::{AccountKind, TokenRole};
use spaceport_core::webhook::{Domain, Watched, WatchedKind, Webhook};
use spaceport_core::{RepoKind, RepoName, WebhookId};
use spaceport_store::WebhookChange;

use crate::access::rights;
use crate::audit;
use crate::caller::{Caller, User};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::state::ApiState;
use crate::views::webhook::WebhookView;

/// Webhooks of one account.
const MAX_WEBHOOKS: usize = 50;
/// Things one webhook watches.
const MAX_WATCHED: usize = 100;
/// Longest address.
const MAX_URL: usize = 2000;
/// Longest secret.
const MAX_SECRET: usize = 1000;

/// A webhook to be made, or what shall be different about one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewWebhook)]
pub struct WebhookBody {
    /// Where it is delivered to.
    url: Option<String>,
    /// Starts a job instead: not offered here.
    job_source_id: Option<String>,
    /// What it watches; none leaves it as it is.
    #[serde(default)]
    watched: Option<Vec<WatchedBody>>,
    /// What it is told of: `repo`, `discussion`, `build`, `runtime`.
    #[serde(default)]
    domains: Option<Vec<String>>,
    /// What deliveries carry and are signed with; an empty one is none.
    #[serde(default)]
    secret: Option<String>,
}

/// Something to watch.
#[derive(Debug, Deserialize, ToSchema)]
pub struct WatchedBody {
    /// `user`, `org`, `model`, `dataset` or `space`.
    #[serde(rename = "type")]
    kind: String,
    /// The name of the account, or `owner/name`.
    name: String,
}

/// One webhook.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookAnswer {
    /// The webhook.
    webhook: WebhookView,
}

/// The caller's webhooks
#[utoipa::path(get, path = "/api/settings/webhooks", tag = "webhooks",
    responses((status = 200, body = [WebhookView]), (status = 401, body = ErrorBody)))]
pub async fn list_webhooks(State(state): State<ApiState>, user: User) -> Result<Json<Vec<WebhookView>>, ApiError> {
    let user = user.into_full_reader()?;
    let webhooks = state.store.webhooks_of(user.account().id).await?;
    Ok(Json(webhooks.iter().map(|webhook| view(&state, &user, webhook)).collect()))
}

/// Make a webhook
///
/// It is told of what its owner may read. Every delivery has the headers `X-Webhook-Secret` and, as a signature of the
/// body, `X-Spaceport-Signature-256: sha256=…` (HMAC with the secret).
#[utoipa::path(post, path = "/api/settings/webhooks", tag = "webhooks", request_body = WebhookBody,
    responses((status = 200, body = WebhookAnswer), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn create_webhook(
    State(state): State<ApiState>,
    user: User,
    JsonBody(body): JsonBody<WebhookBody>,
) -> Result<Json<WebhookAnswer>, ApiError> {
    let user = user.into_full_writer()?;
    let wanted = Wanted::of(&state, &user, body).await?;
    let url = wanted.url.ok_or_else(|| ApiError::bad_request("A webhook needs a 'url' to be delivered to"))?;
    let nothing = || ApiError::bad_request("A webhook needs something in 'watched'");
    let id = state.control.clock().webhook_id();
    let webhook = Webhook {
        id,
        owner: user.account().id,
        url,
        sealed_secret: wanted.secret.and_then(|secret| seal(&state, id, &secret)),
        // Hub: both of its own are the default.
        domains: wanted.domains.unwrap_or_else(|| BTreeSet::from([Domain::Repo, Domain::Discussion])),
        watched: wanted.watched.ok_or_else(nothing)?,
        disabled: false,
        created_at: state.control.clock().now(),
    };
    if state.store.webhooks_of(webhook.owner).await?.len() >= MAX_WEBHOOKS {
        return Err(ApiError::conflict(format!("An account has at most {MAX_WEBHOOKS} webhooks; delete one first")));
    }
    write(&state, user, webhook.id, Write::New(webhook)).await
}

/// One webhook
#[utoipa::path(get, path = "/api/settings/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its id")),
    responses((status = 200, body = WebhookAnswer), (status = 404, body = ErrorBody)))]
pub async fn get_webhook(
    State(state): State<ApiState>,
    user: User,
    Path(id): Path<String>,
) -> Result<Json<WebhookAnswer>, ApiError> {
    let user = user.into_full_reader()?;
    let webhook = find(&state, &user, &id).await?;
    Ok(Json(WebhookAnswer { webhook: view(&state, &user, &webhook) }))
}

/// Change a webhook
///
/// What is not given stays as it is.
#[utoipa::path(post, path = "/api/settings/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its id")), request_body = WebhookBody,
    responses((status = 200, body = WebhookAnswer), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn update_webhook(
    State(state): State<ApiState>,
    user: User,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<WebhookBody>,
) -> Result<Json<WebhookAnswer>, ApiError> {
    let user = user.into_full_writer()?;
    let webhook = find(&state, &user, &id).await?;
    let wanted = Wanted::of(&state, &user, body).await?;
    let secret = wanted.secret.map(|secret| seal(&state, webhook.id, &secret));
    let change = WebhookChange { url: wanted.url, domains: wanted.domains, watched: wanted.watched, secret };
    write(&state, user, webhook.id, Write::Change(change)).await
}

/// Deliver to a webhook again
#[utoipa::path(post, path = "/api/settings/webhooks/{webhook}/enable", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its id")),
    responses((status = 200, body = WebhookAnswer), (status = 404, body = ErrorBody)))]
pub async fn enable_webhook(
    State(state): State<ApiState>,
    user: User,
    Path(id): Path<String>,
) -> Result<Json<WebhookAnswer>, ApiError> {
    switch(&state, user, &id, false).await
}

/// Deliver nothing to a webhook
///
/// What happens meanwhile is not delivered later either.
#[utoipa::path(post, path = "/api/settings/webhooks/{webhook}/disable", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its id")),
    responses((status = 200, body = WebhookAnswer), (status = 404, body = ErrorBody)))]
pub async fn disable_webhook(
    State(state): State<ApiState>,
    user: User,
    Path(id): Path<String>,
) -> Result<Json<WebhookAnswer>, ApiError> {
    switch(&state, user, &id, true).await
}

async fn switch(state: &ApiState, user: User, id: &str, disabled: bool) -> Result<Json<WebhookAnswer>, ApiError> {
    let user = user.into_full_writer()?;
    let webhook = find(state, &user, id).await?;
    write(state, user, webhook.id, Write::Switch { disabled }).await
}

/// Delete a webhook with its deliveries
#[utoipa::path(delete, path = "/api/settings/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its id")),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub async fn delete_webhook(
    State(state): State<ApiState>,
    user: User,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let user = user.into_full_writer()?;
    let webhook = find(&state, &user, &id).await?;
    let work = state.lifetime.detach({
        let state = state.clone();
        async move {
            state.store.webhook_delete(webhook.id).await?;
            audit::record(&state, &user, "webhook.delete", &webhook.id.to_string(), json!({"url": webhook.url})).await
        }
    });
    work.await.map_err(ApiError::internal)??;
    Ok(Json(json!({})))
}

/// A webhook of the caller.
///
/// # Errors
/// 404 when there is none, or it is somebody else's.
pub(super) async fn find(state: &ApiState, user: &User, id: &str) -> Result<Webhook, ApiError> {
    let found = match id.parse::<WebhookId>() {
        Ok(id) => state.store.webhook(id).await?,
        Err(_) => None,
    };
    let found = found.filter(|webhook| webhook.owner == user.account().id);
    found.ok_or_else(|| ApiError::not_found(format!("You have no webhook {:?}", clip(id))))
}

/// What is written of a webhook.
enum Write {
    New(Webhook),
    Change(WebhookChange),
    Switch { disabled: bool },
}

async fn write(state: &ApiState, user: User, id: WebhookId, what: Write) -> Result<Json<WebhookAnswer>, ApiError> {
    let work = state.lifetime.detach({
        let state = state.clone();
        async move {
            let action = match what {
                Write::New(webhook) => {
                    state.store.webhook_add(&webhook).await?;
                    "webhook.create"
                }
                Write::Change(change) => {
                    state.store.webhook_change(id, &change).await?;
                    "webhook.update"
                }
                Write::Switch { disabled } => {
                    state.store.webhook_switch(id, disabled).await?;
                    if disabled { "webhook.disable" } else { "webhook.enable" }
                }
            };
            // As it is now: somebody else may have changed another part of it, or deleted it.
            let webhook = find(&state, &user, &id.to_string()).await?;
            let watched: Vec<_> = webhook.watched.iter().map(|watched| &watched.name).collect();
            let detail = json!({"url": webhook.url, "domains": webhook.domains, "watched": watched});
            audit::record(&state, &user, action, &webhook.id.to_string(), detail).await?;
            Ok::<_, ApiError>(WebhookAnswer { webhook: view(&state, &user, &webhook) })
        }
    });
    Ok(Json(work.await.map_err(ApiError::internal)??))
}

fn view(state: &ApiState, user: &User, webhook: &Webhook) -> WebhookView {
    let writer = user.viewer.credential.role() == TokenRole::Write;
    let sealed = webhook.sealed_secret.as_ref().filter(|_| writer);
    // One that does not open was sealed with another installation's key: the owner sets it anew.
    let secret = sealed.and_then(|sealed| state.vault.open_webhook(webhook.id, sealed).ok());
    WebhookView::of(webhook, secret)
}

fn seal(state: &ApiState, id: WebhookId, secret: &str) -> Option<String> {
    (!secret.is_empty()).then(|| state.vault.seal_webhook(id, secret))
}

/// What a body asks for, checked.
struct Wanted {
    url: Option<String>,
    watched: Option<Vec<Watched>>,
    domains: Option<BTreeSet<Domain>>,
    secret: Option<String>,
}

impl Wanted {
    async fn of(state: &ApiState, user: &User, body: WebhookBody) -> Result<Self, ApiError> {
        if body.job_source_id.is_some() {
            return Err(ApiError::bad_request("Webhooks cannot start jobs here; give a 'url' to be delivered to"));
        }
        let url = body.url.map(|url| check_url(&url)).transpose()?;
        let domains = body.domains.filter(|domains| !domains.is_empty());
        let domain = |text: String| {
            text.parse::<Domain>().map_err(|error| ApiError::bad_request(format!("In 'domains': {error}")))
        };
        let domains = domains.map(|domains| domains.into_iter().map(domain).collect()).transpose()?;
        if body.secret.as_ref().is_some_and(|secret| secret.len() > MAX_SECRET || !is_header(secret)) {
            let message =
                format!("'secret' must have at most {MAX_SECRET} visible ASCII characters: it is sent as a header");
            return Err(ApiError::bad_request(message));
        }
        let items = body.watched.unwrap_or_default();
        if items.len() > MAX_WATCHED {
            return Err(ApiError::bad_request(format!("A webhook watches at most {MAX_WATCHED} things")));
        }
        let mut watched = Vec::with_capacity(items.len());
        for item in &items {
            let found = resolve(state, user, item).await?;
            if !watched.iter().any(|one: &Watched| one.target == found.target) {
                watched.push(found);
            }
        }
        Ok(Self { url, domains, secret: body.secret, watched: (!watched.is_empty()).then_some(watched) })
    }
}

/// Whether a text can stand in a header as it is.
fn is_header(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == text
}

/// An address something can be delivered to. Whether it is one of the public internet shows at every
/// delivery, when its name is resolved.
fn check_url(text: &str) -> Result<String, ApiError> {
    let wrong = |why: &str| ApiError::bad_request(format!("'url' cannot be {:?}: {why}", clip(text)));
    if text.len() > MAX_URL {
        return Err(wrong("it is too long"));
    }
    let url = Url::parse(text.trim()).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it must be http:// or https:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it must not have a user name or a password; the 'secret' tells that it is us"));
    }
    Ok(url.into())
}

/// Finds what shall be watched, if the caller may see it.
async fn resolve(state: &ApiState, user: &User, item: &WatchedBody) -> Result<Watched, ApiError> {
    let kind: WatchedKind =
        item.kind.parse().map_err(|error| ApiError::bad_request(format!("In 'watched': {error}")))?;
    let missing = || ApiError::bad_request(format!("There is no {kind} {:?} to watch", clip(&item.name)));
    let (repo_kind, account_kind) = match kind {
        WatchedKind::User => (None, AccountKind::User),
        WatchedKind::Org => (None, AccountKind::Org),
        WatchedKind::Model => (Some(RepoKind::Model), AccountKind::User),
        WatchedKind::Dataset => (Some(RepoKind::Dataset), AccountKind::User),
        WatchedKind::Space => (Some(RepoKind::Space), AccountKind::User),
    };
    let Some(repo_kind) = repo_kind else {
        let account = state.store.account_by_name(&item.name).await?.filter(|account| account.kind == account_kind);
        let account = account.ok_or_else(missing)?;
        return Ok(Watched { kind, target: account.id.to_string(), name: account.name });
    };
    let name: RepoName = item.name.parse().map_err(|_| missing())?;
    let repo = match state.store.repo_by_name(repo_kind, &name).await? {
        Some(repo) => Some(repo),
        None => state.store.repo_moved_from(repo_kind, &name).await?,
    };
    let caller = Caller::from(user.clone());
    let repo = repo.filter(|repo| rights(repo, &caller).see).ok_or_else(missing)?;
    Ok(Watched { kind, target: repo.id.to_string(), name: repo.name.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_plain_http() {
        assert_eq!(check_url(" https://hooks.example/x?y=1 ").unwrap(), "https://hooks.example/x?y=1");
        for wrong in
            ["", "hooks.example", "ftp://a/", "https://", "http://user:pw@a/", "file:///etc/passwd", "http://[::"]
        {
            assert!(check_url(wrong).is_err(), "{wrong}");
        }
        assert!(check_url(&format!("https://a/{}", "x".repeat(MAX_URL))).is_err());
    }
}
