//! What would have become of the demand of the last days with other quotas: it runs through the scheduler again.
//!
//! Claims come when they came, use hardware for as long as they did, and those that nobody wanted any more before they got
//! any are given up at the same time. What people would have done otherwise, because they waited less, is not known.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::AddAssign;
use std::time::Duration;

use crate::gpu::ledger::DeviceTime;
use crate::gpu::schedule::{Decision, Engine, Event, Spent, World};
use crate::gpu::{Budget, Claim, QuotaPath};
use crate::{ClaimId, Timestamp};

/// A claim of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// What was wanted, and since when; one that is older than the replay waits from its beginning.
    pub claim: Claim,
    /// For how long it used its hardware within the replay; `None`: until its end.
    pub runs: Option<Duration>,
    /// Nobody wanted it any more from then on, and it had nothing yet.
    pub given_up_at: Option<Timestamp>,
}

/// What became of the claims of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fared {
    /// How many there were.
    pub claims: u32,
    /// How many of them got hardware.
    pub started: u32,
    /// How long all of them waited together, also those that still do at the end.
    pub waited: Duration,
    /// How often one had to leave before it was done.
    pub left: u32,
    /// What they used.
    pub used: DeviceTime,
}

impl Fared {
    /// How long a claim waited on average.
    #[must_use]
    pub fn mean_wait(&self) -> Duration {
        self.waited.checked_div(self.claims).unwrap_or_default()
    }
}

impl AddAssign for Fared {
    fn add_assign(&mut self, other: Self) {
        let Self { claims, started, waited, left, used } = other;
        self.claims += claims;
        self.started += started;
        self.waited += waited;
        self.left += left;
        self.used += used;
    }
}

/// Runs `demand` through the scheduler, from `world`, which says who has what at its time, to `until`: what becomes of
/// each account. Claims that run in `world` are among the demand, too.
#[must_use]
pub fn replay(world: &World, demand: &[Demand], until: Timestamp) -> BTreeMap<QuotaPath, Fared> {
    let mut replay = Replay::new(world, demand, until);
    while let Some(now) = replay.next() {
        replay.advance(now);
        let decision = replay.engine.decide(now);
        replay.take(now, &decision);
    }
    replay.finish()
}

struct Replay<'a> {
    engine: Engine,
    now: Timestamp,
    until: Timestamp,
    claims: HashMap<ClaimId, State<'a>>,
    /// Who comes when, the next first.
    arrivals: BTreeSet<(Timestamp, ClaimId)>,
    /// When leases end, by themselves or because they have to.
    ends: BTreeSet<(Timestamp, ClaimId)>,
    given_up: BTreeSet<(Timestamp, ClaimId)>,
    /// When to decide though nothing happens.
    look_again: Option<Timestamp>,
    budgets: Vec<Paid>,
    /// Thousandths of devices in use, by account.
    rates: BTreeMap<QuotaPath, u64>,
    accounts: BTreeMap<QuotaPath, Fared>,
}

/// What a place with a budget has used of the running period.
struct Paid {
    place: QuotaPath,
    budget: Budget,
    used: DeviceTime,
    renews_at: Timestamp,
}

impl Paid {
    fn new(world: &World, spent: &Spent) -> Option<Self> {
        let budget = world.quotas.quota(&spent.place).budget?;
        let used = DeviceTime::from_milli_seconds(spent.milli_seconds);
        Some(Self { place: spent.place.clone(), budget, used, renews_at: spent.renews_at })
    }

    fn spent(&self) -> Spent {
        let milli_seconds = u64::try_from(self.used.milli_seconds()).unwrap_or_default();
        Spent { place: self.place.clone(), milli_seconds, renews_at: self.renews_at }
    }

