//! The five calls of the engine's API that are needed here.
//!
//! HTTP/1.0 over its socket: an answer ends with the connection, so there is nothing to parse but
//! the status. A client library would take longer to build than everything this command does.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const QUICK: Duration = Duration::from_secs(15);
const SLOW: Duration = Duration::from_secs(1800);

/// The engine's address.
pub struct Api {
    address: Address,
}

enum Address {
    Unix(String),
    Tcp(String),
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Api {
    /// From `DOCKER_HOST`.
    pub fn new(host: Option<&str>) -> Result<Self> {
        let host = host.unwrap_or("unix:///var/run/docker.sock");
        let address = match (host.strip_prefix("unix://"), host.strip_prefix("tcp://")) {
            (Some(path), _) => Address::Unix(path.to_owned()),
            (_, Some(address)) => Address::Tcp(address.to_owned()),
            _ => bail!("DOCKER_HOST={host} is not supported here; use unix:///path or tcp://host:port, or unset it"),
        };
        Ok(Self { address })
    }

    /// Succeeds when the engine answers.
    pub fn ping(&self) -> Result<()> {
        let answer = self.call("GET", "/_ping", None, QUICK)?;
        answer.ok("ping the engine").map(drop)
    }

    /// Whether an image is on the engine.
    pub fn has_image(&self, name: &str) -> Result<bool> {
        let answer = self.call("GET", &format!("/images/{name}/json"), None, QUICK)?;
        Ok(answer.status == 200)
    }

    /// Whether the registry answers and has the image.
    pub fn registry_has(&self, name: &str) -> bool {
        self.call("GET", &format!("/distribution/{name}/json"), None, QUICK).is_ok_and(|answer| answer.status == 200)
    }

    /// Fetches an image from the registry.
    pub fn pull(&self, repository: &str, tag: &str) -> Result<()> {
        let path = format!("/images/create?fromImage={repository}&tag={tag}");
        let body = self.call("POST", &path, None, SLOW)?.ok("pull an image")?;
        match body.lines().find(|line| line.contains("\"error\"")) {
            Some(error) => bail!("the registry refused {repository}:{tag}: {error}"),
            None => Ok(()),
        }
    }

    /// Makes an image of a tar file of a root directory.
    pub fn import(&self, tar: &File, repository: &str, tag: &str, changes: &[String]) -> Result<()> {
        let changes: String = changes.iter().map(|change| format!("&changes={}", encoded(change))).collect();
        let path = format!("/images/create?fromSrc=-&repo={repository}&tag={tag}{changes}");
        let body = self.call("POST", &path, Some(tar), SLOW)?.ok("import an image")?;
        match body.lines().find(|line| line.contains("\"error\"")) {
            Some(error) => bail!("the engine could not import {repository}:{tag}: {error}"),
            None => Ok(()),
        }
    }

    fn call(&self, method: &str, path: &str, body: Option<&File>, limit: Duration) -> Result<Answer> {
        let mut stream: Box<dyn Stream> = match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).with_context(|| format!("connect to {path}"))?;
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                Box::new(stream)
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                Box::new(stream)
            }
        };
        let length = body.map_or(Ok(0), |file| file.metadata().map(|data| data.len()))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/x-tar\r\nContent-Length: {length}\r\n\r\n"
        )?;
        if let Some(mut file) = body {
            std::io::copy(&mut file, &mut stream)?;
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).with_context(|| format!("wait for the engine's answer to {path}"))?;
        Answer::parse(&String::from_utf8_lossy(&answer))
    }
}

/// Whether the engine is there, and this user may not use it.
pub fn is_denied(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
}

struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").context("the engine's answer is not HTTP")?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Self { status: status.context("the engine's answer has no status")?, body: body.to_owned() })
    }

    fn ok(self, what: &str) -> Result<String> {
        if self.status < 300 { Ok(self.body) } else { bail!("could not {what}: {} {}", self.status, self.body.trim()) }
    }
}

/// Percent-encoded, for a query.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
