//! What a change would do, before it is made: the scheduler decides in a world as it is and in one as it would be.

mod replay;

use std::collections::BTreeMap;

use super::schedule::{Notice, Spent, World, schedule};
use super::{Claim, QuotaTree, Wait};
use crate::{ClaimId, Timestamp};

pub use replay::{Demand, Fared, replay};

/// What becomes of a claim in one pass.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It keeps what it has.
    Runs,
    /// It has to leave.
    Leaves {
        /// By when.
        by: Timestamp,
        /// For whom, where the scheduler said so.
        notice: Option<Notice>,
    },
    /// It gets its devices at once.
    Starts,
    /// It waits.
    Waits(Wait),
}

/// A claim of which something else would become.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Whose.
    pub claim: Claim,
    /// As it is.
    pub before: Outcome,
    /// As it would be.
    pub after: Outcome,
}

/// Who would fare differently with other quotas, in the order of identities. `spent` is what the places of these
/// quotas have used of their budgets.
#[must_use]
pub fn with_quotas(world: &World, quotas: QuotaTree, spent: Vec<Spent>) -> Vec<Difference> {
    // What somebody was promised before would hide what they would be promised now.
    let now = World { promises: Vec::new(), ..world.clone() };
    let then = World { quotas, spent, ..now.clone() };
    let (before, mut after) = (outcomes(&now), outcomes(&then));
    let claims = world.waiting.iter().chain(world.running.iter().map(|running| &running.claim));
    let claims: BTreeMap<ClaimId, &Claim> = claims.map(|claim| (claim.id, claim)).collect();
    let differs = |(id, before): (ClaimId, Outcome)| {
        let after = after.remove(&id)?;
        let claim = (*claims.get(&id)?).clone();
        (before != after).then_some(Difference { claim, before, after })
    };
    before.into_iter().filter_map(differs).collect()
}

fn outcomes(world: &World) -> BTreeMap<ClaimId, Outcome> {
    let decision = schedule(world);
    let mut outcomes = BTreeMap::new();
    for running in &world.running {
        let is_kept = decision.kept.contains(&running.claim.id);
        let outcome = match running.lease.ends_by.filter(|_| !is_kept) {
            Some(by) => Outcome::Leaves { by, notice: running.notice.clone() },
            None => Outcome::Runs,
        };
        outcomes.insert(running.claim.id, outcome);
    }
    for preemption in decision.preemptions {
        let outcome = Outcome::Leaves { by: preemption.ends_by, notice: Some(preemption.notice) };
        outcomes.insert(preemption.claim, outcome);
    }
    for start in decision.starts {
        outcomes.insert(start.claim, Outcome::Starts);
    }
    for waiting in &decision.waiting {
        outcomes.insert(waiting.claim, Outcome::Waits(Wait::from(waiting)));
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{
        Device, DeviceHealth, DeviceId, Lease, LeasedDevice, Node, NodeName, Priority, Quota, QuotaNode, QuotaPath,
        Shape,
    };
    use crate::{FlavorName, LeaseId, SpaceId};

    pub(super) fn claim(number: u128, account: &str) -> Claim {
        let at = Timestamp::from_millis(1000);
        Claim {
            id: ClaimId::new(at, number),
            space: SpaceId::new(at, number),
            account: QuotaPath(account.to_owned()),
            flavor: FlavorName("a100".to_owned()),
            shape: Shape {
                cpu_millicores: 1000,
                memory_bytes: 1 << 30,
                devices: 1,
                milli: 1000,
                models: Vec::new(),
                min_device_memory_bytes: 0,
            },
            priority: Priority::Normal,
            submitted_at: at,
            limit_ms: None,
        }
    }

    /// One device, which bob has; alice waits for it.
    pub(super) fn world() -> World {
        let device = Device {
            id: DeviceId("GPU-0".to_owned()),
            index: 0,
            model: "A100".to_owned(),
            memory_bytes: 80 << 30,
            slice_of: None,
            health: DeviceHealth::Healthy,
        };
        let node = Node {
            name: NodeName("box".to_owned()),
            cpu_millicores: 8000,
            memory_bytes: 64 << 30,
            devices: vec![device],
            cordoned: false,
        };
        let claim_of_bob = claim(1, "~bob");
        let lease = Lease {
            id: LeaseId::new(Timestamp::from_millis(1000), 1),
            claim: claim_of_bob.id,
            node: node.name.clone(),
            devices: vec![LeasedDevice { device: DeviceId("GPU-0".to_owned()), milli: 1000 }],
            started_at: Timestamp::from_millis(1000),
            ends_by: None,
        };
        World {
            now: Timestamp::from_millis(5000),
            nodes: vec![node],
            waiting: vec![claim(2, "~alice")],
            running: vec![super::super::schedule::Running { claim: claim_of_bob, lease, notice: None }],
            ..World::default()
        }
    }

    #[test]
    fn a_guarantee_says_who_would_have_to_leave_for_whom() {
        let quota = Quota { guaranteed_milli: 1000, ..Quota::default() };
        let node = QuotaNode { path: QuotaPath("~alice".to_owned()), quota };
        let differences = with_quotas(&world(), QuotaTree::new([node]).unwrap(), Vec::new());
        let [bob, alice] = differences.as_slice() else { panic!("{differences:?}") };
        assert_eq!((bob.claim.account.0.as_str(), &bob.before), ("~bob", &Outcome::Runs));
        let Outcome::Leaves { notice, .. } = &bob.after else { panic!("{bob:?}") };
        assert_eq!(*notice, Some(Notice::Guarantee(alice.claim.id)));
        assert!(matches!((&alice.before, &alice.after), (Outcome::Waits(_), Outcome::Waits(_))), "{alice:?}");
    }

    #[test]
    fn the_same_quotas_change_nothing() {
        assert_eq!(with_quotas(&world(), QuotaTree::default(), Vec::new()), []);
    }
}
