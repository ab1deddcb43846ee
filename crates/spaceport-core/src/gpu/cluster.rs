//! What is free where: CPU, memory and devices of each node, less what is held.
//!
//! A value like any other: made of nodes, changed by taking and giving back. It knows nothing of
//! queues or time, so one clone of it is "what if these leases were gone".
//!
//! Every node carries a fingerprint of its state. Whoever keeps something computed from a node (see
//! [`Placer`](super::Placer)) compares fingerprints instead of listening for changes, so a clone, a
//! change that was undone, or two clusters in turn can never make it stale.

use std::collections::HashMap;
use std::ops::Range;

use super::device::WHOLE_MILLI;
use super::{DeviceHealth, DeviceId, Lease, LeasedDevice, Node, NodeName, Shape};

/// Nodes with their free amounts.
#[derive(Debug, Clone)]
pub struct Cluster {
    nodes: Vec<NodeState>,
    /// Devices of all nodes, one node after the other.
    devices: Vec<DeviceState>,
    by_name: HashMap<NodeName, u32>,
    kinds: Vec<Kind>,
    /// Of each node.
    fingerprints: Vec<u64>,
    fingerprint: u64,
    layout: u64,
}

/// A place for a claim: valid for the cluster it was found in and for clones of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The node's number in the cluster.
    pub node: u32,
    /// The devices' numbers on the node, ascending; empty for a claim of CPU and memory alone.
    pub devices: Vec<u32>,
}

/// What devices with the same answer to "will it do?" have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// As the driver says.
    pub model: String,
    /// In bytes.
    pub memory_bytes: u64,
}

/// One node as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Identity.
    pub name: NodeName,
    /// CPU that is not held, in thousandths of a core; below zero when the node shrank under its leases.
    pub cpu_millicores: i64,
    /// Memory that is not held, in bytes; below zero when the node shrank under its leases.
    pub memory_bytes: i64,
    /// CPU of the whole node.
    pub cpu_capacity_millicores: i64,
    /// Memory of the whole node.
    pub memory_capacity_bytes: i64,
    /// Whether anything new may be placed on it.
    pub open: bool,
    /// A number that depends on nothing but the name, and on it in no readable way: settles ties.
    pub lot: u64,
    devices: Range<u32>,
}

/// One device as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceState {
    /// Identity.
    pub id: DeviceId,
    /// Which of the cluster's [kinds](Cluster::kinds).
    pub kind: u32,
    /// What is not held, in thousandths; below zero when more is leased than there is.
    pub free_milli: i32,
    /// Whether anything new may be placed on it: healthy, and not cut into slices.
    pub open: bool,
}

impl Cluster {
    /// Everything free. The order of nodes and devices has no influence on anything.
    #[must_use]
    pub fn new<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Self {
        let mut nodes: Vec<&Node> = nodes.into_iter().collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes.dedup_by(|a, b| a.name == b.name);
        let mut cluster = Self {
            nodes: Vec::with_capacity(nodes.len()),
            devices: Vec::new(),
            by_name: HashMap::with_capacity(nodes.len()),
            kinds: kinds(&nodes),
            fingerprints: Vec::with_capacity(nodes.len()),
            fingerprint: 0,
            layout: 0,
        };
        for node in &nodes {
            cluster.add(node);
        }
        cluster.layout = cluster.whole_layout();
        cluster
    }

