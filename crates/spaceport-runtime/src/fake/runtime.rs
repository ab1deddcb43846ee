//! The fake engine behind the port.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use spaceport_core::ImageDigest;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::{FakeRuntime, StepEnd};
use crate::{
    BuildStep, Container, ContainerEvent, ContainerId, ContainerSpec, DockerfileBuild, DockerfileOutcome, EngineInfo,
    Keep, Layer, ListeningSocket, LogLine, LogPosition, LogSink, OwnImage, OwnVolume, Room, Runtime, RuntimeError,
    StepOutcome, Usage, VolumeSpec,
};

#[async_trait]
impl Runtime for FakeRuntime {
    async fn prepare(&self) -> Result<EngineInfo, RuntimeError> {
        let mut state = self.lock();
        let state = state.reachable()?;
        let (host, warnings, closed) = (state.host.clone(), state.warnings.clone(), state.closed.clone());
        state.is_stale = false;
        Ok(EngineInfo { version: "fake".to_owned(), api_version: "1.41".to_owned(), host, warnings, closed })
    }

    async fn is_current(&self) -> bool {
        !self.lock().is_stale
    }

    async fn ping(&self) -> Result<(), RuntimeError> {
        self.lock().reachable().map(drop)
    }

    async fn find_image(&self, reference: &str) -> Result<Option<ImageDigest>, RuntimeError> {
        Ok(self.lock().reachable()?.image(reference))
    }

