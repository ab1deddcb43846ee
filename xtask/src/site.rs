//! A Spaceport of this machine for chores: its configuration, its process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::docker::Engine;

/// A server may take so long until it is ready.
const READY: Duration = Duration::from_secs(90);
/// What a shell says of a command that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// The servers that were started and not asked to end yet.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// Somebody wants this command to end.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Ctrl-C, or the end of the terminal, ends this command at any moment, and the servers before it: they are asked to, once,
/// since a second signal would make them end at once.
///
/// # Errors
/// When signals cannot be watched.
pub fn watch() -> Result<()> {
    let stop = || {
        STOPPING.store(true, Ordering::Relaxed);
        let running = std::mem::take(&mut *RUNNING.lock().unwrap_or_else(PoisonError::into_inner));
        if !running.is_empty() {
            eprintln!("Stopping…");
        }
        for pid in &running {
            let _ = terminate(*pid);
        }
        while running.iter().any(|pid| is_alive(*pid)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        #[expect(clippy::disallowed_methods, reason = "what was interrupted does not return")]
        std::process::exit(i32::from(running.is_empty()) * INTERRUPTED);
    };
    ctrlc::set_handler(stop).context("could not watch for Ctrl-C")
}

/// Waits for the end when this command was told to end: what was interrupted with it is no error to tell.
pub fn yield_to_stop() {
    while STOPPING.load(Ordering::Relaxed) {
        std::thread::park();
    }
}

fn terminate(pid: u32) -> Result<()> {
    crate::shell::run(Command::new("kill").arg(pid.to_string()))
}

/// Whether a process runs: one that nobody has waited for yet does not.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// A server that runs.
pub struct Site {
    /// Its process.
    pub child: Child,
    /// `http://localhost:8080`.
    pub url: String,
    /// Where its log is.
    pub log: PathBuf,
    /// Where its data is.
    pub data: PathBuf,
}

/// Settings that make the engine's local images known; nothing for engines with a registry.
pub fn settings(engine: &Engine, quick: bool) -> String {
    let mut text = String::from("# Written by cargo xtask; edit spaceport.toml of your own instead.\n");
    if let Some(bundle) = &engine.ca_bundle {
        text.push_str(&format!("ca_bundle = {:?}\n", bundle.display().to_string()));
    }
    text.push_str("\n[builder]\n");
    if !engine.python_images.is_empty() {
        text.push_str(&format!("python_image = \"\"\ndefault_python = {:?}\n", engine.default_python));
        // Without a registry the base images are small Debian ones; the hosted service's extra
        // packages would be downloaded for every machine that only tries a demo.
        text.push_str("apt_packages = []\npython_packages = [\"huggingface_hub\", \"spaces\"]\n");
    }
    if let Some(node) = &engine.node_image {
        text.push_str(&format!("node_image = {node:?}\n"));
    }
    if quick {
        text.push_str("concurrency = 2\n");
    }
    if !engine.python_images.is_empty() {
        text.push_str("[builder.python_images]\n");
        for (version, image) in &engine.python_images {
            text.push_str(&format!("{version:?} = {image:?}\n"));
        }
    }
    text.push_str(&format!("\n[docker]\nhelper_image = {:?}\n", engine.base_image));
    if let Some(host) = &engine.host {
        text.push_str(&format!("socket = {host:?}\n"));
    }
    text
}

/// A free port, the wanted one if it is free.
pub fn port(wanted: u16) -> Result<u16> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], wanted))).or_else(|_| TcpListener::bind(any));
    Ok(listener.context("no port is free")?.local_addr()?.port())
}

impl Site {
    /// Starts `binary serve` below `folder` and waits until it is ready.
    pub fn start(binary: &Path, folder: &Path, port: u16, engine: &Engine, quick: bool) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let config = folder.join("spaceport.toml");
        std::fs::write(&config, settings(engine, quick))?;
        let (log, data) = (folder.join("server.log"), folder.join("data"));
        let out = std::fs::File::create(&log)?;
        let child = Command::new(binary)
            .arg("serve")
            .env("SPACEPORT_CONFIG", &config)
            .env("SPACEPORT_LISTEN", format!("127.0.0.1:{port}"))
            .env("SPACEPORT_DATA_DIR", &data)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            // A terminal's Ctrl-C is for this command alone ([`watch`]).
            .process_group(0)
            .spawn()
            .with_context(|| format!("could not start {}", binary.display()))?;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(child.id());
        let mut site = Self { child, url: format!("http://localhost:{port}"), log, data };
        let until = Instant::now() + READY;
        while !health(port) {
            if let Some(status) = site.child.try_wait()? {
                bail!("the server ended ({status}):\n{}", std::fs::read_to_string(&site.log).unwrap_or_default());
            }
            if Instant::now() > until {
                bail!("the server was not ready within {} s; its log is {}", READY.as_secs(), site.log.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(site)
    }

    /// The admin's token.
    pub fn token(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.data.join("admin-token"))?.trim().to_owned())
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) -> Result<()> {
        let pid = self.child.id();
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = running.iter().position(|other| *other == pid) {
            running.remove(at);
            terminate(pid)?;
        }
        drop(running);
        let status = self.child.wait()?;
        ensure!(status.success(), "the server ended ({status}); see {}", self.log.display());
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.stop().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn health(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /api/health HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
