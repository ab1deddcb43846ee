//! Commits over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use spaceport_testkit::TestApp;

use crate::support::{commit, committed, header, model, put};

#[tokio::test]
async fn every_operation_does_what_it_says() {
    let app = TestApp::start().await;
    let alice = app.person("Alice").await;
    let id = model(&app, &alice, "tiny").await;
    let first = json!({"key": "header", "value": {"summary": "Add", "description": "Why\nnot", "extra": 1}});
    let plain = json!({"key": "file", "value": {"path": "plain.txt", "content": "größer\n", "encoding": "utf-8"}});
    let made = commit(
        &app,
        &alice.write,
        &id,
        "main",
        &[first, put("a/one", b"1"), put("a/two", b"2"), put("b/three", b"3"), plain],
    )
    .await;
    assert_eq!(made.status, 200, "{}", made.text);
    let sha = made.json["commitOid"].as_str().unwrap().to_owned();
    assert_eq!(made.json["commitUrl"], format!("{}/{id}/commit/{sha}", app.url));
    assert_eq!((&made.json["success"], &made.json["hookOutput"]), (&json!(true), &json!("")));
    let info = app.get(&format!("/api/models/{id}"), None).await.json;
    assert_eq!(info["sha"], *sha, "the new head is recorded");
    let log = app.get(&format!("/api/models/{id}/commits/main"), None).await.json;
    assert_eq!((&log[0]["title"], &log[0]["message"]), (&json!("Add"), &json!("Why\nnot")));
    assert_eq!(log[0]["authors"], json!([{"user": "Alice"}]));
    assert_eq!(app.get(&format!("/{id}/resolve/main/plain.txt"), None).await.text, "größer\n");

    let delete = |key: &str, path: &str| json!({"key": key, "value": {"path": path}});
    let lines =
        [header("Remove"), delete("deletedFile", "a/one"), delete("deletedFolder", "b/"), delete("deletedFile", "a")];
    committed(&app, &alice, &id, &lines).await;
    let left = app.get(&format!("/api/models/{id}/tree/main?recursive=1"), None).await.json;
    let left: Vec<_> = left.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(left, ["README.md", "plain.txt"]);
}

