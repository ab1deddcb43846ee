//! Routes that change, Spaces that start, and the end.

use std::pin::pin;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Full};
use spaceport_core::SpaceStage;
use spaceport_core::route::{ProxyEvent, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::support::*;

/// An app that answers when told to, and says when it was asked.
async fn waiting_app() -> (std::net::SocketAddr, watch::Sender<bool>, watch::Receiver<usize>) {
    let (go, going) = watch::channel(false);
    let (asked, asked_in) = watch::channel(0);
    let address = app(move |_| {
        asked.send_modify(|count| *count += 1);
        let mut going = going.clone();
        async move {
            going.wait_for(|go| *go).await.unwrap();
            text("late")
        }
    })
    .await;
    (address, go, asked_in)
}

#[tokio::test]
async fn a_swap_takes_effect_at_once_and_the_old_instance_finishes() {
    let (old, go, mut asked) = waiting_app().await;
    let mut proxy = proxy(upstream("old", old)).await;
    let (address, request) = (proxy.address, format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
    let running = spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    soon(asked.wait_for(|count| *count == 1)).await.unwrap();
    proxy.publish([(HOST, route(upstream("new", saying("new").await)))]);
    for _ in 0..10 {
        assert_eq!(proxy.get("/", "").await.body, "new");
    }
    while let Ok(event) = proxy.events.try_recv() {
        assert!(!matches!(event, ProxyEvent::Drained { .. }), "{event:?}");
    }
    go.send(true).unwrap();
    assert!(soon(running).await.unwrap().ends_with("late"));
    proxy.drained("old").await;
}

#[tokio::test]
async fn an_unused_instance_is_drained_at_once() {
    let mut proxy = proxy(upstream("old", saying("old").await)).await;
    assert_eq!(proxy.get("/", "").await.body, "old");
    proxy.publish([(HOST, route(upstream("new", saying("new").await)))]);
    proxy.drained("old").await;
}

#[tokio::test]
async fn swaps_under_load_fail_no_request() {
    let proxy = proxy(upstream("0", saying("x").await)).await;
    let (stop, stopped) = watch::channel(false);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (mut client, stopped) = (proxy.client().await, stopped.clone());
        clients.push(spawn(async move {
            let mut answers = 0;
            while !*stopped.borrow() {
                client.ready().await.unwrap();
                let request = Request::get("/").header("host", HOST).body(Full::default().boxed_unsync()).unwrap();
                let response = client.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap();
                answers += 1;
            }
            answers
        }));
    }
    let mut proxy = proxy;
    for n in 1..=20 {
        proxy.publish([(HOST, route(upstream(&n.to_string(), saying("x").await)))]);
        proxy.drained(&(n - 1).to_string()).await;
    }
    stop.send(true).unwrap();
    for client in clients {
        assert!(soon(client).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_request_is_held_until_the_space_serves() {
    let proxy = proxy(Target::Hold(standing(SpaceStage::AppStarting))).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream
        .write_all(
            format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").as_bytes(),
        )
        .await
        .unwrap();
    let mut byte = [0];
    // Nothing comes while it is held.
    assert!(tokio::time::timeout(Duration::from_millis(200), stream.read(&mut byte)).await.is_err());
    proxy.publish([(HOST, route(upstream("a", mirror().await)))]);
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"), "{answer}");
}

#[tokio::test]
async fn browsers_get_the_state_soon_and_programs_when_the_hold_ends() {
    let mut config = config();
    config.timeouts.hold = Duration::from_millis(50);
    config.timeouts.hold_navigation = Duration::ZERO;
    let proxy = proxy_with(config, Target::Hold(standing(SpaceStage::AppStarting))).await;
    let page = proxy.get("/", "Accept: text/html,*/*\r\nSec-Fetch-Mode: navigate\r\n").await;
    assert_eq!((page.status, page.header("content-type")), (503, Some("text/html; charset=utf-8")));
    assert!(page.body.contains("<h1>Starting</h1>"));
    let json = proxy.get("/", "Accept: text/html\r\nSec-Fetch-Mode: cors\r\n").await;
    assert_eq!((json.status, json.header("x-error-code")), (503, Some("spacenotrunning")));
    assert!(json.body.contains("\"stage\":\"APP_STARTING\""), "{}", json.body);
}

#[tokio::test]
async fn held_requests_are_bounded() {
    let config = spaceport_proxy::ProxyConfig { threads: 1, held_per_space: 1, ..config() };
    let proxy = proxy_with(config, Target::Hold(standing(SpaceStage::AppStarting))).await;
    // Either of the two is held; the other gets the state at once.
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let (first, second) = (pin!(proxy.raw_head(request.as_bytes())), pin!(proxy.raw_head(request.as_bytes())));
    let (answer, held) = futures::future::select(first, second).await.factor_first();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    proxy.publish([(HOST, route(upstream("a", saying("up").await)))]);
    assert!(held.await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_paused_space_shows_its_page_at_once() {
    let proxy = proxy(Target::Page(standing(SpaceStage::Paused))).await;
    let page = proxy.get("/", "Accept: text/html\r\n").await;
    assert_eq!((page.status, page.header("retry-after")), (503, None));
    assert!(page.body.contains("<h1>Paused</h1>") && !page.body.contains("http-equiv=\"refresh\""));
}

#[tokio::test]
async fn use_is_reported_once_in_a_while() {
    let mut proxy = proxy(upstream("a", saying("x").await)).await;
    for _ in 0..20 {
        proxy.get("/", "").await;
    }
    let mut reports = 0;
    while let Ok(ProxyEvent::Activity { .. }) = proxy.events.try_recv() {
        reports += 1;
    }
    assert!((1..20).contains(&reports), "{reports}");
}

#[tokio::test]
async fn what_is_in_flight_or_held_is_use_all_the_time() {
    let (address, _go, mut asked) = waiting_app().await;
    let mut proxy = proxy(upstream("a", address)).await;
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    soon(asked.wait_for(|count| *count == 1)).await.unwrap();
    // One request, and it is reported again and again.
    for _ in 0..3 {
        assert!(matches!(soon(proxy.events.recv()).await, Some(ProxyEvent::Activity { .. })));
    }
    drop(stream);
    proxy.publish([(HOST, route(Target::Hold(standing(SpaceStage::Sleeping))))]);
    let mut held = TcpStream::connect(proxy.address).await.unwrap();
    held.write_all(request.as_bytes()).await.unwrap();
    let mut reports = 0;
    while reports < 3 {
        match soon(proxy.events.recv()).await {
            Some(ProxyEvent::Activity { .. }) => reports += 1,
            Some(ProxyEvent::Drained { .. }) => reports = 0,
            Some(ProxyEvent::Visited { .. }) => {}
            None => panic!("the proxy ended"),
        }
    }
}

/// What a browser sends when somebody opens a page.
const PAGE: &str = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";

#[tokio::test]
async fn a_page_that_is_opened_just_before_the_end_is_counted() {
    let mut proxy = proxy(upstream("a", saying("x").await)).await;
    proxy.get("/", PAGE).await;
    proxy.soft.cancel();
    let mut counted = 0;
    // The channel ends with the proxy.
    soon(async {
        while let Some(event) = proxy.events.recv().await {
            if let ProxyEvent::Visited { pages, .. } = event {
                counted += pages;
            }
        }
    })
    .await;
    assert_eq!(counted, 1);
}

#[tokio::test]
async fn pages_that_are_opened_are_counted_and_nothing_else() {
    let mut proxy = proxy(upstream("a", saying("x").await)).await;
    for _ in 0..3 {
        proxy.get("/", PAGE).await;
        proxy.get("/config", "").await;
        proxy.get("/file", "Accept: text/html\r\nSec-Fetch-Mode: cors\r\n").await;
    }
    let mut counted = 0;
    soon(async {
        while counted < 3 {
            if let Some(ProxyEvent::Visited { pages, .. }) = proxy.events.recv().await {
                counted += pages;
            }
        }
    })
    .await;
    proxy.publish([(HOST, route(Target::Page(standing(SpaceStage::Paused))))]);
    proxy.get("/", PAGE).await;
    // A page that says that there is none is no visit: the next that is counted is the next of the app.
    proxy.publish([(HOST, route(upstream("a", saying("x").await)))]);
    proxy.get("/", PAGE).await;
    let next = soon(async {
        loop {
            if let Some(ProxyEvent::Visited { pages, .. }) = proxy.events.recv().await {
                return pages;
            }
        }
    })
    .await;
    assert_eq!((counted, next), (3, 1));
}

#[tokio::test]
async fn a_soft_stop_finishes_what_runs() {
    let (address, go, mut asked) = waiting_app().await;
    let proxy = proxy(upstream("a", address)).await;
    let mut idle = TcpStream::connect(proxy.address).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    soon(asked.wait_for(|count| *count == 1)).await.unwrap();
    proxy.soft.cancel();
    let mut nothing = Vec::new();
    let _ = soon(idle.read_to_end(&mut nothing)).await;
    assert!(!proxy.ended.is_finished());
    go.send(true).unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("late"), "{answer}");
    let mut proxy = proxy;
    soon(&mut proxy.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(proxy.address).await.is_err());
}

#[tokio::test]
async fn what_does_not_finish_is_cut() {
    let (address, _go, mut asked) = waiting_app().await;
    let mut config = config();
    config.timeouts.drain = Duration::from_millis(100);
    let mut proxy = proxy_with(config, upstream("a", address)).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    soon(asked.wait_for(|count| *count == 1)).await.unwrap();
    proxy.soft.cancel();
    soon(&mut proxy.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_app_that_never_answers_is_given_up() {
    let (address, _go, _asked) = waiting_app().await;
    let mut config = config();
    config.timeouts.response_head = Duration::from_secs(1);
    let proxy = proxy_with(config, upstream("a", address)).await;
    assert_eq!(proxy.get("/", "").await.status, 504);
}

#[tokio::test]
async fn the_connections_of_an_instance_are_bounded() {
    let (address, go, mut asked) = waiting_app().await;
    let mut config = spaceport_proxy::ProxyConfig { threads: 1, connections_per_instance: 1, ..config() };
    config.timeouts.connect = Duration::from_millis(100);
    let proxy = proxy_with(config, upstream("a", address)).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    soon(asked.wait_for(|count| *count == 1)).await.unwrap();
    let busy = proxy.get("/", "").await;
    assert_eq!((busy.status, busy.header("x-error-code")), (503, Some("spacebusy")));
    go.send(true).unwrap();
    assert!(soon(read_head(&mut stream)).await.starts_with("HTTP/1.1 200"));
    assert_eq!(proxy.get("/", "").await.status, 200);
}
