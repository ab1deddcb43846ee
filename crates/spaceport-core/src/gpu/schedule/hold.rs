//! Devices kept for somebody: what is free of them is taken out of the cluster's free amounts, so that nobody else is
//! placed there by an ordinary search.

use super::engine::{ClaimIx, Engine, ShapeIx};
use super::world::{Hold, HoldFor};
use crate::gpu::{Cluster, DeviceId, Placement, Shape};
use crate::{ClaimId, ReservationId, Timestamp};

/// A hold with what it takes out of the cluster at the moment.
#[derive(Debug, Clone)]
pub(super) struct HoldState {
    pub owner: HoldFor,
    pub since: Timestamp,
    /// Where; more than one node only for a reservation.
    pub parts: Vec<Placement>,
    /// Whether its claim is within its guarantee: others were told to leave for it.
    pub guaranteed: bool,
    /// When its devices are expected to be free, as of when they were taken.
    pub ready: Timestamp,
    taken: Vec<(Shape, Placement)>,
}

impl HoldState {
    pub fn new(owner: HoldFor, parts: Vec<Placement>, since: Timestamp) -> Self {
        Self { owner, since, parts, guaranteed: false, ready: since, taken: Vec::new() }
    }

    pub fn as_value(&self, cluster: &Cluster) -> Hold {
        let ids = |part: &Placement| -> Vec<DeviceId> {
            let here = cluster.devices(part.node);
            part.devices.iter().map(|device| here[*device as usize].id.clone()).collect()
        };
        let mut devices: Vec<DeviceId> = self.parts.iter().flat_map(ids).collect();
        devices.sort();
        Hold { owner: self.owner, devices, since: self.since }
    }

    pub fn claim(&self) -> Option<ClaimId> {
        match self.owner {
            HoldFor::Claim(claim) => Some(claim),
            HoldFor::Reservation(_) => None,
        }
    }

    pub fn has(&self, node: u32, device: u32) -> bool {
        self.parts.iter().any(|part| part.node == node && part.devices.contains(&device))
    }

    pub fn touches(&self, placement: &Placement) -> bool {
        placement.devices.iter().any(|device| self.has(placement.node, *device))
    }

    /// Whether it keeps anything out of the cluster's free amounts at the moment.
    pub fn is_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Whether it yields to what is guaranteed.
    pub fn is_soft(&self) -> bool {
        !self.guaranteed && self.claim().is_some()
    }

    pub fn devices(&self) -> usize {
        self.parts.iter().map(|part| part.devices.len()).sum()
    }
}

impl Engine {
    /// A hold of an earlier pass, unless its devices are not all there any more.
    pub(super) fn add_hold(&mut self, hold: &Hold) {
        let mut parts: Vec<Placement> = Vec::new();
        for id in &hold.devices {
            let Some((node, device)) = self.device(id) else { return };
            match parts.iter_mut().find(|part| part.node == node) {
                Some(part) => part.devices.push(device),
                None => parts.push(Placement { node, devices: vec![device] }),
            }
        }
        parts.sort_by_key(|part| part.node);
        for part in &mut parts {
            part.devices.sort_unstable();
        }
        if !self.holds.iter().any(|other| other.owner == hold.owner) && !parts.is_empty() {
            self.holds.push(HoldState::new(hold.owner, parts, hold.since));
        }
    }

    fn device(&self, id: &DeviceId) -> Option<(u32, u32)> {
        (0..super::engine::number(self.cluster.nodes().len())).find_map(|node| {
            let at = self.cluster.devices(node).iter().position(|device| device.id == *id)?;
            Some((node, super::engine::number(at)))
        })
    }

    /// What is free of a hold's devices is nobody's any more, and neither is what its claim needs of the node's CPU
    /// and memory beyond what comes back with the leases on these devices.
    pub(super) fn take_hold(&mut self, hold: usize, now: Timestamp) {
        if self.holds[hold].is_taken() {
            return;
        }
        self.holds[hold].ready = self.expected_ready(hold, now);
        self.retake_hold(hold);
    }

