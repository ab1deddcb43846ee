//! Whose build is next: fairness per owner under a limit and under quotas, as a function of values.

use std::collections::HashMap;
use std::time::Duration;

use crate::gpu::{Allowance, Full, QuotaPath, QuotaTree};
use crate::plan::told;
use crate::{AccountId, BuildId, Diagnosis, Reason, SpaceId, Timestamp};

/// A build that waits longer is told how many come before it, and what the limit is.
const LONG: Duration = Duration::from_secs(2 * 60);

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
    /// Who waits, in the order in which they would start.
    pub wait: Vec<Waiting>,
}

/// A build that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub build: BuildId,
    /// So many others that wait for the same come before it.
    pub before: usize,
    /// For what.
    pub for_what: Limit,
}

/// What keeps a build from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// As many run as the site allows.
    Site(usize),
    /// A quota; who comes later has the free place instead.
    Quota(Full),
    /// Another build of its Space, which has not ended yet.
    Space,
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
            turns.add(turn.build, Limit::Quota(full));
            continue;
        }
        // Whoever waits takes the turn of its owner as well: the order is the one in which they will start.
        *running.entry(turn.owner).or_default() += 1;
        if busy.len() >= limit {
            turns.add(turn.build, Limit::Site(limit));
            continue;
        }
        busy.push(turn.space);
        at_work.push(&turn.account);
        turns.start.push(turn.build);
    }
    for build in waiting {
        turns.add(build.build, Limit::Space);
    }
    turns
}

impl Turns {
    fn add(&mut self, build: BuildId, for_what: Limit) {
        let before = self.wait.iter().filter(|other| other.for_what.is_same(&for_what)).count();
        self.wait.push(Waiting { build, before, for_what });
    }

    /// What a build that waits since then is told.
    #[must_use]
    pub fn told(&self, build: BuildId, since: Timestamp, now: Timestamp) -> Diagnosis {
        let waiting = self.wait.iter().find(|waiting| waiting.build == build);
        let is_long = now >= since + LONG;
        let before = match waiting.map_or(0, |waiting| waiting.before) {
            0 => "it is next".to_owned(),
            1 => "one comes before it".to_owned(),
            others => format!("{others} come before it"),
        };
        let (message, remedy) = match waiting.map(|waiting| &waiting.for_what) {
            Some(Limit::Quota(full)) if is_long => (
                format!("Waiting for its turn since {} UTC: {full}; {before}.", since.to_minute()),
                "It begins by itself; an administrator can raise the quota.",
            ),
            Some(Limit::Quota(full)) => {
                (format!("Waiting for its turn: {full}."), "It begins by itself; an administrator can raise the quota.")
            }
            Some(Limit::Site(limit)) if is_long => (
                format!(
                    "Waiting for a free builder since {} UTC: this site builds {limit} at once and does; {before}.",
                    since.to_minute()
                ),
                "It begins by itself; an administrator can raise the site's limit.",
            ),
            Some(Limit::Space) if is_long => (
                format!(
                    "Waiting since {} UTC until the former build of this Space has ended; it was asked to.",
                    since.to_minute()
                ),
                "It begins by itself; if it takes long, ask the administrator of this site.",
            ),
            Some(Limit::Site(_) | Limit::Space) | None => ("Waiting for a free builder.".to_owned(), ""),
        };
        told(Reason::BuildQueued, "queued", &message, remedy, since)
    }
}

impl Limit {
    /// Whether who waits for the one waits for the other.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quota(full), Self::Quota(other)) => full.place == other.place,
            (Self::Site(_), Self::Site(_)) | (Self::Space, Self::Space) => true,
            _ => false,
        }
    }
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
        assert_eq!(limits(&turns), [(4, "lab", 0), (2, "lab", 1)]);
        let told =
            |seconds: i64| turns.told(id(2), Timestamp::from_millis(1), Timestamp::from_millis(seconds * 1000)).message;
        assert_eq!(told(1), "Waiting for its turn: lab may build 2 at once and does; it begins when one of them ends.");
        assert_eq!(
            told(121),
            "Waiting for its turn since 1970-01-01 00:00 UTC: lab may build 2 at once and does; it begins when one of \
             them ends; one comes before it."
        );
        // It is told so also while no builder is free.
        let turns = next_builds(&builds, 1, &quotas);
        assert_eq!(
            (turns.start.len(), limits(&turns)),
            (0, vec![(3, "1 at once", 0), (4, "1 at once", 1), (2, "lab/1", 0)])
        );
    }

    #[test]
    fn who_waits_long_is_told_how_many_come_first_and_which_limit_binds() {
        // One owner has four builds, the other one: they take turns.
        let mut builds: Vec<_> = (0..4u32).map(|n| queued(n.into(), n.into(), 1, n.into(), n == 0)).collect();
        builds.push(queued(9, 9, 2, 100, false));
        builds.push(queued(10, 0, 1, 0, false));
        let turns = next_builds(&builds, 1, &QuotaTree::default());
        let expected =
            [(9, "1 at once", 0), (1, "1 at once", 1), (2, "1 at once", 2), (3, "1 at once", 3), (10, "Space", 0)];
        assert_eq!(limits(&turns), expected);
        let told = |build, seconds: i64| {
            let (since, now) = (Timestamp::from_millis(0), Timestamp::from_millis(seconds * 1000));
            turns.told(BuildId::new(since, build), since, now)
        };
        for (build, seconds, message) in [
            (3, 119, "Waiting for a free builder."),
            (9, 120, "since 1970-01-01 00:00 UTC: this site builds 1 at once and does; it is next."),
            (1, 120, "; one comes before it."),
            (3, 120, "; 3 come before it."),
            (10, 119, "Waiting for a free builder."),
            (10, 120, "until the former build of this Space has ended"),
        ] {
            let why = told(build, seconds);
            assert!(why.message.contains(message), "{why:?}");
            assert_eq!((why.reason, why.remedy.is_empty()), (Reason::BuildQueued, seconds < 120), "{why:?}");
        }
    }

    fn limits(turns: &Turns) -> Vec<(u128, &str, usize)> {
        let zero = Timestamp::from_millis(0);
        let limit = |waiting: &Waiting| match &waiting.for_what {
            Limit::Site(_) => "1 at once",
            Limit::Quota(full) => match full.place.0.as_str() {
                "lab" => "lab",
                _ => "lab/1",
            },
            Limit::Space => "Space",
        };
        let number = |waiting: &Waiting| (0..100).find(|n| BuildId::new(zero, *n) == waiting.build).unwrap();
        turns.wait.iter().map(|waiting| (number(waiting), limit(waiting), waiting.before)).collect()
    }

    #[test]
    fn one_build_of_a_space_at_a_time() {
        let builds = [queued(1, 7, 1, 0, true), queued(2, 7, 1, 1, false), queued(3, 8, 1, 2, false)];
        assert_eq!(ids(&builds, 5), [3]);
    }
}
