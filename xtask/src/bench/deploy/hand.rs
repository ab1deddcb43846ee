//! The same app by hand: a Dockerfile, `docker build`, `docker run`, a published port.
//!
//! It is what a careful person would write: dependencies below the code, the installer's cache
//! mounted, bytecode compiled in the image so that the app starts as fast as it can.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::ours::ms;
use super::{App, LIMIT, SAMPLE, http};
use crate::docker::Engine;
use crate::{shell, site};

/// What every environment has besides the requirements: the default of `builder.python_packages`.
const ALWAYS: &str = "huggingface_hub\ndatasets\nrequests\nspaces";
const CONTAINER: &str = "spaceport-bench-hand";
const REPOSITORY: &str = "spaceport-bench-hand";
/// The Dockerfile's beginning; the base image is put in front.
const USER: &str = "RUN PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --no-cache-dir --quiet uv \\\n \
    && useradd --create-home --uid 1000 user\nUSER user\n\
    ENV HOME=/home/user VIRTUAL_ENV=/home/user/.venv PATH=/home/user/.venv/bin:/usr/local/bin:/usr/bin:/bin\n\
    WORKDIR /home/user/app\n";

/// What an app by hand is given.
const ENVIRONMENT: [&str; 4] =
    ["GRADIO_SERVER_NAME=0.0.0.0", "GRADIO_ANALYTICS_ENABLED=False", "GRADIO_SSR_MODE=False", "PYTHONUNBUFFERED=1"];
/// What tells an app that it is a Space, here as there. Gradio then loads its command line, too.
const SPACE: [&str; 2] = ["SYSTEM=spaces", "SPACE_ID=admin/bench"];

/// How an image is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Builder {
    BuildKit,
    Classic,
}

impl Builder {
    pub fn name(self) -> &'static str {
        match self {
            Self::BuildKit => "BuildKit",
            Self::Classic => "the classic builder",
        }
    }
}

/// How dependencies are installed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Installer {
    Pip,
    Uv,
    UvWithoutBytecode,
}

impl Installer {
    pub const ALL: [Self; 3] = [Self::Pip, Self::Uv, Self::UvWithoutBytecode];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pip => "docker build, pip",
            Self::Uv => "BuildKit, uv, bytecode",
            Self::UvWithoutBytecode => "BuildKit, uv, no bytecode",
        }
    }

    fn steps(self) -> &'static str {
        match self {
            Self::Pip => "python3 -m venv $VIRTUAL_ENV && pip install -r requirements.txt",
            Self::Uv => "uv venv --seed $VIRTUAL_ENV && uv pip install --compile-bytecode -r requirements.txt",
            Self::UvWithoutBytecode => "uv venv --seed $VIRTUAL_ENV && uv pip install -r requirements.txt",
        }
    }
}

/// One deployment, in milliseconds.
pub struct Made {
    /// From `docker build` to the first correct answer.
    pub total: u64,
    /// `docker build`.
    pub build: u64,
    /// From `docker run` to the first correct answer: the app's own start.
    pub start: u64,
}

/// What is needed for it.
pub struct Hand {
    folder: PathBuf,
    base: String,
    /// A client that can speak to BuildKit.
    buildkit: String,
    /// The sample's own SDK, as a requirement.
    sdk: String,
    port: u16,
}

impl Hand {
    pub fn new(folder: &Path, engine: &Engine) -> Result<Self> {
        let readme = fs::read_to_string(Path::new(SAMPLE).join("README.md"))?;
        let version = readme.lines().find_map(|line| line.strip_prefix("sdk_version: "));
        let version = version.with_context(|| format!("{SAMPLE}/README.md names no sdk_version"))?.trim();
        let mut hand = Self {
            folder: folder.join("hand"),
            base: engine.base_image.clone(),
            buildkit: String::new(),
            sdk: format!("gradio[oauth,mcp]=={version}"),
            port: site::port(0)?,
        };
        fs::create_dir_all(&hand.folder)?;
        fs::write(hand.folder.join("Dockerfile"), format!("FROM {}\n{USER}", hand.base))?;
        // A new client has BuildKit as a plug-in that may be missing; Debian's own has it inside.
        for client in ["docker", "/usr/bin/docker"] {
            client.clone_into(&mut hand.buildkit);
            if hand.build(Builder::BuildKit, "user").is_ok() {
                return Ok(hand);
            }
        }
        hand.build(Builder::BuildKit, "user").context(
            "no docker client here can use BuildKit; install docker-buildx, or docker.io of Debian bookworm",
        )?;
        Ok(hand)
    }

    pub fn describe(&self) -> String {
        let format = "{{.Client.Version}}, engine {{.Server.Version}}";
        let version = shell::read(Command::new(&self.buildkit).args(["version", "--format", format]));
        let version = version.unwrap_or_default();
        format!("{} {version}", self.buildkit)
    }

