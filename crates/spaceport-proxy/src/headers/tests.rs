use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    headers
}

fn forwarded(lines: &[(&str, &str)], trusted: bool) -> Vec<(String, String)> {
    let origin = Origin::new([192, 0, 2, 7].into(), trusted, true);
    let mut headers = map(lines);
    let upgrade = wanted_upgrade(&headers);
    to_upstream(&mut headers, &origin, HeaderValue::from_static("id"), upgrade);
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    lines.sort();
    lines
}

fn has(lines: &[(String, String)], name: &str) -> Vec<String> {
    lines.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
}

#[test]
fn hop_by_hop_fields_end_here() {
    let out = forwarded(
        &[
            ("host", "a"),
            ("connection", "close, X-Secret, Host"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eDp5"),
            ("te", "gzip, trailers;q=0.5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ],
        false,
    );
    let names: Vec<&str> = out.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["accept", "host", "te", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"]
    );
    assert_eq!(has(&out, "te"), ["trailers"]);
}

#[test]
fn only_trusted_forwarders_speak_for_others() {
    let lines = [
        ("host", "a"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil"),
        ("forwarded", "for=1"),
        ("x_forwarded_for", "1.1.1.1"),
        ("x-ip-token", "t"),
        ("x-hf-authorization", "Bearer t"),
    ];
    let stranger = forwarded(&lines, false);
    assert_eq!(has(&stranger, "x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(has(&stranger, "x-forwarded-proto"), ["https"]);
    assert_eq!(has(&stranger, "x-forwarded-host"), ["a"]);
    assert!(has(&stranger, "forwarded").is_empty());
    let friend = forwarded(&lines, true);
    assert_eq!(has(&friend, "x-forwarded-for"), ["203.0.113.9, 192.0.2.7"]);
    assert_eq!(has(&friend, "x-forwarded-proto"), ["http"]);
    for out in [stranger, friend] {
        for gone in ["x-ip-token", "x-hf-authorization", "x_forwarded_for"] {
            assert!(has(&out, gone).is_empty(), "{gone}");
        }
    }
}

#[test]
fn websockets_keep_their_upgrade_and_h2c_does_not() {
    let wanted = |protocol, connection| wanted_upgrade(&map(&[("upgrade", protocol), ("connection", connection)]));
    assert!(wanted("websocket", "keep-alive, Upgrade").is_some());
    assert!(wanted("h2c", "Upgrade, HTTP2-Settings").is_none());
    assert!(wanted("websocket", "keep-alive").is_none());
}

#[test]
fn cookies_of_http2_become_one_line() {
    assert_eq!(has(&forwarded(&[("cookie", "a=1"), ("cookie", "b=2")], false), "cookie"), ["a=1; b=2"]);
}

#[test]
fn request_ids_differ_and_insane_ones_are_replaced() {
    let ids = RequestIds::new(0xabc);
    let first = ids.next();
    assert_eq!(first.as_bytes(), b"0000000000000abc00000001");
    assert_ne!(first, ids.next());
    let friend = Origin::new([192, 0, 2, 7].into(), true, false);
    assert_eq!(request_id(&map(&[("x-request-id", "abc-1")]), &friend, &ids), "abc-1");
    assert_ne!(request_id(&map(&[("x-request-id", "<script>")]), &friend, &ids), "<script>");
}

#[test]
fn tokens_come_as_bearers_and_as_passwords() {
    for (value, expected) in [
        ("Bearer hf_x", Some("hf_x")),
        ("bearer  hf_x ", Some("hf_x")),
        ("Bearer ", None),
        // x:y, and x:hf_x with and without its padding
        ("Basic eDp5", Some("y")),
        ("basic eDpoZl94", Some("hf_x")),
        ("Basic YTpoZl94eA==", Some("hf_xx")),
        ("Basic YTpoZl94eA", Some("hf_xx")),
        ("Basic eA==", None),
        ("Basic !", None),
        ("Digest hf_x", None),
        ("hf_x", None),
    ] {
        assert_eq!(token(&HeaderValue::from_static(value)).as_deref(), expected, "{value:?}");
    }
}

#[test]
fn the_hubs_cookies_go_and_the_apps_stay() {
    let names = ["__Host-hub", "hub"];
    for (sent, kept) in [
        (vec!["a=1; hub=x; b=2"], vec!["a=1; b=2"]),
        (vec!["hub=x"], vec![]),
        (vec!["a=hub=x; hubs=1"], vec!["a=hub=x; hubs=1"]),
        (vec!["a=1", "__Host-hub=x;c=3", "b=2"], vec!["a=1", "c=3", "b=2"]),
        (vec!["hub", "Hub=1"], vec!["Hub=1"]),
    ] {
        let mut headers = HeaderMap::new();
        for value in &sent {
            headers.append(COOKIE, HeaderValue::from_static(value));
        }
        remove_cookies(&mut headers, &names);
        let left: Vec<_> = headers.get_all(COOKIE).iter().map(|value| value.to_str().unwrap_or_default()).collect();
        assert_eq!(left, kept, "{sent:?}");
    }
}
