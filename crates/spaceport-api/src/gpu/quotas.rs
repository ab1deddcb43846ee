//! Who may have how much, and has: the quota tree with its use.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_control::hardware::spent;
use spaceport_core::Generation;
use spaceport_core::gpu::ledger::{BudgetEdge, DeviceTime};
use spaceport_core::gpu::schedule::Spent;
use spaceport_core::gpu::{DeviceHealth, Quota, QuotaNode, QuotaPath, QuotaTree};
use spaceport_store::{QuotaPlace, StoredClaim, StoredLease};

use crate::caller::User;
use crate::error::{ApiError, ErrorBody};
use crate::gpu::Sight;
use crate::gpu::places::{self, named};
use crate::gpu::quota_view::QuotaBody;
use crate::state::ApiState;

/// The tree.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QuotaTree)]
pub struct QuotasView {
    /// Raised by every change; a change can say which one it was made against.
    pub generation: i64,
    /// What there is, in thousandths of a device; what is lost or out of service is not counted.
    pub devices_milli: u64,
    /// The places the caller may see, parents first.
    pub places: Vec<PlaceView>,
}

/// A place of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QuotaPlace)]
pub struct PlaceView {
    /// `@site`, `lab`, `lab/alice`, or `~alice` for a user's own Spaces.
    pub place: String,
    /// What it may have.
    pub quota: QuotaBody,
    /// Whether that was written down for it; otherwise it is the default.
    pub is_set: bool,
    /// When it was last written.
    pub updated_at: Option<String>,
    /// What it and what lies below it have now, in thousandths of a device.
    pub in_use_milli: u64,
    /// How many claims of it and below it wait.
    pub waiting: usize,
    /// Where its budget stands; null without one.
    pub budget: Option<BudgetView>,
}

/// Where a budget stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QuotaBudgetUse)]
pub struct BudgetView {
    /// Charged in the running period.
    pub used_device_seconds: i64,
    /// `within`, `soft` (past it) or `hard` (past it).
    pub edge: &'static str,
    /// When the next period begins.
    pub renews_at: String,
}

/// The quota tree
///
/// Site admins see all of it; admins of an organization what is theirs and below it; others what is their own, and
/// what stands above it.
#[utoipa::path(get, path = "/api/quotas", tag = "gpu",
    responses((status = 200, body = QuotasView), (status = 401, body = ErrorBody)))]
pub async fn list_quotas(State(state): State<ApiState>, user: User) -> Result<Json<QuotasView>, ApiError> {
    let sight = Sight::of(&state, &user.into()).await?;
    let look = Look::new(&state).await?;
    let places = look.paths(&sight).iter().filter(|path| sight.sees_quota(path)).map(|path| look.view(path)).collect();
    Ok(Json(QuotasView { generation: look.generation.0, devices_milli: devices_milli(&state), places }))
}

