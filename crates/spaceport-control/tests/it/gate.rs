//! Ends a server between two steps: after a given number of borders crossed on the way to the
//! engine and back, nothing passes any more.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use spaceport_core::ImageDigest;
use spaceport_runtime::fake::FakeRuntime;
use spaceport_runtime::{
    BuildStep, Container, ContainerEvent, ContainerId, ContainerSpec, DockerfileBuild, DockerfileOutcome, EngineInfo,
    Layer, ListeningSocket, LogLine, LogPosition, LogSink, OwnImage, OwnVolume, Room, Runtime, RuntimeError,
    StepOutcome, Usage, VolumeSpec,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The engine as one server process sees it.
#[derive(Debug)]
pub struct Gate {
    fake: FakeRuntime,
    left: AtomicI64,
    closed: Arc<Notify>,
    table: PathBuf,
    unserved: Arc<AtomicI64>,
}

impl Gate {
    /// Closes after so many steps; `closed` is told. `unserved` counts apps that are stopped while
    /// the table on disk still sends requests to them.
    pub fn new(
        fake: FakeRuntime,
        steps: Option<u32>,
        closed: Arc<Notify>,
        table: PathBuf,
        unserved: Arc<AtomicI64>,
    ) -> Self {
        Self { fake, left: AtomicI64::new(steps.map_or(i64::MAX, i64::from)), closed, table, unserved }
    }

    fn notice(&self, container: &ContainerId) {
        let stopped = self.fake.containers().into_iter().find(|other| other.id == *container);
        let table = std::fs::read_to_string(&self.table).unwrap_or_default();
        if stopped.is_some_and(|stopped| table.contains(&stopped.instance.to_string())) {
            self.unserved.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn step(&self) {
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        if left == 0 {
            self.closed.notify_one();
        }
        if left <= 0 {
            std::future::pending::<()>().await;
        }
    }

    /// Before and after the call: a crash may come with the work done and not recorded.
    async fn pass<T>(&self, call: impl Future<Output = T>) -> T {
        self.step().await;
        let result = call.await;
        self.step().await;
        result
    }
}

#[async_trait]
impl Runtime for Gate {
    async fn prepare(&self) -> Result<EngineInfo, RuntimeError> {
        self.fake.prepare().await
    }

    async fn is_current(&self) -> bool {
        self.fake.is_current().await
    }

    async fn ping(&self) -> Result<(), RuntimeError> {
        self.fake.ping().await
    }

    async fn find_image(&self, reference: &str) -> Result<Option<ImageDigest>, RuntimeError> {
        self.pass(self.fake.find_image(reference)).await
    }

    async fn pull_image(
        &self,
        reference: &str,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<ImageDigest, RuntimeError> {
        self.pass(self.fake.pull_image(reference, log, cancel)).await
    }

    async fn run_step(
        &self,
        step: BuildStep,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<StepOutcome, RuntimeError> {
        self.pass(self.fake.run_step(step, log, cancel)).await
    }

    async fn add_layer(&self, layer: Layer) -> Result<ImageDigest, RuntimeError> {
        self.pass(self.fake.add_layer(layer)).await
    }

    async fn build_dockerfile(
        &self,
        build: DockerfileBuild,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<DockerfileOutcome, RuntimeError> {
        self.pass(self.fake.build_dockerfile(build, log, cancel)).await
    }

    async fn list_images(&self) -> Result<Vec<OwnImage>, RuntimeError> {
        self.pass(self.fake.list_images()).await
    }

    async fn remove_image(&self, digest: &ImageDigest) -> Result<bool, RuntimeError> {
        self.pass(self.fake.remove_image(digest)).await
    }

    async fn has_volume(&self, name: &str) -> Result<bool, RuntimeError> {
        self.pass(self.fake.has_volume(name)).await
    }

    async fn provide_volume(&self, volume: VolumeSpec) -> Result<(), RuntimeError> {
        self.pass(self.fake.provide_volume(volume)).await
    }

    async fn room(&self) -> Result<Room, RuntimeError> {
        self.fake.room().await
    }

    async fn prune_build_cache(&self, keep_bytes: u64) -> Result<u64, RuntimeError> {
        self.pass(self.fake.prune_build_cache(keep_bytes)).await
    }

    async fn volume_sizes(&self) -> Result<BTreeMap<String, u64>, RuntimeError> {
        self.pass(self.fake.volume_sizes()).await
    }

    async fn list_volumes(&self) -> Result<Vec<OwnVolume>, RuntimeError> {
        self.pass(self.fake.list_volumes()).await
    }

    async fn remove_volume(&self, name: &str) -> Result<bool, RuntimeError> {
        self.pass(self.fake.remove_volume(name)).await
    }

    async fn start(&self, spec: ContainerSpec) -> Result<Container, RuntimeError> {
        self.pass(self.fake.start(spec)).await
    }

    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        self.pass(self.fake.list()).await
    }

    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>, RuntimeError> {
        self.pass(self.fake.inspect(container)).await
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        self.notice(container);
        self.pass(self.fake.stop(container, grace)).await
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        self.pass(self.fake.remove(container)).await
    }

    async fn limit_cpu(&self, container: &ContainerId, millicores: Option<u32>) -> Result<(), RuntimeError> {
        self.pass(self.fake.limit_cpu(container, millicores)).await
    }

    async fn logs(
        &self,
        container: &ContainerId,
        after: Option<LogPosition>,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        self.pass(self.fake.logs(container, after)).await
    }

    async fn usage(&self, container: &ContainerId) -> Result<Option<Usage>, RuntimeError> {
        self.pass(self.fake.usage(container)).await
    }

    async fn disk_used(&self, container: &ContainerId) -> Result<Option<u64>, RuntimeError> {
        self.pass(self.fake.disk_used(container)).await
    }

    async fn listening(&self, container: &ContainerId) -> Result<Vec<ListeningSocket>, RuntimeError> {
        self.pass(self.fake.listening(container)).await
    }

    async fn events(&self) -> Result<BoxStream<'static, ContainerEvent>, RuntimeError> {
        self.fake.events().await
    }
}
