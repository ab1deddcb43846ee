//! Requests that must not be passed on, sent byte by byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test]
async fn what_can_be_read_in_two_ways_never_reaches_an_app() {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = reached.clone();
    let address = app(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { text("reached") }
    })
    .await;
    let proxy = proxy(upstream("a", address)).await;
    let h = format!("Host: {HOST}\r\n");
    for request in [
        format!("GET / HTTP/1.1\r\n{h}{h}\r\n"),
        format!("GET / HTTP/1.1\r\n{h}Host: other\r\n\r\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".to_owned(),
        format!("GET http://other/ HTTP/1.1\r\n{h}\r\n"),
        format!("GET http://x@{HOST}/ HTTP/1.1\r\n{h}\r\n"),
        format!("GET /\u{e9} HTTP/1.1\r\n{h}\r\n"),
        format!("GET / x HTTP/1.1\r\n{h}\r\n"),
        format!("GET /\x01 HTTP/1.1\r\n{h}\r\n"),
        format!("GET / HTTP/1.1\r\n{h}X: a\x00b\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{h}X: a\x07b\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{h}X: a\rb\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{h}X : a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{h}: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{h} folded: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{h}X: a\r\n b\r\n\r\n"),
        format!("GET / HTTP/9.9\r\n{h}\r\n"),
        format!("CONNECT {HOST}:80 HTTP/1.1\r\n{h}\r\n"),
        format!("POST / HTTP/1.1\r\n{h}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        format!("POST / HTTP/1.1\r\n{h}Content-Length: +1\r\n\r\na"),
        format!("POST / HTTP/1.1\r\n{h}Content-Length: 1, 1\r\n\r\na"),
        format!("POST / HTTP/1.1\r\n{h}Content-Length: 0x1\r\n\r\na"),
        format!("POST / HTTP/1.1\r\n{h}Content-Length: 99999999999999999999\r\n\r\na"),
        format!("POST / HTTP/1.1\r\n{h}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{h}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{h}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.0\r\n{h}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ] {
        let answer = proxy.raw_head(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"), "{request:?} got {answer:?}");
    }
    assert_eq!(reached.load(Ordering::Relaxed), 0);
}

const LENGTH_AND_CHUNKED: [&str; 4] = [
    "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    "content-length: 3\r\nX: y\r\ntransfer-encoding: chunked\r\n",
    // A length that is no length counts as one all the same.
    "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
];

#[tokio::test]
async fn a_length_beside_chunked_is_refused_and_ends_the_connection() {
    let proxy = proxy(upstream("a", mirror().await)).await;
    for lengths in LENGTH_AND_CHUNKED {
        let text = format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\n{lengths}\r\n2\r\nab\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
        );
        // Returns only when the connection has ended.
        let answer = proxy.request(&text).await;
        assert_eq!(answer.status, 400, "{lengths:?}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
        assert!(!answer.body.contains("HTTP/1.1"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_length_beside_chunked_is_seen_behind_other_requests_and_in_pieces() {
    let proxy = proxy(upstream("a", mirror().await)).await;
    let good = [
        format!("GET /1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("POST /2 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 7\r\n\r\nPOST /x"),
        format!(
            "POST /3 HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n\
             a;x=\"y\"\r\nContent-Le\r\n0003 \r\nngt\r\n0\r\nX: y\r\n\r\n"
        ),
    ]
    .concat();
    for lengths in LENGTH_AND_CHUNKED {
        let text = format!("{good}\r\nPOST /4 HTTP/1.1\r\nHost: {HOST}\r\n{lengths}\r\n2\r\nab\r\n0\r\n\r\n");
        for piece in [1, 7, text.len()] {
            let mut stream = TcpStream::connect(proxy.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut read, mut write) = stream.split();
            let send = async {
                for piece in text.as_bytes().chunks(piece) {
                    if write.write_all(piece).await.is_err() {
                        break;
                    }
                }
            };
            let mut answers = Vec::new();
            let _ = soon(futures::future::join(send, read.read_to_end(&mut answers))).await;
            let answers = String::from_utf8_lossy(&answers);
            let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
            assert_eq!(statuses, ["200", "200", "200", "400"], "{lengths:?} in pieces of {piece}: {answers}");
        }
    }
}

#[tokio::test]
async fn broken_chunks_end_the_request() {
    let proxy = proxy(upstream("a", mirror().await)).await;
    for chunks in [
        "-1\r\nab\r\n0\r\n\r\n",
        "2;\nx\r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\n",
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let answer = proxy.raw_head(text.as_bytes()).await;
        assert!(!answer.contains(" 200 "), "{chunks:?}: {answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let proxy = proxy(upstream("a", saying("ok").await)).await;
    let long = "x".repeat(100_000);
    let answer = proxy.raw_head(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {long}\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");
}

#[tokio::test]
async fn slow_heads_are_cut_and_idle_connections_are_closed() {
    let mut config = config();
    config.timeouts.header_read = std::time::Duration::from_secs(1);
    config.timeouts.idle = std::time::Duration::from_secs(1);
    let proxy = proxy_with(config, upstream("a", saying("ok").await)).await;
    for begin in ["", "GET / HTTP/1.1\r\nHo", "P"] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
        assert_eq!(String::from_utf8_lossy(&rest), "", "{begin:?}");
    }
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(String::from_utf8_lossy(&rest).ends_with("ok"));
}
