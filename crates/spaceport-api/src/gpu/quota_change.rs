//! Changing who may have how much, and saying beforehand what that will do.
//!
//! Site admins change everything. Admins of an organization share out what it has: the places below it, as far as
//! its own numbers allow.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::Generation;
use spaceport_core::gpu::{Quota, QuotaPath, QuotaTree};
use spaceport_store::QuotaChange;

use crate::audit;
use crate::caller::{User, Writer};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{JsonBody, Params};
use crate::gpu::effect::{EffectView, effect};
use crate::gpu::places::{self, named};
use crate::gpu::quota_view::QuotaBody;
use crate::gpu::quotas::{Look, PlaceView, devices_milli};
use crate::orgs;
use crate::state::ApiState;

/// What a change of a quota did, or would do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QuotaChange)]
pub struct ChangeView {
    /// The place as it is: with the change, unless it was only tried.
    pub place: PlaceView,
    /// What it had before.
    pub before: QuotaBody,
    /// What it has, or would have.
    pub after: QuotaBody,
    /// It was only tried: nothing is changed.
    pub dry_run: bool,
    /// What is allowed and perhaps not meant.
    pub warnings: Vec<String>,
    /// What it would do at once; only when it was tried.
    pub effect: Option<EffectView>,
}

/// Set the quota of a place
///
/// What is not given has its default. It holds from the next decision of the scheduler on. With `dryRun=true` nothing
/// is changed, and the answer says who would have to leave and whose wait would be another. Site admins set every
/// place, admins of an organization those below it, as far as its own numbers allow.
#[utoipa::path(put, path = "/api/quotas/{*place}", tag = "gpu", request_body = QuotaBody,
    params(("place" = String, Path, description = "`@site`, `~USER`, `ORGANIZATION` or `ORGANIZATION/USER`"),
        ("dryRun" = Option<bool>, Query, description = "Only says what it would do"),
        ("generation" = Option<u64>, Query, description = "Refuses when the tree was changed since")),
    responses((status = 200, body = ChangeView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn set_quota(
    State(state): State<ApiState>,
    Writer(user): Writer,
    Path(place): Path<String>,
    params: Params,
    JsonBody(body): JsonBody<QuotaBody>,
) -> Result<Json<ChangeView>, ApiError> {
    change(&state, user, &place, &params, Some(body)).await
}

/// Take the quota of a place away
///
/// From then on it has the default one: nothing guaranteed, no limit of its own. `dryRun` as for setting it.
#[utoipa::path(delete, path = "/api/quotas/{*place}", tag = "gpu",
    params(("place" = String, Path, description = "`@site`, `~USER`, `ORGANIZATION` or `ORGANIZATION/USER`"),
        ("dryRun" = Option<bool>, Query, description = "Only says what it would do"),
        ("generation" = Option<u64>, Query, description = "Refuses when the tree was changed since")),
    responses((status = 200, body = ChangeView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn remove_quota(
    State(state): State<ApiState>,
    Writer(user): Writer,
    Path(place): Path<String>,
    params: Params,
) -> Result<Json<ChangeView>, ApiError> {
    change(&state, user, &place, &params, None).await
}

async fn change(
    state: &ApiState,
    user: User,
    place: &str,
    params: &Params,
    body: Option<QuotaBody>,
) -> Result<Json<ChangeView>, ApiError> {
    let path = named(state, place).await?;
    check_may_set(state, &user, &path).await?;
    let look = Look::new(state).await?;
    if let Some(wanted) = params.number("generation")?
        && i64::try_from(wanted) != Ok(look.generation.0)
    {
        return Err(changed_meanwhile());
    }
    let before = look.tree.quota(&path);
    let after = match &body {
        Some(body) => Some(body.read()?),
        None => None,
    };
    let tree = look.changed(&path, after.as_ref())?;
    if !user.viewer.acts_as_admin() {
        check_within_parent(&tree, &path)?;
    }
    let dry_run = params.flag("dryRun");
    let mut view = ChangeView {
        place: look.view(&path),
        before: QuotaBody::of(&before),
        after: QuotaBody::of(&after.clone().unwrap_or_default()),
        dry_run,
        warnings: warnings(state, &tree),
        effect: None,
    };
    if dry_run {
        view.effect = Some(effect(state, user.into(), tree).await?);
        return Ok(Json(view));
    }
    write(state, &user, &path, (before, after), look.generation).await?;
    view.place = Look::new(state).await?.view(&path);
    Ok(Json(view))
}

async fn write(
    state: &ApiState,
    user: &User,
    path: &QuotaPath,
    (before, after): (Quota, Option<Quota>),
    seen: Generation,
) -> Result<(), ApiError> {
    let change = QuotaChange { path: path.clone(), quota: after.clone() };
    if !state.store.quotas_change(&[change], seen, state.control.clock().now()).await? {
        return Err(changed_meanwhile());
    }
    state.control.activate_hardware();
    let action = if after.is_some() { "quota.set" } else { "quota.remove" };
    let detail = json!({"before": QuotaBody::of(&before), "after": after.as_ref().map(QuotaBody::of)});
    audit::record(state, user, action, &places::name(path), detail).await
}

fn changed_meanwhile() -> ApiError {
    ApiError::conflict("Somebody else has changed the quotas meanwhile; look at them and try again")
}

/// Lets those through who may set the quota of a place.
async fn check_may_set(state: &ApiState, user: &User, path: &QuotaPath) -> Result<(), ApiError> {
    if user.account().is_admin {
        return user.clone().into_full_writer().map(|_| ());
    }
    match path.0.split_once('/') {
        Some((org, _)) => orgs::check_manages(user, &orgs::named(state, org).await?),
        None => Err(ApiError::forbidden(format!(
            "Only site admins set the quota of {}; admins of an organization set those below it",
            places::name(path)
        ))),
    }
}

/// Lets through what does not go beyond the numbers of the place above. That the guarantees fit was seen before.
fn check_within_parent(tree: &QuotaTree, path: &QuotaPath) -> Result<(), ApiError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let (own, above) = (tree.quota(path), tree.quota(&parent));
    let mut wrong = Vec::new();
    let mut most = |what: &str, own: Option<u64>, above: Option<u64>| {
        if let (Some(own), Some(above)) = (own, above)
            && own > above
        {
            wrong.push(format!("{what} is {own}, and that of {parent} is {above}"));
        }
    };
    most("the limit in thousandths of a device", own.limit_milli, above.limit_milli);
    most("the number of Spaces", own.max_spaces, above.max_spaces);
    most("the number of bytes", own.max_storage_bytes, above.max_storage_bytes);
    most("the number of builds", own.max_builds, above.max_builds);
    if let (Some(own), Some(above)) = (own.budget, above.budget)
        && own.period_days == above.period_days
    {
        let seconds = |edge: Option<u64>| edge.map(|edge| edge / 1000);
        most("the budget in device seconds", seconds(own.hard_milli_seconds), seconds(above.hard_milli_seconds));
    }
    if own.max_priority > above.max_priority {
        let (own, above) = (own.max_priority.as_str(), above.max_priority.as_str());
        wrong.push(format!("the highest class is {own}, and that of {parent} is {above}"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "{path} may not have more than {parent}: {}. A site admin can raise what {parent} has",
        wrong.join("; ")
    )))
}

/// More may be guaranteed than is there at the moment, since devices come back; but somebody should know.
fn warnings(state: &ApiState, tree: &QuotaTree) -> Vec<String> {
    let there = devices_milli(state);
    let below_site = tree.places().filter(|(path, _)| path.parent() == Some(QuotaPath::site()));
    let promised: u64 = below_site.map(|(_, quota)| quota.guaranteed_milli).fold(0, u64::saturating_add);
    if promised <= there {
        return Vec::new();
    }
    vec![format!(
        "{promised} thousandths of a device are guaranteed, and {there} are in service now; not everybody can get theirs at once"
    )]
}
