//! What the API holds of the control plane: it can wake it, watch it and read its logs. It
//! cannot start or stop anything: handlers write desired state, reconcilers act.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::{Notify, broadcast, watch};

use spaceport_core::gpu::schedule::World;
use spaceport_core::{InstanceId, SpaceId, Timestamp};
use spaceport_runtime::Usage;

use crate::clock::Clock;
use crate::inventory::Inventory;
use crate::logs::LogStore;

/// Changes a slow subscriber may fall behind before it has to read everything again.
const CHANGES_KEPT: usize = 1024;

/// A cheap, cloneable handle.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    logs: LogStore,
    /// Ids of Spaces whose stage, diagnosis or settings changed.
    changes: broadcast::Sender<SpaceId>,
    /// Wake-ups of the reconcilers.
    dirty: Mutex<HashSet<SpaceId>>,
    sweep: AtomicBool,
    again: Mutex<HashSet<SpaceId>>,
    drained: Mutex<HashSet<InstanceId>>,
    retiring: Mutex<HashMap<InstanceId, SpaceId>>,
    wake_spaces: Notify,
    wake_builds: Notify,
    wake_routes: Notify,
    wake_webhooks: Notify,
    wake_hardware: Notify,
    /// When each Space was last used, as the proxy saw it.
    used: Mutex<HashMap<SpaceId, Timestamp>>,
    /// Spaces that wake for a visitor.
    sleepers: Mutex<HashSet<SpaceId>>,
    began_at: Timestamp,
    people: watch::Sender<()>,
    visits: Mutex<HashMap<SpaceId, i64>>,
    usage: Mutex<HashMap<SpaceId, UsageSample>>,
    usage_wanted: Mutex<HashMap<SpaceId, Timestamp>>,
    /// What each attempt wrote to its own disk.
    disks: Mutex<HashMap<InstanceId, u64>>,
    statuses: Mutex<HashMap<&'static str, TaskStatus>>,
    inventory: Inventory,
    world: Mutex<Option<Arc<World>>>,
}

/// Use of one Space at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageSample {
    /// When.
    pub at: Timestamp,
    /// CPU in thousandths of a core, averaged since the previous sample.
    pub cpu_millicores: u64,
    /// Bytes per second received, since the previous sample.
    pub rx_bps: u64,
    /// Bytes per second sent, since the previous sample.
    pub tx_bps: u64,
    /// Counters since the container started.
    pub total: Usage,
}

