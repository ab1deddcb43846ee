//! Spaces that moved: what is asked for at their former host.

use std::time::Duration;

use spaceport_core::Timestamp;
use spaceport_core::ticket::{Audience, SESSION_LIFETIME};
use spaceport_proxy::ProxyConfig;

use crate::support::*;

const FORMER: &str = "alice-old.localhost";
const PAGE: &str = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

async fn moved() -> TestProxy {
    let config = ProxyConfig { clock: now, spaces_domain: Some("localhost:8080".to_owned()), ..config() };
    let proxy = proxy_with(config, upstream("a", mirror().await)).await;
    proxy.publish_former("alice-old");
    proxy
}

#[tokio::test]
async fn the_way_to_the_new_host_has_the_port_that_is_listened_on_where_no_domain_is_set() {
    let proxy = proxy_with(config(), upstream("a", mirror().await)).await;
    proxy.publish_former("alice-old");
    let page = ask(&proxy, "GET", "/a?b=c", PAGE).await;
    let expected = format!("http://alice-demo.localhost:{}/a?b=c", proxy.address.port());
    assert_eq!((page.status, page.header("location")), (307, Some(expected.as_str())), "{}", page.body);
}

async fn ask(proxy: &TestProxy, method: &str, path: &str, headers: &str) -> Answer {
    let text = format!("{method} {path} HTTP/1.1\r\nHost: {FORMER}:8080\r\nConnection: close\r\n{headers}\r\n");
    proxy.request(&text).await
}

#[tokio::test]
async fn pages_go_to_the_new_host_and_everything_else_is_answered() {
    let proxy = moved().await;
    let page = ask(&proxy, "GET", "//x/a?b=c", PAGE).await;
    assert_eq!(
        (page.status, page.header("location")),
        (307, Some("http://alice-demo.localhost:8080//x/a?b=c")),
        "{}",
        page.body
    );
    assert_eq!(page.header("cache-control"), Some("no-store"));
    // A page that is open goes on asking where it came from.
    let call = ask(&proxy, "POST", "/gradio_api/call/x?y", "Content-Length: 0\r\n").await;
    assert_eq!(call.status, 200);
    assert!(call.body.starts_with("POST /gradio_api/call/x?y\n"), "{}", call.body);
    // Whoever takes the name has it.
    let other = upstream("b", mirror().await);
    let taken = spaceport_core::route::Route { name: "alice/old".parse().unwrap(), ..route(other) };
    proxy.publish([(FORMER, taken)]);
    assert_eq!(ask(&proxy, "GET", "/", PAGE).await.status, 200);
    // A Space that is gone is not led to.
    proxy.publish([]);
    assert_eq!(ask(&proxy, "GET", "/", PAGE).await.status, 404);
}

#[tokio::test]
async fn a_private_space_is_known_at_its_former_host_to_those_who_may_see_it() {
    let proxy = moved().await;
    proxy.publish_private(upstream("a", mirror().await), "hf_member");
    for headers in [PAGE, "", "Authorization: Bearer of-a-stranger\r\n"] {
        assert_eq!(ask(&proxy, "GET", "/", headers).await.status, 404, "{headers}");
    }
    assert_eq!(ask(&proxy, "GET", "/", "Authorization: Bearer hf_member\r\n").await.status, 200);
    // A browser keeps its session there, and one that comes with a ticket takes it along.
    let session = KEY.seal(Audience::Host(FORMER), member(), now(), SESSION_LIFETIME);
    assert_eq!(ask(&proxy, "GET", "/", &format!("{PAGE}Cookie: spaceport-session={session}\r\n")).await.status, 200);
    let space = route(upstream("a", "127.0.0.1:1".parse().unwrap())).space;
    let ticket = KEY.seal(Audience::Space(space), member(), now(), Duration::from_secs(60));
    let page = ask(&proxy, "GET", &format!("/a?__sign={ticket}"), PAGE).await;
    assert_eq!(page.status, 307);
    let location = page.raw_header("location").unwrap().strip_prefix("http://alice-demo.localhost:8080").unwrap();
    let entered = proxy.get(location, PAGE).await;
    assert_eq!((entered.status, entered.header("location")), (302, Some("/a")), "{location}");
}
