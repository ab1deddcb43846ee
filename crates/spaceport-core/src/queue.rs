//! Whose build is next: fairness per owner under a limit, as a function of values.

use std::collections::HashMap;

use crate::{AccountId, BuildId, SpaceId, Timestamp};

/// A build that waits or runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// Identity.
    pub build: BuildId,
    /// The Space: one build of it at a time.
    pub space: SpaceId,
    /// Whose turn it uses.
    pub owner: AccountId,
    /// Asked for.
    pub queued_at: Timestamp,
    /// Runs already.
    pub running: bool,
}

/// The builds to start now, first the one of the owner with the fewest running builds, then the
/// oldest. At most `limit` run at once, and one of each Space.
#[must_use]
pub fn next_builds(builds: &[Queued], limit: usize) -> Vec<BuildId> {
    let mut running: HashMap<AccountId, usize> = HashMap::new();
    let mut busy: Vec<SpaceId> = Vec::new();
    for build in builds.iter().filter(|build| build.running) {
        *running.entry(build.owner).or_default() += 1;
        busy.push(build.space);
    }
    let mut waiting: Vec<&Queued> = builds.iter().filter(|build| !build.running).collect();
    let mut next = Vec::new();
    while busy.len() < limit {
        let turn = waiting
            .iter()
            .filter(|build| !busy.contains(&build.space))
            .min_by_key(|build| (running.get(&build.owner).copied().unwrap_or(0), build.queued_at, build.build));
        let Some(turn) = turn.copied() else { break };
        waiting.retain(|build| build.build != turn.build);
        *running.entry(turn.owner).or_default() += 1;
        busy.push(turn.space);
        next.push(turn.build);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(build: u128, space: u128, owner: u128, at: i64, running: bool) -> Queued {
        let zero = Timestamp::from_millis(0);
        Queued {
            build: BuildId::new(zero, build),
            space: SpaceId::new(zero, space),
            owner: AccountId::new(zero, owner),
            queued_at: Timestamp::from_millis(at),
            running,
        }
    }

    fn ids(builds: &[Queued], limit: usize) -> Vec<u128> {
        let zero = Timestamp::from_millis(0);
        let next = next_builds(builds, limit);
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
    fn one_build_of_a_space_at_a_time() {
        let builds = [queued(1, 7, 1, 0, true), queued(2, 7, 1, 1, false), queued(3, 8, 1, 2, false)];
        assert_eq!(ids(&builds, 5), [3]);
    }
}
