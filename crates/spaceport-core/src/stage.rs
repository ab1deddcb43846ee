//! The stage of a Space: computed from desired and observed state, never advanced by hand.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The Hub's stages, spelt as its clients know them.
/// Hub: the union of `SpaceStage` in the Python and the JavaScript client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SpaceStage {
    /// Nothing to run: no commit yet, or the app file is missing.
    NoAppFile,
    /// The front matter of `README.md` is invalid.
    ConfigError,
    /// First build; nothing serves.
    Building,
    /// The build failed; nothing serves.
    BuildError,
    /// The image is there, the app does not answer yet.
    AppStarting,
    /// The app of the newest release answers.
    Running,
    /// An older release serves while a newer revision builds.
    RunningBuilding,
    /// An older release serves while a newer one starts.
    RunningAppStarting,
    /// The app exited, or was not healthy in time.
    RuntimeError,
    /// Scaled to zero; the next visitor wakes it.
    Sleeping,
    /// By the owner; only the owner restarts.
    Paused,
    /// By the platform or an admin.
    Stopped,
    /// Being removed.
    Deleting,
}

impl SpaceStage {
    /// Every stage.
    pub const ALL: [Self; 13] = [
        Self::NoAppFile,
        Self::ConfigError,
        Self::Building,
        Self::BuildError,
        Self::AppStarting,
        Self::Running,
        Self::RunningBuilding,
        Self::RunningAppStarting,
        Self::RuntimeError,
        Self::Sleeping,
        Self::Paused,
        Self::Stopped,
        Self::Deleting,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAppFile => "NO_APP_FILE",
            Self::ConfigError => "CONFIG_ERROR",
            Self::Building => "BUILDING",
            Self::BuildError => "BUILD_ERROR",
            Self::AppStarting => "APP_STARTING",
            Self::Running => "RUNNING",
            Self::RunningBuilding => "RUNNING_BUILDING",
            Self::RunningAppStarting => "RUNNING_APP_STARTING",
            Self::RuntimeError => "RUNTIME_ERROR",
            Self::Sleeping => "SLEEPING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
            Self::Deleting => "DELETING",
        }
    }

    /// Whether the stage changes by itself: a client waits on it, and it carries a deadline.
    #[must_use]
    pub const fn is_transitional(self) -> bool {
        matches!(
            self,
            Self::Building | Self::AppStarting | Self::RunningBuilding | Self::RunningAppStarting | Self::Deleting
        )
    }

    /// Whether something is wrong that a push may mend.
    #[must_use]
    pub const fn is_error(self) -> bool {
        matches!(self, Self::NoAppFile | Self::ConfigError | Self::BuildError | Self::RuntimeError)
    }

    /// Whether requests reach an app.
    #[must_use]
    pub const fn is_serving(self) -> bool {
        matches!(self, Self::Running | Self::RunningBuilding | Self::RunningAppStarting)
    }
}

impl fmt::Display for SpaceStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SpaceStage {
    type Err = UnknownStage;
    fn from_str(text: &str) -> Result<Self, UnknownStage> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text).ok_or_else(|| UnknownStage(text.to_owned()))
    }
}

/// The text names no stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown stage {0:?}")]
pub struct UnknownStage(String);
