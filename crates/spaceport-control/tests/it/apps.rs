//! What commits do when they are built and run. The commit itself says it: a word in its title
//! (which reaches the app as `SPACE_TITLE`), in its requirements or in its Dockerfile.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use spaceport_core::InstanceId;
use spaceport_runtime::fake::{AppBehavior, DockerfileBehavior, FakeRuntime, StepBehavior, StepEnd};
use spaceport_runtime::{BuildStep, ContainerSpec, ContainerState, DockerfileBuild, ListeningSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// A file of a commit.
pub type File = (&'static str, String);

/// A Gradio app whose title says what it does.
pub fn gradio(title: &str) -> Vec<File> {
    vec![readme("gradio", title, ""), ("app.py", format!("# {title}\n")), ("requirements.txt", "numpy\n".to_owned())]
}

/// As [`gradio`], with other requirements.
pub fn gradio_with(title: &str, requirements: &str) -> Vec<File> {
    let mut files = gradio(title);
    files[2].1 = requirements.to_owned();
    files
}

/// A `docker` Space.
pub fn docker(title: &str, dockerfile: &str) -> Vec<File> {
    vec![readme("docker", title, "app_port: 8000\n"), ("Dockerfile", dockerfile.to_owned())]
}

/// A `static` Space without a build command.
pub fn site(title: &str) -> Vec<File> {
    vec![readme("static", title, ""), ("index.html", format!("<h1>{title}</h1>"))]
}

/// A README with front matter.
pub fn readme(sdk: &str, title: &str, more: &str) -> File {
    ("README.md", format!("---\ntitle: {title}\nsdk: {sdk}\n{more}---\n"))
}

/// Teaches an engine what the commits of the tests mean; its apps answer until `end`.
pub fn teach(fake: &FakeRuntime, end: &CancellationToken) {
    fake.add_registry_image("docker.io/library/python:3.10");
    fake.add_registry_image("docker.io/library/node:22");
    fake.on_step(build_step);
    fake.on_dockerfile(dockerfile);
    let site = Apps::new(fake, end);
    fake.on_start(move |spec| site.start(spec));
}

/// What a build step does.
pub fn build_step(step: &BuildStep) -> StepBehavior {
    let requirements = step.input.as_ref().map(|(_, tar)| text_in(tar, "requirements.txt")).unwrap_or_default();
    let line = |text: &str| vec![text.to_owned()];
    let is_install = step.script.contains("uv pip install");
    if is_install && requirements.contains("no-such-package") {
        let lines = line("error: No solution found: no-such-package was not found in the package registry");
        return StepBehavior { lines, end: StepEnd::Exit(1), ..StepBehavior::default() };
    }
    if is_install && requirements.contains("endless") {
        return StepBehavior { lines: line("Building wheel"), end: StepEnd::Hang, ..StepBehavior::default() };
    }
    if step.script.contains("no-such-model") {
        let lines = line("Repository Not Found: no-such-model");
        return StepBehavior { lines, end: StepEnd::Exit(1), ..StepBehavior::default() };
    }
    let archive = archive("dist", &[("index.html", "<h1>built</h1>")]);
    StepBehavior { lines: line("ok"), archive, ..StepBehavior::default() }
}

fn dockerfile(build: &DockerfileBuild) -> DockerfileBehavior {
    let text = text_in(&build.context, "Dockerfile");
    let lines = vec!["#1 building".to_owned()];
    if text.contains("RUN false") {
        let failure = Some("process \"/bin/sh -c false\" did not complete successfully: exit code: 1".to_owned());
        return DockerfileBehavior { lines, failure, ..DockerfileBehavior::default() };
    }
    DockerfileBehavior { lines, hangs: text.contains("RUN sleep infinity"), ..DockerfileBehavior::default() }
}

/// Where apps run.
pub struct Apps {
    engine: FakeRuntime,
    handle: Handle,
    end: CancellationToken,
}

impl Apps {
    pub fn new(fake: &FakeRuntime, end: &CancellationToken) -> Self {
        Self { engine: fake.clone(), handle: Handle::current(), end: end.clone() }
    }

    /// What the app of a container does.
    pub fn start(&self, spec: &ContainerSpec) -> AppBehavior {
        let title = spec.env.get("SPACE_TITLE").map(String::as_str).unwrap_or_default();
        let lines = vec![format!("{title} starts")];
        let socket = |address: [u8; 4], port| ListeningSocket { address: IpAddr::from(address), port };
        let silent =
            |listening| AppBehavior { lines: lines.clone(), listening, address: unused(), ..AppBehavior::default() };
        if title.contains("bad-import") {
            let lines = ["Traceback (most recent call last):", "ModuleNotFoundError: No module named 'torch'"];
            let lines = lines.map(str::to_owned).to_vec();
            return AppBehavior { lines, exits: Some(1), address: unused(), ..AppBehavior::default() };
        }
        if title.contains("exits") {
            return AppBehavior { lines, exits: Some(3), address: unused(), ..AppBehavior::default() };
        }
        if title.contains("wrong-port") {
            return silent(vec![socket([0, 0, 0, 0], 9999)]);
        }
        if title.contains("loopback") {
            return silent(vec![socket([127, 0, 0, 1], spec.port)]);
        }
        if title.contains("silent") {
            return silent(Vec::new());
        }
        let (listener, address) = listen(spec.port);
        let (engine, instance, title, end) = (self.engine.clone(), spec.instance, title.to_owned(), self.end.clone());
        self.handle.spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = serve(listener, engine, instance, title) => {}
            }
        });
        AppBehavior { lines, address, ..AppBehavior::ready(spec) }
    }
}

/// A loopback address of its own with the port the app is expected on.
fn listen(port: u16) -> (std::net::TcpListener, IpAddr) {
    for _ in 0..100 {
        let address = IpAddr::V4(Ipv4Addr::from(0x7f00_0000 | (random() & 0x00ff_fffe) | 0x0001_0000));
        if let Ok(listener) = std::net::TcpListener::bind(SocketAddr::new(address, port)) {
            listener.set_nonblocking(true).unwrap();
            return (listener, address);
        }
    }
    panic!("no loopback address has port {port} free");
}

/// Nobody listens there: the probes of silent apps are refused.
fn unused() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))
}

fn random() -> u32 {
    let mut bytes = [0u8; 4];
    getrandom::fill(&mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

/// Answers as long as its container runs.
async fn serve(listener: std::net::TcpListener, engine: FakeRuntime, instance: InstanceId, title: String) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let mut request = [0u8; 4096];
        let _ = stream.read(&mut request).await;
        let runs = engine
            .containers()
            .iter()
            .any(|seen| seen.instance == instance && matches!(seen.state, ContainerState::Running { .. }));
        if !runs {
            return;
        }
        let length = title.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{title}");
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// What an app answers; `None` when nobody does.
pub async fn ask(address: SocketAddr) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

fn text_in(tar: &Path, name: &str) -> String {
    let mut archive = tar::Archive::new(std::fs::File::open(tar).unwrap());
    let mut text = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().file_name().is_some_and(|file| file == name) {
            entry.read_to_string(&mut text).unwrap();
        }
    }
    text
}

fn archive(folder: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("{folder}/{name}"), text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}
