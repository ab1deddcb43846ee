//! Git smart HTTP. Specification: gitprotocol-http(5), gitprotocol-v2(5).

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _};
use spaceport_core::{CommitSha, RepoId};

use crate::command::{LONG_TIMEOUT, run, with_args};
use crate::gate::Gate;
use crate::rpc::{BodyLimit, Listener, Sender, channel, exchange};
use crate::{BodyEncoding, GitError, Output, PushPolicy, Repositories, hooks};

/// The largest advertisement of refs.
const MAX_ADVERTISEMENT: u64 = 64 << 20;
/// The commands of a push and the frame around its pack.
const PUSH_OVERHEAD: u64 = 16 << 20;

/// What a client wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Clone and fetch.
    UploadPack,
    /// Push.
    ReceivePack,
}

impl Service {
    /// From `?service=` or the last part of the path.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::UploadPack, Self::ReceivePack].into_iter().find(|service| service.name() == name)
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }

    /// The command of git.
    const fn command(self) -> &'static str {
        match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
        }
    }

    /// `Content-Type` of the advertisement; that answer also carries `Cache-Control: no-cache`.
    #[must_use]
    pub fn advertisement_type(self) -> String {
        format!("application/x-{}-advertisement", self.name())
    }

    /// `Content-Type` of the answer to a request.
    #[must_use]
    pub fn result_type(self) -> String {
        format!("application/x-{}-result", self.name())
    }
}

/// The request of a client, without HTTP.
pub struct Request<S> {
    /// The body as it arrives.
    pub body: S,
    /// Its `Content-Encoding`.
    pub encoding: BodyEncoding,
    /// The header `Git-Protocol`.
    pub protocol: Option<String>,
}

/// What the user reads after a push, in lines beginning with `remote:`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushMessages {
    /// When `main` moved: where the Space is and where its build can be seen.
    pub main: Vec<String>,
    /// When only other branches or tags moved.
    pub other: Vec<String>,
}

/// A ref that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefChange {
    /// `refs/heads/main` for one.
    pub name: String,
    /// Where it pointed; `None` when it is new.
    pub old: Option<CommitSha>,
    /// Where it points; `None` when it is gone.
    pub new: Option<CommitSha>,
}

/// What a push changed; nothing when it was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Every ref that moved.
    pub moved: Vec<RefChange>,
}

impl PushReport {
    /// The commit `main` points to after the push, if the push moved it.
    #[must_use]
    pub fn main(&self) -> Option<&CommitSha> {
        self.moved.iter().find(|change| change.name == "refs/heads/main").and_then(|change| change.new.as_ref())
    }
}

/// A push in progress.
pub struct Push {
    /// The body of the response. Dropping it does not stop the push.
    pub output: Output,
    /// The push itself: nothing happens unless it is polled. Give it to a task of its own, not to the
    /// handler: when the client leaves after its last byte, the push still happens, and this is how
    /// one learns of it. Dropping it ends git.
    pub done: Pin<Box<dyn Future<Output = Result<PushReport, GitError>> + Send>>,
}

impl Repositories {
    /// The answer to `GET info/refs?service=…`.
    ///
    /// # Errors
    /// [`GitError::NoRepository`], or when git fails.
    pub async fn advertise(&self, repo: RepoId, service: Service, protocol: Option<&str>) -> Result<Bytes, GitError> {
        let protocol = protocol.filter(|protocol| plain_protocol(protocol));
        let mut command =
            with_args(self.git(repo)?, [service.command(), "--stateless-rpc", "--http-backend-info-refs"]);
        command.arg(self.path(repo));
        if let Some(protocol) = protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        let refs = run(command, service.command(), b"", MAX_ADVERTISEMENT, LONG_TIMEOUT).await?;
        // Version 2 has no such heading, except for pushes, which know no version 2.
        let version_2 = protocol.is_some_and(|protocol| protocol.split(':').any(|part| part == "version=2"));
        if version_2 && service == Service::UploadPack {
            return Ok(refs.into());
        }
        let heading = format!("# service={}\n", service.name());
        let mut answer = format!("{:04x}{heading}0000", heading.len() + 4).into_bytes();
        answer.extend_from_slice(&refs);
        Ok(answer.into())
    }

    /// The answer to `POST git-upload-pack`: clone and fetch. Dropping it ends git.
    ///
    /// # Errors
    /// [`GitError::NoRepository`]; [`GitError::Request`] when the request makes no sense to git.
    pub async fn upload_pack<S, E>(&self, repo: RepoId, request: Request<S>) -> Result<Output, GitError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
        E: Send + 'static,
    {
        let service = Service::UploadPack;
        let mut command = with_args(self.git(repo)?, [service.command(), "--stateless-rpc"]);
        command.arg(self.path(repo));
        protocol(&mut command, &request);
        let limit = BodyLimit { bytes: self.limits.max_fetch_request_bytes };
        let (sender, received) = channel();
        let work = async move {
            let operation = service.command();
            exchange(command, operation, request, limit, Listener::Required, sender).await
        };
        // The work makes progress only while the output is read, and so it ends with it.
        let work = work.into_stream().filter_map(|result| std::future::ready(result.err().map(Err)));
        Output::new(futures::stream::select(received, work)).started().await
    }

