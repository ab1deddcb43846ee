//! Which node and which devices a claim gets.
//!
//! The answer depends on the cluster's state, the workload that was learned, and the claim's shape;
//! neither on names nor on the order in which anything was listed. What is cached can only save time.

mod workload;

use std::collections::HashMap;

pub use workload::Workload;

use super::{Cluster, Placement, Shape};

/// Finds places, and remembers what it computed for nodes that have not changed since.
#[derive(Debug, Clone, Default)]
pub struct Placer {
    workload: Workload,
    seen: HashMap<Shape, Seen>,
}

/// What is known of one shape in one state of the cluster.
#[derive(Debug, Clone)]
struct Seen {
    cluster: u64,
    answer: Option<Placement>,
}

impl Placer {
    /// A placer for a workload; without one it packs.
    #[must_use]
    pub fn new(workload: Workload) -> Self {
        Self { workload, seen: HashMap::new() }
    }

    /// From now on this is what is expected to come. Forgets what was computed.
    pub fn learn(&mut self, workload: Workload) {
        if workload != self.workload {
            *self = Self::new(workload);
        }
    }

    /// The best place for a claim; `None` exactly when it fits nowhere.
    pub fn find(&mut self, cluster: &Cluster, shape: &Shape) -> Option<Placement> {
        if let Some(seen) = self.seen.get(shape)
            && seen.cluster == cluster.fingerprint()
        {
            return seen.answer.clone();
        }
        let answer = best_fit(cluster, shape);
        self.seen.insert(shape.clone(), Seen { cluster: cluster.fingerprint(), answer: answer.clone() });
        answer
    }
}

/// The node with the least left, on its devices with the least left.
fn best_fit(cluster: &Cluster, shape: &Shape) -> Option<Placement> {
    let kinds = cluster.suitable_kinds(shape);
    let left = |node: u32| -> i64 { cluster.devices(node).iter().map(|device| i64::from(device.free_milli)).sum() };
    let node = (0..u32::try_from(cluster.nodes().len()).unwrap_or(u32::MAX))
        .filter(|node| cluster.fits_on(*node, shape, &kinds))
        .min_by_key(|node| (left(*node), cluster.nodes()[*node as usize].lot))?;
    let mut devices: Vec<(i32, u32)> = (0..)
        .zip(cluster.devices(node))
        .filter(|(_, device)| {
            device.open && kinds[device.kind as usize] && i64::from(device.free_milli) >= i64::from(shape.milli)
        })
        .map(|(number, device)| (device.free_milli, number))
        .collect();
    devices.sort_unstable();
    let mut devices: Vec<u32> = devices.into_iter().take(shape.devices as usize).map(|(_, number)| number).collect();
    devices.sort_unstable();
    Some(Placement { node, devices })
}
