//! The reconciler of hardware: gives leases, tells them to end, ends them.
//!
//! It takes no input: it looks at devices, quotas, claims, leases and containers, asks the scheduler, and writes what
//! follows. Rows come first: a container starts only with a lease that is written, and a lease ends only when nothing
//! runs on it any more. The workers of the Spaces start and stop what runs.

mod demand;
mod ends;
mod idle;
mod past;
mod recorded;
mod there;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use spaceport_core::gpu::schedule::{self, Carried, Decision};
use spaceport_core::gpu::{Ending, Lease, LeaseEnd, Notice, NoticeKind, QuotaNode, QuotaTree, Reservation, Wait};
use spaceport_core::{ClaimId, Generation, SpaceId, Timestamp};
use spaceport_store::{NewLease, StoreError, StoredClaim, StoredLease};
use tokio_util::sync::CancellationToken;

use crate::engine::chain;
use crate::handle::TaskStatus;
use crate::spaces::Parts;

pub use demand::spent;
use past::Past;
pub use recorded::{Recorded, recorded};
use there::There;

/// Everything is looked at this often, whatever was signalled.
const TICK: Duration = Duration::from_secs(5);
/// A decision that came too late is made again after this.
const AGAIN: Duration = Duration::from_millis(250);
/// What the scheduler says of a claim is written again so often, even if only the expected time is another.
const REFRESH: Duration = Duration::from_secs(60);
/// Old notices are removed so often.
const FORGET: Duration = Duration::from_secs(3600);
/// Notices are kept so long.
const KEEP_NOTICES: Duration = Duration::from_secs(90 * 24 * 3600);

/// The reconciler.
#[derive(Debug, Clone)]
pub struct Hardware {
    parts: Parts,
    memory: Arc<Mutex<Memory>>,
}

/// What this process remembers from one pass to the next; another one begins without it.
#[derive(Debug, Default)]
struct Memory {
    there: there::Memory,
    idle: idle::Memory,
    past: Option<Past>,
    forgot_at: Option<Timestamp>,
    carried: Option<Carried>,
}

/// What is, read in this order: generations first, so that a decision on what has changed since is refused.
struct Seen {
    now: Timestamp,
    there: There,
    quotas: QuotaTree,
    claims: Vec<StoredClaim>,
    leases: Vec<StoredLease>,
    reservations: Vec<Reservation>,
    carried: Carried,
}

