//! Devices that admins promised: drained in time, kept while somebody may come, given up when nobody does.

use super::decision::Decision;
use super::engine::{ClaimIx, Engine, number};
use super::hold::{HoldState, after};
use super::world::{HoldFor, Notice, Reservation};
use crate::gpu::Placement;
use crate::{ReservationId, Timestamp};
use std::time::Duration;

impl Engine {
    /// Reservations come and go.
    pub(super) fn settle_reservations(&mut self, now: Timestamp, decision: &mut Decision) {
        let ids: Vec<ReservationId> = self.reservations.keys().copied().collect();
        for id in ids {
            let Some(one) = self.reservations.get(&id).cloned() else { continue };
            let drains_from = one.from - Duration::from_millis(self.policy.drain_ahead_ms);
            let over = one.released || now >= one.until || now < drains_from;
            let hold = self.hold_of_reservation(id);
            if over {
                if let Some(hold) = hold {
                    self.drop_hold(hold);
                }
                continue;
            }
            let hold = match hold {
                Some(hold) if self.holds[hold].devices() == one.devices as usize => hold,
                other => {
                    if let Some(hold) = other {
                        self.drop_hold(hold);
                    }
                    let parts = self.choose(&one, now);
                    if parts.is_empty() {
                        continue;
                    }
                    self.holds.push(HoldState::new(HoldFor::Reservation(id), parts, now));
                    self.holds.len() - 1
                }
            };
            if now >= after(one.from, self.policy.no_show_ms) && !self.somebody_came(hold, &one) {
                self.drop_hold(hold);
                if let Some(state) = self.reservations.get_mut(&id) {
                    state.released = true;
                }
                decision.released.push(id);
                continue;
            }
            if now + Duration::from_millis(self.policy.grace_ms) >= one.from {
                self.clear_for(hold, &one, now, decision);
            }
            self.take_hold(hold, now);
        }
        while let Some(hold) = self.holds.iter().position(|hold| self.is_stale(hold)) {
            self.drop_hold(hold);
        }
    }

    fn is_stale(&self, hold: &HoldState) -> bool {
        matches!(hold.owner, HoldFor::Reservation(id) if !self.reservations.contains_key(&id))
    }

    /// The devices that are expected to be free soonest, on as few nodes as that allows.
    fn choose(&self, one: &Reservation, now: Timestamp) -> Vec<Placement> {
        let mut devices: Vec<(Timestamp, u64, u32, u32)> = Vec::new();
        for node in 0..number(self.cluster.nodes().len()) {
            let state = &self.cluster.nodes()[node as usize];
            for (device, there) in (0..).zip(self.cluster.devices(node)) {
                let model = &self.cluster.kinds()[there.kind as usize].model;
                let suits = one.models.is_empty() || one.models.contains(model);
                if state.open && there.open && suits && !self.is_held(node, device) {
                    let ready = self.on_node[node as usize]
                        .values()
                        .filter(|ix| self.is_on(**ix, device))
                        .map(|ix| self.expected_end(*ix, now, 0.5))
                        .max();
                    devices.push((ready.unwrap_or(now).max(one.from), state.lot, node, device));
                }
            }
        }
        if devices.len() < one.devices as usize {
            return Vec::new();
        }
        devices.sort_unstable();
        devices.truncate(one.devices as usize);
        let mut parts: Vec<Placement> = Vec::new();
        for (_, _, node, device) in devices {
            match parts.iter_mut().find(|part| part.node == node) {
                Some(part) => part.devices.push(device),
                None => parts.push(Placement { node, devices: vec![device] }),
            }
        }
        for part in &mut parts {
            part.devices.sort_unstable();
        }
        parts.sort_by_key(|part| part.node);
        parts
    }

    fn is_on(&self, ix: ClaimIx, device: u32) -> bool {
        self.entry(ix).lease.as_ref().is_some_and(|leased| leased.placement.devices.contains(&device))
    }

    fn belongs(&self, ix: ClaimIx, one: &Reservation) -> bool {
        self.tree.find(&one.place).is_some_and(|place| self.tree.is_below(self.entry(ix).account, place))
    }

    fn somebody_came(&self, hold: usize, one: &Reservation) -> bool {
        self.occupants(&self.holds[hold]).any(|ix| self.belongs(ix, one))
    }

    /// Who is on reserved devices and not of the place leaves when the time comes.
    fn clear_for(&mut self, hold: usize, one: &Reservation, now: Timestamp, decision: &mut Decision) {
        let leave: Vec<ClaimIx> = self
            .occupants(&self.holds[hold])
            .filter(|ix| !self.belongs(*ix, one))
            .filter(|ix| self.entry(*ix).lease.as_ref().is_some_and(|leased| leased.lease.ends_by.is_none()))
            .collect();
        let ends_by = one.from.max(after(now, self.policy.grace_ms));
        for ix in leave {
            self.tell_by(ix, ends_by, Notice::Reservation(one.id), decision);
        }
    }
}