#[tokio::test]
async fn a_commit_that_is_sent_again_changes_nothing() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    let lines = [header("Add"), put("a", b"1")];
    let sha = committed(&app, &alice, &id, &lines).await;
    assert_eq!(committed(&app, &alice, &id, &lines).await, sha);
    assert_eq!(committed(&app, &alice, &id, &[header("Nothing")]).await, sha);
    assert_eq!(app.get(&format!("/api/models/{id}/commits/main"), None).await.json.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn commits_at_the_same_time_all_land_unless_they_name_a_parent() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    let parent = app.get(&format!("/api/models/{id}"), None).await.json["sha"].as_str().unwrap().to_owned();
    let free = (0..6).map(|n| {
        let (app, id, token) = (&app, &id, &alice.write);
        async move { commit(app, token, id, "main", &[header("Free"), put(&format!("free-{n}"), b"x")]).await }
    });
    for made in futures::future::join_all(free).await {
        assert_eq!(made.status, 200, "{}", made.text);
    }
    let head = app.get(&format!("/api/models/{id}"), None).await.json["sha"].as_str().unwrap().to_owned();
    let with = |parent: &str| json!({"key": "header", "value": {"summary": "Mine", "parentCommit": parent}});
    let bound = (0..4).map(|n| {
        let (app, id, token, header) = (&app, &id, &alice.write, with(&head));
        async move { commit(app, token, id, "main", &[header, put(&format!("bound-{n}"), b"x")]).await }
    });
    let made = futures::future::join_all(bound).await;
    assert_eq!(made.iter().filter(|made| made.status == 200).count(), 1);
    let text = "The branch was updated since you opened this page. Please refresh and try again.";
    for lost in made.iter().filter(|made| made.status != 200) {
        assert_eq!((lost.status.as_u16(), &lost.json["error"]), (412, &json!(text)));
    }
    for stale in [parent.as_str(), &parent[..10], "0000000000000000000000000000000000000000"] {
        assert_eq!(
            commit(&app, &alice.write, &id, "main", &[with(stale), put("x", b"x")]).await.status,
            412,
            "{stale}"
        );
    }
    let now = app.get(&format!("/api/models/{id}"), None).await.json["sha"].as_str().unwrap().to_owned();
    assert_eq!(commit(&app, &alice.write, &id, "main", &[with(&now[..12]), put("x", b"x")]).await.status, 200);
    let files = app.get(&format!("/api/models/{id}/tree/main"), None).await.json;
    assert_eq!(files.as_array().unwrap().len(), 1 + 6 + 1 + 1);
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    // Twelve files of nine megabytes: more than a hundred in base64.
    let content = |n: u8| -> Vec<u8> {
        let piece: Vec<u8> = (0..=255u8).map(|at| at.wrapping_mul(n)).collect();
        piece.repeat(9 << 12)
    };
    let mut body = format!("{}\n", header("Large"));
    for n in 0..12 {
        let content = STANDARD.encode(content(n));
        body.push_str("{\"key\": \"file\", \"value\": {\"content\": \"");
        body.push_str(&content);
        body.push_str(&format!("\", \"path\": \"large/{n}.bin\", \"encoding\": \"base64\"}}}}\n"));
    }
    assert!(body.len() > 100 << 20);
    let path = format!("/api/models/{id}/commit/main");
    let made = app.send("POST", &path, Some(&alice.write), &[], body.into_bytes()).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let name = id.parse().unwrap();
    let repo = app.store.repo_by_name(spaceport_core::RepoKind::Model, &name).await.unwrap().unwrap();
    let head = repo.head.unwrap();
    let stored = app.repositories.read_file(repo.id, &head, "large/7.bin", 10 << 20).await.unwrap().unwrap();
    assert!(stored == content(7));
    assert!(std::fs::read_dir(app.folder.path().join("uploads")).unwrap().next().is_none(), "nothing is left on disk");
}