    /// When it is used up to its next edge, or begins anew, while so many thousandths of devices are in use.
    fn changes(&self, rate: u64, now: Timestamp) -> Timestamp {
        let edges = [self.budget.soft_milli_seconds, self.budget.hard_milli_seconds].into_iter().flatten();
        let left =
            edges.map(|edge| DeviceTime::from_milli_seconds(edge).0 - self.used.0).filter(|left| *left > 0).min();
        let ms = left.filter(|_| rate > 0).and_then(|left| u64::try_from(left).ok()).map(|left| left.div_ceil(rate));
        ms.map_or(self.renews_at, |ms| self.renews_at.min(now + Duration::from_millis(ms)))
    }
}

#[derive(Debug)]
struct State<'a> {
    demand: &'a Demand,
    /// What it still has to run.
    left: Option<Duration>,
    phase: Phase,
    started: bool,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// It did not come yet, or is over.
    Away,
    Waits(Timestamp),
    Runs {
        since: Timestamp,
        ends_by: Option<Timestamp>,
    },
}

impl State<'_> {
    fn end(&self) -> Option<Timestamp> {
        let Phase::Runs { since, ends_by } = self.phase else { return None };
        let done = self.left.map(|left| since + left);
        [done, ends_by].into_iter().flatten().min()
    }
}

impl<'a> Replay<'a> {
    fn new(world: &World, demand: &'a [Demand], until: Timestamp) -> Self {
        let mut replay = Self {
            engine: Engine::new(world),
            now: world.now,
            until,
            claims: HashMap::new(),
            arrivals: BTreeSet::new(),
            ends: BTreeSet::new(),
            given_up: BTreeSet::new(),
            look_again: Some(world.now),
            budgets: world.spent.iter().filter_map(|spent| Paid::new(world, spent)).collect(),
            rates: BTreeMap::new(),
            accounts: BTreeMap::new(),
        };
        for one in demand {
            let (id, account) = (one.claim.id, &one.claim.account);
            let state = State { demand: one, left: one.runs, phase: Phase::Away, started: false };
            replay.claims.insert(id, state);
            replay.accounts.entry(account.clone()).or_default().claims += 1;
            replay.arrivals.insert((one.claim.submitted_at.max(world.now), id));
            replay.given_up.extend(one.given_up_at.map(|at| (at, id)));
        }
        for running in &world.running {
            let id = running.claim.id;
            if let Some(at) = replay.claims.get(&id).map(|state| state.demand.claim.submitted_at.max(world.now)) {
                replay.arrivals.remove(&(at, id));
                replay.begin(id, world.now);
            }
        }
        replay
    }

    /// When something happens next, within the replay.
    fn next(&self) -> Option<Timestamp> {
        let firsts = [&self.arrivals, &self.ends, &self.given_up].map(|queue| queue.first().map(|(at, _)| *at));
        let budget = self.budgets.iter().map(|paid| paid.changes(self.rate_below(&paid.place), self.now)).min();
        let next = firsts.into_iter().chain([self.look_again, budget]).flatten().min()?;
        (next < self.until).then_some(next.max(self.now))
    }

    /// Everything that happens by `now`.
    fn advance(&mut self, now: Timestamp) {
        self.pay(now);
        while let Some((_, id)) = due(&mut self.ends, now) {
            self.end(id, now);
        }
        while let Some((_, id)) = due(&mut self.given_up, now) {
            if let Some(state) = self.claims.get(&id)
                && matches!(state.phase, Phase::Waits(_))
                && !state.started
            {
                self.stop_waiting(id, now);
                self.engine.apply(now, Event::Cancelled(id));
            }
        }
        while let Some((_, id)) = due(&mut self.arrivals, now) {
            if let Some(state) = self.claims.get_mut(&id) {
                state.phase = Phase::Waits(now);
                self.engine.apply(now, Event::Submitted(state.demand.claim.clone()));
            }
        }
    }

    fn take(&mut self, now: Timestamp, decision: &Decision) {
        for id in &decision.lost {
            self.leave(*id, now);
            self.wait(*id, now);
        }
        for start in &decision.starts {
            self.stop_waiting(start.claim, now);
            self.begin(start.claim, now);
        }
        for told in &decision.preemptions {
            self.tell(told.claim, Some(told.ends_by));
        }
        for id in &decision.kept {
            self.tell(*id, None);
        }
        self.look_again = decision.look_again;
    }

