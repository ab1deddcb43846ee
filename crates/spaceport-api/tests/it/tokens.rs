//! Tokens: what they are for, when they end, and what becomes of those that leak.

use std::time::Duration;

use serde_json::{Value, json};
use spaceport_testkit::TestApp;

#[tokio::test]
async fn a_fine_grained_token_is_for_what_it_names() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    app.space(&alice, "demo", "private").await;
    app.space(&bob, "hidden", "private").await;
    app.space(&bob, "open", "public").await;
    assert_eq!(app.post("/api/organizations", Some(&alice.write), &json!({"name": "Lab"})).await.status, 200);
    let scopes = json!({
        "global": ["discussion.write"],
        "scoped": [
            {"repo": "spaces/ALICE/demo", "permissions": ["repo.write"]},
            {"repo": "spaces/bob/open", "permissions": ["repo.content.read"]},
            {"org": "lab", "permissions": ["org.write", "repo.content.read"]},
        ],
    });
    let request = json!({"name": "ci", "role": "fineGrained", "fineGrained": scopes});
    let made = app.post("/api/settings/tokens", Some(&alice.write), &request).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let token = made.json["token"].as_str().unwrap().to_owned();
    let me = app.get("/api/whoami-v2", Some(&token)).await.json;
    let shown = &me["auth"]["accessToken"]["fineGrained"];
    assert_eq!(me["auth"]["accessToken"]["role"], "fineGrained");
    assert_eq!((&shown["global"], &shown["canReadGatedRepos"]), (&json!(["discussion.write"]), &json!(false)));
    let entities: Vec<_> = shown["scoped"].as_array().unwrap().iter().map(|scope| &scope["entity"]).collect();
    assert_eq!((&entities[0]["type"], &entities[0]["name"]), (&json!("space"), &json!("alice/demo")));
    assert_eq!((&entities[2]["type"], &entities[2]["name"]), (&json!("org"), &json!("Lab")));
    assert_eq!(shown["scoped"][2]["permissions"], json!(["repo.content.read", "org.write"]));
    assert_eq!(me["orgs"][0]["roleInOrg"], "admin");
    let listed = app.get("/api/settings/tokens", Some(&alice.read)).await.json;
    let ci = listed.as_array().unwrap().iter().find(|one| one["name"] == "ci").unwrap();
    assert_eq!(ci["fineGrained"], *shown);
    assert_eq!(ci["id"], made.json["id"]);

    // A name one may not know of is as unknown as one that is not there.
    for wrong in [
        json!({}),
        json!({"scoped": [{"repo": "spaces/bob/hidden", "permissions": ["repo.write"]}]}),
        json!({"scoped": [{"repo": "spaces/bob/absent", "permissions": ["repo.write"]}]}),
        json!({"scoped": [{"repo": "bob/open", "permissions": ["repo.write"]}]}),
        json!({"scoped": [{"repo": "spaces/alice/demo", "permissions": []}]}),
        json!({"scoped": [{"repo": "spaces/alice/demo", "permissions": ["root"]}]}),
        json!({"scoped": [{"repo": "spaces/alice/demo", "org": "lab", "permissions": ["repo.write"]}]}),
        json!({"scoped": [{"permissions": ["repo.write"]}]}),
        json!({"scoped": [{"user": "bob", "permissions": ["repo.write"]}]}),
        json!({"scoped": [{"org": "bob", "permissions": ["repo.write"]}]}),
        json!({"global": ["everything"]}),
    ] {
        let request = json!({"name": "x", "role": "fineGrained", "fineGrained": wrong});
        let answer = app.post("/api/settings/tokens", Some(&alice.write), &request).await;
        assert_eq!(answer.status, 400, "{request}");
    }
    let mixed = json!({"name": "x", "role": "write", "fineGrained": {"global": ["repo.write"]}});
    assert_eq!(app.post("/api/settings/tokens", Some(&alice.write), &mixed).await.status, 400);
    // An admin makes one for somebody with that user's eyes.
    let root = app.admin("root").await;
    let for_bob = json!({"name": "x", "role": "fineGrained",
        "fineGrained": {"scoped": [{"repo": "spaces/alice/demo", "permissions": ["repo.write"]}]}});
    assert_eq!(app.post("/api/admin/users/bob/tokens", Some(&root.write), &for_bob).await.status, 400);
    assert_eq!(app.post("/api/admin/users/alice/tokens", Some(&root.write), &for_bob).await.status, 200);
}

