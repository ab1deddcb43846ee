//! The state of the fake engine and its transitions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use spaceport_core::gpu::DeviceId;
use spaceport_core::gpu::device::WHOLE_MILLI;
use spaceport_core::{ImageDigest, InstanceId, LeaseId, Timestamp};
use tokio::sync::{broadcast, watch};

use super::{AppBehavior, DockerfileBehavior, Program, StepBehavior};
use crate::{
    BuildStep, Container, ContainerEvent, ContainerId, ContainerSpec, ContainerState, DockerfileBuild, EngineHost,
    Exit, Grant, ListeningSocket, LogLine, LogPosition, OwnImage, Room, RuntimeError, Usage, VolumeSpec,
};

/// Events kept for a reader that is slow; more are hints nobody needs.
const EVENT_BUFFER: usize = 1024;

pub(super) struct State {
    pub(super) away: bool,
    pub(super) images: Vec<Image>,
    pub(super) registry: BTreeSet<String>,
    pub(super) containers: Vec<FakeContainer>,
    pub(super) starts: BTreeMap<InstanceId, usize>,
    pub(super) builds: usize,
    pub(super) volumes: BTreeMap<String, VolumeSpec>,
    pub(super) volume_sizes: BTreeMap<String, u64>,
    pub(super) room: Room,
    pub(super) warnings: Vec<String>,
    pub(super) closed: Vec<String>,
    pub(super) is_stale: bool,
    pub(super) host: EngineHost,
    pub(super) devices: BTreeSet<DeviceId>,
    pub(super) held_twice: BTreeSet<DeviceId>,
    pub(super) build_cache: u64,
    pub(super) step: Program<BuildStep, StepBehavior>,
    pub(super) dockerfile: Program<DockerfileBuild, DockerfileBehavior>,
    pub(super) app: Program<ContainerSpec, AppBehavior>,
    named: u64,
    events: broadcast::Sender<ContainerEvent>,
    version: watch::Sender<u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            away: false,
            images: Vec::new(),
            registry: BTreeSet::new(),
            containers: Vec::new(),
            starts: BTreeMap::new(),
            builds: 0,
            volumes: BTreeMap::new(),
            volume_sizes: BTreeMap::new(),
            room: Room::default(),
            warnings: Vec::new(),
            closed: Vec::new(),
            is_stale: false,
            host: EngineHost { name: "fake".to_owned(), cpus: 64, memory_bytes: 256 << 30 },
            devices: BTreeSet::new(),
            held_twice: BTreeSet::new(),
            build_cache: 0,
            step: Arc::new(|_| StepBehavior::default()),
            dockerfile: Arc::new(|_| DockerfileBehavior::default()),
            app: Arc::new(|_| AppBehavior::default()),
            named: 0,
            events: broadcast::Sender::new(EVENT_BUFFER),
            version: watch::Sender::new(0),
        }
    }
}

pub(super) struct Image {
    pub(super) reference: String,
    pub(super) parent: Option<ImageDigest>,
    pub(super) is_own: bool,
    pub(super) image: OwnImage,
}

pub(super) struct FakeContainer {
    pub(super) id: ContainerId,
    pub(super) spec: ContainerSpec,
    pub(super) state: ContainerState,
    pub(super) behavior: AppBehavior,
    pub(super) lines: Vec<LogLine>,
    pub(super) listening: Vec<ListeningSocket>,
    pub(super) usage: Option<Usage>,
    pub(super) stuck: Option<String>,
    pub(super) millicores: Option<u32>,
}

impl State {
    pub(super) fn reachable(&mut self) -> Result<&mut Self, RuntimeError> {
        if self.away { Err(RuntimeError::Unreachable("the fake engine is away".into())) } else { Ok(self) }
    }

    pub(super) fn add_image(
        &mut self,
        reference: &str,
        parent: Option<ImageDigest>,
        labels: BTreeMap<String, String>,
        is_own: bool,
        now: Timestamp,
    ) -> ImageDigest {
        self.named += 1;
        let digest: ImageDigest =
            format!("sha256:{:064x}", self.named).parse().expect("64 hexadecimal digits are a digest");
        // A tag moves to the newest image, as it does in Docker.
        for image in self.images.iter_mut().filter(|image| image.reference == reference) {
            image.reference.clear();
        }
        let image = OwnImage { digest: digest.clone(), labels, created_at: now, size_bytes: 1 << 20 };
        self.images.push(Image { reference: reference.to_owned(), parent, is_own, image });
        digest
    }

    pub(super) fn image(&self, reference: &str) -> Option<ImageDigest> {
        if reference.is_empty() {
            return None;
        }
        self.images
            .iter()
            .find(|image| image.reference == reference || image.image.digest.as_str() == reference)
            .map(|image| image.image.digest.clone())
    }

    pub(super) fn need_image(&self, digest: &ImageDigest) -> Result<(), RuntimeError> {
        match self.image(digest.as_str()) {
            Some(_) => Ok(()),
            None => Err(RuntimeError::ImageMissing { reference: digest.to_string(), source: "not here".into() }),
        }
    }

