//! Webhooks, with a receiver on a port of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use spaceport_control::{WebhookConfig, Webhooks};
use spaceport_core::BuildId;
use spaceport_testkit::{Person, TestApp, wait_for};
use tokio_util::sync::CancellationToken;

use crate::community::model;

const NONE: Value = Value::Null;
const HOOKS: &str = "/api/settings/webhooks";

/// What a receiver got.
#[derive(Debug, Clone)]
struct Got {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `update repo.content`.
    fn event(&self) -> String {
        let event = &self.json()["event"];
        format!("{} {}", event["action"].as_str().unwrap(), event["scope"].as_str().unwrap())
    }
}

/// Somebody who is told.
#[derive(Clone)]
struct Receiver {
    url: String,
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<Vec<u16>>>,
}

async fn receive(State(receiver): State<Receiver>, uri: OriginalUri, headers: HeaderMap, body: Bytes) -> Response {
    receiver.got.lock().unwrap().push(Got { path: uri.path().to_owned(), headers, body });
    let mut answers = receiver.answers.lock().unwrap();
    let status = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("location", "/elsewhere")], "thank you").into_response()
}

impl Receiver {
    async fn start(app: &TestApp) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self {
            url: format!("http://127.0.0.1:{port}/hook"),
            port,
            got: Arc::default(),
            answers: Arc::new(Mutex::new(vec![200])),
        };
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        let stop = app.lifetime.stop.clone();
        app.lifetime.tasks.spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
            let _ = serving.await;
        });
        receiver
    }

    /// Answers with these statuses, one after the other; the last one stays.
    fn answer(&self, statuses: &[u16]) {
        *self.answers.lock().unwrap() = statuses.to_vec();
    }

    fn all(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    async fn wait(&self, count: usize) -> Vec<Got> {
        wait_for("deliveries", || async { Some(self.all()).filter(|got| got.len() >= count) }).await
    }

    fn events(&self) -> Vec<String> {
        self.all().iter().map(Got::event).collect()
    }
}

/// Runs the reconciler until the token is cancelled.
fn reconcile(app: &TestApp, allow_private: bool) -> CancellationToken {
    let config = WebhookConfig { allow_private, ca_bundle: None };
    let (store, control, vault) = (app.store.clone(), app.control.clone(), app.vault.clone());
    let webhooks = Webhooks::new(store, control, vault, &app.url, &config).unwrap();
    let stop = app.lifetime.stop.child_token();
    let token = stop.clone();
    app.lifetime.tasks.spawn(async move { webhooks.run(token).await });
    stop
}

fn watch(kind: &str, name: &str) -> Value {
    json!([{"type": kind, "name": name}])
}