#[tokio::test]
async fn what_cannot_be_committed_is_refused_as_a_whole() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    let before = app.get(&format!("/api/models/{id}"), None).await.json["sha"].clone();
    let good = put("good", b"x");
    let file = |value: Value| json!({"key": "file", "value": value});
    let path = |path: &str| put(path, b"x");
    let (long, deep) = ("x".repeat(5000), "d/".repeat(500) + "x");
    let refused = |line: Value, status: u16, says: &'static str| (vec![header("x"), good.clone(), line], status, says);
    let mut cases = vec![
        (vec![], 400, "header"),
        (vec![good.clone()], 400, "first line"),
        (vec![json!({"key": "header", "value": {"summary": " "}})], 400, "summary"),
        (vec![json!({"key": "header", "value": {"summary": "x", "parentCommit": "main"}})], 400, "parentCommit"),
        (vec![json!({"key": "header", "value": {"summary": "x".repeat(5000)}})], 400, "summary"),
        (vec![json!({"key": "header"})], 400, "Line 1"),
        refused(header("again"), 400, "second header"),
        refused(json!({"key": "unknown", "value": {}}), 400, "Line 3"),
        refused(json!([]), 400, "Line 3"),
        refused(json!("text"), 400, "Line 3"),
        refused(file(json!({"path": "a"})), 400, "content"),
        refused(file(json!({"path": 1, "content": ""})), 400, "Line 3"),
        refused(file(json!({"path": "a", "content": "!", "encoding": "base64"})), 400, "base64"),
        refused(file(json!({"path": "a", "content": "A", "encoding": "base64"})), 400, "base64"),
        refused(file(json!({"path": "a", "content": "", "encoding": "rot13"})), 400, "encoding"),
        refused(json!({"key": "lfsFile", "value": {"path": "a", "algo": "md5", "oid": "x"}}), 400, "sha256"),
        refused(
            json!({"key": "lfsFile", "value": {"path": "a", "algo": "sha256", "oid": "ab".repeat(32)}}),
            400,
            "upload",
        ),
        refused(json!({"key": "lfsFile", "value": {"path": "a", "oid": "x", "size": -1}}), 400, "Line 3"),
        refused(json!({"key": "deletedFile", "value": {"path": "nope"}}), 404, "nope"),
        refused(json!({"key": "deletedFolder", "value": {"path": "nope"}}), 404, "nope"),
        refused(json!({"key": "deletedFolder", "value": {"path": "README.md"}}), 404, "README.md"),
        refused(path("README.md/x"), 400, "README.md"),
        refused(path("good/x"), 400, "good"),
        refused(path("large"), 400, "bytes"),
        refused(put("README.md", b"---\n[\n---\n"), 400, "README.md"),
    ];
    cases.last_mut().unwrap().1 = 400;
    for name in [
        "", "/a", "../a", "a/../b", ".git/x", "a/.GIT/x", "a\0b", "a\\b", "C:\\x", "a//b", "a/", "a\nb", &long, &deep,
        "git~1/x",
    ] {
        cases.push((vec![header("x"), good.clone(), path(name)], 400, "path"));
    }
    for (lines, status, says) in cases {
        let lines: Vec<Value> = lines
            .into_iter()
            .map(|line| if line["value"]["path"] == "large" { put("large", &vec![0; 11 << 20]) } else { line })
            .collect();
        let answer = commit(&app, &alice.write, &id, "main", &lines).await;
        let shown: String = format!("{lines:?}").chars().take(300).collect();
        assert_eq!(answer.status.as_u16(), status, "{shown}: {}", answer.text);
        assert!(answer.text.contains(says), "{shown}: {}", answer.text);
    }
    for body in [&b"{\"key\": \"header\", \"val"[..], b"\xff\xfe", b"\n\n", b"null"] {
        let path = format!("/api/models/{id}/commit/main");
        let answer = app.send("POST", &path, Some(&alice.write), &[], body.to_vec()).await;
        assert_eq!(answer.status, 400, "{body:?}");
    }
    assert_eq!(app.get(&format!("/api/models/{id}"), None).await.json["sha"], before);
    assert!(std::fs::read_dir(app.folder.path().join("uploads")).unwrap().next().is_none());
}

#[tokio::test]
async fn a_commit_goes_to_a_branch_of_somebody_who_may() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let id = model(&app, &alice, "tiny").await;
    let lines = [header("x"), put("a", b"1")];
    for (token, status) in [(&alice.read, 403), (&bob.write, 403)] {
        assert_eq!(commit(&app, token, &id, "main", &lines).await.status.as_u16(), status);
    }
    let anonymous = app.post(&format!("/api/models/{id}/commit/main"), None, &json!({})).await;
    assert_eq!(anonymous.status, 401);
    let sha = app.get(&format!("/api/models/{id}"), None).await.json["sha"].as_str().unwrap().to_owned();
    app.post(&format!("/api/models/{id}/tag/main"), Some(&alice.write), &json!({"tag": "v1"})).await;
    app.post(&format!("/api/models/{id}/branch/feature%2Fx"), Some(&alice.write), &json!({})).await;
    for revision in ["nope", "v1", &sha, "refs%2Ftags%2Fv1", "refs%2Fpr%2F1"] {
        let answer = commit(&app, &alice.write, &id, revision, &lines).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-error-code")), (404, "RevisionNotFound"), "{revision}");
    }
    for revision in ["feature%2Fx", "feature/x", "refs%2Fheads%2Ffeature%2Fx"] {
        assert_eq!(commit(&app, &alice.write, &id, revision, &lines).await.status, 200, "{revision}");
    }
    assert_eq!(app.get(&format!("/api/models/{id}"), None).await.json["sha"], *sha, "main stayed where it was");
}

