//! Keeps what apps print: one follower per running container, writing to the attempt's log.
//!
//! The engine's own log is rotated and goes with the container; ours stays, so a crash loop can
//! be read after the fact.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use spaceport_core::InstanceId;
use spaceport_runtime::Container;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::Engine;
use crate::handle::ControlHandle;
use crate::logs::LogId;

/// The last lines of an app that ended are waited for so long.
const LAST_LINES: Duration = Duration::from_secs(3);

/// The followers of all running containers.
#[derive(Debug, Clone)]
pub(crate) struct Followers {
    control: ControlHandle,
    engine: Arc<Engine>,
    running: Arc<Mutex<HashMap<InstanceId, watch::Receiver<bool>>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Followers {
    pub(crate) fn new(control: ControlHandle, engine: Arc<Engine>) -> Self {
        Self { control, engine, running: Arc::default(), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Begins to follow a container; one that is followed already is left alone. After a restart
    /// of the server the log goes on after its last line.
    pub(crate) fn follow(&self, container: &Container) {
        let instance = container.instance;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains_key(&instance) {
            return;
        }
        let (done, finished) = watch::channel(false);
        running.insert(instance, finished);
        drop(running);
        let (this, container) = (self.clone(), container.clone());
        self.tasks.spawn(async move {
            let stop = this.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = this.copy(&container) => {}
            }
            // Forgotten first: whoever waits may follow again at once.
            this.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&instance);
            let _ = done.send(true);
        });
    }

    async fn copy(&self, container: &Container) {
        let log = LogId::Run(container.space, container.instance);
        let logs = self.control.logs().clone();
        let opened = tokio::task::spawn_blocking(move || (logs.last_position(log), logs.writer(log))).await;
        let (since, writer) = match opened {
            Ok((since, Ok(writer))) => (since, writer),
            Ok((_, Err(error))) => {
                tracing::error!(error = %error, "the log of an app cannot be written: {error}");
                return;
            }
            Err(_) => return,
        };
        let Ok(mut lines) = self.engine.runtime.logs(&container.id, since).await else { return };
        while let Some(line) = lines.next().await {
            match line {
                Ok(line) => writer.app_line(&line),
                Err(_) => break,
            }
        }
    }

    /// Waits until everything an ended app printed is in its log.
    pub(crate) async fn finished(&self, instance: InstanceId) {
        let finished = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(&instance).cloned();
        if let Some(mut finished) = finished {
            let _ = tokio::time::timeout(LAST_LINES, finished.wait_for(|done| *done)).await;
        }
    }

    /// Ends all of them.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
