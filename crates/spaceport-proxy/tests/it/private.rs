//! Private Spaces in browsers: a ticket in the address becomes a session in a cookie.

use std::time::Duration;

use spaceport_core::ticket::{Audience, SESSION_LIFETIME, TicketKey};
use spaceport_core::{AccountId, SpaceId, Timestamp};
use spaceport_proxy::ProxyConfig;

use crate::support::*;

const PAGE: &str = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn ticket(account: AccountId) -> String {
    KEY.seal(Audience::Space(route(upstream("a", "127.0.0.1:1".parse().unwrap())).space), account, now(), HOUR)
}

fn session(account: AccountId) -> String {
    KEY.seal(Audience::Host(HOST), account, now(), SESSION_LIFETIME)
}

async fn private() -> TestProxy {
    private_with(config()).await
}

async fn private_with(config: ProxyConfig) -> TestProxy {
    let config = ProxyConfig { clock: now, ..config };
    let proxy = proxy_with(config, upstream("a", mirror().await)).await;
    proxy.publish_private(upstream("a", mirror().await), "hf_member");
    proxy
}

#[tokio::test]
async fn a_page_exchanges_its_ticket_for_a_session() {
    let proxy = private().await;
    let target = format!("/a/b?x=1&__sign={}&y=%20", ticket(member()));
    let entered = proxy.get(&target, PAGE).await;
    assert_eq!((entered.status, entered.header("location")), (302, Some("/a/b?x=1&y=%20")));
    assert_eq!(entered.header("cache-control"), Some("no-store"));
    let set = entered.raw_header("set-cookie").unwrap();
    let (cookie, attributes) = set.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=86400; HttpOnly; SameSite=Lax");
    assert!(cookie.starts_with("spaceport-session="), "{cookie}");
    let page = proxy.get("/a/b?x=1&y=%20", &format!("{PAGE}Cookie: own=1; {cookie}\r\n")).await;
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with("GET /a/b?x=1&y=%20\n"), "{}", page.body);
    assert!(page.body.contains("\ncookie: own=1\n") && !page.body.contains("spaceport-session="), "{}", page.body);
}

#[tokio::test]
async fn over_https_the_cookie_works_in_the_frame_of_the_hub_and_nowhere_else() {
    let https = ProxyConfig { https: true, ..config() };
    let behind = ProxyConfig { trusted_forwarders: loopback(), ..config() };
    for (config, header) in [(https, ""), (behind, "X-Forwarded-Proto: https\r\n")] {
        let proxy = private_with(config).await;
        let entered = proxy.get(&format!("/?__sign={}", ticket(member())), &format!("{PAGE}{header}")).await;
        assert_eq!((entered.status, entered.header("location")), (302, Some("/")));
        let set = entered.raw_header("set-cookie").unwrap();
        let (cookie, attributes) = set.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; Max-Age=86400; HttpOnly; SameSite=None; Secure; Partitioned");
        assert!(cookie.starts_with("__Host-spaceport-session="), "{cookie}");
        assert_eq!(proxy.get("/", &format!("Cookie: {cookie}\r\n")).await.status, 200);
    }
    // A client that is nobody's forwarder says nothing about its scheme.
    let proxy = private().await;
    let entered =
        proxy.get(&format!("/?__sign={}", ticket(member())), &format!("{PAGE}X-Forwarded-Proto: https\r\n")).await;
    assert!(!entered.raw_header("set-cookie").unwrap().contains("Secure"));
}

