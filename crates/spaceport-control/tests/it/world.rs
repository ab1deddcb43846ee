//! A site in a temporary folder: one engine that outlives its servers, and at most one server.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use spaceport_control::{
    BuilderConfig, Builds, Capacity, ControlConfig, ControlHandle, Engine, GpuPolicy, Hardware, Known, LogId, LogStore,
    Parts, Routes, Spaces,
};
use spaceport_core::account::Account;
use spaceport_core::gpu::{Attach, Device, DeviceHealth, DeviceId, Node, NodeName};
use spaceport_core::route::{RouteTable, Target};
use spaceport_core::space::{Build, Desired, DesiredRun, Instance, Space, Visibility};
use spaceport_core::ticket::TicketKey;
use spaceport_core::{AccountId, Catalog, CommitSha, FlavorName, InstanceId, Reason, Sdk, SpaceId, SpaceStage};
use spaceport_git::{Author, InitialCommit, InitialFile, Limits, Repositories};
use spaceport_objects::{ObjectStore, ObjectsConfig};
use spaceport_runtime::fake::FakeRuntime;
use spaceport_runtime::{Attachable, BuildLimits, Container, ContainerState};
use spaceport_store::vault::Vault;
use spaceport_store::{NewSpace, Secret, Store, Variable};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::apps::{self, Apps, File};
use crate::clock::TestClock;
use crate::gate::Gate;

/// Everything that happens by itself happens within this time, on a machine that has more to do as well.
const DEADLINE: Duration = Duration::from_secs(60);
/// What an admin configured as the time for requests in flight.
pub const DRAIN: Duration = Duration::from_secs(30);

/// What tickets are signed with.
pub const TICKETS: TicketKey = TicketKey::new([9; 32]);

/// See the module.
pub struct World {
    /// For messages.
    pub name: String,
    pub fake: FakeRuntime,
    pub clock: TestClock,
    /// A connection of our own: it outlives servers.
    pub store: Store,
    pub repositories: Repositories,
    pub vault: Vault,
    /// How many apps were stopped while the table on disk still named them.
    pub unserved: Arc<AtomicI64>,
    /// Changed before a start.
    pub config: ControlConfig,
    /// Changed before a start.
    pub objects: ObjectsConfig,
    pub server: Option<Server>,
    /// What the machine has.
    devices: Vec<Device>,
    end: CancellationToken,
    dir: tempfile::TempDir,
}

/// One process.
pub struct Server {
    pub parts: Parts,
    /// The route table before anything ran.
    pub loaded: Arc<RouteTable>,
    /// Told when the server reached the step it was to stop at.
    pub closed: Arc<Notify>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    runtime: Option<Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl World {
    /// An empty site whose server runs.
    pub async fn new() -> Self {
        let mut world = Self::stopped().await;
        world.start().await;
        world
    }

    /// An empty site without a server.
    pub async fn stopped() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let now = clock.clone();
        let fake = FakeRuntime::new(move || now.now());
        let end = CancellationToken::new();
        apps::teach(&fake, &end);
        let store = Store::open(&database(dir.path())).await.unwrap();
        let repositories = Repositories::new(dir.path().join("repositories"), Limits::default()).unwrap();
        let config = config(dir.path().to_owned());
        let vault = Vault::new(&[7; 32]);
        let unserved = Arc::default();
        Self {
            name: String::new(),
            fake,
            clock,
            store,
            repositories,
            vault,
            unserved,
            config,
            objects: ObjectsConfig::default(),
            server: None,
            devices: Vec::new(),
            end,
            dir,
        }
    }

    pub async fn start(&mut self) {
        self.start_for(None).await;
    }

