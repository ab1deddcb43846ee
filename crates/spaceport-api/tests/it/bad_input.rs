//! Wrong, hostile and oversize input: a clear answer in the one format, and nothing half-written.

use serde_json::{Value, json};
use spaceport_testkit::{TestApp, databases};

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused_in_our_format() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "public").await;
    let deep = "[".repeat(100_000);
    for (body, status) in [
        (&b"{"[..], 400),
        (b"[]", 400),
        (b"null", 400),
        (b"\xff\xfe", 400),
        (b"{\"key\": \"A\", \"value\": \"\\ud800\"}", 400),
        (b"", 400),
        (deep.as_bytes(), 400),
        (&vec![b' '; 3 << 20], 413),
    ] {
        for path in ["/api/repos/create", "/api/spaces/alice/demo/secrets", "/api/settings/tokens"] {
            let answer = app.send("POST", path, Some(&alice.write), &[], body.to_vec()).await;
            assert_eq!(answer.status.as_u16(), status, "{path} {:?}", &body[..body.len().min(20)]);
            assert!(answer.json["error"].is_string() && !answer.header("x-error-code").is_empty());
        }
    }
}

#[tokio::test]
async fn creating_a_space_checks_every_field() {
    let app = TestApp::start().await;
    let (alice, _bob) = (app.person("alice").await, app.person("bob").await);
    let with = |field: &str, value: Value| {
        let mut body = json!({"type": "space", "name": "demo", "sdk": "gradio"});
        body[field] = value;
        body
    };
    let file = |path: &str| with("files", json!([{"path": path, "content": ""}]));
    for (body, status, says) in [
        (with("name", json!("../etc")), 400, "valid name"),
        (with("name", json!("a/b")), 400, "valid name"),
        (with("name", json!("x.git")), 400, "valid name"),
        (with("name", json!("-x")), 400, "valid name"),
        (with("name", json!("")), 400, "valid name"),
        (with("name", json!("é")), 400, "valid name"),
        (with("name", json!("x".repeat(97))), 400, "valid name"),
        (with("name", json!(["x"])), 400, "invalid type"),
        (with("name", Value::Null), 400, "invalid type"),
        (with("type", json!("x")), 400, "model, dataset or space"),
        (json!({"type": "model", "name": "tiny", "visibility": "protected"}), 400, "public or private"),
        (with("sdk", Value::Null), 400, "sdk"),
        (with("sdk", json!("rust")), 400, "gradio, streamlit, docker, static"),
        (with("visibility", json!("hidden")), 400, "public, protected or private"),
        (with("hardware", json!("h100")), 400, "cpu-basic"),
        (with("sleepTimeSeconds", json!(-5)), 400, "sleep time"),
        (with("secrets", json!([{"key": "A-B", "value": ""}])), 400, "A-B"),
        (with("variables", json!([{"key": "A", "value": ""}, {"key": "A", "value": ""}])), 400, "twice"),
        (file("../x"), 400, "cannot be a path"),
        (file("/x"), 400, "cannot be a path"),
        (file("a/.git/hooks/x"), 400, "cannot be a path"),
        (file(".git /config"), 400, "cannot be a path"),
        (file("git~1/x"), 400, "cannot be a path"),
        (file(".git::$DATA"), 400, "cannot be a path"),
        (file("a\\b"), 400, "cannot be a path"),
        (file(&"x".repeat(256)), 400, "too long"),
        (file("README.md/x"), 400, "not a folder"),
        (with("files", json!([{"path": "a", "content": ""}, {"path": "a", "content": ""}])), 400, "twice"),
        (with("files", json!([{"path": "a", "content": ""}, {"path": "a/b/c", "content": ""}])), 400, "not a folder"),
        (with("files", json!([{"path": "a/b", "content": ""}, {"path": "a", "content": ""}])), 400, "not a folder"),
        (with("files", json!([{"path": "a", "content": "!", "encoding": "base64"}])), 400, "base64"),
        (with("organization", json!("bob")), 403, "bob"),
        (with("organization", json!("nobody")), 403, "nobody"),
    ] {
        let answer = app.post("/api/repos/create", Some(&alice.write), &body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
        assert!(answer.text.contains(says), "{body}: {}", answer.text);
    }
    assert_eq!(app.post("/api/repos/create", None, &with("x", json!(1))).await.status, 401);
    assert_eq!(app.post("/api/repos/create", Some(&alice.read), &with("x", json!(1))).await.status, 403);
    assert_eq!(app.get("/api/spaces", Some(&alice.read)).await.json, json!([]));
    let left = std::fs::read_dir(app.folder.path().join("repos")).unwrap();
    assert!(left.flatten().all(|entry| entry.file_name() == "hooks"), "nothing stays behind");
}

#[tokio::test]
async fn unknown_paths_and_methods_answer_in_the_same_format() {
    let app = TestApp::start().await;
    for (method, path, status) in [
        ("GET", "/api/nothing", 404),
        ("GET", "/api", 404),
        ("GET", "/api/spaces/a/b/c/d", 404),
        ("DELETE", "/api/spaces", 405),
        ("PATCH", "/api/repos/create", 405),
        ("GET", "/spaces/a/b/git-upload-pack", 405),
        ("GET", "/api/spaces?limit=x", 400),
        ("GET", "/api/spaces?cursor=x", 400),
        ("GET", "/api/spaces?sort=x", 400),
        ("GET", "/api/spaces?expand=x", 400),
    ] {
        let answer = app.call(method, path, None, &Value::Null).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        assert!(answer.json["error"].is_string(), "{method} {path}: {}", answer.text);
        assert!(!answer.header("x-error-code").is_empty() && !answer.header("x-request-id").is_empty());
    }
    let odd = "/api/spaces?search=%F0%9F%9A%80'%22%25_&limit=0&author=%2F..&filter=&unknown=1";
    assert_eq!(app.get(odd, None).await.status, 200);
}

#[tokio::test]
async fn messages_fit_into_headers() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let body = json!({"type": "space", "name": "x", "sdk": "ü\r\nX-Evil: 1"});
    let answer = app.post("/api/repos/create", Some(&alice.write), &body).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-evil"), "");
    assert!(answer.header("x-error-message").contains("unknown SDK"));
}

