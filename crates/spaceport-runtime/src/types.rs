//! The values that cross the runtime's border.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use spaceport_core::{HardwareFlavor, ImageDigest, InstanceId, ReleaseId, SpaceId, Timestamp};

use crate::grant::{Grant, HeldLease};

/// What an engine is and can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// `20.10.24`.
    pub version: String,
    /// The negotiated API version, `1.41`.
    pub api_version: String,
    /// The machine it runs on.
    pub host: EngineHost,
    /// Isolation that could not be put in place, one sentence each with the remedy. While there are some,
    /// what runs can reach what it should not.
    pub warnings: Vec<String>,
    /// What apps should reach and do not reach yet, one sentence each. Preparing again may mend it.
    pub closed: Vec<String>,
}

/// The machine an engine runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineHost {
    /// Its own name.
    pub name: String,
    /// Its cores.
    pub cpus: u32,
    /// Its memory in bytes.
    pub memory_bytes: u64,
}

/// What is left on the engine's host, as far as that can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Free bytes of the engine's disk; `None` when the engine is on another host.
    pub disk_bytes: Option<u64>,
    /// Memory that can be had without swapping; `None` when the engine is on another host.
    pub memory_bytes: Option<u64>,
}

/// The engine's name of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(pub String);

/// Everything needed to start an app.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// The Space.
    pub space: SpaceId,
    /// The release.
    pub release: ReleaseId,
    /// The attempt; the container is found again by it.
    pub instance: InstanceId,
    /// The image.
    pub image: ImageDigest,
    /// Replaces the image's command when given.
    pub command: Option<Vec<String>>,
    /// Environment, secrets included.
    pub env: BTreeMap<String, String>,
    /// Volumes, which [`crate::Runtime::provide_volume`] made.
    pub mounts: Vec<Mount>,
    /// Run as this user instead of the image's; `1000` for generated images.
    pub user: Option<String>,
    /// The port the app is expected on.
    pub port: u16,
    /// Limits. The CPU cap is applied by `limit_cpu` once the app is ready.
    pub hardware: HardwareFlavor,
    /// The lease it runs on; `None` where nothing is leased for it.
    pub grant: Option<Grant>,
}

/// A container of ours, as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's name.
    pub id: ContainerId,
    /// From its labels.
    pub space: SpaceId,
    /// From its labels.
    pub release: ReleaseId,
    /// From its labels.
    pub instance: InstanceId,
    /// Its state.
    pub state: ContainerState,
    /// Where the node reaches the app; `None` unless it runs.
    pub address: Option<SocketAddr>,
    /// The lease it was started with, from its labels.
    pub held: Option<HeldLease>,
}

/// The engine's state of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Created, never started.
    Created,
    /// Runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// Ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 137 is SIGKILL.
    pub code: i64,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// The engine's own message, when it could not start the command.
    pub error: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// Where a line stands in the output of a container: nanoseconds since the Unix epoch, by the
/// engine's clock. Lines can share a millisecond, so a `Timestamp` could not say where to go on
/// without losing or repeating some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPosition(pub i64);

/// One line an app printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Pass it to `Runtime::logs` to go on after this line.
    pub position: LogPosition,
    /// When, by the engine's clock.
    pub at: Timestamp,
    /// Without the newline.
    pub text: String,
}

/// Use since the container started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time in microseconds.
    pub cpu_us: u64,
    /// Memory in use, page cache not counted.
    pub memory_bytes: u64,
    /// Its limit.
    pub memory_limit_bytes: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

/// A socket an app listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListeningSocket {
    /// `0.0.0.0` and `::` mean every interface.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// A hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The Space whose container changed, when the event says.
    pub space: Option<SpaceId>,
}

/// A volume in the file tree of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The volume's name.
    pub volume: String,
    /// Absolute path in the container.
    pub path: String,
    /// Whether the app may only read it.
    pub read_only: bool,
}

/// A volume that shall be there.
#[derive(Debug, Clone)]
pub struct VolumeSpec {
    /// Its name, unique on the engine.
    pub name: String,
    /// What it is for: `spaceport.*`.
    pub labels: BTreeMap<String, String>,
    /// Any image of this host: a container of it, which never runs, is needed to write into a volume.
    pub image: ImageDigest,
    /// A tar file on this host with what is in it from the beginning, owners as they shall be; an empty
    /// volume, which belongs to user 1000, when absent.
    pub content: Option<PathBuf>,
}

