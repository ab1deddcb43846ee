//! Small endpoints that clients call without being asked to. They must not fail, and nothing of
//! what they send is kept.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::config::ConfigError;
use spaceport_core::{RepoKind, front_matter};

use crate::error::ApiError;
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
    /// `model`, `dataset` or `space`; `model` when absent. Of a Space the values are checked as well.
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
pub async fn validate_yaml(JsonBody(body): JsonBody<YamlCheck>) -> Result<(StatusCode, Json<YamlVerdict>), ApiError> {
    // The client's word is the type, but some send the segment of the path.
    let kind = body.repo_type.as_deref().filter(|kind| !kind.is_empty());
    let kind = match kind.and_then(RepoKind::from_segment) {
        Some(kind) => kind,
        None => crate::repos::kind(kind)?,
    };
    let errors = mistakes(kind, body.content.as_bytes());
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    Ok((status, Json(YamlVerdict { errors, warnings: Vec::new() })))
}

/// Every mistake in the front matter of a README. That of a Space must say what to run; others may
/// have none.
pub(crate) fn mistakes(kind: RepoKind, readme: &[u8]) -> Vec<YamlMessage> {
    let mistakes = match kind {
        RepoKind::Space => front_matter::parse(readme).err().unwrap_or_default(),
        RepoKind::Model | RepoKind::Dataset => front_matter::check_card(readme).err().into_iter().collect(),
    };
    let message = |mistake: &ConfigError| {
        let allowed =
            if mistake.allowed.is_empty() { String::new() } else { format!(" (allowed: {})", mistake.allowed) };
        YamlMessage { message: format!("{mistake}{allowed}") }
    };
    mistakes.iter().map(message).collect()
}
