//! What devices there are, kept up to date.
//!
//! Each source of devices is read on a thread of its own: a driver that hangs holds up that thread and
//! nothing else, and its devices are drained until it answers again. Everybody else sees the last
//! readings through a handle and never waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use spaceport_core::Timestamp;
use spaceport_core::gpu::{Attach, DeviceHealth, DeviceId, DeviceUsage, Lease, Node, NodeName, Reading, Watch};
use spaceport_runtime::{Attachable, DeviceSource, EngineHost, Grant, GrantError};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Capacity, ControlConfig};
use crate::engine::Engine;
use crate::handle::ControlHandle;

/// Between two looks at the devices.
const PERIOD: Duration = Duration::from_secs(3);
/// A source that has not answered for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The last readings, and the ways to act on them. Clones are the same inventory.
#[derive(Debug, Clone)]
pub struct Inventory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    known: watch::Sender<Arc<Known>>,
    forgiven: Mutex<BTreeSet<DeviceId>>,
    looked_after: Notify,
}

/// Everything that is known of the devices at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Machines with their devices; none until the engine has said what it runs on.
    pub nodes: Vec<Node>,
    /// How busy each device was at the last look.
    pub usage: BTreeMap<DeviceId, DeviceUsage>,
    /// How a container gets each device.
    pub attachable: BTreeMap<DeviceId, Attachable>,
    /// When a source was last read.
    pub read_at: Option<Timestamp>,
    /// Why sources that should know of devices tell nothing.
    pub silent: Vec<String>,
}

