//! A Space's hardware as its worker sees it: claim, lease, whether it sleeps.
//!
//! The worker makes and ends the claim; the lease is given and taken back by the reconciler of hardware.

use spaceport_core::gpu::{Claim, LeaseEnd, Priority, QuotaPath, QuotaTree, Wait, wait};
use spaceport_core::plan::{Asleep, HardwareSeen, HardwareWait, IdleSeen, ReleaseSeen};
use spaceport_core::space::{Artifact, Release, Space};
use spaceport_core::{FlavorName, ReleaseId, SpaceId};
use spaceport_store::{StoreError, StoredClaim, StoredLease};

use super::observe::Seen;
use super::{Parts, Spaces, WorkError};
use crate::config::ControlConfig;

/// The flavor a release needs a lease of; `None` for files, and for CPU and memory that are not counted.
pub(super) fn needs(config: &ControlConfig, release: &Release) -> Option<FlavorName> {
    if matches!(release.artifact, Artifact::Files { .. }) {
        return None;
    }
    let flavor = config.hardware.get(&release.hardware)?;
    (flavor.gpu.is_some() || config.capacity.cpu_flavors).then(|| release.hardware.clone())
}

/// What a Space has, or why it cannot have what its release needs.
pub(super) async fn seen(
    parts: &Parts,
    space: SpaceId,
    wanted: Option<&ReleaseSeen>,
) -> Result<HardwareSeen, StoreError> {
    let claim = parts.store.claim_of(space).await?;
    if let Some(lease) = parts.store.lease_of(space).await? {
        let claimed = claim.is_some_and(|claim| claim.claim.id == lease.lease.claim);
        return Ok(HardwareSeen::Leased { flavor: lease.flavor, claimed, ending: lease.ending });
    }
    if let Some(claim) = claim {
        return Ok(HardwareSeen::Waiting(waiting(&claim)));
    }
    let known = parts.control.inventory().known();
    let flavor = wanted.and_then(|wanted| wanted.needs.as_ref()).and_then(|name| parts.config.hardware.get(name));
    if let Some(flavor) = flavor
        && !known.nodes.is_empty()
        && let Err(why) = flavor.shape(&known.nodes)
    {
        let why = format!("This site cannot give it {}: {why}.", flavor.pretty_name);
        return Ok(HardwareSeen::Impossible { why });
    }
    Ok(HardwareSeen::None)
}

fn waiting(stored: &StoredClaim) -> HardwareWait {
    let claim = &stored.claim;
    // What another version of the program wrote is decided anew in a moment.
    let wait = stored.decision::<Wait>().ok().flatten();
    HardwareWait {
        flavor: claim.flavor.clone(),
        what: wait::what(&claim.shape, &claim.flavor),
        since: claim.submitted_at,
        // Visitors of the app read it: the numbers of an account are for `/queue` to tell those who may know them.
        reason: wait.as_ref().map(Wait::reason_for_others),
        position: wait.as_ref().map(|wait| wait.position),
        starts: wait.and_then(|wait| wait.start).map(|start| (start.from_90, start.until_90)),
        again: stored.again.map(|again| (again.why, again.since)),
    }
}

/// Whether anybody uses it, and when it may sleep.
pub(super) fn idle(parts: &Parts, space: &Space) -> IdleSeen {
    let seconds = space.desired.sleep_after_s.and_then(|seconds| u64::try_from(seconds).ok());
    IdleSeen {
        last_used: parts.control.last_used(space.id),
        watched_since: Some(parts.control.began_at()),
        sleep_after: seconds.filter(|seconds| *seconds > 0).map(std::time::Duration::from_secs),
    }
}

impl Spaces {
    /// Asks for the hardware of a release.
    pub(super) async fn claim(&self, seen: &Seen, release: ReleaseId) -> Result<(), WorkError> {
        let Parts { store, control, config, .. } = &self.parts;
        let Some(release) = seen.release(release) else { return Ok(()) };
        let Some(flavor) = config.hardware.get(&release.hardware) else { return Ok(()) };
        let known = control.inventory().known();
        // What cannot be is seen, and told, with the next look at it; nothing is known before the engine answers.
        let Ok(shape) = flavor.shape(&known.nodes) else { return Ok(()) };
        let space = &seen.space;
        // Whoever owns or made a Space is there as long as the Space is.
        let Some(account) = store.quota_path(space.owner, space.creator).await? else { return Ok(()) };
        let now = control.clock().now();
        let claim = Claim {
            id: control.clock().claim_id(),
            space: space.id,
            priority: highest(&self.parts, &account).await?.min(Priority::Normal),
            account,
            flavor: release.hardware.clone(),
            shape,
            submitted_at: now,
            limit_ms: None,
        };
        store.claim_add(&claim).await?;
        control.activate_hardware();
        Ok(())
    }

    /// Says that the hardware is not wanted any more.
    pub(super) async fn end_claim(&self, seen: &Seen, why: LeaseEnd) -> Result<(), WorkError> {
        let Parts { store, control, .. } = &self.parts;
        if let Some(claim) = store.claim_of(seen.space.id).await? {
            store.claim_end(claim.claim.id, why, control.clock().now()).await?;
        }
        control.activate_hardware();
        Ok(())
    }

    /// Puts the Space to sleep: from now on its worker stops what runs.
    pub(super) async fn sleep(&self, seen: &Seen, release: ReleaseId, why: LeaseEnd) -> Result<(), WorkError> {
        let since = self.parts.control.clock().now();
        let asleep = Asleep { release, restart: seen.space.desired.restart, since, why };
        tracing::info!(space.id = %seen.space.id, "{} falls asleep: {}", seen.space.name, why.sentence());
        self.parts.store.asleep_set(seen.space.id, &asleep).await?;
        self.parts.control.set_sleeper(seen.space.id, true);
        Ok(())
    }

    pub(super) async fn wake(&self, seen: &Seen) -> Result<(), WorkError> {
        self.parts.store.awake(seen.space.id).await?;
        self.parts.control.set_sleeper(seen.space.id, false);
        Ok(())
    }

    /// The lease a release may run on now. From here on nobody ends it who saw it unused.
    pub(super) async fn lease_for(&self, seen: &Seen, release: &Release) -> Result<Option<StoredLease>, WorkError> {
        let store = &self.parts.store;
        let Some(flavor) = needs(&self.parts.config, release) else { return Ok(None) };
        let lease = store.lease_of(seen.space.id).await?.filter(|lease| lease.flavor == flavor);
        match lease {
            Some(lease) if store.lease_use(lease.lease.id).await? => Ok(Some(lease)),
            _ => Ok(None),
        }
    }

    /// Whether a release may not run without a lease.
    pub(super) fn needs_lease(&self, release: &Release) -> bool {
        needs(&self.parts.config, release).is_some()
    }
}

/// The highest class an account may have: no place above it may forbid it.
async fn highest(parts: &Parts, account: &QuotaPath) -> Result<Priority, StoreError> {
    let (_, places) = parts.store.quotas().await?;
    let nodes = places.into_iter().map(|place| spaceport_core::gpu::QuotaNode { path: place.path, quota: place.quota });
    // A tree that contradicts itself was refused when it was written.
    let tree = QuotaTree::new(nodes).unwrap_or_default();
    let mut highest = tree.quota(account).max_priority;
    let mut above = account.parent();
    while let Some(place) = above {
        highest = highest.min(tree.quota(&place).max_priority);
        above = place.parent();
    }
    Ok(highest)
}