#[tokio::test]
async fn a_nul_is_refused_wherever_text_is_read() {
    for database in databases().await {
        let app = TestApp::on(database).await;
        let alice = app.person("alice").await;
        app.space(&alice, "demo", "public").await;
        for (method, path, body) in [
            ("GET", "/api/spaces?search=a%00b", Value::Null),
            ("GET", "/api/spaces?author=%00", Value::Null),
            ("GET", "/api/spaces?filter=%00", Value::Null),
            ("GET", "/api/spaces/by-subdomain/a%00b", Value::Null),
            ("GET", "/api/spaces/alice/de%00mo", Value::Null),
            ("GET", "/api/spaces/alice/demo/revision/ma%00in", Value::Null),
            ("DELETE", "/api/settings/tokens/a%00b", Value::Null),
            ("POST", "/api/settings/tokens", json!({"name": "a\0b", "role": "read"})),
            ("POST", "/api/spaces/alice/demo/variables", json!({"key": "A", "value": "a\0b"})),
            ("POST", "/api/spaces/alice/demo/secrets", json!({"key": "A", "value": "v", "description": "\0"})),
            ("POST", "/api/repos/create", json!({"type": "space", "name": "x", "sdk": "gradio", "organization": "\0"})),
        ] {
            let answer = app.call(method, path, Some(&alice.write), &body).await;
            assert_eq!(answer.status.as_u16(), 400, "{method} {path}: {}", answer.text);
            assert!(answer.json["error"].as_str().is_some_and(|error| error.contains("NUL")), "{}", answer.text);
        }
        // What only looks like one is text.
        let backslash = json!({"key": "A", "value": "a\\u0000b"});
        let answer = app.post("/api/spaces/alice/demo/variables", Some(&alice.write), &backslash).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        let long = format!("/api/spaces?search={}", "x".repeat(10_000));
        assert_eq!(app.get(&long, None).await.status.as_u16(), 400);
    }
}
