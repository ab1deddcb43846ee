//! Calls that `bollard` cannot make: it speaks the newest API, in which some parameters and answers
//! have other names, and an older engine ignores what it does not know. A removal that ignores how
//! much is to be kept would remove everything.
//!
//! HTTP/1.0 over a connection of its own: the answer ends with it.

use bollard::ClientVersion;
use serde_json::Value;
use spaceport_runtime::RuntimeError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::client::{Endpoint, LONG_TIMEOUT, engine_error};

/// The calls below are as in this version, which engines up to today's still offer.
const NEWEST: ClientVersion = ClientVersion { major_version: 1, minor_version: 44 };
/// An answer longer than this is none we asked for.
const MAX_ANSWER: u64 = 64 << 20;

/// Calls `method /path`, without a body; the answer is JSON.
pub(crate) async fn call(
    endpoint: &Endpoint,
    version: ClientVersion,
    method: &str,
    path: &str,
) -> Result<Value, RuntimeError> {
    let version = if version < NEWEST { version } else { NEWEST };
    let path = format!("/v{}.{}{path}", version.major_version, version.minor_version);
    let operation = format!("{method} {path}");
    let broken = |error| RuntimeError::Unreachable(Box::new(error));
    let exchange = async {
        match endpoint {
            Endpoint::Unix(socket) => exchange(UnixStream::connect(socket).await?, method, &path).await,
            Endpoint::Tcp(address) => exchange(TcpStream::connect(address).await?, method, &path).await,
        }
    };
    let answer = tokio::time::timeout(LONG_TIMEOUT, exchange)
        .await
        .map_err(|_| RuntimeError::Unreachable(format!("no answer in time to: {operation}").into()))?
        .map_err(broken)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) != Some("200") {
        return Err(engine_error(operation, format!("{} {body}", head.lines().next().unwrap_or_default())));
    }
    serde_json::from_str(body).map_err(|error| engine_error(operation, error))
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
) -> Result<Vec<u8>, std::io::Error> {
    let request = format!("{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}
