//! Which node and which devices a claim gets.
//!
//! Where the node's `worth` for the workload falls least, plus the price of room (`gangs`) for claims of several
//! devices that it spoils. Equal costs go to the fullest node, and what is left of ties to the nodes' lots.
//!
//! The answer depends on the cluster's state, the workload that was learned and the claim's shape; not on names in any
//! order, nor on the order in which anything was listed or has happened. What is remembered only saves time: costs are
//! kept by shape and node together with the fingerprint of the node they hold for.

mod expected;
mod gangs;
mod holes;
mod loss;
mod workload;
mod worth;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use workload::Workload;

use super::{Cluster, Placement, Shape};
use gangs::Gangs;
use worth::{Free, Worth};

/// It does not fit.
const NEVER: i64 = i64::MAX;

/// Costs are compared in these parts of a thousandth of a device.
const GRAIN: f64 = 1024.0;

/// More shapes than that are not remembered.
const SHAPES: usize = 1024;

/// Finds places, and remembers what it computed for nodes that have not changed since.
#[derive(Debug, Clone, Default)]
pub struct Placer {
    workload: Workload,
    learned: Option<Learned>,
    seen: HashMap<Shape, Seen>,
}

/// What follows from the workload and the nodes, and what is known of the nodes' state.
#[derive(Debug, Clone)]
struct Learned {
    layout: u64,
    worth: Worth,
    gangs: Gangs,
    /// The cluster's state in which all of this was looked at, and each node's.
    cluster: Option<u64>,
    nodes: Vec<u64>,
    /// What is free on each node, what that is worth, and thousandths of open devices.
    free: Vec<(Free, f64, i64)>,
    free_milli: i64,
}

/// What is known of one shape.
#[derive(Debug, Clone)]
struct Seen {
    kinds: Vec<bool>,
    /// Each node's fingerprint when its cost was computed.
    nodes: Vec<u64>,
    costs: Vec<i64>,
    answer: Option<(u64, Option<Placement>)>,
}

impl Placer {
    /// A placer for a workload. Without one it expects claims for a whole device with an even share of its node.
    #[must_use]
    pub fn new(workload: Workload) -> Self {
        Self { workload, learned: None, seen: HashMap::new() }
    }

    /// From now on this is what is expected to come.
    pub fn learn(&mut self, workload: Workload) {
        if workload != self.workload {
            *self = Self::new(workload);
        }
    }

    /// What is expected to come.
    #[must_use]
    pub const fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The best place for a claim; `None` exactly when it fits nowhere.
    pub fn find(&mut self, cluster: &Cluster, shape: &Shape) -> Option<Placement> {
        let learned = match &mut self.learned {
            Some(learned) if learned.layout == cluster.layout() => learned,
            other => {
                self.seen.clear();
                other.insert(Learned::new(cluster, &self.workload))
            }
        };
        if !self.seen.contains_key(shape) {
            if self.seen.len() >= SHAPES {
                self.seen.clear();
            }
            self.seen.insert(shape.clone(), Seen::new(cluster, shape));
        }
        let seen = self.seen.get_mut(shape)?;
        if let Some((state, answer)) = &seen.answer
            && *state == cluster.fingerprint()
        {
            return answer.clone();
        }
        learned.look(cluster);
        seen.look(cluster, shape, learned);
        let answer = seen.best(cluster, shape, learned).map(|node| Placement {
            devices: learned.devices(cluster, node, shape, &seen.kinds).0,
            node: u32::try_from(node).unwrap_or(u32::MAX),
        });
        seen.answer = Some((cluster.fingerprint(), answer.clone()));
        answer
    }
}

impl Learned {
    fn new(cluster: &Cluster, workload: &Workload) -> Self {
        let expected = expected::expected(cluster, workload);
        let nothing = Free { holes: 0.0, cpu: 0, memory: 0 };
        Self {
            layout: cluster.layout(),
            worth: Worth::new(cluster, &expected),
            gangs: Gangs::new(cluster, &expected),
            cluster: None,
            nodes: vec![0; cluster.nodes().len()],
            free: vec![(nothing, 0.0, 0); cluster.nodes().len()],
            free_milli: 0,
        }
    }

