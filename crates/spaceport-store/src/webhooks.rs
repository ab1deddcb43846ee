//! Webhooks and what they watch.

use std::collections::BTreeSet;

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::webhook::{Domain, Watched, Webhook};
use spaceport_core::{AccountId, RepoId, Timestamp, WebhookId};

use crate::rows::{json, text, to_json};
use crate::{Store, StoreError, Tx, run, run_tx};

/// What shall be different about a webhook; the rest stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookChange {
    /// Where it is delivered to.
    pub url: Option<String>,
    /// What it is told of.
    pub domains: Option<BTreeSet<Domain>>,
    /// All of what it watches.
    pub watched: Option<Vec<Watched>>,
    /// Its sealed secret; the inner `None` takes it away.
    pub secret: Option<Option<String>>,
}

#[derive(FromRow)]
struct WebhookRow {
    id: String,
    owner_id: String,
    url: String,
    sealed_secret: Option<String>,
    domains: String,
    disabled: bool,
    created_at: i64,
}

#[derive(FromRow)]
struct WatchedRow {
    target_id: String,
    kind: String,
    name: String,
}

const WEBHOOK_ADD: &str = "INSERT INTO webhooks (id, owner_id, url, sealed_secret, domains, disabled, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";
const WEBHOOK_CHANGE: &str =
    "UPDATE webhooks SET url = COALESCE($1, url), domains = COALESCE($2, domains) WHERE id = $3";
const WEBHOOK_SEAL: &str = "UPDATE webhooks SET sealed_secret = $1 WHERE id = $2";
const WEBHOOK_SWITCH: &str = "UPDATE webhooks SET disabled = $1 WHERE id = $2";
const WEBHOOK: &str = "SELECT * FROM webhooks WHERE id = $1";
const WEBHOOKS_OF: &str = "SELECT * FROM webhooks WHERE owner_id = $1 ORDER BY created_at, id";
const WEBHOOKS_WATCHING: &str = "SELECT * FROM webhooks h WHERE NOT disabled \
     AND EXISTS (SELECT 1 FROM watched w WHERE w.webhook_id = h.id AND w.target_id IN ($1, $2)) ORDER BY created_at, id";
const WEBHOOK_DELETE: &str = "DELETE FROM webhooks WHERE id = $1";
const WATCHED: &str = "SELECT target_id, kind, name FROM watched WHERE webhook_id = $1 ORDER BY place";
const WATCHED_FORGET: &str = "DELETE FROM watched WHERE webhook_id = $1";
const WATCHED_ADD: &str =
    "INSERT INTO watched (webhook_id, target_id, kind, name, place) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

