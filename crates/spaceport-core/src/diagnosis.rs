//! Why a Space is where it is: cause, remedy, evidence.
//!
//! A stage is a label; people need the sentence behind it. Every stage that is not `RUNNING` has
//! a diagnosis, and every diagnosis names what to do.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What a person is told about a Space that does not (yet) run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// A stable code a program can match.
    pub reason: Reason,
    /// The phase within the stage, in a word or two: `queued`, `installing`, `probing`.
    pub phase: String,
    /// One sentence: what happened, with names and numbers.
    pub message: String,
    /// One sentence: what to do about it. Empty while all goes well.
    pub remedy: String,
    /// What it was concluded from: log lines, a socket table, an exit code.
    pub evidence: Vec<String>,
    /// When the phase began.
    pub since: Timestamp,
    /// When the stage ends by itself, at the latest.
    pub deadline: Option<Timestamp>,
}

/// The kinds of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No commit on `main` yet.
    EmptyRepository,
    /// The app file the configuration names is not in the commit.
    AppFileMissing,
    /// No `Dockerfile` in a `docker` Space.
    DockerfileMissing,
    /// A key of the front matter is wrong.
    ConfigInvalid,
    /// Waits for its turn to build.
    BuildQueued,
    /// Builds.
    BuildRunning,
    /// A dependency could not be installed.
    DependencyFailed,
    /// A system package could not be installed.
    PackageFailed,
    /// A step of the Dockerfile or the build command failed.
    BuildStepFailed,
    /// The base image, or the Python version, cannot be had.
    BaseImageUnavailable,
    /// A file of `preload_from_hub` cannot be had.
    PreloadFailed,
    /// A file or the whole commit is larger than the limit, or has too many files.
    SourceTooLarge,
    /// A file in the commit is unsafe: a link that leaves the repository.
    SourceUnsafe,
    /// The build ran out of its time.
    BuildTimeout,
    /// Memory ran out.
    OutOfMemory,
    /// The disk is full, or the Space's share of it.
    DiskFull,
    /// The app wrote more to its own disk than its hardware has.
    DiskLimit,
    /// Somebody canceled the build.
    BuildCanceled,
    /// Nobody needed the build any more: a newer push, a pause. It begins again when somebody does.
    BuildWithdrawn,
    /// A volume cannot be had: its repository is gone, or not the Space's to read.
    VolumeUnavailable,
    /// The app starts.
    Starting,
    /// The app listens on another port.
    WrongPort,
    /// The app listens on loopback only.
    LoopbackOnly,
    /// The app runs and listens nowhere.
    NotListening,
    /// The app listens but does not answer HTTP.
    NotAnswering,
    /// A Python module is missing.
    ModuleMissing,
    /// The program has a syntax error.
    SyntaxError,
    /// The app ended with exit code 0.
    ExitedCleanly,
    /// The app ended with another exit code or an exception.
    Crashed,
    /// The app keeps crashing; the next start waits.
    CrashLoop,
    /// The command of the image cannot be run.
    CommandNotFound,
    /// Paused by the owner.
    Paused,
    /// Stopped by the platform.
    Stopped,
    /// Asleep.
    Sleeping,
    /// Being deleted.
    Deleting,
    /// Waits for hardware.
    HardwareWaiting,
    /// Its hardware is taken away soon.
    HardwareEnding,
    /// The container engine cannot be reached or failed.
    EngineUnavailable,
    /// The accelerators of the app's hardware cannot be given to it.
    DeviceUnavailable,
    /// Our fault.
    Internal,
}

impl Reason {
    /// Whether the message of such a diagnosis may quote what a build or an app printed.
    #[must_use]
    pub const fn may_quote_logs(self) -> bool {
        matches!(
            self,
            Self::DependencyFailed
                | Self::PackageFailed
                | Self::BuildStepFailed
                | Self::BaseImageUnavailable
                | Self::PreloadFailed
                | Self::ModuleMissing
                | Self::SyntaxError
                | Self::Crashed
                | Self::CrashLoop
                | Self::CommandNotFound
                | Self::EngineUnavailable
                | Self::DeviceUnavailable
                | Self::Internal
        )
    }

    /// Whether the message or the remedy of such a diagnosis may quote the code: a line of the front
    /// matter, the name of a file.
    #[must_use]
    pub const fn may_quote_code(self) -> bool {
        matches!(
            self,
            Self::AppFileMissing
                | Self::ConfigInvalid
                | Self::SourceTooLarge
                | Self::SourceUnsafe
                | Self::VolumeUnavailable
        )
    }

    /// The code on the wire, `wrong_port`.
    #[must_use]
    pub fn code(self) -> String {
        serde_json::to_value(self).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }
}
