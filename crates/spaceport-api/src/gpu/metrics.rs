//! Accelerators for Prometheus: allocation, utilisation, queue, wait, preemptions, per account.
//!
//! Everything is read when it is asked for, from where it is true, so that nothing is forgotten with a restart. Only the
//! highest device time that was told is kept, while the server runs: a lease may turn out to have ended before it was read.
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>

mod text;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use spaceport_core::Timestamp;
use spaceport_core::gpu::ledger::DeviceTime;
use spaceport_core::gpu::{LeaseEnd, QuotaPath};
use spaceport_store::StoredLease;

use crate::caller::Admin;
use crate::error::{ApiError, ErrorBody};
use crate::gpu::devices::{DeviceView, Look};
use crate::state::ApiState;

use text::Exposition;

/// Metrics for Prometheus
///
/// For site admins: give Prometheus a token of one as its credentials.
#[utoipa::path(get, path = "/metrics", tag = "gpu",
    responses((status = 200, content_type = "text/plain", body = String), (status = 403, body = ErrorBody)))]
pub async fn get_metrics(State(state): State<ApiState>, Admin(user): Admin) -> Result<impl IntoResponse, ApiError> {
    let now = state.control.clock().now();
    let mut out = Exposition::default();
    let devices = Look::new(&state, user).await?.views(false).await?;
    write_devices(&mut out, &devices);
    let leases = state.store.leases_live().await?;
    write_queue(&mut out, &state, &leases, now).await?;
    write_accounts(&mut out, &state, &leases, now).await?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out.finish()))
}

fn write_devices(out: &mut Exposition, devices: &[DeviceView]) {
    let mut each = |name: &str, help: &str, value: &dyn Fn(&DeviceView) -> Option<String>| {
        out.begin(name, "gauge", help);
        for device in devices {
            if let Some(value) = value(device) {
                out.sample(name, &[("node", &device.node), ("device", &device.id), ("model", &device.model)], &value);
            }
        }
    };
    each("spaceport_gpu_healthy", "1 for a device that may be given out, 0 for one that may not.", &|device| {
        Some(u8::from(device.health == "healthy").to_string())
    });
    each("spaceport_gpu_allocated_ratio", "The part of a device that is leased.", &|device| {
        Some(text::thousandths(i128::from(device.leased_milli)))
    });
    each("spaceport_gpu_utilization_ratio", "How busy a device is, as its driver says.", &|device| {
        Some(text::thousandths(i128::from(device.utilization_percent?) * 10))
    });
    each("spaceport_gpu_memory_used_bytes", "Memory of a device that is in use.", &|device| {
        Some(device.memory_used_bytes?.to_string())
    });
    each("spaceport_gpu_memory_bytes", "Memory of a device.", &|device| Some(device.memory_bytes.to_string()));
}

async fn write_queue(
    out: &mut Exposition,
    state: &ApiState,
    leases: &[StoredLease],
    now: Timestamp,
) -> Result<(), ApiError> {
    let mut waiting: BTreeMap<QuotaPath, (u64, i128)> = BTreeMap::new();
    for stored in state.store.claims_live().await? {
        if leases.iter().any(|lease| lease.lease.claim == stored.claim.id) {
            continue;
        }
        let since = stored.again.map_or(stored.claim.submitted_at, |again| again.since);
        let (claims, oldest) = waiting.entry(stored.claim.account).or_default();
        *claims += 1;
        *oldest = (*oldest).max(millis(now.since(since)));
    }
    let name = "spaceport_gpu_queue_claims";
    out.begin(name, "gauge", "Claims that wait.");
    for (account, (claims, _)) in &waiting {
        out.sample(name, &[("account", &account.0)], &claims.to_string());
    }
    let name = "spaceport_gpu_queue_oldest_seconds";
    out.begin(name, "gauge", "How long the longest waiting claim waits.");
    for (account, (_, oldest)) in &waiting {
        out.sample(name, &[("account", &account.0)], &text::thousandths(*oldest));
    }
    Ok(())
}

async fn write_accounts(
    out: &mut Exposition,
    state: &ApiState,
    leases: &[StoredLease],
    now: Timestamp,
) -> Result<(), ApiError> {
    let mut has: BTreeMap<&QuotaPath, i128> = BTreeMap::new();
    for lease in leases {
        *has.entry(&lease.account).or_default() += i128::from(lease.shape.total_milli());
    }
    let name = "spaceport_gpu_account_devices";
    out.begin(name, "gauge", "Devices that an account has.");
    for (account, milli) in has {
        out.sample(name, &[("account", &account.0)], &text::thousandths(milli));
    }
    let name = "spaceport_gpu_device_seconds_total";
    out.begin(name, "counter", "Device time that an account had.");
    for (account, time) in state.told.rise(state.store.time_tallies(now).await?) {
        out.sample(name, &[("account", &account.0)], &text::thousandths(time.milli_seconds()));
    }
    let waits = state.store.wait_tallies().await?;
    let name = "spaceport_gpu_wait_seconds";
    out.begin(name, "summary", "How long claims waited that got devices.");
    for tally in &waits {
        let labels = [("account", tally.account.0.as_str())];
        out.sample(&format!("{name}_sum"), &labels, &text::thousandths(tally.waited_ms.into()));
        out.sample(&format!("{name}_count"), &labels, &tally.leases.to_string());
    }
    let ends = state.store.end_tallies().await?;
    let name = "spaceport_gpu_leases_ended_total";
    out.begin(name, "counter", "Leases that ended, by reason.");
    for tally in &ends {
        out.sample(name, &[("account", &tally.account.0), ("reason", tally.why.as_str())], &tally.leases.to_string());
    }
    let name = "spaceport_gpu_preemptions_total";
    out.begin(name, "counter", "Leases that were taken away for somebody with a better right.");
    for tally in ends.iter().filter(|tally| tally.why == LeaseEnd::Preempted) {
        out.sample(name, &[("account", &tally.account.0)], &tally.leases.to_string());
    }
    Ok(())
}

/// The device time that scrapes were told. A lease may turn out to have ended before the last of them, and a clock may
/// go back; a counter must not.
#[derive(Debug, Default)]
pub struct Told(Mutex<BTreeMap<QuotaPath, DeviceTime>>);

impl Told {
    /// The same times, none less than it was told before.
    fn rise(&self, times: Vec<(QuotaPath, DeviceTime)>) -> BTreeMap<QuotaPath, DeviceTime> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (account, time) in times {
            let highest = told.entry(account).or_default();
            *highest = time.max(*highest);
        }
        told.clone()
    }
}

fn millis(time: std::time::Duration) -> i128 {
    i128::try_from(time.as_millis()).unwrap_or(i128::MAX)
}
