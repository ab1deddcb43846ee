//! An engine in memory: the same promises as Docker's, without Docker.
//!
//! It is a model with state, not a list of expected calls: images, containers and volumes of
//! outcomes behave as the trait says, whoever calls in whatever order. What a command *does* is
//! given by programs (closures over the step or the container), and tests act on running apps
//! from outside: make them listen, print, crash, run out of memory, or take the engine away.
//! Deterministic: names are counted, time is asked of the clock it is given.

mod model;
mod runtime;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spaceport_core::gpu::DeviceId;
use spaceport_core::{ImageDigest, InstanceId, Timestamp};

use crate::{
    BuildStep, Container, ContainerId, ContainerSpec, DockerfileBuild, EngineHost, ListeningSocket, Room, Usage,
};
use model::State;

/// What a build step does.
#[derive(Debug, Clone, Default)]
pub struct StepBehavior {
    /// What it prints.
    pub lines: Vec<String>,
    /// How it ends.
    pub end: StepEnd,
    /// What a kept archive holds.
    pub archive: Vec<u8>,
    /// What it adds to its cache.
    pub cached_bytes: u64,
}

/// How a build step ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StepEnd {
    /// With an exit code.
    Exit(i64),
    /// Killed for want of memory.
    OutOfMemory,
    /// It wrote more than it may.
    DiskFull,
    /// Not at all: it is canceled or its time runs out.
    Hang,
    /// With exit code 0.
    #[default]
    Done,
}

/// What a Dockerfile's build does.
#[derive(Debug, Clone, Default)]
pub struct DockerfileBehavior {
    /// What it prints.
    pub lines: Vec<String>,
    /// BuildKit's message when it fails.
    pub failure: Option<String>,
    /// Whether it never ends by itself.
    pub hangs: bool,
    /// Whether it writes more than it may.
    pub fills_disk: bool,
}

/// What an app does when its container starts.
#[derive(Debug, Clone)]
pub struct AppBehavior {
    /// What it prints.
    pub lines: Vec<String>,
    /// Where it listens at once.
    pub listening: Vec<ListeningSocket>,
    /// With which code it ends at once.
    pub exits: Option<i64>,
    /// What it writes to its own disk at once.
    pub disk_bytes: u64,
    /// Why its command cannot be run.
    pub not_runnable: Option<String>,
    /// Whether it has to be killed after the grace period of a stop.
    pub ignores_term: bool,
    /// Where the node reaches it; a test may run a real server there.
    pub address: IpAddr,
}

impl Default for AppBehavior {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            listening: Vec::new(),
            exits: None,
            disk_bytes: 0,
            not_runnable: None,
            ignores_term: false,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

impl AppBehavior {
    /// One that is ready at once on the port it is expected on.
    #[must_use]
    pub fn ready(spec: &ContainerSpec) -> Self {
        let listening = vec![ListeningSocket { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: spec.port }];
        Self { listening, ..Self::default() }
    }
}

pub(crate) type Program<I, O> = Arc<dyn Fn(&I) -> O + Send + Sync>;

/// The model. Clones are the same engine.
#[derive(Clone)]
pub struct FakeRuntime {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl FakeRuntime {
    /// An engine without images, whose steps succeed and whose apps run and do nothing.
    pub fn new(clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { state: Arc::new(Mutex::new(State::default())), clock: Arc::new(clock) }
    }

    /// Puts an image on the engine.
    pub fn add_image(&self, reference: &str) -> ImageDigest {
        let now = self.now();
        self.lock().add_image(reference, None, BTreeMap::new(), false, now)
    }

    /// Puts an image into the registry, from which it can be pulled.
    pub fn add_registry_image(&self, reference: &str) {
        self.lock().registry.insert(reference.to_owned());
    }

    /// Says what build steps do from now on.
    pub fn on_step(&self, program: impl Fn(&BuildStep) -> StepBehavior + Send + Sync + 'static) {
        self.lock().step = Arc::new(program);
    }

    /// Says what Dockerfiles do from now on.
    pub fn on_dockerfile(&self, program: impl Fn(&DockerfileBuild) -> DockerfileBehavior + Send + Sync + 'static) {
        self.lock().dockerfile = Arc::new(program);
    }

    /// Says what apps do from now on.
    pub fn on_start(&self, program: impl Fn(&ContainerSpec) -> AppBehavior + Send + Sync + 'static) {
        self.lock().app = Arc::new(program);
    }

    /// Takes the engine away or brings it back. Containers go on while it is away, as with
    /// Docker's live restore; streams end.
    pub fn set_away(&self, away: bool) {
        self.lock().set_away(away);
    }

    /// Says what is left on the host; by default that is not known.
    pub fn set_room(&self, room: Room) {
        self.lock().room = room;
    }