    fn begin(&mut self, id: ClaimId, now: Timestamp) {
        let Some(state) = self.claims.get_mut(&id) else { return };
        state.phase = Phase::Runs { since: now, ends_by: None };
        let claim = &state.demand.claim;
        if !std::mem::replace(&mut state.started, true) {
            self.accounts.entry(claim.account.clone()).or_default().started += 1;
        }
        *self.rates.entry(claim.account.clone()).or_default() += claim.shape.total_milli();
        self.ends.extend(state.end().map(|at| (at, id)));
    }

    fn tell(&mut self, id: ClaimId, by: Option<Timestamp>) {
        let Some(state) = self.claims.get_mut(&id) else { return };
        if let Some(at) = state.end() {
            self.ends.remove(&(at, id));
        }
        if let Phase::Runs { ends_by, .. } = &mut state.phase {
            *ends_by = by;
        }
        self.ends.extend(state.end().map(|at| (at, id)));
    }

    /// A lease ends by itself, or because it has to.
    fn end(&mut self, id: ClaimId, now: Timestamp) {
        let done = !self.leave(id, now);
        self.engine.apply(now, Event::Ended { claim: id, done, again: !done });
        if !done {
            self.wait(id, now);
            if let Some(state) = self.claims.get(&id) {
                self.accounts.entry(state.demand.claim.account.clone()).or_default().left += 1;
            }
        }
    }

    /// A claim has no hardware any more; whether something is left for it to do.
    fn leave(&mut self, id: ClaimId, now: Timestamp) -> bool {
        let Some(state) = self.claims.get_mut(&id) else { return false };
        let Phase::Runs { since, .. } = state.phase else { return false };
        if let Some(end) = state.end() {
            self.ends.remove(&(end, id));
        }
        state.left = state.left.map(|left| left.saturating_sub(now.since(since)));
        state.phase = Phase::Away;
        let claim = &state.demand.claim;
        if let Some(rate) = self.rates.get_mut(&claim.account) {
            *rate = rate.saturating_sub(claim.shape.total_milli());
        }
        state.left.is_none_or(|left| !left.is_zero())
    }

    fn wait(&mut self, id: ClaimId, now: Timestamp) {
        if let Some(state) = self.claims.get_mut(&id) {
            state.phase = Phase::Waits(now);
        }
    }

    fn stop_waiting(&mut self, id: ClaimId, now: Timestamp) {
        let Some(state) = self.claims.get_mut(&id) else { return };
        if let Phase::Waits(since) = state.phase {
            state.phase = Phase::Away;
            self.accounts.entry(state.demand.claim.account.clone()).or_default().waited += now.since(since);
        }
    }

    /// What is used up to `now` is charged, and budgets whose period is over begin anew.
    fn pay(&mut self, now: Timestamp) {
        let ms = now.as_millis() - self.now.as_millis();
        for (account, rate) in &self.rates {
            let time = DeviceTime(i128::from(ms) * i128::from(*rate));
            self.accounts.entry(account.clone()).or_default().used += time;
        }
        let mut budgets = std::mem::take(&mut self.budgets);
        for paid in &mut budgets {
            if paid.renews_at <= now {
                paid.used = DeviceTime::ZERO;
                paid.renews_at = paid.budget.period(now).until;
            } else {
                paid.used += DeviceTime(i128::from(ms) * i128::from(self.rate_below(&paid.place)));
            }
            self.engine.apply(now, Event::Spent(paid.spent()));
        }
        self.budgets = budgets;
        self.now = now;
    }

    fn rate_below(&self, place: &QuotaPath) -> u64 {
        self.rates.iter().filter(|(account, _)| account.is_within(place)).map(|(_, rate)| *rate).sum()
    }

    fn finish(mut self) -> BTreeMap<QuotaPath, Fared> {
        let until = self.until.max(self.now);
        self.pay(until);
        let waiting: Vec<ClaimId> = self.claims.keys().copied().collect();
        for id in waiting {
            self.stop_waiting(id, until);
        }
        self.accounts
    }
}

