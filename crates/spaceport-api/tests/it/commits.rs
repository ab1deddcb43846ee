//! Commits over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use spaceport_testkit::TestApp;

use spaceport_testkit::xet::sha256;

use crate::large_files::upload;
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
    assert_eq!(left, [".gitattributes", "README.md", "plain.txt"]);
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
    assert_eq!(files.as_array().unwrap().len(), 2 + 6 + 1 + 1);
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

#[tokio::test]
async fn names_that_only_windows_cannot_have_are_accepted() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    let names = ["CON", "aux.txt", "a:b", "what?.txt", "x.", "x ", "<a>|\"*"];
    let files: Vec<_> = names.iter().map(|path| json!({"path": path, "sample": "", "size": 1})).collect();
    let url = format!("/api/models/{id}/preupload/main");
    assert_eq!(app.post(&url, Some(&alice.write), &json!({"files": files})).await.status, 200);
    let lines: Vec<_> = std::iter::once(header("Names")).chain(names.iter().map(|path| put(path, b"x"))).collect();
    committed(&app, &alice, &id, &lines).await;
    let files: Vec<_> = names.iter().map(|path| json!({"path": path, "content": "x"})).collect();
    let body = json!({"type": "model", "name": "begun", "files": files});
    let made = app.post("/api/repos/create", Some(&alice.write), &body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    for id in [id.as_str(), "alice/begun"] {
        let tree = app.get(&format!("/api/models/{id}/tree/main"), None).await.json;
        for name in names {
            assert!(tree.as_array().unwrap().iter().any(|entry| entry["path"] == name), "{id}: {name}");
        }
    }
}

fn large(path: &str, content: &[u8], size: Option<usize>) -> Value {
    let mut value = json!({"path": path, "algo": "sha256", "oid": sha256(content)});
    if let Some(size) = size {
        value["size"] = json!(size);
    }
    json!({"key": "lfsFile", "value": value})
}

#[tokio::test]
async fn large_files_are_uploaded_committed_and_served() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let id = model(&app, &alice, "tiny").await;
    let rules = [header("Rules"), put(".gitattributes", b"*.weights filter=lfs diff=lfs merge=lfs -text\n")];
    committed(&app, &alice, &id, &rules).await;
    let content = b"weights".repeat(1000);
    let sha = sha256(&content);
    let ask = json!({"files": [
        {"path": "a.weights", "sample": STANDARD.encode(b"text"), "size": 7000},
        {"path": "a.png", "sample": STANDARD.encode(b"\x89PNG\0"), "size": 5},
        {"path": "big.txt", "sample": STANDARD.encode(b"text"), "size": 10_485_761},
        {"path": "small.txt", "sample": STANDARD.encode(b"text"), "size": 10_485_760},
        {"path": "empty.weights", "sample": "", "size": 0}]});
    let url = format!("/api/models/{id}/preupload/main");
    let answer = app.post(&url, Some(&alice.write), &ask).await;
    let modes: Vec<_> =
        answer.json["files"].as_array().unwrap().iter().map(|file| file["uploadMode"].clone()).collect();
    assert_eq!(modes, ["lfs", "lfs", "lfs", "regular", "regular"]);

    let lines = [header("Weights"), large("a.weights", &content, Some(7000))];
    let early = commit(&app, &alice.write, &id, "main", &lines).await;
    assert_eq!(early.status, 400, "it was not uploaded");
    upload(&app, &id, &alice, &content).await;
    let wrong = [header("Weights"), large("a.weights", &content, Some(7001))];
    assert_eq!(commit(&app, &alice.write, &id, "main", &wrong).await.status, 400, "its size is another");
    let commit_id = committed(&app, &alice, &id, &lines).await;
    assert_eq!(committed(&app, &alice, &id, &lines).await, commit_id, "the same again changes nothing");
    let after = app.post(&url, Some(&alice.write), &ask).await.json;
    assert_eq!(after["files"][0]["oid"], sha, "clients compare it with their own file");

    let entry = app.get(&format!("/api/models/{id}/tree/main"), None).await.json;
    let entry = entry.as_array().unwrap().iter().find(|entry| entry["path"] == "a.weights").unwrap().clone();
    assert_eq!(entry["size"], 7000);
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize 7000\n");
    assert_eq!(entry["lfs"], json!({"oid": sha, "size": 7000, "pointerSize": pointer.len()}));
    let url = format!("/{id}/resolve/main/a.weights");
    for method in ["HEAD", "GET"] {
        let answer = app.send(method, &url, None, &[], Vec::new()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        for (name, value) in [
            ("etag", format!("\"{sha}\"")),
            ("x-linked-etag", format!("\"{sha}\"")),
            ("x-linked-size", "7000".to_owned()),
            ("content-length", "7000".to_owned()),
            ("x-repo-commit", commit_id.clone()),
            ("content-type", "application/octet-stream".to_owned()),
        ] {
            assert_eq!(answer.header(name), value, "{method} {name}");
        }
        assert_eq!(answer.text.as_bytes(), if method == "GET" { content.as_slice() } else { b"" });
    }
    let part = app.send("GET", &url, None, &[("range", "bytes=-7")], Vec::new()).await;
    assert_eq!((part.status.as_u16(), part.text.as_str()), (206, "weights"));
    assert_eq!(app.get(&format!("/{id}/raw/main/a.weights"), None).await.text, pointer);

    // A copy within the repository needs no upload and no size.
    committed(&app, &alice, &id, &[header("Copy"), large("b/copy.weights", &content, None)]).await;
    assert_eq!(app.get(&format!("/{id}/resolve/main/b/copy.weights"), None).await.text.as_bytes(), content);

    // Knowing the name of a file gives nothing.
    let hidden = json!({"name": "hidden", "private": true});
    app.post("/api/repos/create", Some(&alice.write), &hidden).await;
    let secret = b"secret".repeat(100);
    upload(&app, "alice/hidden", &alice, &secret).await;
    let made = commit(&app, &alice.write, "alice/hidden", "main", &[header("x"), large("s", &secret, None)]).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let mine = model(&app, &bob, "mine").await;
    let stolen = commit(&app, &bob.write, &mine, "main", &[header("x"), large("s", &secret, Some(600))]).await;
    assert_eq!(stolen.status, 400);
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 600\n", sha256(&secret));
    let forged = commit(&app, &bob.write, &mine, "main", &[header("x"), put("s", pointer.as_bytes())]).await;
    assert_eq!(forged.status, 200, "a pointer is text like any other");
    let read = app.get(&format!("/{mine}/resolve/main/s"), Some(&bob.write)).await;
    assert_eq!(read.status, 404, "{}", read.text);
    // What everybody may read, everybody may use.
    let used = commit(&app, &bob.write, &mine, "main", &[header("x"), large("w", &content, Some(7000))]).await;
    assert_eq!(used.status, 200, "{}", used.text);
    assert_eq!(app.get(&format!("/{mine}/resolve/main/w"), None).await.text.as_bytes(), content);
}

