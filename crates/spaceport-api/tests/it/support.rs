//! What tests about files share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use spaceport_testkit::{Answer, Person, TestApp};

/// A public model with a README.
pub async fn model(app: &TestApp, owner: &Person, name: &str) -> String {
    let body = json!({"name": name, "files": [{"path": "README.md", "content": "---\nlicense: mit\n---\n# Tiny\n"}]});
    let made = app.post("/api/repos/create", Some(&owner.write), &body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    format!("{}/{name}", owner.account.name)
}

/// The first line of a commit.
pub fn header(summary: &str) -> Value {
    json!({"key": "header", "value": {"summary": summary, "description": ""}})
}

/// A file of a commit.
pub fn put(path: &str, content: &[u8]) -> Value {
    json!({"key": "file", "value": {"path": path, "content": STANDARD.encode(content), "encoding": "base64"}})
}

/// A commit of a model, as the Hub's client sends it.
pub async fn commit(app: &TestApp, token: &str, model: &str, revision: &str, lines: &[Value]) -> Answer {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = format!("/api/models/{model}/commit/{revision}");
    app.send("POST", &path, Some(token), &[("content-type", "application/x-ndjson")], body.into_bytes()).await
}

/// A commit that must succeed; its id.
pub async fn committed(app: &TestApp, owner: &Person, model: &str, lines: &[Value]) -> String {
    let made = commit(app, &owner.write, model, "main", lines).await;
    assert_eq!(made.status, 200, "{}", made.text);
    made.json["commitOid"].as_str().unwrap().to_owned()
}
