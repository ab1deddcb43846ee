//! Use of CPU, memory and network per Space: sampled once a second while somebody asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use spaceport_core::SpaceId;
use spaceport_store::Store;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::handle::{ControlHandle, UsageSample};

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(1);
/// Somebody who asked so long ago is gone.
const INTEREST: Duration = Duration::from_secs(5);

/// Samples until told to stop.
pub async fn run(engine: Arc<Engine>, store: Store, control: ControlHandle, stop: CancellationToken) {
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before: HashMap<SpaceId, UsageSample> = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let wanted = control.usage_wanted(control.clock().now() - INTEREST);
        if wanted.is_empty() {
            before.clear();
            continue;
        }
        let Some(containers) = engine.containers().await else { continue };
        let mut samples = HashMap::new();
        for space in wanted {
            // The newest attempt that answers is the one that serves.
            let Ok(rows) = store.instances_of(space, 8).await else { continue };
            let serving =
                rows.iter().filter(|row| row.ended_at.is_none()).max_by_key(|row| (row.ready_at, row.created_at));
            let Some(container) = serving.and_then(|row| containers.get(&row.id)) else { continue };
            let Ok(Some(total)) = engine.runtime.usage(&container.id).await else { continue };
            let at = control.clock().now();
            let sample = match before.get(&space) {
                Some(last) if total.cpu_us >= last.total.cpu_us => {
                    let us = u64::try_from(at.since(last.at).as_micros()).unwrap_or(u64::MAX).max(1);
                    let per_second = |now: u64, then: u64| now.saturating_sub(then).saturating_mul(1_000_000) / us;
                    UsageSample {
                        at,
                        cpu_millicores: total.cpu_us.saturating_sub(last.total.cpu_us) * 1000 / us,
                        rx_bps: per_second(total.rx_bytes, last.total.rx_bytes),
                        tx_bps: per_second(total.tx_bytes, last.total.tx_bytes),
                        total,
                    }
                }
                _ => UsageSample { at, cpu_millicores: 0, rx_bps: 0, tx_bps: 0, total },
            };
            samples.insert(space, sample);
        }
        before.clone_from(&samples);
        control.set_usage(samples);
    }
}
