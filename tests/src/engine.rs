//! A container engine of a test's own, which may end at any moment without anybody else noticing.
//!
//! It is on the machine's network, since the server under test reaches apps there. So it has a bridge of its own, and
//! its apps' addresses are the server's setting: an engine without a bridge, or with address pools, removes `docker0`,
//! which is another engine's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::docker::Docker;
use crate::site::tail;
use crate::until;

/// It may take so long to start or to end, in seconds.
const LIMIT_S: u64 = 60;
/// The packet filter; others hold its lock for moments.
const IPTABLES: &str = "iptables -w 5";

/// A `dockerd` with everything in a folder; ended and removed when dropped.
#[derive(Debug)]
pub struct Engine {
    folder: TempDir,
    child: Option<Child>,
    docker: Docker,
}

impl Engine {
    /// An engine without any image; `None`, after saying why, where this user cannot have one.
    pub async fn start() -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;

        let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        // The server hangs its packet filter into the chain of the machine's engine.
        let tools = ["dockerd --version", "ip -Version", "iptables -w 5 -n -L DOCKER-USER"];
        if !is_root || tools.into_iter().any(|tool| run(tool).is_err()) {
            println!("SKIPPED: an engine of the test's own needs root, ip and another dockerd on this machine.");
            return None;
        }
        let folder = TempDir::with_prefix("spaceport-engine-").expect("a temporary folder");
        // Whatever the machine's engine is configured to be.
        std::fs::write(folder.path().join("daemon.json"), "{}").expect("the engine's settings are written");
        let host = Some(folder.path().join("docker.sock").display().to_string());
        let docker = Docker { host, installation: String::new() };
        let mut engine = Self { folder, child: None, docker };
        let bridge = engine.bridge();
        run(&format!("ip link add name {bridge} type bridge")).expect("a bridge");
        run(&format!("ip address add 10.214.{}.1/24 dev {bridge}", part())).expect("an address");
        run(&format!("ip link set {bridge} up")).expect("a bridge that works");
        engine.start_again().await;
        Some(engine)
    }

    /// `[docker]` of a server that uses it.
    ///
    /// # Panics
    /// Never: it has a socket.
    #[must_use]
    pub fn settings(&self) -> String {
        let socket = self.docker.host.as_deref().expect("a socket");
        format!("[docker]\nsocket = {socket:?}\nnetwork = {:?}\nsubnet = \"10.213.{}.0/24\"", self.network(), part())
    }

    /// Of this process alone: the name of its bridge is made from it.
    fn network(&self) -> String {
        format!("spaceport-engine-{}", std::process::id())
    }

    fn bridge(&self) -> String {
        format!("spe-{}", std::process::id())
    }

    /// Takes an image from the machine's engine.
    ///
    /// # Panics
    /// When it is not there.
    pub fn load(&self, image: &str) {
        let mut save =
            Command::new("docker").args(["save", image]).stdout(Stdio::piped()).spawn().expect("docker runs");
        let image = save.stdout.take().expect("its output");
        let host = format!("unix://{}", self.path("docker.sock").display());
        let loaded = Command::new("docker").args(["-H", &host, "load"]).stdin(image).output().expect("docker runs");
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        assert!(save.wait().expect("docker ends").success(), "the image is on the machine's engine");
    }

    /// Starts it with what it had, and waits until it answers.
    ///
    /// # Panics
    /// When it does not; its log is in the panic.
    pub async fn start_again(&mut self) {
        self.spawn();
        let (docker, log) = (self.docker.clone(), self.path("log"));
        let child = self.child.as_mut().expect("a process");
        until("the engine answers", LIMIT_S, async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("dockerd ended ({status}):\n{}", tail(&log));
            }
            docker.run(&["version"])
        })
        .await;
    }

    /// Ends it without a chance to react: its containers run on.
    ///
    /// # Panics
    /// When it runs no more.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("a process");
        child.kill().expect("the process is killed");
        child.wait().expect("the process is gone");
        // Its containerd dies with it. Where nobody collects orphans, the next one would take that for one that lives.
        let _ = std::fs::remove_file(self.path("exec/containerd/containerd.pid"));
    }

    /// Asks it to end, as a service manager does, and waits: its containers end before.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn stop(&mut self) {
        let child = self.child.as_mut().expect("a process");
        terminate(child);
        until("the engine ends", LIMIT_S, async || match child.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        self.child = None;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn spawn(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("a log");
        let path = |name: &str| self.path(name).display().to_string();
        let child = Command::new("dockerd")
            .args(["--config-file", &path("daemon.json"), "--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("dockerd.pid"), "--host", &format!("unix://{}", path("docker.sock"))])
            // Where the machine has a containerd for everybody, it is shared.
            .args(["--containerd-namespace", &self.network()])
            .args(["--containerd-plugins-namespace", &format!("{}-plugins", self.network())])
            // The rules of the machine's engine stay as they are.
            .args(["--bridge", &self.bridge(), "--iptables=false", "--ip-forward=false", "--ip-masq=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("dockerd starts"));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // One that was killed has left containers that only it knows. A value cannot wait as tests do when it is dropped.
        if self.child.is_none() {
            self.spawn();
        }
        let answers = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            self.docker.run(&["version"]).is_ok()
        });
        if answers {
            let containers = self.docker.run(&["ps", "--all", "--quiet"]).unwrap_or_default();
            for container in containers.lines() {
                let _ = self.docker.run(&["rm", "--force", container]);
            }
            let _ = self.docker.run(&["network", "rm", &self.network()]);
        }
        if let Some(mut child) = self.child.take() {
            terminate(&child);
            let _ = child.wait();
        }
        unmount(self.folder.path());
        forget_filter(&self.bridge());
        let _ = run(&format!("ip link delete {}", self.bridge()));
    }
}

/// The part of its addresses that is no other process's, as far as that goes.
fn part() -> u32 {
    std::process::id() % 256
}

/// Runs a command of a few plain words; what it printed.
fn run(command: &str) -> Result<String, String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap_or_default()).args(words).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(format!("{command}: {}", text(&output.stderr))) }
}

/// Removes the packet filter that the server put before this bridge and the apps' own.
fn forget_filter(bridge: &str) {
    let iptables = |rest: &str| run(&format!("{IPTABLES} {rest}"));
    let rules = iptables("-S").unwrap_or_default();
    let targets =
        rules.lines().filter(|rule| rule.contains(&format!("-i {bridge} "))).filter_map(|rule| rule.rsplit(' ').next());
    let chains: BTreeSet<&str> = targets.collect();
    for rule in rules.lines().filter_map(|rule| rule.strip_prefix("-A ")) {
        if rule.rsplit(' ').next().is_some_and(|target| chains.contains(target)) {
            let _ = iptables(&format!("-D {rule}"));
        }
    }
    for chain in chains {
        let _ = iptables(&format!("-F {chain}")).and_then(|_| iptables(&format!("-X {chain}")));
    }
}

fn terminate(child: &Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
}

/// What an engine that ended badly left mounted would be in the way of removing its folder.
fn unmount(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| Path::new(point).starts_with(folder)) {
        let _ = Command::new("umount").args(["--lazy", point]).status();
    }
}
