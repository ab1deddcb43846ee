//! The runtime object: the Hub's, with our diagnosis beside it.
//! Hub: <https://huggingface.co/docs/huggingface_hub/package_reference/space_runtime>

use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use spaceport_core::space::{Artifact, Release, Space};
use spaceport_core::{Diagnosis, Sdk, SpaceStage};

use crate::error::ApiError;
use crate::spaces::volumes::VolumeView;
use crate::state::ApiState;

/// Attempts looked at to find the one that serves.
const ATTEMPTS_LOOKED_AT: i64 = 20;

/// How much somebody may see of what is inside a Space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insight {
    /// That it is there, and its app.
    App,
    /// Also the code.
    Code,
    /// Also logs and evidence.
    All,
}

impl Insight {
    /// By the rights to read the code and to change it.
    #[must_use]
    pub const fn of(code: bool, write: bool) -> Self {
        match (code, write) {
            (_, true) => Self::All,
            (true, false) => Self::Code,
            (false, false) => Self::App,
        }
    }

    /// Whether the words of a diagnosis are for these eyes: they may quote a line of a log, in which
    /// an app may have printed a password, or the code.
    fn reads(self, diagnosis: &Diagnosis) -> bool {
        let reason = diagnosis.reason;
        match self {
            Self::App => !reason.may_quote_logs() && !reason.may_quote_code(),
            Self::Code => !reason.may_quote_logs(),
            Self::All => true,
        }
    }
}

/// How a Space runs.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = SpaceRuntime)]
pub struct RuntimeView {
    /// The Hub's stage, `RUNNING` for one.
    pub stage: StageView,
    /// What it has and what it asks for.
    pub hardware: HardwareView,
    /// Seconds until it may sleep; null is never.
    #[serde(rename = "gcTimeout")]
    pub gc_timeout: Option<i64>,
    /// Always null: the Hub's older clients read it.
    pub storage: Option<String>,
    /// How many copies run.
    pub replicas: ReplicasView,
    /// Always false.
    #[serde(rename = "devMode")]
    pub dev_mode: bool,
    /// The host names it is reached by.
    pub domains: Vec<DomainView>,
    /// The commit that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
    /// Of the error stages: what happened.
    #[serde(rename = "errorMessage", skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// What is mounted into the app; only for those who may change the Space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<VolumeView>>,
    /// Where it is, why, and what to do.
    pub spaceport: StateView,
}

/// A stage, spelt as the Hub's clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StageView(pub SpaceStage);

impl PartialSchema for StageView {
    fn schema() -> RefOr<Schema> {
        let names = SpaceStage::ALL.map(SpaceStage::as_str);
        let text = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
        text.description(Some("The Hub's stage of a Space.")).into()
    }
}

impl ToSchema for StageView {
    fn name() -> std::borrow::Cow<'static, str> {
        "SpaceStage".into()
    }
}

/// Current and requested hardware; both null for static Spaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SpaceHardware)]
pub struct HardwareView {
    /// Of the release that serves.
    pub current: Option<String>,
    /// As asked for.
    pub requested: Option<String>,
}

/// Copies of the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SpaceReplicas)]
pub struct ReplicasView {
    /// Running now.
    pub current: i64,
    /// As asked for.
    pub requested: i64,
}

/// One host name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SpaceDomain)]
pub struct DomainView {
    /// The host, with the port when it is not the scheme's own.
    pub domain: String,
    /// `READY`.
    pub stage: String,
}

/// What the stage alone does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SpaceDiagnosis)]
pub struct StateView {
    /// The phase within the stage, `installing` for one.
    pub phase: String,
    /// When the phase began.
    pub since: Option<String>,
    /// When the stage ends by itself, at the latest.
    pub deadline: Option<String>,
    /// A stable code, `wrong_port`.
    pub reason: Option<String>,
    /// One sentence: what happened.
    pub message: String,
    /// One sentence: what to do.
    pub remedy: String,
    /// What it was concluded from; only for those who may change the Space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Vec<String>>,
    /// Whether requests reach an app.
    pub serving: bool,
    /// The number of the release that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<i64>,
}

