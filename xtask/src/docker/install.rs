//! Installing and starting the engine.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::api::{Api, is_denied};

/// dockerd answers within a second; a slow disk may need longer the first time.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const PACKAGES: [&str; 3] = ["docker.io", "iptables", "ca-certificates"];
/// Lines of its log shown when dockerd does not start.
const LOG_LINES: usize = 15;

/// Installs the engine if need be, starts it and waits until it answers.
pub fn start(api: &Api, host: Option<&str>) -> Result<()> {
    if let Some(host) = host {
        bail!("DOCKER_HOST={host} does not answer; start that engine, or unset DOCKER_HOST to use one on this machine");
    }
    if !has("dockerd") {
        packages(&PACKAGES, "install a Docker Engine (20.10 or newer) by its own package manager and start it")?;
        // The package starts its service where there is a service manager.
        if wait(api, Duration::from_secs(5)).is_ok() {
            return Ok(());
        }
    }
    if Path::new("/run/systemd/system").is_dir() {
        println!("Starting the docker service …");
        let status = as_root("systemctl")?.args(["start", "docker"]).status().context("run systemctl")?;
        if !status.success() {
            bail!("`systemctl start docker` failed; `journalctl -u docker` says why");
        }
        return wait(api, START_TIMEOUT);
    }
    let folder = folder()?;
    let (log, pid) = (folder.join("dockerd.log"), folder.join("dockerd.pid"));
    println!("Starting dockerd: this machine has no service manager (log: {}) …", log.display());
    let output = File::create(&log).with_context(|| format!("write {}", log.display()))?;
    as_root("dockerd")?
        .arg("--pidfile")
        .arg(&pid)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        // A group of its own, so that an interrupt of this command does not end it.
        .process_group(0)
        .spawn()
        .context("start dockerd")?;
    wait(api, START_TIMEOUT).with_context(|| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("the end of {}:\n{}", log.display(), lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
    })
}

/// Ends the dockerd that [`start`] started.
pub fn stop() -> Result<()> {
    let pid_file = folder()?.join("dockerd.pid");
    let Ok(text) = std::fs::read_to_string(&pid_file) else {
        println!("No dockerd was started by this command.");
        return Ok(());
    };
    let pid: u32 = text.trim().parse().with_context(|| format!("{} holds no process id", pid_file.display()))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim() != "dockerd" {
        println!("The dockerd that was started has ended already.");
        return Ok(());
    }
    let status = as_root("kill")?.arg(pid.to_string()).status().context("run kill")?;
    if !status.success() {
        bail!("dockerd (process {pid}) could not be ended");
    }
    let begun = Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists() {
        if begun.elapsed() > STOP_TIMEOUT {
            bail!("dockerd (process {pid}) was asked to end and still runs");
        }
        std::thread::sleep(LOOK_EVERY);
    }
    println!("dockerd has ended.");
    Ok(())
}

/// Installs Debian packages.
pub fn packages(names: &[&str], by_hand: &str) -> Result<()> {
    let list = names.join(" ");
    if !has("apt-get") {
        bail!("this machine needs: {list}. It has no apt-get; {by_hand}, then run this again");
    }
    println!("Installing {list} …");
    for arguments in [vec!["update", "-qq"], [&["install", "-y", "-qq", "--no-install-recommends"], names].concat()] {
        let status = as_root("apt-get")?
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(&arguments)
            .stdin(Stdio::null())
            .status()
            .context("run apt-get")?;
        if !status.success() {
            bail!("`apt-get {}` failed; its messages above say why", arguments.join(" "));
        }
    }
    Ok(())
}

/// Whether a program is installed.
pub fn has(program: &str) -> bool {
    super::setting("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// Where the log, the pid file and half-made images go.
pub fn folder() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the repository")?;
    let folder = root.join("target/docker");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// The program as root, by `sudo` where need be.
pub fn as_root(program: &str) -> Result<Command> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if is_root {
        return Ok(Command::new(program));
    }
    if !has("sudo") {
        bail!("`{program}` must be run as root, and this machine has no sudo; run `cargo xtask docker` as root");
    }
    let mut command = Command::new("sudo");
    command.arg("-E").arg(program);
    Ok(command)
}

fn wait(api: &Api, limit: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        match api.ping() {
            Ok(()) => return Ok(()),
            Err(error) if is_denied(&error) => return Err(error),
            Err(error) if begun.elapsed() > limit => {
                return Err(error.context(format!("the engine does not answer after {} s", limit.as_secs())));
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}
