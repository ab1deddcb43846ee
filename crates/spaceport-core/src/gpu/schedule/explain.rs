//! Why whoever waits does, what comes before it, and when it will start.

use std::collections::{HashMap, HashSet};

use super::decision::{Constraint, Kept, Waiting};
use super::engine::{ClaimIx, Engine, GroupIx, ShapeIx, number};
use super::world::HoldFor;
use crate::gpu::{QuotaPath, Shape};
use crate::{ClaimId, Timestamp};

impl Engine {
    /// A record for every claim that waits after [`Self::decide`] at this time, first come first.
    pub fn explain(&mut self, now: Timestamp) -> Vec<Waiting> {
        let mut waiting = Vec::with_capacity(self.waiting as usize);
        let plain = self.in_order(now, false);
        let before_when_free = self.come_before(&plain);
        let before = self.come_before(&self.guaranteed_first(plain));
        let turns = self.in_order(now, true);
        let turns = self.guaranteed_first(turns);
        let order = self.queue(&turns);
        let room = self.room_reasons(&order);
        let mut ahead_ms = 0.0;
        for (position, ix) in (0..).zip(order) {
            let entry = self.entry(ix);
            let (claim, milli) = (entry.claim.id, entry.claim.shape.total_milli());
            let hold = self.hold_of(claim);
            let mut because = self.tree.forbids(entry.account, milli);
            let leaving = hold.map(|hold| self.last_to_leave(hold, now));
            match (hold, leaving) {
                (Some(hold), Some(Some((_, by, true)))) if self.holds[hold].guaranteed => {
                    because.push(Constraint::Leaving { by });
                }
                _ => {
                    let mut room = room.get(&entry.shape).cloned().unwrap_or_default();
                    // What is kept for the claim itself does not stand in its way.
                    room.retain(
                        |one| !matches!(one, Constraint::Held(Kept::Claim { claim: other, .. }) if *other == claim),
                    );
                    // Without the claim that holds room, its guarantee is others' of its place.
                    let kept = room.iter().any(|one| matches!(one, Constraint::Held(Kept::Claim { .. })));
                    let by_order = before_when_free.get(&claim).filter(|_| kept);
                    because.append(&mut room);
                    if let Some((first, claims)) = before.get(&claim).or(by_order).copied() {
                        because.push(Constraint::Behind { first, claims });
                    }
                }
            }
            let freed_by = leaving.flatten().map(|(claim, _, _)| claim);
            let rank = self.rank_of(ix, now);
            let start = self.told(ix, ahead_ms, rank, now);
            ahead_ms += self.work_ms(ix);
            waiting.push(Waiting { claim, position, because, freed_by, start });
        }
        waiting
    }

    /// Who waits, in the order in which they are expected to start: those who have devices coming to them, by when these
    /// are free; then the rest in order, each charged with what it is expected to use when its turn has come; last those whom the
    /// quotas forbid it.
    fn queue(&self, turns: &[(ClaimId, GroupIx)]) -> Vec<ClaimIx> {
        let mut held: Vec<(bool, Timestamp, ClaimId)> = Vec::new();
        for hold in &self.holds {
            if let Some(claim) = hold.claim() {
                held.push((!hold.guaranteed, hold.ready, claim));
            }
        }
        held.sort_unstable();
        let mut order: Vec<ClaimIx> = held.iter().filter_map(|(_, _, claim)| self.find(*claim)).collect();
        let mut last = Vec::new();
        for (claim, _) in turns {
            let Some(ix) = self.find(*claim) else { continue };
            let entry = self.entry(ix);
            if !self.tree.allows(entry.account, entry.claim.shape.total_milli()) {
                last.push(ix);
            } else if self.hold_of(*claim).is_none() {
                order.push(ix);
            }
        }
        let forbidden: HashSet<ClaimIx> = last.iter().copied().collect();
        order.retain(|ix| !forbidden.contains(ix));
        order.append(&mut last);
        order
    }

    /// For each claim, who of those that it would have to pass is looked at first, and how many are looked at before it:
    /// whom the quotas allow to start, and whom the same place forbids it.
    fn come_before(&self, served: &[(ClaimId, GroupIx)]) -> HashMap<ClaimId, (ClaimId, u32)> {
        let mut before = HashMap::with_capacity(served.len());
        let mut allowed: Option<(ClaimId, u32)> = None;
        let mut forbidden: HashMap<Option<QuotaPath>, (ClaimId, u32)> = HashMap::new();
        for (claim, group) in served {
            let state = &self.groups[*group as usize];
            let forbids = self.tree.forbids(state.account, self.shapes[state.shape as usize].shape.total_milli());
            let by_place = forbids.iter().filter_map(|one| forbidden.get(&one.place().cloned()));
            if let Some(most) = by_place.chain(&allowed).max_by_key(|(_, claims)| *claims) {
                before.insert(*claim, *most);
            }
            // What is not lent becomes less when there are more devices: then these come, too.
            if forbids.iter().all(|one| matches!(one, Constraint::NotLent { .. })) {
                let (first, claims) = allowed.unwrap_or((*claim, 0));
                allowed = Some((first, claims + 1));
            }
            for one in &forbids {
                forbidden.entry(one.place().cloned()).or_insert((*claim, 0)).1 += 1;
            }
        }
        before
    }

