//! Users, tokens and who one is.

use serde_json::{Value, json};
use spaceport_testkit::TestApp;

#[tokio::test]
async fn whoami_says_what_the_clients_of_the_hub_read() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let me = app.get("/api/whoami-v2", Some(&alice.read)).await;
    assert_eq!((&me.json["type"], &me.json["name"], &me.json["orgs"]), (&json!("user"), &json!("alice"), &json!([])));
    assert_eq!(me.json["auth"]["type"], "access_token");
    assert_eq!(me.json["auth"]["accessToken"]["role"], "read");
    assert_eq!(me.json["auth"]["accessToken"]["displayName"], "reader");
    assert_eq!(app.get("/api/whoami-v2", None).await.status, 401);
}

#[tokio::test]
async fn a_wrong_token_is_told_apart_from_a_missing_repository() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "public").await;
    for path in ["/api/whoami-v2", "/api/spaces", "/api/spaces/alice/demo", "/api/spaces/alice/absent"] {
        let answer = app.get(path, Some("hf_wrong")).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("x-error-message"), "Invalid credentials in Authorization header", "{path}");
        assert_eq!(answer.json["error"], "Invalid credentials in Authorization header", "{path}");
        assert_ne!(answer.header("x-error-code"), "RepoNotFound", "{path}");
    }
    for header in ["Bearer", "Digest x", "Basic !!!", "Bearer a b\tc", ""] {
        let answer = app.send("GET", "/api/whoami-v2", None, &[("authorization", header)], Vec::new()).await;
        assert_eq!(answer.header("x-error-message"), "Invalid credentials in Authorization header", "{header:?}");
    }
}

#[tokio::test]
async fn an_admin_makes_users_and_their_tokens() {
    let app = TestApp::start().await;
    let root = app.admin("root").await;
    let root = Some(root.write.as_str());
    let made = app.post("/api/admin/users", root, &json!({"name": "Carol", "fullName": "Carol C."})).await;
    assert_eq!((made.status.as_u16(), &made.json["name"]), (200, &json!("Carol")), "{}", made.text);
    assert_eq!(app.post("/api/admin/users", root, &json!({"name": "carol"})).await.status, 409);
    for bad in ["api", "a b", "", "x--y", "../x", "-x", "x.git", "hardware", &"x".repeat(97)] {
        let answer = app.post("/api/admin/users", root, &json!({"name": bad})).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    let token = app.post("/api/admin/users/carol/tokens", root, &json!({"name": "laptop", "role": "write"})).await;
    let value = token.json["token"].as_str().unwrap_or_default().to_owned();
    assert!(value.starts_with("hf_") && value.len() == 40, "{}", token.text);
    assert_eq!(app.get("/api/whoami-v2", Some(&value)).await.json["name"], "Carol");
    let list = app.get("/api/admin/users/CAROL/tokens", root).await;
    assert_eq!(list.json[0]["name"], "laptop");
    assert!(!list.text.contains(&value), "a token is shown once");
    assert!(!app.get("/api/admin/audit", root).await.text.contains(&value));
    assert_eq!(app.post("/api/admin/users/carol/tokens", root, &json!({"name": "laptop"})).await.status, 409);
    assert_eq!(app.call("DELETE", "/api/admin/users/carol/tokens/laptop", root, &Value::Null).await.status, 200);
    assert_eq!(app.get("/api/whoami-v2", Some(&value)).await.status, 401);
    assert_eq!(app.call("DELETE", "/api/admin/users/carol/tokens/laptop", root, &Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_deleted_user_can_do_nothing_and_its_spaces_stop() {
    let app = TestApp::start().await;
    let (alice, root) = (app.person("alice").await, app.admin("root").await);
    app.space(&alice, "demo", "public").await;
    let delete = |name: &'static str| app.call("DELETE", name, Some(&root.write), &Value::Null);
    assert_eq!(delete("/api/admin/users/alice").await.status, 200);
    assert_eq!(app.get("/api/whoami-v2", Some(&alice.write)).await.status, 401);
    assert_eq!(app.find("alice/demo").await.desired.run.as_str(), "stopped");
    assert_eq!(delete("/api/admin/users/alice").await.status, 200, "twice is no error");
    assert_eq!(delete("/api/admin/users/nobody").await.status, 404);
    assert_eq!(delete("/api/admin/users/root").await.status, 409);
}

#[tokio::test]
async fn people_make_their_own_tokens() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let new = json!({"name": "ci"});
    assert_eq!(app.post("/api/settings/tokens", Some(&alice.read), &new).await.status, 403);
    let made = app.post("/api/settings/tokens", Some(&alice.write), &new).await;
    assert_eq!((made.status.as_u16(), &made.json["role"]), (200, &json!("read")));
    let list = app.get("/api/settings/tokens", Some(&alice.read)).await.json;
    let mut names: Vec<_> = list.as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ci", "reader", "writer"]);
    for bad in [
        json!({}),
        json!({"name": ""}),
        json!({"name": 3}),
        json!({"name": "x", "role": "root"}),
        json!({"name": "a/b"}),
    ] {
        assert_eq!(app.post("/api/settings/tokens", Some(&alice.write), &bad).await.status, 400, "{bad}");
    }
    let gone = app.call("DELETE", "/api/settings/tokens/ci", Some(&alice.write), &Value::Null).await;
    assert_eq!(gone.status, 200);
}
