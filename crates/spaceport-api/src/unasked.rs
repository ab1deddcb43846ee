//! Small endpoints that clients call without being asked to. They must not fail, and nothing of
//! what they send is kept.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::front_matter;

use crate::extract::JsonBody;

/// Agent harnesses this hub knows: none
#[utoipa::path(get, path = "/api/agent-harnesses", tag = "site", responses((status = 200, body = Object)))]
pub async fn list_agent_harnesses() -> Json<Value> {
    Json(json!({"standardEnvVars": [], "harnesses": {}}))
}

/// Library telemetry: answered, never kept.
pub async fn ignore_telemetry() -> StatusCode {
    StatusCode::OK
}

/// A README to be checked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct YamlCheck {
    /// All of `README.md`.
    #[serde(default)]
    pub content: String,
    /// `space`; only the front matter of Spaces is checked.
    pub repo_type: Option<String>,
}

/// What is wrong with a README.
#[derive(Debug, Serialize, ToSchema)]
pub struct YamlVerdict {
    /// What keeps it from working.
    pub errors: Vec<YamlMessage>,
    /// Always empty.
    pub warnings: Vec<YamlMessage>,
}

/// One mistake.
#[derive(Debug, Serialize, ToSchema)]
pub struct YamlMessage {
    /// Place, mistake and what is allowed.
    pub message: String,
}

/// Check the front matter of a README
///
/// 200 when it is fine, 400 with every mistake and its line otherwise.
#[utoipa::path(post, path = "/api/validate-yaml", tag = "repositories", request_body = YamlCheck,
    responses((status = 200, body = YamlVerdict), (status = 400, body = YamlVerdict)))]
pub async fn validate_yaml(JsonBody(body): JsonBody<YamlCheck>) -> (StatusCode, Json<YamlVerdict>) {
    let mistakes = match body.repo_type.as_deref() {
        Some("space" | "spaces") => front_matter::parse(body.content.as_bytes()).err().unwrap_or_default(),
        _ => Vec::new(),
    };
    let message = |mistake: &spaceport_core::config::ConfigError| {
        let allowed =
            if mistake.allowed.is_empty() { String::new() } else { format!(" (allowed: {})", mistake.allowed) };
        YamlMessage { message: format!("{mistake}{allowed}") }
    };
    let status = if mistakes.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    (status, Json(YamlVerdict { errors: mistakes.iter().map(message).collect(), warnings: Vec::new() }))
}
