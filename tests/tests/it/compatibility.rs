//! `docs/hub-compatibility.md`: what the Hub's client calls, and what this hub answers. Checked against
//! the installed client's own source and against a running server.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use spaceport_e2e::Site;

const INTRODUCTION: &str = "# What of the Hub this server speaks

Every address that `huggingface_hub` builds below its endpoint, as its own source has it, with what this server
answers. The table is made from `tests/compatibility/endpoints.toml`; a test compares that file with the source of the
installed client, so that a new version of it cannot add an address unnoticed, and asks a running server at
every address, so that neither a `full` is a promise nor a `none` out of date. That the answers are the right ones is
what the end-to-end tests with the real clients show.
";
const BESIDE: &str = "
Beside these: files at `/{repo}/resolve/{revision}/{path}` and `/raw/` (HEAD, GET, ranges); git at the page's address
(protocol 2, shallow and partial clones); git-lfs (basic and multipart transfers, verify; locks are refused politely); the Xet
store that the tokens name (xorbs, shards, reconstructions); `agents.md` of a Space; and what this server adds to the
Hub's API, in `docs/openapi.json`.
";

struct Endpoint {
    address: String,
    methods: Vec<String>,
    calls: String,
    ours: String,
    missing: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compatibility")
}

fn endpoints() -> Vec<Endpoint> {
    let text = std::fs::read_to_string(folder().join("endpoints.toml")).expect("the list of endpoints");
    let table: toml::Table = text.parse().expect("TOML");
    let list = table["endpoint"].as_array().expect("a list");
    let text = |entry: &toml::Value, key: &str| entry.get(key).and_then(toml::Value::as_str).unwrap_or("").to_owned();
    let read = |entry: &toml::Value| Endpoint {
        address: text(entry, "address"),
        methods: text(entry, "methods").split(' ').map(str::to_owned).collect(),
        calls: text(entry, "calls"),
        ours: text(entry, "ours"),
        missing: text(entry, "missing"),
    };
    list.iter().map(read).collect()
}

#[test]
fn the_table_is_current() {
    let mut text = INTRODUCTION.to_owned();
    for (ours, title) in [
        ("full", "Answered"),
        ("partial", "Answered in part"),
        ("refused", "Refused with a reason"),
        ("none", "Not answered"),
    ] {
        write!(text, "\n## {title}\n\n| Address | Methods | For | Missing |\n| --- | --- | --- | --- |\n").unwrap();
        for endpoint in endpoints().iter().filter(|endpoint| endpoint.ours == ours) {
            let Endpoint { address, methods, calls, missing, .. } = endpoint;
            writeln!(text, "| `{address}` | {} | {calls} | {missing} |", methods.join(", ")).unwrap();
        }
    }
    text.push_str(BESIDE);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hub-compatibility.md");
    if std::fs::read_to_string(&path).unwrap_or_default() != text {
        std::fs::write(&path, &text).unwrap();
        panic!("docs/hub-compatibility.md was not what the list says; it is written anew: look at it and commit it");
    }
}

#[test]
fn the_list_has_every_address_of_the_client() {
    let Some(python) = spaceport_e2e::script::python() else { return };
    let script = folder().join("endpoints.py");
    let output = std::process::Command::new(python).arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let theirs: BTreeSet<&str> = printed.lines().collect();
    let list = endpoints();
    let ours: BTreeSet<&str> = list.iter().map(|endpoint| endpoint.address.as_str()).collect();
    assert_eq!(theirs, ours);
    for endpoint in &list {
        let known = ["full", "partial", "refused", "none", "page"].contains(&endpoint.ours.as_str());
        assert!(
            known && (["partial", "refused"].contains(&endpoint.ours.as_str())) <= !endpoint.missing.is_empty(),
            "{}",
            endpoint.address
        );
    }
}

/// An address with real names in its places.
fn concrete(address: &str) -> String {
    let space = address.starts_with("/api/spaces/");
    let repo = if space { "admin/probe-space" } else { "admin/probe-model" };
    let mut path = address.to_owned();
    for (place, name) in [
        ("{repo_type}s/{repo_id}", "models/admin/probe-model"),
        ("{src_repo_type}s/{src_repo_id}", "models/admin/probe-model"),
        ("/api/{repo_id}/", "/api/models/admin/probe-model/"),
        ("{api_prefix}/{from_id}", "models/admin/probe-model"),
        ("/api/datasets/{repo_id}", "/api/datasets/admin/probe-dataset"),
        ("{url_prefix}{repo_id}", "admin/probe-model"),
        ("{repo_id}", repo),
        ("{revision}{encoded_path_in_repo}", "main"),
        ("{revision}", "main"),
        ("xet-{value}-token", "xet-read-token/main"),
        ("{log_type}", "build?follow=false"),
        ("{resource}", "comment"),
        ("{discussion_num}", "1"),
        ("{organization}", "probe-org"),
        ("{username}", "admin"),
        ("{user}", "admin"),
    ] {
        path = path.replace(place, name);
    }
    while let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
        path.replace_range(from..=to, "probe");
    }
    path
}

/// Whether the answer says that nothing is there to answer.
fn is_unknown(status: StatusCode, answer: &Value) -> bool {
    let error = answer["error"].as_str().unwrap_or("");
    let nothing = ["There is nothing at this path", "There is no such file", "Repository not found"];
    status == StatusCode::METHOD_NOT_ALLOWED || nothing.contains(&error)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_table_says_is_true_of_a_running_server() {
    let Some(site) = Site::start().await else { return };
    for (kind, sdk) in [("model", Value::Null), ("dataset", Value::Null), ("space", json!("static"))] {
        let body = json!({"type": kind, "name": format!("probe-{kind}"), "sdk": sdk});
        site.ask(Method::POST, "/api/repos/create", Some(&body)).await;
    }
    let mut wrong = Vec::new();
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.ours != "page") {
        let path = concrete(&endpoint.address);
        for method in &endpoint.methods {
            let method: Method = method.parse().unwrap();
            let body = json!({});
            let body = (method != Method::GET && method != Method::HEAD).then_some(&body);
            let (status, answer) = site.call(method.clone(), &path, body).await;
            let page = answer.as_str().is_some_and(|text| text.starts_with("<!"));
            let unknown = is_unknown(status, &answer) || page;
            let refused = status == StatusCode::BAD_REQUEST && answer["error"].is_string();
            let wrong_refusal = endpoint.ours == "refused" && !refused;
            if unknown != (endpoint.ours == "none") || wrong_refusal || status.is_server_error() {
                wrong.push(format!("{method} {path} is not {}: {status} {answer}", endpoint.ours));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
