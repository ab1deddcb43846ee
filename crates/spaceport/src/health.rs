//! What `/api/health` says.

use std::collections::BTreeMap;

use spaceport_api::{Health, HealthPart, HealthProbe};
use spaceport_control::Parts;

/// What `/api/health` says when the engine is on this machine and its disk is not in sight.
const ROOM_UNKNOWN: &str = ". How much room is left on the engine's disk is not known, so builds may fill it: the engine's \
                            folder (docker info shows its Docker Root Dir) is not visible to Spaceport. In a container, mount \
                            a folder of that disk there, as deploy/compose.yaml does.";

/// Database and engine are asked, reconcilers have reported.
pub fn probe(parts: &Parts, engine_is_here: bool) -> HealthProbe {
    let parts = parts.clone();
    HealthProbe::new(move || {
        let parts = parts.clone();
        async move {
            let mut health = BTreeMap::new();
            let mut part = |name: &str, ok: bool, message: String| {
                health.insert(name.to_owned(), HealthPart { ok, degraded: false, message });
            };
            match parts.store.ping().await {
                Ok(()) => part("database", true, parts.store.engine().to_owned()),
                Err(error) => part("database", false, error.to_string()),
            }
            part("proxy", true, format!("{} hosts", parts.routes.current().hosts.len()));
            for (name, status) in parts.control.statuses() {
                part(name, status.ok, status.message);
            }
            let mut engine = engine_health(&parts);
            if engine_is_here && engine.ok && room_is_unknown(&parts).await {
                engine.degraded = true;
                engine.message.push_str(ROOM_UNKNOWN);
            }
            health.insert("engine".to_owned(), engine);
            Health::of(env!("CARGO_PKG_VERSION"), health)
        }
    })
}

/// Without it, a disk that is nearly full keeps no build from beginning.
async fn room_is_unknown(parts: &Parts) -> bool {
    parts.engine.runtime.room().await.is_ok_and(|room| room.disk_bytes.is_none())
}

/// An engine without isolation is of use only where the operator said so.
fn engine_health(parts: &Parts) -> HealthPart {
    let Some(info) = parts.engine.info() else {
        let reported = parts.control.statuses().remove("engine").map(|status| status.message);
        let message = reported.unwrap_or_else(|| "not reached yet".to_owned());
        return HealthPart { ok: false, degraded: false, message };
    };
    let degraded = !info.warnings.is_empty();
    let mut message = format!("Docker {} (API {})", info.version, info.api_version);
    for warning in &info.warnings {
        message.push_str(". ");
        message.push_str(warning);
    }
    if degraded && !parts.config.allow_unfiltered {
        message.push_str(" Until then no app is started; [docker] allow_unfiltered = true starts them all the same.");
    }
    HealthPart { ok: !degraded || parts.config.allow_unfiltered, degraded, message }
}
