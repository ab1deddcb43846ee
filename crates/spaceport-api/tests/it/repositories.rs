//! Create, find, list and delete Spaces.

use std::time::Duration;

use serde_json::{Value, json};
use spaceport_testkit::TestApp;

#[tokio::test]
async fn a_new_space_has_a_first_commit_and_a_page() {
    let app = TestApp::start().await;
    let alice = app.person("Alice").await;
    let body = json!({"type": "space", "name": "my_Demo", "organization": null, "sdk": "gradio", "sdkVersion": "6.0",
        "hardware": "cpu-upgrade", "sleepTimeSeconds": 600, "unknown": [1],
        "variables": [{"key": "MODE", "value": "fast"}], "secrets": [{"key": "KEY", "value": "hunter2"}]});
    let made = app.post("/api/repos/create", Some(&alice.write), &body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert_eq!(made.json["url"], format!("{}/spaces/Alice/my_Demo", app.url));
    assert_eq!(made.json["name"], "Alice/my_Demo");
    let info = app.get("/api/spaces/alice/MY_DEMO?blobs=true", None).await.json;
    assert_eq!(
        (&info["id"], &info["author"], &info["sdk"]),
        (&json!("Alice/my_Demo"), &json!("Alice"), &json!("gradio"))
    );
    assert_eq!(info["host"], "http://alice-my-demo.localhost:8080");
    assert_eq!(info["cardData"]["sdk_version"], "6.0");
    assert_eq!(info["createdAt"], "2026-01-02T03:04:05.678Z");
    let files: Vec<_> = info["siblings"].as_array().unwrap().iter().map(|file| &file["rfilename"]).collect();
    assert_eq!(files, [".gitattributes", "README.md"]);
    assert!(info["siblings"][0]["size"].as_u64().unwrap() > 20);
    assert_eq!(info["runtime"]["hardware"], json!({"current": null, "requested": "cpu-upgrade"}));
    assert_eq!(info["runtime"]["gcTimeout"], 600);
    let sha = info["sha"].as_str().unwrap();
    for revision in ["main", "refs%2Fheads%2Fmain", "refs/heads/main", sha] {
        let answer = app.get(&format!("/api/spaces/Alice/my_Demo/revision/{revision}"), None).await;
        assert_eq!(answer.json["sha"], sha, "{revision}: {}", answer.text);
    }
    for revision in ["nope", "--help", "main..", "0000000000000000000000000000000000000000"] {
        let answer = app.get(&format!("/api/spaces/Alice/my_Demo/revision/{revision}"), None).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-error-code")), (404, "RevisionNotFound"), "{revision}");
    }
    let by_label = app.get("/api/spaces/by-subdomain/Alice-my-demo", None).await;
    assert_eq!(by_label.json["id"], "Alice/my_Demo");
    let space = app.find("Alice/my_Demo").await;
    assert_eq!(app.store.variables(space.id).await.unwrap()["MODE"].value, "fast");
    let sealed = &app.store.secrets(space.id).await.unwrap()["KEY"].sealed;
    assert_eq!(app.vault.open(space.id, "KEY", sealed).as_deref(), Ok("hunter2"));
}

#[tokio::test]
async fn a_taken_name_is_a_conflict_with_its_address() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "Demo", "public").await;
    let body = json!({"type": "space", "name": "demo", "sdk": "docker"});
    let again = app.post("/api/repos/create", Some(&alice.write), &body).await;
    assert_eq!(again.status, 409);
    assert_eq!(again.json["error"], "You already created this space repo");
    assert_eq!(again.json["url"], format!("{}/spaces/alice/Demo", app.url));
    // The address carries the host name the client used.
    let headers = [("x-forwarded-host", "hub.example"), ("x-forwarded-proto", "https")];
    let again =
        app.send("POST", "/api/repos/create", Some(&alice.write), &headers, body.to_string().into_bytes()).await;
    assert_eq!(again.json["url"], "https://hub.example/spaces/alice/Demo");
}

#[tokio::test]
async fn of_many_who_want_a_name_one_gets_it_and_nothing_stays_behind() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let body = json!({"type": "space", "name": "demo", "sdk": "docker"});
    let all = (0..8).map(|_| app.post("/api/repos/create", Some(&alice.write), &body));
    let mut statuses = Vec::new();
    for answer in futures::future::join_all(all).await {
        statuses.push(answer.status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
    let repositories = std::fs::read_dir(app.folder.path().join("repos")).unwrap();
    let kept = repositories.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".git"));
    assert_eq!(kept.count(), 1);
}

