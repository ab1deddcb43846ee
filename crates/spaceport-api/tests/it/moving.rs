//! Repositories that get another name or another owner.

use serde_json::{Value, json};
use spaceport_core::account::{OrgRole, Permission, Scope, Scopes, TokenRole};
use spaceport_testkit::{Answer, TestApp};

use crate::support::{commit, committed, header, model, put};

async fn move_to(app: &TestApp, token: &str, kind: &str, from: &str, to: &str) -> Answer {
    app.post("/api/repos/move", Some(token), &json!({"fromRepo": from, "toRepo": to, "type": kind})).await
}

#[tokio::test]
async fn what_asks_for_the_old_name_finds_the_repository() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let old = model(&app, &alice, "Old").await;
    committed(&app, &alice, &old, &[header("one"), put("a.txt", b"text")]).await;
    let made = move_to(&app, &alice.write, "model", "ALICE/old", "Alice/new").await;
    assert_eq!((made.status.as_u16(), &made.json["name"]), (200, &json!("alice/new")), "{}", made.text);
    assert_eq!(made.json["url"], format!("{}/alice/new", app.url));
    for path in ["/api/models/alice/old", "/api/models/alice/Old/revision/main?expand=sha", "/api/models/alice/new"] {
        assert_eq!(app.get(path, None).await.json["id"], "alice/new", "{path}");
    }
    let file = app.get("/alice/Old/resolve/main/a.txt", None).await;
    assert_eq!((file.status.as_u16(), file.text.as_str()), (200, "text"));
    // A program that knows the old name goes on writing, and need not send its files twice.
    let large = vec![b'x'; 8 << 20];
    let made = commit(&app, &alice.write, "alice/old", "main", &[header("two"), put("b.txt", &large)]).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let host = app.url.trim_start_matches("http://").to_owned();
    let url = format!("http://user:{}@{host}/alice/Old", alice.write);
    for (url, folder) in [(url.clone(), "one"), (format!("{url}.git"), "two")] {
        let cloned = app.git(&["clone", &url, folder]).await;
        assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
        std::fs::write(app.folder.path().join(folder).join("pushed"), folder).unwrap();
        for args in [&["-C", folder, "add", "."][..], &["-C", folder, "commit", "-m", "x"], &["-C", folder, "push"]] {
            let done = app.git(args).await;
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    }
    assert_eq!(app.get("/alice/new/raw/main/pushed", None).await.text, "two");
    // It is not deleted, nor moved, by the name it had.
    let doomed = json!({"name": "old", "type": "model"});
    let gone = app.call("DELETE", "/api/repos/delete", Some(&alice.write), &doomed).await;
    assert_eq!((gone.status.as_u16(), gone.header("x-error-code")), (404, "RepoNotFound"), "{}", gone.text);
    assert_eq!(move_to(&app, &alice.write, "model", "alice/old", "alice/x").await.status, 404);
    // A private one leads nobody who may not see it.
    let hide = json!({"private": true});
    assert_eq!(app.call("PUT", "/api/models/alice/new/settings", Some(&alice.write), &hide).await.status, 200);
    assert_eq!(app.get("/api/models/alice/old", Some(&bob.write)).await.status, 404);
    // A new repository takes the old name.
    model(&app, &alice, "old").await;
    assert_eq!(app.get("/api/models/alice/old", None).await.json["id"], "alice/old");
    assert_eq!(app.get("/api/models/alice/new", Some(&alice.read)).await.json["id"], "alice/new");
}

#[tokio::test]
async fn a_name_may_be_percent_encoded() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let old = model(&app, &alice, "old-name.v1").await;
    committed(&app, &alice, &old, &[header("one"), put("a.txt", b"text")]).await;
    for path in ["", "/tree/main", "/revision/main"] {
        let answer = app.get(&format!("/api/models/%61lice/old%2Dname%2Ev1{path}"), None).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
    }
    assert_eq!(app.get("/alice/old%2Dname.v1/resolve/main/a.txt", None).await.status, 200);
    assert_eq!(move_to(&app, &alice.write, "model", "alice/old-name.v1", "alice/new").await.status, 200);
    for asked in ["old%2Dname.v1?blobs=1", "%6Fld-name%2Ev1/tree/main", "old%2Dname.v1/revision/main"] {
        let answer = app.get(&format!("/api/models/%61lice/{asked}"), None).await;
        assert_eq!(answer.status.as_u16(), 200, "{asked}");
    }
    let file = app.get("/alice/old%2Dname.v1/resolve/main/a.txt", None).await;
    assert_eq!((file.status.as_u16(), file.text.as_str()), (200, "text"));
}