    async fn pull_image(
        &self,
        reference: &str,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<ImageDigest, RuntimeError> {
        let now = self.now();
        if cancel.is_cancelled() {
            return Err(RuntimeError::Canceled);
        }
        let digest = {
            let mut state = self.lock();
            let state = state.reachable()?;
            match state.image(reference) {
                Some(digest) => return Ok(digest),
                None if state.registry.contains(reference) => {
                    let labels = BTreeMap::from([("spaceport.kind".to_owned(), "base".to_owned())]);
                    state.add_image(reference, None, labels, true, now)
                }
                None => {
                    let source = "the registry has no such image".into();
                    return Err(RuntimeError::ImageMissing { reference: reference.to_owned(), source });
                }
            }
        };
        log(&format!("pulled {reference}"));
        Ok(digest)
    }

    async fn run_step(
        &self,
        step: BuildStep,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<StepOutcome, RuntimeError> {
        let program = {
            let mut state = self.lock();
            let state = state.reachable()?;
            state.need_image(&step.image)?;
            state.builds += 1;
            state.step.clone()
        };
        let behavior = program(&step);
        for line in &behavior.lines {
            log(line);
        }
        if let Some((name, _)) = &step.cache {
            let mut state = self.lock();
            let state = state.reachable()?;
            let (labels, image) = (BTreeMap::new(), step.image.clone());
            let made = VolumeSpec { name: name.clone(), labels, image, content: None };
            state.volumes.entry(name.clone()).or_insert(made);
            *state.volume_sizes.entry(name.clone()).or_default() += behavior.cached_bytes;
        }
        if cancel.is_cancelled() {
            return Err(RuntimeError::Canceled);
        }
        match behavior.end {
            StepEnd::Done | StepEnd::Exit(0) => {}
            StepEnd::Exit(code) => return Ok(StepOutcome::Failed { code, oom_killed: false }),
            StepEnd::OutOfMemory => return Ok(StepOutcome::Failed { code: 137, oom_killed: true }),
            StepEnd::DiskFull => return Ok(StepOutcome::DiskExceeded),
            StepEnd::Hang => return hang(step.limits.time, &cancel).await.map(|()| StepOutcome::TimedOut),
        }
        match step.keep {
            Keep::Image(settings) => {
                let now = self.now();
                let mut state = self.lock();
                let parent = Some(step.image);
                let image = state.reachable()?.add_image(&settings.tag, parent, settings.labels, true, now);
                Ok(StepOutcome::Done(Some(image)))
            }
            Keep::Archive { max_bytes, .. } if behavior.archive.len() as u64 > max_bytes => {
                Ok(StepOutcome::ArchiveTooLarge)
            }
            Keep::Archive { path, to, .. } => {
                std::fs::write(&to, &behavior.archive).map_err(|error| RuntimeError::Engine {
                    operation: format!("keep {path}"),
                    source: error.into(),
                })?;
                Ok(StepOutcome::Done(None))
            }
        }
    }

    async fn add_layer(&self, layer: Layer) -> Result<ImageDigest, RuntimeError> {
        let now = self.now();
        let mut state = self.lock();
        let state = state.reachable()?;
        state.need_image(&layer.image)?;
        if !layer.archive.is_file() {
            let operation = format!("read {}", layer.archive.display());
            return Err(RuntimeError::Engine { operation, source: "there is no such file".into() });
        }
        Ok(state.add_image(&layer.settings.tag, Some(layer.image), layer.settings.labels, true, now))
    }

    async fn build_dockerfile(
        &self,
        build: DockerfileBuild,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<DockerfileOutcome, RuntimeError> {
        let program = {
            let mut state = self.lock();
            let state = state.reachable()?;
            state.builds += 1;
            state.dockerfile.clone()
        };
        let behavior = program(&build);
        for line in &behavior.lines {
            log(line);
        }
        if cancel.is_cancelled() {
            return Err(RuntimeError::Canceled);
        }
        if behavior.hangs {
            return hang(build.limits.time, &cancel).await.map(|()| DockerfileOutcome::TimedOut);
        }
        if behavior.fills_disk {
            return Ok(DockerfileOutcome::DiskExceeded);
        }
        if let Some(message) = behavior.failure {
            return Ok(DockerfileOutcome::Failed { message });
        }
        let now = self.now();
        Ok(DockerfileOutcome::Done(self.lock().reachable()?.add_image(&build.tag, None, build.labels, true, now)))
    }

    async fn list_images(&self) -> Result<Vec<OwnImage>, RuntimeError> {
        let mut state = self.lock();
        let images = &state.reachable()?.images;
        Ok(images.iter().filter(|image| image.is_own).map(|image| image.image.clone()).collect())
    }

    async fn remove_image(&self, digest: &ImageDigest) -> Result<bool, RuntimeError> {
        Ok(self.lock().reachable()?.remove_image(digest))
    }

    async fn has_volume(&self, name: &str) -> Result<bool, RuntimeError> {
        Ok(self.lock().reachable()?.volumes.contains_key(name))
    }

    async fn provide_volume(&self, volume: VolumeSpec) -> Result<(), RuntimeError> {
        let mut state = self.lock();
        let state = state.reachable()?;
        state.need_image(&volume.image)?;
        if let Some(content) = volume.content.as_ref().filter(|content| !content.is_file()) {
            let operation = format!("read {}", content.display());
            return Err(RuntimeError::Engine { operation, source: "there is no such file".into() });
        }
        state.volumes.entry(volume.name.clone()).or_insert(volume);
        Ok(())
    }

    async fn room(&self) -> Result<Room, RuntimeError> {
        Ok(self.lock().reachable()?.room)
    }

    async fn prune_build_cache(&self, keep_bytes: u64) -> Result<u64, RuntimeError> {
        let mut state = self.lock();
        let state = state.reachable()?;
        let freed = state.build_cache.saturating_sub(keep_bytes);
        state.build_cache -= freed;
        Ok(freed)
    }

    async fn volume_sizes(&self) -> Result<BTreeMap<String, u64>, RuntimeError> {
        Ok(self.lock().reachable()?.volume_sizes.clone())
    }

    async fn list_volumes(&self) -> Result<Vec<OwnVolume>, RuntimeError> {
        let own =
            |(name, volume): (&String, &VolumeSpec)| OwnVolume { name: name.clone(), labels: volume.labels.clone() };
        Ok(self.lock().reachable()?.volumes.iter().map(own).collect())
    }

    async fn remove_volume(&self, name: &str) -> Result<bool, RuntimeError> {
        let mut state = self.lock();
        let state = state.reachable()?;
        let used =
            |container: &super::model::FakeContainer| container.spec.mounts.iter().any(|mount| mount.volume == name);
        if state.containers.iter().any(used) {
            return Ok(false);
        }
        state.volumes.remove(name);
        state.volume_sizes.remove(name);
        Ok(true)
    }

    async fn start(&self, spec: ContainerSpec) -> Result<Container, RuntimeError> {
        let now = self.now();
        self.lock().reachable()?.start(spec, now)
    }

    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        self.lock().reachable()?;
        Ok(self.containers())
    }

    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>, RuntimeError> {
        Ok(self.lock().reachable()?.find(container).map(super::model::FakeContainer::seen))
    }

    async fn stop(&self, container: &ContainerId, _grace: Duration) -> Result<(), RuntimeError> {
        let now = self.now();
        let mut state = self.lock();
        let state = state.reachable()?;
        // SIGTERM, or SIGKILL for one that does not listen to it.
        let ignores = state.find(container).is_some_and(|found| found.behavior.ignores_term);
        state.end(container, if ignores { 137 } else { 143 }, false, now);
        Ok(())
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        let mut state = self.lock();
        let state = state.reachable()?;
        if let Some(why) = state.find(container).and_then(|found| found.stuck.clone()) {
            return Err(RuntimeError::Engine {
                operation: format!("remove container {}", container.0),
                source: why.into(),
            });
        }
        state.remove(container);
        Ok(())
    }

    async fn limit_cpu(&self, container: &ContainerId, millicores: Option<u32>) -> Result<(), RuntimeError> {
        let mut state = self.lock();
        match state.reachable()?.find_mut(container) {
            Some(found) => found.millicores = millicores,
            None => return Err(RuntimeError::NoContainer(container.0.clone())),
        }
        Ok(())
    }

    async fn logs(
        &self,
        container: &ContainerId,
        after: Option<LogPosition>,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        let mut changes = {
            let mut state = self.lock();
            let state = state.reachable()?;
            if state.find(container).is_none() {
                return Err(RuntimeError::NoContainer(container.0.clone()));
            }
            state.watch()
        };
        let (fake, container) = (self.clone(), container.clone());
        changes.mark_changed();
        let start = Some((fake, container, changes, after));
        Ok(Box::pin(futures::stream::unfold(start, |position| async move {
            let (fake, container, mut changes, after) = position?;
            loop {
                changes.borrow_and_update();
                let (next, is_over) = {
                    let mut state = fake.lock();
                    match state.reachable() {
                        Err(error) => return Some((Err(error), None)),
                        Ok(state) => match state.find(&container) {
                            None => return None,
                            Some(found) => {
                                let is_new = |line: &&LogLine| after.is_none_or(|after| line.position > after);
                                (found.lines.iter().find(is_new).cloned(), !found.is_running())
                            }
                        },
                    }
                };
                if let Some(line) = next {
                    let after = Some(line.position);
                    return Some((Ok(line), Some((fake, container, changes, after))));
                }
                if is_over || changes.changed().await.is_err() {
                    return None;
                }
            }
        })))
    }

    async fn usage(&self, container: &ContainerId) -> Result<Option<Usage>, RuntimeError> {
        let mut state = self.lock();
        Ok(state.reachable()?.find(container).filter(|found| found.is_running()).map(|found| {
            let memory_limit_bytes = found.spec.hardware.memory_bytes;
            found.usage.unwrap_or(Usage { memory_limit_bytes, ..Usage::default() })
        }))
    }

    async fn disk_used(&self, container: &ContainerId) -> Result<Option<u64>, RuntimeError> {
        let mut state = self.lock();
        let found = state.reachable()?.find(container).filter(|found| found.is_running());
        Ok(found.map(|found| found.behavior.disk_bytes))
    }

    async fn listening(&self, container: &ContainerId) -> Result<Vec<ListeningSocket>, RuntimeError> {
        match self.lock().reachable()?.find(container) {
            Some(found) => Ok(found.listening.clone()),
            None => Err(RuntimeError::NoContainer(container.0.clone())),
        }
    }

    async fn events(&self) -> Result<BoxStream<'static, ContainerEvent>, RuntimeError> {
        let events = self.lock().reachable()?.events();
        Ok(Box::pin(futures::stream::unfold(events, |mut events| async move {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((event, events)),
                    // Events are hints; a reader that missed some looks at everything anyway.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        })))
    }
}

/// Until it is canceled or its time runs out.
async fn hang(limit: Duration, cancel: &CancellationToken) -> Result<(), RuntimeError> {
    tokio::select! {
        () = cancel.cancelled() => Err(RuntimeError::Canceled),
        () = tokio::time::sleep(limit) => Ok(()),
    }
}
