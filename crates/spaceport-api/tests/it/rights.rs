//! Who may do what: every endpoint with every kind of caller.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spaceport_core::space::{Artifact, Desired, DesiredRun, Release, Space};
use spaceport_core::ticket::{Audience, LINK_LIFETIME};
use spaceport_core::{Diagnosis, Reason, SpaceStage};
use spaceport_testkit::{TICKETS, TestApp, wait_for};

/// Statuses for: anonymous, another user, the owner reading, the owner writing, a site admin.
type Row = (&'static str, &'static str, Value, [u16; 5]);

/// On a private Space all others get the same answer as for one that does not exist.
const OWNER_READS: [u16; 5] = [401, 404, 200, 200, 200];
const OWNER_WRITES: [u16; 5] = [401, 404, 403, 200, 200];

fn rows(space: &str) -> Vec<Row> {
    let none = Value::Null;
    let key = json!({"key": "NAME", "value": "v"});
    let row = |method: &'static str, path: &str, body: &Value, expected| -> Row {
        (method, format!("/api/spaces/{space}{path}").leak(), body.clone(), expected)
    };
    vec![
        row("GET", "", &none, OWNER_READS),
        row("GET", "/revision/main", &none, OWNER_READS),
        row("GET", "/auth-check", &none, OWNER_READS),
        row("GET", "/auth-check/write", &none, OWNER_WRITES),
        row("GET", "/xet-read-token/main", &none, OWNER_READS),
        row("GET", "/xet-write-token/main", &none, OWNER_WRITES),
        row("GET", "/lfs-files", &none, OWNER_READS),
        row("POST", "/lfs-files/batch", &json!({"deletions": {"sha": []}}), OWNER_WRITES),
        row("GET", "/runtime", &none, OWNER_READS),
        row("GET", "/host", &none, OWNER_READS),
        row("GET", "/jwt", &none, OWNER_READS),
        row("GET", "/builds", &none, OWNER_READS),
        row("GET", "/releases", &none, OWNER_READS),
        row("GET", "/instances", &none, OWNER_READS),
        row("GET", "/builds/1", &none, [401, 404, 404, 404, 404]),
        row("GET", "/builds/1/log", &none, [401, 404, 403, 404, 404]),
        row("POST", "/builds/1/cancel", &none, [401, 404, 403, 404, 404]),
        row("GET", "/secrets", &none, OWNER_WRITES),
        row("POST", "/secrets", &key, OWNER_WRITES),
        row("DELETE", "/secrets", &key, OWNER_WRITES),
        row("GET", "/variables", &none, OWNER_WRITES),
        row("POST", "/variables", &key, OWNER_WRITES),
        row("DELETE", "/variables", &key, OWNER_WRITES),
        row("POST", "/hardware", &json!({"flavor": "cpu-upgrade"}), OWNER_WRITES),
        row("POST", "/sleeptime", &json!({"seconds": 300}), OWNER_WRITES),
        row("POST", "/pause", &none, OWNER_WRITES),
        row("POST", "/dev-mode", &json!({"enabled": false}), OWNER_WRITES),
        row("POST", "/replicas", &json!({"replicas": 1}), OWNER_WRITES),
        row("POST", "/replicas", &json!({"replicas": "auto"}), [401, 404, 403, 400, 400]),
        row("POST", "/storage", &json!({"tier": "small"}), [401, 404, 403, 410, 410]),
        row("DELETE", "/storage", &none, [401, 404, 403, 410, 410]),
        row("POST", "/restart", &none, OWNER_WRITES),
        row("GET", "/logs/run?follow=false", &none, OWNER_WRITES),
        row("GET", "/logs/build?follow=false", &none, OWNER_WRITES),
        row("PUT", "/settings", &json!({"visibility": "private"}), OWNER_WRITES),
        row("POST", "/stop", &none, [401, 404, 403, 403, 200]),
    ]
}

