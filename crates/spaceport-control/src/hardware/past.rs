//! What leases that ended tell the scheduler: decayed use of each account, how long claims run, and what is asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use spaceport_core::Timestamp;
use spaceport_core::gpu::estimate::RunLengths;
use spaceport_core::gpu::place::Workload;
use spaceport_core::gpu::schedule::Used;
use spaceport_core::gpu::{Claim, LeaseEnd, QuotaPath};
use spaceport_store::StoredLease;

/// Leases that ended longer ago count for nothing: a thousandth of them is left.
pub(super) const HALF_LIVES: u32 = 10;

/// See the module. Read once from the database; then every lease that ends is added.
#[derive(Debug)]
pub(super) struct Past {
    half_life: Duration,
    used: BTreeMap<QuotaPath, Amounts>,
    /// The time the amounts are of.
    at: Timestamp,
    pub run_lengths: RunLengths,
    /// The shapes of the leases that ended.
    pub workload: Workload,
}

/// Decayed milli-device-, millicore- and byte-milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Amounts {
    devices: f64,
    cpu: f64,
    memory: f64,
}

impl Past {
    /// From leases that ended, oldest first.
    pub fn new(leases: &[StoredLease], half_life: Duration, now: Timestamp) -> Self {
        let (run_lengths, workload) = Default::default();
        let mut past = Self { half_life, used: BTreeMap::new(), at: now, run_lengths, workload };
        for lease in leases {
            past.ended(lease, now);
        }
        past
    }

    /// Adds a lease that ended.
    pub fn ended(&mut self, lease: &StoredLease, now: Timestamp) {
        let (Some(ended_at), Some(why)) = (lease.ended_at, lease.why) else { return };
        self.advance(now);
        self.workload.see(&claim(lease).shape);
        let added = self.amounts(lease, ended_at);
        let sum = self.used.entry(lease.account.clone()).or_default();
        sum.devices += added.devices;
        sum.cpu += added.cpu;
        sum.memory += added.memory;
        let by_itself = matches!(
            why,
            LeaseEnd::Stopped | LeaseEnd::HardwareChanged | LeaseEnd::Slept | LeaseEnd::Reclaimed | LeaseEnd::AppFailed
        );
        if by_itself {
            let ran = ended_at.since(lease.lease.started_at).as_millis();
            self.run_lengths.observe(&claim(lease), u64::try_from(ran).unwrap_or(u64::MAX));
        }
    }

    /// Decayed use of every account up to `now`, with that of leases that go on.
    pub fn used(&mut self, running: &[StoredLease], now: Timestamp) -> Vec<Used> {
        self.advance(now);
        let mut sums = self.used.clone();
        let mut sorted: Vec<&StoredLease> = running.iter().collect();
        sorted.sort_by_key(|lease| lease.lease.id);
        for lease in sorted {
            let added = self.amounts(lease, now);
            let sum = sums.entry(lease.account.clone()).or_default();
            sum.devices += added.devices;
            sum.cpu += added.cpu;
            sum.memory += added.memory;
        }
        sums.into_iter()
            .map(|(account, sum)| Used { account, at: now, devices: sum.devices, cpu: sum.cpu, memory: sum.memory })
            .collect()
    }

    fn advance(&mut self, now: Timestamp) {
        let kept = self.half_lives(now.since(self.at));
        let kept = (-kept).exp2();
        for sum in self.used.values_mut() {
            sum.devices *= kept;
            sum.cpu *= kept;
            sum.memory *= kept;
        }
        self.at = self.at.max(now);
    }

    /// What a lease counts at `self.at`: each moment of it half after every half-life.
    fn amounts(&self, lease: &StoredLease, until: Timestamp) -> Amounts {
        let ago = |at: Timestamp| (-self.half_lives(self.at.since(at))).exp2();
        let from = lease.lease.started_at.min(until);
        let half_life = self.half_life.as_secs_f64().max(0.001) * 1000.0;
        let time = half_life / std::f64::consts::LN_2 * (ago(until) - ago(from)).max(0.0);
        let milli: f64 =
            lease.parts.iter().map(|part| f64::from(part.milli) * f64::from(part.weight_milli) / 1000.0).sum();
        Amounts {
            devices: time * milli,
            cpu: time * float(lease.shape.cpu_millicores),
            memory: time * float(lease.shape.memory_bytes),
        }
    }

    fn half_lives(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.half_life.as_secs_f64().max(0.001)
    }
}

/// The claim of a lease, as the scheduler needs it.
pub(super) fn claim(lease: &StoredLease) -> Claim {
    Claim {
        id: lease.lease.claim,
        space: lease.space,
        account: lease.account.clone(),
        flavor: lease.flavor.clone(),
        shape: lease.shape.clone(),
        priority: lease.priority,
        submitted_at: lease.waited_since,
        limit_ms: None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares need no more than 53 bits")]
fn float(value: u64) -> f64 {
    value as f64
}
