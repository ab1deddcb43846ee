//! The connection to the engine, its time limits, and what its errors mean.
//!
//! The connection is made on first use and negotiates the API version (an engine answers 400 to
//! a newer one). `bollard` opens a connection per request when it needs one, so an engine that was
//! away works again without anybody reconnecting.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use spaceport_runtime::RuntimeError;
use tokio::sync::Mutex;

use crate::devices;

/// The engine answers a ping or a version in well under a millisecond; after this it is away.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Inspect, list, create, update: milliseconds, seconds on a loaded engine.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Starting and removing: 0.2 s, with hundreds of containers at once a minute.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Answers to large questions, such as how much each volume holds.
pub(crate) const LONG_TIMEOUT: Duration = Duration::from_secs(600);
/// A transfer may take as long as it wants, but not stand still for so long: the engine writes to a slow disk now and then.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// An image of a hundred gigabytes; the engine says nothing until it is written. A build's own limit is over before.
pub(crate) const COMMIT_TIMEOUT: Duration = Duration::from_secs(3000);
/// Until an answer begins; no call is meant to reach it, each has its own above.
const HEADERS_TIMEOUT_S: u64 = 3600;
const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";

/// Where the engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Unix(String),
    Tcp(String),
}

impl Endpoint {
    /// From a socket path or a `DOCKER_HOST` value.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, RuntimeError> {
        let text = text.filter(|text| !text.is_empty()).unwrap_or(DEFAULT_SOCKET);
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Self::Unix(path.to_owned()));
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(text.to_owned()));
        }
        if let Some(address) = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")) {
            return Ok(Self::Tcp(address.trim_end_matches('/').to_owned()));
        }
        Err(engine_error(
            "connect to the container engine",
            format!("{text:?} is not a Docker address; use unix:///path/to/docker.sock or tcp://host:port"),
        ))
    }

    fn docker(&self) -> Result<Docker, Error> {
        match self {
            Self::Unix(path) => Docker::connect_with_unix(path, HEADERS_TIMEOUT_S, API_DEFAULT_VERSION),
            Self::Tcp(address) => {
                Docker::connect_with_http(&format!("http://{address}"), HEADERS_TIMEOUT_S, API_DEFAULT_VERSION)
            }
        }
    }
}

/// The lazily made connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) endpoint: Endpoint,
    docker: Mutex<Option<Docker>>,
}

impl Client {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, docker: Mutex::new(None) }
    }

    /// The connection, made on first use.
    pub(crate) async fn get(&self) -> Result<Docker, RuntimeError> {
        let mut docker = self.docker.lock().await;
        if let Some(docker) = docker.as_ref() {
            return Ok(docker.clone());
        }
        let connected = self.connect().await?;
        *docker = Some(connected.clone());
        Ok(connected)
    }

    /// A fresh connection, since the engine may have been replaced by another version.
    pub(crate) async fn reconnect(&self) -> Result<Docker, RuntimeError> {
        let connected = self.connect().await?;
        *self.docker.lock().await = Some(connected.clone());
        Ok(connected)
    }

    async fn connect(&self) -> Result<Docker, RuntimeError> {
        let operation = "connect to the container engine";
        let docker = self.endpoint.docker().map_err(|error| classify(operation, error))?;
        within(PING_TIMEOUT, operation, docker.negotiate_version()).await
    }
}

/// A call to the engine with its limit; a stuck engine counts as one that is away.
pub(crate) async fn within<T>(
    limit: Duration,
    operation: &str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, RuntimeError> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(|error| classify(operation, error)),
        Err(_) => {
            Err(RuntimeError::Unreachable(format!("no answer within {} s to: {operation}", limit.as_secs()).into()))
        }
    }
}

/// A transfer that counts in `moved` what it moves; one that stands still counts as one whose engine is away.
pub(crate) async fn while_it_moves<T>(
    operation: &str,
    moved: &AtomicU64,
    transfer: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    let standstill = async {
        loop {
            let before = moved.load(Ordering::Relaxed);
            tokio::time::sleep(STALL_TIMEOUT).await;
            if moved.load(Ordering::Relaxed) == before {
                return;
            }
        }
    };
    tokio::select! {
        ended = transfer => ended,
        () = standstill => {
            let message = format!("nothing moved for {} s: {operation}", STALL_TIMEOUT.as_secs());
            Err(RuntimeError::Unreachable(message.into()))
        }
    }
}

