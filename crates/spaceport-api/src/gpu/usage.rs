//! Who used how much: reports of the ledger as JSON and for spreadsheets.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, VARY};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::gpu::ledger::{By, CSV_HEADER, DeviceTime, Entry, Period, Usage, csv_row, report};
use spaceport_core::gpu::{DeviceId, QuotaPath};
use spaceport_core::{RepoName, Timestamp};
use spaceport_store::LedgerFilter;

use crate::access::find_space;
use crate::caller::{Caller, User};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::Params;
use crate::gpu::Sight;
use crate::gpu::places::{self, named};
use crate::state::ApiState;

/// What is reported when nothing is said: the last so many days.
const DEFAULT_DAYS: u64 = 30;

/// What was used in a period.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GpuUsage)]
pub struct UsageView {
    /// The first moment.
    pub from: String,
    /// The first moment after it.
    pub until: String,
    /// By what it is added up.
    pub by: String,
    /// Most first.
    pub rows: Vec<UsageRow>,
    /// All of them.
    pub total: UsageRow,
}

/// A sum. Hours are those of whole devices, with three digits after the point.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuUsageRow)]
pub struct UsageRow {
    /// Of what: a Space, an account, a device, …; empty for the total.
    pub key: String,
    /// What leases had.
    pub used_hours: String,
    /// What of it is given back, since the platform was at fault.
    pub refunded_hours: String,
    /// What is charged.
    pub charged_hours: String,
    /// What is charged, times the weights of the models.
    pub weighted_hours: String,
    /// What is charged, exactly: thousandths of a device times milliseconds.
    pub charged_milli_device_ms: String,
    /// How many rows of leases.
    pub leases: u64,
}

impl UsageRow {
    fn of(key: String, usage: &Usage) -> Self {
        Self {
            key,
            used_hours: usage.used.hours(),
            refunded_hours: usage.refunded.hours(),
            charged_hours: usage.net().hours(),
            weighted_hours: DeviceTime(usage.weighted.0 / 1000).hours(),
            charged_milli_device_ms: usage.net().0.to_string(),
            leases: usage.leases,
        }
    }
}

/// Use of devices
///
/// The ledger, added up; leases that go on count up to now. With `Accept: text/csv` the rows themselves, one for each
/// device of a lease and each refund. Site admins see everything, admins of an organization what is the
/// organization's, others what is their own.
#[utoipa::path(get, path = "/api/usage", tag = "gpu",
    params(
        ("by" = Option<String>, Query, description = "`account` (when absent), `space`, `organization`, `device`, \
            `model`, `node`, `flavor` or `reason`"),
        ("from" = Option<String>, Query, description = "RFC 3339 or a day; 30 days before `until` when absent"),
        ("until" = Option<String>, Query, description = "RFC 3339 or a day; now when absent"),
        ("account" = Option<String>, Query, description = "`~USER`, `ORGANIZATION` or `ORGANIZATION/USER`"),
        ("space" = Option<String>, Query, description = "`owner/name`"),
        ("device" = Option<String>, Query, description = "The id of a device")),
    responses(
        (status = 200, description = "Sums as JSON, or rows as CSV", content(
            (UsageView = "application/json"), (String = "text/csv"))),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn get_usage(
    State(state): State<ApiState>,
    user: User,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let by = by(params.get("by").unwrap_or("account"))?;
    let period = period(&params, state.control.clock().now())?;
    let entries = entries(&state, user.into(), &params, period).await?;
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    let mut response =
        if accepts.contains("text/csv") { csv(&entries) } else { Json(sums(&entries, period, by)).into_response() };
    response.headers_mut().insert(VARY, ACCEPT.into());
    Ok(response)
}

fn sums(entries: &[Entry], period: Period, by: By) -> UsageView {
    let mut sums: Vec<(String, Usage)> = report(entries, period, by).into_iter().collect();
    sums.sort_by(|(one, a), (other, b)| b.net().cmp(&a.net()).then_with(|| one.cmp(other)));
    let mut total = Usage::default();
    for entry in entries {
        total.add(entry, period);
    }
    UsageView {
        from: period.from.to_rfc3339(),
        until: period.until.to_rfc3339(),
        by: serde_json::to_value(by).ok().and_then(|by| by.as_str().map(str::to_owned)).unwrap_or_default(),
        rows: sums.into_iter().map(|(key, usage)| UsageRow::of(key, &usage)).collect(),
        total: UsageRow::of(String::new(), &total),
    }
}

fn csv(entries: &[Entry]) -> Response {
    let mut text = String::from(CSV_HEADER);
    text.push_str("\r\n");
    for entry in entries {
        text.push_str(&csv_row(entry));
        text.push_str("\r\n");
    }
    let headers =
        [(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, "attachment; filename=\"usage.csv\"")];
    (headers, text).into_response()
}

/// The rows that were asked for, as far as the caller may see them.
async fn entries(state: &ApiState, caller: Caller, params: &Params, period: Period) -> Result<Vec<Entry>, ApiError> {
    let sight = Sight::of(state, &caller).await?;
    let account = match params.get("account") {
        Some(text) => Some(visible(state, &sight, text).await?),
        None => None,
    };
    let space = match params.get("space") {
        Some(text) => {
            let name: RepoName = text.parse().map_err(|_| ApiError::bad_request("'space' must be owner/name"))?;
            Some(find_space(state, &name, caller).await?.space.id)
        }
        None => None,
    };
    let device = params.get("device").map(|id| DeviceId(id.to_owned()));
    let filter = LedgerFilter { period, account, space, device };
    let mut entries = state.store.ledger_with_open(&filter, state.control.clock().now()).await?;
    entries.retain(|entry| sight.sees_use(&entry.account) && entry.time_within(period) != DeviceTime::ZERO);
    entries.sort_by_key(|entry| (entry.from, entry.lease, entry.device.clone(), entry.refund_of.is_some()));
    Ok(entries)
}

/// A place whose use the caller may see.
pub(super) async fn visible(state: &ApiState, sight: &Sight, text: &str) -> Result<QuotaPath, ApiError> {
    let place = named(state, text).await?;
    if sight.sees_use(&place) {
        return Ok(place);
    }
    Err(ApiError::forbidden(format!("The use of {} is not for you to see; ask an admin of it", places::name(&place))))
}

fn by(text: &str) -> Result<By, ApiError> {
    serde_json::from_value(text.into()).map_err(|_| {
        ApiError::bad_request(format!(
            "'by' must be account, space, organization, device, model, node, flavor or reason, not {:?}",
            clip(text)
        ))
    })
}

fn period(params: &Params, now: Timestamp) -> Result<Period, ApiError> {
    let time = |key: &str| {
        let read = params.get(key).map(str::parse::<Timestamp>).transpose();
        read.map_err(|error| ApiError::bad_request(format!("'{key}': {error}")))
    };
    let until = time("until")?.unwrap_or(now);
    let from = time("from")?.unwrap_or(until - Duration::from_secs(DEFAULT_DAYS * 24 * 60 * 60));
    if from >= until {
        return Err(ApiError::bad_request(format!("'from' ({from}) must lie before 'until' ({until})")));
    }
    Ok(Period { from, until })
}
