//! Who used how much: reports of the ledger as JSON and for spreadsheets.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, LINK, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::gpu::ledger::{By, CSV_HEADER, DeviceTime, Entry, Period, Usage, csv_row, report};
use spaceport_core::gpu::{DeviceId, QuotaPath};
use spaceport_core::{RepoName, Timestamp};
use spaceport_store::{LedgerFilter, StoreError};

use crate::access::find_space;
use crate::caller::{Caller, User};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{CalledUrl, Params};
use crate::gpu::Sight;
use crate::gpu::places::{self, named};
use crate::state::ApiState;

/// What is reported when nothing is said: the last so many days.
const DEFAULT_DAYS: u64 = 30;
/// Sums of a page unless `limit` says otherwise.
const DEFAULT_LIMIT: u64 = 100;
/// Most sums of a page.
const MAX_LIMIT: u64 = 1000;

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
    /// A page of them, most first.
    pub rows: Vec<UsageRow>,
    /// All of them, whatever the page.
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
/// The ledger, added up; leases that go on count up to now. In pages: the header `Link` with `rel="next"` leads to the
/// next one. With `Accept: text/csv` the rows themselves, all of them, one for each device of a lease and each refund.
/// Site admins see everything, admins of an organization what is the organization's, others what is their own.
#[utoipa::path(get, path = "/api/usage", tag = "gpu",
    params(
        ("by" = Option<String>, Query, description = "`account` (when absent), `space`, `organization`, `device`, \
            `model`, `node`, `flavor` or `reason`"),
        ("from" = Option<String>, Query, description = "RFC 3339 or a day; 30 days before `until` when absent"),
        ("until" = Option<String>, Query, description = "RFC 3339 or a day; now when absent"),
        ("account" = Option<String>, Query, description = "`~USER`, `ORGANIZATION` or `ORGANIZATION/USER`"),
        ("space" = Option<String>, Query, description = "`owner/name`"),
        ("device" = Option<String>, Query, description = "The id of a device"),
        ("limit" = Option<u64>, Query, description = "Sums of a page; 100 when absent, 1000 at most"),
        ("cursor" = Option<String>, Query, description = "From `Link`")),
    responses(
        (status = 200, description = "Sums as JSON, or rows as CSV", content(
            (UsageView = "application/json"), (String = "text/csv"))),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn get_usage(
    State(state): State<ApiState>,
    user: User,
    CalledUrl(hub): CalledUrl,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let by = by(params.get("by").unwrap_or("account"))?;
    let period = period(&params, state.control.clock().now())?;
    let pages = entries(&state, user.into(), &params, period).await?;
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    let mut response =
        if accepts.contains("text/csv") { csv(pages) } else { sums(pages, period, by, &hub, &params).await? };
    response.headers_mut().insert(VARY, ACCEPT.into());
    Ok(response)
}

async fn sums(
    pages: impl Stream<Item = Result<Vec<Entry>, StoreError>>,
    period: Period,
    by: By,
    hub: &str,
    params: &Params,
) -> Result<Response, ApiError> {
    let limit = params.number("limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let after = params.get("cursor").map(read_cursor).transpose()?;
    let (mut sums, mut total) = (BTreeMap::<String, Usage>::new(), Usage::default());
    let mut pages = std::pin::pin!(pages);
    while let Some(page) = pages.try_next().await? {
        for (key, usage) in report(&page, period, by) {
            *sums.entry(key).or_default() += usage;
            total += usage;
        }
    }
    let mut sums: Vec<(String, Usage)> = sums.into_iter().collect();
    let place = |(key, usage): &(String, Usage)| (std::cmp::Reverse(usage.net().0), key.clone());
    sums.sort_by_cached_key(place);
    let is_before = |sum: &(String, Usage)| after.as_ref().is_some_and(|after| place(sum) <= *after);
    let from = sums.partition_point(is_before);
    let rows = &sums[from..sums.len().min(from.saturating_add(limit))];
    let view = UsageView {
        from: period.from.to_rfc3339(),
        until: period.until.to_rfc3339(),
        by: serde_json::to_value(by).ok().and_then(|by| by.as_str().map(str::to_owned)).unwrap_or_default(),
        rows: rows.iter().map(|(key, usage)| UsageRow::of(key.clone(), usage)).collect(),
        total: UsageRow::of(String::new(), &total),
    };
    let next = rows.last().filter(|_| from + rows.len() < sums.len()).map(place);
    let mut response = Json(&view).into_response();
    if let Some(next) = next {
        // All pages are of one period, and what goes on counts up to its end.
        let place = [("from", view.from), ("until", view.until), ("cursor", write_cursor(&next))];
        let link = format!("<{hub}/api/usage?{}>; rel=\"next\"", params.with_all(&place));
        response.headers_mut().insert(LINK, HeaderValue::from_str(&link).map_err(ApiError::internal)?);
    }
    Ok(response)
}

/// The last sum of a page: what is charged, and whose.
type Place = (std::cmp::Reverse<i128>, String);

fn write_cursor((charged, key): &Place) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}:{key}", charged.0))
}

fn read_cursor(text: &str) -> Result<Place, ApiError> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (charged, key) = text.split_once(':')?;
        Some((std::cmp::Reverse(charged.parse().ok()?), key.to_owned()))
    };
    read().ok_or_else(|| ApiError::bad_request("'cursor' is not one of ours; take it from the header 'Link'"))
}

/// As it is read, however long it is.
fn csv(pages: impl Stream<Item = Result<Vec<Entry>, StoreError>> + Send + 'static) -> Response {
    let head = stream::iter([Ok(format!("{CSV_HEADER}\r\n"))]);
    let rows = pages.map_ok(|page| page.iter().map(|entry| format!("{}\r\n", csv_row(entry))).collect::<String>());
    let headers =
        [(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, "attachment; filename=\"usage.csv\"")];
    (headers, Body::from_stream(head.chain(rows))).into_response()
}

/// The rows that were asked for, as far as the caller may see them.
async fn entries(
    state: &ApiState,
    caller: Caller,
    params: &Params,
    period: Period,
) -> Result<impl Stream<Item = Result<Vec<Entry>, StoreError>> + Send + use<>, ApiError> {
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
    let pages = state.store.ledger_with_open(filter, state.control.clock().now());
    Ok(pages.map_ok(move |mut page| {
        page.retain(|entry| sight.sees_use(&entry.account) && entry.time_within(period) != DeviceTime::ZERO);
        page
    }))
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
