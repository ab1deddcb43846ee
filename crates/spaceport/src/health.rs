//! What `/api/health` says.

use std::collections::BTreeMap;

use spaceport_api::{Health, HealthPart, HealthProbe};
use spaceport_control::Parts;
use spaceport_runtime::EngineInfo;

const ROOM_UNKNOWN: &str = "How much room is left on the engine's disk is not known, so builds may fill it: its folder (the \
                            Docker Root Dir of docker info) is not visible to Spaceport. In a container, mount a folder of \
                            that disk there, as deploy/compose.yaml does.";

/// Database and engine are asked, reconcilers have reported. An engine elsewhere never tells how much room it has.
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
            let mut statuses = parts.control.statuses();
            let reported = statuses.remove("engine").map(|status| status.message);
            for (name, status) in statuses {
                part(name, status.ok, status.message);
            }
            // Apps run on without them.
            let silent = &parts.control.inventory().known().silent;
            if !silent.is_empty() {
                let message = silent.join(" ");
                health.insert("devices".to_owned(), HealthPart { ok: true, degraded: true, message });
            }
            let engine = match parts.engine.info() {
                Some(info) => {
                    let room_is_known = !engine_is_here || room_is_known(&parts).await;
                    prepared(&info, parts.config.allow_unfiltered, room_is_known)
                }
                None => {
                    let message = reported.unwrap_or_else(|| "not reached yet".to_owned());
                    HealthPart { ok: false, degraded: false, message }
                }
            };
            health.insert("engine".to_owned(), engine);
            Health::of(env!("CARGO_PKG_VERSION"), health)
        }
    })
}

/// An engine that does not answer is told of by those who need it.
async fn room_is_known(parts: &Parts) -> bool {
    parts.engine.runtime.room().await.is_ok_and(|room| room.disk_bytes.is_some())
}

/// An engine without isolation is of use only where the operator said so; one whose disk may fill is.
fn prepared(info: &EngineInfo, allow_unfiltered: bool, room_is_known: bool) -> HealthPart {
    let isolated = info.warnings.is_empty();
    let mut message = format!("Docker {} (API {})", info.version, info.api_version);
    for warning in &info.warnings {
        message.push_str(". ");
        message.push_str(warning);
    }
    if !isolated && !allow_unfiltered {
        message.push_str(" Until then no app is started; [docker] allow_unfiltered = true starts them all the same.");
    }
    let room = if room_is_known { None } else { Some(ROOM_UNKNOWN) };
    for (at, lack) in info.closed.iter().map(String::as_str).chain(room).enumerate() {
        message.push_str(if isolated && at == 0 { ". " } else { " " });
        message.push_str(lack);
    }
    let degraded = !isolated || !info.closed.is_empty() || !room_is_known;
    HealthPart { ok: isolated || allow_unfiltered, degraded, message }
}

#[cfg(test)]
mod tests {
    use spaceport_runtime::EngineHost;

    use super::*;

    #[test]
    fn what_an_engine_lacks_is_told() {
        let host = EngineHost { name: "node".to_owned(), cpus: 1, memory_bytes: 1 };
        let mut info = EngineInfo {
            version: "28.0".to_owned(),
            api_version: "1.48".to_owned(),
            host,
            warnings: Vec::new(),
            closed: Vec::new(),
        };
        let well = prepared(&info, false, true);
        assert_eq!(well, HealthPart { ok: true, degraded: false, message: "Docker 28.0 (API 1.48)".to_owned() });
        let blind = prepared(&info, false, false);
        assert!(blind.ok && blind.degraded && blind.message.contains("1.48). How much room"), "{blind:?}");
        info.closed.push("The hub is not found.".to_owned());
        let closed = prepared(&info, false, true);
        assert!(closed.ok && closed.degraded && closed.message.ends_with("1.48). The hub is not found."), "{closed:?}");
        info.warnings.push("No filter.".to_owned());
        let open = prepared(&info, false, false);
        assert!(!open.ok && open.degraded && open.message.ends_with("compose.yaml does."), "{open:?}");
        assert!(prepared(&info, true, true).ok);
    }
}
