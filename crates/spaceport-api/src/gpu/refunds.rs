//! Device time that an admin gives back. The ledger is append-only: a refund is a row of its own.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::gpu::LeaseEnd;
use spaceport_core::gpu::ledger::{DeviceTime, Period};
use spaceport_core::{EntryId, Timestamp};
use spaceport_store::Refunded;

use crate::audit;
use crate::caller::Admin;
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::state::ApiState;

/// What to give back.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = GpuRefundRequest)]
pub struct RefundRequest {
    /// Why: `device_lost`, `node_lost` or `start_failed`.
    pub reason: String,
    /// RFC 3339; the beginning of the row when absent.
    #[serde(default)]
    pub from: Option<String>,
    /// RFC 3339; the end of the row when absent.
    #[serde(default)]
    pub until: Option<String>,
}

/// What was given back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GpuRefund)]
pub struct RefundView {
    /// The row that says so.
    pub entry: String,
    /// Device hours.
    pub hours: String,
}

/// Give back device time
///
/// A part of a row of the ledger, or all of it. Rows have their ids in `GET /api/usage` with `Accept: text/csv`.
#[utoipa::path(post, path = "/api/usage/{entry}/refund", tag = "gpu", request_body = RefundRequest,
    params(("entry" = String, Path, description = "The id of a row that is no refund itself")),
    responses((status = 200, body = RefundView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub async fn create_refund(
    State(state): State<ApiState>,
    Admin(user): Admin,
    Path(entry): Path<String>,
    JsonBody(body): JsonBody<RefundRequest>,
) -> Result<Json<RefundView>, ApiError> {
    let why = body.reason.parse::<LeaseEnd>().ok().filter(|why| why.is_fault()).ok_or_else(|| {
        ApiError::bad_request(
            "'reason' must be what the platform was at fault for: device_lost, node_lost or start_failed",
        )
    })?;
    let missing = || ApiError::not_found(format!("There is no row {:?} in the ledger", clip(&entry)));
    let id: EntryId = entry.parse().map_err(|_| missing())?;
    let row = state.store.ledger_entry(id).await?.filter(|row| row.refund_of.is_none()).ok_or_else(missing)?;
    let time = |key: &str, text: &Option<String>, otherwise: Timestamp| match text {
        Some(text) => text.parse::<Timestamp>().map_err(|error| ApiError::bad_request(format!("'{key}': {error}"))),
        None => Ok(otherwise),
    };
    let period = Period { from: time("from", &body.from, row.from)?, until: time("until", &body.until, row.until)? };
    let written = match state.store.ledger_refund(id, period, why, state.control.clock().now()).await? {
        Refunded::Done(written) => written,
        Refunded::NoEntry => return Err(missing()),
        Refunded::NotWithin => {
            let (from, until) = (row.from, row.until);
            return Err(ApiError::bad_request(format!(
                "What is given back must lie between {from} and {until}, and no part of it may have been given back before"
            )));
        }
    };
    state.control.activate_hardware();
    let hours = DeviceTime::between(row.milli, period.from, period.until).hours();
    let detail = json!({"row": entry, "space": row.space_name, "hours": hours, "reason": why});
    audit::record(&state, &user, "usage.refund", &row.account.0, detail).await?;
    Ok(Json(RefundView { entry: written.to_string(), hours }))
}
