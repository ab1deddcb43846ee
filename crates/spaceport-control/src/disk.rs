//! What apps write to their own disks, one app after the other: the engine walks the files of each, so no more than a
//! small part of its time goes to it. What is over a limit is for the plan to see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use spaceport_runtime::ContainerState;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::handle::ControlHandle;

/// Between two rounds through all apps.
const PERIOD: Duration = Duration::from_secs(60);
/// After an app nobody is measured for so many times as long as that took.
const PAUSES: u32 = 10;

/// Measures until told to stop.
pub async fn run(engine: Arc<Engine>, control: ControlHandle, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => return,
            () = control.clock().sleep(PERIOD) => {}
        }
        let Some(containers) = engine.containers().await else { continue };
        control.keep_disks(|instance| containers.contains_key(&instance));
        for container in containers.values() {
            if !matches!(container.state, ContainerState::Running { .. }) {
                continue;
            }
            let began = Instant::now();
            match engine.runtime.disk_used(&container.id).await {
                Ok(Some(bytes)) if control.set_disk(container.instance, bytes) => {
                    control.activate_quietly(container.space);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(
                    space.id = %container.space, error = &error as &dyn std::error::Error,
                    "what an app wrote to its disk is not known"
                ),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = control.clock().sleep(began.elapsed() * PAUSES) => {}
            }
        }
    }
}