    /// Who leaves a hold's devices last, by when, and whether that is certain.
    fn last_to_leave(&self, hold: usize, now: Timestamp) -> Option<(ClaimId, Timestamp, bool)> {
        self.occupants(&self.holds[hold])
            .map(|ix| {
                let entry = self.entry(ix);
                let told = entry.lease.as_ref().and_then(|leased| leased.lease.ends_by);
                (told.unwrap_or_else(|| self.expected_end(ix, now, 0.5)), entry.claim.id, told.is_some())
            })
            .max()
            .map(|(by, claim, told)| (claim, by, told))
    }

    /// For each shape that waits, what stands in its way on the nodes.
    fn room_reasons(&mut self, order: &[ClaimIx]) -> HashMap<ShapeIx, Vec<Constraint>> {
        let mut shapes: Vec<ShapeIx> = order.iter().map(|ix| self.entry(*ix).shape).collect();
        shapes.sort_unstable();
        shapes.dedup();
        let open: Vec<bool> = shapes.iter().map(|shape| self.fits(*shape)).collect();
        let holds: Vec<bool> = self.holds.iter().map(super::hold::HoldState::is_taken).collect();
        let mut reasons = HashMap::with_capacity(shapes.len());
        let kept = self.kept_reasons();
        self.give_back_holds();
        for (shape, open) in shapes.into_iter().zip(open) {
            let because = if open {
                Vec::new()
            } else if self.fits(shape) {
                kept.clone()
            } else {
                vec![self.no_room(shape)]
            };
            reasons.insert(shape, because);
        }
        for (hold, taken) in holds.into_iter().enumerate() {
            if taken {
                self.retake_hold(hold);
            }
        }
        reasons
    }

    fn fits(&self, shape: ShapeIx) -> bool {
        let state = &self.shapes[shape as usize];
        (0..number(self.cluster.nodes().len())).any(|node| self.cluster.fits_on(node, &state.shape, &state.kinds))
    }

    fn kept_reasons(&self) -> Vec<Constraint> {
        let kept = |hold: &super::hold::HoldState| match hold.owner {
            HoldFor::Claim(claim) => Some(Kept::Claim { claim, expected: hold.ready }),
            HoldFor::Reservation(reservation) => {
                let one = self.reservations.get(&reservation)?;
                Some(Kept::Reservation { reservation, from: one.from, until: one.until })
            }
        };
        self.holds.iter().filter_map(kept).map(Constraint::Held).collect()
    }

    /// Why a shape fits on no node, were nothing kept for anybody.
    fn no_room(&self, shape: ShapeIx) -> Constraint {
        let state = &self.shapes[shape as usize];
        let Shape { cpu_millicores, memory_bytes, devices, milli, .. } = state.shape;
        let (mut most, mut in_service, mut suitable) = (0, 0, 0);
        let (mut free_devices, mut possible) = (0, false);
        let mut cpu: Option<(i64, Constraint)> = None;
        let mut memory: Option<(i64, Constraint)> = None;
        for (number, node) in (0..).zip(self.cluster.nodes()) {
            let suits = |device: &&crate::gpu::DeviceState| state.kinds[device.kind as usize];
            let all = count(self.cluster.devices(number).iter().filter(suits));
            let open =
                count(self.cluster.devices(number).iter().filter(suits).filter(|device| node.open && device.open));
            let roomy = covers(node.cpu_capacity_millicores, cpu_millicores)
                && covers(node.memory_capacity_bytes, memory_bytes);
            most = most.max(if roomy { all } else { 0 });
            possible |= node.open && roomy && open >= devices;
            suitable += all;
            in_service += open;
            let room =
                |device: &&crate::gpu::DeviceState| device.open && i64::from(device.free_milli) >= i64::from(milli);
            let free = count(self.cluster.devices(number).iter().filter(suits).filter(room));
            if !node.open {
                continue;
            }
            free_devices = free_devices.max(free);
            if free < devices || !roomy {
                continue;
            }
            let name = node.name.clone();
            let missing = i64::try_from(cpu_millicores).unwrap_or(i64::MAX).saturating_sub(node.cpu_millicores);
            if missing > 0 && cpu.as_ref().is_none_or(|(least, _)| missing < *least) {
                let free_millicores = u64::try_from(node.cpu_millicores).unwrap_or(0);
                let constraint = Constraint::NodeCpu { node: name, free_millicores, wanted_millicores: cpu_millicores };
                cpu = Some((missing, constraint));
            } else if missing <= 0 {
                let missing = i64::try_from(memory_bytes).unwrap_or(i64::MAX).saturating_sub(node.memory_bytes);
                let free_bytes = u64::try_from(node.memory_bytes).unwrap_or(0);
                if memory.as_ref().is_none_or(|(least, _)| missing < *least) {
                    memory =
                        Some((missing, Constraint::NodeMemory { node: name, free_bytes, wanted_bytes: memory_bytes }));
                }
            }
        }
        if most < devices || (devices == 0 && !possible) {
            Constraint::NoSuchNode { devices, most }
        } else if !possible {
            Constraint::Drained { devices: suitable - in_service }
        } else if let Some((_, constraint)) = cpu.or(memory) {
            constraint
        } else {
            Constraint::NoDeviceFree { devices, milli, suitable: in_service, most: free_devices }
        }
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    number(items.count())
}

fn covers(all: i64, wanted: u64) -> bool {
    i64::try_from(wanted).is_ok_and(|wanted| wanted <= all)
}
