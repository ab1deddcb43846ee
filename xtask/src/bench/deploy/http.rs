//! As much HTTP as asking and waiting needs, without a client library.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Between two questions. An app that still serves the old version has to answer them, so more
/// often would slow down what is measured.
pub const POLL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);

/// A request of one's own; the status and the body.
pub fn ask(port: u16, head: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(stream, "{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.unwrap_or(0), body.to_owned()))
}

/// Asks the app at `host` until its answer is 200 and has the marker. `meanwhile` is called
/// between questions.
pub fn wait_for(
    port: u16,
    host: &str,
    marker: &str,
    limit: Duration,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<()> {
    let until = Instant::now() + limit;
    // What the page is made from; it has the title.
    let head = format!("GET /config HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n");
    let mut last = String::new();
    loop {
        match ask(port, &head, "") {
            Ok((200, body)) if body.contains(marker) => return Ok(()),
            Ok((status, body)) => last = format!("{status} {}", body.chars().take(300).collect::<String>()),
            // Nothing listens yet.
            Err(error) => last.clone_from(&error.to_string()),
        }
        if Instant::now() > until {
            bail!(
                "no answer with {marker:?} from {host} on port {port} within {} s; the last: {last}",
                limit.as_secs()
            );
        }
        meanwhile()?;
        sleep(POLL);
    }
}

/// A call of the hub's API.
pub fn api(port: u16, token: &str, method: &str, path: &str, body: &str) -> Result<serde_json::Value> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n"
    );
    let (status, answer) = ask(port, &head, body).with_context(|| format!("{method} {path}"))?;
    anyhow::ensure!(status < 300, "{method} {path}: {status} {answer}");
    serde_json::from_str(&answer).with_context(|| format!("{method} {path}: {answer}"))
}
