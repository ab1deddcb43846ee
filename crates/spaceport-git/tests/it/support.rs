//! A server over axum, a client folder, and shorthands.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use spaceport_core::{CommitSha, RepoId, Timestamp};
use spaceport_git::*;

pub struct Hub {
    pub repositories: Repositories,
    pub repo: RepoId,
    pub first: CommitSha,
    pub url: String,
    pub folder: tempfile::TempDir,
    pub reports: Arc<Mutex<Vec<Result<PushReport, String>>>>,
    policy: Arc<Mutex<Option<PushPolicy>>>,
}

#[derive(Clone)]
struct Shared {
    repositories: Repositories,
    reports: Arc<Mutex<Vec<Result<PushReport, String>>>>,
    policy: Arc<Mutex<Option<PushPolicy>>>,
}

pub fn repo_id(number: u128) -> RepoId {
    RepoId::new(Timestamp::from_millis(1_767_323_045_000), number)
}

pub fn initial() -> InitialCommit {
    let file = |path: &str, text: &str| InitialFile { path: path.to_owned(), content: text.into() };
    InitialCommit {
        author: Author { name: "alice".to_owned(), email: "alice@localhost".to_owned() },
        at: Timestamp::from_millis(1_767_323_045_000),
        title: "initial commit".to_owned(),
        files: vec![file(".gitattributes", "*.bin binary\n"), file("README.md", "---\nsdk: gradio\n---\n")],
    }
}

impl Hub {
    pub async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repositories = Repositories::new(folder.path().join("repos"), limits).unwrap();
        let repo = repo_id(7);
        let first = repositories.create(repo, &initial()).await.unwrap();
        let reports = Arc::default();
        let policy = Arc::default();
        let shared =
            Shared { repositories: repositories.clone(), reports: Arc::clone(&reports), policy: Arc::clone(&policy) };
        let router = Router::new()
            .route("/{repo}/info/refs", get(advertise))
            .route("/{repo}/{service}", post(serve))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/{repo}", listener.local_addr().unwrap());
        background(async move { axum::serve(listener, router).await.unwrap() });
        Self { repositories, repo, first, url, folder, reports, policy }
    }

    /// What the next push may do.
    pub fn next_push(&self, policy: PushPolicy) {
        *self.policy.lock().unwrap() = Some(policy);
    }

    /// Runs git as a user's machine would.
    pub async fn git(&self, within: &Path, args: &[&str]) -> Output {
        let mut command = client(within, args);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The same, and it must succeed; gives everything it printed.
    pub async fn ok(&self, within: &Path, args: &[&str]) -> String {
        let output = self.git(within, args).await;
        let text = text(&output);
        assert!(output.status.success(), "git {args:?}: {text}");
        text
    }

    /// The same, and it must fail.
    pub async fn fails(&self, within: &Path, args: &[&str]) -> String {
        let output = self.git(within, args).await;
        let text = text(&output);
        assert!(!output.status.success(), "git {args:?}: {text}");
        text
    }

    pub async fn clone(&self, name: &str) -> PathBuf {
        self.ok(self.folder.path(), &["clone", "-q", &self.url, name]).await;
        self.folder.path().join(name)
    }

    pub async fn commit(&self, work: &Path, path: &str, content: &[u8]) -> CommitSha {
        let file = work.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
        self.commit_all(work).await
    }

    pub async fn commit_all(&self, work: &Path) -> CommitSha {
        self.ok(work, &["add", "-A"]).await;
        self.ok(work, &["commit", "-q", "-m", "change"]).await;
        self.ok(work, &["rev-parse", "HEAD"]).await.trim().parse().unwrap()
    }

    pub async fn main(&self) -> CommitSha {
        self.repositories.head(self.repo, "main").await.unwrap().unwrap()
    }

    /// Waits until the server knows the result of `count` pushes.
    pub async fn reported(&self, count: usize) -> Vec<Result<PushReport, String>> {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let reports = self.reports.lock().unwrap().clone();
            if reports.len() >= count {
                return reports;
            }
            assert!(tokio::time::Instant::now() < deadline, "{count} pushes were not reported: {reports:?}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn client(within: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(within)
        .env("HOME", within)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .args(["-c", "user.name=alice", "-c", "user.email=a@localhost", "-c", "gc.auto=0"])
        .args(args)
        .stdin(Stdio::null());
    command
}

/// Runs git with `input` and gives its output.
pub fn plumbing(within: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = client(within, args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {args:?}");
    output.stdout
}

async fn advertise(
    State(shared): State<Shared>,
    UrlPath(repo): UrlPath<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let service = Service::from_name(&query[0].1).unwrap();
    let protocol = headers.get("git-protocol").map(|value| value.to_str().unwrap());
    match shared.repositories.advertise(repo.parse().unwrap(), service, protocol).await {
        Ok(refs) => ([("content-type", service.advertisement_type())], refs).into_response(),
        Err(error) => failure(&error),
    }
}

async fn serve(
    State(shared): State<Shared>,
    UrlPath((repo, service)): UrlPath<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let request = Request {
        body: body.into_data_stream(),
        encoding: BodyEncoding::from_header(header("content-encoding").as_deref()).unwrap(),
        protocol: header("git-protocol"),
    };
    let repo = repo.parse().unwrap();
    let service = Service::from_name(&service).unwrap();
    let output = match service {
        Service::UploadPack => shared.repositories.upload_pack(repo, request).await,
        Service::ReceivePack => {
            let messages = PushMessages {
                main: vec!["Space: http://alice-demo.localhost:8080".to_owned(), "Build: see the logs".to_owned()],
                other: vec!["Only main is built.".to_owned()],
            };
            let policy = shared.policy.lock().unwrap().take().unwrap_or_default();
            let policy = PushPolicy { messages, ..policy };
            let push = shared.repositories.receive_pack(repo, request, policy).unwrap();
            let reports = shared.reports;
            background(async move {
                let result = push.done.await.map_err(|error| error.to_string());
                reports.lock().unwrap().push(result);
            });
            push.output.started().await
        }
    };
    match output {
        Ok(output) => ([("content-type", service.result_type())], Body::from_stream(output)).into_response(),
        Err(error) => failure(&error),
    }
}

fn failure(error: &GitError) -> Response {
    let status = match error {
        GitError::NoRepository(_) => StatusCode::NOT_FOUND,
        GitError::Request(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string()).into_response()
}

#[expect(clippy::disallowed_methods, reason = "the runtime of a test ends with the test")]
pub fn background(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
