//! The engines under test, and the small programs that run on them.
//!
//! On Docker the programs are real. The fake engine is told what the same programs would do.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use spaceport_core::gpu::{Attach, DeviceId, Lease, LeasedDevice, NodeName};
use spaceport_core::{ClaimId, HardwareFlavor, ImageDigest, InstanceId, LeaseId, ReleaseId, SpaceId, Timestamp};
use spaceport_docker::{DockerConfig, DockerRuntime};
use spaceport_runtime::fake::{AppBehavior, DockerfileBehavior, FakeRuntime, StepBehavior, StepEnd};
use spaceport_runtime::{
    Attachable, BuildLimits, BuildStep, ContainerSpec, Grant, ImageSettings, Keep, ListeningSocket, LogSink, Runtime,
};
use tempfile::TempDir;

/// The image everything starts from.
pub const BASE: &str = "spaceport-base:py3.11";
/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Build steps, in the language of the shell.
pub mod steps {
    pub const GREET: &str = "echo \"hello $NAME\"; echo warning >&2; printf '10%%\\r100%%\\n'; echo kept > /opt/kept";
    pub const FAIL: &str = "echo broken; exit 3";
    pub const EAT_MEMORY: &str = "python3 -c \"b'x' * (1 << 30)\"";
    pub const HANG: &str = "echo waiting; sleep 600";
    pub const FILL_DISK: &str = "dd if=/dev/zero of=/opt/big bs=1M count=64 2>/dev/null; sleep 600";
    pub const FILL_CACHE: &str = "dd if=/dev/zero of=/cache/file bs=1M count=2 2>/dev/null";
    pub const PACK: &str = "mkdir -p /tmp/out; echo packed > /tmp/out/file";
}

/// Apps, in the language of the shell.
pub mod apps {
    pub const SERVE: &str = "exec python3 -u -m http.server 7860";
    pub const SERVE_INSIDE: &str = "exec python3 -u -m http.server 7860 --bind 127.0.0.1";
    pub const EXIT_3: &str = "echo bye; exit 3";
    pub const COUNT: &str = "for i in 1 2 3 4 5; do echo line $i; done; exec sleep 600";
    pub const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 600 & wait; done";
    pub const SLEEP: &str = "exec sleep 600";
    pub const WRITE: &str = "head -c 5000000 /dev/urandom > /tmp/file; echo written; exec sleep 600";
}

/// One engine and what a test needs beside it.
pub struct World {
    pub runtime: Arc<dyn Runtime>,
    pub base: ImageDigest,
    pub dir: TempDir,
    nonce: u128,
    counter: AtomicU64,
}

impl World {
    pub fn new(runtime: Arc<dyn Runtime>, base: ImageDigest) -> Self {
        let nonce = u128::from(getrandom::u64().unwrap());
        Self { runtime, base, dir: TempDir::new().unwrap(), nonce, counter: AtomicU64::new(0) }
    }

