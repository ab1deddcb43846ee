//! The container runtime port on Docker Engine.
//!
//! The only crate that names `bollard`. It executes and does not choose: what runs, with which
//! limits and when is decided by its callers. Engines from 20.10 (API 1.41) on are supported; the
//! version is negotiated. Everything of an installation carries its label, so that several
//! installations can share an engine and a restarted process finds its containers again.
//!
//! Decisions, each explained where it is made: `network` (one shared bridge without
//! inter-container traffic, no published ports), `firewall` (what apps cannot reach), `step`
//! (commands come in through standard input, so that neither script nor environment is in the
//! image), `devices` (the three ways to an accelerator), `commit` (a code layer is create, upload, commit), `dockerfile` (BuildKit inside the
//! engine).

mod app;
mod archive;
mod buildkit;
mod cgroup;
mod client;
mod clock;
mod commit;
mod config;
mod devices;
mod disk;
mod dockerfile;
mod events;
mod firewall;
mod host;
mod images;
mod labels;
mod lines;
mod logs;
mod network;
mod progress;
mod raw;
mod scratch;
mod session;
mod sockets;
mod step;
mod trust;
mod volume;

pub use config::DockerConfig;
pub use firewall::is_network;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use futures::stream::BoxStream;
use spaceport_core::ImageDigest;
use spaceport_runtime::{
    BuildStep, Container, ContainerEvent, ContainerId, ContainerSpec, DockerfileBuild, DockerfileOutcome, EngineInfo,
    Layer, ListeningSocket, LogLine, LogPosition, LogSink, OwnImage, OwnVolume, Room, Runtime, RuntimeError,
    StepOutcome, Usage, VolumeSpec,
};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use client::{Client, Endpoint, PING_TIMEOUT, engine_error, within};
use trust::Trust;

/// Docker Engine as a [`Runtime`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DockerRuntime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: DockerConfig,
    client: Client,
    trust: Option<Trust>,
    /// Tells the build containers of this process from those of one that crashed.
    process: String,
    /// Removals of containers whose call was dropped.
    clean_up: TaskTracker,
    /// Where the services that apps may reach were found last.
    services: std::sync::Mutex<firewall::Known>,
    /// Where the engine keeps everything; asked once.
    data_root: OnceCell<Option<PathBuf>>,
    /// One volume is filled at a time.
    filling: tokio::sync::Mutex<()>,
}

impl DockerRuntime {
    /// Takes the settings; the engine is called on first use.
    ///
    /// # Errors
    ///
    /// When the address is not one of Docker or the certificate bundle cannot be read.
    pub fn connect(config: DockerConfig) -> Result<Self, RuntimeError> {
        let endpoint = Endpoint::parse(config.socket.as_deref())?;
        let trust = config.ca_bundle.as_deref().map(Trust::read).transpose()?;
        let process = unique()?;
        let client = Client::new(endpoint);
        let clean_up = TaskTracker::new();
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                client,
                trust,
                process,
                clean_up,
                services: std::sync::Mutex::default(),
                data_root: OnceCell::new(),
                filling: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// Waits until containers of dropped calls are removed; called once at the end of the process.
    pub async fn close(&self) {
        self.shared.clean_up.close();
        self.shared.clean_up.wait().await;
    }

    async fn docker(&self) -> Result<Docker, RuntimeError> {
        self.shared.client.get().await
    }
}

/// 64 random bits in hexadecimal, for names that must not meet.
fn unique() -> Result<String, RuntimeError> {
    let bits = getrandom::u64().map_err(|error| engine_error("draw a random name", error.to_string()))?;
    Ok(format!("{bits:016x}"))
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn prepare(&self) -> Result<EngineInfo, RuntimeError> {
        network::prepare(self).await
    }

    async fn is_current(&self) -> bool {
        firewall::is_current(self).await
    }

    async fn ping(&self) -> Result<(), RuntimeError> {
        let docker = self.docker().await?;
        within(PING_TIMEOUT, "ping the engine", docker.ping()).await.map(drop)
    }

    async fn find_image(&self, reference: &str) -> Result<Option<ImageDigest>, RuntimeError> {
        images::find(&self.docker().await?, reference).await
    }

    async fn pull_image(
        &self,
        reference: &str,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<ImageDigest, RuntimeError> {
        images::pull(&self.docker().await?, &self.shared.config.installation, reference, &log, &cancel).await
    }

    async fn run_step(
        &self,
        step: BuildStep,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<StepOutcome, RuntimeError> {
        step::run(self, step, log, cancel).await
    }

    async fn add_layer(&self, layer: Layer) -> Result<ImageDigest, RuntimeError> {
        commit::add_layer(self, layer).await
    }

    async fn build_dockerfile(
        &self,
        build: DockerfileBuild,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<DockerfileOutcome, RuntimeError> {
        dockerfile::build(self, build, &log, &cancel).await
    }

    async fn list_images(&self) -> Result<Vec<OwnImage>, RuntimeError> {
        images::list(&self.docker().await?, &self.shared.config.installation).await
    }

    async fn remove_image(&self, digest: &ImageDigest) -> Result<bool, RuntimeError> {
        images::remove(&self.docker().await?, digest).await
    }

    async fn room(&self) -> Result<Room, RuntimeError> {
        host::room(self).await
    }

    async fn prune_build_cache(&self, keep_bytes: u64) -> Result<u64, RuntimeError> {
        host::prune_build_cache(self, keep_bytes).await
    }

    async fn volume_sizes(&self) -> Result<BTreeMap<String, u64>, RuntimeError> {
        volume::sizes(self).await
    }

    async fn has_volume(&self, name: &str) -> Result<bool, RuntimeError> {
        volume::is_complete(&self.docker().await?, name).await
    }

    async fn provide_volume(&self, volume: VolumeSpec) -> Result<(), RuntimeError> {
        volume::provide(self, volume).await
    }

    async fn list_volumes(&self) -> Result<Vec<OwnVolume>, RuntimeError> {
        volume::list(self).await
    }

    async fn remove_volume(&self, name: &str) -> Result<bool, RuntimeError> {
        volume::remove(self, name).await
    }

    async fn start(&self, spec: ContainerSpec) -> Result<Container, RuntimeError> {
        app::start(self, spec).await
    }

    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        app::list(self).await
    }

    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>, RuntimeError> {
        app::inspect(self, &container.0).await
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        app::stop(&self.docker().await?, &container.0, grace).await
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        scratch::remove(&self.docker().await?, &container.0).await
    }

    async fn limit_cpu(&self, container: &ContainerId, millicores: Option<u32>) -> Result<(), RuntimeError> {
        app::limit_cpu(&self.docker().await?, &container.0, millicores).await
    }

    async fn logs(
        &self,
        container: &ContainerId,
        after: Option<LogPosition>,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        logs::follow(self.docker().await?, &container.0, after).await
    }

    async fn usage(&self, container: &ContainerId) -> Result<Option<Usage>, RuntimeError> {
        cgroup::usage(&self.docker().await?, &container.0).await
    }

    async fn disk_used(&self, container: &ContainerId) -> Result<Option<u64>, RuntimeError> {
        disk::used(&self.docker().await?, &container.0).await
    }

    async fn listening(&self, container: &ContainerId) -> Result<Vec<ListeningSocket>, RuntimeError> {
        sockets::listening(&self.docker().await?, &container.0).await
    }

    async fn events(&self) -> Result<BoxStream<'static, ContainerEvent>, RuntimeError> {
        events::follow(self.docker().await?, &self.shared.config.installation).await
    }
}
