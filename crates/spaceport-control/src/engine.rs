//! The engine as the reconcilers see it: up or down, and its containers.
//!
//! Events are only hints: the engine replays none. So the list is read again after each
//! reconnection and for every plan; plans made at the same time share one list.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use spaceport_core::plan::{Fault, Part};
use spaceport_core::{InstanceId, Timestamp};
use spaceport_runtime::{Container, EngineInfo, Runtime};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::handle::{ControlHandle, TaskStatus};

/// How long an engine that is away is left alone.
const RETRY: Duration = Duration::from_secs(2);
/// How soon what could not be put in place is tried again.
const MEND: Duration = Duration::from_secs(30);
/// How long before it is away an engine may have begun to end its containers: as long as Docker's gives them.
const ENDING: Duration = Duration::from_secs(15);
/// How often it is looked at whether what is in place still fits.
const REVIEW: Duration = Duration::from_secs(5 * 60);

/// Containers by instance, as of one moment.
pub(crate) type Containers = Arc<HashMap<InstanceId, Container>>;

/// The engine, watched.
pub struct Engine {
    /// The port.
    pub runtime: Arc<dyn Runtime>,
    list: Mutex<Option<(Instant, Option<Containers>)>>,
    state: watch::Sender<Option<EngineInfo>>,
    /// From when to when it was away the last time that it came back.
    away: watch::Sender<Option<(Timestamp, Timestamp)>>,
    clock: Clock,
    fault: SyncMutex<Option<Fault>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine nobody has spoken to yet.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, clock: Clock) -> Self {
        Self {
            runtime,
            list: Mutex::new(None),
            state: watch::Sender::new(None),
            away: watch::Sender::new(None),
            clock,
            fault: SyncMutex::new(None),
        }
    }

    /// What the engine is; `None` while it is away.
    #[must_use]
    pub fn info(&self) -> Option<EngineInfo> {
        self.state.borrow().clone()
    }

    /// What the engine is, as it changes; `None` while it is away.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<EngineInfo>> {
        self.state.subscribe()
    }

    /// Waits until the engine is prepared.
    pub async fn ready(&self) {
        // The sender lives as long as `self`.
        let _ = self.state.subscribe().wait_for(Option::is_some).await;
    }

    /// Whether what ended at this time, and not by us, ended with the engine.
    pub(crate) fn ended_with(&self, at: Timestamp) -> bool {
        self.away.borrow().is_some_and(|(from, to)| from - ENDING <= at && at <= to)
    }

    /// Whether everything that keeps apps from the node and from each other is in place.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.state.borrow().as_ref().is_some_and(|info| info.warnings.is_empty())
    }

    /// Waits until it is.
    pub(crate) async fn isolated(&self) {
        let is = |info: &Option<EngineInfo>| info.as_ref().is_some_and(|info| info.warnings.is_empty());
        // The sender lives as long as `self`.
        let _ = self.state.subscribe().wait_for(is).await;
    }

    /// Our containers, read after this call began; `None` when the engine does not answer or is
    /// not prepared.
    pub(crate) async fn containers(&self) -> Option<Containers> {
        let asked = Instant::now();
        let mut list = self.list.lock().await;
        if let Some((read, containers)) = &*list
            && *read >= asked
        {
            return containers.clone();
        }
        if self.state.borrow().is_none() {
            return None;
        }
        let read = Instant::now();
        let containers = match self.runtime.list().await {
            Ok(found) => {
                self.answers();
                Some(Arc::new(found.into_iter().map(|found| (found.instance, found)).collect()))
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the engine did not list its containers");
                self.fails(Part::Engine, &chain(&error));
                None
            }
        };
        *list = Some((read, containers.clone()));
        containers
    }

    /// Prepares the engine, passes its hints on, and does so again whenever it comes back.
    pub async fn watch(&self, control: ControlHandle, stop: CancellationToken) {
        let mut gone = None;
        while !stop.is_cancelled() {
            let began = Instant::now();
            let session = async {
                let info = self.runtime.prepare().await?;
                let message = format!("Docker {} (API {})", info.version, info.api_version);
                let events = self.runtime.events().await?;
                if let Some(from) = gone.take() {
                    self.away.send_replace(Some((from, control.clock().now())));
                }
                self.prepared(info);
                control.report("engine", status(true, message, began, &control));
                control.activate_all();
                Ok::<_, spaceport_runtime::RuntimeError>(events)
            };
            match session.await {
                Ok(mut events) => {
                    let mut mend = Box::pin(control.clock().sleep(self.next_look()));
                    loop {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = &mut mend => {
                                let fits = self.is_complete() && self.runtime.is_current().await;
                                // What fails here fails for everybody, and the events end with it.
                                if !fits && let Ok(info) = self.runtime.prepare().await {
                                    self.prepared(info);
                                    control.activate_all();
                                }
                                mend = Box::pin(control.clock().sleep(self.next_look()));
                            }
                            event = events.next() => match event {
                                Some(event) => match event.space {
                                    Some(space) => control.activate_quietly(space),
                                    None => control.activate_all(),
                                },
                                None => break,
                            },
                        }
                    }
                    tracing::warn!("the container engine went away");
                    gone = Some(control.clock().now());
                    self.fails(Part::Engine, "the engine closed the connection");
                }
                Err(error) => {
                    let text = chain(&error);
                    tracing::warn!(error = text, "the container engine is not ready: {text}");
                    self.fails(Part::Engine, &text);
                    control.report("engine", status(false, text, began, &control));
                }
            }
            self.state.send_replace(None);
            control.activate_all();
            tokio::select! {
                () = stop.cancelled() => return,
                () = control.clock().sleep(RETRY) => {}
            }
        }
    }
}

impl Engine {
    /// Takes what the engine is; what is missing is told once and when it changes.
    fn prepared(&self, info: EngineInfo) {
        let closed = self.info().map(|before| before.closed).unwrap_or_default();
        for service in info.closed.iter().filter(|service| !closed.contains(service)) {
            tracing::warn!("{service}");
        }
        let before = self.info().map(|before| before.warnings);
        if before.as_ref() != Some(&info.warnings) {
            for warning in &info.warnings {
                tracing::warn!(warning, "isolation is incomplete: {warning}");
            }
            if info.warnings.is_empty() && before.is_some() {
                tracing::info!("isolation is complete");
            }
        }
        self.state.send_replace(Some(info));
        self.answers();
    }

    /// Whether everything is in place, what apps may reach as well.
    fn is_complete(&self) -> bool {
        self.is_isolated() && self.info().is_some_and(|info| info.closed.is_empty())
    }

    fn next_look(&self) -> Duration {
        if self.is_complete() { REVIEW } else { MEND }
    }

    /// What keeps apps from starting, and since when.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Only what it warned of is wrong with it.
    fn answers(&self) {
        match self.info().filter(|info| !info.warnings.is_empty()) {
            Some(info) => self.fails(Part::PacketFilter, &info.warnings.join(" ")),
            None => *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = None,
        }
    }

    fn fails(&self, part: Part, error: &str) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let since = fault.as_ref().filter(|before| before.part == part).map(|before| before.since);
        *fault = Some(Fault::new(part, since.unwrap_or_else(|| self.clock.now()), error));
    }
}

fn status(ok: bool, message: String, began: Instant, control: &ControlHandle) -> TaskStatus {
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    TaskStatus { ok, message, at: control.clock().now(), duration_ms }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