impl Default for Inventory {
    fn default() -> Self {
        let inner = Inner {
            known: watch::Sender::new(Arc::default()),
            forgiven: Mutex::default(),
            looked_after: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Inventory {
    /// What is known now.
    #[must_use]
    pub fn known(&self) -> Arc<Known> {
        self.inner.known.borrow().clone()
    }

    /// What is known, as it changes: with every look, so every few seconds.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Known>> {
        self.inner.known.subscribe()
    }

    /// Turns a lease into the devices a container is started with.
    ///
    /// # Errors
    /// When the lease is for another machine, or for a device that is not there.
    pub fn grant(&self, lease: &Lease) -> Result<Grant, GrantError> {
        let known = self.known();
        let here = known.nodes.first().map_or_else(|| NodeName(String::new()), |node| node.name.clone());
        Grant::of_lease(lease, &here, &known.attachable)
    }

    /// Somebody looked after a device: its past errors are forgotten, and one that is gone is not waited for.
    /// What is still wrong with it drains it again with the next look.
    pub fn forgive(&self, device: &DeviceId) {
        self.inner.forgiven.lock().unwrap_or_else(PoisonError::into_inner).insert(device.clone());
        self.inner.looked_after.notify_one();
    }

    /// Says what is known, for tests of what relies on it.
    pub fn set(&self, known: Known) {
        self.inner.known.send_replace(Arc::new(known));
    }

    fn take_forgiven(&self) -> BTreeSet<DeviceId> {
        std::mem::take(&mut *self.inner.forgiven.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps the inventory of a control handle up to date until told to stop. Where two sources know a device,
/// the later one says what it is and how it is attached, and all say how it is.
pub async fn run(
    sources: Vec<Box<dyn DeviceSource>>,
    engine: Arc<Engine>,
    config: Arc<ControlConfig>,
    control: ControlHandle,
    stop: CancellationToken,
) {
    let (told, mut readings) = mpsc::channel(sources.len().max(1));
    let mut books = Books::new(sources.iter().map(|source| source.name()).collect());
    let mut lookers = Vec::new();
    for (number, source) in sources.into_iter().enumerate() {
        match look(number, source, told.clone()) {
            Ok(again) => lookers.push(again),
            Err(error) => books.silent(number, format!("no thread could be started to read it: {error}")),
        }
    }
    drop(told);
    let mut engine_state = engine.subscribe();
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut any_source = true;
    let (mut host, mut warned) = (None, Vec::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            answer = readings.recv(), if any_source => match answer {
                Some((number, answer)) => books.take(number, answer, control.clock().now()),
                None => any_source = false,
            },
            changed = engine_state.changed() => if changed.is_err() { return },
            () = control.inventory().inner.looked_after.notified() => {}
            _ = tick.tick() => books.check_patience(),
        }
        // A machine stays the same while its engine is away.
        let info = engine_state.borrow_and_update().as_ref().map(|info| info.host.clone());
        host = info.or(host);
        for device in control.inventory().take_forgiven() {
            books.forgive(&device);
            for again in &lookers {
                // A thread that is gone has told why.
                let _ = again.send(());
            }
        }
        let Some(host) = &host else { continue };
        let known = books.known(host, config.node.as_ref(), &config.capacity);
        if books.all_heard() {
            let impossible = config.hardware.unfulfillable(&known.nodes);
            for (flavor, why) in impossible.iter().filter(|one| !warned.contains(*one)) {
                tracing::warn!(flavor = %flavor, "nothing can ever run on hardware.{flavor}: {why}");
            }
            warned = impossible;
        }
        publish(control.inventory(), known);
    }
}

/// Reads a source again and again, on a thread that ends when what is returned is dropped. A message has it
/// look at once.
fn look(
    number: usize,
    mut source: Box<dyn DeviceSource>,
    told: mpsc::Sender<(usize, Result<Vec<Reading>, String>)>,
) -> std::io::Result<std::sync::mpsc::Sender<()>> {
    let (again, pause) = std::sync::mpsc::channel();
    // Not a task that shutdown waits for: a driver may never answer.
    std::thread::Builder::new().name(format!("devices-{number}")).spawn(move || {
        while told.blocking_send((number, source.read())).is_ok() {
            if pause.recv_timeout(PERIOD) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    })?;
    Ok(again)
}

/// Publishes what is known, and says which devices are not as before.
fn publish(inventory: &Inventory, known: Known) {
    let before = inventory.known();
    for why in known.silent.iter().filter(|why| !before.silent.contains(why)) {
        tracing::warn!("{why}");
    }
    for device in known.nodes.iter().flat_map(|node| &node.devices) {
        let old = before.nodes.iter().flat_map(|node| &node.devices).find(|old| old.id == device.id);
        if old.is_some_and(|old| old.health == device.health) {
            continue;
        }
        let (id, model) = (&device.id, &device.model);
        match &device.health {
            DeviceHealth::Healthy => tracing::info!(device.id = %id, "the device {id} ({model}) can be given out"),
            DeviceHealth::Drained { reason } => {
                tracing::warn!(device.id = %id, "nothing new is placed on the device {id} ({model}): {reason}");
            }
            DeviceHealth::Lost { reason } => {
                tracing::error!(device.id = %id, "the device {id} ({model}) is lost: {reason}");
            }
        }
    }
    inventory.set(known);
}

/// What the sources have told.
#[derive(Debug)]
struct Books {
    sources: Vec<Source>,
    read_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Source {
    name: &'static str,
    watch: Watch,
    heard: Instant,
    /// It has answered, or was given up.
    is_settled: bool,
}

impl Books {
    fn new(names: Vec<&'static str>) -> Self {
        let source = |name| Source { name, watch: Watch::default(), heard: Instant::now(), is_settled: false };
        Self { sources: names.into_iter().map(source).collect(), read_at: None }
    }

    fn take(&mut self, number: usize, answer: Result<Vec<Reading>, String>, now: Timestamp) {
        let source = &mut self.sources[number];
        (source.heard, source.is_settled) = (Instant::now(), true);
        match answer {
            Ok(readings) => {
                source.watch.take(readings);
                self.read_at = Some(now);
            }
            Err(why) => self.silent(number, why),
        }
    }

    fn silent(&mut self, number: usize, why: String) {
        let source = &mut self.sources[number];
        source.is_settled = true;
        source.watch.silent(format!("{} does not answer: {why}", source.name));
    }

    fn check_patience(&mut self) {
        for source in self.sources.iter_mut().filter(|source| source.heard.elapsed() > PATIENCE) {
            source.is_settled = true;
            source.watch.silent(format!("{} has not answered for {} s", source.name, PATIENCE.as_secs()));
        }
    }

    /// Whether nothing is to be expected that has not been told.
    fn all_heard(&self) -> bool {
        self.sources.iter().all(|source| source.is_settled)
    }

    fn forgive(&mut self, device: &DeviceId) {
        for source in &mut self.sources {
            source.watch.forgive(device);
        }
    }

    fn known(&self, host: &EngineHost, name: Option<&NodeName>, capacity: &Capacity) -> Known {
        let (mut devices, mut usage, mut attachable) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for source in &self.sources {
            // The numbers of one source go on where those of the other ended.
            let first = devices.values().map(|device: &spaceport_core::gpu::Device| device.index + 1).max();
            for mut device in source.watch.devices() {
                let before = devices.remove(&device.id);
                device.index = before.as_ref().map_or(device.index + first.unwrap_or_default(), |before| before.index);
                if let Some(before) = before
                    && device.health == DeviceHealth::Healthy
                {
                    device.health = before.health;
                }
                devices.insert(device.id.clone(), device);
            }
            for Reading { id, memory_bytes, attach, usage: busy, .. } in source.watch.readings() {
                let attach: Attach = attach.clone();
                attachable.insert(id.clone(), Attachable { attach, memory_bytes: *memory_bytes });
                if *busy != DeviceUsage::default() || !usage.contains_key(id) {
                    usage.insert(id.clone(), busy.clone());
                }
            }
        }
        let mut devices: Vec<_> = devices.into_values().collect();
        devices.sort_by(|one, other| (one.index, &one.id).cmp(&(other.index, &other.id)));
        let node = Node {
            name: name.cloned().unwrap_or_else(|| NodeName(host.name.clone())),
            cpu_millicores: u64::from(host.cpus) * u64::from(capacity.cpu_factor_milli),
            memory_bytes: host.memory_bytes / 1000 * u64::from(capacity.memory_factor_milli),
            devices,
            cordoned: false,
        };
        let silent = self.sources.iter().filter_map(|source| source.watch.silence().map(str::to_owned)).collect();
        Known { nodes: vec![node], usage, attachable, read_at: self.read_at, silent }
    }
}

#[cfg(test)]
mod tests;