    /// Looks at the nodes that have changed.
    #[expect(clippy::cast_precision_loss, reason = "an expectation")]
    fn look(&mut self, cluster: &Cluster) {
        if self.cluster == Some(cluster.fingerprint()) {
            return;
        }
        let first = self.cluster.is_none();
        for (node, now) in cluster.fingerprints().iter().enumerate() {
            if self.nodes[node] == *now && !first {
                continue;
            }
            self.nodes[node] = *now;
            let free = self.worth.free(cluster, node);
            let open = cluster.devices_of(node).iter().filter(|device| device.open && cluster.nodes()[node].open);
            let milli = open.map(|device| i64::from(device.free_milli.max(0))).sum();
            self.free_milli += milli - self.free[node].2;
            self.free[node] = (free, self.worth.of(node, free), milli);
            self.gangs.look(cluster, node);
        }
        self.gangs.price(self.free_milli as f64);
        self.cluster = Some(cluster.fingerprint());
    }

    /// The devices of a node whose holes lose least by a claim that fits, and what they lose together.
    fn devices(&self, cluster: &Cluster, node: usize, shape: &Shape, kinds: &[bool]) -> (Vec<u32>, f64) {
        let milli = i32::try_from(shape.milli).unwrap_or(i32::MAX);
        let mut choice: Vec<(f64, i32, u32)> = (0..)
            .zip(cluster.devices_of(node))
            .enumerate()
            .filter(|(_, (_, device))| device.open && kinds[device.kind as usize] && device.free_milli >= milli)
            .map(|(at, (number, device))| {
                let free = device.free_milli;
                (self.worth.hole(node, at, free) - self.worth.hole(node, at, free - milli), free, number)
            })
            .collect();
        choice.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        choice.truncate(shape.devices as usize);
        let lost = choice.iter().map(|(lost, ..)| lost).sum();
        let mut devices: Vec<u32> = choice.into_iter().map(|(.., number)| number).collect();
        devices.sort_unstable();
        (devices, lost)
    }

    /// What a claim that fits on a node costs there.
    fn cost(&self, cluster: &Cluster, node: usize, shape: &Shape, kinds: &[bool]) -> i64 {
        let (free, worth, _) = self.free[node];
        let (_, lost) = self.devices(cluster, node, shape, kinds);
        let left = |free: i64, wanted: u64| free.saturating_sub(i64::try_from(wanted).unwrap_or(i64::MAX));
        let after = Free {
            holes: free.holes - lost,
            cpu: left(free.cpu, shape.cpu_millicores),
            memory: left(free.memory, shape.memory_bytes),
        };
        grains(worth - self.worth.of(node, after))
    }
}

impl Seen {
    fn new(cluster: &Cluster, shape: &Shape) -> Self {
        let nodes = cluster.nodes().len();
        // No fingerprint was seen yet: each differs from the node's own.
        let unseen = cluster.fingerprints().iter().map(|now| !now).collect();
        Self { kinds: cluster.suitable_kinds(shape), nodes: unseen, costs: vec![NEVER; nodes], answer: None }
    }

    /// Computes the costs on nodes that have changed.
    fn look(&mut self, cluster: &Cluster, shape: &Shape, learned: &Learned) {
        for (node, now) in cluster.fingerprints().iter().enumerate() {
            if self.nodes[node] == *now {
                continue;
            }
            self.nodes[node] = *now;
            let fits = cluster.fits_on(u32::try_from(node).unwrap_or(u32::MAX), shape, &self.kinds);
            self.costs[node] = if fits { learned.cost(cluster, node, shape, &self.kinds) } else { NEVER };
        }
    }

    /// The node with the least cost.
    fn best(&self, cluster: &Cluster, shape: &Shape, learned: &Learned) -> Option<usize> {
        let priced = learned.gangs.any_price();
        let mut best: Option<((i64, i64, i64, u64), usize)> = None;
        for (node, cost) in self.costs.iter().enumerate() {
            // A price only adds to the cost.
            if *cost == NEVER || best.is_some_and(|(best, _)| *cost > best.0) {
                continue;
            }
            let mut cost = *cost;
            if priced {
                let (devices, _) = learned.devices(cluster, node, shape, &self.kinds);
                cost += grains(learned.gangs.spoilt(cluster, node, shape, &devices));
            }
            let state = &cluster.nodes()[node];
            let order = (cost, learned.free[node].2, state.cpu_millicores, state.lot);
            if best.is_none_or(|(best, _)| order < best) {
                best = Some((order, node));
            }
        }
        best.map(|(_, node)| node)
    }
}

/// A cost in whole numbers, so that comparing needs no care.
#[expect(clippy::cast_possible_truncation, reason = "the worth of a node's devices")]
fn grains(milli: f64) -> i64 {
    (milli * GRAIN).round() as i64
}