    fn add(&mut self, node: &Node) {
        let first = number(self.devices.len());
        let mut devices: Vec<_> = node.devices.iter().collect();
        devices.sort_by_key(|device| (device.index, &device.id));
        for device in &devices {
            let kind = self.kinds.binary_search_by(|kind| {
                (kind.model.as_str(), kind.memory_bytes).cmp(&(device.model.as_str(), device.memory_bytes))
            });
            let sliced = node.devices.iter().any(|other| other.slice_of.as_ref() == Some(&device.id));
            self.devices.push(DeviceState {
                id: device.id.clone(),
                kind: number(kind.unwrap_or_default()),
                free_milli: WHOLE_MILLI.cast_signed(),
                open: device.health == DeviceHealth::Healthy && !sliced,
            });
        }
        let cpu_millicores = i64::try_from(node.cpu_millicores).unwrap_or(i64::MAX);
        let memory_bytes = i64::try_from(node.memory_bytes).unwrap_or(i64::MAX);
        let index = number(self.nodes.len());
        self.nodes.push(NodeState {
            name: node.name.clone(),
            cpu_millicores,
            memory_bytes,
            cpu_capacity_millicores: cpu_millicores,
            memory_capacity_bytes: memory_bytes,
            open: !node.cordoned,
            lot: lot(&node.name.0),
            devices: first..number(self.devices.len()),
        });
        self.by_name.insert(node.name.clone(), index);
        self.fingerprints.push(0);
        self.stamp(index);
    }

    /// Everything free gives the same fingerprints for the same nodes, but they do not tell kinds apart by name.
    fn whole_layout(&self) -> u64 {
        let kinds = self.kinds.iter().fold(0, |hash, kind| mix(mix(hash ^ lot(&kind.model)) ^ kind.memory_bytes));
        self.fingerprints.iter().fold(kinds, |hash, node| mix(hash ^ node))
    }

    /// All nodes, by number.
    #[must_use]
    pub fn nodes(&self) -> &[NodeState] {
        &self.nodes
    }

    /// The devices of a node, by number on the node.
    #[must_use]
    pub fn devices(&self, node: u32) -> &[DeviceState] {
        self.devices_of(node as usize)
    }

    pub(super) fn devices_of(&self, node: usize) -> &[DeviceState] {
        let Range { start, end } = self.nodes[node].devices;
        &self.devices[start as usize..end as usize]
    }

    /// The kinds of devices there are.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The same for two clusters with the same nodes and the same free amounts.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Of each node: changes with its free amounts, and comes back with them.
    pub(super) fn fingerprints(&self) -> &[u64] {
        &self.fingerprints
    }

    /// The same for clusters of the same nodes, whatever is free.
    pub(super) const fn layout(&self) -> u64 {
        self.layout
    }

    /// For each kind of device, whether it will do for a claim.
    #[must_use]
    pub fn suitable_kinds(&self, shape: &Shape) -> Vec<bool> {
        let suits = |kind: &Kind| {
            (shape.models.is_empty() || shape.models.contains(&kind.model))
                && kind.memory_bytes >= shape.min_device_memory_bytes
        };
        self.kinds.iter().map(suits).collect()
    }

    /// Whether a claim fits on a node as it is now. `kinds` are its [suitable kinds](Self::suitable_kinds).
    #[must_use]
    pub fn fits_on(&self, node: u32, shape: &Shape, kinds: &[bool]) -> bool {
        let state = &self.nodes[node as usize];
        if !state.open || !covers(state.cpu_millicores, shape.cpu_millicores) {
            return false;
        }
        if !covers(state.memory_bytes, shape.memory_bytes) {
            return false;
        }
        let milli = i64::from(shape.milli);
        let room =
            |device: &&DeviceState| device.open && kinds[device.kind as usize] && i64::from(device.free_milli) >= milli;
        shape.devices == 0
            || self.devices(node).iter().filter(room).take(shape.devices as usize).count() == shape.devices as usize
    }

    /// Whether a claim would fit on a node if nothing were held on it.
    pub(super) fn could_run_on(&self, node: usize, shape: &Shape, kinds: &[bool]) -> bool {
        let state = &self.nodes[node];
        let suits = |device: &&DeviceState| device.open && kinds[device.kind as usize];
        state.open
            && covers(state.cpu_capacity_millicores, shape.cpu_millicores)
            && covers(state.memory_capacity_bytes, shape.memory_bytes)
            && shape.milli <= WHOLE_MILLI
            && (shape.devices == 0 || self.devices_of(node).iter().filter(suits).count() >= shape.devices as usize)
    }