impl Hardware {
    /// A reconciler that does nothing until it runs.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts, memory: Arc::default() }
    }

    /// Runs until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        let control = &self.parts.control;
        let mut devices = control.inventory().subscribe();
        loop {
            let began = Instant::now();
            let result = self.pass().await;
            let (ok, message, again) = match result {
                Ok((message, again)) => (true, message, again),
                Err(error) => (false, chain(&error), None),
            };
            let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let at = control.clock().now();
            control.report("hardware", TaskStatus { ok, message, at, duration_ms });
            let pause = again.map_or(TICK, |again| again.since(at).clamp(Duration::from_millis(20), TICK));
            tokio::select! {
                () = stop.cancelled() => return,
                () = control.clock().sleep(pause) => {}
                () = control.hardware_woken() => {}
                // The sender lives as long as the handle.
                _ = devices.changed() => {}
            }
        }
    }

    /// Looks at everything and does what is missing. Says what it saw, and when to look again.
    async fn pass(&self) -> Result<(String, Option<Timestamp>), StoreError> {
        let Some(mut seen) = self.look().await? else { return Ok(("no machine is known yet".to_owned(), None)) };
        self.end_leases(&mut seen).await?;
        self.tell_idle(&mut seen).await?;
        let decision = self.decide(&seen).await?;
        let (given, refused) = self.act(&seen, &decision).await?;
        let forget = self.with_memory(|memory| {
            let is_due = memory.forgot_at.is_none_or(|at| seen.now.since(at) >= FORGET);
            memory.forgot_at = if is_due { Some(seen.now) } else { memory.forgot_at };
            is_due
        });
        if forget {
            self.parts.store.notices_forget(seen.now - KEEP_NOTICES).await?;
        }
        let (leases, waiting) = (seen.leases.len() + given, decision.waiting.len());
        // What changed between the look and the writing is looked at again.
        let again = if refused > 0 { Some(seen.now + AGAIN) } else { decision.look_again };
        Ok((format!("{leases} leases, {waiting} waiting"), again))
    }

    async fn look(&self) -> Result<Option<Seen>, StoreError> {
        let Parts { store, control, .. } = &self.parts;
        let now = control.clock().now();
        let Some(there) = self.see_devices(now).await? else { return Ok(None) };
        let (_, places) = store.quotas().await?;
        let nodes = places.into_iter().map(|place| QuotaNode { path: place.path, quota: place.quota });
        let quotas = QuotaTree::new(nodes).unwrap_or_else(|problems| {
            // It was checked when it was written; whatever came of it, nothing is guaranteed and nothing refused.
            tracing::error!("the quota tree contradicts itself and is not used: {problems:?}");
            QuotaTree::default()
        });
        let (claims, leases) = (store.claims_live().await?, store.leases_live().await?);
        let reservations = store.reservations(now).await?.into_iter().map(|stored| {
            let reservation = stored.reservation;
            // Nobody could come while the server was down: who may come is waited for from when it is up again.
            Reservation { from: reservation.from.max(control.began_at()), ..reservation }
        });
        let reservations = reservations.collect();
        let carried = match self.with_memory(|memory| memory.carried.clone()) {
            Some(carried) => carried,
            None => match store.carried().await {
                Ok(carried) => carried.unwrap_or_default(),
                // What another version of the program wrote is worth one decision.
                Err(StoreError::Corrupt { .. }) => Carried::default(),
                Err(error) => return Err(error),
            },
        };
        Ok(Some(Seen { now, there, quotas, claims, leases, reservations, carried }))
    }

    /// Asks the scheduler, and keeps what it wants to know the next time.
    async fn decide(&self, seen: &Seen) -> Result<Decision, StoreError> {
        let mut world = self.world(seen).await?;
        self.parts.control.set_world(world.clone());
        // Who was not there before is told to it one by one: it learns how much overtakes others.
        let waited = seen.claims.iter().filter(|claim| claim.again.is_some()).map(|claim| claim.claim.id);
        let waited: BTreeSet<ClaimId> = waited.chain(world.promises.iter().map(|promise| promise.claim)).collect();
        let (mut new, known) = world.waiting.drain(..).partition::<Vec<_>, _>(|claim| !waited.contains(&claim.id));
        world.waiting = known;
        new.sort_by_key(|claim| (claim.submitted_at, claim.id));
        let mut engine = schedule::Engine::new(&world);
        for claim in new {
            engine.apply(seen.now, schedule::Event::Submitted(claim));
        }
        let decision = engine.pass(seen.now);
        let carried = Carried::from(engine.world(seen.now));
        if carried != seen.carried {
            self.parts.store.carried_set(&carried, seen.now).await?;
        }
        self.with_memory(|memory| memory.carried = Some(carried));
        Ok(decision)
    }

    /// Writes what was decided. Says how many leases were given, and how many came too late.
    async fn act(&self, seen: &Seen, decision: &Decision) -> Result<(usize, usize), StoreError> {
        let Parts { store, .. } = &self.parts;
        for claim in &decision.lost {
            if let Some(lease) = seen.leases.iter().find(|lease| lease.lease.claim == *claim) {
                self.lose(seen, lease).await?;
            }
        }
        for reservation in &decision.released {
            store.reservation_release(*reservation, seen.now).await?;
        }
        for claim in &decision.kept {
            if let Some(lease) = seen.leases.iter().find(|lease| lease.lease.claim == *claim) {
                self.keep(lease, seen.now, "It keeps its hardware after all.").await?;
            }
        }
        for preemption in &decision.preemptions {
            let why = match preemption.notice {
                schedule::Notice::Budget(_) => LeaseEnd::BudgetSpent,
                _ => LeaseEnd::Preempted,
            };
            let ending = Ending { why, told_at: seen.now, by: preemption.ends_by };
            if let Some(lease) = seen.leases.iter().find(|lease| lease.lease.claim == preemption.claim) {
                self.tell(lease, ending, Some(&preemption.notice)).await?;
            }
        }
        let starts = self.start(seen, decision).await?;
        self.say_why(seen, decision).await?;
        Ok(starts)
    }

    async fn start(&self, seen: &Seen, decision: &Decision) -> Result<(usize, usize), StoreError> {
        let Parts { store, control, config, .. } = &self.parts;
        let mut generations: BTreeMap<_, Generation> = seen.there.generations.clone();
        let (mut given, mut refused) = (0, 0);
        for start in &decision.starts {
            let Some(claim) = seen.claims.iter().find(|claim| claim.claim.id == start.claim) else { continue };
            // Who lost its device starts on another one when nothing runs on the lost one any more.
            if seen.leases.iter().any(|lease| lease.lease.claim == start.claim) {
                continue;
            }
            let Some(node) = generations.get(&start.node).copied() else { continue };
            let Some(space) = store.space_by_id(claim.claim.space).await? else { continue };
            let name = space.name.to_string();
            let lease = Lease {
                id: control.clock().lease_id(),
                claim: claim.claim.id,
                node: start.node.clone(),
                devices: start.devices.clone(),
                started_at: seen.now,
                ends_by: None,
            };
            let weights = start.devices.iter().map(|leased| {
                let model = seen.there.model(&leased.device);
                (leased.device.clone(), config.gpu.weight(model))
            });
            let new = NewLease { lease: &lease, claim, space_name: &name, node, weights: &weights.collect() };
            if store.lease_take(&new).await? {
                generations.insert(start.node.clone(), Generation(node.0 + 1));
                given += 1;
                tracing::info!(
                    space.id = %space.id, lease.id = %lease.id, node = %lease.node,
                    "{name} has its hardware: {} on {}", claim.claim.flavor, lease.node
                );
                control.activate_quietly(space.id);
            } else {
                refused += 1;
            }
        }
        Ok((given, refused))
    }

    /// Keeps why each claim waits, where that is another than before.
    async fn say_why(&self, seen: &Seen, decision: &Decision) -> Result<(), StoreError> {
        let Parts { store, control, .. } = &self.parts;
        let claims: BTreeMap<ClaimId, &StoredClaim> = seen.claims.iter().map(|claim| (claim.claim.id, claim)).collect();
        for waiting in &decision.waiting {
            let Some(claim) = claims.get(&waiting.claim) else { continue };
            let wait = Wait::from(waiting);
            let before = claim.decision::<Wait>().ok().flatten();
            let is_old = claim.decided_at.is_none_or(|at| seen.now.since(at) >= REFRESH);
            let same = before.as_ref().is_some_and(|before| {
                before.position == wait.position
                    && before.because.first() == wait.because.first()
                    && before.start.is_some() == wait.start.is_some()
            });
            if before.as_ref() == Some(&wait) || (same && !is_old) {
                continue;
            }
            if store.claim_decide(claim.claim.id, claim.generation, &wait, seen.now).await? {
                control.activate_quietly(claim.claim.space);
            }
        }
        Ok(())
    }

    /// Tells a lease to end, and its owner.
    async fn tell(
        &self,
        lease: &StoredLease,
        ending: Ending,
        sake: Option<&schedule::Notice>,
    ) -> Result<(), StoreError> {
        let Parts { store, control, .. } = &self.parts;
        let kind = match ending.why {
            LeaseEnd::Reclaimed => NoticeKind::Idle,
            LeaseEnd::BudgetSpent => NoticeKind::Budget,
            LeaseEnd::DeviceLost | LeaseEnd::NodeLost => NoticeKind::Lost,
            _ => NoticeKind::Preemption,
        };
        let message = format!("{} It ends by {}.", ending.why.notice(), ending.by);
        let notice = self.notice(lease, kind, message, Some(ending.by));
        if store.lease_tell(lease.lease.id, ending, sake, &notice).await? {
            let name = &lease.space_name;
            tracing::info!(space.id = %lease.space, lease.id = %lease.lease.id, "{name}: {}", notice.message);
            control.activate_webhooks();
            control.activate_quietly(lease.space);
        }
        Ok(())
    }

    /// Takes back that a lease was told to end, and tells its owner why; `false` when its time is over.
    async fn keep(&self, lease: &StoredLease, now: Timestamp, message: &str) -> Result<bool, StoreError> {
        let Parts { store, control, .. } = &self.parts;
        let notice = self.notice(lease, NoticeKind::Kept, message.to_owned(), None);
        let is_kept = store.lease_keep(lease.lease.id, now, &notice).await?;
        if is_kept {
            control.activate_webhooks();
            control.activate_quietly(lease.space);
        }
        Ok(is_kept)
    }

    fn notice(&self, lease: &StoredLease, kind: NoticeKind, message: String, due_at: Option<Timestamp>) -> Notice {
        let clock = self.parts.control.clock();
        let (space, account) = (lease.space, lease.account.clone());
        Notice { id: clock.notice_id(), space, account, at: clock.now(), kind, message, due_at }
    }

    fn with_memory<T>(&self, with: impl FnOnce(&mut Memory) -> T) -> T {
        with(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Seen {
    fn has_claim(&self, space: SpaceId) -> bool {
        self.claims.iter().any(|claim| claim.claim.space == space)
    }
}
