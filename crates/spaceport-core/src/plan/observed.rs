//! What a plan is made from.

use std::time::Duration;

use super::{Asleep, FailedStep, Fault, HardwareSeen, IdleSeen};
use crate::FlavorName;
use crate::space::{BuildState, Inspection, Instance};
use crate::{BuildId, Diagnosis, ReleaseId, Timestamp};

/// What a plan is made from, besides the desired state.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// What the head commit turned out to be; `None` when nobody looked yet.
    pub inspection: Option<Inspection>,
    /// The build of the head commit.
    pub build: Option<BuildSeen>,
    /// Builds of other commits that wait or run.
    pub stale_builds: Vec<BuildId>,
    /// The numbers of the builds that wait or run, even if they were asked to end.
    pub builds_under_way: Vec<i64>,
    /// The build whose release should serve: the head's if it succeeded, else the last good one.
    pub good: Option<BuildId>,
    /// The release of `good` with the desired settings and hardware.
    pub wanted: Option<ReleaseSeen>,
    /// The newest other release that ever answered.
    pub fallback: Option<ReleaseSeen>,
    /// Every instance that is not over, and the recent ones that are; newest first.
    pub instances: Vec<InstanceSeen>,
    /// Containers of this Space without a live instance.
    pub orphans: Vec<String>,
    /// The engine answered.
    pub engine_up: bool,
    /// Apps are not started, since what keeps them from the node and from each other is not in place.
    pub starts_refused: bool,
    /// Why either is so, and since when; `None` when that was noticed a moment ago.
    pub engine_fault: Option<Fault>,
    /// Steps that were tried and did not succeed since.
    pub failed: Vec<FailedStep>,
    /// What was told last of why it does not run.
    pub told: Option<Diagnosis>,
    /// What it has of the hardware that is given out by lease.
    pub hardware: HardwareSeen,
    /// It was put to sleep.
    pub asleep: Option<Asleep>,
    /// When it was used, and when it may sleep.
    pub idle: IdleSeen,
}

/// A build, as far as the plan needs it.
#[derive(Debug, Clone)]
pub struct BuildSeen {
    /// Identity.
    pub id: BuildId,
    /// State.
    pub state: BuildState,
    /// Asked for.
    pub queued_at: Timestamp,
    /// Began.
    pub started_at: Option<Timestamp>,
    /// What it is doing, or why it failed.
    pub diagnosis: Option<Diagnosis>,
}

/// A release, as far as the plan needs it.
#[derive(Debug, Clone)]
pub struct ReleaseSeen {
    /// Identity.
    pub id: ReleaseId,
    /// Served as files, without a container.
    pub files: bool,
    /// Not answering by then is a runtime error.
    pub startup_timeout: Duration,
    /// Runs only with a lease of this flavor.
    pub needs: Option<FlavorName>,
}

/// An instance and its container.
#[derive(Debug, Clone)]
pub struct InstanceSeen {
    /// The row.
    pub row: Instance,
    /// The container.
    pub container: ContainerSeen,
    /// The proxy has nothing in flight for it any more.
    pub drained: bool,
    /// Its release runs only with a lease of this flavor.
    pub needs: Option<FlavorName>,
    /// What it wrote to its own disk, when that was measured.
    pub disk: Option<DiskSeen>,
}

/// What an app wrote to its own disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSeen {
    /// So many bytes.
    pub written_bytes: u64,
    /// So many are allowed.
    pub limit_bytes: u64,
    /// By this hardware.
    pub flavor: FlavorName,
}

/// What the engine says of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerSeen {
    /// The engine does not answer.
    Unknown,
    /// There is none.
    Missing,
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Ended.
    Exited,
}

/// Limits of the site.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A build may run so long.
    pub build_time: Duration,
    /// Requests in flight on a retired instance may take so long.
    pub drain: Duration,
}
