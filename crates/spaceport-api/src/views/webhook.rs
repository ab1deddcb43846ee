//! Webhooks and their deliveries.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use spaceport_core::webhook::{Delivery, Watched, Webhook};

/// A webhook. Hub: the same fields.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub struct WebhookView {
    /// Never changes.
    pub id: String,
    /// Where it is delivered to.
    pub url: String,
    /// What it watches.
    pub watched: Vec<WatchedView>,
    /// What it is told of: `repo`, `discussion`, `build`, `runtime`.
    pub domains: Vec<&'static str>,
    /// What deliveries carry and are signed with; only for tokens that may change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Nothing is delivered.
    pub disabled: bool,
}

/// Something a webhook watches.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = WatchedItem)]
pub struct WatchedView {
    /// `user`, `org`, `model`, `dataset` or `space`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

impl WebhookView {
    /// With its secret, opened, or without.
    #[must_use]
    pub fn of(webhook: &Webhook, secret: Option<String>) -> Self {
        let watched = |watched: &Watched| WatchedView { kind: watched.kind.as_str(), name: watched.name.clone() };
        Self {
            id: webhook.id.to_string(),
            url: webhook.url.clone(),
            watched: webhook.watched.iter().map(watched).collect(),
            domains: webhook.domains.iter().map(|domain| domain.as_str()).collect(),
            secret,
            disabled: webhook.disabled,
        }
    }
}

/// One event on its way to one webhook.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub struct DeliveryView {
    /// Never changes; the header `X-Spaceport-Delivery` has it.
    pub id: String,
    /// The event; a replay has the same. The header `X-Spaceport-Event` has it.
    pub event_id: String,
    /// `repo`, `discussion`, `build` or `runtime`.
    pub domain: &'static str,
    /// `pending`, `delivered` or `dead`.
    pub state: &'static str,
    /// How often it was tried.
    pub attempts: i64,
    /// Made.
    pub created_at: String,
    /// When the last attempt ended.
    pub ended_at: Option<String>,
    /// When it is tried next, while it is pending.
    pub next_attempt_at: Option<String>,
    /// The status the receiver answered with, if it did.
    pub response_status: Option<i64>,
    /// What went wrong with the last attempt.
    pub error: Option<String>,
    /// The delivery this one repeats.
    pub replay_of: Option<String>,
    /// What is sent.
    #[schema(value_type = Object)]
    pub payload: Value,
}

impl DeliveryView {
    /// Of a delivery.
    #[must_use]
    pub fn of(delivery: &Delivery) -> Self {
        use spaceport_core::webhook::DeliveryState;
        let pending = delivery.state == DeliveryState::Pending;
        Self {
            id: delivery.id.to_string(),
            event_id: delivery.event.to_string(),
            domain: delivery.domain.as_str(),
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            created_at: delivery.created_at.to_rfc3339(),
            ended_at: delivery.ended_at.map(|at| at.to_rfc3339()),
            next_attempt_at: pending.then(|| delivery.next_at.to_rfc3339()),
            response_status: delivery.status,
            error: delivery.error.clone(),
            replay_of: delivery.replay_of.map(|id| id.to_string()),
            payload: serde_json::from_str(&delivery.body).unwrap_or(Value::Null),
        }
    }
}
