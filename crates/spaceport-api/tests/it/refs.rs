//! Branches and tags over HTTP.

use serde_json::{Value, json};
use spaceport_testkit::TestApp;

use crate::support::{committed, header, model, put};

#[tokio::test]
async fn branches_and_tags_come_and_go() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    let first = app.get(&format!("/api/models/{id}"), None).await.json["sha"].as_str().unwrap().to_owned();
    let second = committed(&app, &alice, &id, &[header("Add"), put("a", b"1")]).await;
    let url = |what: &str| format!("/api/models/{id}/{what}");
    let call = async |method: &str, what: &str, body: Value| {
        let answer = app.call(method, &url(what), Some(&alice.write), &body).await;
        (answer.status.as_u16(), answer.header("x-error-code").to_owned(), answer.text)
    };
    for (what, body) in [
        ("branch/dev", Value::Null),
        ("branch/feature%2Fx", json!({"startingPoint": first})),
        ("tag/main", json!({"tag": "v1"})),
        ("tag/dev", json!({"tag": "v2/rc", "message": "A release"})),
        ("tag/feature%2Fx", json!({"tag": "v0"})),
        ("branch/v1", json!({"startingPoint": &first[..8]})),
        ("branch/from-tag", json!({"startingPoint": "v2/rc"})),
    ] {
        let (status, _, text) = call("POST", what, body).await;
        assert_eq!(status, 200, "{what}: {text}");
    }
    let refs = app.get(&url("refs?include_prs=1"), None).await.json;
    let names = |list: &Value| {
        list.as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&refs["branches"]), ["dev", "feature/x", "from-tag", "main", "v1"]);
    assert_eq!(names(&refs["tags"]), ["v0", "v1", "v2/rc"]);
    assert_eq!((&refs["converts"], &refs["pullRequests"]), (&json!([]), &json!([])));
    assert_eq!(refs["branches"][0], json!({"name": "dev", "ref": "refs/heads/dev", "targetCommit": second}));
    assert_eq!(refs["tags"][0]["targetCommit"], *first);
    assert_eq!(refs["tags"][2]["targetCommit"], *second, "the commit, not the tag's own id");
    assert!(app.get(&url("refs"), None).await.json.get("pullRequests").is_none());

    for (method, what, body, status, code, says) in [
        ("POST", "branch/dev", json!({}), 409, "Conflict", "Reference refs/heads/dev already exists"),
        ("POST", "branch/new", json!({"startingPoint": "nope"}), 404, "RevisionNotFound", "nope"),
        ("POST", "branch/refs%2Fheads%2Fx", json!({}), 400, "BadRequest", "Invalid reference for a branch"),
        ("POST", "branch/a%20b", json!({}), 400, "BadRequest", "Invalid reference for a branch"),
        ("POST", "branch/..", json!({}), 0, "", ""),
        ("POST", "branch/dev%2Fx", json!({}), 400, "BadRequest", "dev"),
        ("POST", "branch/x", json!({"startingPoint": 1}), 400, "BadRequest", "a string"),
        ("POST", "tag/main", json!({"tag": "v1"}), 409, "Conflict", "already exists"),
        ("POST", "tag/nope", json!({"tag": "a b"}), 404, "RevisionNotFound", "nope"),
        ("POST", "tag/main", json!({"tag": "a b"}), 400, "BadRequest", "Invalid reference for a tag"),
        ("POST", "tag/main", json!({}), 400, "BadRequest", "tag"),
        ("DELETE", "branch/main", Value::Null, 403, "Forbidden", "Cannot delete refs/heads/main"),
        ("DELETE", "branch/v2%2Frc", Value::Null, 404, "RevisionNotFound", "Invalid rev id"),
        ("DELETE", "branch/nope", Value::Null, 404, "RevisionNotFound", "Invalid rev id"),
        ("DELETE", "tag/dev", Value::Null, 404, "RevisionNotFound", "Invalid rev id"),
        ("POST", "super-squash/v2%2Frc", json!({}), 404, "RevisionNotFound", "v2/rc"),
    ] {
        let answer = call(method, what, body).await;
        if status != 0 {
            assert_eq!((answer.0, answer.1.as_str()), (status, code), "{method} {what}: {}", answer.2);
            assert!(answer.2.contains(says), "{method} {what}: {}", answer.2);
        }
    }
    for what in ["branch/dev", "branch/feature%2Fx", "tag/v1", "tag/v2%2Frc"] {
        assert_eq!(call("DELETE", what, Value::Null).await.0, 200, "{what}");
        assert_eq!(call("DELETE", what, Value::Null).await.0, 404, "{what} is gone");
    }
    assert_eq!(app.get(&url("revision/v1"), None).await.json["sha"], *first, "the branch of the same name stays");
}

#[tokio::test]
async fn history_can_be_forgotten() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    committed(&app, &alice, &id, &[header("Add"), put("a", b"1")]).await;
    let squash = format!("/api/models/{id}/super-squash/main");
    let answer = app.post(&squash, Some(&alice.write), &json!({"message": "All in one"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let log = app.get(&format!("/api/models/{id}/commits/main"), None).await.json;
    assert_eq!(log.as_array().unwrap().len(), 1);
    assert_eq!((&log[0]["title"], &log[0]["authors"][0]["user"]), (&json!("All in one"), &json!("alice")));
    assert_eq!(app.get(&format!("/api/models/{id}"), None).await.json["sha"], log[0]["id"]);
    assert_eq!(app.get(&format!("/{id}/resolve/main/a"), None).await.text, "1");
}

#[tokio::test]
async fn only_those_who_may_write_change_refs_and_it_is_recorded() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.admin("root").await);
    let stranger = app.person("mallory").await;
    let id = model(&app, &alice, "tiny").await;
    let url = |what: &str| format!("/api/models/{id}/{what}");
    for what in ["branch/x", "tag/main", "super-squash/main"] {
        let body = json!({"tag": "v1"});
        assert_eq!(app.post(&url(what), Some(&stranger.write), &body).await.status, 403, "{what}");
        assert_eq!(app.post(&url(what), Some(&alice.read), &body).await.status, 403, "{what}");
        assert_eq!(app.post(&url(what), None, &body).await.status, 401, "{what}");
        assert_eq!(app.post(&url(what), Some(&alice.write), &body).await.status, 200, "{what}");
    }
    let audit = app.get("/api/admin/audit", Some(&bob.write)).await.text;
    for action in ["repo.branch.create", "repo.tag.create", "repo.squash"] {
        assert!(audit.contains(action), "{action}: {audit}");
    }
}
