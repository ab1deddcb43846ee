//! Which devices there are, with what admins said about them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spaceport_core::gpu::{Device, DeviceHealth, DeviceId, Node, NodeName};
use spaceport_core::{Generation, Timestamp};
use spaceport_store::StoreError;

use super::Hardware;

/// A device that is not listed is waited for so long, also after a start: drivers take a while to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Devices and nodes as the scheduler shall see them.
#[derive(Debug)]
pub(super) struct There {
    pub nodes: Vec<Node>,
    pub generations: BTreeMap<NodeName, Generation>,
}

impl There {
    pub fn model(&self, id: &DeviceId) -> &str {
        let mut devices = self.nodes.iter().flat_map(|node| &node.devices);
        devices.find(|device| device.id == *id).map_or("", |device| device.model.as_str())
    }
}

/// Since when something is not listed.
#[derive(Debug, Default)]
pub(super) struct Memory {
    missing: BTreeMap<DeviceId, Timestamp>,
    missing_nodes: BTreeMap<NodeName, Timestamp>,
}

impl Memory {
    /// Whether a device that is not listed is still waited for.
    fn waits_for(&mut self, id: &DeviceId, now: Timestamp) -> bool {
        let since = self.missing.entry(id.clone()).or_insert(now);
        // A clock that went back does not make it wait for ever.
        *since = (*since).min(now);
        now.since(*since) < PATIENCE
    }

    fn waits_for_node(&mut self, name: &NodeName, now: Timestamp) -> bool {
        let since = self.missing_nodes.entry(name.clone()).or_insert(now);
        *since = (*since).min(now);
        now.since(*since) < PATIENCE
    }
}

impl Hardware {
    /// What there is; `None` until the first node is known. What is not listed any more stays for a while, drained;
    /// then it is lost.
    pub(super) async fn see_devices(&self, now: Timestamp) -> Result<Option<There>, StoreError> {
        let store = &self.parts.store;
        let listed = self.parts.control.inventory().known().nodes.clone();
        if listed.is_empty() {
            return Ok(None);
        }
        let (known_nodes, known) = (store.nodes_known().await?, store.devices_known().await?);
        let mut nodes = listed.clone();
        let here: BTreeSet<DeviceId> = listed.iter().flat_map(|node| &node.devices).map(|one| one.id.clone()).collect();
        self.with_memory(|memory| {
            memory.there.missing.retain(|id, _| !here.contains(id));
            memory.there.missing_nodes.retain(|name, _| !listed.iter().any(|node| node.name == *name));
            for missing in known_nodes.iter().filter(|known| known.lost_at.is_none()) {
                let is_listed = nodes.iter().any(|node| node.name == missing.name);
                if !is_listed && memory.there.waits_for_node(&missing.name, now) {
                    let (cpu_millicores, memory_bytes) = (0, 0);
                    let name = missing.name.clone();
                    nodes.push(Node { name, cpu_millicores, memory_bytes, devices: Vec::new(), cordoned: true });
                }
            }
            for missing in known.iter().filter(|known| known.lost_at.is_none() && !here.contains(&known.id)) {
                let waits = memory.there.waits_for(&missing.id, now);
                let Some(node) = nodes.iter_mut().find(|node| node.name == missing.node).filter(|_| waits) else {
                    continue;
                };
                node.devices.push(Device {
                    id: missing.id.clone(),
                    index: missing.index,
                    model: missing.model.clone(),
                    memory_bytes: missing.memory_bytes,
                    slice_of: missing.slice_of.clone(),
                    health: DeviceHealth::Drained { reason: "it is not listed at the moment".to_owned() },
                });
            }
        });
        for node in &mut nodes {
            node.devices.sort_by(|one, other| (one.index, &one.id).cmp(&(other.index, &other.id)));
        }
        store.inventory_seen(&nodes, now).await?;
        let (known_nodes, known) = (store.nodes_known().await?, store.devices_known().await?);
        for node in &mut nodes {
            let marks = known_nodes.iter().find(|known| known.name == node.name);
            node.cordoned |= marks.is_some_and(|known| known.cordon.is_some());
            for device in node.devices.iter_mut().filter(|device| device.health == DeviceHealth::Healthy) {
                let mark = known.iter().find(|known| known.id == device.id).and_then(|known| known.drain.as_ref());
                if let Some(mark) = mark {
                    device.health = DeviceHealth::Drained { reason: mark.reason.clone() };
                }
            }
        }
        let generations = known_nodes.into_iter().map(|known| (known.name, known.generation)).collect();
        Ok(Some(There { nodes, generations }))
    }
}
