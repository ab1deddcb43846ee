//! What a node's free amounts are worth: how much device the workload could still use on it.
//!
//! A free device that nothing can use is lost as surely as one that is taken. Devices get lost in two ways:
//!
//! - *Holes.* What is left of a shared device fits few claims. A hole's worth is what the next claims of the
//!   workload would put into it: claims are drawn one by one as often as they are asked for, and what fits is
//!   put in (see [`holes`](super::holes)).
//! - *Dry nodes.* CPU or memory are used up while devices are free. So much CPU serves on average so much device,
//!   and the spread is known too (a renewal process with reward); the node yields the lesser of that and what its
//!   devices hold, `E[min(devices, served by CPU, served by memory)]`.
//!
//! A claim goes where this worth falls least. That keeps claims that need much CPU off nodes that have little, fills
//! holes with what fits them, and keeps claims without a device off nodes whose CPU the devices will need; none of
//! these is a rule of its own. Only claims that could run on the node when it is empty count for it.
//!
//! Rejected: the expected fragmentation of the *next* claim (FGD), since a node with CPU for two more claims and
//! eight free devices is perfect by it; playing claims onto the node by Monte Carlo, which gives the same allocation
//! for more than ten times the time.

use std::collections::{BTreeMap, HashMap};

use super::expected::{Expected, pick, weights};
use super::holes::Holes;
use super::loss::Loss;
use crate::gpu::Cluster;

/// Worth of the nodes of one cluster under one workload.
#[derive(Debug, Clone)]
pub struct Worth {
    loss: Loss,
    nodes: Vec<NodeWorth>,
    supplies: Vec<[Supply; 2]>,
    holes: Vec<Holes>,
}

/// Which tables are a node's.
#[derive(Debug, Clone)]
struct NodeWorth {
    supply: usize,
    /// Of each device, by number on the node.
    holes: Vec<usize>,
}

/// How much device an amount of CPU or memory serves.
#[derive(Debug, Clone, Copy)]
struct Supply {
    /// Thousandths of a device per unit; `None` when nobody asks for any.
    rate: Option<f64>,
    /// Variance of the thousandths served, per unit.
    variance: f64,
}

/// What is free on a node, as far as its worth goes.
#[derive(Debug, Clone, Copy)]
pub struct Free {
    /// The worth of its devices' holes.
    pub holes: f64,
    /// Thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
}

impl Worth {
    /// Learns the tables.
    pub fn new(cluster: &Cluster, expected: &[Expected<'_>]) -> Self {
        let weights = weights(cluster, expected);
        let mut worth = Self { loss: Loss::new(), nodes: Vec::new(), supplies: Vec::new(), holes: Vec::new() };
        let mut supplies: HashMap<Vec<bool>, usize> = HashMap::new();
        let mut holes: HashMap<Vec<bool>, usize> = HashMap::new();
        for node in 0..cluster.nodes().len() {
            let here: Vec<bool> = expected.iter().map(|one| one.could_run_on(cluster, node)).collect();
            let mut by_kind: BTreeMap<u32, usize> = BTreeMap::new();
            for device in cluster.devices_of(node) {
                by_kind.entry(device.kind).or_insert_with(|| {
                    let on = |(here, one): (&bool, &Expected<'_>)| *here && one.kinds[device.kind as usize];
                    let on: Vec<bool> = here.iter().zip(expected).map(on).collect();
                    *holes.entry(on).or_insert_with_key(|on| {
                        worth.holes.push(Holes::new(pick(expected, on).filter_map(Expected::part)));
                        worth.holes.len() - 1
                    })
                });
            }
            let supply = *supplies.entry(here).or_insert_with_key(|here| {
                let cpu = Supply::new(pick(expected, here).map(|one| one.demand(one.cpu, weights[0])));
                let memory = Supply::new(pick(expected, here).map(|one| one.demand(one.memory, weights[1])));
                worth.supplies.push([cpu, memory]);
                worth.supplies.len() - 1
            });
            let holes = cluster.devices_of(node).iter().map(|device| by_kind[&device.kind]).collect();
            worth.nodes.push(NodeWorth { supply, holes });
        }
        worth
    }

    /// What a device's hole is worth, in thousandths of a device.
    pub fn hole(&self, node: usize, device: usize, free_milli: i32) -> f64 {
        self.holes[self.nodes[node].holes[device]].worth(free_milli)
    }

    /// What is free on a node now.
    pub fn free(&self, cluster: &Cluster, node: usize) -> Free {
        let state = &cluster.nodes()[node];
        let devices = cluster.devices_of(node).iter().enumerate();
        let holes =
            devices.filter(|(_, device)| device.open).map(|(at, device)| self.hole(node, at, device.free_milli));
        Free { holes: holes.sum(), cpu: state.cpu_millicores, memory: state.memory_bytes }
    }

    /// What the workload could still use of a node's devices, in thousandths of one.
    pub fn of(&self, node: usize, free: Free) -> f64 {
        let [cpu, memory] = &self.supplies[self.nodes[node].supply];
        let by_cpu = cpu.lesser(&self.loss, free.holes, free.cpu);
        memory.lesser(&self.loss, by_cpu, free.memory)
    }
}

impl Supply {
    /// From (how many, thousandths of a device, amount) of each kind of claim.
    fn new(demands: impl Iterator<Item = (f64, f64, f64)>) -> Self {
        let demands: Vec<_> = demands.collect();
        let milli: f64 = demands.iter().map(|(count, milli, _)| count * milli).sum();
        let amount: f64 = demands.iter().map(|(count, _, amount)| count * amount).sum();
        if amount <= 0.0 {
            return Self { rate: None, variance: 0.0 };
        }
        let rate = milli / amount;
        let spread = |(count, milli, amount): &(f64, f64, f64)| count * (milli - rate * amount).powi(2);
        Self { rate: Some(rate), variance: demands.iter().map(spread).sum::<f64>() / amount }
    }

    #[expect(clippy::cast_precision_loss, reason = "an expectation")]
    fn lesser(&self, loss: &Loss, most: f64, free: i64) -> f64 {
        let Some(rate) = self.rate else { return most };
        let free = free.max(0) as f64;
        loss.lesser(most, free * rate, (free * self.variance).sqrt())
    }
}