    pub(super) fn remove_image(&mut self, digest: &ImageDigest) -> bool {
        let is_used = self.containers.iter().any(|container| &container.spec.image == digest)
            || self.images.iter().any(|image| image.parent.as_ref() == Some(digest));
        if !is_used {
            self.images.retain(|image| &image.image.digest != digest);
        }
        !is_used
    }

    pub(super) fn find(&self, id: &ContainerId) -> Option<&FakeContainer> {
        self.containers.iter().find(|container| &container.id == id)
    }

    pub(super) fn find_mut(&mut self, id: &ContainerId) -> Option<&mut FakeContainer> {
        self.containers.iter_mut().find(|container| &container.id == id)
    }

    pub(super) fn start(&mut self, spec: ContainerSpec, now: Timestamp) -> Result<Container, RuntimeError> {
        if let Some(found) = self.containers.iter().find(|container| container.spec.instance == spec.instance) {
            return Ok(found.seen());
        }
        self.need_image(&spec.image)?;
        self.take_devices(&spec)?;
        let behavior = (self.app)(&spec);
        if let Some(why) = behavior.not_runnable {
            return Err(RuntimeError::CommandNotFound(why));
        }
        self.named += 1;
        *self.starts.entry(spec.instance).or_default() += 1;
        let mut container = FakeContainer {
            id: ContainerId(format!("container-{}", self.named)),
            state: ContainerState::Running { started_at: now },
            lines: Vec::new(),
            listening: behavior.listening.clone(),
            usage: None,
            stuck: None,
            millicores: None,
            spec,
            behavior,
        };
        for line in std::mem::take(&mut container.behavior.lines) {
            container.print(&line, now);
        }
        let (id, exits, seen) = (container.id.clone(), container.behavior.exits, container.seen());
        self.tell(&container);
        self.containers.push(container);
        if let Some(code) = exits {
            self.end(&id, code, false, now);
        }
        self.changed();
        Ok(self.find(&id).map_or(seen, FakeContainer::seen))
    }

    /// As an engine does: it notices a device that it has not, and not one that somebody else uses.
    fn take_devices(&mut self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let Some(grant) = &spec.grant else { return Ok(()) };
        if let Some(missing) = grant.devices().iter().find(|device| !self.devices.contains(&device.id)) {
            return Err(RuntimeError::Devices {
                message: format!("the engine cannot find the device {}", missing.id),
                remedy: "Give it back to the engine.".to_owned(),
                source: "no such device".into(),
            });
        }
        let running = self.containers.iter().filter(|container| container.is_running());
        let leases = running.filter_map(|container| container.spec.grant.as_ref());
        // The old and the new container of one lease share its devices while a push swaps them.
        let others: BTreeMap<LeaseId, &Grant> =
            leases.filter(|other| other.lease() != grant.lease()).map(|other| (other.lease(), other)).collect();
        for device in grant.devices() {
            let of_device = others.values().flat_map(|other| other.devices()).filter(|other| other.id == device.id);
            if of_device.map(|other| other.milli).sum::<u32>() + device.milli > WHOLE_MILLI {
                self.held_twice.insert(device.id.clone());
            }
        }
        Ok(())
    }

    pub(super) fn end(&mut self, id: &ContainerId, code: i64, oom_killed: bool, now: Timestamp) {
        let Some(container) = self.containers.iter_mut().find(|container| &container.id == id) else { return };
        let ContainerState::Running { started_at } = container.state else { return };
        let error = String::new();
        container.state = ContainerState::Exited(Exit { code, oom_killed, error, started_at, finished_at: now });
        container.listening.clear();
        let event = ContainerEvent { space: Some(container.spec.space) };
        // Nobody listening is fine.
        let _ = self.events.send(event);
        self.changed();
    }

    pub(super) fn remove(&mut self, id: &ContainerId) {
        if let Some(at) = self.containers.iter().position(|container| &container.id == id) {
            let container = self.containers.remove(at);
            self.tell(&container);
            self.changed();
        }
    }

    pub(super) fn set_away(&mut self, away: bool) {
        self.away = away;
        if away {
            // Dropping the old sender ends the streams.
            self.events = broadcast::Sender::new(EVENT_BUFFER);
        }
        self.changed();
    }

    /// Wakes whoever follows a log.
    pub(super) fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(super) fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.events.subscribe()
    }

    fn tell(&self, container: &FakeContainer) {
        // Nobody listening is fine.
        let _ = self.events.send(ContainerEvent { space: Some(container.spec.space) });
    }
}

impl FakeContainer {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    pub(super) fn seen(&self) -> Container {
        Container {
            id: self.id.clone(),
            space: self.spec.space,
            release: self.spec.release,
            instance: self.spec.instance,
            state: self.state.clone(),
            address: self.is_running().then(|| SocketAddr::new(self.behavior.address, self.spec.port)),
            held: self.spec.grant.as_ref().map(Grant::held),
        }
    }

    pub(super) fn print(&mut self, text: &str, now: Timestamp) {
        let earliest = self.lines.last().map_or(0, |line| line.position.0 + 1);
        let position = LogPosition(now.as_millis().saturating_mul(1_000_000).max(earliest));
        self.lines.push(LogLine {
            position,
            at: Timestamp::from_millis(position.0 / 1_000_000),
            text: text.to_owned(),
        });
    }
}
