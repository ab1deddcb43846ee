//! The reconciler of Spaces: one worker per Space that needs work, each a loop of observe, plan,
//! execute, until the plan is empty.

mod execute;
mod faults;
mod follow;
mod hardware;
mod observe;
pub(crate) mod volumes;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use spaceport_core::plan::{Action, HardwareSeen, Limits, Plan, Serving, plan};
use spaceport_core::route::{Route, Target};
use spaceport_core::space::{Artifact, Space};
use spaceport_core::{SpaceId, SpaceStage, Timestamp};
use spaceport_git::Repositories;
use spaceport_objects::ObjectStore;
use spaceport_store::{Store, vault::Vault};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ControlConfig;
use crate::engine::{Engine, chain};
use crate::handle::{ControlHandle, TaskStatus};
use crate::routes::{self, Routes};

use faults::Faults;
use follow::Followers;
use observe::Seen;

/// Everything is looked at this often, whatever was signalled.
const SWEEP: Duration = Duration::from_secs(30);
/// Spaces worked on at once.
const WORKERS: usize = 16;
/// A worker that failed tries again after this.
const RETRY: Duration = Duration::from_secs(2);

/// A round that changes nothing and takes less than this is followed by a pause.
const MIN_ROUND: Duration = Duration::from_millis(100);

/// What the reconcilers work with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Desired state and records.
    pub store: Store,
    /// Code.
    pub repositories: Repositories,
    /// Large files.
    pub objects: ObjectStore,
    /// Containers.
    pub engine: Arc<Engine>,
    /// What the proxy serves.
    pub routes: Arc<Routes>,
    /// Signals and logs.
    pub control: ControlHandle,
    /// Secrets.
    pub vault: Vault,
    /// The site.
    pub config: Arc<ControlConfig>,
}

impl Parts {
    /// Whether nothing of strangers may begin to run now.
    pub(crate) fn starts_refused(&self) -> bool {
        !self.config.allow_unfiltered && !self.engine.is_isolated()
    }
}

/// The reconciler.
#[derive(Debug, Clone)]
pub struct Spaces {
    parts: Parts,
    followers: Followers,
    faults: Faults,
    busy: Arc<Mutex<HashSet<SpaceId>>>,
    timers: Arc<Mutex<HashMap<SpaceId, Timestamp>>>,
    permits: Arc<Semaphore>,
}