    /// As [`Self::take_hold`], at a time at which the expectation is known.
    pub(super) fn retake_hold(&mut self, hold: usize) {
        let (mut cpu, mut memory) = (0, 0);
        if let Some(ix) = self.holds[hold].claim().and_then(|claim| self.find(claim)) {
            let part = self.holds[hold].parts[0].clone();
            let shape = self.entry(ix).claim.shape.clone();
            let (back_cpu, back_memory) = self.comes_back(hold);
            let node = &self.cluster.nodes()[part.node as usize];
            let free = |amount: i64| u64::try_from(amount).unwrap_or(0);
            cpu = shape.cpu_millicores.saturating_sub(back_cpu).min(free(node.cpu_millicores));
            memory = shape.memory_bytes.saturating_sub(back_memory).min(free(node.memory_bytes));
        }
        for part in self.holds[hold].parts.clone() {
            for device in &part.devices {
                let free = self.cluster.devices(part.node)[*device as usize].free_milli;
                let milli = u32::try_from(free).unwrap_or(0);
                let shape = Shape {
                    cpu_millicores: std::mem::take(&mut cpu),
                    memory_bytes: std::mem::take(&mut memory),
                    devices: 1,
                    milli,
                    models: Vec::new(),
                    min_device_memory_bytes: 0,
                };
                let placement = Placement { node: part.node, devices: vec![*device] };
                self.cluster.take(&shape, &placement);
                self.holds[hold].taken.push((shape, placement));
            }
        }
    }

    /// CPU and memory of the leases that leave before a hold's claim starts.
    fn comes_back(&self, hold: usize) -> (u64, u64) {
        let hold = &self.holds[hold];
        let Some(on_node) = self.on_node.get(hold.parts[0].node as usize) else { return (0, 0) };
        let (mut cpu, mut memory) = (0_u64, 0_u64);
        for ix in on_node.values() {
            if self.leaves_for(hold, *ix) {
                let shape = &self.entry(*ix).claim.shape;
                cpu = cpu.saturating_add(shape.cpu_millicores);
                memory = memory.saturating_add(shape.memory_bytes);
            }
        }
        (cpu, memory)
    }

    /// Whether a lease has to be gone before a hold's claim can start.
    pub(super) fn leaves_for(&self, hold: &HoldState, ix: ClaimIx) -> bool {
        let Some(leased) = &self.entry(ix).lease else { return false };
        hold.touches(&leased.placement)
            || match &leased.notice {
                Some(super::Notice::Guarantee(claim) | super::Notice::Held(claim)) => {
                    hold.owner == HoldFor::Claim(*claim)
                }
                Some(super::Notice::Reservation(id)) => hold.owner == HoldFor::Reservation(*id),
                Some(super::Notice::Budget(_)) | None => false,
            }
    }

    pub(super) fn take_holds(&mut self, now: Timestamp) {
        for hold in 0..self.holds.len() {
            self.take_hold(hold, now);
        }
    }

    /// The free amounts are what they are again.
    pub(super) fn give_back_hold(&mut self, hold: usize) {
        for (shape, placement) in std::mem::take(&mut self.holds[hold].taken) {
            self.cluster.give_back(&shape, &placement);
        }
    }

    pub(super) fn give_back_holds(&mut self) {
        for hold in 0..self.holds.len() {
            self.give_back_hold(hold);
        }
    }

    /// What yields to what is guaranteed is free for it.
    pub(super) fn give_back_soft(&mut self) {
        for hold in 0..self.holds.len() {
            if self.holds[hold].is_soft() {
                self.give_back_hold(hold);
            }
        }
    }

    pub(super) fn drop_hold(&mut self, hold: usize) {
        self.give_back_hold(hold);
        self.holds.remove(hold);
    }

    pub(super) fn hold_of(&self, claim: ClaimId) -> Option<usize> {
        self.holds.iter().position(|hold| hold.owner == HoldFor::Claim(claim))
    }