/// `None` instead of an error when the engine says 404.
pub(crate) fn absent<T>(result: Result<T, RuntimeError>) -> Result<Option<T>, RuntimeError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(RuntimeError::NoContainer(_) | RuntimeError::ImageMissing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The HTTP status the engine answered with, when that is what went wrong.
pub(crate) fn status_of(error: &RuntimeError) -> Option<u16> {
    let RuntimeError::Engine { source, .. } = error else { return None };
    match source.downcast_ref::<Error>() {
        Some(Error::DockerResponseServerError { status_code, .. }) => Some(*status_code),
        _ => None,
    }
}

/// What an error of `bollard` means to a caller.
pub(crate) fn classify(operation: &str, error: Error) -> RuntimeError {
    if let Error::DockerResponseServerError { message, .. } = &error
        && let Some((message, remedy)) = devices::failure(message)
    {
        return RuntimeError::Devices { message, remedy, source: error.into() };
    }
    match &error {
        Error::DockerResponseServerError { message, .. } if is_disk_full(message) => {
            RuntimeError::DiskFull(error.into())
        }
        Error::DockerStreamError { error: message } if is_disk_full(message) => RuntimeError::DiskFull(error.into()),
        Error::DockerResponseServerError { status_code: 404, message } => {
            let lower = message.to_lowercase();
            if lower.contains("no such image") {
                let reference = message.rsplit(": ").next().unwrap_or(message).to_owned();
                RuntimeError::ImageMissing { reference, source: error.into() }
            } else if lower.contains("no such container") {
                RuntimeError::NoContainer(message.rsplit(": ").next().unwrap_or(message).to_owned())
            } else {
                RuntimeError::Engine { operation: operation.to_owned(), source: error.into() }
            }
        }
        Error::DockerResponseServerError { status_code: 400 | 500, message } if is_command_missing(message) => {
            RuntimeError::CommandNotFound(shorten(message))
        }
        Error::IOError { .. }
        | Error::HyperResponseError { .. }
        | Error::HyperLegacyError { .. }
        | Error::RequestTimeoutError
        | Error::SocketNotFoundError(_) => RuntimeError::Unreachable(error.into()),
        _ => RuntimeError::Engine { operation: operation.to_owned(), source: error.into() },
    }
}

/// An error of ours, in the words of the operation.
pub(crate) fn engine_error(
    operation: impl Into<String>,
    source: impl Into<spaceport_runtime::BoxError>,
) -> RuntimeError {
    RuntimeError::Engine { operation: operation.into(), source: source.into() }
}

fn is_disk_full(message: &str) -> bool {
    message.to_lowercase().contains("no space left on device")
}

/// runc's words: `exec: "x": executable file not found in $PATH`, `exec: "/x": permission denied`.
fn is_command_missing(message: &str) -> bool {
    let lower = message.to_lowercase();
    lower.contains("exec")
        && (lower.contains("executable file not found")
            || lower.contains("no such file or directory")
            || lower.contains("permission denied")
            || lower.contains("exec format error"))
}

/// runc wraps the cause in several layers of its own; only the last is of interest.
fn shorten(message: &str) -> String {
    message.rfind("exec: ").map_or(message, |at| &message[at..]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_of_an_address() {
        for (text, expected) in [
            (None, Endpoint::Unix("/var/run/docker.sock".to_owned())),
            (Some("unix:///run/x.sock"), Endpoint::Unix("/run/x.sock".to_owned())),
            (Some("/run/x.sock"), Endpoint::Unix("/run/x.sock".to_owned())),
            (Some("tcp://127.0.0.1:2375"), Endpoint::Tcp("127.0.0.1:2375".to_owned())),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap(), expected);
        }
        let error = Endpoint::parse(Some("ssh://box")).unwrap_err();
        assert!(matches!(error, RuntimeError::Engine { .. }), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_lasts_as_long_as_it_moves() {
        let moved = AtomicU64::new(0);
        let piece = async || {
            tokio::time::sleep(STALL_TIMEOUT * 2 / 3).await;
            moved.fetch_add(1, Ordering::Relaxed);
        };
        let slow = async {
            for _ in 0..100 {
                piece().await;
            }
            Ok(())
        };
        while_it_moves("send", &moved, slow).await.unwrap();
        let stuck = async {
            piece().await;
            std::future::pending().await
        };
        let error: RuntimeError = while_it_moves::<()>("send", &moved, stuck).await.unwrap_err();
        assert!(matches!(error, RuntimeError::Unreachable(_)), "{error:?}");
    }

    #[test]
    fn tells_apart_what_a_program_must_tell_apart() {
        let server =
            |status_code, message: &str| Error::DockerResponseServerError { status_code, message: message.to_owned() };
        let kind = |error| match classify("try", error) {
            RuntimeError::Unreachable(_) => "unreachable",
            RuntimeError::ImageMissing { .. } => "image",
            RuntimeError::NoContainer(_) => "container",
            RuntimeError::CommandNotFound(_) => "command",
            RuntimeError::Devices { .. } => "devices",
            RuntimeError::DiskFull(_) => "disk",
            RuntimeError::Canceled => "canceled",
            RuntimeError::Engine { .. } => "engine",
        };
        assert_eq!(kind(server(404, "No such image: nothing:latest")), "image");
        assert_eq!(kind(server(404, "No such container: abc")), "container");
        assert_eq!(kind(server(404, "network x not found")), "engine");
        assert_eq!(kind(server(500, "write /var/lib/docker/tmp: no space left on device")), "disk");
        assert_eq!(
            kind(server(400, "OCI runtime create failed: exec: \"nope\": executable file not found in $PATH: unknown")),
            "command"
        );
        let no_node =
            "error gathering device information while adding custom device \"/dev/x\": no such file or directory";
        assert_eq!(kind(server(500, no_node)), "devices");
        assert_eq!(kind(Error::RequestTimeoutError), "unreachable");
    }
}