impl Store {
    /// Adds a webhook.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhook_add(&self, webhook: &Webhook) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        run_tx!(&mut tx, "webhook_add", db => sqlx::query(WEBHOOK_ADD)
            .bind(webhook.id.to_string())
            .bind(webhook.owner.to_string())
            .bind(&webhook.url)
            .bind(&webhook.sealed_secret)
            .bind(to_json(&webhook.domains))
            .bind(webhook.disabled)
            .bind(webhook.created_at.as_millis())
            .execute(db).map_ok(crate::unit))?;
        watch(&mut tx, webhook.id, &webhook.watched).await?;
        tx.commit().await
    }

    /// Changes a webhook; what is not given, and whether it is disabled, stays as somebody else may have made
    /// it meanwhile. `false` when there is none.
    ///
    /// # Errors
    /// When the database fails; then nothing is changed.
    pub async fn webhook_change(&self, id: WebhookId, change: &WebhookChange) -> Result<bool, StoreError> {
        let WebhookChange { url, domains, watched, secret } = change;
        let mut tx = self.begin().await?;
        let rows = run_tx!(&mut tx, "webhook_change", db => sqlx::query(WEBHOOK_CHANGE)
            .bind(url.clone())
            .bind(domains.as_ref().map(to_json))
            .bind(id.to_string())
            .execute(db).map_ok(crate::Rows::rows))?;
        // Deleted by somebody else meanwhile: nothing is left to write to.
        if rows == 0 {
            return Ok(false);
        }
        if let Some(sealed) = secret {
            run_tx!(&mut tx, "webhook_seal", db => sqlx::query(WEBHOOK_SEAL)
                .bind(sealed.clone()).bind(id.to_string()).execute(db).map_ok(crate::unit))?;
        }
        if let Some(watched) = watched {
            run_tx!(&mut tx, "watched_forget", db => sqlx::query(WATCHED_FORGET)
                .bind(id.to_string()).execute(db).map_ok(crate::unit))?;
            watch(&mut tx, id, watched).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Enables or disables a webhook; `false` when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhook_switch(&self, id: WebhookId, disabled: bool) -> Result<bool, StoreError> {
        run!(self, "webhook_switch", db => sqlx::query(WEBHOOK_SWITCH)
            .bind(disabled).bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// By id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        let row = run!(self, "webhook", db => sqlx::query_as::<_, WebhookRow>(WEBHOOK)
            .bind(id.to_string()).fetch_optional(db))?;
        match row {
            Some(row) => self.with_watched(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// The webhooks of an account, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks_of(&self, owner: AccountId) -> Result<Vec<Webhook>, StoreError> {
        let rows = run!(self, "webhooks_of", db => sqlx::query_as::<_, WebhookRow>(WEBHOOKS_OF)
            .bind(owner.to_string()).fetch_all(db))?;
        self.all_with_watched(rows).await
    }

    /// The webhooks that watch a repository or its owner and are not disabled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks_watching(&self, repo: RepoId, owner: AccountId) -> Result<Vec<Webhook>, StoreError> {
        let rows = run!(self, "webhooks_watching", db => sqlx::query_as::<_, WebhookRow>(WEBHOOKS_WATCHING)
            .bind(repo.to_string()).bind(owner.to_string()).fetch_all(db))?;
        self.all_with_watched(rows).await
    }

    /// Deletes a webhook with its deliveries; `false` when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhook_delete(&self, id: WebhookId) -> Result<bool, StoreError> {
        run!(self, "webhook_delete", db => sqlx::query(WEBHOOK_DELETE)
            .bind(id.to_string()).execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    async fn all_with_watched(&self, rows: Vec<WebhookRow>) -> Result<Vec<Webhook>, StoreError> {
        let mut webhooks = Vec::with_capacity(rows.len());
        for row in rows {
            webhooks.push(self.with_watched(row).await?);
        }
        Ok(webhooks)
    }

    async fn with_watched(&self, row: WebhookRow) -> Result<Webhook, StoreError> {
        let rows = run!(self, "watched", db => sqlx::query_as::<_, WatchedRow>(WATCHED)
            .bind(&row.id).fetch_all(db))?;
        let watched = rows
            .into_iter()
            .map(|row| Ok(Watched { kind: text("watched.kind", &row.kind)?, target: row.target_id, name: row.name }));
        Ok(Webhook {
            id: text("webhooks.id", &row.id)?,
            owner: text("webhooks.owner_id", &row.owner_id)?,
            url: row.url,
            sealed_secret: row.sealed_secret,
            domains: json::<BTreeSet<Domain>>("webhooks.domains", &row.domains)?,
            watched: watched.collect::<Result<_, StoreError>>()?,
            disabled: row.disabled,
            created_at: Timestamp::from_millis(row.created_at),
        })
    }
}

async fn watch(tx: &mut Tx, webhook: WebhookId, watched: &[Watched]) -> Result<(), StoreError> {
    for (place, watched) in (0i64..).zip(watched) {
        run_tx!(tx, "watched_add", db => sqlx::query(WATCHED_ADD)
            .bind(webhook.to_string())
            .bind(&watched.target)
            .bind(watched.kind.as_str())
            .bind(&watched.name)
            .bind(place)
            .execute(db).map_ok(crate::unit))?;
    }
    Ok(())
}
