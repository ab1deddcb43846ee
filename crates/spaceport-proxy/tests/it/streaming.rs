//! Bodies and tunnels: nothing waits for an end that is not there yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::support::*;

async fn websocket_app() -> std::net::SocketAddr {
    raw_app(async |_, stream| {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                break;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_websocket_echoes_and_counts_as_in_flight() {
    let mut proxy = proxy(upstream("a", websocket_app().await)).await;
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut socket, response) =
        soon(tokio_tungstenite::client_async(format!("ws://{HOST}/ws"), stream)).await.unwrap();
    assert_eq!(response.status(), 101);
    for size in [1, 100, 300_000] {
        let message = Message::binary(vec![7; size]);
        socket.send(message.clone()).await.unwrap();
        assert_eq!(soon(socket.next()).await.unwrap().unwrap(), message);
    }
    proxy.publish([(HOST, route(upstream("b", saying("b").await)))]);
    assert_eq!(proxy.get("/", "").await.body, "b");
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(soon(socket.next()).await.unwrap().unwrap(), Message::text("still here"));
    assert!(
        proxy.events.try_recv().is_ok_and(|event| !matches!(event, spaceport_core::route::ProxyEvent::Drained { .. }))
    );
    socket.close(None).await.unwrap();
    drop(socket);
    proxy.drained("a").await;
}

#[tokio::test]
async fn events_arrive_before_the_answer_ends() {
    let (events, events_in) = mpsc::channel::<&'static str>(1);
    let events_in = Arc::new(tokio::sync::Mutex::new(events_in));
    let address = app(move |_| {
        let events_in = events_in.clone();
        async move {
            let stream = futures::stream::unfold(events_in, |events| async move {
                let event = events.lock().await.recv().await?;
                Some((Ok(Frame::data(Bytes::from_static(event.as_bytes()))), events))
            });
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(StreamBody::new(stream).boxed_unsync())
                .unwrap()
        }
    })
    .await;
    let proxy = proxy(upstream("a", address)).await;
    let mut client = proxy.client().await;
    let request = Request::get("/").header("host", HOST).body(Full::default().boxed_unsync()).unwrap();
    let mut body = soon(client.send_request(request)).await.unwrap().into_body();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        events.send(event).await.unwrap();
        assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), event);
    }
    drop(events);
    assert!(soon(body.frame()).await.is_none());
}

#[tokio::test]
async fn a_large_upload_streams_at_the_pace_of_the_app() {
    const SIZE: u64 = 300 << 20;
    const CHUNK: usize = 1 << 20;
    let (sent, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (count_sent, count_seen, limit) = (sent.clone(), seen.clone(), Arc::new(AtomicU64::new(0)));
    let furthest = limit.clone();
    let address = app(move |request| {
        let (sent, seen, furthest) = (sent.clone(), seen.clone(), furthest.clone());
        async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                let seen = seen.fetch_add(frame.into_data().unwrap().len() as u64, Ordering::Relaxed);
                furthest.fetch_max(sent.load(Ordering::Relaxed).saturating_sub(seen), Ordering::Relaxed);
            }
            text(seen.load(Ordering::Relaxed).to_string())
        }
    })
    .await;
    let proxy = proxy(upstream("a", address)).await;
    let mut client = proxy.client().await;
    let chunk = Bytes::from(vec![1; CHUNK]);
    let chunks = futures::stream::iter(0..SIZE / CHUNK as u64).map(move |_| {
        count_sent.fetch_add(CHUNK as u64, Ordering::Relaxed);
        Ok(Frame::data(chunk.clone()))
    });
    let request = Request::post("/").header("host", HOST).body(StreamBody::new(chunks).boxed_unsync()).unwrap();
    let response = tokio::time::timeout(3 * DEADLINE, client.send_request(request)).await.unwrap().unwrap();
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(answer, SIZE.to_string());
    assert_eq!(count_seen.load(Ordering::Relaxed), SIZE);
    // What is under way is in socket buffers; a proxy that collects would have it all.
    assert!(limit.load(Ordering::Relaxed) < 64 << 20, "{} bytes were ahead of the app", limit.load(Ordering::Relaxed));
}

#[tokio::test]
async fn an_early_answer_arrives_and_its_connection_is_not_used_again() {
    let address = raw_app(async |count, mut stream| {
        let head = read_head(&mut stream).await;
        let answer = format!("HTTP/1.1 413 Content Too Large\r\nContent-Length: 1\r\nX-Connection: {count}\r\n\r\nx");
        stream.write_all(answer.as_bytes()).await.unwrap();
        assert!(head.starts_with("POST") || head.starts_with("GET"));
        // Reads on, and never answers a second request.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    })
    .await;
    let config = spaceport_proxy::ProxyConfig { threads: 1, ..config() };
    let proxy = proxy_with(config, upstream("a", address)).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream
        .write_all(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000\r\n\r\nabc").as_bytes())
        .await
        .unwrap();
    assert!(soon(read_head(&mut stream)).await.starts_with("HTTP/1.1 413"));
    let next = proxy.get("/", "").await;
    assert_eq!((next.status, next.header("x-connection")), (413, Some("1")));
}

#[tokio::test]
async fn trailers_cross_in_both_directions() {
    let address = app(async |request| {
        let collected = request.into_body().collect().await.unwrap();
        let sum = collected.trailers().and_then(|trailers| trailers.get("x-sum")).cloned().unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-back", sum);
        let frames = [Ok(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(trailers))];
        let body = StreamBody::new(futures::stream::iter(frames));
        Response::builder().header("trailer", "x-back").body(body.boxed_unsync()).unwrap()
    })
    .await;
    let proxy = proxy(upstream("a", address)).await;
    let answer = proxy
        .request(&format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\n\r\n1\r\na\r\n0\r\nX-Sum: 42\r\n\r\n"
        ))
        .await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.to_ascii_lowercase().ends_with("0\r\nx-back: 42\r\n\r\n"), "{answer:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    let address = raw_app(async |_, mut stream| {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
    })
    .await;
    let proxy = proxy(upstream("a", address)).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("abc") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn the_hub_streams_both_ways_at_once() {
    let proxy = proxy(upstream("a", saying("app").await)).await;
    let (pieces, pieces_in) = mpsc::channel::<&'static str>(1);
    let body = futures::stream::unfold(pieces_in, async |mut pieces: mpsc::Receiver<&'static str>| {
        let piece = pieces.recv().await?;
        Some((Ok(Frame::data(Bytes::from_static(piece.as_bytes()))), pieces))
    });
    let mut client = proxy.client().await;
    let request =
        Request::post("/echo").header("host", "localhost").body(StreamBody::new(body).boxed_unsync()).unwrap();
    let mut echo = soon(client.send_request(request)).await.unwrap().into_body();
    for piece in ["one", "two"] {
        pieces.send(piece).await.unwrap();
        assert_eq!(soon(echo.frame()).await.unwrap().unwrap().into_data().unwrap(), piece);
    }
    drop(pieces);
    assert!(soon(echo.frame()).await.is_none());
}

#[tokio::test]
async fn a_handler_of_the_hub_that_panics_is_an_error_and_not_an_end() {
    let proxy = proxy(upstream("a", saying("app").await)).await;
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(proxy.request(&ask("/panic")).await.status, 500);
    assert_eq!(proxy.request(&ask("/")).await.status, 200);
    // A health check of an old load balancer names no host.
    assert!(proxy.request("GET /api/health HTTP/1.0\r\n\r\n").await.body.starts_with("hub GET /api/health"));
}