    /// Starts a server that gets no further than so many steps to or from the engine.
    pub async fn start_for(&mut self, steps: Option<u32>) {
        assert!(self.server.is_none(), "one server at a time");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let closed = Arc::new(Notify::new());
        let table = self.config.data_dir.join("routes.json");
        let gate = Gate::new(self.fake.clone(), steps, Arc::clone(&closed), table, Arc::clone(&self.unserved));
        let (url, clock, vault) = (database(self.dir.path()), self.clock.clock(), self.vault.clone());
        let (config, repositories) = (Arc::new(self.config.clone()), self.repositories.clone());
        let objects = self.objects;
        let parts = runtime.spawn(async move {
            let logs = LogStore::new(config.data_dir.join("logs"), clock.clone());
            Parts {
                store: Store::open(&url).await.unwrap(),
                repositories,
                objects: ObjectStore::open(config.data_dir.join("objects"), objects).unwrap(),
                engine: Arc::new(Engine::new(Arc::new(gate), clock.clone())),
                routes: Arc::new(Routes::load(config.data_dir.join("routes.json"), TICKETS)),
                control: ControlHandle::new(clock, logs),
                vault,
                config,
            }
        });
        let parts = parts.await.unwrap();
        parts.control.inventory().set(known(&self.devices));
        let loaded = parts.routes.current();
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        let (spaces, builds) = (Spaces::new(parts.clone()), Builds::new(parts.clone()));
        let token = stop.clone();
        tasks.push(runtime.spawn(async move { spaces.run(token).await }));
        let token = stop.clone();
        tasks.push(runtime.spawn(async move { builds.run(token).await }));
        let (hardware, token) = (Hardware::new(parts.clone()), stop.clone());
        tasks.push(runtime.spawn(async move { hardware.run(token).await }));
        let (routes, store, control, token) =
            (Arc::clone(&parts.routes), parts.store.clone(), parts.control.clone(), stop.clone());
        tasks.push(runtime.spawn(async move { routes.run(store, control, token).await }));
        let (engine, control, token) = (Arc::clone(&parts.engine), parts.control.clone(), stop.clone());
        tasks.push(runtime.spawn(spaceport_control::disk::run(engine, control, token)));
        let (engine, control, token) = (Arc::clone(&parts.engine), parts.control.clone(), stop.clone());
        tasks.push(runtime.spawn(async move { engine.watch(control, token).await }));
        self.server = Some(Server { parts, loaded, closed, stop, tasks, runtime: Some(runtime) });
    }

    /// The server ends at once, whatever it was doing.
    pub async fn crash(&mut self) {
        let mut server = self.server.take().expect("a server runs");
        let runtime = server.runtime.take().expect("it has not ended before");
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
    }

    /// The server ends as after a signal.
    pub async fn stop(&mut self) {
        let mut server = self.server.take().expect("a server runs");
        server.stop.cancel();
        for task in server.tasks.drain(..) {
            tokio::time::timeout(DEADLINE, task).await.expect("a task ends when told to").unwrap();
        }
    }

    pub async fn restart(&mut self) {
        self.crash().await;
        self.start().await;
    }

    pub fn apps(&self) -> Apps {
        Apps::new(&self.fake, &self.end)
    }

    /// Gives the machine these devices, and no others.
    pub fn set_devices(&mut self, devices: Vec<Device>) {
        for device in self.devices.iter().filter(|old| !devices.iter().any(|new| new.id == old.id)) {
            self.fake.remove_device(&device.id);
        }
        for device in &devices {
            self.fake.add_device(&device.id);
        }
        self.devices = devices;
        if let Some(server) = &self.server {
            server.parts.control.inventory().set(known(&self.devices));
        }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("a server runs")
    }

    pub fn parts(&self) -> &Parts {
        &self.server().parts
    }

    pub async fn account(&self, name: &str) -> AccountId {
        if let Some(account) = self.store.account_by_name(name).await.unwrap() {
            return account.id;
        }
        let id = self.clock.clock().account_id();
        let account = Account {
            id,
            name: name.to_owned(),
            kind: spaceport_core::account::AccountKind::User,
            full_name: String::new(),
            email: None,
            is_admin: false,
            created_at: self.clock.now(),
        };
        self.store.account_create(&account).await.unwrap();
        id
    }

    /// A Space with an empty commit, as the API makes it.
    pub async fn space(&self, name: &str) -> SpaceId {
        let id = self.clock.clock().space_id();
        let name: spaceport_core::RepoName = name.parse().unwrap();
        let owner = self.account(name.owner()).await;
        let initial = InitialCommit {
            author: Author { name: "test".to_owned(), email: "test@localhost".to_owned() },
            at: self.clock.now(),
            title: "initial commit".to_owned(),
            files: vec![InitialFile { path: "README.md".to_owned(), content: b"---\nsdk: gradio\n---\n".to_vec() }],
        };
        let head = self.repositories.create(id.into(), &initial).await.unwrap();
        let new = NewSpace {
            id,
            name,
            owner,
            creator: owner,
            visibility: Visibility::Public,
            sdk: Sdk::Gradio,
            hardware: FlavorName::cpu_basic(),
            sleep_after_s: None,
            variables: Vec::new(),
            secrets: Vec::new(),
            volumes: Vec::new(),
            head: Some(head),
            has_app: false,
            at: self.clock.now(),
        };
        self.store.space_create(&new).await.unwrap();
        self.activate(id);
        id
    }

    /// A Space that runs this commit.
    pub async fn running(&self, name: &str, files: &[File]) -> SpaceId {
        let space = self.space(name).await;
        self.push(space, files).await;
        self.wait_stage(space, SpaceStage::Running).await;
        space
    }

    /// Makes a commit with exactly these files the head of `main`.
    pub async fn push(&self, space: SpaceId, files: &[File]) -> CommitSha {
        let sha = self.commit(space, files);
        self.push_commit(space, &sha).await;
        sha
    }

