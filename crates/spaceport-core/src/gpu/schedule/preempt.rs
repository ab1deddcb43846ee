//! Making room for what is guaranteed: which borrowers have to leave.
//!
//! A lease is *borrowed*, seen from a sibling place, when the older leases of its own place alone use up that place's
//! guarantee. Only borrowed leases are told to leave. So whoever came in by a guarantee is, as the older of its place leave, only
//! ever better protected, and can never be told to leave by a claim that it displaced: that one's place would have to be within its
//! guarantee, and this one's beyond with this lease, which it was not when it began. While both are there that is also
//! recorded, for what began between the notice and the start.

use super::engine::{ClaimIx, Engine, number};
use super::tree::PlaceIx;
use crate::gpu::{Placement, Priority};
use crate::{ClaimId, Timestamp};

/// What a device that was freed and is not needed costs: as much lost work as if it had run so long.
const IDLE_COSTS_MS: u64 = 600_000;

/// Devices, and who has to leave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    pub placement: Placement,
    /// Those that are not leaving yet.
    pub victims: Vec<ClaimIx>,
}

/// What it costs: the highest class among those who leave, then the device time that is lost.
type Cost = (Option<Priority>, u64);

/// One lease on a node, as a candidate.
struct Candidate {
    ix: ClaimIx,
    /// It is leaving already.
    leaves: bool,
    key: (Priority, std::cmp::Reverse<Timestamp>, ClaimId),
    lost: u64,
}

impl Engine {
    /// The cheapest room for a guaranteed claim: lowest class first, then the least work lost, which among leases
    /// of one size is the most recently placed.
    pub(super) fn make_room(&self, ix: ClaimIx, now: Timestamp) -> Option<Room> {
        let mut best: Option<(Cost, u64, Room)> = None;
        for node in 0..number(self.cluster.nodes().len()) {
            if let Some((cost, room)) = self.room_on(node, ix, now) {
                let lot = self.cluster.nodes()[node as usize].lot;
                if best.as_ref().is_none_or(|(least, other, _)| (&cost, lot) < (least, *other)) {
                    best = Some((cost, lot, room));
                }
            }
        }
        best.map(|(_, _, room)| room)
    }

    fn room_on(&self, node: u32, ix: ClaimIx, now: Timestamp) -> Option<(Cost, Room)> {
        let state = &self.cluster.nodes()[node as usize];
        let entry = self.entry(ix);
        let shape = &entry.claim.shape;
        if !state.open || shape.devices == 0 {
            return None;
        }
        let kinds = &self.shapes[entry.shape as usize].kinds;
        let candidates = self.candidates(node, ix, now);
        let mut choices: Vec<(Cost, i32, u32, Vec<usize>)> = Vec::new();
        for (device, there) in (0..).zip(self.cluster.devices(node)) {
            if !there.open || !kinds[there.kind as usize] || self.is_held_fast(node, device) {
                continue;
            }
            let mut free = there.free_milli;
            let (mut cost, mut leaving): (Cost, Vec<usize>) = ((None, 0), Vec::new());
            for (number, candidate) in candidates.iter().enumerate() {
                if i64::from(free) >= i64::from(shape.milli) {
                    break;
                }
                let theirs = &self.entry(candidate.ix);
                if theirs.lease.as_ref().is_some_and(|leased| leased.placement.devices.contains(&device)) {
                    free = free.saturating_add(i32::try_from(theirs.claim.shape.milli).unwrap_or(i32::MAX));
                    leaving.push(number);
                    cost = candidate.added_to(cost);
                }
            }
            if i64::from(free) >= i64::from(shape.milli) {
                choices.push((cost, there.free_milli, device, leaving));
            }
        }
        if choices.len() < shape.devices as usize {
            return None;
        }
        choices.sort();
        choices.truncate(shape.devices as usize);
        let mut leaving: Vec<usize> = choices.iter().flat_map(|(_, _, _, leaving)| leaving.clone()).collect();
        leaving.sort_unstable();
        leaving.dedup();
        self.free_cpu(node, ix, &candidates, &mut leaving)?;
        let mut cost: Cost = (None, 0);
        let mut freed = 0_u64;
        for number in &leaving {
            cost = candidates[*number].added_to(cost);
            freed += self.entry(candidates[*number].ix).claim.shape.total_milli();
        }
        cost.1 = cost.1.saturating_add(freed.saturating_sub(shape.total_milli()).saturating_mul(IDLE_COSTS_MS));
        let victims = leaving.iter().map(|number| &candidates[*number]).filter(|one| !one.leaves).map(|one| one.ix);
        let mut devices: Vec<u32> = choices.iter().map(|(_, _, device, _)| *device).collect();
        devices.sort_unstable();
        let room = Room { placement: Placement { node, devices }, victims: victims.collect() };
        Some((cost, room))
    }