#[tokio::test]
async fn two_names_that_want_one_host_label_get_two() {
    let app = TestApp::start().await;
    let (ab, a) = (app.person("a-b").await, app.person("a").await);
    let one = app.space(&ab, "c", "public").await.subdomain;
    let two = app.space(&a, "b-c", "public").await.subdomain;
    assert_eq!(one.as_str(), "a-b-c");
    assert!(two.as_str().starts_with("a-b-c-") && two != one, "{two}");
}

#[tokio::test]
async fn a_deleted_name_can_be_used_again_at_once() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let old = app.space(&alice, "demo", "private").await;
    let delete = |token: &str, body: Value| {
        let token = token.to_owned();
        let app = &app;
        async move { app.call("DELETE", "/api/repos/delete", Some(&token), &body).await }
    };
    let demo = json!({"name": "demo", "organization": "alice", "type": "space"});
    assert_eq!(delete(&bob.write, demo.clone()).await.header("x-error-code"), "RepoNotFound");
    assert_eq!(delete(&alice.read, demo.clone()).await.status, 403);
    assert_eq!(delete(&alice.write, json!({"name": "demo"})).await.status, 404, "a model is not a Space");
    assert_eq!(delete(&alice.write, demo.clone()).await.status, 200);
    assert_eq!(app.get("/api/spaces/alice/demo", Some(&alice.write)).await.status, 404);
    assert_eq!(delete(&alice.write, demo).await.header("x-error-code"), "RepoNotFound");
    let new = app.space(&alice, "demo", "public").await;
    assert!(new.id != old.id && new.subdomain == old.subdomain);
    let doomed = app.store.space_by_id(old.id).await.unwrap().unwrap();
    assert_eq!(doomed.desired.run.as_str(), "deleting");
}

#[tokio::test]
async fn lists_show_what_one_may_see_page_by_page() {
    let app = TestApp::start().await;
    let (alice, bob, root) = (app.person("alice").await, app.person("bob").await, app.admin("root").await);
    for (owner, name, visibility) in
        [(&alice, "one", "public"), (&alice, "two", "private"), (&bob, "three", "protected"), (&bob, "four", "public")]
    {
        app.clock.advance(Duration::from_secs(1));
        app.space(owner, name, visibility).await;
    }
    let ids = |answer: &Value| -> Vec<String> {
        answer.as_array().unwrap().iter().map(|space| space["id"].as_str().unwrap().to_owned()).collect()
    };
    for (query, token, expected) in [
        ("", None, vec!["bob/four", "bob/three", "alice/one"]),
        ("", Some(&alice.read), vec!["bob/four", "bob/three", "alice/two", "alice/one"]),
        ("", Some(&bob.read), vec!["bob/four", "bob/three", "alice/one"]),
        ("", Some(&root.read), vec!["bob/four", "bob/three", "alice/two", "alice/one"]),
        ("?author=ALICE", Some(&alice.read), vec!["alice/two", "alice/one"]),
        ("?search=TH", None, vec!["bob/three"]),
        ("?search=%25", None, vec![]),
        ("?filter=gradio&sort=createdAt&direction=-1&full=true", None, vec!["bob/four", "bob/three", "alice/one"]),
        ("?filter=gradio&filter=docker", None, vec![]),
        ("?limit=1", None, vec!["bob/four"]),
    ] {
        let answer = app.get(&format!("/api/spaces{query}"), token.map(String::as_str)).await;
        assert_eq!(ids(&answer.json), expected, "{query} as {token:?}");
    }
    for query in ["", "&sort=createdAt", "&filter=gradio"] {
        let (mut path, mut seen) = (format!("/api/spaces?limit=1{query}"), Vec::new());
        loop {
            let page = app.get(&path, None).await;
            seen.extend(ids(&page.json));
            let Some(next) = page.header("link").strip_prefix('<') else { break };
            let (next, rel) = next.split_once('>').unwrap();
            assert_eq!(rel, "; rel=\"next\"");
            path = next.strip_prefix(&app.url).unwrap().to_owned();
        }
        assert_eq!(seen, ["bob/four", "bob/three", "alice/one"], "{query}");
    }
}

#[tokio::test]
async fn expand_answers_only_what_is_asked_for() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "public").await;
    let one = app.get("/api/spaces/alice/demo?expand=sdk&expand[]=runtime&expand=xetEnabled", None).await.json;
    let keys: Vec<_> = one.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["_id", "id", "runtime", "sdk"]);
    let wrong = app.get("/api/spaces/alice/demo?expand=nope", None).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.json["error"].as_str().unwrap().contains("siblings"), "it lists what is allowed");
}