/// Makes a webhook; gives its path.
async fn hook(app: &TestApp, owner: &Person, url: &str, watched: Value, domains: &[&str]) -> String {
    let body = json!({"url": url, "watched": watched, "domains": domains, "secret": "my secret"});
    let made = app.post(HOOKS, Some(&owner.write), &body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    format!("{HOOKS}/{}", made.json["webhook"]["id"].as_str().unwrap())
}

/// The deliveries of a webhook once each is as `wanted` says.
async fn deliveries(app: &TestApp, owner: &Person, hook: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let path = format!("{hook}/deliveries");
    wait_for("the deliveries", || async {
        let list = app.get(&path, Some(&owner.write)).await.json.as_array().unwrap().clone();
        (!list.is_empty() && list.iter().all(&wanted)).then_some(list)
    })
    .await
}

#[tokio::test]
async fn webhooks_are_made_changed_and_deleted_by_their_owner() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    model(&app, &alice, "tiny", "public").await;
    model(&app, &alice, "secret", "private").await;
    let body = json!({"url": "https://hooks.example/x", "watched": [{"type": "user", "name": "ALICE"},
        {"type": "model", "name": "alice/Tiny"}], "domains": ["repo", "discussion"], "secret": "s3cret"});
    for (token, status) in [(None, 401), (Some(&bob.read), 403)] {
        assert_eq!(app.post(HOOKS, token.map(String::as_str), &body).await.status.as_u16(), status);
    }
    let made = app.post(HOOKS, Some(&bob.write), &body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let made = &made.json["webhook"];
    assert_eq!(made["watched"], json!([{"type": "user", "name": "alice"}, {"type": "model", "name": "alice/tiny"}]));
    assert_eq!((&made["domains"], &made["disabled"]), (&json!(["repo", "discussion"]), &json!(false)));
    assert_eq!(made["secret"], "s3cret");
    let path = format!("{HOOKS}/{}", made["id"].as_str().unwrap());
    assert_eq!(&app.get(HOOKS, Some(&bob.write)).await.json[0], made, "a bare list");
    assert_eq!(&app.get(&path, Some(&bob.write)).await.json["webhook"], made);
    let read = app.get(&path, Some(&bob.read)).await.json;
    assert_eq!((&read["webhook"]["url"], &read["webhook"]["secret"]), (&made["url"], &NONE), "it could not change it");
    let sealed = app.store.webhooks_of(bob.account.id).await.unwrap()[0].sealed_secret.clone().unwrap();
    assert!(!sealed.contains("s3cret"));

    let update = json!({"watched": [], "url": "http://other.example/", "domains": ["build"]});
    let updated = app.post(&path, Some(&bob.write), &update).await.json["webhook"].clone();
    assert_eq!((&updated["url"], &updated["domains"]), (&json!("http://other.example/"), &json!(["build"])));
    assert_eq!((&updated["watched"], &updated["secret"]), (&made["watched"], &made["secret"]), "none leaves them");
    for (switch, disabled) in [("disable", true), ("enable", false)] {
        let answer = app.post(&format!("{path}/{switch}"), Some(&bob.write), &NONE).await;
        assert_eq!(answer.json["webhook"]["disabled"], disabled);
    }
    let removed = app.post(&path, Some(&bob.write), &json!({"secret": ""})).await;
    assert_eq!(removed.json["webhook"]["secret"], NONE);

    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(app.call(method, &path, Some(&alice.write), &json!({})).await.status, 404, "somebody else's");
    }
    assert_eq!(app.get(&format!("{path}/deliveries"), Some(&alice.write)).await.status, 404);
    assert_eq!(app.get(HOOKS, Some(&alice.write)).await.json, json!([]));
    assert_eq!(app.call("DELETE", &path, Some(&bob.write), &NONE).await.status, 200);
    assert_eq!(app.get(&path, Some(&bob.write)).await.status, 404);

    for (change, what) in [
        (json!({"url": "ftp://x/"}), "url"),
        (json!({"url": null}), "url"),
        (json!({"url": "http://user:pw@x/"}), "password"),
        (json!({"watched": []}), "watched"),
        (json!({"watched": watch("user", "nobody")}), "nobody"),
        (json!({"watched": watch("org", "alice")}), "alice"),
        (json!({"watched": watch("model", "alice/secret")}), "alice/secret"),
        (json!({"watched": watch("model", "alice/absent")}), "alice/absent"),
        (json!({"watched": watch("model", "alice")}), "alice"),
        (json!({"watched": watch("paper", "x")}), "paper"),
        (json!({"domains": ["repos"]}), "repos"),
        (json!({"secret": "two\nlines"}), "secret"),
        (json!({"url": null, "jobSourceId": "x"}), "jobs"),
    ] {
        let mut wrong = body.clone();
        for (key, value) in change.as_object().unwrap() {
            wrong[key] = value.clone();
        }
        let answer = app.post(HOOKS, Some(&bob.write), &wrong).await;
        assert_eq!(answer.status, 400, "{change}: {}", answer.text);
        assert!(answer.json["error"].as_str().unwrap().contains(what), "{change}: {}", answer.text);
    }
}