#[tokio::test]
async fn a_taken_name_is_a_conflict_and_another_case_is_not() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    model(&app, &alice, "one").await;
    model(&app, &alice, "two").await;
    let taken = move_to(&app, &alice.write, "model", "alice/one", "alice/Two").await;
    assert_eq!((taken.status.as_u16(), taken.header("x-error-code")), (409, "Conflict"));
    assert_eq!(taken.json["error"], "A model repository called alice/Two already exists");
    assert_eq!(taken.json["url"], format!("{}/alice/two", app.url));
    let id = app.get("/api/models/alice/one", None).await.json["_id"].clone();
    for name in ["alice/ONE", "alice/ONE", "alice/three", "alice/one"] {
        let moved = move_to(&app, &alice.write, "model", "alice/one", name).await;
        let moved =
            if moved.status == 404 { move_to(&app, &alice.write, "model", "alice/three", name).await } else { moved };
        assert_eq!(moved.status, 200, "{name}: {}", moved.text);
        let info = app.get(&format!("/api/models/{name}"), None).await.json;
        assert_eq!((&info["id"], &info["_id"]), (&json!(name), &id), "{name}");
    }
    assert_eq!(app.get("/api/models/alice/three", None).await.json["id"], "alice/one", "back and forth is no circle");
    for (from, to) in [("alice/one", "alice"), ("alice/one", "alice/a b"), ("alice/one", "a/b/c"), ("one", "alice/x")] {
        assert_eq!(move_to(&app, &alice.write, "model", from, to).await.status, 400, "{from} to {to}");
    }
    assert_eq!(move_to(&app, &alice.write, "bucket", "alice/one", "alice/x").await.status, 400);
    assert_eq!(app.post("/api/repos/move", Some(&alice.write), &Value::Null).await.status, 400);
}

#[tokio::test]
async fn of_many_moves_at_once_each_leads_somewhere() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    model(&app, &alice, "one").await;
    let names: Vec<String> = (0..6).map(|n| format!("alice/m{n}")).collect();
    let all = names.iter().map(|name| move_to(&app, &alice.write, "model", "alice/one", name));
    let statuses: Vec<u16> =
        futures::future::join_all(all).await.into_iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 404 | 409)), "{statuses:?}");
    let now = app.get("/api/models/alice/one", None).await.json["id"].clone();
    assert_eq!(now, names[statuses.iter().position(|status| *status == 200).unwrap()]);
}

#[tokio::test]
async fn who_may_move_what_where() {
    let app = TestApp::start().await;
    let (alice, bob, carol, root) =
        (app.person("alice").await, app.person("bob").await, app.person("carol").await, app.admin("root").await);
    assert_eq!(app.post("/api/organizations", Some(&alice.write), &json!({"name": "lab"})).await.status, 200);
    let lab = app.store.account_by_name("lab").await.unwrap().unwrap();
    let now = app.control.clock().now();
    app.store.member_set(lab.id, bob.account.id, OrgRole::Contributor, now).await.unwrap();
    app.store.member_set(lab.id, carol.account.id, OrgRole::Write, now).await.unwrap();
    model(&app, &alice, "hers").await;
    model(&app, &bob, "his").await;
    let made = app.post("/api/repos/create", Some(&bob.write), &json!({"name": "made", "organization": "lab"})).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let hers = app.get("/api/models/alice/hers", None).await.json["_id"].as_str().unwrap().parse().unwrap();
    let scope = |scoped| Scopes { global: Vec::new(), scoped };
    let one = scope(vec![Scope::repo(hers, vec![Permission::Write])]);
    let one = app.token(&alice.account, "one", TokenRole::FineGrained, one).await;
    let both = scope(vec![
        Scope::account(alice.account.id, vec![Permission::Write]),
        Scope::account(lab.id, vec![Permission::Write]),
    ]);
    let both = app.token(&alice.account, "both", TokenRole::FineGrained, both).await;
    for (token, from, to, status) in [
        (None, "alice/hers", "alice/x", 401),
        (Some(&alice.read), "alice/hers", "alice/x", 403),
        (Some(&bob.write), "alice/hers", "bob/x", 403),
        (Some(&alice.write), "alice/hers", "bob/x", 403),
        (Some(&alice.write), "alice/hers", "nobody/x", 403),
        // What a token for one repository may not do is take a name.
        (Some(&one), "alice/hers", "alice/x", 403),
        (Some(&bob.write), "bob/his", "lab/his", 200),
        (Some(&carol.write), "lab/his", "lab/x", 403),
        (Some(&carol.write), "lab/made", "carol/made", 403),
        (Some(&bob.write), "lab/made", "bob/made", 200),
        (Some(&both), "alice/hers", "lab/hers", 200),
        (Some(&bob.write), "lab/hers", "bob/hers", 403),
        (Some(&root.write), "lab/hers", "bob/hers", 200),
        (Some(&alice.write), "bob/hers", "alice/hers", 403),
    ] {
        let body = json!({"fromRepo": from, "toRepo": to});
        let answer = app.post("/api/repos/move", token.map(String::as_str), &body).await;
        assert_eq!(answer.status.as_u16(), status, "{from} to {to}: {}", answer.text);
    }
    // Who lost it lost its private things; who got it got them.
    let hide = json!({"private": true});
    assert_eq!(app.call("PUT", "/api/models/bob/hers/settings", Some(&bob.write), &hide).await.status, 200);
    assert_eq!(app.get("/api/models/alice/hers", Some(&alice.write)).await.status, 404);
    let audit = app.get("/api/admin/audit?limit=100", Some(&root.write)).await.json;
    let moves: Vec<_> = audit.as_array().unwrap().iter().filter(|row| row["action"] == "repo.move").collect();
    assert_eq!(moves.len(), 4);
    let last = moves.iter().find(|row| row["actor"] == "root").unwrap();
    assert_eq!((&last["subject"], &last["detail"]["to"]), (&json!("lab/hers"), &json!("bob/hers")), "{last}");
}

