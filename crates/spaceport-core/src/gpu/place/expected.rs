//! The workload as expected claims, with what of it each node could run.

use super::Workload;
use crate::gpu::device::WHOLE_MILLI;
use crate::gpu::{Cluster, Shape};

/// One kind of claim that is expected.
pub struct Expected<'a> {
    /// `None` for the claim that stands for those nobody made yet.
    pub shape: Option<&'a Shape>,
    /// Which kinds of devices will do.
    pub kinds: Vec<bool>,
    /// How often.
    pub count: f64,
    /// Thousandths of a device in all.
    pub milli: f64,
    /// Thousandths of a core.
    pub cpu: f64,
    /// Bytes.
    pub memory: f64,
}

impl Expected<'_> {
    /// Whether it would fit on an empty node.
    pub fn could_run_on(&self, cluster: &Cluster, node: usize) -> bool {
        self.shape.is_none_or(|shape| cluster.could_run_on(node, shape, &self.kinds))
    }

    /// How often what part of a device is asked for.
    pub fn part(&self) -> Option<(u32, f64)> {
        let Some(shape) = self.shape else { return Some((WHOLE_MILLI, self.count)) };
        (shape.devices > 0).then(|| (shape.milli, self.count * f64::from(shape.devices)))
    }

    /// How many claims (`weight` of each without a device), thousandths of a device, amount.
    pub fn demand(&self, amount: f64, weight: f64) -> (f64, f64, f64) {
        (if self.milli > 0.0 { self.count } else { self.count * weight }, self.milli, amount)
    }
}

/// Those that are marked.
pub fn pick<'a, 'b>(expected: &'a [Expected<'b>], on: &'a [bool]) -> impl Iterator<Item = &'a Expected<'b>> {
    expected.iter().zip(on).filter_map(|(one, on)| on.then_some(one))
}

/// The workload, and one claim for a whole device with an even share of its node: what is expected before anybody came.
#[expect(clippy::cast_precision_loss, reason = "an expectation")]
pub fn expected<'a>(cluster: &Cluster, workload: &'a Workload) -> Vec<Expected<'a>> {
    let mut expected: Vec<Expected<'a>> = workload
        .shapes()
        .map(|(shape, count)| Expected {
            shape: Some(shape),
            kinds: cluster.suitable_kinds(shape),
            count: count as f64,
            milli: shape.total_milli() as f64,
            cpu: shape.cpu_millicores as f64,
            memory: shape.memory_bytes as f64,
        })
        .collect();
    let (mut devices, mut cpu, mut memory) = (0.0, 0.0, 0.0);
    for (node, state) in cluster.nodes().iter().enumerate() {
        let open = cluster.devices_of(node).iter().filter(|device| device.open).count();
        if state.open && open > 0 {
            devices += open as f64;
            cpu += state.cpu_capacity_millicores as f64;
            memory += state.memory_capacity_bytes as f64;
        }
    }
    if devices > 0.0 {
        let kinds = vec![true; cluster.kinds().len()];
        let milli = f64::from(WHOLE_MILLI);
        expected.push(Expected { shape: None, kinds, count: 1.0, milli, cpu: cpu / devices, memory: memory / devices });
    }
    expected
}

/// How much claims without a device count for CPU and memory: the part of them that would find none left where every
/// device is in use. What is left over anyway costs no device.
#[expect(clippy::cast_precision_loss, reason = "an expectation")]
pub fn weights(cluster: &Cluster, expected: &[Expected<'_>]) -> [f64; 2] {
    let open = || cluster.nodes().iter().enumerate().filter(|(_, state)| state.open);
    let devices: usize =
        open().map(|(node, _)| cluster.devices_of(node).iter().filter(|device| device.open).count()).sum();
    let milli: f64 = expected.iter().map(|one| one.count * one.milli).sum();
    if milli <= 0.0 {
        return [1.0; 2];
    }
    let until_full = devices as f64 * f64::from(WHOLE_MILLI) / milli;
    let weight = |amount: &dyn Fn(&Expected<'_>) -> f64, capacity: f64| {
        let sum = |with: bool| -> f64 {
            expected.iter().filter(|one| (one.milli > 0.0) == with).map(|one| one.count * amount(one)).sum()
        };
        let (with, without) = (sum(true) * until_full, sum(false) * until_full);
        if without > 0.0 { ((with + without - capacity) / without).clamp(0.0, 1.0) } else { 0.0 }
    };
    let cpu: f64 = open().map(|(_, state)| state.cpu_capacity_millicores as f64).sum();
    let memory: f64 = open().map(|(_, state)| state.memory_capacity_bytes as f64).sum();
    [weight(&|one| one.cpu, cpu), weight(&|one| one.memory, memory)]
}