#[tokio::test]
async fn what_happens_is_told_in_order_and_signed() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let receiver = Receiver::start(&app).await;
    hook(&app, &bob, &receiver.url, watch("user", "alice"), &["repo", "discussion"]).await;
    reconcile(&app, true);
    let repo = model(&app, &alice, "tiny", "public").await;
    let body = json!({"title": "Hm", "description": "first", "pullRequest": true});
    app.post(&format!("{repo}/discussions"), Some(&bob.write), &body).await;
    app.post(&format!("{repo}/discussions/1/comment"), Some(&bob.write), &json!({"comment": "more"})).await;
    app.post(&format!("{repo}/discussions/1/merge"), Some(&alice.write), &NONE).await;
    app.call("DELETE", "/api/repos/delete", Some(&alice.write), &json!({"name": "tiny"})).await;
    let got = receiver.wait(5).await;
    let expected =
        ["create repo", "create discussion", "create discussion.comment", "update discussion", "delete repo"];
    assert_eq!(receiver.events(), expected);
    for one in &got {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"my secret").unwrap();
        mac.update(&one.body);
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(one.header("x-spaceport-signature-256"), format!("sha256={hex}"));
        assert_eq!(one.header("x-webhook-secret"), "my secret");
        assert_eq!(one.header("content-type"), "application/json");
        assert!(!one.header("x-spaceport-delivery").is_empty() && one.header("user-agent").starts_with("Spaceport"));
    }
    let opened = got[1].json();
    assert_eq!((&opened["repo"]["type"], &opened["repo"]["name"]), (&json!("model"), &json!("alice/tiny")));
    assert_eq!(opened["repo"]["url"]["web"], format!("{}/alice/tiny", app.url));
    assert_eq!(opened["repo"]["owner"]["id"], alice.account.id.to_string());
    assert!(opened["repo"]["headSha"].is_string() && opened["webhook"]["version"] == 3);
    let discussion = &opened["discussion"];
    assert_eq!((&discussion["num"], &discussion["status"]), (&json!(1), &json!("draft")));
    assert_eq!(discussion["changes"], json!({"base": "refs/heads/main"}));
    assert_eq!(discussion["url"]["web"], format!("{}/alice/tiny/discussions/1", app.url));
    assert_eq!((&opened["comment"]["content"], &opened["comment"]["hidden"]), (&json!("first"), &json!(false)));
    assert_eq!(got[3].json()["discussion"]["status"], "merged");
}

#[tokio::test]
async fn a_push_is_told_with_its_refs() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let receiver = Receiver::start(&app).await;
    app.space(&alice, "demo", "public").await;
    hook(&app, &alice, &receiver.url, watch("space", "alice/demo"), &["repo"]).await;
    reconcile(&app, true);
    let url = app.git_url("alice/demo", Some(&alice.write));
    assert!(app.git(&["clone", "-q", &url, "work"]).await.status.success());
    std::fs::write(app.folder.path().join("work/app.py"), "print(1)\n").unwrap();
    for args in
        [&["add", "-A"][..], &["commit", "-q", "-m", "x"], &["tag", "v1"], &["push", "-q", "origin", "HEAD:main", "v1"]]
    {
        let args: Vec<&str> = ["-C", "work"].into_iter().chain(args.iter().copied()).collect();
        assert!(app.git(&args).await.status.success(), "{args:?}");
    }
    let got = receiver.wait(2).await;
    assert_eq!(receiver.events(), ["update repo.content"; 2]);
    let head = app.find("alice/demo").await.desired.head.unwrap().to_string();
    let (tag, main) = (got[0].json(), got[1].json());
    assert_eq!(tag["updatedRefs"], json!([{"ref": "refs/tags/v1", "oldSha": null, "newSha": head}]));
    assert_eq!(
        (&main["updatedRefs"][0]["ref"], &main["updatedRefs"][0]["newSha"]),
        (&json!("refs/heads/main"), &json!(head))
    );
    assert!(main["updatedRefs"][0]["oldSha"].is_string());
    assert_eq!((&main["repo"]["headSha"], &main["repo"]["subdomain"]), (&json!(head), &json!("alice-demo")));
    let private = json!({"visibility": "private"});
    app.call("PUT", "/api/spaces/alice/demo/settings", Some(&alice.write), &private).await;
    let got = receiver.wait(3).await;
    assert_eq!(got[2].event(), "update repo.config");
    assert_eq!(got[2].json()["updatedConfig"], json!({"private": true, "visibility": "private"}));
}