#[tokio::test]
async fn the_app_of_a_space_moves_to_the_host_of_its_name() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let old = app.space(&alice, "old", "public").await;
    assert_eq!(move_to(&app, &alice.write, "space", "alice/old", "alice/new").await.status, 200);
    let new = app.find("alice/new").await;
    assert_eq!((new.id, new.subdomain.as_str()), (old.id, "alice-new"));
    // What the app is told of its name is in its environment.
    assert_eq!(new.desired.settings, old.desired.settings + 1);
    assert_eq!((new.desired.rebuild, new.desired.restart), (old.desired.rebuild, old.desired.restart));
    for label in ["alice-new", "alice-old"] {
        let found = app.get(&format!("/api/spaces/by-subdomain/{label}"), None).await.json;
        assert_eq!((&found["id"], &found["subdomain"]), (&json!("alice/new"), &json!("alice-new")), "{label}");
    }
    let host = app.get("/api/spaces/alice/old/host", None).await.json;
    assert_eq!(host["host"], "http://alice-new.localhost:8080");
    // Another case is the same host.
    assert_eq!(move_to(&app, &alice.write, "space", "alice/new", "alice/NEW").await.status, 200);
    assert_eq!(app.find("alice/new").await.subdomain, new.subdomain);
    assert_eq!(app.store.former_labels().await.unwrap(), [(old.subdomain.clone(), new.subdomain.clone())]);
    // A new Space takes name and host.
    let heir = app.space(&alice, "old", "public").await;
    assert_eq!(heir.subdomain, old.subdomain);
    assert!(app.store.former_labels().await.unwrap().is_empty());
    assert_eq!(app.get("/api/spaces/by-subdomain/alice-old", None).await.json["id"], "alice/old");
    // A private one is told to nobody by the host it had.
    assert_eq!(move_to(&app, &alice.write, "space", "alice/new", "alice/last").await.status, 200);
    let hide = json!({"visibility": "private"});
    assert_eq!(app.call("PUT", "/api/spaces/alice/last/settings", Some(&alice.write), &hide).await.status, 200);
    assert_eq!(app.get("/api/spaces/by-subdomain/alice-new", Some(&bob.write)).await.status, 404);
    let doomed = json!({"name": "last", "type": "space"});
    assert_eq!(app.call("DELETE", "/api/repos/delete", Some(&alice.write), &doomed).await.status, 200);
    assert!(app.store.former_labels().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_bucket_does_not_change_hands_in_a_space() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "public").await;
    assert_eq!(app.post("/api/organizations", Some(&alice.write), &json!({"name": "lab"})).await.status, 200);
    let volumes = json!({"volumes": [{"type": "bucket", "source": "alice/data", "mountPath": "/data"}]});
    let path = "/api/spaces/alice/demo/volumes";
    assert_eq!(app.call("PUT", path, Some(&alice.write), &volumes).await.status, 200);
    let refused = move_to(&app, &alice.write, "space", "alice/demo", "lab/demo").await;
    assert_eq!(refused.status, 400);
    assert!(refused.json["error"].as_str().unwrap().contains("alice/data"), "{}", refused.text);
    assert_eq!(move_to(&app, &alice.write, "space", "alice/demo", "alice/other").await.status, 200);
    let none = json!({"volumes": []});
    assert_eq!(app.call("PUT", "/api/spaces/alice/other/volumes", Some(&alice.write), &none).await.status, 200);
    assert_eq!(move_to(&app, &alice.write, "space", "alice/other", "lab/demo").await.status, 200);
    assert_eq!(app.find("lab/demo").await.subdomain.as_str(), "lab-demo");
}
