//! Devices on the real engine: fake device nodes, and an engine of the test's own with a fake hook in the
//! place of NVIDIA's. No real accelerator is needed, and none is tried.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use spaceport_core::ImageDigest;
use spaceport_core::gpu::Attach;
use spaceport_docker::{DockerConfig, DockerRuntime};
use spaceport_runtime::{Container, Runtime, RuntimeError};
use tempfile::TempDir;

use crate::world::{World, docker_config, eventually, on_docker, within};

/// A device node that gives zeros, under a name nobody else has.
struct Node(PathBuf);

impl Node {
    /// `None`, with the reason printed, where none can be made.
    fn make(name: &str) -> Option<Self> {
        let path = Path::new("/dev").join(name);
        let made = Command::new("mknod").args(["-m", "666"]).arg(&path).args(["c", "1", "5"]).output();
        if made.as_ref().is_ok_and(|made| made.status.success()) {
            return Some(Self(path));
        }
        eprintln!("skipped: no device node can be made here ({made:?})");
        None
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn printed(world: &World, container: &Container) -> Vec<String> {
    let log = world.runtime.logs(&container.id, None).await.unwrap();
    within(log.map(|line| line.unwrap().text).collect()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_opens_the_nodes_of_its_lease_and_no_others() {
    on_docker(async |world: &World| {
        let (Some(leased), Some(other)) = (Node::make(&world.name("sp-accel")), Node::make(&world.name("sp-accel")))
        else {
            return;
        };
        let path = leased.0.to_string_lossy().into_owned();
        let script = format!(
            "head -c 3 {path} | od -An -tx1; cat {} 2> /dev/null || echo none; id -G | tr ' ' '\\n' | grep 4321",
            other.0.display()
        );
        let mut app = world.app(&script);
        app.grant = Some(world.grant(&[("accel-0", nodes(&path))]));
        let container = world.runtime.start(app).await.unwrap();
        assert_eq!(printed(world, &container).await, [" 00 00 00", "none", "4321"]);
    })
    .await;
}

fn nodes(path: &str) -> Attach {
    Attach::Nodes { paths: vec![path.to_owned()], groups: vec![4321], env: Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_without_nvidias_toolkit_says_what_is_missing() {
    if Command::new("nvidia-container-runtime-hook").output().is_ok() {
        eprintln!("skipped: this machine has NVIDIA's container toolkit");
        return;
    }
    on_docker(async |world: &World| {
        let mut app = world.app("true");
        app.grant = Some(world.grant(&[("GPU-fake", Attach::Nvidia)]));
        let error = world.runtime.start(app).await.unwrap_err();
        let RuntimeError::Devices { message, remedy, .. } = error else { panic!("{error:?}") };
        assert_eq!(message, "the container engine has no driver for NVIDIA devices");
        assert!(remedy.contains("container toolkit"), "{remedy}");
        assert!(world.runtime.list().await.unwrap().is_empty(), "nothing is left behind");
    })
    .await;
}

/// An engine with a hook that writes down what it is told, in a network of its own.
struct OwnEngine {
    daemon: Child,
    folder: TempDir,
}

impl OwnEngine {
    /// `None`, with the reason printed, where none can be started.
    fn start() -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        if !is_root || Command::new("dockerd").arg("--version").output().is_err() {
            eprintln!("skipped: an engine of the test's own needs root and dockerd");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("bin")).unwrap();
        let hook = at("bin").join("nvidia-container-runtime-hook");
        std::fs::write(
            &hook,
            format!("#!/bin/sh\necho \"$1\" > {0}/hook-args\ncat > {0}/hook\n", folder.path().display()),
        )
        .unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the daemon needs its helpers beside the hook")]
        let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap_or_default());
        let log = std::fs::File::create(at("log")).unwrap();
        let daemon = Command::new("unshare")
            .args(["--net", "dockerd", "--bridge", "none", "--iptables=false", "--storage-driver", "vfs"])
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("run"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("--host")
            .arg(format!("unix://{}", at("docker.sock").display()))
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Some(Self { daemon, folder })
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.daemon.id()).unwrap_or_default()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.daemon.wait();
    }
}

/// An image with a shell, made of this machine's.
async fn import_shell(socket: &str, folder: &Path, runtime: &DockerRuntime) -> ImageDigest {
    let libraries = Command::new("ldd").arg("/bin/sh").output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    for file in libraries.split_whitespace().filter(|word| word.starts_with('/')).chain(["/bin/sh"]) {
        // Folders of their own accord are for root alone.
        for parent in Path::new(file).ancestors().skip(1).filter_map(|parent| parent.strip_prefix("/").ok()) {
            if parent.as_os_str().is_empty() {
                continue;
            }
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            header.set_mode(0o755);
            tar.append_data(&mut header, parent, std::io::empty()).unwrap();
        }
        let mut content = std::fs::File::open(file).unwrap();
        tar.append_file(file.trim_start_matches('/'), &mut content).unwrap();
    }
    let archive = tar.into_inner().unwrap();
    std::fs::write(folder.join("image.tar"), &archive).unwrap();
    let docker = bollard::Docker::connect_with_unix(socket, 120, bollard::API_DEFAULT_VERSION).unwrap();
    let docker = docker.negotiate_version().await.unwrap();
    let options = bollard::query_parameters::CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some("spaceport-shell".to_owned()),
        tag: Some("latest".to_owned()),
        ..Default::default()
    };
    let body = bollard::body_full(archive.into());
    docker.create_image(Some(options), Some(body), None).try_collect::<Vec<_>>().await.unwrap();
    runtime.find_image("spaceport-shell:latest").await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nvidia_devices_are_asked_for_as_the_toolkit_expects() {
    let Some(engine) = OwnEngine::start() else { return };
    // Without a network of its own: that is another test's business.
    let config = DockerConfig { socket: Some(engine.socket()), network: "none".to_owned(), ..docker_config() };
    let runtime = Arc::new(DockerRuntime::connect(config).unwrap());
    eventually(async || runtime.ping().await.ok()).await;
    let image = import_shell(&engine.socket(), engine.folder.path(), &runtime).await;
    let world = World::new(runtime, image);

    let mut app = world.app("export -p");
    // What an app says for itself does not count.
    app.env.insert("NVIDIA_VISIBLE_DEVICES".to_owned(), "all".to_owned());
    let mut leased = app.clone();
    leased.grant = Some(world.grant(&[("GPU-fake-1", Attach::Nvidia), ("MIG-fake-2", Attach::Nvidia)]));
    let container = world.runtime.start(leased.clone()).await.unwrap();
    let lines = printed(&world, &container).await;
    assert!(lines.contains(&"export NVIDIA_VISIBLE_DEVICES='GPU-fake-1,MIG-fake-2'".to_owned()), "{lines:#?}");
    assert_eq!(engine.read("hook-args").trim(), "prestart", "{}", engine.read("log"));
    let told: serde_json::Value = serde_json::from_str(&engine.read("hook")).unwrap();
    assert!(container.id.0 == told["id"].as_str().unwrap() && told["pid"].as_i64().unwrap() > 0, "{told}");
    let held = world.runtime.list().await.unwrap().remove(0).held;
    assert_eq!(held, leased.grant.map(|grant| grant.held()));

    std::fs::remove_file(engine.folder.path().join("hook")).unwrap();
    app.instance = world.app("").instance;
    let container = world.runtime.start(app).await.unwrap();
    let lines = printed(&world, &container).await;
    assert!(lines.contains(&"export NVIDIA_VISIBLE_DEVICES='void'".to_owned()), "{lines:#?}");
    assert_eq!(engine.read("hook"), "", "nobody asked for a device");

    // Newer engines know CDI; then it is the name that is unknown.
    let mut app = world.app("true");
    app.grant = Some(world.grant(&[("x", Attach::Cdi { name: "vendor.example/none=0".to_owned() })]));
    let error = world.runtime.start(app).await.unwrap_err();
    let RuntimeError::Devices { message, .. } = error else { panic!("{error:?}") };
    assert!(message.contains("CDI device"), "{message}");
}
