//! Builds, releases and attempts: what our API adds to the Hub's.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::space::{Artifact, Build, Instance, Release};

use crate::views::runtime::DiagnosisView;

/// One build of one commit.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildView {
    /// Counts the Space's builds from 1.
    pub number: i64,
    /// The commit.
    pub sha: String,
    /// `queued`, `running`, `succeeded`, `failed` or `canceled`.
    pub state: String,
    /// Whether it ignores every cache.
    pub no_cache: bool,
    /// Asked for.
    pub queued_at: String,
    /// Began.
    pub started_at: Option<String>,
    /// Ended.
    pub finished_at: Option<String>,
    /// Milliseconds each phase took.
    pub phases_ms: BTreeMap<String, u64>,
    /// What it is doing, or why it failed.
    pub diagnosis: Option<DiagnosisView>,
    /// Somebody wants it to end.
    pub cancel_requested: bool,
}

impl BuildView {
    /// With the evidence of its diagnosis or without.
    #[must_use]
    pub fn of(build: &Build, evidence: bool) -> Self {
        Self {
            number: build.number,
            sha: build.sha.as_str().to_owned(),
            state: build.state.as_str().to_owned(),
            no_cache: build.no_cache,
            queued_at: build.queued_at.to_rfc3339(),
            started_at: build.started_at.map(|at| at.to_rfc3339()),
            finished_at: build.finished_at.map(|at| at.to_rfc3339()),
            phases_ms: build.phases.clone(),
            diagnosis: build.diagnosis.as_ref().map(|diagnosis| DiagnosisView::of(diagnosis, evidence)),
            cancel_requested: build.cancel_requested,
        }
    }
}

/// An immutable release: what runs, with which settings, on which hardware.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseView {
    /// Counts the Space's releases from 1.
    pub number: i64,
    /// The commit.
    pub sha: String,
    /// The image's digest; null for static files.
    pub image: Option<String>,
    /// The SDK.
    pub sdk: String,
    /// The hardware.
    pub hardware: String,
    /// The names of its variables.
    pub variables: Vec<String>,
    /// The names of its secrets.
    pub secrets: Vec<String>,
    /// Made.
    pub created_at: String,
    /// When it last began to answer.
    pub ready_at: Option<String>,
    /// Whether it answers requests now.
    pub serving: bool,
}

impl ReleaseView {
    /// Of a release; `serving` when requests reach it.
    #[must_use]
    pub fn of(release: &Release, serving: bool) -> Self {
        let image = match &release.artifact {
            Artifact::Image { digest } => Some(digest.as_str().to_owned()),
            Artifact::Files { .. } => None,
        };
        Self {
            number: release.number,
            sha: release.sha.as_str().to_owned(),
            image,
            sdk: release.config.sdk.as_str().to_owned(),
            hardware: release.hardware.0.clone(),
            variables: release.variables.keys().cloned().collect(),
            secrets: release.sealed_secrets.keys().cloned().collect(),
            created_at: release.created_at.to_rfc3339(),
            ready_at: release.ready_at.map(|at| at.to_rfc3339()),
            serving,
        }
    }
}

/// One attempt to run a release.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    /// Identity.
    pub id: String,
    /// The number of the release; null when it is gone.
    pub release: Option<i64>,
    /// Counts the attempts for one release and restart, from 1.
    pub attempt: i64,
    /// Asked for.
    pub created_at: String,
    /// The container ran.
    pub started_at: Option<String>,
    /// The app answered.
    pub ready_at: Option<String>,
    /// New requests no longer reach it.
    pub retired_at: Option<String>,
    /// Over.
    pub ended_at: Option<String>,
    /// Whether the platform ended it, and not the app itself.
    pub ended_by_platform: bool,
    /// Why it ended, or what holds it up.
    pub diagnosis: Option<DiagnosisView>,
}

impl InstanceView {
    /// Of an attempt.
    #[must_use]
    pub fn of(instance: &Instance, release: Option<i64>, evidence: bool) -> Self {
        Self {
            id: instance.id.to_string(),
            release,
            attempt: instance.attempt,
            created_at: instance.created_at.to_rfc3339(),
            started_at: instance.started_at.map(|at| at.to_rfc3339()),
            ready_at: instance.ready_at.map(|at| at.to_rfc3339()),
            retired_at: instance.retired_at.map(|at| at.to_rfc3339()),
            ended_at: instance.ended_at.map(|at| at.to_rfc3339()),
            ended_by_platform: instance.ended_by_us,
            diagnosis: instance.diagnosis.as_ref().map(|diagnosis| DiagnosisView::of(diagnosis, evidence)),
        }
    }
}
