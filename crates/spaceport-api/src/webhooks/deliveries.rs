//! What was sent to a webhook, and sending it again.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;

use spaceport_core::DeliveryId;
use spaceport_core::webhook::{Delivery, DeliveryState};
use spaceport_store::After;

use crate::audit;
use crate::caller::User;
use crate::community::Page;
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{CalledUrl, Params};
use crate::state::ApiState;
use crate::views::webhook::DeliveryView;
use crate::webhooks::settings::find;

/// What was and will be sent to a webhook
///
/// The newest first, in pages: the header `Link` with `rel="next"` leads to the next one. Kept for two weeks.
#[utoipa::path(get, path = "/api/settings/webhooks/{webhook}/deliveries", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its id"),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`")),
    responses((status = 200, body = [DeliveryView]), (status = 404, body = ErrorBody)))]
pub async fn list_deliveries(
    State(state): State<ApiState>,
    user: User,
    CalledUrl(hub): CalledUrl,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    // Payloads show private repositories, as a token without limits does.
    let user = user.into_full_writer()?;
    let webhook = find(&state, &user, &id).await?;
    let page = Page::of(&params)?;
    let mut rows = state.store.deliveries_of(webhook.id, page.after.as_ref(), page.rows()).await?;
    let next = page.cut(&mut rows, |row| After { at: row.created_at, id: row.id.to_string() });
    let url = format!("{hub}/api/settings/webhooks/{}/deliveries", webhook.id);
    Page::answer(rows.iter().map(DeliveryView::of).collect(), next, &url, &params)
}

/// Send something again
///
/// A delivery of its own, with the same event and the same body, signed with the secret of today.
#[utoipa::path(post, path = "/api/settings/webhooks/{webhook}/deliveries/{delivery}/replay", tag = "webhooks",
    params(("webhook" = String, Path, description = "The id of the webhook"),
        ("delivery" = String, Path, description = "The id of the delivery")),
    responses((status = 200, body = DeliveryView), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn replay_delivery(
    State(state): State<ApiState>,
    user: User,
    Path(path): Path<HashMap<String, String>>,
) -> Result<Json<DeliveryView>, ApiError> {
    let user = user.into_full_writer()?;
    let part = |name: &str| path.get(name).map_or("", String::as_str);
    let webhook = find(&state, &user, part("webhook")).await?;
    let old = match part("delivery").parse::<DeliveryId>() {
        Ok(id) => state.store.delivery(webhook.id, id).await?,
        Err(_) => None,
    };
    let missing = || ApiError::not_found(format!("This webhook has no delivery {:?}", clip(part("delivery"))));
    let old = old.ok_or_else(missing)?;
    if webhook.disabled {
        return Err(ApiError::conflict("This webhook is disabled; enable it first"));
    }
    let now = state.control.clock().now();
    let replay = Delivery {
        id: state.control.clock().delivery_id(),
        state: DeliveryState::Pending,
        attempts: 0,
        next_at: now,
        created_at: now,
        ended_at: None,
        status: None,
        error: None,
        replay_of: Some(old.replay_of.unwrap_or(old.id)),
        ..old
    };
    let work = state.lifetime.detach({
        let state = state.clone();
        async move {
            state.store.delivery_add(&replay).await?;
            state.control.activate_webhooks();
            let detail = json!({"delivery": replay.id, "of": replay.replay_of});
            audit::record(&state, &user, "webhook.replay", &webhook.id.to_string(), detail).await?;
            Ok::<_, ApiError>(DeliveryView::of(&replay))
        }
    });
    Ok(Json(work.await.map_err(ApiError::internal)??))
}