/// A volume of this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnVolume {
    /// Its name.
    pub name: String,
    /// Its `spaceport.*` labels.
    pub labels: BTreeMap<String, String>,
}

/// Limits of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildLimits {
    /// CPU in thousandths of a core.
    pub cpu_millicores: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Processes.
    pub pids: u32,
    /// What the step may add to the image, in bytes; checked while it runs.
    pub disk_bytes: u64,
    /// Wall time.
    pub time: Duration,
}

/// One command in a container of its own.
#[derive(Debug, Clone)]
pub struct BuildStep {
    /// For labels and messages, `space alice/demo`.
    pub title: String,
    /// The image it starts from.
    pub image: ImageDigest,
    /// `/bin/sh -c` script.
    pub script: String,
    /// `0` installs system packages with the few capabilities that needs; `1000` for all else.
    pub user: String,
    /// Where it runs.
    pub working_dir: String,
    /// Environment of the step; it stays out of the result.
    pub env: BTreeMap<String, String>,
    /// An archive (tar) unpacked before the step: path in the container and file on this host.
    pub input: Option<(String, PathBuf)>,
    /// A download cache: volume name and mount path. Created when missing, owned by the step's
    /// user. Folders above it that the image lacks are made by the engine and belong to root, so
    /// `/cache` is a better path than one in a home directory.
    pub cache: Option<(String, String)>,
    /// Limits.
    pub limits: BuildLimits,
    /// What is kept.
    pub keep: Keep,
}

/// What is kept of a step.
#[derive(Debug, Clone)]
pub enum Keep {
    /// The container becomes an image with these settings.
    Image(ImageSettings),
    /// A path of the container becomes a tar file on this host.
    Archive {
        /// Absolute path in the container; entries of the archive begin with its last part.
        path: String,
        /// File to write.
        to: PathBuf,
        /// It may have so many bytes.
        max_bytes: u64,
    },
}

/// Settings of an image we make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageSettings {
    /// Repository and tag, so that people find it: `spaceport/env:…`. Never used to run.
    pub tag: String,
    /// Labels; `spaceport.*` ones tell the garbage collector what it is for.
    pub labels: BTreeMap<String, String>,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
    /// Replaces the command when given.
    pub command: Option<Vec<String>>,
    /// Replaces the entry point when given; empty means none.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the user when given.
    pub user: Option<String>,
    /// Replaces the working directory when given.
    pub working_dir: Option<String>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// Exit code 0; the image when one was asked for.
    Done(Option<ImageDigest>),
    /// Another exit code.
    Failed {
        /// The exit code.
        code: i64,
        /// Whether memory ran out.
        oom_killed: bool,
    },
    /// Its time ran out.
    TimedOut,
    /// It wrote more than it may.
    DiskExceeded,
    /// The archive to be kept is larger than it may be.
    ArchiveTooLarge,
}

/// An archive on top of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The image below.
    pub image: ImageDigest,
    /// Directory the archive is unpacked to; it exists.
    pub path: String,
    /// A tar file on this host, with owners as they shall be in the image.
    pub archive: PathBuf,
    /// Settings of the result.
    pub settings: ImageSettings,
}

/// A `docker` Space's build.
#[derive(Debug, Clone)]
pub struct DockerfileBuild {
    /// The context, a tar file on this host with a `Dockerfile` at its root.
    pub context: PathBuf,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// Builds with the same scope share cached results and cache mounts, and no others do. Lower-case
    /// letters and digits; who can guess another's can use what that one cached.
    pub cache_scope: String,
    /// `--mount=type=secret,id=NAME`; the values are in no layer and no log.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Labels of the result.
    pub labels: BTreeMap<String, String>,
    /// Tag of the result.
    pub tag: String,
    /// Ignore every cache.
    pub no_cache: bool,
    /// Limits of each step, and of the time of all. The engine has none for BuildKit but can be helped
    /// where this process is root on its host; elsewhere only the time is limited.
    pub limits: BuildLimits,
}

/// How a Dockerfile's build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileOutcome {
    /// The image.
    Done(ImageDigest),
    /// What BuildKit said.
    Failed {
        /// Its message.
        message: String,
    },
    /// Its time ran out.
    TimedOut,
    /// Its steps wrote more than they may.
    DiskExceeded,
}

/// An image of this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnImage {
    /// Its content.
    pub digest: ImageDigest,
    /// Its `spaceport.*` labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Bytes on disk, shared layers included.
    pub size_bytes: u64,
}