    /// A name nobody else has.
    pub fn name(&self, what: &str) -> String {
        format!("{what}-{:x}-{}", self.nonce, self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// The cache of this world's Dockerfiles.
    pub fn scope(&self) -> String {
        format!("{:x}", self.nonce)
    }

    fn random(&self) -> u128 {
        (self.nonce << 16) + u128::from(self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// An app of a Space of its own.
    pub fn app(&self, script: &str) -> ContainerSpec {
        let at = Timestamp::from_millis(1_767_323_045_678);
        ContainerSpec {
            mounts: Vec::new(),
            space: SpaceId::new(at, self.random()),
            release: ReleaseId::new(at, self.random()),
            instance: InstanceId::new(at, self.random()),
            image: self.base.clone(),
            command: Some(["/bin/sh", "-c", script].map(str::to_owned).to_vec()),
            env: [("GREETING".to_owned(), "hi".to_owned())].into(),
            user: Some("1000".to_owned()),
            port: 7860,
            hardware: HardwareFlavor {
                pretty_name: "test".to_owned(),
                cpu_millicores: 1000,
                memory_bytes: 256 << 20,
                pids: 64,
                shm_bytes: 16 << 20,
                disk_bytes: 1 << 30,
                gpu: None,
            },
            grant: None,
        }
    }

    /// A lease of its own for these devices, ready for a container.
    pub fn grant(&self, devices: &[(&str, Attach)]) -> Grant {
        let at = Timestamp::from_millis(1_767_323_045_678);
        let here = NodeName("here".to_owned());
        let id = |name: &str| DeviceId(name.to_owned());
        let lease = Lease {
            id: LeaseId::new(at, self.random()),
            claim: ClaimId::new(at, self.random()),
            node: here.clone(),
            devices: devices.iter().map(|(name, _)| LeasedDevice { device: id(name), milli: 1000 }).collect(),
            started_at: at,
            ends_by: None,
        };
        let known =
            |(name, attach): &(&str, Attach)| (id(name), Attachable { attach: attach.clone(), memory_bytes: 1 });
        Grant::of_lease(&lease, &here, &devices.iter().map(known).collect()).unwrap()
    }

    /// A step of root that becomes an image.
    pub fn step(&self, script: &str) -> BuildStep {
        BuildStep {
            title: "contract".to_owned(),
            image: self.base.clone(),
            script: script.to_owned(),
            user: "0".to_owned(),
            working_dir: "/".to_owned(),
            env: [("NAME".to_owned(), "O'Hara $HOME".to_owned())].into(),
            input: None,
            cache: None,
            limits: limits(),
            keep: Keep::Image(self.settings()),
        }
    }

    pub fn settings(&self) -> ImageSettings {
        ImageSettings {
            tag: format!("spaceport-contract/{}:latest", self.name("image")),
            labels: [("spaceport.test".to_owned(), "yes".to_owned())].into(),
            ..ImageSettings::default()
        }
    }

    /// A tar file of these files.
    pub fn tar(&self, files: &[(&str, &str)]) -> PathBuf {
        let path = self.dir.path().join(self.name("archive"));
        let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_uid(1000);
            header.set_gid(1000);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap();
        path
    }

    async fn clean(&self) {
        for container in self.runtime.list().await.unwrap() {
            self.runtime.remove(&container.id).await.unwrap();
        }
        // Newest first, since an image with children stays.
        let mut images = self.runtime.list_images().await.unwrap();
        images.sort_by_key(|image| std::cmp::Reverse(image.created_at));
        for _ in 0..images.len().min(4) {
            for image in &images {
                self.runtime.remove_image(&image.digest).await.unwrap();
            }
        }
    }
}

pub fn limits() -> BuildLimits {
    BuildLimits { cpu_millicores: 2000, memory_bytes: 256 << 20, pids: 256, disk_bytes: 32 << 20, time: PATIENCE }
}

/// The fake engine, knowing what the programs do.
pub fn fake() -> World {
    let now = AtomicU64::new(1_767_323_045_000);
    let fake =
        FakeRuntime::new(move || Timestamp::from_millis(i64::try_from(now.fetch_add(1, Ordering::Relaxed)).unwrap()));
    let base = fake.add_image(BASE);
    for device in ["accel-0", "accel-1"] {
        fake.add_device(&DeviceId(device.to_owned()));
    }
    fake.on_step(|step| match step.script.as_str() {
        steps::GREET => StepBehavior { lines: lines(&["hello O'Hara $HOME", "warning", "100%"]), ..Default::default() },
        steps::FAIL => StepBehavior { lines: lines(&["broken"]), end: StepEnd::Exit(3), ..Default::default() },
        steps::EAT_MEMORY => StepBehavior { end: StepEnd::OutOfMemory, ..Default::default() },
        steps::HANG => StepBehavior { lines: lines(&["waiting"]), end: StepEnd::Hang, ..Default::default() },
        steps::FILL_CACHE => StepBehavior { cached_bytes: 2 << 20, ..Default::default() },
        steps::FILL_DISK => StepBehavior { end: StepEnd::DiskFull, ..Default::default() },
        steps::PACK => {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(7);
            tar.append_data(&mut header, "out/file", &b"packed\n"[..]).unwrap();
            StepBehavior { archive: tar.into_inner().unwrap(), ..Default::default() }
        }
        other => panic!("the fake engine does not know the step {other}"),
    });
    fake.on_dockerfile(|build| {
        let context = std::fs::read(&build.context).unwrap();
        let has = |text: &str| String::from_utf8_lossy(&context).contains(text);
        DockerfileBehavior {
            lines: lines(&["#1 [1/2] FROM base", "#2 [2/2] RUN", "#2 built with care"]),
            failure: has("exit 7").then(|| "[2/2] RUN: exit code: 7\nabout to fail".to_owned()),
            hangs: has("sleep 600"),
            fills_disk: false,
        }
    });
    fake.on_start(|spec| {
        let socket = |address: [u8; 4]| ListeningSocket { address: address.into(), port: 7860 };
        let command = spec.command.clone().unwrap_or_default();
        match command.last().map(String::as_str) {
            Some(apps::SERVE) => AppBehavior { listening: vec![socket([0, 0, 0, 0])], ..Default::default() },
            Some(apps::SERVE_INSIDE) => AppBehavior { listening: vec![socket([127, 0, 0, 1])], ..Default::default() },
            Some(apps::EXIT_3) => AppBehavior { lines: lines(&["bye"]), exits: Some(3), ..Default::default() },
            Some(apps::COUNT) => {
                AppBehavior { lines: (1..=5).map(|i| format!("line {i}")).collect(), ..Default::default() }
            }
            Some(apps::DEAF) => AppBehavior { lines: lines(&["ready"]), ignores_term: true, ..Default::default() },
            Some(apps::SLEEP) => AppBehavior::default(),
            Some(apps::WRITE) => {
                AppBehavior { lines: lines(&["written"]), disk_bytes: 5_000_000, ..Default::default() }
            }
            _ => AppBehavior { not_runnable: Some("executable file not found".to_owned()), ..Default::default() },
        }
    });
    World::new(Arc::new(fake), base)
}

/// The settings of the tests: an installation of its own, one network for all of them.
pub fn docker_config() -> DockerConfig {
    DockerConfig {
        installation: format!("contract-{:x}", getrandom::u64().unwrap()),
        network: "spaceport-contract".to_owned(),
        guard_default_bridge: false,
        helper_image: Some(BASE.to_owned()),
        ..DockerConfig::default()
    }
}

/// The engine with these settings; `None`, with the reason printed, when there is none.
pub async fn docker(config: DockerConfig) -> Option<(Arc<DockerRuntime>, World)> {
    let runtime = Arc::new(DockerRuntime::connect(config).unwrap());
    if let Err(error) = runtime.ping().await {
        eprintln!("skipped: no container engine answers ({error}); `cargo xtask docker` starts one");
        return None;
    }
    let Some(base) = runtime.find_image(BASE).await.unwrap() else {
        eprintln!("skipped: the image {BASE} is not on the engine; `cargo xtask docker` makes it");
        return None;
    };
    runtime.prepare().await.unwrap();
    let world = World::new(runtime.clone(), base);
    Some((runtime, world))
}

/// Runs a promise on Docker and removes what it made, also when it fails.
pub async fn on_docker<F>(promise: F)
where
    F: for<'a> AsyncFnOnce(&'a World),
{
    let Some((runtime, world)) = docker(docker_config()).await else { return };
    finish(runtime, world, promise).await;
}

/// The second half of [`on_docker`].
pub async fn finish<F>(runtime: Arc<DockerRuntime>, world: World, promise: F)
where
    F: for<'a> AsyncFnOnce(&'a World),
{
    let result = AssertUnwindSafe(promise(&world)).catch_unwind().await;
    world.clean().await;
    runtime.close().await;
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// A sink and what went into it.
pub fn sink() -> (LogSink, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = lines.clone();
    (Arc::new(move |line: &str| into.lock().unwrap().push(line.to_owned())), lines)
}

/// Waits for a value that comes by itself.
pub async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "it did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// At most the patience of a test.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    let boxed: Pin<Box<dyn Future<Output = T> + '_>> = Box::pin(future);
    tokio::time::timeout(PATIENCE, boxed).await.expect("it took too long")
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}