#[tokio::test]
async fn readers_propose_commits() {
    let app = TestApp::start().await;
    let (alice, bob, carol) = (app.person("alice").await, app.person("bob").await, app.person("carol").await);
    let id = model(&app, &alice, "tiny").await;
    let main = app.get(&format!("/api/models/{id}"), None).await.json["sha"].as_str().unwrap().to_owned();
    let preupload = format!("/api/models/{id}/preupload/main?create_pr=1");
    let ask = json!({"files": [{"path": "a", "sample": "", "size": 1}]});
    assert_eq!(app.post(&preupload, Some(&bob.write), &ask).await.status, 200);
    assert_eq!(app.post(&preupload, Some(&bob.read), &ask).await.status, 403);
    assert_eq!(app.post(&preupload, None, &ask).await.status, 401);
    let parent = |sha: &str| json!({"key": "header", "value": {"summary": "Better", "description": "Because", "parentCommit": sha}});
    let lines = [parent(&main), put("a", b"1")];
    let opened = commit(&app, &bob.write, &id, "main?create_pr=1", &lines).await;
    assert_eq!(opened.status, 200, "{}", opened.text);
    assert_eq!(opened.json["pullRequestUrl"], format!("{}/{id}/discussions/1", app.url));
    let head = opened.json["commitOid"].as_str().unwrap().to_owned();
    let info = app.get(&format!("/api/models/{id}/revision/refs%2Fpr%2F1"), None).await.json;
    assert_eq!(info["sha"], *head);
    assert_eq!(app.get(&format!("/api/models/{id}"), None).await.json["sha"], *main, "main stays");
    let pull = app.get(&format!("/api/models/{id}/discussions/1"), None).await.json;
    assert_eq!((&pull["title"], &pull["isPullRequest"]), (&json!("Better"), &json!(true)));

    // Its author goes on, others do not.
    let more = [header("More"), put("b", b"2")];
    assert_eq!(commit(&app, &carol.write, &id, "refs%2Fpr%2F1", &more).await.status, 403);
    assert_eq!(commit(&app, &bob.write, &id, "refs%2Fpr%2F1", &more).await.status, 200);
    assert_eq!(commit(&app, &alice.write, &id, "refs%2Fpr%2F1", &[header("x"), put("c", b"3")]).await.status, 200);

    // What is refused leaves neither a pull request nor a ref.
    for (revision, lines, status) in [
        ("refs%2Fpr%2F1?create_pr=1", &lines[..], 404),
        ("nope?create_pr=1", &lines[..], 404),
        ("main?create_pr=1", &[parent(&head), put("a", b"1")][..], 412),
        ("main?create_pr=1", &[header("x"), put("../a", b"1")][..], 400),
        ("main?create_pr=1", &[header("x"), json!({"key": "deletedFile", "value": {"path": "nope"}})][..], 404),
    ] {
        let refused = commit(&app, &bob.write, &id, revision, lines).await;
        assert_eq!(refused.status.as_u16(), status, "{revision} {lines:?}: {}", refused.text);
    }
    let refs = app.get(&format!("/api/models/{id}/refs?include_prs=1"), None).await.json;
    assert_eq!(refs["pullRequests"].as_array().unwrap().len(), 1);
    let nothing = commit(&app, &bob.write, &id, "main?create_pr=1", &[header("Nothing yet")]).await;
    assert_eq!(nothing.status, 200, "{}", nothing.text);
    assert!(nothing.json["pullRequestUrl"].as_str().unwrap().contains("/discussions/"));
    let hidden = json!({"name": "hidden", "private": true});
    app.post("/api/repos/create", Some(&alice.write), &hidden).await;
    assert_eq!(commit(&app, &bob.write, "alice/hidden", "main?create_pr=1", &lines).await.status, 404);
}