#[tokio::test]
async fn a_token_that_holds_something_back_makes_none_that_does_not() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let all = json!({"name": "all", "role": "fineGrained",
        "fineGrained": {"global": ["repo.content.read", "repo.write", "discussion.write", "org.write"]}});
    let made = app.post("/api/settings/tokens", Some(&alice.write), &all).await;
    let token = made.json["token"].as_str().unwrap();
    for (method, path, body) in [
        ("POST", "/api/settings/tokens", json!({"name": "more", "role": "write"})),
        ("DELETE", "/api/settings/tokens/reader", Value::Null),
        ("POST", "/api/settings/password", json!({"password": "0123456789"})),
        ("POST", "/api/organizations", json!({"name": "lab"})),
    ] {
        let answer = app.call(method, path, Some(token), &body).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-error-code")), (403, "Forbidden"), "{method} {path}");
    }
}

#[tokio::test]
async fn a_token_expires_and_shows_when_it_was_used() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    for wrong in [json!(0), json!(-1), json!("x"), json!(u64::MAX)] {
        let request = json!({"name": "x", "expiresInSeconds": wrong});
        assert_eq!(app.post("/api/settings/tokens", Some(&alice.write), &request).await.status, 400, "{request}");
    }
    let request = json!({"name": "short", "expiresInSeconds": 3600});
    let made = app.post("/api/settings/tokens", Some(&alice.write), &request).await;
    assert_eq!(made.json["expiresAt"], "2026-01-02T04:04:05.678Z", "{}", made.text);
    let token = made.json["token"].as_str().unwrap().to_owned();
    let me = app.get("/api/whoami-v2", Some(&token)).await;
    assert_eq!(me.json["auth"]["expiresAt"], "2026-01-02T04:04:05.678Z");
    app.clock.advance(Duration::from_secs(1800));
    assert_eq!(app.get("/api/whoami-v2", Some(&token)).await.status, 200);
    let short = async || {
        let list = app.get("/api/settings/tokens", Some(&alice.write)).await.json;
        list.as_array().unwrap().iter().find(|one| one["name"] == "short").unwrap().clone()
    };
    assert_eq!(short().await["lastUsedAt"], "2026-01-02T03:34:05.678Z");
    app.clock.advance(Duration::from_secs(1800));
    let late = app.get("/api/whoami-v2", Some(&token)).await;
    assert_eq!(late.header("x-error-message"), "Invalid credentials in Authorization header");
    assert_eq!(app.get("/api/spaces", Some(&token)).await.status, 401);
    // It stays in the list, for whoever wonders, and is deleted by its id.
    let path = format!("/api/settings/tokens/{}", short().await["id"].as_str().unwrap());
    assert_eq!(app.call("DELETE", &path, Some(&alice.write), &Value::Null).await.status, 200);
    assert_eq!(app.call("DELETE", &path, Some(&alice.write), &Value::Null).await.status, 404);
    let like_an_id = json!({"name": "01arz3ndektsv4rrffq69g5fav"});
    assert_eq!(app.post("/api/settings/tokens", Some(&alice.write), &like_an_id).await.status, 400);
}

#[tokio::test]
async fn a_token_that_leaked_is_revoked_by_whoever_has_it() {
    let app = TestApp::start().await;
    let (alice, root) = (app.person("alice").await, app.admin("root").await);
    let body = json!({"credentials": [alice.write, "hf_nonsense", ""]});
    let answer = app.post("/api/credentials/revoke", None, &body).await;
    assert_eq!((answer.status.as_u16(), &answer.json), (202, &json!({})), "nothing is told about them");
    assert_eq!(app.get("/api/whoami-v2", Some(&alice.write)).await.status, 401);
    assert_eq!(app.get("/api/whoami-v2", Some(&alice.read)).await.status, 200);
    assert_eq!(app.post("/api/credentials/revoke", None, &body).await.status, 202);
    let audit = app.get("/api/admin/audit", Some(&root.write)).await;
    let row = &audit.json.as_array().unwrap().iter().find(|row| row["action"] == "token.revoke").unwrap();
    assert_eq!((&row["subject"], &row["detail"]["token"]), (&json!("alice"), &json!("writer")));
    assert!(!audit.text.contains(&alice.write));
    for bad in [json!({}), json!({"credentials": "x"}), json!({"credentials": vec!["x"; 101]})] {
        assert_eq!(app.post("/api/credentials/revoke", None, &bad).await.status, 400, "{bad}");
    }
}