    /// Says which isolation cannot be put in place.
    pub fn set_warnings(&self, warnings: &[&str]) {
        self.lock().warnings = warnings.iter().map(|&warning| warning.to_owned()).collect();
    }

    /// What `prepare` says is closed to apps from now on.
    pub fn set_closed(&self, closed: &[&str]) {
        self.lock().closed = closed.iter().map(|&text| text.to_owned()).collect();
    }

    /// What was prepared does not fit any more.
    pub fn outdate(&self) {
        self.lock().is_stale = true;
    }

    /// Whether it was prepared since.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.lock().is_stale
    }

    /// Says what machine the engine runs on.
    pub fn set_host(&self, host: EngineHost) {
        self.lock().host = host;
    }

    /// Gives the engine a device.
    pub fn add_device(&self, device: &DeviceId) {
        self.lock().devices.insert(device.clone());
    }

    /// Takes a device away; containers that have it keep it.
    pub fn remove_device(&self, device: &DeviceId) {
        self.lock().devices.remove(device);
    }

    /// Devices of which running containers of different leases ever had more than there is; any is a bug of
    /// the caller.
    #[must_use]
    pub fn held_twice(&self) -> Vec<DeviceId> {
        self.lock().held_twice.iter().cloned().collect()
    }

    /// Says how large a volume is.
    pub fn set_volume_size(&self, name: &str, bytes: u64) {
        self.lock().volume_sizes.insert(name.to_owned(), bytes);
    }

    /// Says how large the cache of Dockerfiles is.
    pub fn set_build_cache(&self, bytes: u64) {
        self.lock().build_cache = bytes;
    }

    /// How large the cache of Dockerfiles is.
    #[must_use]
    pub fn build_cache(&self) -> u64 {
        self.lock().build_cache
    }

    /// The app listens on one more socket.
    pub fn listen(&self, container: &ContainerId, socket: ListeningSocket) {
        self.change(container, |container| container.listening.push(socket));
    }

    /// The app prints a line.
    pub fn print(&self, container: &ContainerId, line: &str) {
        let now = self.now();
        self.change(container, |container| container.print(line, now));
    }

    /// The app has so many bytes on its own disk.
    pub fn write_disk(&self, container: &ContainerId, bytes: u64) {
        self.change(container, |container| container.behavior.disk_bytes = bytes);
    }

    /// The app ends with a code.
    pub fn exit(&self, container: &ContainerId, code: i64) {
        let now = self.now();
        self.lock().end(container, code, false, now);
    }

    /// The kernel kills the app for want of memory.
    pub fn run_out_of_memory(&self, container: &ContainerId) {
        let now = self.now();
        self.lock().end(container, 137, true, now);
    }

    /// Says that a container cannot be removed, however often it is tried; `None`: it can again.
    pub fn refuse_removal(&self, container: &ContainerId, why: Option<&str>) {
        self.change(container, |container| container.stuck = why.map(str::to_owned));
    }

    /// What `usage` says of a container.
    pub fn set_usage(&self, container: &ContainerId, usage: Usage) {
        self.change(container, |container| container.usage = Some(usage));
    }

    /// How often the instance's command was started; more than once is a bug of the caller.
    #[must_use]
    pub fn starts(&self, instance: InstanceId) -> usize {
        self.lock().starts.get(&instance).copied().unwrap_or_default()
    }

    /// How many build steps and Dockerfiles were begun.
    #[must_use]
    pub fn builds(&self) -> usize {
        self.lock().builds
    }

    /// The image an image was made from.
    #[must_use]
    pub fn parent(&self, digest: &ImageDigest) -> Option<ImageDigest> {
        let state = self.lock();
        state.images.iter().find(|image| &image.image.digest == digest).and_then(|image| image.parent.clone())
    }

    /// The containers, also while the engine is away.
    #[must_use]
    pub fn containers(&self) -> Vec<Container> {
        self.lock().containers.iter().map(model::FakeContainer::seen).collect()
    }

    /// What a container was started with.
    #[must_use]
    pub fn spec(&self, container: &ContainerId) -> Option<ContainerSpec> {
        self.lock().find(container).map(|found| found.spec.clone())
    }

    /// The CPU cap of a container.
    #[must_use]
    pub fn cpu_cap(&self, container: &ContainerId) -> Option<u32> {
        self.lock().find(container).and_then(|found| found.millicores)
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked has failed already; the state itself is never half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, container: &ContainerId, change: impl FnOnce(&mut model::FakeContainer)) {
        let mut state = self.lock();
        if let Some(found) = state.find_mut(container) {
            change(found);
        }
        state.changed();
    }
}

impl std::fmt::Debug for FakeRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("FakeRuntime")
            .field("away", &state.away)
            .field("images", &state.images.len())
            .field("containers", &state.containers.len())
            .finish_non_exhaustive()
    }
}
