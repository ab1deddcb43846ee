//! What it costs to break up room for claims of several devices.
//!
//! They need all their devices free on one node, and any small claim can spoil that. Whether it matters depends on how
//! many such rooms there are and how many will be asked for until what is free now is used up: the price of one is the
//! devices it would serve times the probability that at least as many are asked for as there are (Littlewood's rule of
//! revenue management, with Poisson demand). So hundreds of empty nodes are no reason to squeeze small claims, and the
//! last few are kept for as long as something else will do.

use super::expected::Expected;
use crate::gpu::{Cluster, Shape};

/// Below it a price changes no decision.
const NEGLIGIBLE_MILLI: f64 = 0.01;

/// Claims of several devices that need the same room.
#[derive(Debug, Clone)]
struct Gang {
    devices: u32,
    milli: i32,
    kinds: Vec<bool>,
    /// Of one claim, on average.
    cpu: i64,
    memory: i64,
    /// Expected claims per thousandth of a device that is given out.
    rate: f64,
}

/// The rooms of a cluster as it is now.
#[derive(Debug, Clone, Default)]
pub struct Gangs {
    gangs: Vec<Gang>,
    /// How many rooms of each gang each node has: node by node.
    rooms: Vec<u32>,
    total: Vec<u64>,
    /// Thousandths of one room, by gang.
    prices: Vec<f64>,
}

