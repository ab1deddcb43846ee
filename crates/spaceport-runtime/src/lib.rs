//! The one port of Spaceport: the container runtime.
//!
//! Two implementations are in use: Docker Engine (`spaceport-docker`) and `fake::FakeRuntime`,
//! a stateful model for tests and simulations. Everything here is plain data and one trait;
//! whoever implements it executes and does not choose.

#[cfg(feature = "fake")]
pub mod fake;
pub mod grant;
pub mod source;
pub mod types;

pub use grant::{Attachable, Grant, GrantError, GrantedDevice, HeldLease};
pub use source::DeviceSource;
pub use types::*;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use spaceport_core::ImageDigest;
use tokio_util::sync::CancellationToken;

/// Any cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What an engine could not do.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine does not answer.
    #[error("the container engine cannot be reached")]
    Unreachable(#[source] BoxError),
    /// The image is not there and cannot be pulled.
    #[error("image {reference} is not on this host and could not be pulled")]
    ImageMissing {
        /// As it was asked for.
        reference: String,
        /// What the registry said.
        #[source]
        source: BoxError,
    },
    /// The container does not exist (any more).
    #[error("there is no container {0}")]
    NoContainer(String),
    /// The command of a container cannot be executed.
    #[error("the container's command cannot be run: {0}")]
    CommandNotFound(String),
    /// The engine cannot give a container the devices of its lease.
    #[error("{message}")]
    Devices {
        /// In words, what is wrong.
        message: String,
        /// What the administrator can do about it.
        remedy: String,
        /// The engine's own words.
        #[source]
        source: BoxError,
    },
    /// The engine's disk is full.
    #[error("the engine's disk is full")]
    DiskFull(#[source] BoxError),
    /// It was canceled by the caller.
    #[error("canceled")]
    Canceled,
    /// Another failure of the named operation.
    #[error("could not {operation}")]
    Engine {
        /// In words: `create the container of space …`.
        operation: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
}

impl RuntimeError {
    /// Whether trying again later can help without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::DiskFull(_) | Self::Engine { .. })
    }
}

/// Takes the lines a build or a pull prints, as they come.
pub type LogSink = Arc<dyn Fn(&str) + Send + Sync>;

/// A container engine. All calls are idempotent where the operation allows it; each has its own
/// timeout inside, so that a stuck engine is an error and never a hang.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Prepares networks and isolation and says what the engine is. Called at start and after
    /// each reconnection; changes nothing that is already right.
    async fn prepare(&self) -> Result<EngineInfo, RuntimeError>;

    /// Whether what was prepared still fits: the names of what apps may reach lead where they led. Cheap, and does
    /// not call the engine.
    async fn is_current(&self) -> bool;

    /// Answers when the engine does.
    async fn ping(&self) -> Result<(), RuntimeError>;

    /// The digest of a local image; `None` when it is not here.
    async fn find_image(&self, reference: &str) -> Result<Option<ImageDigest>, RuntimeError>;

    /// The digest of an image, pulled when it is not here; the progress goes to `log`. One that was
    /// pulled is ours to remove: `list_images` has it, as made when it was pulled.
    async fn pull_image(
        &self,
        reference: &str,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<ImageDigest, RuntimeError>;

    /// Runs one command in a new container of an image with the step's limits, streams its
    /// output to `log`, and keeps what the step says (an image, an archive, or nothing). The container is
    /// removed in every case. A command that fails is an outcome, not an error.
    async fn run_step(
        &self,
        step: BuildStep,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<StepOutcome, RuntimeError>;

    /// Adds an archive and settings to an image without running anything: container, archive,
    /// commit. This is the code layer of a release.
    async fn add_layer(&self, layer: Layer) -> Result<ImageDigest, RuntimeError>;

    /// Builds a Dockerfile with BuildKit. A Dockerfile that fails is an outcome, not an error.
    async fn build_dockerfile(
        &self,
        build: DockerfileBuild,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<DockerfileOutcome, RuntimeError>;

    /// Ours: images with what they were made for, by label, and those that were pulled, with the label
    /// `spaceport.kind` = `base`.
    async fn list_images(&self) -> Result<Vec<OwnImage>, RuntimeError>;

    /// Removes an image that nothing uses; absent is success, in use is `false`.
    async fn remove_image(&self, digest: &ImageDigest) -> Result<bool, RuntimeError>;

    /// Whether a volume is there, with all it shall hold from the beginning.
    async fn has_volume(&self, name: &str) -> Result<bool, RuntimeError>;

    /// Makes a volume and fills it; one that is there already is left as it is. One that a crash left
    /// half-filled is made anew.
    async fn provide_volume(&self, volume: VolumeSpec) -> Result<(), RuntimeError>;

    /// What is left on the engine's host.
    async fn room(&self) -> Result<Room, RuntimeError>;

    /// Removes the oldest cached results of Dockerfiles until at most so many bytes are left, and gives the
    /// bytes that were freed. The cache is the engine's, so other people's results go too.
    async fn prune_build_cache(&self, keep_bytes: u64) -> Result<u64, RuntimeError>;

    /// Bytes in each of our volumes whose size the engine knows. It walks the files, so not all the time.
    async fn volume_sizes(&self) -> Result<BTreeMap<String, u64>, RuntimeError>;

    /// Ours, by label, complete or not.
    async fn list_volumes(&self) -> Result<Vec<OwnVolume>, RuntimeError>;

    /// Removes a volume that no container has; absent is success, in use is `false`.
    async fn remove_volume(&self, name: &str) -> Result<bool, RuntimeError>;

    /// Creates and starts the container of an instance. If one with the same instance label
    /// exists, it is started (if it never ran) and returned: calling twice starts one.
    /// A command that cannot be run is `CommandNotFound` when the engine notices it, or an exit
    /// with code 126 or 127 when the container's init does.
    async fn start(&self, spec: ContainerSpec) -> Result<Container, RuntimeError>;

    /// All app containers of this installation, running or not.
    async fn list(&self) -> Result<Vec<Container>, RuntimeError>;

    /// One container with its exact state; `None` when there is none.
    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>, RuntimeError>;

    /// Asks the app to end, and ends it after `grace`. Absent is success.
    async fn stop(&self, container: &ContainerId, grace: std::time::Duration) -> Result<(), RuntimeError>;

    /// Removes a container, running or not. Absent is success.
    async fn remove(&self, container: &ContainerId) -> Result<(), RuntimeError>;

    /// Caps the CPU of a running container; `None` lifts the cap.
    async fn limit_cpu(&self, container: &ContainerId, millicores: Option<u32>) -> Result<(), RuntimeError>;

    /// What the app printed after a line (`None`: from the start), oldest first, then live until
    /// it ends.
    async fn logs(
        &self,
        container: &ContainerId,
        after: Option<LogPosition>,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError>;

    /// Use of CPU, memory and network since the container started.
    async fn usage(&self, container: &ContainerId) -> Result<Option<Usage>, RuntimeError>;

    /// Bytes a running container has on its own disk beyond its image, volumes of ours left out; `None` when it does not
    /// run. The files are walked, so not all the time.
    async fn disk_used(&self, container: &ContainerId) -> Result<Option<u64>, RuntimeError>;

    /// The listening TCP sockets inside the container, from its own socket table.
    async fn listening(&self, container: &ContainerId) -> Result<Vec<ListeningSocket>, RuntimeError>;

    /// Hints that something changed. The stream ends when the engine goes away; nothing is
    /// replayed, so the caller lists again after each reconnection.
    async fn events(&self) -> Result<BoxStream<'static, ContainerEvent>, RuntimeError>;
}