#[tokio::test]
async fn what_is_no_page_is_forwarded_without_its_ticket() {
    let proxy = private().await;
    let ticket = ticket(member());
    for (request, line) in [
        (format!("GET /config?__sign={ticket} HTTP/1.1\r\nAccept: */*"), "GET /config\n"),
        (format!("POST /join?a=b&__sign={ticket} HTTP/1.1\r\nContent-Length: 0"), "POST /join?a=b\n"),
        (format!("GET /events?__sign={ticket} HTTP/1.1\r\nAccept: text/html\r\nSec-Fetch-Mode: cors"), "GET /events\n"),
    ] {
        let answer = proxy.request(&format!("{request}\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (200, None), "{request}");
        assert!(answer.body.starts_with(line), "{}", answer.body);
        assert!(!answer.body.contains(&ticket));
    }
    let head = proxy
        .request(&format!(
            "HEAD /?__sign={ticket} HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        ))
        .await;
    assert_eq!(head.status, 302);
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_shown_the_way_whether_or_not_there_is_a_space() {
    let (hub_url, spaces_domain) = (Some("https://hub.example".to_owned()), Some("localhost".to_owned()));
    let proxy = private_with(ProxyConfig { hub_url, spaces_domain, ..config() }).await;
    let name = HOST.strip_suffix(".localhost").unwrap();
    let way = |name: &str| format!("href=\"https://hub.example/login?app={}", name.replace('-', "%2D"));
    let private = proxy.get("/a/b?x='1&y=%20", PAGE).await;
    assert_eq!(private.status, 404);
    assert!(private.body.contains(&way(name)), "{}", private.body);
    assert!(private.body.contains("path=%2Fa%2Fb%3Fx%3D%271%26y%3D%2520"), "{}", private.body);
    let missing = proxy
        .request(&format!("GET /a/b?x='1&y=%20 HTTP/1.1\r\nHost: no-such.localhost\r\n{PAGE}Connection: close\r\n\r\n"))
        .await;
    let same = missing.body.replace(&way("no-such"), &way(name));
    assert_eq!((missing.status, same), (404, private.body), "nothing tells them apart");
    // A ticket that is no good is not taken along, and a very long path is left out.
    let old = proxy.get("/a?__sign=old&x=1", PAGE).await;
    assert!(old.body.contains("path=%2Fa%3Fx%3D1\""), "{}", old.body);
    let long = proxy.get(&format!("/{}", "a".repeat(2000)), PAGE).await;
    assert!(long.body.contains(&way(name)) && !long.body.contains("path="), "{}", long.body);
    // Programs get what they got.
    let program = proxy.get("/a", "").await;
    assert_eq!((program.status, program.body.as_str()), (404, "{\"error\":\"Space not found\"}"));
    // No Space has such a host.
    let elsewhere =
        proxy.request(&format!("GET / HTTP/1.1\r\nHost: elsewhere.example\r\n{PAGE}Connection: close\r\n\r\n")).await;
    assert!(!elsewhere.body.contains("href"), "{}", elsewhere.body);
}

#[tokio::test]
async fn tickets_and_sessions_are_good_for_what_they_were_made_for() {
    let proxy = private().await;
    let space = route(upstream("a", "127.0.0.1:1".parse().unwrap())).space;
    let other_key = TicketKey::new([1; 32]);
    let past = Timestamp::from_millis(now().as_millis() - 2 * 3_600_000);
    let other_space = SpaceId::new(Timestamp::from_millis(0), 99);
    for (why, ticket) in [
        ("a stranger's", ticket(stranger())),
        ("another key's", other_key.seal(Audience::Space(space), member(), now(), HOUR)),
        ("an old one", KEY.seal(Audience::Space(space), member(), past, HOUR)),
        ("another Space's", KEY.seal(Audience::Space(other_space), member(), now(), HOUR)),
        ("a session's", session(member())),
        ("none", String::new()),
        ("nonsense", "a.b.c".to_owned()),
    ] {
        for headers in ["", PAGE] {
            let answer = proxy.get(&format!("/?__sign={ticket}"), headers).await;
            assert_eq!((answer.status, answer.header("set-cookie")), (404, None), "{why}");
        }
    }
    for (why, session) in [
        ("a stranger's", session(stranger())),
        ("another key's", other_key.seal(Audience::Host(HOST), member(), now(), HOUR)),
        ("another host's", KEY.seal(Audience::Host("b.localhost"), member(), now(), HOUR)),
        ("an old one", KEY.seal(Audience::Host(HOST), member(), past, HOUR)),
        ("a ticket's", ticket(member())),
    ] {
        assert_eq!(proxy.get("/", &format!("Cookie: spaceport-session={session}\r\n")).await.status, 404, "{why}");
    }
    // One that is no longer good does not stand in the way of another credential.
    let good = session(member());
    let answer =
        proxy.get("/a?__sign=old", &format!("{PAGE}Cookie: spaceport-session=old; spaceport-session={good}\r\n")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("GET /a\n"), "{}", answer.body);
}

#[tokio::test]
async fn whoever_loses_the_right_loses_it_with_the_next_table() {
    let proxy = private().await;
    let cookie = format!("Cookie: spaceport-session={}\r\n", session(member()));
    let ticket = format!("/?__sign={}", ticket(member()));
    let token = "X-HF-Authorization: Bearer hf_member\r\n";
    for (members, status) in [(true, 200), (false, 404), (true, 200)] {
        if members {
            proxy.set_members([member()]);
        } else {
            proxy.set_members([]);
        }
        assert_eq!(proxy.get("/", &cookie).await.status, status);
        assert_eq!(proxy.get(&ticket, "").await.status, status);
        assert_eq!(proxy.get("/", token).await.status, status);
    }
}

#[tokio::test]
async fn an_open_space_has_no_use_for_tickets_and_gives_none_away() {
    let proxy = proxy(upstream("a", mirror().await)).await;
    let (ticket, session) = (ticket(member()), session(member()));
    let answer =
        proxy.get(&format!("/p?__sign={ticket}"), &format!("{PAGE}Cookie: spaceport-session={session}\r\n")).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    assert!(answer.body.starts_with("GET /p\n"), "{}", answer.body);
    assert!(!answer.body.contains("cookie"), "{}", answer.body);
}