    /// Makes an existing commit the head, as a forced push does.
    pub async fn push_commit(&self, space: SpaceId, sha: &CommitSha) {
        self.change(space, |desired| desired.head = Some(sha.clone())).await;
    }

    fn commit(&self, space: SpaceId, files: &[File]) -> CommitSha {
        let mut script = format!(
            "commit refs/heads/main\nmark :1\ncommitter test <test@localhost> {} +0000\ndata 4\ntest\n\
             from refs/heads/main^0\ndeleteall\n",
            self.clock.now().as_millis() / 1000
        );
        for (path, content) in files {
            script.push_str(&format!("M 100644 inline {path}\ndata {}\n{content}\n", content.len()));
        }
        script.push_str("get-mark :1\n");
        let mut git = Command::new("git")
            .current_dir(self.repositories.path(space.into()))
            .args(["fast-import", "--quiet", "--cat-blob-fd=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        git.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = git.wait_with_output().unwrap();
        assert!(output.status.success(), "git fast-import");
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    /// Writes desired state, as the API does.
    pub async fn change(&self, space: SpaceId, change: impl Fn(&mut Desired) + Send + Sync) {
        self.store.space_change(space, self.clock.now(), change).await.unwrap();
        self.activate(space);
    }

    pub fn activate(&self, space: SpaceId) {
        if let Some(server) = &self.server {
            server.parts.control.activate(space);
        }
    }

    pub async fn pause(&self, space: SpaceId) {
        self.change(space, |desired| desired.run = DesiredRun::Paused).await;
    }

    pub async fn delete(&self, space: SpaceId) {
        self.store.space_doom(space, self.clock.now()).await.unwrap();
        self.activate(space);
    }

    /// The owner's restart: what failed or was canceled is built again.
    pub async fn restart_space(&self, space: SpaceId) {
        let last = self.head_build(space).await;
        use spaceport_core::space::BuildState::{Canceled, Failed};
        let unbuilt = last.is_some_and(|build| matches!(build.state, Failed | Canceled));
        self.change(space, |desired| {
            desired.run = DesiredRun::Running;
            desired.restart += 1;
            desired.rebuild += i64::from(unbuilt);
            desired.no_cache &= !unbuilt;
        })
        .await;
    }

    pub async fn factory_reboot(&self, space: SpaceId) {
        self.change(space, |desired| {
            desired.run = DesiredRun::Running;
            desired.restart += 1;
            desired.rebuild += 1;
            desired.no_cache = true;
        })
        .await;
    }

    pub async fn set_variable(&self, space: SpaceId, name: &str, value: &str) {
        let variable = Variable { value: value.to_owned(), description: None, updated_at: self.clock.now() };
        self.store.variable_set(space, name, &variable).await.unwrap();
        self.activate(space);
    }

    pub async fn set_secret(&self, space: SpaceId, name: &str, value: &str) {
        let sealed = self.vault.seal(space, name, value);
        let secret = Secret { sealed, description: None, updated_at: self.clock.now() };
        self.store.secret_set(space, name, &secret).await.unwrap();
        self.activate(space);
    }

    pub async fn seen(&self, space: SpaceId) -> Space {
        self.store.space_by_id(space).await.unwrap().expect("the Space exists")
    }

    pub async fn stage(&self, space: SpaceId) -> SpaceStage {
        self.seen(space).await.stage
    }

    /// Newest first.
    pub async fn builds(&self, space: SpaceId) -> Vec<Build> {
        self.store.builds_of(space, 100).await.unwrap()
    }

    pub async fn head_build(&self, space: SpaceId) -> Option<Build> {
        let desired = self.seen(space).await.desired;
        self.store.build_of(space, &desired.head?, desired.rebuild).await.unwrap()
    }

    /// Newest first.
    pub async fn instances(&self, space: SpaceId) -> Vec<Instance> {
        self.store.instances_of(space, 100).await.unwrap()
    }

    /// Running containers of a Space, oldest first.
    pub fn containers(&self, space: SpaceId) -> Vec<Container> {
        let mut found = self.fake.containers();
        found.retain(|seen| seen.space == space && matches!(seen.state, ContainerState::Running { .. }));
        found
    }

    /// The one running container of a Space.
    pub fn container(&self, space: SpaceId) -> Container {
        let mut found = self.containers(space);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    pub fn env(&self, container: &Container) -> BTreeMap<String, String> {
        self.fake.spec(&container.id).expect("the container exists").env
    }

    pub fn target(&self, space: SpaceId) -> Option<Target> {
        target(&self.parts().routes.current(), space)
    }

    /// What a visitor reads.
    pub async fn visit(&self, space: SpaceId) -> Option<String> {
        match self.target(space) {
            Some(Target::Upstream { address, .. }) => apps::ask(address).await,
            Some(Target::Files { root, index, .. }) => std::fs::read_to_string(root.join(index)).ok(),
            _ => None,
        }
    }

    pub fn log(&self, log: LogId) -> Vec<String> {
        let logs = LogStore::new(self.config.data_dir.join("logs"), self.clock.clock());
        logs.tail(log, 10_000).into_iter().map(|record| record.text).collect()
    }

    pub fn run_log(&self, space: SpaceId, instance: InstanceId) -> Vec<String> {
        self.log(LogId::Run(space, instance))
    }

    /// Waits until it is so.
    pub async fn wait_for<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let wait = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            panic!("{} in vain waited for: {what}\n{}", self.name, self.describe().await);
        }
    }

    pub async fn wait_stage(&self, space: SpaceId, stage: SpaceStage) {
        self.wait_for(stage.as_str(), || async { self.stage(space).await == stage }).await;
    }

    /// Waits for a stage for this reason.
    pub async fn wait_reason(&self, space: SpaceId, stage: SpaceStage, reason: Reason) {
        let what = format!("{stage} for {reason:?}");
        self.wait_for(&what, || async {
            let seen = self.seen(space).await;
            seen.stage == stage && seen.diagnosis.is_some_and(|diagnosis| diagnosis.reason == reason)
        })
        .await;
    }

    /// Waits until a visitor reads this.
    pub async fn wait_visit(&self, space: SpaceId, text: &str) {
        self.wait_for(text, || async { self.visit(space).await.as_deref() == Some(text) }).await;
    }

    /// Waits until the Space is gone.
    pub async fn wait_gone(&self, space: SpaceId) {
        self.wait_for("the Space to go", || async { self.store.space_by_id(space).await.unwrap().is_none() }).await;
    }

    /// Everything a person needs to see why a test failed.
    pub async fn describe(&self) -> String {
        let mut text = String::new();
        for id in self.store.space_ids().await.unwrap() {
            let space = self.seen(id).await;
            text.push_str(&format!("{} {} {:?}\n{:?}\n", space.name, space.stage, space.desired, space.diagnosis));
            for build in self.builds(id).await {
                text.push_str(&format!(
                    "  build {} {} {} cancel {} {:?}\n",
                    build.number, build.sha, build.state, build.cancel_requested, build.diagnosis
                ));
                for line in self.log(LogId::Build(id, build.id)) {
                    text.push_str(&format!("    | {line}\n"));
                }
            }
            for instance in self.instances(id).await {
                text.push_str(&format!("  {instance:?}\n"));
            }
        }
        for container in self.fake.containers() {
            text.push_str(&format!("  {container:?}\n"));
        }
        if let Some(server) = &self.server {
            text.push_str(&format!("{:#?}\n", server.parts.control.statuses()));
        }
        text
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

pub fn target(table: &RouteTable, space: SpaceId) -> Option<Target> {
    table.hosts.values().find(|route| route.space == space).map(|route| route.target.clone())
}

fn database(folder: &std::path::Path) -> String {
    format!("sqlite:{}", folder.join("spaceport.db").display())
}

/// A working device of the model the flavor `t4-small` asks for.
pub fn t4(name: &str, index: u32) -> Device {
    Device {
        id: DeviceId(name.to_owned()),
        index,
        model: "Tesla T4".to_owned(),
        memory_bytes: 15_360 << 20,
        slice_of: None,
        health: DeviceHealth::Healthy,
    }
}

fn known(devices: &[Device]) -> Known {
    let node = Node {
        name: NodeName("box".to_owned()),
        cpu_millicores: 256_000,
        memory_bytes: 1 << 40,
        devices: devices.to_vec(),
        cordoned: false,
    };
    let attachable = |device: &Device| {
        let attachable = Attachable { attach: Attach::Nvidia, memory_bytes: device.memory_bytes };
        (device.id.clone(), attachable)
    };
    Known { nodes: vec![node], attachable: devices.iter().map(attachable).collect(), ..Known::default() }
}

fn config(data_dir: PathBuf) -> ControlConfig {
    ControlConfig {
        hub_url: "http://localhost:8080".to_owned(),
        spaces_domain: "localhost:8080".to_owned(),
        data_dir,
        hardware: Catalog::default(),
        node: None,
        capacity: Capacity::default(),
        gpu: GpuPolicy::default(),
        drain: DRAIN,
        app_hf_endpoint: None,
        allow_unfiltered: false,
        builder: BuilderConfig {
            limits: BuildLimits { time: Duration::from_secs(600), ..BuilderConfig::default().limits },
            ..BuilderConfig::default()
        },
    }
}
