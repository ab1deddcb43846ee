//! When budgets will be empty, at this rate.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use futures::TryStreamExt;
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::Timestamp;
use spaceport_core::gpu::ledger::{Forecast, Period, forecast};
use spaceport_core::gpu::{Budget, QuotaPath};
use spaceport_store::LedgerFilter;

use crate::caller::User;
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::gpu::Sight;
use crate::gpu::places;
use crate::gpu::quotas::Look;
use crate::gpu::usage::visible;
use crate::state::ApiState;

/// The rate is that of the last week.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What becomes of a budget if all goes on as it did.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuForecast)]
pub struct ForecastView {
    /// Whose.
    pub place: String,
    /// When the period began.
    pub from: String,
    /// When it ends.
    pub until: String,
    /// Charged so far, in device hours.
    pub used_hours: String,
    /// Where the budget ends: the hard edge, else the soft one.
    pub limit_hours: Option<String>,
    /// When that is reached; null: not in this period.
    pub empty_at: Option<String>,
    /// Charged by the end of the period at this rate.
    pub by_end_hours: String,
    /// The Space that used the most of late.
    pub main_consumer: Option<String>,
    /// Its part, in thousandths.
    pub main_part_milli: Option<u32>,
    /// The same in a sentence.
    pub sentence: String,
}

impl ForecastView {
    fn of(forecast: &Forecast, now: Timestamp) -> Self {
        Self {
            place: places::name(&forecast.place),
            from: forecast.period.from.to_rfc3339(),
            until: forecast.period.until.to_rfc3339(),
            used_hours: forecast.used.hours(),
            limit_hours: forecast.limit.map(|limit| limit.hours()),
            empty_at: forecast.empty_at.map(|at| at.to_rfc3339()),
            by_end_hours: forecast.by_end.hours(),
            main_consumer: forecast.main.as_ref().map(|(name, _)| name.clone()),
            main_part_milli: forecast.main.as_ref().map(|(_, part)| *part),
            sentence: forecast.sentence(now),
        }
    }
}

/// When budgets will be empty
///
/// For every place with a budget whose use the caller may see, or for one.
#[utoipa::path(get, path = "/api/usage/forecast", tag = "gpu",
    params(("account" = Option<String>, Query, description = "`@site`, `~USER`, `ORGANIZATION` or `ORGANIZATION/USER`")),
    responses((status = 200, body = [ForecastView]), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub async fn get_forecast(
    State(state): State<ApiState>,
    user: User,
    params: Params,
) -> Result<Json<Vec<ForecastView>>, ApiError> {
    let now = state.control.clock().now();
    let sight = Sight::of(&state, &user.into()).await?;
    let asked = match params.get("account") {
        Some(text) => Some(visible(&state, &sight, text).await?),
        None => None,
    };
    let tree = Look::new(&state).await?.tree;
    let wanted = |path: &QuotaPath| asked.as_ref().is_none_or(|asked| asked == path) && sight.sees_use(path);
    let budgets: Vec<(&QuotaPath, Budget)> = tree
        .places()
        .filter(|(path, _)| wanted(path))
        .filter_map(|(path, quota)| Some((path, quota.budget?)))
        .collect();
    if let (Some(asked), true) = (&asked, budgets.is_empty()) {
        return Err(ApiError::not_found(format!("{} has no budget of its own", places::name(asked))));
    }
    let mut views = Vec::with_capacity(budgets.len());
    for (path, budget) in budgets {
        let period = Period { from: budget.period(now).from.min(now - WEEK), ..Period::ALWAYS };
        let filter = LedgerFilter { period, account: Some(path.clone()), ..LedgerFilter::default() };
        let entries = state.store.ledger_with_open(filter, now).try_concat().await?;
        views.push(ForecastView::of(&forecast(path, budget, &entries, now), now));
    }
    Ok(Json(views))
}