#[tokio::test]
async fn a_private_space_is_not_there_for_others() {
    let app = TestApp::start().await;
    let (alice, bob, root) = (app.person("alice").await, app.person("bob").await, app.admin("root").await);
    app.space(&alice, "demo", "private").await;
    let callers = [None, Some(&bob.write), Some(&alice.read), Some(&alice.write), Some(&root.write)];
    for (method, path, body, expected) in rows("alice/demo") {
        for (caller, status) in callers.iter().zip(expected) {
            let answer = app.call(method, path, caller.map(String::as_str), &body).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path} as {caller:?}: {}", answer.text);
            if status >= 400 {
                assert_eq!(answer.json["error"].as_str(), Some(answer.header("x-error-message")), "{method} {path}");
                assert!(!answer.header("x-error-code").is_empty(), "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn nobody_can_tell_a_private_space_from_none() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    app.space(&alice, "secret", "private").await;
    for ((method, hidden, body, _), (_, absent, ..)) in rows("alice/secret").into_iter().zip(rows("alice/absent")) {
        for token in [None, Some(bob.write.as_str())] {
            let (a, b) = (app.call(method, hidden, token, &body).await, app.call(method, absent, token, &body).await);
            assert_eq!((a.status, &a.text), (b.status, &b.text), "{method} {hidden}");
            assert_eq!(a.header("x-error-code"), "RepoNotFound", "{method} {hidden}");
        }
    }
    // Neither a body that cannot be read nor a wrong id changes that.
    let answer = app.send("POST", "/api/spaces/alice/secret/secrets", Some(&bob.write), &[], b"{".to_vec()).await;
    assert_eq!(answer.header("x-error-code"), "RepoNotFound");
    for path in
        ["/api/spaces/alice", "/api/spaces/alice/..%2f..", "/api/spaces/%FF/x", "/api/spaces/by-subdomain/alice-secret"]
    {
        let answer = app.get(path, Some(&bob.write)).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-error-code")), (404, "RepoNotFound"), "{path}");
        assert_eq!(app.get(path, None).await.status.as_u16(), 401, "{path}");
    }
}

#[tokio::test]
async fn a_public_space_is_read_by_all_and_changed_by_its_owner() {
    let app = TestApp::start().await;
    let (alice, bob, root) = (app.person("alice").await, app.person("bob").await, app.admin("root").await);
    app.space(&alice, "demo", "public").await;
    for (method, path, body, private) in rows("alice/demo") {
        let expected = match private {
            // A ticket says who comes.
            OWNER_READS if path.ends_with("/jwt") => [401, 200, 200, 200, 200],
            OWNER_READS => [200; 5],
            OWNER_WRITES => [401, 403, 403, 200, 200],
            [_, _, 404, ..] => [404; 5],
            [_, _, _, owner, admin] => [401, 403, 403, owner, admin],
        };
        let callers = [None, Some(&bob.write), Some(&alice.read), Some(&alice.write), Some(&root.write)];
        for (caller, status) in callers.iter().zip(expected) {
            if path.ends_with("/settings") {
                continue;
            }
            let answer = app.call(method, path, caller.map(String::as_str), &body).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path} as {caller:?}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn the_code_of_a_protected_space_is_private_and_its_app_is_not() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    app.space(&alice, "demo", "protected").await;
    let info = app.get("/api/spaces/alice/demo", Some(&bob.write)).await;
    assert_eq!((info.status.as_u16(), &info.json["sha"], &info.json["siblings"]), (200, &Value::Null, &Value::Null));
    assert_eq!(app.get("/api/spaces/alice/demo/runtime", None).await.status, 200);
    assert_eq!(app.get("/api/spaces/alice/demo/revision/main", Some(&bob.write)).await.status, 404);
    assert_eq!(app.get("/api/spaces/alice/demo/builds", None).await.status, 401);
    assert_eq!(
        app.get("/api/spaces/alice/demo", Some(&alice.read)).await.json["siblings"][1]["rfilename"],
        "README.md"
    );
}

#[tokio::test]
async fn what_a_site_admin_does_to_others_is_on_record() {
    let app = TestApp::start().await;
    let (alice, root) = (app.person("alice").await, app.admin("root").await);
    app.space(&alice, "demo", "private").await;
    // Entries of one millisecond have no order.
    app.clock.advance(std::time::Duration::from_secs(1));
    app.post("/api/spaces/alice/demo/stop", Some(&root.write), &Value::Null).await;
    let audit = app.get("/api/admin/audit", Some(&root.write)).await;
    let stop = &audit.json[0];
    assert_eq!(
        (&stop["actor"], &stop["action"], &stop["subject"]),
        (&json!("root"), &json!("space.stop"), &json!("alice/demo"))
    );
    assert_eq!(stop["origin"], "127.0.0.1");
    // What an admin stopped, only an admin starts again.
    let restart = |token: String| {
        let app = &app;
        async move { app.post("/api/spaces/alice/demo/restart", Some(&token), &Value::Null).await.status.as_u16() }
    };
    assert_eq!((restart(alice.write.clone()).await, restart(root.write.clone()).await), (403, 200));
}

#[tokio::test]
async fn only_site_admins_administer() {
    let app = TestApp::start().await;
    let (alice, root) = (app.person("alice").await, app.admin("root").await);
    for (method, path) in [
        ("GET", "/api/admin/users"),
        ("POST", "/api/admin/users"),
        ("DELETE", "/api/admin/users/alice"),
        ("GET", "/api/admin/users/alice/tokens"),
        ("POST", "/api/admin/users/alice/tokens"),
        ("DELETE", "/api/admin/users/alice/tokens/reader"),
        ("GET", "/api/admin/tasks"),
        ("GET", "/api/admin/audit"),
    ] {
        for (token, status) in [(None, 401), (Some(&alice.write), 403), (Some(&root.read), 403)] {
            let answer = app.call(method, path, token.map(String::as_str), &json!({"name": "x"})).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        }
    }
    assert_eq!(app.get("/api/admin/tasks", Some(&root.write)).await.status, 200);
}

#[tokio::test]
async fn a_ticket_is_for_one_space_and_whoever_asked() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let (open, hidden) = (app.space(&alice, "open", "public").await, app.space(&alice, "hidden", "private").await);
    let ticket = async |space: &str, token: Option<&str>| {
        let answer = app.get(&format!("/api/spaces/alice/{space}/jwt"), token).await;
        (answer.status.as_u16(), answer.header("cache-control").to_owned(), answer.json["token"].clone())
    };
    let (status, cache, token) = ticket("hidden", Some(&alice.read)).await;
    assert_eq!((status, cache.as_str()), (200, "no-store"));
    let of = |space| TICKETS.open(token.as_str().unwrap(), Audience::Space(space), app.control.clock().now());
    assert_eq!((of(hidden.id), of(open.id)), (Some(alice.account.id), None));
    app.clock.advance(LINK_LIFETIME);
    assert_eq!(of(hidden.id), None);
    // Of a Space that is open it says who comes; who is nobody gets none.
    assert_eq!(ticket("open", Some(&bob.read)).await.0, 200);
    assert_eq!(ticket("open", None).await.0, 401);
}

#[tokio::test]
async fn an_owner_cannot_undo_an_admins_stop_that_comes_at_the_same_moment() {
    let app = TestApp::start().await;
    let (alice, root) = (app.person("alice").await, app.admin("root").await);
    let space = app.space(&alice, "demo", "public").await;
    let none = Value::Null;
    for round in 0..20 {
        let run = |desired: &mut Desired| desired.run = DesiredRun::Running;
        app.store.space_change(space.id, app.control.clock().now(), run).await.unwrap();
        let restart = async || app.post("/api/spaces/alice/demo/restart", Some(&alice.write), &none).await;
        let stop = async || app.post("/api/spaces/alice/demo/stop", Some(&root.write), &none).await;
        // The answers wait for a stage that nobody computes here: what counts is written before.
        let both = futures::future::join(restart(), stop());
        let _ = tokio::time::timeout(std::time::Duration::from_millis(250), both).await;
        let stopped = async || app.find("alice/demo").await.desired.run == DesiredRun::Stopped;
        wait_for("the stop", || async { stopped().await.then_some(()) }).await;
        let late = app.post("/api/spaces/alice/demo/restart", Some(&alice.write), &none).await;
        assert_eq!(late.status.as_u16(), 403, "{round}");
        assert!(stopped().await, "{round}");
    }
}

#[tokio::test]
async fn who_may_not_read_the_code_sees_nothing_of_it() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let space = app.space(&alice, "demo", "protected").await;
    let why = Diagnosis {
        reason: Reason::ConfigInvalid,
        phase: "failed".to_owned(),
        message: "README.md, line 3: `app_file`: `the-code.py` is not there.".to_owned(),
        remedy: "Add the-code.py.".to_owned(),
        evidence: vec!["the-code.py".to_owned()],
        since: app.control.clock().now(),
        deadline: None,
    };
    let at = app.control.clock().now();
    app.store.space_set_stage(space.id, SpaceStage::ConfigError, Some(&why), at).await.unwrap();
    let head = space.desired.head.clone().unwrap();
    serve_files(&app, &space).await;
    let card = json!({"title": "the-code", "tags": ["inner"]});
    app.store.repo_index(space.id.into(), &head, Some(&card), &["inner".to_owned()]).await.unwrap();
    for token in [None, Some(bob.write.as_str())] {
        for path in [
            "/api/spaces/alice/demo",
            "/api/spaces/alice/demo?expand=runtime&expand=sha&expand=cardData&expand=tags&expand=siblings",
            "/api/spaces/alice/demo/runtime",
            "/api/spaces/by-subdomain/alice-demo",
            "/api/spaces?author=alice",
            "/spaces/alice/demo/agents.md",
        ] {
            let seen = app.get(path, token).await;
            assert_eq!(seen.status.as_u16(), 200, "{path}");
            assert!(!seen.text.contains(head.as_str()) && !seen.text.contains("the-code"), "{path}: {}", seen.text);
        }
        assert_eq!(app.get("/api/spaces?filter=inner", token).await.json, json!([]), "nor finds it by what is in it");
    }
    assert_eq!(app.get("/api/spaces?filter=inner", Some(&alice.read)).await.json[0]["id"], "alice/demo");
    let own = app.get("/api/spaces/alice/demo/runtime", Some(&alice.read)).await;
    assert_eq!(own.json["sha"], head.as_str(), "{}", own.text);
}

/// A release of the newest commit that serves, as the reconciler makes it of a static Space.
async fn serve_files(app: &TestApp, space: &Space) {
    let (clock, head) = (app.control.clock(), space.desired.head.clone().unwrap());
    let (build, now) = (clock.build_id(), clock.now());
    app.store.build_add(build, space.id, &head, 0, false, now).await.unwrap();
    let release = Release {
        id: clock.release_id(),
        space: space.id,
        number: 0,
        build,
        sha: head,
        config: spaceport_core::front_matter::parse(b"---\nsdk: static\n---\n").unwrap(),
        artifact: Artifact::Files { root: "/nowhere".into(), index: "index.html".to_owned() },
        settings: 0,
        variables: BTreeMap::new(),
        sealed_secrets: BTreeMap::new(),
        volumes: Vec::new(),
        hardware: space.desired.hardware.clone(),
        created_at: now,
        ready_at: Some(now),
    };
    app.store.release_add(&release).await.unwrap();
}