impl Spaces {
    /// A reconciler that does nothing until it runs.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let followers = Followers::new(parts.control.clone(), Arc::clone(&parts.engine));
        Self {
            parts,
            followers,
            faults: Faults::default(),
            busy: Arc::default(),
            timers: Arc::default(),
            permits: Arc::new(Semaphore::new(WORKERS)),
        }
    }

    /// Runs until told to stop. Workers under way finish their step; what they leave is taken up
    /// by the next process.
    pub async fn run(&self, stop: CancellationToken) {
        let tracker = TaskTracker::new();
        let control = &self.parts.control;
        control.activate_all();
        let mut sweep = std::pin::pin!(control.clock().sleep(SWEEP));
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = control.spaces_woken() => {}
                () = &mut sweep => {
                    control.activate_all();
                    sweep.set(control.clock().sleep(SWEEP));
                }
                () = control.clock().sleep(self.next_timer()) => {}
            }
            let mut due = self.parts.control.take_dirty();
            due.extend(self.take_timers());
            if self.parts.control.take_sweep() {
                due.extend(self.sweep().await);
            }
            for space in due.into_iter().collect::<HashSet<_>>() {
                self.spawn(space, &tracker, &stop);
            }
        }
        tracker.close();
        tracker.wait().await;
        self.followers.stop().await;
    }

    /// The ids of all Spaces, and of those that no longer exist and have containers; routes of
    /// Spaces that no longer exist are removed.
    async fn sweep(&self) -> Vec<SpaceId> {
        let began = Instant::now();
        let control = &self.parts.control;
        let result = self.parts.store.space_ids().await;
        let (ok, message, mut ids) = match result {
            Ok(ids) => {
                let known: HashSet<_> = ids.iter().copied().collect();
                self.parts.routes.retain(|space| known.contains(&space));
                (true, format!("{} Spaces{}", ids.len(), self.faults.summary()), ids)
            }
            Err(error) => (false, chain(&error), Vec::new()),
        };
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        control.report("spaces", TaskStatus { ok, message, at: control.clock().now(), duration_ms });
        if let Some(containers) = self.parts.engine.containers().await {
            ids.extend(containers.values().map(|container| container.space));
        }
        ids
    }

    fn spawn(&self, space: SpaceId, tracker: &TaskTracker, stop: &CancellationToken) {
        {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            if !busy.insert(space) {
                // Handed over when its worker ends, which takes the same lock.
                self.parts.control.requeue(space);
                return;
            }
        }
        let (this, stop) = (self.clone(), stop.clone());
        tracker.spawn(async move {
            let Ok(_permit) = this.permits.acquire().await else { return };
            // A panic is a failed round; what it left is what a crash of the server would leave.
            let failed = match AssertUnwindSafe(this.work(space, &stop)).catch_unwind().await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(chain(&error)),
                Err(_) => Some("its worker panicked".to_owned()),
            };
            if let Some(text) = failed {
                tracing::error!(space.id = %space, error = text, "the Space {space} could not be reconciled: {text}");
                this.set_timer(space, this.parts.control.clock().now() + RETRY);
            }
            let mut busy = this.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.remove(&space);
            this.parts.control.release(space);
        });
    }

    /// Observes, plans and executes until there is nothing to do now.
    async fn work(&self, id: SpaceId, stop: &CancellationToken) -> Result<(), WorkError> {
        let mut before = (Vec::new(), Instant::now());
        while !stop.is_cancelled() {
            let Some(mut seen) = observe::observe(&self.parts, &self.followers, id).await? else {
                self.parts.routes.retain(|space| space != id);
                self.parts.control.forget_use(id);
                self.faults.forget(id);
                return Ok(());
            };
            seen.observed.failed = self.faults.of(id);
            // Before the plan looks at who used it: whoever comes from now on wakes it.
            self.parts.control.set_sleeper(id, seen.observed.asleep.is_some());
            let now = self.parts.control.clock().now();
            let limits = Limits { build_time: self.parts.config.builder.limits.time, drain: self.parts.config.drain };
            let plan = plan(&seen.space.desired, &seen.observed, &limits, now);
            // An action that changed nothing is not repeated in a hot loop.
            let repeats = !plan.actions.is_empty() && before.0 == plan.actions && before.1.elapsed() < MIN_ROUND;
            let actions: &[_] = if repeats { &[] } else { &plan.actions };
            before = (plan.actions.clone(), Instant::now());
            self.faults.keep(id, &plan.actions);
            if reads_a_first_commit(&seen.space, &plan) {
                self.execute_all(&seen, actions).await?;
            } else {
                // The route first: who reads that a Space runs asks it next.
                let diagnosis = lasting(&plan, &seen.space);
                self.publish_route(&seen, &plan, diagnosis.as_ref(), now).await?;
                // Each to its end: why a step fails is told however soon it does.
                let (published, executed) = tokio::join!(
                    self.publish_stage(&seen.space, plan.stage, diagnosis.as_ref(), now),
                    self.execute_all(&seen, actions)
                );
                published.and(executed)?;
            }
            if repeats {
                self.set_timer(id, now + RETRY);
                return Ok(());
            }
            if plan.actions.is_empty() {
                if let Some(at) = plan.look_again {
                    self.set_timer(id, at);
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// What cannot be removed keeps nothing else waiting.
    async fn execute_all(&self, seen: &Seen, actions: &[Action]) -> Result<(), WorkError> {
        let id = seen.space.id;
        let mut failed = Ok(());
        for action in actions {
            tracing::debug!(space.id = %id, action = ?action, "the Space {id} needs {action:?}");
            let result = self.execute(seen, action).await;
            self.faults.note(id, action, &result, self.parts.control.clock().now());
            match result {
                Err(error) if !action.only_removes() => return Err(error),
                result => failed = failed.and(result),
            }
        }
        failed
    }

    async fn publish_stage(
        &self,
        space: &Space,
        stage: SpaceStage,
        diagnosis: Option<&spaceport_core::Diagnosis>,
        now: Timestamp,
    ) -> Result<(), WorkError> {
        if stage == SpaceStage::Running && stage != space.stage {
            // Who kills the server at this moment finds the route in the table that the next one begins with.
            self.parts.routes.save().await;
        }
        if stage != space.stage || diagnosis != space.diagnosis.as_ref() {
            self.parts.store.space_set_stage(space.id, stage, diagnosis, now).await?;
            if stage != space.stage {
                tracing::info!(
                    space.id = %space.id, space.name = %space.name, space.stage = %stage,
                    "{} is {stage}{}", space.name,
                    diagnosis.map_or(String::new(), |diagnosis| format!(": {}", diagnosis.message)),
                );
            }
            self.parts.control.changed(space.id);
        }
        Ok(())
    }

    async fn publish_route(
        &self,
        seen: &Seen,
        plan: &Plan,
        diagnosis: Option<&spaceport_core::Diagnosis>,
        now: Timestamp,
    ) -> Result<(), WorkError> {
        let space = &seen.space;
        let host = spaceport_core::route::host(space.subdomain.as_str(), &self.parts.config.spaces_domain);
        let standing = || routes::standing(plan.stage, diagnosis, now);
        let (release, target) = match plan.serving {
            Some(Serving::Instance(id)) => {
                let address = seen.containers.get(&id).and_then(|container| container.address);
                let current = self.parts.routes.current();
                // A Space that has just moved is at its former host still.
                let here = |(at, route): &(&String, &Arc<Route>)| **at == host || route.space == space.id;
                let before = current.hosts.iter().filter(here).max_by_key(|(at, _)| **at == host);
                let before = before.map(|(_, route)| &route.target);
                let target = match (address, before) {
                    (Some(address), _) => Target::Upstream { instance: id.to_string(), address },
                    // The engine is away: the app may well run, so its route stays.
                    (None, Some(before @ Target::Upstream { instance, .. })) if *instance == id.to_string() => {
                        before.clone()
                    }
                    (None, _) => Target::Page(standing()),
                };
                (seen.release_of(id), target)
            }
            Some(Serving::Files(release)) => {
                let release = seen.release(release);
                let target = match release.map(|release| &release.artifact) {
                    Some(Artifact::Files { root, index }) => Target::Files {
                        root: root.clone(),
                        index: index.clone(),
                        variables: release.map(|release| release.variables.clone()).unwrap_or_default(),
                    },
                    _ => Target::Page(standing()),
                };
                if let Some(release) = release
                    && self.parts.routes.current().hosts.get(&host).is_none_or(|before| before.target != target)
                {
                    // Its owner may have gone back to it; what serves last is what serves on when the next
                    // push fails.
                    self.parts.store.release_ready(release.id, now).await?;
                }
                (release, target)
            }
            None if is_soon(seen, plan) => (None, Target::Hold(standing())),
            None => (None, Target::Page(standing())),
        };
        let access = routes::access(space);
        if self.parts.routes.is_elsewhere(&host, space.id) {
            // First what leads from the former host to this one: in between, nobody finds nothing.
            self.parts.routes.refresh_former(&self.parts.store).await?;
        }
        self.parts.routes.set(&host, routes::route(&self.parts.config, space, release, access, target));
        Ok(())
    }

    fn set_timer(&self, space: SpaceId, at: Timestamp) {
        let mut timers = self.timers.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = timers.entry(space).or_insert(at);
        *entry = (*entry).min(at);
        drop(timers);
        self.parts.control.wake_spaces();
    }

    fn next_timer(&self) -> Duration {
        let now = self.parts.control.clock().now();
        let timers = self.timers.lock().unwrap_or_else(PoisonError::into_inner);
        timers.values().min().map_or(SWEEP, |at| at.since(now)).max(Duration::from_millis(1))
    }

    fn take_timers(&self) -> Vec<SpaceId> {
        let now = self.parts.control.clock().now();
        let mut timers = self.timers.lock().unwrap_or_else(PoisonError::into_inner);
        let due: Vec<_> = timers.iter().filter(|(_, at)| **at <= now).map(|(space, _)| *space).collect();
        for space in &due {
            timers.remove(space);
        }
        due
    }
}

/// The diagnosis of a plan; the time it began is kept while its reason stays the same.
fn lasting(plan: &Plan, space: &Space) -> Option<spaceport_core::Diagnosis> {
    let mut diagnosis = plan.diagnosis.clone();
    if let (Some(new), Some(old)) = (&mut diagnosis, &space.diagnosis)
        && new.reason == old.reason
        && new.phase == old.phase
        && new.since > old.since
    {
        new.since = old.since;
    }
    diagnosis
}

/// Whether a Space that has no app yet is only being looked at: it is not told that it builds before it is
/// known that there is something to build, or that this cannot be known.
fn reads_a_first_commit(space: &Space, plan: &Plan) -> bool {
    let inspects = plan.actions.iter().any(|action| matches!(action, Action::Inspect { .. }));
    let waits = plan.diagnosis.as_ref().is_some_and(|why| !why.evidence.is_empty());
    inspects && !waits && space.stage == SpaceStage::NoAppFile && plan.serving.is_none()
}

/// Whether who asks may wait for an answer: an app starts, or sleeps and wakes for a visitor. For hardware one may
/// wait for hours.
fn is_soon(seen: &Seen, plan: &Plan) -> bool {
    let waits = matches!(&seen.observed.hardware, HardwareSeen::Waiting(wait) if wait.reason.is_some())
        || matches!(&seen.observed.hardware, HardwareSeen::Impossible { .. });
    match plan.stage {
        SpaceStage::AppStarting => !waits,
        SpaceStage::Sleeping => seen.observed.asleep.is_some(),
        _ => false,
    }
}

/// What stopped a worker; it tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    /// The database.
    #[error("the database failed")]
    Store(#[from] spaceport_store::StoreError),
    /// The repository.
    #[error("the repository failed")]
    Git(#[from] spaceport_git::GitError),
    /// The engine, with something that can pass.
    #[error("the engine failed")]
    Runtime(#[from] spaceport_runtime::RuntimeError),
    /// A file.
    #[error("a file could not be written or removed")]
    Io(#[from] std::io::Error),
}