    pub(super) fn hold_of_reservation(&self, id: ReservationId) -> Option<usize> {
        self.holds.iter().position(|hold| hold.owner == HoldFor::Reservation(id))
    }

    /// Whether somebody holds a device.
    pub(super) fn is_held(&self, node: u32, device: u32) -> bool {
        self.holds.iter().any(|hold| hold.has(node, device))
    }

    /// Whether somebody holds a device who does not yield to what is guaranteed.
    pub(super) fn is_held_fast(&self, node: u32, device: u32) -> bool {
        self.holds.iter().any(|hold| !hold.is_soft() && hold.has(node, device))
    }

    /// The devices among `allowed` on which a claim fits, those with least left first; `None` when it does not fit.
    pub(super) fn fit_on(&self, node: u32, shape: ShapeIx, allowed: impl Fn(u32) -> bool) -> Option<Placement> {
        let state = &self.shapes[shape as usize];
        if !self.cluster.fits_on(node, &state.shape, &state.kinds) {
            return None;
        }
        let milli = i64::from(state.shape.milli);
        let mut devices: Vec<(i32, u32)> = (0..)
            .zip(self.cluster.devices(node))
            .filter(|(number, device)| {
                device.open
                    && state.kinds[device.kind as usize]
                    && i64::from(device.free_milli) >= milli
                    && allowed(*number)
            })
            .map(|(number, device)| (device.free_milli, number))
            .collect();
        let wanted = state.shape.devices as usize;
        if devices.len() < wanted {
            return None;
        }
        devices.sort_unstable();
        let mut devices: Vec<u32> = devices.into_iter().take(wanted).map(|(_, number)| number).collect();
        devices.sort_unstable();
        Some(Placement { node, devices })
    }

    /// When a lease is expected to be over, with the given certainty.
    pub(super) fn expected_end(&self, ix: ClaimIx, now: Timestamp, certainty: f64) -> Timestamp {
        let entry = self.entry(ix);
        let Some(leased) = &entry.lease else { return now };
        let elapsed = u64::try_from(now.since(leased.lease.started_at).as_millis()).unwrap_or(u64::MAX);
        let residual = self.run_lengths.residual_ms(&entry.claim, elapsed, certainty);
        let end = after(now, residual.unwrap_or(UNKNOWN_MS));
        leased.lease.ends_by.map_or(end, |by| by.min(end).max(now))
    }

    /// When the last of those who were on a hold's devices before it is expected to be gone.
    fn expected_ready(&self, hold: usize, now: Timestamp) -> Timestamp {
        let hold = &self.holds[hold];
        if let HoldFor::Reservation(id) = hold.owner {
            return self.reservations.get(&id).map_or(now, |one| one.from.max(now));
        }
        self.occupants(hold)
            .filter(|ix| !self.is_conditional(hold, *ix))
            .map(|ix| self.expected_end(ix, now, 0.5))
            .max()
            .unwrap_or(now)
    }

    /// The leases on a hold's devices.
    pub(super) fn occupants<'a>(&'a self, hold: &'a HoldState) -> impl Iterator<Item = ClaimIx> + 'a {
        hold.parts
            .iter()
            .filter_map(|part| self.on_node.get(part.node as usize))
            .flat_map(|on_node| on_node.values().copied())
            .filter(|ix| self.leaves_for(hold, *ix))
    }

    /// Whether a lease was let in on devices that were held already.
    pub(super) fn is_conditional(&self, hold: &HoldState, ix: ClaimIx) -> bool {
        self.entry(ix).lease.as_ref().is_some_and(|leased| leased.lease.started_at > hold.since)
    }
}

/// How long a claim is taken to run of which nothing is known: a year.
pub(super) const UNKNOWN_MS: u64 = 365 * 86_400_000;

pub(super) fn after(now: Timestamp, ms: u64) -> Timestamp {
    now + std::time::Duration::from_millis(ms)
}