    /// Whether a claim fits somewhere as it is now.
    #[must_use]
    pub fn fits(&self, shape: &Shape) -> bool {
        let kinds = self.suitable_kinds(shape);
        (0..number(self.nodes.len())).any(|node| self.fits_on(node, shape, &kinds))
    }

    /// A lease is given. Taken as a fact: when it holds more than there is, the amounts go below zero.
    pub fn take(&mut self, shape: &Shape, placement: &Placement) {
        self.change(shape, placement, -1);
    }

    /// A lease is over. Undoes [`take`](Self::take) exactly.
    pub fn give_back(&mut self, shape: &Shape, placement: &Placement) {
        self.change(shape, placement, 1);
    }

    fn change(&mut self, shape: &Shape, placement: &Placement, sign: i64) {
        let node = &mut self.nodes[placement.node as usize];
        let amount = |wanted: u64| sign.saturating_mul(i64::try_from(wanted).unwrap_or(i64::MAX));
        node.cpu_millicores = node.cpu_millicores.saturating_add(amount(shape.cpu_millicores));
        node.memory_bytes = node.memory_bytes.saturating_add(amount(shape.memory_bytes));
        let first = node.devices.start;
        let milli = i32::try_from(amount(shape.milli.into())).unwrap_or(i32::MAX);
        for device in &placement.devices {
            let device = &mut self.devices[(first + device) as usize];
            device.free_milli = device.free_milli.saturating_add(milli);
        }
        self.stamp(placement.node);
    }

    /// Where a lease is. A device that is not on the node any more is left out; `None` when the node is gone.
    #[must_use]
    pub fn locate(&self, lease: &Lease) -> Option<Placement> {
        let node = *self.by_name.get(&lease.node)?;
        let here = self.devices(node);
        let mut devices: Vec<u32> = lease
            .devices
            .iter()
            .filter_map(|leased| here.iter().position(|device| device.id == leased.device))
            .map(number)
            .collect();
        devices.sort_unstable();
        Some(Placement { node, devices })
    }

    /// The name of a placement's node.
    #[must_use]
    pub fn node_name(&self, placement: &Placement) -> &NodeName {
        &self.nodes[placement.node as usize].name
    }

    /// A placement's devices as a lease has them.
    #[must_use]
    pub fn leased_devices(&self, shape: &Shape, placement: &Placement) -> Vec<LeasedDevice> {
        let here = self.devices(placement.node);
        let leased = |device: &u32| LeasedDevice { device: here[*device as usize].id.clone(), milli: shape.milli };
        placement.devices.iter().map(leased).collect()
    }

    /// Renews the fingerprint of a node and of the whole.
    fn stamp(&mut self, node: u32) {
        let state = &self.nodes[node as usize];
        let mut hash = mix(state.lot ^ u64::from(state.open));
        hash = mix(hash ^ state.cpu_millicores.cast_unsigned());
        hash = mix(hash ^ state.memory_bytes.cast_unsigned());
        for device in self.devices(node) {
            let free = u64::from(device.free_milli.cast_unsigned());
            hash = mix(hash ^ (free << 32 | u64::from(device.kind) << 1 | u64::from(device.open)));
        }
        let before = std::mem::replace(&mut self.fingerprints[node as usize], hash);
        self.fingerprint ^= before ^ hash;
    }
}

fn covers(free: i64, wanted: u64) -> bool {
    u64::try_from(free).is_ok_and(|free| free >= wanted)
}

fn kinds(nodes: &[&Node]) -> Vec<Kind> {
    let mut kinds: Vec<(&str, u64)> = nodes
        .iter()
        .flat_map(|node| &node.devices)
        .map(|device| (device.model.as_str(), device.memory_bytes))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.into_iter().map(|(model, memory_bytes)| Kind { model: model.to_owned(), memory_bytes }).collect()
}

/// Numbers of nodes and devices: more than four thousand million of them are not a cluster.
fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// FNV-1a, then mixed: names that differ in one digit are as far apart as any.
fn lot(name: &str) -> u64 {
    let fnv = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    mix(fnv)
}

/// Steele, Lea and Flood's finalizer ("SplitMix"): every bit of the input moves half of the output.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