#[tokio::test]
async fn visibility_changes_who_sees_it() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "public").await;
    for (body, status) in [
        (json!({"visibility": "protected"}), 200),
        (json!({"private": false}), 200),
        (json!({"private": true}), 401),
        (json!({"gated": false}), 401),
    ] {
        let answer = app.call("PUT", "/api/spaces/alice/demo/settings", Some(&alice.write), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(app.get("/api/spaces/alice/demo", None).await.status.as_u16(), status, "{body}");
    }
    // What this hub cannot keep it does not promise.
    for body in
        [json!({"visibility": "x"}), json!({"gated": "auto"}), json!({"gated": "manual"}), json!({"gated": true})]
    {
        let wrong = app.call("PUT", "/api/spaces/alice/demo/settings", Some(&alice.write), &body).await;
        assert_eq!(wrong.status, 400, "{body}");
    }
}

#[tokio::test]
async fn models_and_data_sets_are_repositories_without_an_app() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    for (kind, segment) in [("model", "models"), ("dataset", "datasets")] {
        let readme = "---\nlicense: mit\ntags:\n- tiny\npipeline_tag: text-generation\n---\n# Tiny";
        let new = json!({"type": kind, "name": "tiny", "private": true,
            "files": [{"path": "README.md", "content": readme}]});
        let made = app.post("/api/repos/create", Some(&alice.write), &new).await;
        assert_eq!(made.status, 200, "{}", made.text);
        let path = format!("/api/{segment}/alice/tiny");
        assert_eq!(app.get(&path, None).await.header("x-error-code"), "RepoNotFound");
        assert_eq!(app.get(&path, Some(&bob.write)).await.status, 404);
        let info = app.get(&path, Some(&alice.read)).await.json;
        assert_eq!(info["cardData"]["license"], "mit", "{info}");
        assert_eq!(info["siblings"][1]["rfilename"], "README.md");
        assert!(info["tags"].as_array().unwrap().contains(&json!("tiny")) && info.get("runtime").is_none());
        let by = format!("{path}/revision/main?expand=sha");
        assert_eq!(app.get(&by, Some(&alice.read)).await.json["sha"], info["sha"]);
        let list = async |query: &str, token: &str| {
            let list = app.get(&format!("/api/{segment}?{query}"), Some(token)).await.json;
            list.as_array().unwrap().len()
        };
        assert_eq!(list("filter=tiny&filter=license:mit&search=TIN", &alice.read).await, 1);
        assert_eq!(list("filter=other", &alice.read).await, 0);
        assert_eq!(list("", &bob.read).await, 0);
        let open = json!({"private": false});
        assert_eq!(app.call("PUT", &format!("{path}/settings"), Some(&bob.write), &open).await.status, 404);
        assert_eq!(app.call("PUT", &format!("{path}/settings"), Some(&alice.write), &open).await.status, 200);
        assert_eq!(list("author=alice", &bob.read).await, 1);
        let doomed = json!({"name": "tiny", "type": kind});
        assert_eq!(app.call("DELETE", "/api/repos/delete", Some(&alice.write), &doomed).await.status, 200);
        assert_eq!(app.get(&path, Some(&alice.write)).await.status, 404);
    }
}

#[tokio::test]
async fn an_id_of_one_part_is_a_missing_repository() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    for (method, path) in [
        ("GET", "/api/models/gpt2"),
        ("GET", "/api/models/gpt2/tree/main"),
        ("GET", "/api/datasets/squad/revision/main"),
        ("GET", "/api/models/gpt2/xet-read-token/main"),
        ("GET", "/api/models/gpt2/xet-write-token/main"),
        ("GET", "/api/models/gpt2/lfs-files"),
        ("POST", "/api/models/gpt2/super-squash/main"),
        ("GET", "/api/models/gpt2/compare/main..x"),
        ("GET", "/gpt2/resolve/main/x"),
        ("GET", "/gpt2.git/info/refs?service=git-upload-pack"),
        ("POST", "/gpt2.git/git-upload-pack"),
        ("POST", "/gpt2.git/info/lfs/objects/batch"),
    ] {
        let answer = app.call(method, path, Some(&alice.read), &Value::Null).await;
        assert_eq!(answer.header("x-error-code"), "RepoNotFound", "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_space_says_how_programs_use_it() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    app.space(&alice, "demo", "private").await;
    assert_eq!(app.get("/spaces/alice/demo/agents.md", Some(&bob.read)).await.status, 404);
    let page = app.get("/spaces/alice/demo/agents.md", Some(&alice.read)).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(page.header("content-type").starts_with("text/markdown"));
    for part in ["/gradio_api/info", "/gradio_api/call/", "Bearer $HF_TOKEN", "alice-demo", "private"] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
}