/// How a reconciler is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskStatus {
    /// Its last activation went through.
    pub ok: bool,
    /// What it did, or why it failed.
    pub message: String,
    /// When it last ended.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl ControlHandle {
    /// A handle nobody listens to yet; the reconcilers are started with it.
    #[must_use]
    pub fn new(clock: Clock, logs: LogStore) -> Self {
        let began_at = clock.now();
        Self {
            inner: Arc::new(Inner {
                clock,
                logs,
                changes: broadcast::Sender::new(CHANGES_KEPT),
                dirty: Mutex::default(),
                sweep: AtomicBool::new(true),
                again: Mutex::default(),
                drained: Mutex::default(),
                retiring: Mutex::default(),
                wake_spaces: Notify::new(),
                wake_builds: Notify::new(),
                wake_routes: Notify::new(),
                wake_webhooks: Notify::new(),
                wake_hardware: Notify::new(),
                used: Mutex::default(),
                sleepers: Mutex::default(),
                began_at,
                people: watch::Sender::new(()),
                visits: Mutex::default(),
                usage: Mutex::default(),
                usage_wanted: Mutex::default(),
                disks: Mutex::default(),
                statuses: Mutex::default(),
                inventory: Inventory::default(),
                world: Mutex::default(),
            }),
        }
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The logs.
    #[must_use]
    pub fn logs(&self) -> &LogStore {
        &self.inner.logs
    }

    /// The devices.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.inner.inventory
    }

    /// What the scheduler last decided from; `None` until it looked for the first time. For trying out what a change
    /// would do.
    #[must_use]
    pub fn world(&self) -> Option<Arc<World>> {
        lock(&self.inner.world).clone()
    }

    /// Keeps what the scheduler decided from.
    pub fn set_world(&self, world: World) {
        *lock(&self.inner.world) = Some(Arc::new(world));
    }

    /// Says that the desired state of a Space changed. Losing the call costs time, not
    /// correctness: everything is looked at periodically.
    pub fn activate(&self, space: SpaceId) {
        lock(&self.inner.dirty).insert(space);
        self.inner.wake_spaces.notify_one();
        self.changed(space);
    }

    /// Says that tokens, members or visibility changed, so that the route table is made anew.
    pub fn activate_routes(&self) {
        self.inner.wake_routes.notify_one();
        self.inner.people.send_replace(());
    }

    /// Changes whenever somebody may have lost a right.
    #[must_use]
    pub fn people(&self) -> watch::Receiver<()> {
        self.inner.people.subscribe()
    }

    /// Says that a build was asked for or canceled.
    pub fn activate_builds(&self) {
        self.inner.wake_builds.notify_one();
    }

    /// Says that something happened that webhooks may be told of.
    pub fn activate_webhooks(&self) {
        self.inner.wake_webhooks.notify_one();
    }

    /// Says that quotas, claims, reservations or what admins say of devices changed.
    pub fn activate_hardware(&self) {
        self.inner.wake_hardware.notify_one();
    }

    /// Records that a Space was used, and wakes it if it sleeps.
    pub fn used(&self, space: SpaceId, at: Timestamp) {
        let mut used = lock(&self.inner.used);
        let last = used.entry(space).or_insert(at);
        *last = (*last).max(at);
        drop(used);
        if lock(&self.inner.sleepers).contains(&space) {
            self.activate_quietly(space);
        }
    }

    /// When a Space was last used, as far as this process saw it.
    #[must_use]
    pub fn last_used(&self, space: SpaceId) -> Option<Timestamp> {
        lock(&self.inner.used).get(&space).copied()
    }

    /// When this process began to look.
    pub(crate) fn began_at(&self) -> Timestamp {
        self.inner.began_at
    }

    /// Says whether a Space wakes for a visitor.
    pub(crate) fn set_sleeper(&self, space: SpaceId, sleeps: bool) {
        let mut sleepers = lock(&self.inner.sleepers);
        if sleeps {
            sleepers.insert(space);
        } else {
            sleepers.remove(&space);
        }
    }

    /// Forgets what was kept of a Space that is gone.
    pub(crate) fn forget_use(&self, space: SpaceId) {
        lock(&self.inner.used).remove(&space);
        lock(&self.inner.sleepers).remove(&space);
    }

    /// Spaces as they change. A receiver that lags must read everything again.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<SpaceId> {
        self.inner.changes.subscribe()
    }

    /// The newest sample of a Space; `None` unless it runs, and for the first second: samples are
    /// taken while somebody asks.
    #[must_use]
    pub fn usage(&self, space: SpaceId) -> Option<UsageSample> {
        lock(&self.inner.usage_wanted).insert(space, self.inner.clock.now());
        lock(&self.inner.usage).get(&space).copied()
    }

    /// How each reconciler is doing, by name.
    #[must_use]
    pub fn statuses(&self) -> HashMap<&'static str, TaskStatus> {
        lock(&self.inner.statuses).clone()
    }

    /// Has every Space looked at.
    pub(crate) fn activate_all(&self) {
        self.inner.sweep.store(true, std::sync::atomic::Ordering::Relaxed);
        self.inner.wake_spaces.notify_one();
    }

    /// As [`Self::activate`], for hints that change nothing by themselves.
    pub(crate) fn activate_quietly(&self, space: SpaceId) {
        lock(&self.inner.dirty).insert(space);
        self.inner.wake_spaces.notify_one();
    }

    /// Wakes the reconciler so that it reads its timers.
    pub(crate) fn wake_spaces(&self) {
        self.inner.wake_spaces.notify_one();
    }

    /// Keeps a signal for a Space whose worker is under way; [`Self::release`] hands it over.
    pub(crate) fn requeue(&self, space: SpaceId) {
        lock(&self.inner.again).insert(space);
    }

    /// Hands over the signals that came while the worker of a Space was under way.
    pub(crate) fn release(&self, space: SpaceId) {
        if lock(&self.inner.again).remove(&space) {
            self.activate_quietly(space);
        }
    }

    pub(crate) fn take_sweep(&self) -> bool {
        self.inner.sweep.swap(false, std::sync::atomic::Ordering::Relaxed)
    }

    /// Spaces somebody asked the use of since `after`.
    pub(crate) fn usage_wanted(&self, after: Timestamp) -> Vec<SpaceId> {
        let mut wanted = lock(&self.inner.usage_wanted);
        wanted.retain(|_, at| *at >= after);
        wanted.keys().copied().collect()
    }

    /// Counts pages of a Space that browsers opened.
    pub fn visited(&self, space: SpaceId, pages: u32) {
        self.add_visits(space, i64::from(pages));
    }

    pub(crate) fn add_visits(&self, space: SpaceId, pages: i64) {
        *lock(&self.inner.visits).entry(space).or_default() += pages;
    }

    pub(crate) fn take_visits(&self) -> HashMap<SpaceId, i64> {
        std::mem::take(&mut *lock(&self.inner.visits))
    }

    /// Records that the proxy has nothing in flight for an instance that left the route table.
    pub fn drained(&self, instance: InstanceId) {
        lock(&self.inner.drained).insert(instance);
        let space = lock(&self.inner.retiring).get(&instance).copied();
        if let Some(space) = space {
            self.activate_quietly(space);
        }
    }

    /// Says whose instance it is that will be drained.
    pub(crate) fn retiring(&self, instance: InstanceId, space: SpaceId) {
        lock(&self.inner.retiring).insert(instance, space);
    }

    pub(crate) fn is_drained(&self, instance: InstanceId) -> bool {
        lock(&self.inner.drained).contains(&instance)
    }

    pub(crate) fn forget_drained(&self, instance: InstanceId) {
        lock(&self.inner.drained).remove(&instance);
        lock(&self.inner.retiring).remove(&instance);
    }

    pub(crate) fn changed(&self, space: SpaceId) {
        // No subscriber is not an error.
        let _ = self.inner.changes.send(space);
    }

    pub(crate) fn set_usage(&self, samples: HashMap<SpaceId, UsageSample>) {
        *lock(&self.inner.usage) = samples;
    }

    /// Keeps what an attempt wrote to its own disk; `true` when that is another amount than before.
    pub(crate) fn set_disk(&self, instance: InstanceId, bytes: u64) -> bool {
        lock(&self.inner.disks).insert(instance, bytes) != Some(bytes)
    }

    /// What an attempt wrote to its own disk, when it was last measured.
    pub(crate) fn disk(&self, instance: InstanceId) -> Option<u64> {
        lock(&self.inner.disks).get(&instance).copied()
    }

    /// Forgets the others.
    pub(crate) fn keep_disks(&self, kept: impl Fn(InstanceId) -> bool) {
        lock(&self.inner.disks).retain(|instance, _| kept(*instance));
    }

    pub(crate) fn report(&self, task: &'static str, status: TaskStatus) {
        lock(&self.inner.statuses).insert(task, status);
    }

    pub(crate) fn take_dirty(&self) -> Vec<SpaceId> {
        lock(&self.inner.dirty).drain().collect()
    }

    pub(crate) async fn spaces_woken(&self) {
        self.inner.wake_spaces.notified().await;
    }

    pub(crate) async fn builds_woken(&self) {
        self.inner.wake_builds.notified().await;
    }

    pub(crate) async fn webhooks_woken(&self) {
        self.inner.wake_webhooks.notified().await;
    }

    pub(crate) async fn hardware_woken(&self) {
        self.inner.wake_hardware.notified().await;
    }

    pub(crate) async fn routes_woken(&self) {
        self.inner.wake_routes.notified().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
