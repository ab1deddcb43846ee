//! The server itself: health, small endpoints, the web page, CORS.

use serde_json::{Value, json};
use spaceport_testkit::TestApp;
use std::sync::atomic::Ordering;

#[tokio::test]
async fn health_is_200_when_ready_and_503_with_the_reason_otherwise() {
    let app = TestApp::start().await;
    let well = app.get("/api/health", None).await;
    assert_eq!((well.status.as_u16(), &well.json["ready"]), (200, &json!(true)));
    app.healthy.store(false, Ordering::SeqCst);
    let ill = app.get("/api/health", None).await;
    assert_eq!((ill.status.as_u16(), &ill.json["parts"]["database"]["message"]), (503, &json!("does not answer")));
}

#[tokio::test]
async fn what_clients_call_unasked_never_fails() {
    let app = TestApp::start().await;
    let harnesses = app.get("/api/agent-harnesses", None).await;
    assert_eq!(harnesses.json, json!({"standardEnvVars": [], "harnesses": {}}));
    assert_eq!(app.call("HEAD", "/api/telemetry/hf_hub/x/y", None, &Value::Null).await.status, 200);
    let check = |content: &str, kind: &str| json!({"content": content, "repoType": kind});
    for (body, status) in [
        (check("---\nsdk: gradio\n---\n", "space"), 200),
        (check("---\nsdk: wrong\ncolorFrom: x\n---\n", "space"), 400),
        (check("---\n: [\n---\n", "space"), 400),
        (check("---\nsdk: wrong\n---\n", "model"), 200),
    ] {
        let answer = app.post("/api/validate-yaml", None, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        let errors = answer.json["errors"].as_array().unwrap();
        assert_eq!(errors.is_empty(), status == 200, "{}", answer.text);
        assert!(errors.iter().all(|error| error["message"].as_str().unwrap().contains("line ")), "{}", answer.text);
    }
}

#[tokio::test]
async fn pages_come_with_a_strict_policy() {
    let app = TestApp::start().await;
    for path in ["/", "/spaces/alice/demo", "/settings"] {
        let page = app.get(path, None).await;
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        assert!(page.header("content-security-policy").contains("default-src 'none'"), "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(app.get("/assets/absent.js", None).await.status, 404);
    assert_eq!(app.post("/", None, &Value::Null).await.status, 405);
}

#[tokio::test]
async fn browsers_of_any_origin_may_ask() {
    let app = TestApp::start().await;
    let headers = [
        ("origin", "https://elsewhere.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let preflight = app.send("OPTIONS", "/api/repos/create", None, &headers, Vec::new()).await;
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert!(preflight.header("access-control-allow-headers").contains("authorization"));
    let get = app.send("GET", "/api/spaces", None, &headers[..1], Vec::new()).await;
    assert!(get.header("access-control-expose-headers").contains("x-error-code"));
    assert_eq!(get.header("access-control-allow-credentials"), "");
}

#[tokio::test]
async fn the_id_of_a_request_comes_back() {
    let app = TestApp::start().await;
    for (header, sent, back) in [
        ("x-amzn-trace-id", "0e1b1b06-1f6b-4f4e-8ab5-6d0c9f9a7a11", Some("0e1b1b06-1f6b-4f4e-8ab5-6d0c9f9a7a11")),
        ("x-request-id", "abc", Some("abc")),
        ("x-request-id", "<script>", None),
        ("x-request-id", &"x".repeat(500), None),
    ] {
        let answer = app.send("GET", "/api/spaces", None, &[(header, sent)], Vec::new()).await;
        let id = answer.header("x-request-id");
        assert!(!id.is_empty() && back.is_none_or(|back| id == back) && id.len() <= 128, "{id}");
        assert_ne!(id, "<script>");
    }
}