/// A file in the format of safetensors with one tensor of each type.
fn safetensors(tensors: &[(&str, &[u64])]) -> Vec<u8> {
    let tensor = |(dtype, shape): &(&str, &[u64])| {
        (format!("layer.{dtype}"), json!({"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}))
    };
    let mut header: serde_json::Map<String, Value> = tensors.iter().map(tensor).collect();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let header = Value::Object(header).to_string().into_bytes();
    [&u64::try_from(header.len()).unwrap().to_le_bytes(), header.as_slice(), &[0; 64]].concat()
}

#[tokio::test]
async fn a_model_tells_how_many_parameters_it_has() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    let url = format!("/api/models/{id}");
    let info = async || app.get(&url, None).await.json["safetensors"].clone();
    assert_eq!(info().await, Value::Null);
    let parts = [safetensors(&[("F32", &[2, 3]), ("BF16", &[4])]), safetensors(&[("F32", &[5])])];
    for part in &parts {
        upload(&app, &id, &alice, part).await;
    }
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let lines = [header("Weights"), large(names[0], &parts[0], None), large(names[1], &parts[1], None)];
    committed(&app, &alice, &id, &lines).await;
    let expected = json!({"parameters": {"BF16": 4, "F32": 11}, "total": 15});
    assert_eq!(info().await, expected);
    let expanded = app.get(&format!("{url}?expand=safetensors"), None).await.json;
    assert_eq!((&expanded["safetensors"], expanded.get("siblings")), (&expected, None));
    let listed = app.get("/api/models?expand=safetensors", None).await.json;
    assert_eq!(listed[0]["safetensors"], expected);
    let before = app.get(&url, None).await.json["sha"].as_str().unwrap().to_owned();
    // One whole model beside its parts is the model; small enough, it is kept in git.
    let whole = safetensors(&[("F16", &[7])]);
    committed(&app, &alice, &id, &[header("Whole"), put("model.safetensors", &whole)]).await;
    assert_eq!(info().await, json!({"parameters": {"F16": 7}, "total": 7}));
    let then = app.get(&format!("{url}/revision/{before}"), None).await.json;
    assert_eq!(then["safetensors"], expected);
    committed(&app, &alice, &id, &[header("Broken"), put("model.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\xffxyz")])
        .await;
    assert_eq!(info().await, Value::Null);
    // Of a file that is gone nothing is told, though its header is known.
    let gone = json!({"deletions": {"sha": [sha256(&parts[0])]}});
    assert_eq!(app.post(&format!("{url}/lfs-files/batch"), Some(&alice.write), &gone).await.status, 200);
    assert_eq!(app.get(&format!("{url}/revision/{before}"), None).await.json["safetensors"], Value::Null);
}
