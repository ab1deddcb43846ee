//! `cargo xtask test`: everything CI runs, in the order in which it fails soonest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{self, ensure, has, install, read, say};
use crate::{demo, docker, openapi, site, web};

/// What the end-to-end tests drive the server with. Without PyTorch: `transformers` finds and loads
/// configurations, tokenizers and files without it, and it is some gigabytes.
const CLIENTS: [&str; 10] = [
    "datasets==5.2.0",
    "gradio_client==2.7.2",
    "hf-xet==1.8.0",
    "httpx==0.28.1",
    "huggingface_hub==2.4.0",
    "jinja2==3.1.6",
    "safetensors==0.8.0",
    "schemathesis==4.32.5",
    "transformers==5.24.0",
    "websockets==17.4",
];

/// What is checked.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Without the end-to-end tests, which need a container engine.
    #[arg(long)]
    quick: bool,
}

/// The command line's entry.
pub fn run(options: &Options) -> Result<()> {
    say("Format and lints");
    shell::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    shell::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]))?;
    say("Generated files");
    openapi::run()?;
    let changed = read(Command::new("git").args(["status", "--porcelain", "docs/openapi.json", "web/src"]))?;
    if !changed.is_empty() {
        bail!("generated files changed; run cargo xtask openapi and commit:\n{changed}");
    }
    web::check()?;
    say("Documentation");
    shell::run(cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "--deny warnings"))?;

    ensure("git-lfs", &["git", "git-lfs"], "the tests push with git and git-lfs")?;
    let mut tests = test_command();
    if options.quick {
        tests.args(["--workspace", "--exclude", "spaceport-e2e"]);
    } else {
        let engine = docker::ensure()?;
        shell::run(&mut cargo(&["build", "--quiet", "--package", "spaceport", "--features", "embed-web"]))?;
        let config = demo::target_dir().join("e2e.toml");
        std::fs::write(&config, site::settings(&engine, true))?;
        tests.arg("--workspace");
        tests.env("SPACEPORT_E2E_BIN", demo::target_dir().join("debug/spaceport"));
        tests.env("SPACEPORT_E2E_CONFIG", &config);
        tests.env("SPACEPORT_E2E_PYTHON", python()?);
        tests.env("SPACEPORT_E2E_XTASK", std::env::current_exe()?);
    }
    let postgres = Postgres::start()?;
    tests.env("SPACEPORT_TEST_POSTGRES_URL", &postgres.url);
    say("Tests");
    shell::run(&mut tests)
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments);
    command
}

/// nextest where it is installed, for its parallelism; plain `cargo test` elsewhere.
fn test_command() -> Command {
    let mut command = Command::new("cargo");
    if has("cargo-nextest") {
        command.args(["nextest", "run", "--no-fail-fast"]);
    } else {
        command.args(["test", "--no-fail-fast"]);
    }
    command
}

/// A Python with the real clients.
pub(crate) fn python() -> Result<PathBuf> {
    ensure("python3", &["python3", "python3-venv"], "the tests drive the real Python clients")?;
    let venv = demo::target_dir().join("e2e-venv");
    let python = venv.join("bin/python");
    let wanted = CLIENTS.join("\n");
    let marker = venv.join("installed.txt");
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    say("Installing the Python clients the tests drive");
    if shell::run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).is_err() {
        install(&["python3-venv"], "a virtual environment for the tests")?;
        shell::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    shell::run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(CLIENTS))?;
    std::fs::write(&marker, wanted)?;
    Ok(python)
}

/// A PostgreSQL of its own, ended when the tests are over.
struct Postgres {
    url: String,
    folder: PathBuf,
    tools: PathBuf,
}

impl Postgres {
    fn start() -> Result<Self> {
        if find_tools().is_none() {
            install(&["postgresql"], "the store is tested on both databases")?;
        }
        let Some(tools) = find_tools() else { bail!("PostgreSQL's server was not found below /usr/lib/postgresql") };
        let folder = std::env::temp_dir().join(format!("spaceport-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let port = site::port(0)?;
        let this = Self { url: format!("postgres://spaceport@127.0.0.1:{port}/postgres"), folder, tools };
        let data = this.folder.join("data").display().to_string();
        let root = read(Command::new("id").arg("-u"))? == "0";
        if root {
            // The server refuses to run as root.
            shell::run(Command::new("chown").args(["postgres"]).arg(&this.folder))?;
        }
        shell::run(
            this.tool("initdb")
                .args(["-D", &data, "-U", "spaceport", "--auth=trust", "-E", "UTF8", "--no-sync"])
                .stdout(std::process::Stdio::null()),
        )?;
        let options = format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off");
        let log = this.folder.join("log").display().to_string();
        shell::run(
            this.tool("pg_ctl")
                .args(["-D", &data, "-w", "-l", &log, "-o", &options, "start"])
                .stdout(std::process::Stdio::null()),
        )?;
        Ok(this)
    }

    fn tool(&self, name: &str) -> Command {
        let program = self.tools.join(name);
        let root = read(Command::new("id").arg("-u")).is_ok_and(|id| id == "0");
        let mut command = Command::new(if root { "setpriv".into() } else { program.clone() });
        if root {
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
        }
        command.current_dir(&self.folder);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.folder.join("data").display().to_string();
        let _ = shell::run(
            self.tool("pg_ctl").args(["-D", &data, "-m", "immediate", "stop"]).stdout(std::process::Stdio::null()),
        );
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn find_tools() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut tools: Vec<_> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    tools.sort();
    tools.pop().or_else(|| has("initdb").then(|| Path::new("").to_owned()))
}
