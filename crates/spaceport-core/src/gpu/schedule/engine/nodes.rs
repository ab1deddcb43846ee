//! The engine's nodes and devices, and the places of leases on them.

use std::collections::BTreeMap;

use super::{ClaimIx, Engine};
use crate::gpu::schedule::Hold;
use crate::gpu::{Cluster, Device, DeviceHealth, Node, Placement};

impl Engine {
    pub(super) fn set_nodes(&mut self, nodes: Vec<Node>) {
        self.cluster = Cluster::new(&nodes);
        self.on_node = vec![BTreeMap::new(); self.cluster.nodes().len()];
        let listed = || nodes.iter().flat_map(|node| &node.devices);
        let is_lost = |device: &&Device| matches!(device.health, DeviceHealth::Lost { .. });
        self.lost = listed().filter(is_lost).map(|device| device.id.clone()).collect();
        let devices = listed().filter(|device| !is_lost(device)).count() as u64;
        let cpu = nodes.iter().map(|node| node.cpu_millicores).fold(0, u64::saturating_add);
        let memory = nodes.iter().map(|node| node.memory_bytes).fold(0, u64::saturating_add);
        self.tree.set_capacity(devices * 1000, cpu, memory);
        self.nodes = nodes;
        for state in &mut self.shapes {
            state.kinds = self.cluster.suitable_kinds(&state.shape);
        }
    }

    pub(super) fn replace_nodes(&mut self, nodes: Vec<Node>) {
        let holds: Vec<Hold> = self.holds.iter().map(|hold| hold.as_value(&self.cluster)).collect();
        self.holds.clear();
        self.set_nodes(nodes);
        self.gone.clear();
        let running: Vec<ClaimIx> = self.running_in_order();
        for ix in running {
            self.settle(ix);
        }
        for hold in &holds {
            self.add_hold(hold);
        }
    }

    /// A lease takes its place in the cluster, or is found to be without one.
    pub(super) fn settle(&mut self, ix: ClaimIx) {
        let entry = self.entry(ix);
        let (id, shape) = (entry.claim.id, entry.claim.shape.clone());
        let Some(leased) = &entry.lease else { return };
        let lost = |placement: &Placement| {
            placement.devices.len() < leased.lease.devices.len()
                || leased.lease.devices.iter().any(|leased| self.lost.contains(&leased.device))
        };
        match self.cluster.locate(&leased.lease) {
            Some(placement) => {
                if lost(&placement) {
                    self.gone.insert(id);
                }
                self.cluster.take(&shape, &placement);
                self.on_node[placement.node as usize].insert(id, ix);
                if let Some(leased) = &mut self.entry_mut(ix).lease {
                    leased.placement = placement;
                }
            }
            None => {
                self.gone.insert(id);
                if let Some(leased) = &mut self.entry_mut(ix).lease {
                    leased.placement = Placement { node: u32::MAX, devices: Vec::new() };
                }
            }
        }
    }
}
