//! Repositories made from others.

use serde_json::{Value, json};
use spaceport_core::account::{Permission, Scope, Scopes, TokenRole};
use spaceport_testkit::{Answer, TestApp};

use crate::large_files;
use crate::support::{committed, header, model, put};

async fn duplicate(app: &TestApp, token: &str, path: &str, body: &Value) -> Answer {
    app.post(&format!("/api/{path}/duplicate"), Some(token), body).await
}

#[tokio::test]
async fn a_copy_has_the_history_and_the_large_files() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let tiny = model(&app, &alice, "tiny").await;
    let first = committed(&app, &alice, &tiny, &[header("one"), put("a.txt", b"old")]).await;
    committed(&app, &alice, &tiny, &[header("two"), put("a.txt", b"new")]).await;
    let weights = b"weights".repeat(1000);
    large_files::upload(&app, &tiny, &alice, &weights).await;
    assert_eq!(large_files::commit(&app, &tiny, &alice, &weights).await.status, 200);
    for (path, body) in [("branch/side", json!({"startingPoint": first})), ("tag/main", json!({"tag": "v1"}))] {
        let made = app.post(&format!("/api/models/{tiny}/{path}"), Some(&alice.write), &body).await;
        assert_eq!(made.status, 200, "{}", made.text);
    }
    let made = duplicate(&app, &bob.write, "models/alice/tiny", &json!({"repository": "bob/Copy"})).await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert_eq!(
        (&made.json["url"], &made.json["filesCopyPending"]),
        (&json!(format!("{}/bob/Copy", app.url)), &json!(false))
    );
    assert_eq!(app.get("/api/models/bob/Copy", Some(&alice.write)).await.status, 404, "it is private");
    let info = async |name: &str| app.get(&format!("/api/models/{name}?blobs=true"), Some(&bob.read)).await.json;
    let (original, copy) = (info("alice/tiny").await, info("bob/copy").await);
    for field in ["sha", "siblings", "usedStorage", "cardData", "tags"] {
        assert!(!original[field].is_null() && original[field] == copy[field], "{field}: {copy}");
    }
    assert_eq!((&copy["author"], &copy["likes"], &copy["usedStorage"]), (&json!("bob"), &json!(0), &json!(7000)));
    let get = async |path: &str| app.get(path, Some(&bob.read)).await;
    assert_eq!(get("/bob/Copy/resolve/main/a.bin").await.text.as_bytes(), weights);
    assert_eq!(get("/bob/Copy/resolve/side/a.txt").await.text, "old");
    assert_eq!(get("/api/models/bob/Copy/refs").await.json["tags"][0]["name"], "v1");
    let titles = get("/api/models/bob/Copy/commits/main").await.json;
    let titles: Vec<_> = titles.as_array().unwrap().iter().map(|commit| commit["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["Add", "two", "one", "initial commit"]);
    // Neither needs the other.
    committed(&app, &bob, "bob/Copy", &[header("mine"), put("mine.txt", b"x")]).await;
    assert_eq!(app.get("/alice/tiny/resolve/main/mine.txt", None).await.status, 404);
    let doomed = json!({"name": "tiny"});
    assert_eq!(app.call("DELETE", "/api/repos/delete", Some(&alice.write), &doomed).await.status, 200);
    assert_eq!(get("/bob/Copy/resolve/main/a.bin").await.text.as_bytes(), weights);
    assert_eq!(get(&format!("/bob/Copy/raw/{first}/a.txt")).await.text, "old");
}

#[tokio::test]
async fn the_copy_of_a_space_has_its_variables_and_nobodys_secrets() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let setting = |key: &str, value: &str| json!({"key": key, "value": value, "description": "why"});
    let new = json!({"type": "space", "name": "demo", "sdk": "docker", "hardware": "cpu-upgrade", "sleepTimeSeconds": 600,
        "variables": [setting("MODE", "fast"), setting("SIZE", "1")], "secrets": [setting("KEY", "hunter2")],
        "volumes": [{"type": "bucket", "source": "alice/data", "mountPath": "/data"}]});
    assert_eq!(app.post("/api/repos/create", Some(&alice.write), &new).await.status, 200);
    let plain = duplicate(&app, &bob.write, "spaces/alice/demo", &json!({"repository": "bob/plain"})).await;
    assert_eq!(plain.json["url"], format!("{}/spaces/bob/plain", app.url), "{}", plain.text);
    let space = app.find("bob/plain").await;
    assert_eq!(
        (space.sdk.as_str(), space.subdomain.as_str(), space.visibility.as_str()),
        ("docker", "bob-plain", "private")
    );
    assert_eq!((space.desired.hardware.0.as_str(), space.desired.sleep_after_s), ("cpu-basic", None));
    assert_eq!(space.desired.head, app.find("alice/demo").await.desired.head);
    let variables = app.store.variables(space.id).await.unwrap();
    assert_eq!((variables["MODE"].value.as_str(), variables["MODE"].description.as_deref()), ("fast", Some("why")));
    assert!(app.store.secrets(space.id).await.unwrap().is_empty());
    assert!(app.store.volumes(space.id).await.unwrap().is_empty());
    // What the call says is applied.
    let body = json!({"repository": "other", "visibility": "protected", "hardware": "cpu-upgrade", "sleepTimeSeconds": 300,
        "replicas": 1, "variables": [setting("SIZE", "2"), setting("MORE", "3")], "secrets": [setting("OWN", "mine")],
        "volumes": [{"type": "bucket", "source": "bob/data", "mountPath": "/data"}]});
    let made = duplicate(&app, &bob.write, "spaces/alice/demo", &body).await;
    assert_eq!(made.json["name"], "bob/other", "{}", made.text);
    let space = app.find("bob/other").await;
    assert_eq!((space.visibility.as_str(), space.desired.sleep_after_s), ("protected", Some(300)));
    assert_eq!(space.desired.hardware.0, "cpu-upgrade");
    let variables = app.store.variables(space.id).await.unwrap();
    let values: Vec<_> = variables.iter().map(|(name, one)| (name.as_str(), one.value.as_str())).collect();
    assert_eq!(values, [("MODE", "fast"), ("MORE", "3"), ("SIZE", "2")]);
    let sealed = &app.store.secrets(space.id).await.unwrap()["OWN"].sealed;
    assert_eq!(app.vault.open(space.id, "OWN", sealed).as_deref(), Ok("mine"));
    assert_eq!(app.store.volumes(space.id).await.unwrap().len(), 1);
    for wrong in [
        json!({"hardware": "no-such"}),
        json!({"sleepTimeSeconds": 0}),
        json!({"visibility": "hidden"}),
        json!({"variables": [setting("SPACE_ID", "x")]}),
        json!({"secrets": [setting("A", "1"), setting("A", "2")]}),
        json!({"volumes": [{"type": "model", "source": "alice/none", "mountPath": "/m"}]}),
        json!({"repository": "bob/a b"}),
        json!({"repository": ""}),
    ] {
        let mut body = json!({"repository": "bob/wrong"});
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        assert_eq!(duplicate(&app, &bob.write, "spaces/alice/demo", &body).await.status, 400, "{wrong}");
    }
    let stolen =
        json!({"repository": "bob/wrong", "volumes": [{"type": "bucket", "source": "alice/data", "mountPath": "/d"}]});
    assert_eq!(duplicate(&app, &bob.write, "spaces/alice/demo", &stolen).await.status, 403);
    let folders = std::fs::read_dir(app.folder.path().join("repos")).unwrap();
    let folders = folders.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".git"));
    assert_eq!(folders.count(), 3, "nothing stays behind of what was refused");
}

