//! What no honest client sends: a clear answer, and a server that is none the worse for it.

use std::fmt::Write as _;

use reqwest::{Method, StatusCode};
use serde_json::json;
use spaceport_e2e::site::TOKEN;
use spaceport_e2e::{Files, Site, Space, raw};

use crate::apps::says;

/// The server is as it was: the process lives, every part is well, nothing panicked.
pub(crate) async fn unharmed(site: &mut Site) {
    assert!(site.is_alive());
    site.ready().await;
    let log = site.log();
    assert!(!log.contains("panicked"), "{log}");
}

fn code(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}

async fn post_git(space: &Space<'_>, service: &str, token: Option<&str>, body: Vec<u8>) -> (StatusCode, String) {
    let url = format!("http://{}/spaces/{}/git-{service}", space.site.address, space.id);
    let mut request = space.site.http.post(url).header("host", space.site.authority());
    request = request.header("content-type", format!("application/x-git-{service}-request"));
    if let Some(token) = token {
        request = request.basic_auth("admin", Some(token));
    }
    let answer = request.body(body).send().await.expect("an answer");
    (answer.status(), answer.text().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_pushes_change_nothing() {
    let Some(mut site) = Site::start().await else { return };
    let space = site.space("target", "static").await;
    let head = space.push(&Files::readme("sdk: static").file("index.html", "the real thing")).await;
    space.running(&head, 60).await;

    let new = "1111111111111111111111111111111111111111";
    let command = format!("{head} {new} refs/heads/main\0 report-status");
    let line = format!("{:04x}{command}", command.len() + 4);
    let truncated_pack = [line.as_bytes(), b"0000", b"PACK\0\0\0\x02\0\0\0\x05\x9a\x0b"].concat();
    let wrong_sum = [line.as_bytes(), b"0000", b"PACK\0\0\0\x02\0\0\0\0", &[7; 20]].concat();
    for (what, body) in [
        ("nothing", Vec::new()),
        ("garbage", b"zzzzThis is not a pkt-line".to_vec()),
        ("a length that lies", b"ffff12".to_vec()),
        ("a length below four", b"0003".to_vec()),
        ("commands without an end", line.clone().into_bytes()),
        ("no pack", [line.as_bytes(), b"0000"].concat()),
        ("a truncated pack", truncated_pack),
        ("a pack with a wrong checksum", wrong_sum),
        ("zeros", vec![0; 100_000]),
        ("a ref outside", b"00940000000000000000000000000000000000000000 1111111111111111111111111111111111111111 refs/../../evil\0 report-status0000".to_vec()),
    ] {
        let (status, text) = post_git(&space, "receive-pack", Some(TOKEN), body).await;
        let refused = status.is_client_error() || text.contains("ng refs/heads/main") || text.contains("unpack ") && !text.contains("unpack ok");
        assert!(refused || text.is_empty() || text.contains("ERR") || text.contains("fatal"), "{what}: {status} {text:?}");
        assert!(!status.is_server_error(), "{what}: {status} {text}");
    }
    for service in ["receive-pack", "upload-pack"] {
        let (status, _) = post_git(&space, service, Some("hf_wrong"), b"0000".to_vec()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{service}: a wrong token");
    }
    let (status, _) = post_git(&space, "receive-pack", None, b"0000".to_vec()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "no token");

    let (status, text) = space.get("/").await;
    assert!(status == StatusCode::OK && text.ends_with("the real thing"), "{status} {text}");
    let info = site.ask(Method::GET, &space.api(""), None).await;
    assert_eq!(info["sha"], head, "main did not move");
    unharmed(&mut site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_refuses_what_is_no_request() {
    let Some(mut site) = Site::start().await else { return };
    let space = site.space("sane", "static").await;
    let (id, host) = (space.id.clone(), site.authority());
    // Refused by what it says of its size, before all of it was sent.
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: 20000000\r\n\r\n{{\"key\": \"A\", \"value\": \"",
        space.api("/variables")
    );
    let answer = raw::exchange(site.address, request.as_bytes()).await;
    assert!(matches!(code(&answer), 400 | 413) && answer.contains("error"), "{answer}");

    let long = "a".repeat(5000);
    for (method, path, body, expected) in [
        (
            Method::POST,
            "/api/repos/create".to_owned(),
            json!({"name": "../evil", "type": "space", "sdk": "static"}),
            400,
        ),
        (Method::POST, "/api/repos/create".to_owned(), json!({"name": long, "type": "space", "sdk": "static"}), 400),
        (Method::POST, "/api/repos/create".to_owned(), json!({"name": "a", "type": "space", "sdk": "cobol"}), 400),
        (Method::POST, "/api/repos/create".to_owned(), json!([1, 2]), 400),
        (Method::POST, space.api("/variables"), json!({"key": "A B", "value": "1"}), 400),
        (Method::POST, space.api("/hardware"), json!({"flavor": ["x"]}), 400),
        (Method::GET, "/api/spaces/admin/%2e%2e%2f%2e%2e%2fetc".to_owned(), json!(null), 404),
        (Method::GET, "/api/spaces/admin/no-such-space".to_owned(), json!(null), 404),
        (Method::GET, "/api/no/such/path".to_owned(), json!(null), 404),
        (Method::DELETE, "/api/health".to_owned(), json!(null), 405),
    ] {
        let body = (!body.is_null()).then_some(body);
        let (status, answer) = site.call(method.clone(), &path, body.as_ref()).await;
        assert_eq!(status.as_u16(), expected, "{method} {}: {answer}", &path[..path.len().min(80)]);
        assert!(answer["error"].as_str().is_some_and(|text| !text.is_empty()), "{path}: {answer}");
    }
    for body in ["{\"name\":", "\0\u{1}", "[[[[[[[[", ""] {
        let request = format!(
            "POST /api/repos/create HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = raw::exchange(site.address, request.as_bytes()).await;
        assert_eq!(code(&answer), 400, "{body:?}: {answer}");
    }
    for token in ["", "x", "hf_", "\u{7f}", &"t".repeat(9000)] {
        let request = format!(
            "GET /api/spaces/{id}/variables HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw::exchange(site.address, request.as_bytes()).await;
        assert!(matches!(code(&answer), 400 | 401 | 404 | 431), "{token:?}: {answer}");
    }
    unharmed(&mut site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_lead_nowhere_but_into_the_site() {
    let Some(mut site) = Site::start().await else { return };
    let space = site.space("files", "static").await;
    let sha = space.push(&Files::readme("sdk: static").file("index.html", "home").file("a/b.txt", "b")).await;
    space.running(&sha, 60).await;
    let host = space.host.clone();
    for path in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/a/..%5c..%5c..%5cetc%5cpasswd",
        "//etc/passwd",
        "/a/%00/b.txt",
        "/.git/config",
        "/a/../../../spaceport.db",
        "/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw::exchange(site.address, request.as_bytes()).await;
        assert!(matches!(code(&answer), 400 | 404), "{path}: {answer}");
        assert!(!answer.contains("root:") && !answer.contains("SQLite"), "{path}: {answer}");
    }
    for unknown in ["no-such-space.localhost", "a.b.localhost", "localhost.evil.example", "-"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {unknown}:{}\r\nConnection: close\r\n\r\n", site.address.port());
        let answer = raw::exchange(site.address, request.as_bytes()).await;
        assert!(matches!(code(&answer), 400 | 404 | 421), "{unknown}: {answer}");
    }
    assert_eq!(space.get("/a/b.txt").await, (StatusCode::OK, "b".to_owned()));
    unharmed(&mut site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_smuggled() {
    let Some(mut site) = Site::start().await else { return };
    let space = site.space("front", "docker").await;
    let sha = space.push(&says(&site.base_image, "the app")).await;
    space.running(&sha, 120).await;
    let host = space.host.clone();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    for (what, head, body) in [
        ("two lengths", "Content-Length: 5\r\nContent-Length: 50\r\n", "hello".to_owned()),
        ("length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", format!("{chunked}{smuggled}")),
        ("chunks under another name", "Transfer-Encoding: xchunked\r\n", format!("{chunked}{smuggled}")),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunked.to_owned()),
        ("a space before the colon", "Transfer-Encoding : chunked\r\n", chunked.to_owned()),
        ("a negative length", "Content-Length: -5\r\n", "hello".to_owned()),
        ("a length with a sign", "Content-Length: +5\r\n", "hello".to_owned()),
        ("a folded header", "X-A: b\r\n Content-Length: 5\r\n", "hello".to_owned()),
        ("a bare line feed in a value", "X-A: b\nContent-Length: 3\r\nContent-Length: 5\r\n", "hello".to_owned()),
        ("a NUL in a value", "X-A: b\0c\r\n", String::new()),
        ("two hosts", "Host: evil.example\r\n", String::new()),
        (
            "a chunk size that overflows",
            "Transfer-Encoding: chunked\r\n",
            "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: {host}\r\n{head}\r\n{body}");
        let answer = raw::exchange(site.address, request.as_bytes()).await;
        let answers = answer.matches("HTTP/1.1 ").count();
        assert!(answers <= 1, "{what}: one request, {answers} answers: {answer}");
        let code = code(&answer);
        // RFC 9112 §6.1 leaves two choices for a length beside chunks: refuse, or go by the chunks
        // and close, so that what follows is never a request.
        let closed = code == 200 && what == "length and chunks" && answer.contains("connection: close");
        assert!(answer.is_empty() || (400..=502).contains(&code) || closed, "{what}: {answer}");
    }
    let mut many = String::new();
    for number in 0..2000 {
        write!(many, "X-Header-{number}: value\r\n").unwrap();
    }
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{many}\r\n");
    assert!(matches!(code(&raw::exchange(site.address, request.as_bytes()).await), 400 | 431), "2,000 headers");
    let request = format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(200_000));
    assert!(matches!(code(&raw::exchange(site.address, request.as_bytes()).await), 400 | 414 | 431), "a long path");
    let answer = raw::exchange(site.address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    assert!(answer.is_empty() || code(&answer) == 400, "TLS on a plain port: {answer}");
    // What clients say of themselves is not believed, and the hub's token stays with the hub.
    let request = space
        .request(Method::GET, "/")
        .header("connection", "close, x-forwarded-host")
        .header("x-hf-authorization", format!("Bearer {TOKEN}"));
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(space.get("/").await, (StatusCode::OK, "the app".to_owned()));
    unharmed(&mut site).await;
}
