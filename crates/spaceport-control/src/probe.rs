//! Does the app answer? One HTTP request over a fresh connection; any HTTP answer counts, since
//! an app without a page at `/` is as healthy as one with.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

/// An app that accepts a connection may take so long to answer the probe.
const ANSWER: Duration = Duration::from_secs(5);
/// Pause between attempts. A refused connection costs some 50 µs of CPU, and whoever pushed waits
/// for the pause to end.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until the app answers or `patience` is over. A question that was put is waited for: the
/// first page of an app takes its time, and asking again would only make it begin anew.
pub(crate) async fn answers(address: SocketAddr, host: &str, path: &str, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    loop {
        if timeout(ANSWER, ask(address, host, path)).await == Ok(true) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        sleep_until((Instant::now() + PAUSE).min(until)).await;
    }
}

async fn ask(address: SocketAddr, host: &str, path: &str) -> bool {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: spaceport-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    let attempt = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut start = [0u8; 5];
        stream.read_exact(&mut start).await?;
        Ok::<_, std::io::Error>(start)
    };
    attempt.await.is_ok_and(|start| &start == b"HTTP/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn any_http_answer_counts_and_nothing_else() {
        for (answer, expected) in
            [("HTTP/1.1 404 Not Found\r\n\r\n", true), ("HTTP/1.0 500 x\r\n\r\n", true), ("220 smtp ready\r\n", false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = async {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            };
            tokio::select! {
                () = server => {}
                got = answers(address, "h", "/", Duration::from_millis(100)) => assert_eq!(got, expected, "{answer}"),
            }
        }
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(!answers(closed, "h", "/", Duration::from_millis(30)).await);
    }
}