fn due(queue: &mut BTreeSet<(Timestamp, ClaimId)>, now: Timestamp) -> Option<(Timestamp, ClaimId)> {
    queue.first().filter(|(at, _)| *at <= now)?;
    queue.pop_first()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{claim, world};
    use super::*;
    use crate::gpu::schedule::Policy;
    use crate::gpu::{Quota, QuotaNode, QuotaTree};

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// From second 5 on bob uses the only device for 100 seconds more, and alice wants it for 50.
    fn demand() -> [Demand; 2] {
        let one = |number, account, runs| Demand {
            claim: claim(number, account),
            runs: Some(seconds(runs)),
            given_up_at: None,
        };
        [one(1, "~bob", 100), one(2, "~alice", 50)]
    }

    fn with(place: &str, quota: Quota) -> World {
        let node = QuotaNode { path: QuotaPath(place.to_owned()), quota };
        let policy = Policy { grace_ms: 10_000, ..Policy::default() };
        World { quotas: QuotaTree::new([node]).unwrap(), waiting: Vec::new(), policy, ..world() }
    }

    fn fared(world: &World, demand: &[Demand], until: u64) -> [Fared; 2] {
        let fared = replay(world, demand, Timestamp::from_millis(0) + seconds(until));
        ["~bob", "~alice"].map(|account| fared[&QuotaPath(account.to_owned())])
    }

    fn used(seconds: i128) -> DeviceTime {
        DeviceTime(seconds * 1_000_000)
    }

    #[test]
    fn who_waited_waits_less_with_a_guarantee_and_who_borrowed_leaves_and_comes_back() {
        let [bob, alice] = fared(&with("~alice", Quota::default()), &demand(), 1000);
        let one = Fared { claims: 1, started: 1, ..Fared::default() };
        assert_eq!(bob, Fared { used: used(100), ..one });
        assert_eq!(alice, Fared { waited: seconds(100), used: used(50), ..one });
        let guaranteed = Quota { guaranteed_milli: 1000, ..Quota::default() };
        let [bob, alice] = fared(&with("~alice", guaranteed), &demand(), 1000);
        assert_eq!(alice, Fared { waited: seconds(10), used: used(50), ..one });
        assert_eq!(bob, Fared { waited: seconds(50), left: 1, used: used(100), ..one });
    }

    #[test]
    fn who_waits_at_the_end_has_waited_until_then_and_who_gave_up_until_they_did() {
        let mut demand = demand();
        demand[0].runs = None;
        let [bob, alice] = fared(&with("~alice", Quota::default()), &demand, 205);
        assert_eq!((bob.used, alice.started, alice.waited), (used(200), 0, seconds(200)));
        demand[1].given_up_at = Some(Timestamp::from_millis(65_000));
        let [_, alice] = fared(&with("~alice", Quota::default()), &demand, 205);
        assert_eq!((alice.claims, alice.started, alice.waited), (1, 0, seconds(60)));
    }

    #[test]
    fn a_budget_is_used_up_within_the_replay_and_begins_anew() {
        const DAY: u64 = 86_400;
        let budget = Budget { period_days: 1, soft_milli_seconds: None, hard_milli_seconds: Some(60_000) };
        let quota = Quota { budget: Some(budget), ..Quota::default() };
        let renews_at = budget.period(Timestamp::from_millis(5000)).until;
        let spent = Spent { place: QuotaPath("~bob".to_owned()), milli_seconds: 20_000, renews_at };
        let world = World { spent: vec![spent], ..with("~bob", quota) };
        // 40 seconds are left of the first day, and 10 more are the grace.
        let [bob, _] = fared(&world, &demand(), DAY - 1);
        assert_eq!((bob.used, bob.left), (used(50), 1));
        let [bob, alice] = fared(&world, &demand(), 3 * DAY);
        assert_eq!((bob.used, alice.used), (used(100), used(50)), "the rest is used on the second day");
    }
}