    /// The image with the dependencies that a change of the code alone starts from.
    pub fn environment(&self, app: &App) -> Result<()> {
        self.write(app, &self.dockerfile(Installer::Uv, false))?;
        self.build(Builder::BuildKit, "environment").map(drop)
    }

    /// Which builder adds a layer of code in less time.
    pub fn fastest_builder(&self, app: &App) -> Result<Builder> {
        let mut times = Vec::new();
        for builder in [Builder::BuildKit, Builder::Classic] {
            let mut best = Duration::MAX;
            for attempt in 0..3 {
                let app = App { marker: format!("{} {attempt}", app.marker), ..app.clone() };
                self.write(&app, &self.code_dockerfile())?;
                // One that cannot build is not the fastest.
                best = best.min(self.build(builder, "code").unwrap_or(Duration::MAX));
            }
            times.push((best, builder));
        }
        let fastest = times.into_iter().min_by_key(|(time, _)| *time);
        fastest.map(|(_, builder)| builder).context("nothing was measured")
    }

    /// A layer of code on the environment.
    pub fn deploy_code(&self, app: &App, builder: Builder) -> Result<Made> {
        self.write(app, &self.code_dockerfile())?;
        self.measure(app, builder, "code")
    }

    /// The start of what [`Self::deploy_code`] built last, that does not know that it is a Space.
    pub fn start_elsewhere(&self, app: &App) -> Result<u64> {
        let start = self.start(app, "code", &[])?;
        remove_container();
        Ok(ms(start))
    }

    /// Dependencies and code.
    pub fn deploy_dependencies(&self, app: &App, installer: Installer) -> Result<Made> {
        self.write(app, &self.dockerfile(installer, true))?;
        self.measure(app, Builder::BuildKit, "dependencies")
    }

    fn write(&self, app: &App, dockerfile: &str) -> Result<()> {
        let before = format!("{}\n{ALWAYS}\n", self.sdk);
        fs::write(self.folder.join("requirements.txt"), &before)?;
        app.write(&self.folder, &before)?;
        Ok(fs::write(self.folder.join("Dockerfile"), dockerfile)?)
    }

    fn dockerfile(&self, installer: Installer, code: bool) -> String {
        let (base, steps) = (&self.base, installer.steps());
        let code = if code { "COPY . .\nCMD [\"python\", \"app.py\"]\n" } else { "" };
        format!(
            "FROM {base}\n{USER}COPY requirements.txt .\n\
             RUN --mount=type=cache,target=/home/user/.cache,uid=1000 {steps}\n{code}"
        )
    }

    fn code_dockerfile(&self) -> String {
        format!("FROM {REPOSITORY}:environment\nCOPY . .\nCMD [\"python\", \"app.py\"]\n")
    }

    fn measure(&self, app: &App, builder: Builder, tag: &str) -> Result<Made> {
        remove_container();
        let began = Instant::now();
        let build = self.build(builder, tag)?;
        let start = self.start(app, tag, &SPACE)?;
        Ok(Made { total: ms(began.elapsed()), build: ms(build), start: ms(start) })
    }

    /// From `docker run` to the first correct answer.
    fn start(&self, app: &App, tag: &str, more: &[&str]) -> Result<Duration> {
        remove_container();
        let began = Instant::now();
        let mut run = Command::new(&self.buildkit);
        run.args(["run", "--detach", "--init", "--name", CONTAINER])
            .args(["--publish", &format!("127.0.0.1:{}:7860", self.port)]);
        for variable in ENVIRONMENT.iter().chain(more) {
            run.args(["--env", variable]);
        }
        checked(run.arg(format!("{REPOSITORY}:{tag}")))?;
        http::wait_for(self.port, &format!("localhost:{}", self.port), &app.marker, LIMIT, || Ok(()))?;
        Ok(began.elapsed())
    }

    fn build(&self, builder: Builder, tag: &str) -> Result<Duration> {
        let began = Instant::now();
        let mut command = Command::new(&self.buildkit);
        command
            .env("DOCKER_BUILDKIT", if builder == Builder::BuildKit { "1" } else { "0" })
            .args(["build", "--quiet", "--tag", &format!("{REPOSITORY}:{tag}")])
            .arg(&self.folder);
        checked(&mut command)?;
        Ok(began.elapsed())
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        remove_container();
        for tag in ["user", "environment", "code", "dependencies"] {
            let name = format!("{REPOSITORY}:{tag}");
            let _ = Command::new("docker")
                .args(["rmi", "--force", &name])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn remove_container() {
    let _ = Command::new("docker")
        .args(["rm", "--force", "--volumes", CONTAINER])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Runs quietly; what it said is in the error.
fn checked(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("could not run {}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(output);
    }
    bail!("{} failed: {}", command.get_program().display(), String::from_utf8_lossy(&output.stderr))
}
