//! Events on their way to webhooks: tried, tried again, given up, replayed.

use futures::TryFutureExt;
use sqlx::FromRow;

use spaceport_core::webhook::{Delivery, DeliveryState};
use spaceport_core::{DeliveryId, Timestamp, WebhookId};

use crate::rows::text;
use crate::{After, Store, StoreError, Tx, run, run_tx};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEnd {
    /// Where the delivery stands now.
    pub state: DeliveryState,
    /// When it is tried next, if it is.
    pub next_at: Timestamp,
    /// What the receiver answered, if it did.
    pub status: Option<i64>,
    /// What went wrong.
    pub error: Option<String>,
    /// When.
    pub at: Timestamp,
}

#[derive(FromRow)]
struct DeliveryRow {
    id: String,
    webhook_id: String,
    event_id: String,
    repo: String,
    domain: String,
    body: String,
    state: String,
    attempts: i64,
    next_at: i64,
    created_at: i64,
    ended_at: Option<i64>,
    status: Option<i64>,
    error: Option<String>,
    replay_of: Option<String>,
}

impl DeliveryRow {
    fn into_delivery(self) -> Result<Delivery, StoreError> {
        Ok(Delivery {
            id: text("deliveries.id", &self.id)?,
            webhook: text("deliveries.webhook_id", &self.webhook_id)?,
            event: text("deliveries.event_id", &self.event_id)?,
            repo: text("deliveries.repo", &self.repo)?,
            domain: text("deliveries.domain", &self.domain)?,
            body: self.body,
            state: text("deliveries.state", &self.state)?,
            attempts: self.attempts,
            next_at: Timestamp::from_millis(self.next_at),
            created_at: Timestamp::from_millis(self.created_at),
            ended_at: self.ended_at.map(Timestamp::from_millis),
            status: self.status,
            error: self.error,
            replay_of: self.replay_of.map(|id| text("deliveries.replay_of", &id)).transpose()?,
        })
    }
}

const DELIVERY_ADD: &str = "INSERT INTO deliveries (id, webhook_id, event_id, repo, domain, body, state, attempts, \
     next_at, created_at, replay_of) SELECT $1, id, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM webhooks WHERE id = $2";
const DELIVERY: &str = "SELECT * FROM deliveries WHERE webhook_id = $1 AND id = $2";
const WEBHOOKS_DUE: &str =
    "SELECT DISTINCT webhook_id FROM deliveries WHERE state = 'pending' AND next_at <= $1 ORDER BY webhook_id";
const DELIVERY_DUE: &str = "SELECT * FROM deliveries WHERE webhook_id = $1 AND state = 'pending' AND next_at <= $2 \
     ORDER BY created_at, event_id, id LIMIT 1";
const DELIVERY_CLAIM: &str = "UPDATE deliveries SET attempts = attempts + 1, next_at = $1, ended_at = NULL \
     WHERE id = $2 AND attempts = $3 AND state = 'pending'";
const DELIVERY_END: &str = "UPDATE deliveries SET state = $1, next_at = $2, status = $3, error = $4, ended_at = $5 \
     WHERE id = $6 AND attempts = $7 AND state = 'pending'";
const DELIVERIES_OF: &str = "SELECT * FROM deliveries WHERE webhook_id = $1 \
     AND (created_at < $2 OR (created_at = $2 AND id < $3)) ORDER BY created_at DESC, id DESC LIMIT $4";
const DELIVERIES_FORGET: &str = "DELETE FROM deliveries WHERE state <> 'pending' AND created_at < $1";

/// Adds a delivery; nothing when its webhook is gone meanwhile.
pub(crate) async fn add(tx: &mut Tx, delivery: &Delivery) -> Result<(), StoreError> {
    run_tx!(tx, "delivery_add", db => sqlx::query(DELIVERY_ADD)
        .bind(delivery.id.to_string())
        .bind(delivery.webhook.to_string())
        .bind(delivery.event.to_string())
        .bind(delivery.repo.to_string())
        .bind(delivery.domain.as_str())
        .bind(&delivery.body)
        .bind(delivery.state.as_str())
        .bind(delivery.attempts)
        .bind(delivery.next_at.as_millis())
        .bind(delivery.created_at.as_millis())
        .bind(delivery.replay_of.map(|id| id.to_string()))
        .execute(db).map_ok(crate::unit))
}

impl Store {
    /// Adds a delivery of its own: a replay.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivery_add(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        add(&mut tx, delivery).await?;
        tx.commit().await
    }

    /// One delivery of a webhook.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivery(&self, webhook: WebhookId, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        run!(self, "delivery", db => sqlx::query_as::<_, DeliveryRow>(DELIVERY)
            .bind(webhook.to_string()).bind(id.to_string()).fetch_optional(db))?
        .map(DeliveryRow::into_delivery)
        .transpose()
    }

    /// The deliveries of a webhook, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries_of(
        &self,
        webhook: WebhookId,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (at, id) = After::parts(after);
        run!(self, "deliveries_of", db => sqlx::query_as::<_, DeliveryRow>(DELIVERIES_OF)
            .bind(webhook.to_string()).bind(at).bind(id).bind(limit).fetch_all(db))?
        .into_iter()
        .map(DeliveryRow::into_delivery)
        .collect()
    }

    /// The webhooks to which something is to be sent now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks_due(&self, now: Timestamp) -> Result<Vec<WebhookId>, StoreError> {
        run!(self, "webhooks_due", db => sqlx::query_as::<_, (String,)>(WEBHOOKS_DUE)
            .bind(now.as_millis()).fetch_all(db))?
        .iter()
        .map(|(id,)| text("deliveries.webhook_id", id))
        .collect()
    }

    /// The oldest of what is to be sent to a webhook now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivery_due(&self, webhook: WebhookId, now: Timestamp) -> Result<Option<Delivery>, StoreError> {
        run!(self, "delivery_due", db => sqlx::query_as::<_, DeliveryRow>(DELIVERY_DUE)
            .bind(webhook.to_string()).bind(now.as_millis()).fetch_optional(db))?
        .map(DeliveryRow::into_delivery)
        .transpose()
    }

    /// Takes a delivery for one more attempt; `false` when somebody else has it. Whoever dies with it
    /// leaves it to be tried again at `next_at`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivery_claim(&self, delivery: &Delivery, next_at: Timestamp) -> Result<bool, StoreError> {
        run!(self, "delivery_claim", db => sqlx::query(DELIVERY_CLAIM)
            .bind(next_at.as_millis())
            .bind(delivery.id.to_string())
            .bind(delivery.attempts)
            .execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// Records how an attempt ended; `attempts` counts it. `false` when it was taken by somebody else since.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivery_end(&self, id: DeliveryId, attempts: i64, end: &AttemptEnd) -> Result<bool, StoreError> {
        run!(self, "delivery_end", db => sqlx::query(DELIVERY_END)
            .bind(end.state.as_str())
            .bind(end.next_at.as_millis())
            .bind(end.status)
            .bind(&end.error)
            .bind(end.at.as_millis())
            .bind(id.to_string())
            .bind(attempts)
            .execute(db).map_ok(crate::Rows::rows))
        .map(|rows| rows == 1)
    }

    /// Forgets deliveries made before a time that are not to be tried any more. Says how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries_forget(&self, before: Timestamp) -> Result<u64, StoreError> {
        run!(self, "deliveries_forget", db => sqlx::query(DELIVERIES_FORGET)
            .bind(before.as_millis()).execute(db).map_ok(crate::Rows::rows))
    }
}
