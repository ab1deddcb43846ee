//! Hardware flavors: what the site has, and which one a Space asks for.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::gpu::{Label, Node};
use spaceport_core::{FlavorName, HardwareFlavor};

use crate::access::WriteSpace;
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::spaces::change;
use crate::spaces::run::sleep_after;
use crate::state::ApiState;
use crate::views::SpacePath;
use crate::views::runtime::RuntimeView;

/// A flavor, with every field the Hub's clients require.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlavorView {
    /// `cpu-basic`.
    pub name: String,
    /// For people.
    pub pretty_name: String,
    /// `2 vCPU`.
    pub cpu: String,
    /// `16 GB`.
    pub ram: String,
    /// Its accelerators; null for CPU and memory alone.
    pub accelerator: Option<AcceleratorView>,
    /// Always 0.
    #[serde(rename = "unitCostMicroUSD")]
    pub unit_cost_micro_usd: i64,
    /// Always 0.
    #[serde(rename = "unitCostUSD")]
    pub unit_cost_usd: i64,
    /// `minute`.
    pub unit_label: String,
}

/// The accelerators of a flavor; the Hub's clients want strings.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Accelerator)]
pub struct AcceleratorView {
    /// `gpu`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `T4`.
    pub model: String,
    /// How many: `1`.
    pub quantity: String,
    /// Memory of all of them together: `16 GB`.
    pub vram: String,
    /// `Nvidia`.
    pub manufacturer: String,
    /// Of one device shared with others, how much in percent: `25`. Nothing enforces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
}

impl FlavorView {
    fn of(name: &FlavorName, flavor: &HardwareFlavor, nodes: &[Node]) -> Self {
        Self {
            name: name.0.clone(),
            pretty_name: flavor.pretty_name.clone(),
            cpu: format!("{} vCPU", decimal(u64::from(flavor.cpu_millicores), 1000)),
            ram: format!("{} GB", decimal(flavor.memory_bytes >> 20, 1024)),
            accelerator: flavor.gpu.as_ref().map(|need| AcceleratorView::of(&Label::of(need, nodes))),
            unit_cost_micro_usd: 0,
            unit_cost_usd: 0,
            unit_label: "minute".to_owned(),
        }
    }
}

impl AcceleratorView {
    fn of(label: &Label) -> Self {
        Self {
            kind: "gpu",
            model: label.model.clone(),
            quantity: label.count.to_string(),
            vram: format!("{} GB", label.memory_gib),
            manufacturer: label.manufacturer.to_owned(),
            share: label.share_milli.map(|milli| decimal(u64::from(milli), 10)),
        }
    }
}

/// `2`, `0.5`: at most one digit after the point.
fn decimal(value: u64, unit: u64) -> String {
    let tenths = (value * 10).div_ceil(unit);
    if tenths.is_multiple_of(10) { (tenths / 10).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
}

/// The hardware of this site
///
/// The Hub's flavors with accelerators are among it where the devices are.
#[utoipa::path(get, path = "/api/spaces/hardware", tag = "spaces", responses((status = 200, body = [FlavorView])))]
pub async fn list_hardware(State(state): State<ApiState>) -> Json<Vec<FlavorView>> {
    let known = state.control.inventory().known();
    let offered = state.site.hardware.offered(&known.nodes);
    Json(offered.map(|(name, flavor)| FlavorView::of(name, flavor, &known.nodes)).collect())
}

/// A request for hardware.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HardwareRequest {
    /// One of `GET /api/spaces/hardware`.
    pub flavor: String,
    /// Also sets the sleep time; -1 is never.
    pub sleep_time_seconds: Option<i64>,
}

/// Ask for other hardware
///
/// The Space is started anew on it; nothing is built.
#[utoipa::path(post, path = "/api/spaces/{owner}/{name}/hardware", tag = "spaces", params(SpacePath),
    request_body = HardwareRequest, responses((status = 200, body = RuntimeView), (status = 400, body = ErrorBody)))]
pub async fn set_hardware(
    State(state): State<ApiState>,
    to: WriteSpace,
    JsonBody(body): JsonBody<HardwareRequest>,
) -> Result<Json<RuntimeView>, ApiError> {
    let flavor = known_flavor(&state, &body.flavor)?;
    let sleep = body.sleep_time_seconds.map(sleep_after).transpose()?;
    change(&state, &to, "space.hardware", json!({"flavor": flavor.0}), |desired| {
        desired.hardware = flavor.clone();
        if let Some(sleep) = sleep {
            desired.sleep_after_s = sleep;
        }
    })
    .await
}

/// A flavor this site offers.
pub(crate) fn known_flavor(state: &ApiState, name: &str) -> Result<FlavorName, ApiError> {
    let (flavor, known) = (FlavorName(name.to_owned()), state.control.inventory().known());
    if state.site.hardware.is_offered(&flavor, &known.nodes) {
        return Ok(flavor);
    }
    let offered: Vec<&str> = state.site.hardware.offered(&known.nodes).map(|(name, _)| name.0.as_str()).collect();
    let message = format!("This site has no hardware {:?}; it has {}", clip(name), offered.join(", "));
    Err(ApiError::bad_request(message))
}