    /// Who on a node is leaving or may be told to, cheapest first.
    fn candidates(&self, node: u32, ix: ClaimIx, now: Timestamp) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = self.on_node[node as usize]
            .values()
            .filter_map(|theirs| {
                let entry = self.entry(*theirs);
                let leased = entry.lease.as_ref()?;
                let leaves = leased.lease.ends_by.is_some();
                if !leaves && !self.may_displace(ix, *theirs) {
                    return None;
                }
                let ran = u64::try_from(now.since(leased.lease.started_at).as_millis()).unwrap_or(u64::MAX);
                let lost = if leaves { 0 } else { ran.saturating_mul(entry.claim.shape.total_milli()) };
                let class = self.groups[entry.group as usize].class;
                let key = (class, std::cmp::Reverse(leased.lease.started_at), entry.claim.id);
                Some(Candidate { ix: *theirs, leaves, key, lost })
            })
            .collect();
        candidates.sort_by_key(|one| (!one.leaves, one.key));
        candidates
    }

    /// More have to leave when the devices are free but CPU or memory are short.
    fn free_cpu(&self, node: u32, ix: ClaimIx, candidates: &[Candidate], leaving: &mut Vec<usize>) -> Option<()> {
        let shape = &self.entry(ix).claim.shape;
        let state = &self.cluster.nodes()[node as usize];
        let (mut cpu, mut memory) = (i128::from(state.cpu_millicores), i128::from(state.memory_bytes));
        let add = |number: usize, cpu: &mut i128, memory: &mut i128| {
            let theirs = &self.entry(candidates[number].ix).claim.shape;
            *cpu += i128::from(theirs.cpu_millicores);
            *memory += i128::from(theirs.memory_bytes);
        };
        for number in leaving.iter() {
            add(*number, &mut cpu, &mut memory);
        }
        let enough = |cpu: i128, memory: i128| {
            cpu >= i128::from(shape.cpu_millicores) && memory >= i128::from(shape.memory_bytes)
        };
        for number in 0..candidates.len() {
            if enough(cpu, memory) {
                break;
            }
            if !leaving.contains(&number) {
                add(number, &mut cpu, &mut memory);
                leaving.push(number);
            }
        }
        enough(cpu, memory).then_some(())
    }

    /// Whether a waiting claim may have a lease told to leave: its own place is within its guarantee, and the
    /// lease is borrowed, both as seen from where their paths part.
    fn may_displace(&self, ix: ClaimIx, theirs: ClaimIx) -> bool {
        let (mine, other) = (self.entry(ix), self.entry(theirs));
        let milli = mine.claim.shape.total_milli();
        if other.claim.shape.devices == 0 || mine.displaced_by.contains(&other.claim.id) {
            return false;
        }
        let Some((my_place, their_place)) = self.tree.parting(mine.account, other.account) else { return false };
        self.tree.within_guarantee(my_place, milli) && self.is_borrowed(their_place, theirs)
    }

    /// Whether a lease is beyond what is guaranteed to a place it belongs to.
    pub(super) fn is_borrowed(&self, place: PlaceIx, ix: ClaimIx) -> bool {
        let guaranteed = self.tree.get(place).quota.guaranteed_milli;
        let Some(leases) = self.at_place.get(&place).filter(|_| guaranteed > 0) else { return true };
        let mut sum = 0_u64;
        for (_, id) in leases {
            let Some(other) = self.find(*id) else { continue };
            let entry = self.entry(other);
            if entry.lease.as_ref().is_some_and(|leased| leased.lease.ends_by.is_some()) {
                continue;
            }
            sum = sum.saturating_add(entry.claim.shape.total_milli());
            if sum > guaranteed {
                return true;
            }
            if other == ix {
                return false;
            }
        }
        true
    }
}

impl Candidate {
    fn added_to(&self, cost: Cost) -> Cost {
        if self.leaves {
            return cost;
        }
        (cost.0.max(Some(self.key.0)), cost.1.saturating_add(self.lost))
    }
}