    /// Carries out `POST git-receive-pack`: a push.
    ///
    /// # Errors
    /// [`GitError::NoRepository`].
    pub fn receive_pack<S, E>(&self, repo: RepoId, request: Request<S>, policy: PushPolicy) -> Result<Push, GitError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
        E: Send + 'static,
    {
        let service = Service::ReceivePack;
        let PushPolicy { messages, access, lfs } = policy;
        let limits = self.limits;
        let report = self.temporary(repo);
        let mut command = self.git(repo)?;
        let gate = Gate::open(self.temporary(repo))?;
        command.arg("-c").arg(format!("receive.maxInputSize={}", limits.max_pack_bytes));
        command.args([service.command(), "--stateless-rpc"]).arg(self.path(repo));
        command.env(hooks::GATE, gate.folder());
        command.env(hooks::ON_MAIN, lines(&messages.main));
        command.env(hooks::ON_OTHER, lines(&messages.other));
        command.env(hooks::REPORT, &report);
        protocol(&mut command, &request);
        // Twice the pack: git refuses a larger one in words, and the rest of it must be read for the
        // client to see them.
        let bytes = limits.max_pack_bytes.saturating_mul(2).saturating_add(PUSH_OVERHEAD);
        let (sender, received) = channel();
        let repositories = self.clone();
        let done = async move {
            let for_errors = sender.clone();
            let operation = service.command();
            let exchanged = exchange(command, operation, request, BodyLimit { bytes }, Listener::Optional, sender);
            let attended = async {
                let _gate = gate.attend(&repositories, repo, &access, lfs).await.map_err(|error| {
                    tracing::error!(repo.id = %repo, %error, "a push to {repo} was refused: {error}");
                });
                std::future::pending::<Infallible>().await
            };
            // Git asks once, or never when it refuses the push by itself.
            let result = tokio::select! {
                result = exchanged => result,
                never = attended => match never {},
            };
            // Read whatever the result: a push that ran out of time may have moved refs before.
            let moved = take_report(&report).await;
            match result {
                Ok(()) => Ok(PushReport { moved: moved? }),
                Err(error) => {
                    tell(&for_errors, &error);
                    let moved = moved?;
                    if moved.is_empty() { Err(error) } else { Ok(PushReport { moved }) }
                }
            }
        };
        Ok(Push { output: Output::new(received), done: Box::pin(done) })
    }
}

/// Tells a client that still listens why the exchange failed.
fn tell(output: &Sender, error: &GitError) {
    let copy = match error {
        GitError::Request(message) => GitError::Request(message.clone()),
        GitError::Timeout(operation) => GitError::Timeout(operation),
        GitError::ClientGone => GitError::ClientGone,
        other => GitError::Failed { operation: "receive-pack", message: other.to_string() },
    };
    // A full channel or none: nobody listens.
    let _ = output.try_send(Err(copy));
}

fn protocol<S>(command: &mut tokio::process::Command, request: &Request<S>) {
    if let Some(protocol) = request.protocol.as_deref().filter(|protocol| plain_protocol(protocol)) {
        command.env("GIT_PROTOCOL", protocol);
    }
}

/// Whether a `Git-Protocol` header has the form `key=value:key`.
fn plain_protocol(text: &str) -> bool {
    text.len() <= 256 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b':' | b'-' | b'.'))
}

/// What stands in an environment variable: no NUL, and no control characters for the terminal.
fn lines(lines: &[String]) -> String {
    let plain = |line: &String| line.chars().filter(|c| !c.is_control()).collect::<String>();
    lines.iter().map(plain).collect::<Vec<_>>().join("\n")
}

/// Reads and removes the report of the hook; there is none when no ref moved.
async fn take_report(path: &std::path::Path) -> Result<Vec<RefChange>, GitError> {
    let text = match tokio::fs::read(path).await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(GitError::Io { operation: "read which refs moved", source }),
    };
    if let Err(error) = tokio::fs::remove_file(path).await {
        tracing::warn!(path = %path.display(), %error, "the report of a push could not be removed");
    }
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(change).collect())
}

fn change(line: &str) -> Option<RefChange> {
    let mut words = line.splitn(3, ' ');
    let (old, new, name) = (words.next()?, words.next()?, words.next()?);
    let id = |text: &str| if text.bytes().all(|b| b == b'0') { None } else { text.parse().ok() };
    Some(RefChange { name: name.to_owned(), old: id(old), new: id(new) })
}
