//! A Spaceport of a test's own: the real binary as a process.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::docker::Docker;
use crate::{Script, Space, until};

/// A server may take so long to be ready, in seconds.
const READY_S: u64 = 90;
/// A server that was asked to end may take so long, in seconds.
const STOP_S: u64 = 40;
/// One API call may take so long.
const CALL: Duration = Duration::from_secs(30);

/// The admin's token on every site of a test.
pub const TOKEN: &str = "hf_endtoendtestsendtoendtests";

/// A server with its data; ended and cleaned up when dropped.
#[derive(Debug)]
pub struct Site {
    binary: PathBuf,
    folder: TempDir,
    child: Option<Child>,
    /// Where it listens; the same after a restart.
    pub address: SocketAddr,
    /// The engine, for a look from outside.
    pub docker: Docker,
    /// An image with Python on the engine.
    pub base_image: String,
    /// A client with a limit on every call.
    pub http: reqwest::Client,
}

/// A setting of the chore that runs the tests.
#[must_use]
pub fn setting(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the chore that runs the tests says what to test")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Site {
    /// A server with the settings of this machine; `None`, after saying why, where there is
    /// nothing to test with.
    pub async fn start() -> Option<Self> {
        Self::start_with("").await
    }

    /// With settings that win over the machine's, in TOML; `{BASE}` in them is the base image.
    ///
    /// # Panics
    /// When the server does not become ready; its log is in the panic.
    pub async fn start_with(settings: &str) -> Option<Self> {
        let (Some(binary), Some(base)) = (setting("SPACEPORT_E2E_BIN"), setting("SPACEPORT_E2E_CONFIG")) else {
            println!(
                "SKIPPED: SPACEPORT_E2E_BIN and SPACEPORT_E2E_CONFIG do not say which binary to test with which \
                 container engine; `cargo xtask test` sets them."
            );
            return None;
        };
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let installation = format!("e2e-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = TempDir::with_prefix("spaceport-e2e-").expect("a temporary folder");
        let mut config: toml::Table =
            std::fs::read_to_string(&base).expect("the settings can be read").parse().expect("the settings are TOML");
        let named = config.get("docker").and_then(|docker| docker.get("helper_image")).and_then(toml::Value::as_str);
        let base_image = named.expect("docker.helper_image names a local base image").to_owned();
        let settings = settings.replace("{BASE}", &base_image);
        merge(&mut config, settings.parse().expect("the test's settings are TOML"));
        let own = format!("admin_token = {TOKEN:?}\n[docker]\ninstallation = {installation:?}");
        merge(&mut config, own.parse().expect("TOML"));
        let text = |section: &str, key: &str| {
            config.get(section).and_then(|section| section.get(key)).and_then(toml::Value::as_str).map(str::to_owned)
        };
        let docker = Docker { host: text("docker", "socket"), installation };
        std::fs::write(folder.path().join("spaceport.toml"), config.to_string()).expect("the settings are written");
        let http = client();
        let address = free_address();
        let mut site = Self { binary: binary.into(), folder, child: None, address, docker, base_image, http };
        site.spawn();
        site.ready().await;
        Some(site)
    }

    fn spawn(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("the log opens");
        let child = Command::new(&self.binary)
            .arg("serve")
            .current_dir(self.folder.path())
            .env("SPACEPORT_CONFIG", self.folder.path().join("spaceport.toml"))
            .env("SPACEPORT_LISTEN", self.address.to_string())
            .env("SPACEPORT_DATA_DIR", self.data_dir())
            .env_remove("SPACEPORT_DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the binary starts"));
    }

    /// Waits until every part is ready.
    pub async fn ready(&mut self) {
        let url = format!("http://{}/api/health", self.address);
        let http = self.http.clone();
        let mut child = self.child.take().expect("a process");
        let log = self.log_path();
        until("the server is ready", READY_S, async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the server ended ({status}):\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            let answer = http.get(&url).send().await.map_err(|error| error.to_string())?;
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            if status == StatusCode::OK { Ok(()) } else { Err(format!("{status}: {text}")) }
        })
        .await;
        self.child = Some(child);
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// What the server printed so far.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).expect("the server's log")
    }

    /// The most memory the process has had, in MiB.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn peak_memory_mib(&self) -> u64 {
        let id = self.child.as_ref().expect("a process").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
        peak.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") >> 10
    }

    /// `localhost:PORT`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Ends the process without a chance to react.
    ///
    /// # Panics
    /// When it runs no more.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("a process");
        child.kill().expect("the process is killed");
        child.wait().expect("the process is gone");
    }

    /// Starts the process again with the same data; does not wait for it.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        self.spawn();
    }

    /// Asks it to end and waits.
    ///
    /// # Panics
    /// When it ends with an error, or not in time.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().expect("a process");
        let id = child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().expect("kill runs").success());
        let status = until("the server ends", STOP_S, async || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        })
        .await;
        assert!(status.success(), "the server ended with {status}:\n{}", self.log());
    }

    /// Whether the process runs.
    ///
    /// # Panics
    /// When the system cannot say.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("the process is asked").is_none())
    }

    /// A call of the API by its path, as the admin.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        self.call_as(Some(TOKEN), method, path, body).await
    }

    /// A call of the API with another token, or none.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn call_as(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("http://{}{path}", self.address));
        request = request.header("host", self.authority());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("the API answers");
        let status = answer.status();
        let text = answer.text().await.expect("the API's answer is text");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A call that must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.call(method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer
    }

    /// A new Space of the admin.
    pub async fn space(&self, name: &str, sdk: &str) -> Space<'_> {
        self.space_with(name, sdk, serde_json::json!({})).await
    }

    /// With more fields for the call that creates it.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn space_with(&self, name: &str, sdk: &str, fields: Value) -> Space<'_> {
        // Images are found by a tag that has the Space's name, so names differ between sites.
        let name = format!("{name}-{}", self.docker.installation);
        let mut body = serde_json::json!({"name": name, "type": "space", "sdk": sdk});
        for (key, value) in fields.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.ask(Method::POST, "/api/repos/create", Some(&body)).await;
        Space::of(self, format!("admin/{name}")).await
    }

    /// The command line, as the admin; what it prints, as JSON.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Value {
        let output = Command::new(&self.binary)
            .args(arguments)
            .arg("--json")
            .env("SPACEPORT_URL", format!("http://{}", self.authority()))
            .env("SPACEPORT_TOKEN", TOKEN)
            .output()
            .expect("the command line runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "spaceport {}: {said}{text}", arguments.join(" "));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// A command with a token and what it reads, whatever comes of it.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn command(&self, token: &str, arguments: &[&str], input: &str) -> Said {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("SPACEPORT_URL", format!("http://{}", self.authority()));
        command.env("SPACEPORT_TOKEN", token).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command line runs");
        // One that reads nothing may have ended already.
        let _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("the command line ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), output: text(&output.stdout), errors: text(&output.stderr) }
    }

    /// The command line, as the admin, which runs until it ends by itself or is told to.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn cli_running(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("SPACEPORT_URL", format!("http://{}", self.authority()));
        command.env("SPACEPORT_TOKEN", TOKEN).stdout(Stdio::piped()).spawn().expect("the command line runs")
    }

    /// A Python script with the Hub's clients, to run against this site.
    #[must_use]
    pub fn script<'a>(&'a self, text: &'a str) -> Script<'a> {
        Script::new(self, text)
    }
}

/// What a command said, and its exit code.
#[derive(Debug)]
pub struct Said {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    /// On standard output.
    pub output: String,
    /// On standard error.
    pub errors: String,
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            println!("--- the server's log ---\n{}", tail(&self.log_path()));
        }
        self.docker.clean();
    }
}

/// The newest lines of a log.
pub(crate) fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// A client with a limit on every call, which goes straight to where it is told to.
///
/// # Panics
/// When there is none for this machine.
#[must_use]
pub fn client() -> reqwest::Client {
    // The workspace's features leave the choice of a TLS library to the process, even for a
    // client that speaks plain HTTP; a second choice is refused and means the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(CALL).redirect(reqwest::redirect::Policy::none()).no_proxy();
    client.build().expect("a client")
}

/// An address of this machine at which nobody listens.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

/// Values of `from` win; tables are merged.
fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(into)), toml::Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