#[tokio::test]
async fn builds_and_stages_are_told_to_those_who_ask() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let receiver = Receiver::start(&app).await;
    let space = app.space(&alice, "demo", "public").await;
    hook(&app, &alice, &receiver.url, watch("space", "alice/demo"), &["build", "runtime"]).await;
    reconcile(&app, true);
    let (now, head) = (app.clock.now(), space.desired.head.clone().unwrap());
    let build = BuildId::new(now, 1);
    app.store.build_add(build, space.id, &head, 0, false, now).await.unwrap();
    assert!(app.store.build_claim(build, "me", now).await.unwrap());
    app.store.space_set_stage(space.id, spaceport_core::SpaceStage::Running, None, now).await.unwrap();
    app.control.activate_webhooks();
    let got = receiver.wait(3).await;
    assert_eq!(receiver.events(), ["update build", "update build", "update runtime"]);
    let states: Vec<_> = got[..2].iter().map(|one| one.json()["build"]["state"].clone()).collect();
    assert_eq!(states, ["queued", "running"]);
    assert_eq!((&got[0].json()["build"]["number"], &got[0].json()["build"]["sha"]), (&json!(1), &json!(head)));
    assert_eq!(got[2].json()["runtime"]["stage"], "RUNNING");
}

#[tokio::test]
async fn what_fails_is_tried_again_and_replayed() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let receiver = Receiver::start(&app).await;
    receiver.answer(&[500, 302, 200]);
    let path = hook(&app, &alice, &receiver.url, watch("user", "alice"), &["repo"]).await;
    // Nothing runs: what happens is kept.
    model(&app, &alice, "tiny", "public").await;
    assert_eq!(app.get(&format!("{path}/deliveries"), Some(&alice.write)).await.json, json!([]));
    let stop = reconcile(&app, true);
    let failed = deliveries(&app, &alice, &path, |one| one["error"].is_string()).await;
    assert_eq!((&failed[0]["state"], &failed[0]["attempts"]), (&json!("pending"), &json!(1)));
    assert_eq!(failed[0]["responseStatus"], 500);
    assert_eq!(failed[0]["payload"]["event"]["scope"], "repo");
    // The server ends, and another one takes over.
    stop.cancel();
    reconcile(&app, true);
    app.clock.advance(Duration::from_secs(10));
    app.control.activate_webhooks();
    let failed = deliveries(&app, &alice, &path, |one| one["attempts"] == 2 && one["responseStatus"] == 302).await;
    assert!(failed[0]["error"].as_str().unwrap().contains("redirect"), "{}", failed[0]);
    app.clock.advance(Duration::from_secs(60));
    app.control.activate_webhooks();
    let good = deliveries(&app, &alice, &path, |one| one["state"] == "delivered").await;
    assert_eq!((&good[0]["attempts"], &good[0]["error"]), (&json!(3), &NONE));
    assert!(receiver.all().iter().all(|one| one.path == "/hook"), "redirects are not followed");

    let delivery = good[0]["id"].as_str().unwrap();
    let replay = format!("{path}/deliveries/{delivery}/replay");
    assert_eq!(app.post(&replay, Some(&alice.read), &NONE).await.status, 403);
    app.clock.advance(Duration::from_secs(1));
    let made = app.post(&replay, Some(&alice.write), &NONE).await;
    assert_eq!((made.status.as_u16(), &made.json["replayOf"]), (200, &json!(delivery)), "{}", made.text);
    let got = receiver.wait(4).await;
    let (first, last) = (&got[0], &got[3]);
    assert_eq!((&first.body, first.header("x-spaceport-event")), (&last.body, last.header("x-spaceport-event")));
    assert_ne!(first.header("x-spaceport-delivery"), last.header("x-spaceport-delivery"));
    let all = deliveries(&app, &alice, &path, |one| one["state"] == "delivered").await;
    assert_eq!(all.len(), 2);
    let page = app.get(&format!("{path}/deliveries?limit=1"), Some(&alice.write)).await;
    assert_eq!((page.json.as_array().unwrap().len(), page.header("link").is_empty()), (1, false));
    assert_eq!(app.post(&format!("{path}/deliveries/x/replay"), Some(&alice.write), &NONE).await.status, 404);
    app.post(&format!("{path}/disable"), Some(&alice.write), &NONE).await;
    assert_eq!(app.post(&replay, Some(&alice.write), &NONE).await.status, 409);
}

