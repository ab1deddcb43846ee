//! Signing in with a browser: passwords, links, sessions, and who is kept waiting.

use std::time::Duration;

use serde_json::{Value, json};
use spaceport_testkit::{Answer, TestApp};

const PASSWORD: &str = "correct horse battery";

/// A call from a page of this hub.
async fn page(app: &TestApp, method: &str, path: &str, cookie: &str, body: Value) -> Answer {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let origin = app.url.clone();
    app.send(method, path, None, &[("cookie", cookie), ("origin", &origin)], text.into_bytes()).await
}

async fn login(app: &TestApp, user: &str, password: &str) -> Answer {
    page(app, "POST", "/api/login", "", json!({"user": user, "password": password})).await
}

/// The cookie an answer sets, as a browser sends it back.
fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().unwrap_or("").to_owned()
}

async fn with_password(app: &TestApp, name: &str) -> spaceport_testkit::Person {
    let person = app.person(name).await;
    let set = app.post("/api/settings/password", Some(&person.write), &json!({"password": PASSWORD})).await;
    assert_eq!(set.status, 200, "{}", set.text);
    person
}

#[tokio::test]
async fn a_password_makes_a_session_until_one_signs_out() {
    let app = TestApp::start().await;
    with_password(&app, "Alice").await;
    let answer = login(&app, " alice ", PASSWORD).await;
    assert_eq!((answer.status.as_u16(), &answer.json["name"]), (200, &json!("Alice")), "{}", answer.text);
    let set = answer.header("set-cookie").to_owned();
    for attribute in ["spaceport_session=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=2592000"] {
        assert!(set.contains(attribute), "{set}");
    }
    assert!(!set.contains("Domain"), "{set}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let cookie = cookie(&answer);
    let me = page(&app, "GET", "/api/whoami-v2", &cookie, Value::Null).await;
    assert_eq!((&me.json["name"], &me.json["auth"]["type"]), (&json!("Alice"), &json!("session")));
    assert!(me.json["auth"].get("accessToken").is_none());
    let new = json!({"type": "space", "name": "demo", "sdk": "static"});
    assert_eq!(page(&app, "POST", "/api/repos/create", &cookie, new).await.status, 200);

    let sessions = page(&app, "GET", "/api/settings/sessions", &cookie, Value::Null).await;
    assert_eq!((&sessions.json[0]["current"], sessions.json.as_array().unwrap().len()), (&json!(true), 1));
    let out = page(&app, "POST", "/api/logout", &cookie, Value::Null).await;
    assert!(out.header("set-cookie").contains("Max-Age=0"), "{}", out.header("set-cookie"));
    assert_eq!(page(&app, "GET", "/api/whoami-v2", &cookie, Value::Null).await.status, 401);
    // What is public stays readable with the old cookie.
    assert_eq!(page(&app, "GET", "/api/spaces/alice/demo", &cookie, Value::Null).await.status, 200);
    assert_eq!(page(&app, "POST", "/api/logout", &cookie, Value::Null).await.status, 200, "twice is no error");
}

#[tokio::test]
async fn what_is_wrong_is_not_told_and_who_guesses_waits() {
    let app = TestApp::start().await;
    with_password(&app, "alice").await;
    app.person("without-password").await;
    let root = app.admin("root").await;
    assert_eq!(app.post("/api/organizations", Some(&root.write), &json!({"name": "lab"})).await.status, 200);
    let mut texts = Vec::new();
    for (user, password) in [("alice", "wrong"), ("nobody", PASSWORD), ("without-password", ""), ("lab", "x"), ("", "")]
    {
        let answer = login(&app, user, password).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-error-code")), (401, "SignInFailed"), "{user}");
        assert!(answer.header("set-cookie").is_empty());
        texts.push(answer.text);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");

    // Whether or not the name exists, the wait is the same.
    app.clock.advance(Duration::from_secs(3600));
    for user in ["alice", "nobody"] {
        for _ in 0..5 {
            assert_eq!(login(&app, user, "wrong").await.status, 401);
        }
        let refused = login(&app, user, PASSWORD).await;
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "1"), "{user}: {}", refused.text);
    }
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(login(&app, "alice", "wrong").await.status, 401);
    assert_eq!(login(&app, "ALICE", PASSWORD).await.header("retry-after"), "2");
    app.clock.advance(Duration::from_secs(2));
    assert_eq!(login(&app, "alice", PASSWORD).await.status, 200);
    assert_eq!(login(&app, "alice", "wrong").await.status, 401, "success starts anew");
}

#[tokio::test]
async fn one_address_that_tries_many_names_waits() {
    let app = TestApp::start().await;
    for turn in 0..20 {
        assert_eq!(login(&app, &format!("user{turn}"), "x").await.status, 401);
    }
    let refused = login(&app, "one-more", "x").await;
    assert_eq!((refused.status.as_u16(), refused.header("x-error-code")), (429, "TooManyRequests"));
}

