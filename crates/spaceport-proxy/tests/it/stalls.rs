//! Peers that stop: who takes nothing is given up, who is slow is not.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use spaceport_proxy::ProxyConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::interval;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::*;

/// A pace that is slower than nothing else here and quicker than the deadline that is tested.
const SLOWLY: Duration = Duration::from_millis(200);

fn impatient() -> ProxyConfig {
    let mut config = config();
    config.timeouts.stalled = Duration::from_secs(1);
    config
}

/// An app that sends without end, after `head`, and tells when its connection is gone. Of requests
/// that ask for `/short` it answers two bytes.
async fn flooding(head: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<()>) {
    let (gone, went) = mpsc::unbounded_channel();
    let address = raw_app(move |_, mut stream| {
        let gone = gone.clone();
        async move {
            while read_head(&mut stream).await.starts_with("GET /short") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
            stream.write_all(head.as_bytes()).await.unwrap();
            let chunk = vec![b'x'; 64 << 10];
            while stream.write_all(&chunk).await.is_ok() {}
            let _ = gone.send(());
        }
    })
    .await;
    (address, went)
}

const ENDLESS: &str = "HTTP/1.1 200 OK\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    for (answer, upgrade) in [(ENDLESS, ""), (SWITCHED, "Connection: upgrade\r\nUpgrade: websocket\r\n")] {
        let (address, mut gone) = flooding(answer).await;
        let mut proxy = proxy_with(impatient(), upstream("a", address)).await;
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{upgrade}\r\n").as_bytes()).await.unwrap();
        soon(gone.recv()).await.unwrap();
        proxy.publish([(HOST, route(upstream("b", saying("b").await)))]);
        proxy.drained("a").await;
    }
}

#[tokio::test]
async fn a_stream_of_http2_that_takes_nothing_is_given_up_alone() {
    let (address, mut gone) = flooding(ENDLESS).await;
    let mut proxy = proxy_with(impatient(), upstream("a", address)).await;
    let mut send = http2_client(&proxy).await;
    let ask = |path: &str| Request::get(format!("http://{HOST}{path}")).body(Empty::<Bytes>::new()).unwrap();
    let stalled = soon(send.send_request(ask("/"))).await.unwrap();
    soon(gone.recv()).await.unwrap();
    // The connection and its other streams go on.
    let short = soon(send.send_request(ask("/short"))).await.unwrap();
    assert_eq!(soon(short.into_body().collect()).await.unwrap().to_bytes(), "ok");
    drop(stalled);
    proxy.publish([(HOST, route(upstream("b", saying("b").await)))]);
    proxy.drained("a").await;
}

#[tokio::test]
async fn a_websocket_over_http2_that_takes_nothing_is_given_up() {
    let (address, mut gone) = flooding(SWITCHED).await;
    let mut proxy = proxy_with(impatient(), upstream("a", address)).await;
    let mut send = http2_client(&proxy).await;
    let stalled = soon(send.send_request(connect("websocket"))).await.unwrap();
    assert_eq!(stalled.status(), 200);
    let _held = hyper::upgrade::on(stalled).await.unwrap();
    soon(gone.recv()).await.unwrap();
    proxy.publish([(HOST, route(upstream("b", saying("b").await)))]);
    proxy.drained("a").await;
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    const SIZE: usize = 8 << 20;
    let address = app(async |_| text(vec![b'x'; SIZE])).await;
    let mut config = impatient();
    config.timeouts.idle = Duration::from_secs(1);
    config.timeouts.header_read = Duration::from_secs(1);
    let proxy = proxy_with(config, upstream("a", address)).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut pace = interval(SLOWLY);
    let (mut chunk, mut read) = (vec![0; 256 << 10], 0);
    loop {
        pace.tick().await;
        match stream.read(&mut chunk).await.unwrap() {
            0 => break,
            count => read += count,
        }
    }
    assert!(read > SIZE, "{read}");
}

