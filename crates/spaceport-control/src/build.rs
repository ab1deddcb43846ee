//! The reconciler of builds: a queue with a limit, fair per owner, under leases.

mod context;
mod dockerfile;
mod environment;
mod preload;
mod python;
mod requirements;
mod room;
mod scripts;
mod site;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use spaceport_core::gpu::{QuotaNode, QuotaPath, QuotaTree};
use spaceport_core::queue::{Queued, Turns, next_builds};
use spaceport_core::space::{Artifact, Build, BuildState, Inspection, Space};
use spaceport_core::{BuildId, Diagnosis, Reason, Sdk, Timestamp};
use spaceport_runtime::RuntimeError;
use spaceport_store::{BuildEnd, StoreError};
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::chain;
use crate::handle::TaskStatus;
use crate::spaces::Parts;

use context::Context;

/// The queue is looked at this often, whatever was signalled.
const TICK: Duration = Duration::from_secs(5);

/// The download cache of an owner: this and the account's id.
pub(crate) const CACHE_VOLUME: &str = "spaceport-cache-";
/// The download cache of what the site itself installs.
pub(crate) const SITE_CACHE_VOLUME: &str = "spaceport-cache-site";

/// How a build ended, if not with an artifact.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The author can mend it.
    Failed(Box<Diagnosis>),
    /// Somebody canceled it.
    Canceled,
    /// The engine went away, or something else that passes: the build goes back into the queue.
    Again(String),
}

impl From<RuntimeError> for Stop {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Canceled => Self::Canceled,
            error => Self::Again(chain(&error)),
        }
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Again(format!("a file of the platform could not be written: {error}"))
    }
}

/// The reconciler.
#[derive(Debug, Clone)]
pub struct Builds {
    parts: Parts,
    /// Names this process: a build under another lease lost its worker.
    lease: String,
    running: Arc<Mutex<HashMap<BuildId, CancellationToken>>>,
    /// One environment is built once, however many builds want it.
    making: Arc<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>>,
    /// SDKs that were needed since this process began.
    needed: Arc<Mutex<HashSet<String>>>,
    /// SDKs whose environment could not be made, when, and why.
    failed_sdks: Arc<Mutex<HashMap<String, (Timestamp, Diagnosis)>>>,
    /// Builds that failed for the platform's sake, and how often.
    retries: Arc<Mutex<HashMap<BuildId, u32>>>,
}

/// What failed for an SDK is not tried again for so long: it costs every build minutes.
const SDK_FAILED_FOR: Duration = Duration::from_secs(30 * 60);
/// A build is put back into the queue so often before it fails.
const MAX_RETRIES: u32 = 5;

