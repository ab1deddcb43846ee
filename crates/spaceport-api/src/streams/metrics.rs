//! What a running Space uses, about once a second.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};

use spaceport_control::UsageSample;

use crate::access::WriteSpace;
use crate::error::ErrorBody;
use crate::state::ApiState;
use crate::streams::reader::Reader;
use crate::streams::{event, sse};
use crate::views::SpacePath;

const PACE: Duration = Duration::from_secs(1);

/// One sample. Hub: the metrics stream of a Space.
#[derive(Debug, Serialize)]
struct Metrics {
    cpu_usage_pct: u64,
    cpu_millicores: u64,
    memory_used_bytes: u64,
    memory_total_bytes: u64,
    rx_bps: u64,
    tx_bps: u64,
    gpus: Map<String, Value>,
    replica: String,
    timestamp: String,
}

impl Metrics {
    fn of(sample: &UsageSample, limit_millicores: u64, replica: &str) -> Self {
        Self {
            cpu_usage_pct: sample.cpu_millicores * 100 / limit_millicores.max(1),
            cpu_millicores: sample.cpu_millicores,
            memory_used_bytes: sample.total.memory_bytes,
            memory_total_bytes: sample.total.memory_limit_bytes,
            rx_bps: sample.rx_bps,
            tx_bps: sample.tx_bps,
            gpus: Map::new(),
            replica: replica.to_owned(),
            timestamp: sample.at.to_rfc3339(),
        }
    }
}

/// What a Space uses, as events
///
/// CPU, memory and network about once a second while it runs.
#[utoipa::path(get, path = "/api/spaces/{owner}/{name}/metrics", tag = "logs", params(SpacePath),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 403, body = ErrorBody)))]
pub async fn stream_metrics(State(state): State<ApiState>, to: WriteSpace) -> Response {
    let flavor = state.site.hardware.get(&to.space.desired.hardware);
    let limit = flavor.map_or(1000, |flavor| u64::from(flavor.cpu_millicores));
    let reader = Reader::of_logs(&state, to.user.into(), to.space.id);
    let events = async_stream::stream! {
        let mut pace = tokio::time::interval(PACE);
        loop {
            pace.tick().await;
            if let Some(sample) = state.control.usage(to.space.id) {
                yield event(&Metrics::of(&sample, limit, to.space.subdomain.as_str()));
            }
        }
    };
    sse(reader, events)
}
