//! What an app sees of a request and a client of an answer.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use spaceport_core::route::Route;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test]
async fn requests_go_by_host_whatever_its_case_port_and_dot() {
    let proxy = proxy(upstream("a", saying("the app").await)).await;
    for host in [HOST, "Alice-Demo.LOCALHOST:8080", "alice-demo.localhost.:80"] {
        let answer = proxy.request(&format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "the app"), "{host}");
    }
    let unknown = proxy.request("GET / HTTP/1.1\r\nHost: x.localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.header("x-error-code"), Some("reponotfound"));
    assert_eq!(unknown.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn the_hub_gets_its_own_host_and_addresses() {
    let proxy = proxy(upstream("a", saying("the app").await)).await;
    for host in ["localhost:8080", "127.0.0.1:8080", "[::1]"] {
        let answer = proxy
            .request(&format!(
                "POST /api/x?y HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nX-Forwarded-For: 1.1.1.1\r\n\
                 Connection: close\r\n\r\nbody"
            ))
            .await;
        assert_eq!(answer.status, 200, "{host}");
        assert!(answer.body.starts_with("hub POST /api/x?y"), "{}", answer.body);
        assert!(answer.body.contains("\"x-forwarded-for\": \"127.0.0.1\""), "{}", answer.body);
        assert!(answer.body.ends_with("body"));
    }
}

#[tokio::test]
async fn no_space_takes_the_place_of_the_hub() {
    let proxy = proxy(upstream("a", saying("the app").await)).await;
    proxy.publish([("localhost", route(upstream("b", saying("another hub").await)))]);
    let answer = proxy.request("GET /api/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.body.starts_with("hub GET /api/x"), "{}", answer.body);
}

#[tokio::test]
async fn a_policy_of_the_front_matter_stands_beside_the_apps_own() {
    let strict = app(async |_| {
        let mut answer = text("ok");
        answer.headers_mut().insert("content-security-policy", "script-src 'self'".parse().unwrap());
        answer.headers_mut().insert("x-frame-options", "ALLOW".parse().unwrap());
        answer
    });
    let target = upstream("a", strict.await);
    let proxy = proxy(target.clone()).await;
    let headers = [("content-security-policy", "frame-ancestors 'none'"), ("x-frame-options", "DENY")];
    let response_headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    proxy.publish([(HOST, Route { response_headers, ..route(target) })]);
    let answer = proxy.request(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")).await;
    let policies = answer.head.lines().filter_map(|line| line.strip_prefix("content-security-policy: "));
    let all: Vec<&str> = policies.collect();
    assert_eq!(all, ["script-src 'self'", "frame-ancestors 'none'"]);
    assert_eq!(answer.header("x-frame-options"), Some("deny"));
}

#[tokio::test]
async fn the_app_sees_our_headers_and_no_hop_by_hop_ones() {
    let proxy = proxy(upstream("a", mirror().await)).await;
    let answer = proxy
        .request(&format!(
            "POST /p?q=1 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close, X-Drop\r\nX-Drop: 1\r\nKeep-Alive: 5\r\n\
             TE: trailers\r\nProxy-Authorization: Basic x\r\nX-Forwarded-For: 6.6.6.6\r\nX-IP-Token: t\r\n\
             X-Request-Id: mine\r\nAuthorization: Bearer of-the-app\r\nExpect: 100-continue\r\n\
             Content-Length: 3\r\n\r\nabc"
        ))
        .await;
    // The interim answer comes first.
    assert_eq!(answer.status, 100);
    let mirrored = answer.body.split("POST /p?q=1\n").nth(1).unwrap();
    let id = mirrored.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    assert_ne!(id, "mine");
    assert_eq!(
        mirrored,
        format!(
            "authorization: Bearer of-the-app\ncontent-length: 3\nhost: {HOST}\nte: trailers\n\
             x-forwarded-for: 127.0.0.1\nx-forwarded-host: {HOST}\nx-forwarded-proto: http\nx-request-id: {id}\n\nabc"
        )
    );
    assert!(answer.body.contains(&format!("x-request-id: {id}\r\n")));
}

#[tokio::test]
async fn trusted_forwarders_are_believed() {
    let config = spaceport_proxy::ProxyConfig { trusted_forwarders: loopback(), ..config() };
    let proxy = proxy_with(config, upstream("a", mirror().await)).await;
    let headers = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Request-Id: from-the-edge\r\n";
    let answer = proxy.get("/", headers).await;
    for line in ["x-forwarded-for: 203.0.113.9, 127.0.0.1", "x-forwarded-proto: https", "x-request-id: from-the-edge"] {
        assert!(answer.body.contains(line), "{line}: {}", answer.body);
    }
}

#[tokio::test]
async fn answers_lose_hop_by_hop_headers_and_get_those_of_the_route() {
    let address = raw_app(async |_, mut stream| {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
                       Keep-Alive: timeout=5\r\nCross-Origin-Opener-Policy: unsafe-none\r\nX-Own: 1\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
        read_head(&mut stream).await;
    })
    .await;
    let proxy = proxy(upstream("a", address)).await;
    let response_headers = vec![("cross-origin-opener-policy".to_owned(), "same-origin".to_owned())];
    proxy.publish([(HOST, Route { response_headers, ..route(upstream("a", address)) })]);
    let answer = proxy.get("/", "").await;
    assert_eq!(answer.body, "ok");
    assert_eq!(answer.header("x-own"), Some("1"));
    assert_eq!(answer.header("x-hop"), None);
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.head.matches("cross-origin-opener-policy").count(), 1);
    assert_eq!(answer.header("cross-origin-opener-policy"), Some("same-origin"));
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let proxy = proxy(upstream("a", saying("four").await)).await;
    let answer = proxy.request(&format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")).await;
    assert_eq!((answer.status, answer.header("content-length"), answer.body.as_str()), (200, Some("4"), ""));
    let error = proxy.request("HEAD / HTTP/1.1\r\nHost: no.localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!((error.status, error.body.as_str()), (404, ""));
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served() {
    let proxy = proxy(upstream("a", mirror().await)).await;
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    spawn(connection);
    let request = Request::post(format!("http://{HOST}/h2"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Full::new(Bytes::from_static(b"up")))
        .unwrap();
    let response = soon(send.send_request(request)).await.unwrap();
    let body = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(body.starts_with("POST /h2\n"), "{body}");
    assert!(body.contains("cookie: a=1; b=2"), "{body}");
    assert!(body.contains(&format!("host: {HOST}")), "{body}");
    assert!(body.ends_with("up"), "{body}");
}

#[tokio::test]
async fn a_connection_the_app_closed_while_idle_costs_no_request() {
    // Each connection of this app answers once and then closes on the next request's bytes.
    let address = raw_app(async |_, mut stream| {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        read_head(&mut stream).await;
    })
    .await;
    let config = spaceport_proxy::ProxyConfig { threads: 1, ..config() };
    let proxy = proxy_with(config, upstream("a", address)).await;
    for _ in 0..5 {
        assert_eq!(proxy.get("/", "").await.body, "ok");
    }
    // A POST may have had its effect, so it is not sent twice.
    let post = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
    assert_eq!(proxy.request(&post).await.status, 502);
}

#[tokio::test]
async fn an_app_that_is_gone_is_a_page_for_people_and_json_for_programs() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = proxy(upstream("a", closed)).await;
    let page = proxy.get("/", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n").await;
    assert_eq!(page.status, 503);
    assert!(page.body.contains("<h1>The app cannot be reached</h1>") && page.body.contains("http-equiv=\"refresh\""));
    let json = proxy.get("/", "Accept: */*\r\n").await;
    assert_eq!((json.status, json.header("retry-after")), (503, Some("3")));
    assert!(json.body.contains("\"error\":\"The app cannot be reached\""), "{}", json.body);
}

#[tokio::test]
async fn private_spaces_are_unknown_hosts_to_strangers() {
    let proxy = proxy(upstream("a", mirror().await)).await;
    proxy.publish_private(upstream("a", mirror().await), "hf_member");
    let unknown = proxy.request("GET / HTTP/1.1\r\nHost: x.localhost\r\nConnection: close\r\n\r\n").await;
    for headers in ["", "Authorization: Bearer of-a-stranger\r\n", "X-HF-Authorization: Bearer hf_wrong\r\n"] {
        let answer = proxy.get("/", headers).await;
        assert_eq!((answer.status, &answer.body), (404, &unknown.body), "{headers}");
        let names = |answer: &Answer| -> Vec<String> {
            answer.head.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&answer), names(&unknown));
    }
    for header in ["Authorization: Bearer hf_member\r\n", "X-HF-Authorization: Bearer hf_member\r\n"] {
        let answer = proxy.get("/", header).await;
        assert_eq!(answer.status, 200, "{header}");
        assert!(!answer.body.contains("hf_member"), "{}", answer.body);
    }
    let both = "X-HF-Authorization: Bearer hf_member\r\nAuthorization: Bearer of-the-app\r\n";
    assert!(proxy.get("/", both).await.body.contains("authorization: Bearer of-the-app"));
}

#[tokio::test]
async fn a_token_as_a_password_is_a_credential_of_the_hub() {
    // alice:hf_member, alice:hf_wrong, :hf_member, and one of the app's own
    let [member, wrong, bare, other] =
        ["YWxpY2U6aGZfbWVtYmVy", "YWxpY2U6aGZfd3Jvbmc=", "OmhmX21lbWJlcg==", "YWRtaW46c2VjcmV0"];
    let proxy = proxy(upstream("a", mirror().await)).await;
    proxy.publish_private(upstream("a", mirror().await), "hf_member");
    for token in [member, bare] {
        let answer = proxy.get("/", &format!("Authorization: Basic {token}\r\n")).await;
        assert_eq!(answer.status, 200, "{token}");
        assert!(!answer.body.contains(token) && !answer.body.contains("authorization"), "{}", answer.body);
    }
    for token in [wrong, other, "!", ""] {
        assert_eq!(proxy.get("/", &format!("Authorization: Basic {token}\r\n")).await.status, 404, "{token}");
    }
    // Of two fields the one that is the hub's goes, whichever it is.
    let [ours, own] = [format!("Authorization: basic  {member}\r\n"), format!("Authorization: Basic {other}\r\n")];
    for both in [format!("{ours}{own}"), format!("{own}{ours}")] {
        let answer = proxy.get("/", &both).await;
        assert_eq!(answer.status, 200, "{both}");
        assert!(answer.body.contains(&format!("authorization: Basic {other}\n")), "{}", answer.body);
        assert_eq!(answer.body.matches("authorization").count(), 1, "{}", answer.body);
    }
    // A public Space gets no token either.
    proxy.publish_public(upstream("a", mirror().await), "hf_member");
    let answer = proxy.get("/", &format!("{ours}{own}")).await;
    assert!(answer.body.contains(other) && !answer.body.contains(member), "{}", answer.body);
}

#[tokio::test]
async fn interim_answers_of_an_app_are_dropped() {
    let address = raw_app(async |_, mut stream| {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                       HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
        read_head(&mut stream).await;
    })
    .await;
    let proxy = proxy(upstream("a", address)).await;
    let answer = proxy.get("/", "").await;
    assert_eq!((answer.status, answer.body.as_str(), answer.header("link")), (200, "ok", None));
}

#[tokio::test]
async fn trailers_cannot_claim_what_headers_may_not() {
    let (head, heads) = tokio::sync::watch::channel(String::new());
    let address = raw_app(move |_, mut stream| {
        let head = head.clone();
        async move {
            let mut request = read_head(&mut stream).await;
            request.push_str(&read_head(&mut stream).await);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            head.send_replace(request.to_ascii_lowercase());
        }
    })
    .await;
    let proxy = proxy(upstream("a", address)).await;
    let names = "X-Sum, X-Forwarded-For, X-HF-Authorization, X-IP-Token, X_Real_IP, Cookie, Host, Content-Length";
    let trailers: String = names.split(", ").map(|name| format!("{name}: claimed\r\n")).collect();
    let text = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTrailer: {names}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         1\r\na\r\n0\r\n{trailers}\r\n"
    );
    assert_eq!(proxy.request(&text).await.status, 200);
    let seen = heads.borrow().clone();
    assert!(seen.contains("x-sum: claimed"), "{seen}");
    assert_eq!(seen.matches("claimed").count(), 1, "{seen}");
}
