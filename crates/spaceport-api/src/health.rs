//! `GET /api/health`: whether this process can do its work, and which part cannot.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::HealthProbe;

/// How the process is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Health {
    /// Every part that is needed is well.
    pub ready: bool,
    /// Of the binary.
    pub version: String,
    /// By name: `database`, `engine`, `proxy`, and each reconciler.
    pub parts: BTreeMap<String, HealthPart>,
}

/// How one part is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HealthPart {
    /// It works.
    pub ok: bool,
    /// Something of it is missing, which its message tells.
    pub degraded: bool,
    /// What it is, or what is wrong with it.
    pub message: String,
}

impl Health {
    /// From its parts: ready when all of them are well.
    #[must_use]
    pub fn of(version: &str, parts: BTreeMap<String, HealthPart>) -> Self {
        Self { ready: parts.values().all(|part| part.ok), version: version.to_owned(), parts }
    }
}

/// How the server is
///
/// 200 when it can do its work, 503 with the state of its parts otherwise. Needs no account.
#[utoipa::path(get, path = "/api/health", tag = "site",
    responses((status = 200, body = Health), (status = 503, body = Health)))]
pub async fn get_health(State(probe): State<HealthProbe>) -> (StatusCode, Json<Health>) {
    let health = probe.look().await;
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}
