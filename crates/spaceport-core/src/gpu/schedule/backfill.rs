//! Letting claims in on devices that are held for somebody else, while it still waits for others to leave them.

use super::engine::{ClaimIx, Engine};
use super::hold::{UNKNOWN_MS, after};
use super::world::HoldFor;
use crate::Timestamp;
use crate::gpu::Placement;

impl Engine {
    /// A place on held devices for a claim that is expected to be gone when they are needed, or that the hold is for.
    /// What the hold keeps is given back already: the caller takes it again, after placing the claim.
    pub(super) fn find_on_held(&mut self, ix: ClaimIx, now: Timestamp) -> Option<(usize, Placement)> {
        let entry = self.entry(ix);
        let (id, shape, account) = (entry.claim.id, entry.shape, entry.account);
        if entry.claim.shape.devices == 0 {
            return None;
        }
        let certainty = f64::from(self.policy.backfill_certainty_milli) / 1000.0;
        let gone = after(now, self.run_lengths.residual_ms(&entry.claim, 0, certainty).unwrap_or(UNKNOWN_MS));
        for hold in 0..self.holds.len() {
            let state = &self.holds[hold];
            let own = match state.owner {
                HoldFor::Claim(claim) => claim == id,
                HoldFor::Reservation(reservation) => self.reservations.get(&reservation).is_some_and(|one| {
                    let place = self.tree.find(&one.place);
                    (one.from..one.until).contains(&now)
                        && place.is_some_and(|place| self.tree.is_below(account, place))
                }),
            };
            if !own && (state.guaranteed || gone > state.ready) {
                continue;
            }
            self.give_back_hold(hold);
            let state = &self.holds[hold];
            let found = state.parts.iter().find_map(|part| {
                self.fit_on(part.node, shape, |device| {
                    part.devices.contains(&device) || !self.is_held(part.node, device)
                })
            });
            if let Some(placement) = found {
                return Some((hold, placement));
            }
            self.take_hold(hold, now);
        }
        None
    }
}