/// The quota of a place
#[utoipa::path(get, path = "/api/quotas/{*place}", tag = "gpu",
    params(("place" = String, Path, description = "`@site`, `~USER`, `ORGANIZATION` or `ORGANIZATION/USER`")),
    responses((status = 200, body = PlaceView), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn get_quota(
    State(state): State<ApiState>,
    user: User,
    Path(place): Path<String>,
) -> Result<Json<PlaceView>, ApiError> {
    let sight = Sight::of(&state, &user.into()).await?;
    let path = named(&state, &place).await?;
    if !sight.sees_quota(&path) {
        return Err(ApiError::not_found(format!("There is no place {} that you may see", places::name(&path))));
    }
    Ok(Json(Look::new(&state).await?.view(&path)))
}

/// What may be given out now, in thousandths of a device.
pub(super) fn devices_milli(state: &ApiState) -> u64 {
    let known = state.control.inventory().known();
    let devices = known.nodes.iter().flat_map(|node| &node.devices);
    let whole = |id| known.nodes.iter().flat_map(|node| &node.devices).any(|slice| slice.slice_of.as_ref() == Some(id));
    let usable = devices.filter(|device| device.health == DeviceHealth::Healthy && !whole(&device.id));
    1000 * u64::try_from(usable.count()).unwrap_or(u64::MAX / 1000)
}

/// Everything a view of the tree is made from.
pub(super) struct Look {
    pub(super) generation: Generation,
    pub(super) stored: BTreeMap<QuotaPath, QuotaPlace>,
    pub(super) tree: QuotaTree,
    claims: Vec<StoredClaim>,
    leases: Vec<StoredLease>,
    spent: Vec<Spent>,
}

impl Look {
    pub(super) async fn new(state: &ApiState) -> Result<Self, ApiError> {
        let now = state.control.clock().now();
        let (generation, places) = state.store.quotas().await?;
        let stored: BTreeMap<_, _> = places.into_iter().map(|place| (place.path.clone(), place)).collect();
        // It was checked when it was written.
        let tree = QuotaTree::new(nodes(&stored)).unwrap_or_default();
        let (claims, leases) = (state.store.claims_live().await?, state.store.leases_live().await?);
        let spent = spent(&state.store, &tree, now).await?;
        Ok(Self { generation, stored, tree, claims, leases, spent })
    }

    /// Every place that was given a quota, or has or wants something, and what is the caller's own.
    fn paths(&self, sight: &Sight) -> BTreeSet<QuotaPath> {
        let mut paths = BTreeSet::from([QuotaPath::site()]);
        let accounts = self.claims.iter().map(|claim| &claim.claim.account);
        let accounts = accounts.chain(self.leases.iter().map(|lease| &lease.account));
        for path in self.stored.keys().chain(accounts).chain(sight.own()) {
            let mut place = Some(path.clone());
            while let Some(path) = place {
                place = path.parent();
                paths.insert(path);
            }
        }
        paths
    }

    pub(super) fn view(&self, path: &QuotaPath) -> PlaceView {
        let has_lease = |claim: &StoredClaim| self.leases.iter().any(|lease| lease.lease.claim == claim.claim.id);
        let leases = self.leases.iter().filter(|lease| lease.account.is_within(path));
        let claims = self.claims.iter().filter(|claim| claim.claim.account.is_within(path));
        let spent = self.spent.iter().find(|spent| spent.place == *path);
        let budget = self.tree.quota(path).budget.zip(spent).map(|(budget, spent)| BudgetView {
            used_device_seconds: i64::try_from(spent.milli_seconds / 1000).unwrap_or(i64::MAX),
            edge: match budget.edge(DeviceTime::from_milli_seconds(spent.milli_seconds)) {
                BudgetEdge::Within => "within",
                BudgetEdge::Soft => "soft",
                BudgetEdge::Hard => "hard",
            },
            renews_at: spent.renews_at.to_rfc3339(),
        });
        PlaceView {
            place: places::name(path),
            quota: QuotaBody::of(&self.tree.quota(path)),
            is_set: self.stored.contains_key(path),
            updated_at: self.stored.get(path).map(|place| place.updated_at.to_rfc3339()),
            in_use_milli: leases.map(|lease| lease.shape.total_milli()).sum(),
            waiting: claims.filter(|claim| !has_lease(claim)).count(),
            budget,
        }
    }

    /// The tree with one place changed.
    ///
    /// # Errors
    /// When it would contradict itself: with all reasons.
    pub(super) fn changed(&self, path: &QuotaPath, quota: Option<&Quota>) -> Result<QuotaTree, ApiError> {
        let mut places: BTreeMap<QuotaPath, Quota> =
            self.stored.iter().map(|(path, place)| (path.clone(), place.quota.clone())).collect();
        match quota {
            Some(quota) => places.insert(path.clone(), quota.clone()),
            None => places.remove(path),
        };
        let nodes = places.into_iter().map(|(path, quota)| QuotaNode { path, quota });
        QuotaTree::new(nodes).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            ApiError::bad_request(format!("The quotas would contradict each other: {}", problems.join("; ")))
        })
    }
}

fn nodes(stored: &BTreeMap<QuotaPath, QuotaPlace>) -> impl Iterator<Item = QuotaNode> {
    stored.values().map(|place| QuotaNode { path: place.path.clone(), quota: place.quota.clone() })
}
