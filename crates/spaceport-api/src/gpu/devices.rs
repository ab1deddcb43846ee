//! The devices of the site: what they are, how they are, who has them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_control::Known;
use spaceport_core::gpu::device::WHOLE_MILLI;
use spaceport_core::gpu::{Device, DeviceHealth, DeviceId, DeviceUsage, NodeName};
use spaceport_store::{KnownDevice, KnownNode, Mark, StoredLease};

use crate::caller::User;
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::gpu::Eyes;
use crate::state::ApiState;

/// Machines and their devices.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuDevices)]
pub struct DevicesView {
    /// By name.
    pub nodes: Vec<NodeView>,
    /// By node and number.
    pub devices: Vec<DeviceView>,
    /// When the drivers were last read.
    pub read_at: Option<String>,
}

/// A machine.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuNode)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// CPU that is given out, in thousandths of a core; null while the machine is away.
    pub cpu_millicores: Option<u64>,
    /// Memory that is given out, in bytes; null while the machine is away.
    pub memory_bytes: Option<u64>,
    /// An admin wants nothing new on it.
    pub cordoned: Option<MarkView>,
    /// Gone since.
    pub lost_at: Option<String>,
}

/// A device, and who has it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuDevice)]
pub struct DeviceView {
    /// Identity: `GPU-8f2a…`.
    pub id: String,
    /// The machine.
    pub node: String,
    /// Its number there.
    pub index: u32,
    /// `NVIDIA A100-SXM4-80GB`.
    pub model: String,
    /// Its memory.
    pub memory_bytes: u64,
    /// For a slice: of which device.
    pub slice_of: Option<String>,
    /// `healthy`, `drained` (nothing new is placed on it) or `lost`.
    pub health: &'static str,
    /// Why it is not healthy.
    pub reason: Option<String>,
    /// An admin took it out of service.
    pub drained: Option<MarkView>,
    /// What is leased of it, in thousandths.
    pub leased_milli: u32,
    /// Percent of the last second in which something ran on it; null where the driver does not tell.
    pub utilization_percent: Option<u32>,
    /// Memory in use; null where the driver does not tell.
    pub memory_used_bytes: Option<u64>,
    /// Degrees Celsius.
    pub temperature_celsius: Option<u32>,
    /// Milliwatts.
    pub power_mw: Option<u32>,
    /// Who has it.
    pub holders: Vec<HolderView>,
}

/// An admin wants nothing new there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GpuMark)]
pub struct MarkView {
    /// Why, in words.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// When.
    pub at: String,
}

/// Who has a device, or a part of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GpuHolder)]
pub struct HolderView {
    /// The Space; null for one the caller may not see.
    pub space: Option<String>,
    /// Whose quota it counts against; null for one the caller may not see.
    pub account: Option<String>,
    /// The flavor that was asked for.
    pub flavor: String,
    /// How much of the device, in thousandths.
    pub milli: u32,
    /// Since when.
    pub since: String,
    /// It was told to end by then.
    pub ends_by: Option<String>,
    /// Why it ends.
    pub why: Option<String>,
}

impl MarkView {
    fn of(mark: &Mark) -> Self {
        Self { reason: mark.reason.clone(), by: mark.by.clone(), at: mark.at.to_rfc3339() }
    }
}

impl NodeView {
    pub(super) fn of(node: &KnownNode, known: &Known) -> Self {
        let there = known.nodes.iter().find(|there| there.name == node.name);
        Self {
            name: node.name.0.clone(),
            cpu_millicores: there.map(|there| there.cpu_millicores),
            memory_bytes: there.map(|there| there.memory_bytes),
            cordoned: node.cordon.as_ref().map(MarkView::of),
            lost_at: node.lost_at.map(|at| at.to_rfc3339()),
        }
    }
}

/// The devices of the site
///
/// What there is, how it is, and who has it. Devices that are gone are left out unless `lost=true`.
#[utoipa::path(get, path = "/api/gpu/devices", tag = "gpu",
    params(("lost" = Option<bool>, Query, description = "Also those that are not there any more")),
    responses((status = 200, body = DevicesView), (status = 401, body = ErrorBody)))]
pub async fn list_devices(
    State(state): State<ApiState>,
    user: User,
    params: Params,
) -> Result<Json<DevicesView>, ApiError> {
    let lost = params.flag("lost");
    let mut look = Look::new(&state, user).await?;
    let devices = look.views(lost).await?;
    let there = |node: &&KnownNode| lost || node.lost_at.is_none();
    let nodes = look.nodes.iter().filter(there).map(|node| NodeView::of(node, &look.known)).collect();
    Ok(Json(DevicesView { nodes, devices, read_at: look.known.read_at.map(|at| at.to_rfc3339()) }))
}

/// One device as the drivers list it, and as it is kept.
#[derive(Debug, Clone, Default)]
struct One {
    listed: Option<(NodeName, Device)>,
    stored: Option<KnownDevice>,
}

/// Everything a list of devices is made from.
pub(super) struct Look<'a> {
    eyes: Eyes<'a>,
    known: std::sync::Arc<Known>,
    nodes: Vec<KnownNode>,
    stored: Vec<KnownDevice>,
    leases: Vec<StoredLease>,
}

