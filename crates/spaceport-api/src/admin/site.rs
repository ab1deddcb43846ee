//! How the reconcilers are doing, and who changed what.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use spaceport_core::Timestamp;

use crate::caller::Admin;
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::state::ApiState;

/// How a reconciler is doing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskView {
    /// Its last activation went through.
    pub ok: bool,
    /// What it did, or why it failed.
    pub message: String,
    /// When it last ended.
    pub at: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// How the reconcilers are doing
#[utoipa::path(get, path = "/api/admin/tasks", tag = "admin",
    responses((status = 200, body = BTreeMap<String, TaskView>), (status = 403, body = ErrorBody)))]
pub async fn list_tasks(State(state): State<ApiState>, _: Admin) -> Json<BTreeMap<String, TaskView>> {
    let view = |(name, status): (&'static str, spaceport_control::TaskStatus)| {
        let view = TaskView {
            ok: status.ok,
            message: status.message,
            at: status.at.to_rfc3339(),
            duration_ms: status.duration_ms,
        };
        (name.to_owned(), view)
    };
    Json(state.control.statuses().into_iter().map(view).collect())
}

/// One change.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditView {
    /// Identity; later entries have larger ones.
    pub id: String,
    /// When.
    pub at: String,
    /// Who.
    pub actor: String,
    /// From where.
    pub origin: String,
    /// What, `space.create` for one.
    pub action: String,
    /// To what.
    pub subject: String,
    /// With which values; never a secret one.
    pub detail: Value,
}

/// Who changed what, newest first
#[utoipa::path(get, path = "/api/admin/audit", tag = "admin",
    params(("limit" = Option<u64>, Query, description = "At most so many; 100 when absent, 1000 at most"),
        ("until" = Option<u64>, Query, description = "Unix milliseconds; only entries up to then")),
    responses((status = 200, body = [AuditView]), (status = 403, body = ErrorBody)))]
pub async fn list_audit(
    State(state): State<ApiState>,
    _: Admin,
    params: Params,
) -> Result<Json<Vec<AuditView>>, ApiError> {
    let limit = i64::try_from(params.number("limit")?.unwrap_or(100).clamp(1, 1000)).unwrap_or(1000);
    let until = params.number("until")?.map_or(i64::MAX, |at| i64::try_from(at).unwrap_or(i64::MAX));
    let entries = state.store.audit_latest(Timestamp::from_millis(until), limit).await?;
    let view = |entry: spaceport_store::AuditEntry| AuditView {
        at: Timestamp::from_millis(entry.at).to_rfc3339(),
        detail: serde_json::from_str(&entry.detail).unwrap_or(Value::String(entry.detail)),
        id: entry.id,
        actor: entry.actor,
        origin: entry.origin,
        action: entry.action,
        subject: entry.subject,
    };
    Ok(Json(entries.into_iter().map(view).collect()))
}