impl Gangs {
    /// For the workload that is expected.
    #[expect(clippy::cast_possible_truncation, reason = "an average of amounts that fit")]
    pub fn new(cluster: &Cluster, expected: &[Expected<'_>]) -> Self {
        let milli: f64 = expected.iter().map(|one| one.count * one.milli).sum();
        let mut gangs: Vec<(Gang, f64, f64, f64)> = Vec::new();
        for one in expected {
            let Some(shape) = one.shape.filter(|shape| shape.devices > 1) else { continue };
            let (devices, part) = (shape.devices, i32::try_from(shape.milli).unwrap_or(i32::MAX));
            let same = |(gang, ..): &(Gang, f64, f64, f64)| {
                gang.devices == devices && gang.milli == part && gang.kinds == one.kinds
            };
            let at = gangs.iter().position(same).unwrap_or_else(|| {
                let kinds = one.kinds.clone();
                gangs.push((Gang { devices, milli: part, kinds, cpu: 0, memory: 0, rate: 0.0 }, 0.0, 0.0, 0.0));
                gangs.len() - 1
            });
            let (_, count, cpu, memory) = &mut gangs[at];
            *count += one.count;
            *cpu += one.count * one.cpu;
            *memory += one.count * one.memory;
        }
        let gangs: Vec<Gang> = gangs
            .into_iter()
            .filter(|(_, count, ..)| *count > 0.0)
            .map(|(gang, count, cpu, memory)| Gang {
                cpu: (cpu / count) as i64,
                memory: (memory / count) as i64,
                rate: count / milli,
                ..gang
            })
            .collect();
        let (rooms, total) = (vec![0; gangs.len() * cluster.nodes().len()], vec![0; gangs.len()]);
        Self { prices: vec![0.0; gangs.len()], gangs, rooms, total }
    }

    /// A node has changed.
    pub fn look(&mut self, cluster: &Cluster, node: usize) {
        let state = &cluster.nodes()[node];
        for (at, gang) in self.gangs.iter().enumerate() {
            let free = |number: usize| cluster.devices_of(node)[number].free_milli;
            let now =
                if state.open { gang.rooms(cluster, node, state.cpu_millicores, state.memory_bytes, free) } else { 0 };
            let before = std::mem::replace(&mut self.rooms[node * self.gangs.len() + at], now);
            self.total[at] = self.total[at] + u64::from(now) - u64::from(before);
        }
    }

    /// So many thousandths are free: what does a room cost?
    pub fn price(&mut self, free_milli: f64) {
        for ((gang, total), price) in self.gangs.iter().zip(&self.total).zip(&mut self.prices) {
            let serves = f64::from(gang.devices) * f64::from(gang.milli);
            *price = serves * at_least(*total, gang.rate * free_milli);
        }
    }

    /// What the rooms cost that a claim on these devices of a node would spoil, beside those for claims no larger than it.
    pub fn spoilt(&self, cluster: &Cluster, node: usize, shape: &Shape, devices: &[u32]) -> f64 {
        let rooms = &self.rooms[node * self.gangs.len()..][..self.gangs.len()];
        let mut cost = 0.0;
        for ((gang, rooms), price) in self.gangs.iter().zip(rooms).zip(&self.prices) {
            if *rooms == 0 || *price < NEGLIGIBLE_MILLI || shape.devices >= gang.devices {
                continue;
            }
            let state = &cluster.nodes()[node];
            let left = |free: i64, wanted: u64| free.saturating_sub(i64::try_from(wanted).unwrap_or(i64::MAX));
            let taken = i32::try_from(shape.milli).unwrap_or(i32::MAX);
            let after = gang.rooms(
                cluster,
                node,
                left(state.cpu_millicores, shape.cpu_millicores),
                left(state.memory_bytes, shape.memory_bytes),
                |number| {
                    let free = cluster.devices_of(node)[number].free_milli;
                    let here = devices.iter().any(|device| *device as usize == number);
                    if here { free.saturating_sub(taken) } else { free }
                },
            );
            cost += price * f64::from(rooms.saturating_sub(after));
        }
        cost
    }

    /// Whether any room has a price.
    pub fn any_price(&self) -> bool {
        self.prices.iter().any(|price| *price >= NEGLIGIBLE_MILLI)
    }
}

impl Gang {
    fn rooms(&self, cluster: &Cluster, node: usize, cpu: i64, memory: i64, free: impl Fn(usize) -> i32) -> u32 {
        let devices = cluster.devices_of(node).iter().enumerate();
        let fit = |(number, device): &(usize, &crate::gpu::DeviceState)| {
            device.open && self.kinds[device.kind as usize] && free(*number) >= self.milli
        };
        let by_devices = devices.filter(fit).count() / self.devices as usize;
        let of = |free: i64, wanted: i64| if wanted > 0 { free.max(0) / wanted } else { i64::MAX };
        let most = of(cpu, self.cpu).min(of(memory, self.memory));
        u32::try_from(by_devices).unwrap_or(u32::MAX).min(u32::try_from(most).unwrap_or(u32::MAX))
    }
}

/// The probability that a Poisson variable reaches a number.
#[expect(clippy::cast_precision_loss, reason = "a probability")]
fn at_least(number: u64, mean: f64) -> f64 {
    let reach = 8.0 * mean.sqrt() + 8.0;
    let wanted = number as f64;
    if mean <= 0.0 || wanted > mean + reach {
        return if number == 0 { 1.0 } else { 0.0 };
    }
    if wanted < mean - reach || number == 0 {
        return 1.0;
    }
    // The first term by its logarithm, since e^-mean alone may be too small for a number; each next one by the ratio.
    let log_factorial: f64 = (2..=number).map(|factor| (factor as f64).ln()).sum();
    let mut term = (wanted * mean.ln() - mean - log_factorial).exp();
    let (mut sum, mut at) = (0.0, wanted);
    while term > 1e-12 || at < mean {
        sum += term;
        at += 1.0;
        term *= mean / at;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_poisson_demand() {
        assert!((at_least(1, 1.0) - (1.0 - (-1.0_f64).exp())).abs() < 1e-9);
        assert!((at_least(2, 0.5) - (1.0 - 1.5 * (-0.5_f64).exp())).abs() < 1e-9);
        assert_eq!(at_least(0, 0.0), 1.0);
        assert_eq!(at_least(1, 0.0), 0.0);
        assert_eq!(at_least(1000, 10.0), 0.0);
        assert_eq!(at_least(10, 1000.0), 1.0);
        assert!((at_least(1000, 1000.0) - 0.504).abs() < 0.002);
    }
}
