//! Bytes on a socket, for what no proper client would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer may take so long.
const LIMIT: Duration = Duration::from_secs(20);

/// Sends `bytes`, and returns what comes back until the server closes, or is silent for two
/// seconds after an answer (a connection kept alive).
///
/// # Panics
/// When the server does not take the connection, or neither answers nor closes.
pub async fn exchange(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.expect("the server takes connections");
    // A server that refuses early may close before everything is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let limit = if answer.is_empty() { LIMIT } else { Duration::from_secs(2) };
        match tokio::time::timeout(limit, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(count)) => answer.extend_from_slice(&buffer[..count]),
            Err(_) if answer.is_empty() => panic!("neither an answer nor an end within {} s", LIMIT.as_secs()),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
