//! `cargo xtask demo`: from a machine with only Rust to a live demo, asking nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::shell::{self, ensure, read, say};
use crate::site::{self, Site};
use crate::{docker, web};

const SAMPLE: &str = "examples/gradio-hello";
const NAME: &str = "admin/hello";

/// How the demo runs.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where to listen on 127.0.0.1; another port is taken when it is in use.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Stop as soon as the app answers, instead of serving until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Where its data and its log are.
    #[arg(long, default_value = ".spaceport/demo")]
    folder: PathBuf,
    /// The server to show; by default it is built, with its web page.
    #[arg(long)]
    server: Option<PathBuf>,
}

/// The command line's entry.
pub fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    say("Looking for what a demo needs: git, a container engine, base images");
    ensure("git", &["git", "ca-certificates"], "apps are pushed with git")?;
    let engine = docker::ensure()?;
    let binary = match &options.server {
        Some(server) => server.clone(),
        None => {
            web::build()?;
            build()?
        }
    };

    let folder = &options.folder;
    let port = site::port(options.port)?;
    if port != options.port {
        eprintln!("Port {} is in use; taking {port}.", options.port);
    }
    say("Starting Spaceport");
    let mut site = Site::start(&binary, folder, port, &engine, false)?;
    eprintln!("Hub: {}   log: {}   data: {}", site.url, site.log.display(), site.data.display());

    let token = site.token()?;
    let url = push(&binary, folder, &site, &token)?;
    println!("\n    {NAME} is live: {url}\n    the hub:             {}\n", site.url);
    eprintln!("Ready after {:.0} s.", began.elapsed().as_secs_f64());
    if !options.once {
        eprintln!("Ctrl-C stops; the data stays in {}.", site.data.display());
        let status = site.child.wait()?;
        anyhow::ensure!(status.success(), "the server ended ({status}); see {}", site.log.display());
        return Ok(());
    }
    site.stop()
}

/// Builds the server with the web page inside.
pub fn build() -> Result<PathBuf> {
    say("Building Spaceport");
    shell::run(Command::new("cargo").args(["build", "--package", "spaceport", "--features", "embed-web"]))?;
    Ok(target_dir().join("debug/spaceport"))
}

/// Where cargo puts what it builds: an absolute path, since programs are run in other folders.
pub fn target_dir() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a chore follows the developer's environment")]
    std::env::var("CARGO_TARGET_DIR").map_or_else(|_| shell::root().join("target"), |dir| shell::root().join(dir))
}

/// Creates the Space, pushes the sample with git, shows the build, and waits for the app.
fn push(binary: &Path, folder: &Path, site: &Site, token: &str) -> Result<String> {
    let spaceport = || {
        let mut command = Command::new(binary);
        command.env("SPACEPORT_URL", &site.url).env("SPACEPORT_TOKEN", token);
        command
    };
    say(&format!("Creating the Space {NAME}"));
    shell::run(spaceport().args(["space", "create", NAME, "--sdk", "gradio", "--exist-ok"]))?;

    say(&format!("Pushing {SAMPLE} with git"));
    let work = folder.join("hello");
    let git = || {
        let mut command = Command::new("git");
        command.args(["-C", &work.display().to_string(), "-c", "user.name=admin", "-c", "user.email=admin@localhost"]);
        command
    };
    if work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    let with_token = site.url.replacen("://", &format!("://admin:{token}@"), 1);
    let remote = format!("{with_token}/spaces/{NAME}");
    shell::run(Command::new("git").args(["clone", "--quiet", &remote, &work.display().to_string()]))?;
    shell::run(git().args(["rm", "-rq", "--ignore-unmatch", "."]))?;
    copy(Path::new(SAMPLE), &work)?;
    shell::run(git().args(["add", "--all"]))?;
    if read(git().args(["status", "--porcelain"]))?.is_empty() {
        eprintln!("Nothing changed since the last demo.");
    } else {
        shell::run(git().args(["commit", "--quiet", "--message", "A first app"]))?;
        shell::run(git().args(["push", "--quiet", "origin", "main"]))?;
        say("The build, live");
        shell::run(spaceport().args(["space", "logs", NAME, "--build", "--follow"]))?;
    }
    shell::run(spaceport().args(["space", "wait", NAME]))?;
    read(spaceport().args(["space", "open", NAME]))
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