/// A diagnosis of a build or an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Diagnosis)]
pub struct DiagnosisView {
    /// A stable code, `wrong_port`.
    pub reason: String,
    /// The phase, in a word or two.
    pub phase: String,
    /// One sentence: what happened.
    pub message: String,
    /// One sentence: what to do.
    pub remedy: String,
    /// What it was concluded from; only for those who may change the Space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Vec<String>>,
    /// When the phase began.
    pub since: String,
    /// When it ends by itself, at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

impl DiagnosisView {
    /// With the evidence or without.
    #[must_use]
    pub fn of(diagnosis: &Diagnosis, evidence: bool) -> Self {
        Self {
            reason: diagnosis.reason.code(),
            phase: diagnosis.phase.clone(),
            message: message(diagnosis, Insight::of(true, evidence)),
            remedy: remedy(diagnosis, Insight::of(true, evidence)),
            evidence: evidence.then(|| diagnosis.evidence.clone()),
            since: diagnosis.since.to_rfc3339(),
            deadline: diagnosis.deadline.map(|at| at.to_rfc3339()),
        }
    }
}

impl RuntimeView {
    /// Of a Space and the release that serves it.
    #[must_use]
    pub fn of(space: &Space, serving: Option<&Release>, domain: &str, insight: Insight) -> Self {
        let is_static = serving.map_or(space.sdk, |release| release.config.sdk) == Sdk::Static;
        let in_container = |flavor: &spaceport_core::FlavorName| (!is_static).then(|| flavor.0.clone());
        let failed = matches!(
            space.stage,
            SpaceStage::NoAppFile | SpaceStage::ConfigError | SpaceStage::BuildError | SpaceStage::RuntimeError
        );
        let diagnosis = space.diagnosis.as_ref();
        Self {
            stage: StageView(space.stage),
            hardware: HardwareView {
                current: serving.and_then(|release| in_container(&release.hardware)),
                requested: in_container(&space.desired.hardware),
            },
            gc_timeout: space.desired.sleep_after_s,
            storage: None,
            replicas: ReplicasView { current: i64::from(serving.is_some()), requested: 1 },
            dev_mode: false,
            domains: vec![DomainView { domain: domain.to_owned(), stage: "READY".to_owned() }],
            sha: serving.filter(|_| insight != Insight::App).map(|release| release.sha.as_str().to_owned()),
            error_message: diagnosis.filter(|_| failed).map(|diagnosis| sentence(diagnosis, insight)),
            volumes: None,
            spaceport: StateView::of(space, serving, insight),
        }
    }
}

impl StateView {
    fn of(space: &Space, serving: Option<&Release>, insight: Insight) -> Self {
        let diagnosis = space.diagnosis.as_ref();
        Self {
            phase: diagnosis.map_or_else(|| space.stage.as_str().to_ascii_lowercase(), |d| d.phase.clone()),
            since: diagnosis.map(|d| d.since.to_rfc3339()),
            deadline: diagnosis.and_then(|d| d.deadline).map(|at| at.to_rfc3339()),
            reason: diagnosis.map(|d| d.reason.code()),
            message: diagnosis.map_or_else(String::new, |d| message(d, insight)),
            remedy: diagnosis.map_or_else(String::new, |d| remedy(d, insight)),
            evidence: diagnosis.filter(|_| insight == Insight::All).map(|d| d.evidence.clone()),
            serving: serving.is_some(),
            release: serving.map(|release| release.number),
        }
    }
}

/// Cause and remedy: clients of the Hub print this field alone.
fn sentence(diagnosis: &Diagnosis, insight: Insight) -> String {
    let (message, remedy) = (message(diagnosis, insight), remedy(diagnosis, insight));
    if remedy.is_empty() { message } else { format!("{message}\n{remedy}") }
}

/// What happened.
fn message(diagnosis: &Diagnosis, insight: Insight) -> String {
    if insight.reads(diagnosis) { diagnosis.message.clone() } else { "It failed; the owner can see why.".to_owned() }
}

/// What to do, which is the owner's to do where the cause is the owner's to know.
fn remedy(diagnosis: &Diagnosis, insight: Insight) -> String {
    if insight == Insight::App && !insight.reads(diagnosis) { String::new() } else { diagnosis.remedy.clone() }
}

/// The release that answers requests at the moment, if one does. An older one goes on serving
/// while the newest push is a mistake, whatever the stage.
pub(crate) async fn serving_release(state: &ApiState, space: &Space) -> Result<Option<Release>, ApiError> {
    if matches!(space.stage, SpaceStage::Paused | SpaceStage::Stopped | SpaceStage::Sleeping | SpaceStage::Deleting) {
        return Ok(None);
    }
    let attempts = state.store.instances_of(space.id, ATTEMPTS_LOOKED_AT).await?;
    let live = attempts
        .iter()
        .find(|attempt| attempt.ready_at.is_some() && attempt.retired_at.is_none() && attempt.ended_at.is_none());
    match live {
        Some(attempt) => Ok(state.store.release_by_id(attempt.release).await?),
        // Files are served without a container, so nothing was ever attempted.
        None => {
            let ready = state.store.release_last_ready(space.id, None).await?;
            Ok(ready.filter(|release| matches!(release.artifact, Artifact::Files { .. })))
        }
    }
}

/// The runtime object of a Space, with what serves it.
pub(crate) async fn runtime_view(state: &ApiState, space: &Space, insight: Insight) -> Result<RuntimeView, ApiError> {
    let serving = serving_release(state, space).await?;
    let mut view = RuntimeView::of(space, serving.as_ref(), &domain(state, space), insight);
    if insight == Insight::All {
        let volumes = state.store.volumes(space.id).await?;
        view.volumes = (!volumes.is_empty()).then(|| volumes.iter().map(VolumeView::of).collect());
    }
    Ok(view)
}

/// The host name of a Space, with the port when there is one.
pub(crate) fn domain(state: &ApiState, space: &Space) -> String {
    format!("{}.{}", space.subdomain, state.site.spaces_domain)
}