#[tokio::test]
async fn who_may_duplicate_what_to_where() {
    let app = TestApp::start().await;
    let (alice, bob, root) = (app.person("alice").await, app.person("bob").await, app.admin("root").await);
    model(&app, &alice, "open").await;
    app.space(&alice, "shown", "protected").await;
    let hidden = json!({"name": "hidden", "private": true});
    assert_eq!(app.post("/api/repos/create", Some(&alice.write), &hidden).await.status, 200);
    assert_eq!(app.post("/api/organizations", Some(&alice.write), &json!({"name": "lab"})).await.status, 200);
    let scope =
        |permission| Scopes { global: Vec::new(), scoped: vec![Scope::account(bob.account.id, vec![permission])] };
    let reads = app.token(&bob.account, "reads", TokenRole::FineGrained, scope(Permission::ReadContent)).await;
    let writes = app.token(&bob.account, "writes", TokenRole::FineGrained, scope(Permission::Write)).await;
    for (token, from, to, status) in [
        (None, "models/alice/open", "bob/a", 401),
        (None, "models/alice/hidden", "bob/a", 401),
        (Some(&bob.read), "models/alice/open", "bob/a", 403),
        (Some(&reads), "models/alice/open", "bob/a", 403),
        (Some(&bob.write), "models/alice/open", "alice/a", 403),
        (Some(&bob.write), "models/alice/open", "lab/a", 403),
        (Some(&bob.write), "models/alice/hidden", "bob/a", 404),
        // Whoever sees an app need not see its code.
        (Some(&bob.write), "spaces/alice/shown", "bob/a", 404),
        (Some(&writes), "models/alice/open", "bob/a", 200),
        (Some(&bob.write), "models/alice/open", "bob/a", 409),
        (Some(&bob.write), "models/alice/none", "bob/b", 404),
        (Some(&alice.write), "models/alice/hidden", "lab/a", 200),
        (Some(&alice.write), "models/alice/hidden", "alice/hidden", 409),
        (Some(&root.write), "models/alice/hidden", "bob/root", 200),
    ] {
        let body = json!({"repository": to});
        let answer = app.post(&format!("/api/{from}/duplicate"), token.map(String::as_str), &body).await;
        assert_eq!(answer.status.as_u16(), status, "{from} to {to}: {}", answer.text);
        if status == 409 {
            assert_eq!(answer.json["url"], format!("{}/{to}", app.url));
        }
    }
    let audit = app.get("/api/admin/audit?limit=100", Some(&root.write)).await.json;
    let made =
        audit.as_array().unwrap().iter().find(|row| row["action"] == "repo.duplicate" && row["subject"] == "lab/a");
    assert_eq!(made.unwrap()["detail"]["from"], "alice/hidden");
    let copy = json!({"repository": "x"});
    let all = (0..4).map(|_| app.post("/api/models/alice/open/duplicate", Some(&bob.write), &copy));
    let mut statuses: Vec<_> =
        futures::future::join_all(all).await.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409], "one of many gets the name");
}
