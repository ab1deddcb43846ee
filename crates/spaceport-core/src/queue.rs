//! Whose build is next: fairness per owner under a limit and under quotas, as a function of values.

use std::collections::HashMap;

use crate::gpu::{Allowance, Full, QuotaPath, QuotaTree};
use crate::{AccountId, BuildId, SpaceId, Timestamp};

/// A build that waits or runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Identity.
    pub build: BuildId,
    /// The Space: one build of it at a time.
    pub space: SpaceId,
    /// Whose turn it uses.
    pub owner: AccountId,
    /// Whose quota it counts against.
    pub account: QuotaPath,
    /// Asked for.
    pub queued_at: Timestamp,
    /// Runs already.
    pub running: bool,
}

/// What to do with the queue now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns {
    /// To start, in this order.
    pub start: Vec<BuildId>,
    /// Who waits for a quota and not for a free place; who comes later has it instead.
    pub held: Vec<(BuildId, Full)>,
}

/// The builds to start now, first the one of the owner with the fewest running builds, then the
/// oldest. At most `limit` run at once, as many as each place's quota allows, and one of each Space.
#[must_use]
pub fn next_builds(builds: &[Queued], limit: usize, quotas: &QuotaTree) -> Turns {
    let mut running: HashMap<AccountId, usize> = HashMap::new();
    let mut busy: Vec<SpaceId> = Vec::new();
    for build in builds.iter().filter(|build| build.running) {
        *running.entry(build.owner).or_default() += 1;
        busy.push(build.space);
    }
    let mut waiting: Vec<&Queued> = builds.iter().filter(|build| !build.running).collect();
    let mut at_work: Vec<&QuotaPath> = builds.iter().filter(|one| one.running).map(|one| &one.account).collect();
    let mut turns = Turns::default();
    loop {
        let turn = waiting
            .iter()
            .filter(|build| !busy.contains(&build.space))
            .min_by_key(|build| (running.get(&build.owner).copied().unwrap_or(0), build.queued_at, build.build));
        let Some(turn) = turn.copied() else { break };
        waiting.retain(|build| build.build != turn.build);
        if let Some(full) = full(quotas, &turn.account, &at_work) {
            // Also when no builder is free: one that became free would not help.
            turns.held.push((turn.build, full));
            continue;
        }
        if busy.len() >= limit {
            continue;
        }
        *running.entry(turn.owner).or_default() += 1;
        busy.push(turn.space);
        at_work.push(&turn.account);
        turns.start.push(turn.build);
    }
    turns
}

/// The place whose quota has no room for one more build of an account.
fn full(quotas: &QuotaTree, account: &QuotaPath, at_work: &[&QuotaPath]) -> Option<Full> {
    quotas
        .above(account)
        .filter_map(|(place, quota)| {
            let limit = quota.max_builds?;
            let has = at_work.iter().filter(|one| one.is_within(place)).count() as u64;
            (has >= limit).then(|| Full {
                place: place.clone(),
                what: Allowance::Builds,
                limit,
                has,
                in_buckets: 0,
                wanted: 1,
            })
        })
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Quota, QuotaNode};

    fn queued(build: u128, space: u128, owner: u128, at: i64, running: bool) -> Queued {
        let zero = Timestamp::from_millis(0);
        Queued {
            build: BuildId::new(zero, build),
            space: SpaceId::new(zero, space),
            owner: AccountId::new(zero, owner),
            account: QuotaPath(format!("lab/{owner}")),
            queued_at: Timestamp::from_millis(at),
            running,
        }
    }

    fn ids(builds: &[Queued], limit: usize) -> Vec<u128> {
        let zero = Timestamp::from_millis(0);
        let next = next_builds(builds, limit, &QuotaTree::default()).start;
        next.into_iter().map(|id| (0..100).find(|n| BuildId::new(zero, *n) == id).unwrap()).collect()
    }

    #[test]
    fn one_owner_cannot_keep_the_others_waiting() {
        let many: Vec<_> = (0..10u32).map(|n| queued(u128::from(n), u128::from(n), 1, i64::from(n), false)).collect();
        let mut builds = many;
        builds.push(queued(50, 50, 2, 100, false));
        assert_eq!(ids(&builds, 2), [0, 50], "the second place goes to the other owner");
        builds[0].running = true;
        assert_eq!(ids(&builds, 2), [50]);
        assert_eq!(ids(&builds, 1), Vec::<u128>::new());
    }

    #[test]
    fn who_has_as_many_builds_as_its_quota_allows_waits_and_keeps_nobody_waiting() {
        let quota = |max_builds| Quota { max_builds: Some(max_builds), ..Quota::default() };
        let place = |path: &str, most| QuotaNode { path: QuotaPath(path.to_owned()), quota: quota(most) };
        let quotas = QuotaTree::new([place("lab", 2), place("lab/1", 1)]).unwrap();
        let builds =
            [queued(1, 1, 1, 0, true), queued(2, 2, 1, 1, false), queued(3, 3, 2, 2, false), queued(4, 4, 3, 3, false)];
        let turns = next_builds(&builds, 10, &quotas);
        let id = |number| BuildId::new(Timestamp::from_millis(0), number);
        assert_eq!(turns.start, [id(3)]);
        let held: Vec<_> = turns.held.iter().map(|(build, full)| (*build, full.place.0.as_str(), full.limit)).collect();
        assert_eq!(held, [(id(4), "lab", 2), (id(2), "lab", 2)]);
        let told = turns.held[0].1.to_string();
        assert_eq!(told, "lab may build 2 at once and does; it begins when one of them ends");
        // It is told so also while no builder is free.
        let turns = next_builds(&builds, 1, &quotas);
        let held: Vec<_> = turns.held.iter().map(|(build, full)| (*build, full.place.0.as_str())).collect();
        assert_eq!((turns.start.len(), held), (0, vec![(id(2), "lab/1")]));
    }

    #[test]
    fn one_build_of_a_space_at_a_time() {
        let builds = [queued(1, 7, 1, 0, true), queued(2, 7, 1, 1, false), queued(3, 8, 1, 2, false)];
        assert_eq!(ids(&builds, 5), [3]);
    }
}
