//! What quotas say of Spaces and bytes: refused with the numbers and the remedy, counted once.

use serde_json::json;
use spaceport_core::gpu::{Quota, QuotaPath};
use spaceport_store::{BucketSize, QuotaChange};
use spaceport_testkit::xet::sha256;
use spaceport_testkit::{Answer, Person, TestApp};

use crate::large_files::{commit, upload};
use crate::support::{committed, header, model, put};

async fn set_quota(app: &TestApp, path: &str, quota: Quota) {
    let (generation, _) = app.store.quotas().await.unwrap();
    let change = QuotaChange { path: QuotaPath(path.to_owned()), quota: Some(quota) };
    assert!(app.store.quotas_change(&[change], generation, app.control.clock().now()).await.unwrap());
}

async fn make(app: &TestApp, by: &Person, owner: &str, name: &str) -> Answer {
    let body = json!({"type": "space", "organization": owner, "name": name, "sdk": "static"});
    app.post("/api/repos/create", Some(&by.write), &body).await
}

fn refused(answer: &Answer, why: &str) {
    let message = answer.json["error"].as_str().unwrap_or(&answer.text);
    assert!(answer.status == 403 && message.contains(why), "{} {message}", answer.status);
}

#[tokio::test]
async fn a_place_has_no_more_spaces_than_its_quota_says() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let made = app.post("/api/organizations", Some(&alice.write), &json!({"name": "lab"})).await;
    assert_eq!(made.status, 200, "{}", made.text);
    set_quota(&app, "lab", Quota { max_spaces: Some(2), ..Quota::default() }).await;
    for name in ["one", "two"] {
        assert_eq!(make(&app, &alice, "lab", name).await.status, 200);
    }
    refused(&make(&app, &alice, "lab", "three").await, "lab may have 2 Spaces and has 2; delete one");
    assert!(!app.folder.path().join("repos").join("lab").exists());
    // What is not a Space, or not the lab's, is none of it.
    assert_eq!(make(&app, &alice, "alice", "three").await.status, 200);
    let body = json!({"type": "model", "organization": "lab", "name": "weights"});
    assert_eq!(app.post("/api/repos/create", Some(&alice.write), &body).await.status, 200);
    // Neither a copy nor a move gets around it.
    let body = json!({"repository": "lab/three"});
    let copy = app.post("/api/spaces/alice/three/duplicate", Some(&alice.write), &body).await;
    refused(&copy, "lab may have 2 Spaces");
    let to = |name: &str, to: &str| json!({"fromRepo": name, "toRepo": to, "type": "space"});
    let moved = app.post("/api/repos/move", Some(&alice.write), &to("alice/three", "lab/three")).await;
    refused(&moved, "lab may have 2 Spaces");
    // Another name within the lab is no other Space, and one less makes room.
    let renamed = app.post("/api/repos/move", Some(&alice.write), &to("lab/two", "lab/deux")).await;
    assert_eq!(renamed.status, 200, "{}", renamed.text);
    let body = json!({"type": "space", "organization": "lab", "name": "deux"});
    assert_eq!(app.call("DELETE", "/api/repos/delete", Some(&alice.write), &body).await.status, 200);
    assert_eq!(make(&app, &alice, "lab", "three").await.status, 200);
}

#[tokio::test]
async fn two_at_a_time_do_not_go_past_a_limit() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    set_quota(&app, "~alice", Quota { max_spaces: Some(3), ..Quota::default() }).await;
    let names: Vec<String> = (0..8).map(|number| format!("demo{number}")).collect();
    let made = futures::future::join_all(names.iter().map(|name| make(&app, &alice, "alice", name))).await;
    assert_eq!(made.iter().filter(|answer| answer.status == 200).count(), 3);
    assert!(made.iter().all(|answer| answer.status == 200 || answer.status == 403));
}

#[tokio::test]
async fn large_files_are_refused_before_they_are_sent() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny").await;
    set_quota(&app, "", Quota { max_storage_bytes: Some(100_000), ..Quota::default() }).await;
    let content = vec![7; 60_000];
    upload(&app, &repo, &alice, &content).await;
    assert_eq!(commit(&app, &repo, &alice, &content).await.status, 200);
    let more = vec![8; 60_000];
    let object = json!({"oid": sha256(&more), "size": more.len()});
    let body = json!({"operation": "upload", "transfers": ["basic"], "objects": [object]}).to_string();
    let lfs = [("content-type", "application/vnd.git-lfs+json")];
    let path = format!("/{repo}.git/info/lfs/objects/batch");
    let batch = app.send("POST", &path, Some(&alice.write), &lfs, body.into_bytes()).await;
    assert_eq!(batch.status, 403, "{}", batch.text);
    let why = batch.json["message"].as_str().unwrap();
    assert!(why.starts_with("this site may store 97.6 KiB and stores ") && why.contains("58.5 KiB more"), "{why}");
    // A copy would be as large once more; a file that is there already is not.
    let copy = json!({"repository": "copy"});
    let copy = app.post(&format!("/api/models/{repo}/duplicate"), Some(&alice.write), &copy).await;
    refused(&copy, "this site may store 97.6 KiB");
    assert_eq!(commit(&app, &repo, &alice, &content).await.status, 200);
}

#[tokio::test]
async fn what_git_takes_counts_and_the_next_push_is_refused() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny").await;
    set_quota(&app, "~alice", Quota { max_storage_bytes: Some(1 << 20), ..Quota::default() }).await;
    // Bytes that git cannot make smaller.
    let mut noise = 1_u32;
    let content: Vec<u8> = (0..900_000)
        .map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            noise.to_le_bytes()[0]
        })
        .collect();
    committed(&app, &alice, &repo, &[header("Add"), put("noise.txt", &content)]).await;
    let holdings = app.store.holdings().await.unwrap();
    assert!(holdings[0].bytes > 900_000, "{holdings:?}");
    let lines = [header("More"), put("more.txt", &content)];
    let answer = crate::support::commit(&app, &alice.write, &repo, "main", &lines).await;
    refused(&answer, "alice may store 1.0 MiB and stores ");
    // Who is past it is told by git as well.
    set_quota(&app, "~alice", Quota { max_storage_bytes: Some(1000), ..Quota::default() }).await;
    let host = app.url.trim_start_matches("http://");
    let url = format!("http://user:{}@{host}/{repo}", alice.write);
    assert!(app.git(&["clone", "-q", &url, "work"]).await.status.success(), "reading is not limited");
    let push = app.git(&["-C", "work", "push", "-q", "origin", "HEAD:refs/heads/other"]).await;
    let said = String::from_utf8_lossy(&push.stderr).into_owned();
    assert!(!push.status.success() && said.contains("alice may store 1000 bytes"), "{said}");
}

#[tokio::test]
async fn what_apps_keep_in_buckets_counts_and_is_said() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny").await;
    set_quota(&app, "~alice", Quota { max_storage_bytes: Some(2 << 20), ..Quota::default() }).await;
    let write =
        async || crate::support::commit(&app, &alice.write, &repo, "main", &[header("Add"), put("a.txt", b"a")]).await;
    assert_eq!(write().await.status, 200);
    let bucket = BucketSize { owner: alice.account.id, name: "notes".to_owned(), bytes: 3 << 20 };
    app.store.buckets_set(&[bucket]).await.unwrap();
    refused(&write().await, "alice may store 2.0 MiB and stores 3.");
    refused(&write().await, " MiB (3.0 MiB of it in buckets), so ");
}