#[tokio::test]
async fn pages_of_others_neither_sign_in_nor_act() {
    let app = TestApp::start().await;
    let alice = with_password(&app, "alice").await;
    let session = app.session(&alice.account).await;
    let body = json!({"user": "alice", "password": PASSWORD}).to_string();
    for headers in [
        [("origin", "http://evil.example"), ("cookie", "")],
        [("origin", "null"), ("cookie", "")],
        [("sec-fetch-site", "cross-site"), ("cookie", "")],
        // An app of this very site.
        [("sec-fetch-site", "same-site"), ("cookie", "")],
    ] {
        let answer = app.send("POST", "/api/login", None, &headers, body.clone().into_bytes()).await;
        assert_eq!(answer.status, 403, "{headers:?}");
        let headers = [headers[0], ("cookie", session.as_str())];
        let new = json!({"name": "mine", "type": "space", "sdk": "static"}).to_string();
        let answer = app.send("POST", "/api/repos/create", None, &headers, new.into_bytes()).await;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    // A token in a header is sent by programs alone, wherever they run.
    let headers = [("origin", "http://evil.example"), ("cookie", session.as_str())];
    let new = json!({"name": "mine", "type": "space", "sdk": "static"}).to_string();
    let answer = app.send("POST", "/api/repos/create", Some(&alice.write), &headers, new.into_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    // Programs may sign in, too: they say nothing of pages.
    assert_eq!(app.send("POST", "/api/login", None, &[], body.into_bytes()).await.status, 200);
    // No page of another origin may read answers that a cookie gave.
    let read = app.send("GET", "/api/whoami-v2", None, &headers, Vec::new()).await;
    assert_eq!((read.status.as_u16(), read.header("access-control-allow-origin")), (200, "*"));
    assert!(read.header("access-control-allow-credentials").is_empty());
}

#[tokio::test]
async fn a_session_ends_when_nobody_uses_it_and_on_its_day() {
    let app = TestApp::start().await;
    with_password(&app, "alice").await;
    let day = Duration::from_secs(24 * 60 * 60);
    let cookie = cookie(&login(&app, "alice", PASSWORD).await);
    let valid = async || page(&app, "GET", "/api/whoami-v2", &cookie, Value::Null).await.status == 200;
    for _ in 0..3 {
        app.clock.advance(day * 9);
        assert!(valid().await, "it is used");
    }
    app.clock.advance(day * 3);
    assert!(!valid().await, "thirty days are over");
    let idle = login(&app, "alice", PASSWORD).await;
    let idle = self::cookie(&idle);
    app.clock.advance(day * 14);
    assert_eq!(page(&app, "GET", "/api/whoami-v2", &idle, Value::Null).await.status, 401);
}

#[tokio::test]
async fn signing_in_anew_ends_the_session_before() {
    let app = TestApp::start().await;
    let (_, bob) = (with_password(&app, "alice").await, app.person("bob").await);
    // One that somebody else put there, or one's own.
    let planted = app.session(&bob.account).await;
    let body = json!({"user": "alice", "password": PASSWORD});
    let answer = page(&app, "POST", "/api/login", &planted, body).await;
    assert_eq!(answer.json["name"], "alice", "{}", answer.text);
    assert_ne!(cookie(&answer), planted);
    assert_eq!(page(&app, "GET", "/api/whoami-v2", &planted, Value::Null).await.status, 401);
    // A wrong password ends nothing.
    let alice = cookie(&answer);
    let wrong = json!({"user": "alice", "password": "wrong"});
    assert_eq!(page(&app, "POST", "/api/login", &alice, wrong).await.status, 401);
    assert_eq!(page(&app, "GET", "/api/whoami-v2", &alice, Value::Null).await.status, 200);
}

#[tokio::test]
async fn a_page_learns_who_is_signed_in_and_how_one_can() {
    let app = TestApp::start().await;
    let alice = with_password(&app, "alice").await;
    let anonymous = app.get("/api/login", None).await;
    assert_eq!(anonymous.json, json!({"user": null, "provider": null}));
    assert_eq!(anonymous.header("cache-control"), "no-store");
    let cookie = cookie(&login(&app, "alice", PASSWORD).await);
    let user = page(&app, "GET", "/api/login", &cookie, Value::Null).await.json["user"].clone();
    assert_eq!((&user["name"], &user["by"]), (&json!("alice"), &json!("session")));
    assert_eq!((&user["hasPassword"], &user["connected"]), (&json!(true), &json!(false)));
    assert_eq!(app.get("/api/login", Some(&alice.read)).await.json["user"]["by"], "access_token");
    assert_eq!(app.get("/api/login", Some("hf_wrong")).await.status, 401);
}

#[tokio::test]
async fn a_link_signs_in_once() {
    let app = TestApp::start().await;
    let (alice, root) = (app.person("alice").await, app.admin("root").await);
    let path = "/api/admin/users/alice/sign-in-link";
    assert_eq!(app.post(path, Some(&alice.write), &Value::Null).await.status, 403);
    let make = async || {
        let made = app.post(path, Some(&root.write), &Value::Null).await;
        let url = made.json["url"].as_str().unwrap_or_default().to_owned();
        url.strip_prefix(&format!("{}/login/link/", app.url)).expect("a page of this hub").to_owned()
    };
    let secret = make().await;
    // The page itself uses nothing up: mail programs look at links.
    assert_eq!(app.get(&format!("/login/link/{secret}"), None).await.status, 200);
    let take = async |secret: &str| page(&app, "POST", "/api/login/link", "", json!({"link": secret})).await;
    let answer = take(&secret).await;
    assert_eq!((answer.status.as_u16(), &answer.json["name"]), (200, &json!("alice")), "{}", answer.text);
    assert_eq!(page(&app, "GET", "/api/whoami-v2", &cookie(&answer), Value::Null).await.json["name"], "alice");
    let again = take(&secret).await;
    assert_eq!((again.status.as_u16(), again.header("x-error-code")), (401, "SignInFailed"));
    let late = make().await;
    app.clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(take(&late).await.status, 401);
    assert!(!app.get("/api/admin/audit", Some(&root.write)).await.text.contains(&late));
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_ends_other_sessions() {
    let app = TestApp::start().await;
    let alice = with_password(&app, "alice").await;
    let (here, there) = (cookie(&login(&app, "alice", PASSWORD).await), cookie(&login(&app, "alice", PASSWORD).await));
    let change = async |body: Value| page(&app, "POST", "/api/settings/password", &here, body).await;
    assert_eq!(change(json!({"password": "another horse"})).await.status, 400);
    assert_eq!(change(json!({"password": "another horse", "current": "wrong"})).await.status, 403);
    assert_eq!(change(json!({"password": "short", "current": PASSWORD})).await.status, 400);
    let changed = change(json!({"password": "another horse", "current": PASSWORD})).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(page(&app, "GET", "/api/whoami-v2", &here, Value::Null).await.status, 200);
    assert_eq!(page(&app, "GET", "/api/whoami-v2", &there, Value::Null).await.status, 401);
    assert_eq!(app.get("/api/whoami-v2", Some(&alice.write)).await.status, 200, "tokens stay");
    assert_eq!(login(&app, "alice", PASSWORD).await.status, 401);
    assert_eq!(login(&app, "alice", "another horse").await.status, 200);

    let root = app.admin("root").await;
    let reset = json!({"password": "reset by an admin"});
    assert_eq!(app.call("PUT", "/api/admin/users/alice/password", Some(&root.write), &reset).await.status, 200);
    assert_eq!(page(&app, "GET", "/api/whoami-v2", &here, Value::Null).await.status, 401);
    assert_eq!(login(&app, "alice", "reset by an admin").await.status, 200);
    let audit = app.get("/api/admin/audit", Some(&root.write)).await.text;
    assert!(audit.contains("password.set") && !audit.contains("horse") && !audit.contains("reset by"), "{audit}");
}

#[tokio::test]
async fn a_disabled_user_is_nobody_until_enabled() {
    let app = TestApp::start().await;
    let (alice, root) = (with_password(&app, "alice").await, app.admin("root").await);
    app.space(&alice, "demo", "public").await;
    let cookie = cookie(&login(&app, "alice", PASSWORD).await);
    let act = async |what: &str| {
        let path = format!("/api/admin/users/alice/{what}");
        app.post(&path, Some(&root.write), &Value::Null).await
    };
    let disabled = act("disable").await;
    assert_eq!((disabled.status.as_u16(), &disabled.json["disabled"]), (200, &json!(true)), "{}", disabled.text);
    assert_eq!(app.get("/api/whoami-v2", Some(&alice.write)).await.status, 401);
    assert_eq!(page(&app, "GET", "/api/whoami-v2", &cookie, Value::Null).await.status, 401);
    assert_eq!(login(&app, "alice", PASSWORD).await.status, 401);
    assert_eq!(app.find("alice/demo").await.desired.run.as_str(), "running", "its Spaces run on");
    let users = app.get("/api/admin/users", Some(&root.write)).await.json;
    assert_eq!((&users[0]["name"], &users[0]["disabled"]), (&json!("alice"), &json!(true)));
    assert_eq!(act("enable").await.status, 200);
    assert_eq!(app.get("/api/whoami-v2", Some(&alice.write)).await.status, 200);
    assert_eq!(page(&app, "GET", "/api/whoami-v2", &cookie, Value::Null).await.status, 401, "sessions ended");
    let own = app.post("/api/admin/users/root/disable", Some(&root.write), &Value::Null).await;
    assert_eq!(own.status, 409);
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_it() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let space = app.space(&alice, "demo", "private").await;
    let mut events = app.events("/api/spaces/alice/demo/events", Some(&alice.read)).await;
    assert_eq!(events.next().await.unwrap()["id"], "alice/demo");
    let gone = app.call("DELETE", "/api/settings/tokens/reader", Some(&alice.write), &Value::Null).await;
    assert_eq!(gone.status, 200);
    app.control.activate(space.id);
    assert!(events.next().await.is_none(), "a deleted token sees no more");
}