impl<'a> Look<'a> {
    pub(super) async fn new(state: &'a ApiState, user: User) -> Result<Self, ApiError> {
        Ok(Self {
            known: state.control.inventory().known(),
            nodes: state.store.nodes_known().await?,
            stored: state.store.devices_known().await?,
            leases: state.store.leases_live().await?,
            eyes: Eyes::of(state, user.into()).await?,
        })
    }

    /// Every device; those that are gone only when they are asked for.
    pub(super) async fn views(&mut self, lost: bool) -> Result<Vec<DeviceView>, ApiError> {
        let mut devices = Vec::new();
        for one in self.all() {
            if lost || one.listed.is_some() || one.stored.as_ref().is_none_or(|stored| stored.lost_at.is_none()) {
                devices.push(self.view(one).await?);
            }
        }
        Ok(devices)
    }

    /// One device; `None` when there never was such a one.
    pub(super) async fn device(&mut self, id: &DeviceId) -> Result<Option<DeviceView>, ApiError> {
        let is_it = |one: &One| one.id().is_some_and(|found| found == id);
        match self.all().into_iter().find(is_it) {
            Some(one) => Ok(Some(self.view(one).await?)),
            None => Ok(None),
        }
    }

    fn all(&self) -> Vec<One> {
        let mut all: BTreeMap<(String, u32, DeviceId), One> = BTreeMap::new();
        let listed = self.known.nodes.iter().flat_map(|node| node.devices.iter().map(|device| (&node.name, device)));
        for (node, device) in listed {
            let one = One { listed: Some((node.clone(), device.clone())), stored: None };
            all.insert((node.0.clone(), device.index, device.id.clone()), one);
        }
        for stored in &self.stored {
            let key = all.keys().find(|(.., id)| *id == stored.id).cloned();
            let key = key.unwrap_or_else(|| (stored.node.0.clone(), stored.index, stored.id.clone()));
            all.entry(key).or_default().stored = Some(stored.clone());
        }
        all.into_values().collect()
    }

    async fn view(&mut self, one: One) -> Result<DeviceView, ApiError> {
        let (health, reason) = one.health();
        let drained = one.stored.as_ref().and_then(|stored| stored.drain.as_ref()).map(MarkView::of);
        let (node, device) = one.what();
        let usage = self.known.usage.get(&device.id).cloned().unwrap_or_default();
        let DeviceUsage { utilization_percent, memory_used_bytes, temperature_celsius, power_mw, processes: _ } = usage;
        let mut holders = Vec::new();
        let mut leased_milli = 0;
        for (lease, milli) in held(&self.leases, &device.id) {
            leased_milli += milli;
            let (space, account) = self.eyes.whose(lease.space, &lease.account).await?;
            holders.push(HolderView {
                space,
                account,
                flavor: lease.flavor.0.clone(),
                milli,
                since: lease.lease.started_at.to_rfc3339(),
                ends_by: lease.ending.map(|ending| ending.by.to_rfc3339()),
                why: lease.ending.map(|ending| ending.why.to_string()),
            });
        }
        Ok(DeviceView {
            id: device.id.0,
            node: node.0,
            index: device.index,
            model: device.model,
            memory_bytes: device.memory_bytes,
            slice_of: device.slice_of.map(|id| id.0),
            health,
            reason,
            drained,
            leased_milli: leased_milli.min(WHOLE_MILLI),
            utilization_percent,
            memory_used_bytes,
            temperature_celsius,
            power_mw,
            holders,
        })
    }
}

fn held<'a>(leases: &'a [StoredLease], device: &'a DeviceId) -> impl Iterator<Item = (&'a StoredLease, u32)> {
    leases.iter().flat_map(move |lease| {
        lease.parts.iter().filter(move |part| part.device == *device).map(move |part| (lease, part.milli))
    })
}

impl One {
    fn id(&self) -> Option<&DeviceId> {
        let listed = self.listed.as_ref().map(|(_, device)| &device.id);
        listed.or_else(|| self.stored.as_ref().map(|stored| &stored.id))
    }

    /// As the scheduler sees it, in the words of the API.
    fn health(&self) -> (&'static str, Option<String>) {
        let drain = self.stored.as_ref().and_then(|stored| stored.drain.as_ref());
        match self.listed.as_ref().map(|(_, device)| &device.health) {
            Some(DeviceHealth::Lost { reason }) => ("lost", Some(reason.clone())),
            Some(DeviceHealth::Drained { reason }) => ("drained", Some(reason.clone())),
            Some(DeviceHealth::Healthy) => {
                drain.map_or(("healthy", None), |mark| ("drained", Some(mark.reason.clone())))
            }
            None if self.stored.as_ref().is_some_and(|stored| stored.lost_at.is_none()) => {
                ("drained", Some("it is not listed at the moment".to_owned()))
            }
            None => ("lost", Some("it is not there any more".to_owned())),
        }
    }

    /// What it is, by the newest word on it.
    fn what(self) -> (NodeName, Device) {
        let Self { listed, stored } = self;
        listed
            .or_else(|| {
                stored.map(|stored| {
                    let KnownDevice { id, node, index, model, memory_bytes, slice_of, .. } = stored;
                    (node, Device { id, index, model, memory_bytes, slice_of, health: DeviceHealth::Healthy })
                })
            })
            .expect("a device is listed or stored")
    }
}