#[tokio::test]
async fn an_answer_that_is_still_being_sent_is_not_idle() {
    // Whatever the kernel's buffers hold, for one of these sizes the end waits in the proxy alone.
    let sizes: Vec<usize> = (1..60).map(|step| step * (100 << 10)).collect();
    let address = app(async |request| {
        let size: usize = request.uri().path()[1..].parse().unwrap();
        text(vec![b'x'; size])
    })
    .await;
    let mut config = config();
    config.timeouts.idle = Duration::from_secs(1);
    config.timeouts.header_read = Duration::from_secs(1);
    let proxy = proxy_with(config, upstream("a", address)).await;
    let mut streams = Vec::new();
    for size in sizes {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let request = format!("GET /{size} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push((size, stream));
    }
    // By the time two connections without a request were closed, one after the other, an idle one
    // would have been closed, too.
    for _ in 0..2 {
        let mut idle = TcpStream::connect(proxy.address).await.unwrap();
        let _ = soon(idle.read(&mut [0])).await;
    }
    for (size, mut stream) in streams {
        let head = soon(read_head(&mut stream)).await;
        let mut body = vec![0; size];
        let read = soon(stream.read_exact(&mut body)).await;
        assert!(read.is_ok(), "{size}: {read:?} {head}");
    }
}

#[tokio::test]
async fn an_upload_may_take_longer_than_an_answer() {
    let address = app(async |request| {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        text(body.len().to_string())
    })
    .await;
    let mut config = config();
    config.timeouts.response_head = Duration::from_secs(1);
    let proxy = proxy_with(config, upstream("a", address)).await;
    let mut client = proxy.client().await;
    let pieces = futures::stream::unfold((0, interval(SLOWLY)), async |(count, mut pace)| {
        pace.tick().await;
        (count < 20).then(|| (Ok(Frame::data(Bytes::from_static(b"x"))), (count + 1, pace)))
    });
    let request =
        Request::post("/").header("host", HOST).body(StreamBody::new(Box::pin(pieces)).boxed_unsync()).unwrap();
    let answer = soon(client.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "20");
}

#[tokio::test]
async fn an_upload_that_stops_is_given_up() {
    let address = app(async |request| {
        let _ = request.into_body().collect().await;
        text("all")
    })
    .await;
    let mut config = config();
    config.timeouts.response_head = Duration::from_secs(1);
    let proxy = proxy_with(config, upstream("a", address)).await;
    let request = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nabc");
    assert!(proxy.raw_head(request.as_bytes()).await.starts_with("HTTP/1.1 504"));
}

/// A client of HTTP/2 that has seen the settings of the proxy, since it had an answer.
async fn http2_client(proxy: &TestProxy) -> http2::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    spawn(connection);
    let request = Request::get(format!("http://{HOST}/short")).body(Empty::new()).unwrap();
    let _ = soon(send.send_request(request)).await.unwrap();
    send
}

/// RFC 8441 §4.
fn connect(protocol: &'static str) -> Request<Empty<Bytes>> {
    Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://{HOST}/ws?q=1"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .header("origin", "http://localhost")
        .extension(hyper::ext::Protocol::from_static(protocol))
        .body(Empty::new())
        .unwrap()
}

#[tokio::test]
async fn a_websocket_over_http2_is_one_over_http1_for_the_app() {
    let (head, mut heads) = mpsc::unbounded_channel();
    let address = raw_app(move |_, mut stream| {
        let head = head.clone();
        async move {
            let mut request = read_head(&mut stream).await;
            while request.starts_with("GET /short") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                request = read_head(&mut stream).await;
            }
            head.send(request).unwrap();
            stream
                .write_all(SWITCHED.replace("\r\n\r\n", "\r\nSec-WebSocket-Accept: x\r\nX-Own: 1\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_close() || socket.send(message).await.is_err() {
                    break;
                }
            }
        }
    })
    .await;
    let mut proxy = proxy(upstream("a", address)).await;
    let mut send = http2_client(&proxy).await;
    let response = soon(send.send_request(connect("websocket"))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().get("x-own").unwrap(), "1");
    for name in ["sec-websocket-accept", "connection", "upgrade"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    let head = soon(heads.recv()).await.unwrap().to_ascii_lowercase();
    for line in [
        "get /ws?q=1 http/1.1\r\n",
        "\r\nconnection: upgrade\r\n",
        "\r\nupgrade: websocket\r\n",
        "\r\nsec-websocket-version: 13\r\n",
        "\r\nsec-websocket-protocol: chat\r\n",
        "\r\nsec-websocket-key: ",
        "\r\nx-forwarded-for: 127.0.0.1\r\n",
        "\r\norigin: http://localhost\r\n",
        &format!("\r\nhost: {HOST}\r\n"),
    ] {
        assert!(head.contains(line), "{line:?} is not in {head}");
    }
    let stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    for size in [1, 100, 300_000] {
        let message = Message::binary(vec![7; size]);
        socket.send(message.clone()).await.unwrap();
        assert_eq!(soon(socket.next()).await.unwrap().unwrap(), message);
    }
    // It is in flight until both sides have ended.
    proxy.publish([(HOST, route(upstream("b", saying("b").await)))]);
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(soon(socket.next()).await.unwrap().unwrap(), Message::text("still here"));
    socket.close(None).await.unwrap();
    drop(socket);
    proxy.drained("a").await;
}

#[tokio::test]
async fn what_is_no_websocket_over_http2_is_no_tunnel() {
    let proxy = proxy(upstream("a", saying("plain").await)).await;
    let mut send = http2_client(&proxy).await;
    // The app does not switch: its 200 must not be taken for an open tunnel.
    assert_eq!(soon(send.send_request(connect("websocket"))).await.unwrap().status(), 502);
    assert_eq!(soon(send.send_request(connect("connect-udp"))).await.unwrap().status(), 400);
    let refusing = raw_app(async |_, mut stream| {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
    })
    .await;
    proxy.publish([(HOST, route(upstream("b", refusing)))]);
    let refused = soon(send.send_request(connect("websocket"))).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(soon(refused.into_body().collect()).await.unwrap().to_bytes(), "no");
    // The hub has no such thing.
    let mut to_hub = connect("websocket");
    *to_hub.uri_mut() = "http://localhost/echo".parse().unwrap();
    assert_eq!(soon(send.send_request(to_hub)).await.unwrap().status(), 400);
}
