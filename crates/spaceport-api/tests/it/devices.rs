//! `hf auth login` without a token: a program waits until somebody says yes on a page.

use std::time::Duration;

use serde_json::{Value, json};
use spaceport_testkit::{Answer, TestApp};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn begin(app: &TestApp) -> Value {
    let answer = app.send("POST", "/oauth/device", None, &[], b"client_id=hf".to_vec()).await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"), "{}", answer.text);
    answer.json
}

async fn ask(app: &TestApp, device: &Value) -> Answer {
    let code = device["device_code"].as_str().unwrap();
    let form = format!("grant_type={GRANT}&device_code={code}&client_id=hf");
    app.send("POST", "/oauth/token", None, &[], form.into_bytes()).await
}

async fn error(app: &TestApp, device: &Value) -> String {
    let answer = ask(app, device).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    answer.json["error"].as_str().unwrap().to_owned()
}

/// A word of somebody in a browser.
async fn say(app: &TestApp, session: &str, body: &Value) -> Answer {
    let headers = [("cookie", session), ("origin", app.url.as_str())];
    app.send("POST", "/api/login/device", None, &headers, body.to_string().into_bytes()).await
}

async fn look(app: &TestApp, session: &str, code: &str) -> Answer {
    app.send("GET", &format!("/api/login/device?code={code}"), None, &[("cookie", session)], Vec::new()).await
}

#[tokio::test]
async fn a_program_gets_a_token_when_somebody_says_yes() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let session = app.session(&alice.account).await;
    let device = begin(&app).await;
    let code = device["user_code"].as_str().unwrap();
    assert_eq!(device["verification_uri"], format!("{}/login/device", app.url));
    assert_eq!(device["verification_uri_complete"], format!("{}/login/device?code={code}", app.url));
    assert_eq!((&device["expires_in"], &device["interval"]), (&json!(900), &json!(5)));
    assert_eq!(error(&app, &device).await, "authorization_pending");
    assert_eq!(error(&app, &device).await, "slow_down");
    app.clock.advance(Duration::from_secs(5));
    assert_eq!(error(&app, &device).await, "authorization_pending");

    let shown = look(&app, &session, &code.to_lowercase().replace('-', "%20")).await;
    assert_eq!((&shown.json["code"], &shown.json["origin"]), (&json!(code), &json!("127.0.0.1")), "{}", shown.text);
    assert_eq!(look(&app, "", code).await.status, 401);
    let yes = json!({"code": code, "allow": true});
    assert_eq!(app.post("/api/login/device", Some(&alice.write), &yes).await.status, 403, "a token lets nobody in");
    let evil = [("cookie", session.as_str()), ("origin", "http://evil.example")];
    let forged = app.send("POST", "/api/login/device", None, &evil, yes.to_string().into_bytes()).await;
    assert_eq!(forged.status, 403, "nor do pages of others");
    assert_eq!(say(&app, &session, &yes).await.status, 200);
    assert_eq!(say(&app, &session, &yes).await.status, 404, "a word is said once");
    let granted = ask(&app, &device).await;
    assert_eq!((granted.status.as_u16(), granted.header("cache-control")), (200, "no-store"), "{}", granted.text);
    let token = granted.json["access_token"].as_str().unwrap();
    let me = app.get("/api/whoami-v2", Some(token)).await.json;
    assert_eq!((&me["name"], &me["auth"]["accessToken"]["role"]), (&json!("alice"), &json!("write")));
    assert_eq!(error(&app, &device).await, "expired_token", "a code is good once");
    app.clock.advance(Duration::from_secs(90 * 24 * 60 * 60));
    assert_eq!(app.get("/api/whoami-v2", Some(token)).await.status, 401, "it ends by itself");
    let root = app.admin("root").await;
    let audit = app.get("/api/admin/audit", Some(&root.write)).await.text;
    assert!(audit.contains(r#""how":"device""#) && !audit.contains(token), "{audit}");
}

#[tokio::test]
async fn a_program_gets_what_is_said_and_no_more() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let session = app.session(&alice.account).await;
    let answer = async |device: &Value, more: Value| {
        let mut body = json!({"code": device["user_code"], "allow": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        say(&app, &session, &body).await.status.as_u16()
    };
    let device = begin(&app).await;
    assert_eq!(answer(&device, json!({"role": "fineGrained"})).await, 400);
    assert_eq!(answer(&device, json!({"role": "admin"})).await, 400);
    assert_eq!(answer(&device, json!({"role": "read"})).await, 200);
    let token = ask(&app, &device).await.json["access_token"].as_str().unwrap().to_owned();
    let me = app.get("/api/whoami-v2", Some(&token)).await.json;
    assert_eq!(me["auth"]["accessToken"]["role"], "read");

    let device = begin(&app).await;
    assert_eq!(answer(&device, json!({"allow": false})).await, 200);
    assert_eq!(error(&app, &device).await, "access_denied");
    let device = begin(&app).await;
    app.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(answer(&device, json!({})).await, 404);
    assert_eq!(error(&app, &device).await, "expired_token");
    // Said by somebody who is nobody by the time the program asks.
    let device = begin(&app).await;
    assert_eq!(answer(&device, json!({})).await, 200);
    app.store.account_disable(alice.account.id, app.clock.now()).await.unwrap();
    assert_eq!(error(&app, &device).await, "access_denied");
}

#[tokio::test]
async fn whoever_guesses_codes_waits() {
    let app = TestApp::start().await;
    let mallory = app.person("mallory").await;
    let session = app.session(&mallory.account).await;
    let device = begin(&app).await;
    for _ in 0..5 {
        assert_eq!(look(&app, &session, "BBBB-BBBB").await.status, 404);
    }
    let refused = look(&app, &session, device["user_code"].as_str().unwrap()).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "1"));
}

#[tokio::test]
async fn wrong_questions_are_told_in_the_words_of_oauth() {
    let app = TestApp::start().await;
    for (path, form, error) in [
        ("/oauth/device", "", "invalid_request"),
        ("/oauth/token", "", "unsupported_grant_type"),
        ("/oauth/token", "grant_type=password", "unsupported_grant_type"),
        ("/oauth/token", "grant_type=refresh_token&refresh_token=x", "invalid_grant"),
        ("/oauth/token", &format!("grant_type={GRANT}"), "expired_token"),
        ("/oauth/token", &format!("grant_type={GRANT}&device_code=%FF%00"), "expired_token"),
    ] {
        let answer = app.send("POST", path, None, &[], form.as_bytes().to_vec()).await;
        assert_eq!((answer.status.as_u16(), &answer.json["error"]), (400, &json!(error)), "{path} {form}");
    }
    let large = app.send("POST", "/oauth/token", None, &[], vec![b'a'; 20 << 10]).await;
    assert_eq!(large.status, 413);
}
