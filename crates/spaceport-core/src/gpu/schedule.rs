//! Who gets devices next: one decision, a function of values.
//!
//! Order: what is guaranteed and not yet used goes first; then the priority class; then those within their soft
//! budget; then the weighted dominant share of decayed use, level by level down the quota tree (as Slurm's Fair Tree
//! does: who is below a lighter place goes before everybody below a heavier one); then age.
//!
//! *Holds* are what makes waiting end. A claim that cannot start for want of room may be given devices that are
//! still in use: they are its own from then on, and it starts when the last of them is free. A guaranteed claim gets
//! its hold by telling borrowers to leave; the first claim of the queue and large claims get theirs where the leases
//! are expected to end soonest. Nobody else starts on held devices unless expected to be gone in time, and who is not
//! is told to leave. So backfill cannot delay whom it passes. A hold lasts (it is a value that comes back
//! in the next pass), since large claims starve when the promise is made anew each time.
//!
//! [`Engine`] keeps the indexes between passes and is told what changed; [`schedule`] makes one from values. Both
//! decide the same.

mod backfill;
mod decision;
mod engine;
mod explain;
mod hold;
mod order;
mod pass;
mod preempt;
mod promise;
mod reserve;
mod settle;
mod tree;
mod world;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use decision::{Constraint, Decision, Kept, Preemption, Start, Waiting};
pub use engine::{Engine, Event};
pub use world::{Carried, Hold, HoldFor, Notice, Policy, Promise, Reservation, Running, Spent, Used, World};

/// Decides from scratch.
#[must_use]
pub fn schedule(world: &World) -> Decision {
    Engine::new(world).pass(world.now)
}