impl Builds {
    /// A reconciler that does nothing until it runs.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let lease = format!("{:032x}", crate::clock::random());
        Self {
            parts,
            lease,
            running: Arc::default(),
            making: Arc::default(),
            needed: Arc::default(),
            failed_sdks: Arc::default(),
            retries: Arc::default(),
        }
    }

    /// Runs until told to stop. Builds under way are abandoned: their containers are removed and
    /// the next process takes them up.
    pub async fn run(&self, stop: CancellationToken) {
        let tracker = TaskTracker::new();
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.parts.engine.ready() => {}
        }
        let control = &self.parts.control;
        while !stop.is_cancelled() {
            let began = Instant::now();
            let result = self.pass(&tracker, &stop).await;
            let message = match &result {
                Ok(message) => message.clone(),
                Err(error) => chain(error),
            };
            let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let at = control.clock().now();
            control.report("builds", TaskStatus { ok: result.is_ok(), message, at, duration_ms });
            tokio::select! {
                () = stop.cancelled() => {}
                () = control.clock().sleep(TICK) => {}
                () = control.builds_woken() => {}
            }
        }
        tracker.close();
        tracker.wait().await;
    }

    async fn pass(&self, tracker: &TaskTracker, stop: &CancellationToken) -> Result<String, StoreError> {
        let store = &self.parts.store;
        for space in store.builds_requeue(&self.lease, self.parts.control.clock().now()).await? {
            self.parts.control.activate(space);
        }
        let unfinished = store.builds_unfinished().await?;
        let mut queued = Vec::new();
        for build in &unfinished {
            if build.cancel_requested {
                let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(cancel) = running.get(&build.id) {
                    cancel.cancel();
                }
            }
            let Some(space) = store.space_by_id(build.space).await? else { continue };
            let running = build.state == BuildState::Running;
            let account = store.quota_path(space.owner, space.creator).await?;
            queued.push(Queued {
                build: build.id,
                space: build.space,
                owner: space.owner,
                account: account.unwrap_or_else(QuotaPath::site),
                queued_at: build.queued_at,
                running,
            });
        }
        if self.parts.engine.info().is_some() {
            let (_, places) = store.quotas().await?;
            let nodes = places.into_iter().map(|place| QuotaNode { path: place.path, quota: place.quota });
            // A tree that contradicts itself was refused when it was written.
            let quotas = QuotaTree::new(nodes).unwrap_or_default();
            let turns = next_builds(&queued, self.parts.config.builder.concurrency, &quotas);
            self.say_why(&unfinished, &turns).await?;
            for id in turns.start {
                let Some(build) = unfinished.iter().find(|build| build.id == id) else { continue };
                let Some(space) = store.space_by_id(build.space).await? else { continue };
                if store.build_claim(id, &self.lease, self.parts.control.clock().now()).await? {
                    self.spawn(build.clone(), space, tracker, stop);
                }
            }
        }
        let waiting = queued.iter().filter(|build| !build.running).count();
        Ok(format!("{} running, {waiting} waiting", queued.len() - waiting))
    }

    /// Keeps what each build waits for, where it is another thing than before.
    async fn say_why(&self, unfinished: &[Build], turns: &Turns) -> Result<(), StoreError> {
        let now = self.parts.control.clock().now();
        for build in unfinished.iter().filter(|build| build.state == BuildState::Queued) {
            let why = turns.told(build.id, build.queued_at, now);
            // Who was told nothing yet is told the same by its plan.
            let is_told = build.diagnosis.as_ref().map_or(why.remedy.is_empty(), |told| *told == why);
            if !is_told && !turns.start.contains(&build.id) && self.parts.store.build_waits(build.id, &why).await? {
                self.parts.control.activate(build.space);
            }
        }
        Ok(())
    }

    fn spawn(&self, build: Build, space: Space, tracker: &TaskTracker, stop: &CancellationToken) {
        let cancel = stop.child_token();
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(build.id, cancel.clone());
        let (this, stop) = (self.clone(), stop.clone());
        tracker.spawn(async move {
            let id = build.id;
            let space_id = build.space;
            this.parts.control.activate(space_id);
            this.work(build, space, cancel, &stop).await;
            this.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            this.parts.control.activate(space_id);
            this.parts.control.activate_builds();
        });
    }

    /// One build from its claim to its end.
    async fn work(&self, build: Build, space: Space, cancel: CancellationToken, stop: &CancellationToken) {
        let now = || self.parts.control.clock().now();
        let context = Context::open(self, build, space, cancel);
        let began = Instant::now();
        context.say(&format!("===== Build {} of {} at {} =====", context.build.number, context.build.sha, now()));
        let limit = self.parts.config.builder.limits.time;
        let outcome = tokio::select! {
            // Half of a build is of no use to anyone, so whatever panicked is not looked at again.
            outcome = AssertUnwindSafe(self.make(&context)).catch_unwind() => {
                outcome.unwrap_or_else(|_| Err(Stop::Again("the builder panicked; its log says where".to_owned())))
            }
            () = self.parts.control.clock().sleep(limit) => {
                context.cancel.cancel();
                Err(Stop::Failed(Box::new(context.timed_out(limit))))
            }
        };
        context.clean().await;
        if stop.is_cancelled() {
            // The next process takes the build up; its log says so.
            context.say("The server is shutting down; the build starts again with it.");
            return;
        }
        let (state, diagnosis, artifact) = match outcome {
            Ok(artifact) => {
                context.say(&format!("===== Built in {:.1} s =====", began.elapsed().as_secs_f64()));
                (BuildState::Succeeded, None, Some(artifact))
            }
            Err(Stop::Failed(why)) => {
                context.say(&format!("===== Failed: {} =====", why.message));
                if !why.remedy.is_empty() {
                    context.say(&why.remedy);
                }
                (BuildState::Failed, Some(*why), None)
            }
            Err(Stop::Canceled) => {
                context.say("===== Canceled =====");
                (BuildState::Canceled, self.why_canceled(&context).await, None)
            }
            Err(Stop::Again(message)) => {
                let tries = {
                    let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
                    let tries = retries.entry(context.build.id).or_default();
                    *tries += 1;
                    *tries
                };
                context.say(&format!("The platform failed: {message}"));
                if tries <= MAX_RETRIES {
                    context.say("The build starts again as soon as the platform is back.");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = context.cancel.cancelled() => {}
                        () = self.parts.control.clock().sleep(TICK * tries) => {}
                    }
                    let put_back = || self.parts.store.build_requeue(context.build.id, &self.lease, now());
                    self.record(put_back, stop).await;
                    return;
                }
                let why = context.diagnosis(
                    Reason::EngineUnavailable,
                    &format!("The platform could not do this build: {message}."),
                    "This is not your app's fault. Ask the administrator, then restart the Space.",
                );
                (BuildState::Failed, Some(why), None)
            }
        };
        let phases = context.phases();
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).remove(&context.build.id);
        let end = BuildEnd { state, diagnosis, artifact, phases, at: now() };
        let finish = || self.parts.store.build_finish(context.build.id, &self.lease, &end);
        match self.record(finish, stop).await {
            Some(true) => tracing::info!(
                build.id = %context.build.id, space.name = %context.space.name, duration_ms = began.elapsed().as_millis(),
                "build {} of {} {state}", context.build.number, context.space.name,
            ),
            Some(false) => {
                tracing::warn!(build.id = %context.build.id, "a build ended without its lease; its result is dropped")
            }
            None => {}
        }
    }

    /// Writes how a build ended until the database takes it: one without an end would be thought
    /// to run as long as this process does. `None` when told to stop; the next process builds anew.
    async fn record<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        write: impl Fn() -> F,
        stop: &CancellationToken,
    ) -> Option<T> {
        loop {
            match write().await {
                Ok(written) => return Some(written),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the end of a build is not recorded yet")
                }
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = self.parts.control.clock().sleep(TICK) => {}
            }
        }
    }

    /// Whoever asked for the end said why.
    async fn why_canceled(&self, context: &Context) -> Option<Diagnosis> {
        let row = self.parts.store.build_by_id(context.build.id).await.ok().flatten();
        let why = row.filter(|row| row.cancel_requested).and_then(|row| row.diagnosis);
        why.or_else(|| {
            let remedy = "Restart the Space to build this commit.";
            Some(context.diagnosis(Reason::BuildCanceled, "The build was canceled.", remedy))
        })
    }

    /// Whatever a build waits for ends with its cancel: what runs ends with the call that runs it.
    async fn make(&self, context: &Context) -> Result<Artifact, Stop> {
        tokio::select! {
            made = self.make_to_the_end(context) => made,
            () = context.cancel.cancelled() => Err(Stop::Canceled),
        }
    }

    async fn make_to_the_end(&self, context: &Context) -> Result<Artifact, Stop> {
        context.prepare().await?;
        let revision = self.parts.store.revision(context.space.id, &context.build.sha).await;
        let Ok(Some(Inspection::Buildable(config))) = revision else {
            return Err(Stop::Again("the commit's configuration could not be read".to_owned()));
        };
        if config.hf_oauth {
            context.say("Warning: hf_oauth is ignored: sign-in with the Hub is not offered to apps yet");
        }
        room::need(&self.parts, context).await?;
        let runs_code = config.sdk != Sdk::Static || config.app_build_command.is_some();
        if runs_code && self.parts.starts_refused() {
            context.phase("isolation", "Waiting until what keeps builds from the node is in place").await;
            self.parts.engine.isolated().await;
        }
        let building = async {
            match config.sdk {
                Sdk::Gradio | Sdk::Streamlit => python::build(self, context, &config).await,
                Sdk::Docker => dockerfile::build(self, context).await,
                Sdk::Static => site::build(self, context, &config).await,
            }
        };
        tokio::select! {
            built = building => built,
            // What runs ends with the call that runs it.
            stop = room::exhausted(&self.parts, context, config.sdk == Sdk::Docker) => Err(stop),
        }
    }

    /// Whether nobody asked for what `key` names before.
    fn is_first_to_need(&self, key: &str) -> bool {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned())
    }

    /// Why the environment of an SDK could not be made a while ago.
    fn sdk_failure(&self, key: &str) -> Option<Diagnosis> {
        let since = self.parts.control.clock().now() - SDK_FAILED_FOR;
        let mut failed = self.failed_sdks.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|_, (at, _)| *at > since);
        failed.get(key).map(|(_, why)| why.clone())
    }

    fn sdk_failed(&self, key: &str, why: &Diagnosis) {
        let now = self.parts.control.clock().now();
        self.failed_sdks.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), (now, why.clone()));
    }

    /// Serialises the making of what `key` names.
    fn making(&self, key: &str) -> Arc<AsyncMutex<()>> {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        making.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(making.entry(key.to_owned()).or_default())
    }
}