#[tokio::test]
async fn the_readme_of_a_space_must_say_what_to_run() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "public").await;
    let send = async |readme: &str| {
        let body = format!("{}\n{}\n", header("Readme"), put("README.md", readme.as_bytes()));
        app.send("POST", "/api/spaces/alice/demo/commit/main", Some(&alice.write), &[], body.into_bytes()).await
    };
    let wrong = send("---\nsdk: rust\nemoji: 🚀\n---\n").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.json["errors"][0]["message"].as_str().unwrap().contains("sdk"), "{}", wrong.text);
    let checked =
        app.post("/api/validate-yaml", None, &json!({"content": "---\nsdk: rust\n---\n", "repoType": "space"})).await;
    assert_eq!((checked.status.as_u16(), checked.json["errors"].as_array().unwrap().len()), (400, 1));
    let long = format!("---\nsdk: static\n---\n{}", "x".repeat(400_000));
    let good = send(&long).await;
    assert_eq!(good.status, 200, "{}", good.text);
    assert_eq!(app.find("alice/demo").await.desired.head.unwrap().as_str(), good.json["commitOid"], "it will be built");
    let long = format!("---\nsdk: rust\n---\n{}", "x".repeat(400_000));
    assert_eq!(send(&long).await.status, 400);
    for (kind, content, status) in [
        ("model", "---\na: [\n---\n", 400),
        ("dataset", "---\n- a\n---\n", 400),
        ("models", "# no front matter", 200),
        ("dataset", "---\nlicense: mit\n---\n", 200),
        ("kernel", "", 400),
    ] {
        let checked = app.post("/api/validate-yaml", None, &json!({"content": content, "repoType": kind})).await;
        assert_eq!(checked.status.as_u16(), status, "{kind} {content}: {}", checked.text);
    }
}

#[tokio::test]
async fn a_client_learns_how_to_upload() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let id = model(&app, &alice, "tiny").await;
    let rules = [header("Rules"), put(".gitignore", b"*.log\nbuild/\n"), put("a.txt", b"a")];
    let sha = committed(&app, &alice, &id, &rules).await;
    let url = format!("/api/models/{id}/preupload/main");
    let file =
        |path: &str, sample: &[u8], size: u64| json!({"path": path, "sample": STANDARD.encode(sample), "size": size});
    let body = json!({"files": [file("a.txt", b"a", 1), file("x.log", b"x", 1), file("build/y", b"y", 1), file("n.tmp", b"", 0)],
        "gitIgnore": "*.tmp\n", "unknown": 1});
    let answer = app.post(&url, Some(&alice.write), &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json["commitOid"], *sha);
    let files = answer.json["files"].as_array().unwrap();
    let ignored: Vec<_> = files.iter().map(|file| file["shouldIgnore"].as_bool().unwrap()).collect();
    assert_eq!(ignored, [false, true, true, true]);
    assert_eq!(files[0]["oid"], "2e65efe2a145dda7ee51d1741299f848e5bf752e");
    assert!(files[1].get("oid").is_none() && files.iter().all(|file| file["uploadMode"] == "regular"));
    for path in ["", "/a", "../a", "a/../b", ".git/x", "a\0b", "a\\b"] {
        let answer = app.post(&url, Some(&alice.write), &json!({"files": [file(path, b"", 1)]})).await;
        assert_eq!(answer.status, 400, "{path:?}");
    }
    for wrong in [
        json!({"files": 1}),
        json!({"files": [{"size": 1}]}),
        json!({"files": [{"path": "a", "sample": "!", "size": 1}]}),
        json!({"files": [{"path": "a", "size": -1}]}),
        json!({"files": vec![file("a", b"", 1); 1001]}),
    ] {
        assert_eq!(app.post(&url, Some(&alice.write), &wrong).await.status, 400);
    }
    let unknown = app.post(&format!("/api/models/{id}/preupload/nope"), Some(&alice.write), &body).await;
    assert_eq!((unknown.status.as_u16(), unknown.header("x-error-code")), (404, "RevisionNotFound"));
    assert_eq!(app.post(&url, Some(&bob.write), &body).await.status, 403);
}