#[tokio::test]
async fn what_never_works_is_given_up() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let receiver = Receiver::start(&app).await;
    receiver.answer(&[404]);
    let path = hook(&app, &alice, &receiver.url, watch("user", "alice"), &["repo"]).await;
    model(&app, &alice, "tiny", "public").await;
    reconcile(&app, true);
    for attempt in 1..=9 {
        deliveries(&app, &alice, &path, |one| one["attempts"] == attempt && one["endedAt"].is_string()).await;
        receiver.wait(attempt).await;
        app.clock.advance(Duration::from_secs(11 * 60 * 60));
        app.control.activate_webhooks();
    }
    let dead = deliveries(&app, &alice, &path, |one| one["state"] == "dead").await;
    assert_eq!((&dead[0]["attempts"], &dead[0]["nextAttemptAt"]), (&json!(9), &NONE));
}

#[tokio::test]
async fn nobody_reaches_into_the_network_of_the_server() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let receiver = Receiver::start(&app).await;
    let port = receiver.port;
    let mut paths = Vec::new();
    for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "[::ffff:127.0.0.1]", "169.254.169.254"] {
        paths.push(hook(&app, &alice, &format!("http://{host}:{port}/"), watch("user", "alice"), &["repo"]).await);
    }
    model(&app, &alice, "tiny", "public").await;
    reconcile(&app, false);
    for path in paths {
        let failed = deliveries(&app, &alice, &path, |one| one["error"].is_string()).await;
        let error = failed[0]["error"].as_str().unwrap();
        assert!(error.contains("public internet") && error.contains("allow_private"), "{path}: {error}");
        assert_eq!(failed[0]["responseStatus"], NONE);
    }
    assert!(receiver.all().is_empty());
}

#[tokio::test]
async fn a_webhook_is_told_what_its_owner_may_read() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let (theirs, mine) = (Receiver::start(&app).await, Receiver::start(&app).await);
    let domains = ["repo", "discussion", "build", "runtime"];
    let path = hook(&app, &bob, &theirs.url, watch("user", "alice"), &domains).await;
    hook(&app, &alice, &mine.url, watch("user", "alice"), &domains).await;
    reconcile(&app, true);
    let hidden = model(&app, &alice, "hidden", "private").await;
    app.post(&format!("{hidden}/discussions"), Some(&alice.write), &json!({"title": "t"})).await;
    let space = app.space(&alice, "shown", "protected").await;
    let now = app.clock.now();
    app.store.space_set_stage(space.id, spaceport_core::SpaceStage::Running, None, now).await.unwrap();
    app.store
        .build_add(BuildId::new(now, 1), space.id, &space.desired.head.clone().unwrap(), 0, false, now)
        .await
        .unwrap();
    model(&app, &alice, "open", "public").await;
    app.control.activate_webhooks();
    mine.wait(6).await;
    let got = theirs.wait(2).await;
    assert_eq!(theirs.events(), ["update runtime", "create repo"], "of a protected Space only how it is");
    assert_eq!(got[0].json()["repo"].get("headSha"), None);
    assert_eq!(got[1].json()["repo"]["name"], "alice/open");

    // What became private while a delivery waited is not told.
    theirs.answer(&[500]);
    app.post("/api/models/alice/open/discussions", Some(&alice.write), &json!({"title": "t"})).await;
    let before = theirs.wait(3).await.len();
    deliveries(&app, &bob, &path, |one| one["domain"] != "discussion" || one["endedAt"].is_string()).await;
    app.call("PUT", "/api/models/alice/open/settings", Some(&alice.write), &json!({"private": true})).await;
    app.clock.advance(Duration::from_secs(60));
    app.control.activate_webhooks();
    let dead = deliveries(&app, &bob, &path, |one| one["state"] != "pending").await;
    let dead: Vec<_> = dead.iter().filter(|one| one["state"] == "dead").collect();
    assert_eq!(dead.len(), 1);
    assert!(dead[0]["error"].as_str().unwrap().contains("may no longer read"), "{}", dead[0]);
    assert_eq!(theirs.all().len(), before);
}

#[tokio::test]
async fn a_slow_receiver_holds_up_nobody_else() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let fast = Receiver::start(&app).await;
    // It takes the connection and says nothing.
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    for _ in 0..3 {
        hook(&app, &alice, &url, watch("user", "alice"), &["repo"]).await;
    }
    hook(&app, &alice, &fast.url, watch("user", "alice"), &["repo"]).await;
    reconcile(&app, true);
    for name in ["one", "two", "three"] {
        model(&app, &alice, name, "public").await;
    }
    fast.wait(3).await;
    assert_eq!(fast.events(), ["create repo"; 3]);
    drop(silent);
}
