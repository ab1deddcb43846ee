//! Builds: listed, canceled, tried again.

use serde_json::{Value, json};
use spaceport_core::CommitSha;
use spaceport_core::space::Space;
use spaceport_testkit::{Person, TestApp};

async fn with_build() -> (TestApp, Person, Space, CommitSha) {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let space = app.space(&alice, "demo", "public").await;
    let head = space.desired.head.clone().unwrap();
    let clock = app.control.clock();
    app.store.build_add(clock.build_id(), space.id, &head, 0, false, clock.now()).await.unwrap();
    (app, alice, space, head)
}

#[tokio::test]
async fn a_waiting_build_is_canceled_at_once_and_says_by_whom() {
    let (app, alice, _, head) = with_build().await;
    let list = app.get("/api/spaces/alice/demo/builds", None).await.json;
    assert_eq!(
        (&list[0]["number"], &list[0]["state"], &list[0]["sha"]),
        (&json!(1), &json!("queued"), &json!(head.as_str()))
    );
    let cancel = || app.post("/api/spaces/alice/demo/builds/1/cancel", Some(&alice.write), &Value::Null);
    let canceled = cancel().await.json;
    assert_eq!((&canceled["state"], &canceled["diagnosis"]["reason"]), (&json!("canceled"), &json!("build_canceled")));
    assert!(canceled["diagnosis"]["message"].as_str().unwrap().contains("alice"));
    assert_eq!(cancel().await.status, 409);
    for number in ["2", "0", "-1", "x", "99999999999999999999"] {
        assert_eq!(app.get(&format!("/api/spaces/alice/demo/builds/{number}"), None).await.status, 404, "{number}");
    }
}

#[tokio::test]
async fn a_restart_builds_again_what_failed() {
    let (app, alice, ..) = with_build().await;
    let post = |path: &'static str| app.post(path, Some(&alice.write), &Value::Null);
    post("/api/spaces/alice/demo/restart").await;
    assert_eq!(app.find("alice/demo").await.desired.rebuild, 0, "a build under way is not asked for twice");
    post("/api/spaces/alice/demo/builds/1/cancel").await;
    post("/api/spaces/alice/demo/restart").await;
    let desired = app.find("alice/demo").await.desired;
    assert_eq!((desired.rebuild, desired.no_cache), (1, false));
}
