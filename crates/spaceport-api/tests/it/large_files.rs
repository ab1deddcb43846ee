//! Large files as git-lfs and Xet clients send and read them.

use std::time::Duration;

use serde_json::{Value, json};
use spaceport_testkit::xet::{XetFile, sha256};
use spaceport_testkit::{Answer, Person, TestApp};

use crate::support::{committed, header, put};

const LFS: &str = "application/vnd.git-lfs+json";

async fn model(app: &TestApp, owner: &Person, name: &str, visibility: &str) -> String {
    let body = json!({"type": "model", "name": name, "visibility": visibility});
    let made = app.post("/api/repos/create", Some(&owner.write), &body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    format!("{}/{name}", owner.account.name)
}

async fn batch(app: &TestApp, repo: &str, token: Option<&str>, body: &Value) -> Answer {
    let path = format!("/{repo}.git/info/lfs/objects/batch");
    app.send("POST", &path, token, &[("content-type", LFS), ("accept", LFS)], body.to_string().into_bytes()).await
}

/// What a batch answers for one file.
async fn ask(app: &TestApp, repo: &str, token: Option<&str>, operation: &str, content: &[u8]) -> Value {
    let object = json!({"oid": sha256(content), "size": content.len()});
    let body = json!({"operation": operation, "transfers": ["basic", "multipart"], "objects": [object]});
    let answer = batch(app, repo, token, &body).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, LFS), "{}", answer.text);
    let object = answer.json["objects"][0].clone();
    assert_eq!((&object["oid"], &object["size"]), (&json!(sha256(content)), &json!(content.len())));
    object
}

/// Calls an address that the server gave out, without credentials.
async fn follow(app: &TestApp, method: &str, href: &Value, body: &[u8]) -> Answer {
    let path = href.as_str().unwrap().strip_prefix(&app.url).expect("the address that was called");
    app.send(method, path, None, &[], body.to_vec()).await
}

pub async fn upload(app: &TestApp, repo: &str, person: &Person, content: &[u8]) {
    let asked = ask(app, repo, Some(&person.write), "upload", content).await;
    let actions = &asked["actions"];
    let put = follow(app, "PUT", &actions["upload"]["href"], content).await;
    assert_eq!(put.status, 200, "{}", put.text);
    let uploaded = json!({"oid": sha256(content), "size": content.len()}).to_string();
    let verified = follow(app, "POST", &actions["verify"]["href"], uploaded.as_bytes()).await;
    assert_eq!(verified.status, 200, "{}", verified.text);
}

/// Commits the file as `a.bin`.
pub async fn commit(app: &TestApp, repo: &str, person: &Person, content: &[u8]) -> Answer {
    let file = json!({"path": "a.bin", "algo": "sha256", "oid": sha256(content), "size": content.len()});
    let lines = [json!({"key": "header", "value": {"summary": "Add"}}), json!({"key": "lfsFile", "value": file})];
    let body = format!("{}\n{}\n", lines[0], lines[1]).into_bytes();
    let path = format!("/api/models/{repo}/commit/main");
    let ndjson = [("content-type", "application/x-ndjson")];
    app.send("POST", &path, Some(&person.write), &ndjson, body).await
}

#[tokio::test]
async fn what_a_repository_takes_is_told_with_its_large_files() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "heavy", "public").await;
    let content = b"weights".repeat(100_000);
    upload(&app, &repo, &alice, &content).await;
    assert_eq!(commit(&app, &repo, &alice, &content).await.status, 200);
    let told = app.get("/api/settings/repositories", Some(&alice.read)).await.json;
    assert!(told[0]["storage"].as_u64().unwrap() > 700_000, "{told}");
}

#[tokio::test]
async fn git_lfs_uploads_and_downloads() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny", "public").await;
    let content = b"weights".repeat(1000);
    upload(&app, &repo, &alice, &content).await;
    // There is nothing more to do for a file that is there.
    let again = ask(&app, &repo, Some(&alice.write), "upload", &content).await;
    assert_eq!(again.get("actions"), None);
    // In no commit yet, it is nobody else's business.
    let early = ask(&app, &repo, None, "download", &content).await;
    assert_eq!(early["error"]["code"], 404);
    assert_eq!(commit(&app, &repo, &alice, &content).await.status, 200);
    let asked = ask(&app, &repo, None, "download", &content).await;
    let href = &asked["actions"]["download"]["href"];
    let got = follow(&app, "GET", href, b"").await;
    assert_eq!(got.text.as_bytes(), content);
    assert_eq!(got.header("etag"), format!("\"{}\"", sha256(&content)));
    assert_eq!(got.header("content-length"), "7000");
    let path = href.as_str().unwrap().strip_prefix(&app.url).unwrap();
    let part = app.send("GET", path, None, &[("range", "bytes=7-13")], Vec::new()).await;
    assert_eq!((part.status.as_u16(), part.text.as_str()), (206, "weights"));
    assert_eq!(part.header("content-range"), "bytes 7-13/7000");
    let behind = app.send("GET", path, None, &[("range", "bytes=7000-")], Vec::new()).await;
    assert_eq!((behind.status.as_u16(), behind.header("content-range")), (416, "bytes */7000"));
    let known = app.send("GET", path, None, &[("if-none-match", got.header("etag"))], Vec::new()).await;
    assert_eq!(known.status, 304);
    // The same over the page of the repository.
    let path = format!("/{repo}/resolve/main/a.bin");
    let head = app.send("HEAD", &path, None, &[], Vec::new()).await;
    assert_eq!((head.header("x-linked-size"), head.header("x-xet-hash")), ("7000", ""));
    assert_eq!(head.header("x-linked-etag"), format!("\"{}\"", sha256(&content)));
    let part = app.send("GET", &path, None, &[("range", "bytes=-7")], Vec::new()).await;
    assert_eq!((part.status.as_u16(), part.text.as_str()), (206, "weights"));
    assert_eq!(app.get(&format!("/api/models/{repo}"), None).await.json["usedStorage"], 7000);
}

#[tokio::test]
async fn a_commit_takes_only_files_that_its_author_may_have() {
    let app = TestApp::start().await;
    let (alice, mallory) = (app.person("alice").await, app.person("mallory").await);
    let secret = b"a secret of alice".as_slice();
    let private = model(&app, &alice, "private", "private").await;
    let early = commit(&app, &private, &alice, secret).await;
    assert_eq!(early.status, 400, "it was not uploaded: {}", early.text);
    upload(&app, &private, &alice, secret).await;
    assert_eq!(commit(&app, &private, &alice, secret).await.status, 200);
    let own = model(&app, &mallory, "own", "public").await;
    let stolen = commit(&app, &own, &mallory, secret).await;
    assert_eq!(stolen.status, 400, "{}", stolen.text);
    // Nor by a push: git asks before it moves a ref.
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n", sha256(secret), secret.len());
    app.git(&["init", "-q", "-b", "main", "work"]).await;
    std::fs::write(app.folder.path().join("work/a.bin"), pointer).unwrap();
    app.git(&["-C", "work", "add", "."]).await;
    app.git(&["-C", "work", "commit", "-qm", "steal"]).await;
    let host = app.url.trim_start_matches("http://");
    let push = async |repo: &str, person: &Person| {
        let url = format!("http://user:{}@{host}/{repo}", person.write);
        let pushed = app.git(&["-C", "work", "push", &url, "main:refs/heads/pushed"]).await;
        (pushed.status.success(), String::from_utf8_lossy(&pushed.stderr).into_owned())
    };
    let (ok, said) = push(&own, &mallory).await;
    assert!(!ok && said.contains("git lfs push --all"), "{said}");
    let (ok, said) = push(&private, &alice).await;
    assert!(ok, "{said}");
    // What one may read one may also take.
    let copy = model(&app, &alice, "copy", "private").await;
    assert_eq!(commit(&app, &copy, &alice, secret).await.status, 200);
    let got = app.get(&format!("/{copy}/resolve/main/a.bin"), Some(&alice.read)).await;
    assert_eq!(got.text.as_bytes(), secret);
}

#[tokio::test]
async fn the_author_of_a_pull_request_brings_large_files_to_it() {
    let app = TestApp::start().await;
    let (alice, bob, carol) = (app.person("alice").await, app.person("bob").await, app.person("carol").await);
    let repo = crate::support::model(&app, &alice, "tiny").await;
    for (author, number) in [(&bob, 1), (&alice, 2)] {
        let lines = [header("Mine"), put("a.txt", b"a")];
        let opened = crate::support::commit(&app, &author.write, &repo, "main?create_pr=1", &lines).await;
        assert_eq!(opened.status, 200, "{}", opened.text);
        assert!(opened.json["pullRequestUrl"].as_str().unwrap().ends_with(&format!("/{number}")));
    }
    let content = b"weights".repeat(1000);
    let object = json!({"oid": sha256(&content), "size": content.len()});
    let mut actions = Value::Null;
    for (person, revision, status) in [
        (&bob, "refs/pr/1", 200),
        (&bob, "refs/pr/2", 403),
        (&bob, "refs/pr/3", 403),
        (&bob, "refs/heads/main", 403),
        (&bob, "main", 403),
        (&carol, "refs/pr/1", 403),
        (&alice, "refs/pr/1", 200),
    ] {
        for spelt in [revision.replace('/', "%2F"), revision.to_owned()] {
            let token = app.get(&format!("/api/models/{repo}/xet-write-token/{spelt}"), Some(&person.write)).await;
            assert_eq!(token.status, status, "{} {spelt}: {}", person.account.name, token.text);
        }
        let body = json!({"operation": "upload", "objects": [object], "ref": {"name": revision}});
        let asked = batch(&app, &repo, Some(&person.write), &body).await;
        assert_eq!(asked.status, status, "{} {revision}: {}", person.account.name, asked.text);
        if actions.is_null() {
            actions = asked.json["objects"][0]["actions"].clone();
        }
    }
    let unnamed = json!({"operation": "upload", "objects": [object], "ref": {}});
    assert_eq!(batch(&app, &repo, Some(&bob.write), &unnamed).await.status, 403);
    assert_eq!(follow(&app, "PUT", &actions["upload"]["href"], &content).await.status, 200);
    let file = json!({"path": "a.bin", "algo": "sha256", "oid": sha256(&content), "size": content.len()});
    let lines = [header("Weights"), json!({"key": "lfsFile", "value": file})];
    let made = crate::support::commit(&app, &bob.write, &repo, "refs%2Fpr%2F1", &lines).await;
    assert_eq!(made.status, 200, "{}", made.text);
    // What is closed takes nothing more.
    let close = json!({"status": "closed"});
    let closed = app.post(&format!("/api/models/{repo}/discussions/1/status"), Some(&bob.write), &close).await;
    assert_eq!(closed.status, 200, "{}", closed.text);
    let late = app.get(&format!("/api/models/{repo}/xet-write-token/refs%2Fpr%2F1"), Some(&bob.write)).await;
    assert_eq!(late.status, 403, "{}", late.text);
}

#[tokio::test]
async fn a_refused_commit_leaves_nothing_that_counts() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = crate::support::model(&app, &alice, "tiny").await;
    let head = app.get(&format!("/api/models/{repo}"), None).await.json["sha"].clone();
    committed(&app, &alice, &repo, &[header("Later"), put("b.txt", b"b")]).await;
    let used = async || app.get(&format!("/api/models/{repo}"), None).await.json["usedStorage"].clone();
    let content = b"weights".repeat(1000);
    upload(&app, &repo, &alice, &content).await;
    let file = |path: &str| {
        let file = json!({"path": path, "algo": "sha256", "oid": sha256(&content), "size": content.len()});
        json!({"key": "lfsFile", "value": file})
    };
    let stale = json!({"key": "header", "value": {"summary": "x", "parentCommit": head}});
    let absent = json!({"key": "deletedFile", "value": {"path": "absent"}});
    for (lines, revision, status) in [
        (&[stale.clone(), file("a.bin")][..], "main", 412),
        (&[stale, file("a.bin")][..], "main?create_pr=1", 412),
        (&[header("x"), file("a.bin"), absent.clone()][..], "main", 404),
        (&[header("x"), file("a.bin"), absent][..], "main?create_pr=1", 404),
        (&[header("x"), file("b.txt/a.bin")][..], "main", 400),
    ] {
        let refused = crate::support::commit(&app, &alice.write, &repo, revision, lines).await;
        assert_eq!(refused.status, status, "{revision}: {}", refused.text);
        assert_eq!(used().await, 0, "{revision} {status}");
    }
    // It is there all the same, for a commit that can be made, and what is refused afterwards leaves that alone.
    committed(&app, &alice, &repo, &[header("Add"), file("a.bin")]).await;
    let lines = [header("x"), file("b.txt/a.bin")];
    assert_eq!(crate::support::commit(&app, &alice.write, &repo, "main", &lines).await.status, 400);
    assert_eq!(used().await, 7000);
}

#[tokio::test]
async fn an_upload_that_is_not_what_it_says_is_refused() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny", "public").await;
    let asked = ask(&app, &repo, Some(&alice.write), "upload", b"good").await;
    let actions = &asked["actions"];
    for body in [b"evil".as_slice(), b"goo", b"good!"] {
        let put = follow(&app, "PUT", &actions["upload"]["href"], body).await;
        assert_eq!(put.status, 400, "{}", put.text);
        assert_eq!(put.json["message"], put.json["error"], "git-lfs prints 'message'");
    }
    let uploaded = json!({"oid": sha256(b"good"), "size": 4}).to_string();
    let verified = follow(&app, "POST", &actions["verify"]["href"], uploaded.as_bytes()).await;
    assert_eq!(verified.status, 404);
}

#[tokio::test]
async fn the_hubs_client_uploads_in_parts() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny", "public").await;
    let content = b"0123456789abcdef".repeat(100_000);
    let asked = ask(&app, &repo, Some(&alice.write), "upload", &content).await;
    let action = &asked["actions"]["upload"];
    let part_bytes: u64 = action["header"]["chunk_size"].as_str().unwrap().parse().unwrap();
    assert!(part_bytes >= content.len() as u64, "one part is enough");
    let keys: Vec<_> = action["header"].as_object().unwrap().keys().filter(|key| *key != "chunk_size").collect();
    assert_eq!(keys, ["00001"]);
    let early = follow(&app, "POST", &action["href"], b"{}").await;
    assert_eq!(early.status, 400, "{}", early.text);
    let put = follow(&app, "PUT", &action["header"]["00001"], &content).await;
    assert_eq!((put.status.as_u16(), put.header("etag")), (200, "\"1\""));
    let parts = json!({"oid": sha256(&content), "parts": [{"partNumber": 1, "etag": "\"1\""}]}).to_string();
    for _ in 0..2 {
        let done = follow(&app, "POST", &action["href"], parts.as_bytes()).await;
        assert_eq!(done.status, 200, "{}", done.text);
    }
    assert_eq!(commit(&app, &repo, &alice, &content).await.status, 200);
    let asked = ask(&app, &repo, None, "download", &content).await;
    let got = follow(&app, "GET", &asked["actions"]["download"]["href"], b"").await;
    assert!(got.text.as_bytes() == content);
}

#[tokio::test]
async fn knowing_a_name_gives_no_content() {
    let app = TestApp::start().await;
    let (alice, mallory) = (app.person("alice").await, app.person("mallory").await);
    let secret = b"a secret of alice".repeat(100_000);
    let private = model(&app, &alice, "private", "private").await;
    upload_in_parts(&app, &private, &alice, &secret).await;
    assert_eq!(commit(&app, &private, &alice, &secret).await.status, 200);
    let own = model(&app, &mallory, "own", "public").await;
    let down = ask(&app, &own, Some(&mallory.write), "download", &secret).await;
    assert_eq!(down["error"]["code"], 404);
    // The server does not say that it has the file, and does not take the name for the bytes.
    let up = ask(&app, &own, Some(&mallory.write), "upload", &secret).await;
    let action = &up["actions"]["upload"];
    let done = follow(&app, "POST", &action["href"], b"{}").await;
    assert_eq!(done.status, 400, "{}", done.text);
    let down = ask(&app, &own, Some(&mallory.write), "download", &secret).await;
    assert_eq!(down["error"]["code"], 404);
    // What is public need not be sent again.
    let public = model(&app, &alice, "public", "public").await;
    upload_in_parts(&app, &public, &alice, &secret).await;
    assert_eq!(commit(&app, &public, &alice, &secret).await.status, 200);
    let up = ask(&app, &own, Some(&mallory.write), "upload", &secret).await;
    assert_eq!(up.get("actions"), None);
}

async fn upload_in_parts(app: &TestApp, repo: &str, person: &Person, content: &[u8]) {
    let asked = ask(app, repo, Some(&person.write), "upload", content).await;
    if let Some(actions) = asked.get("actions") {
        let action = &actions["upload"];
        assert_eq!(follow(app, "PUT", &action["header"]["00001"], content).await.status, 200);
        assert_eq!(follow(app, "POST", &action["href"], b"{}").await.status, 200);
    }
}

#[tokio::test]
async fn an_address_allows_one_thing_for_a_while() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny", "private").await;
    let asked = ask(&app, &repo, Some(&alice.write), "upload", b"first").await;
    let href = asked["actions"]["upload"]["href"].as_str().unwrap();
    let other = json!(href.replace(&sha256(b"first"), &sha256(b"other")));
    assert_eq!(follow(&app, "PUT", &other, b"other").await.status, 403);
    assert_eq!(follow(&app, "GET", &json!(href), b"").await.status, 403);
    let bare = json!(href.split('?').next().unwrap());
    assert_eq!(follow(&app, "PUT", &bare, b"first").await.status, 403);
    upload(&app, &repo, &alice, b"first").await;
    let asked = ask(&app, &repo, Some(&alice.read), "download", b"first").await;
    assert_eq!(asked["error"]["code"], Value::Null, "its uploader may read it at once");
    let href = &asked["actions"]["download"]["href"];
    assert_eq!(follow(&app, "GET", href, b"").await.text, "first");
    assert_eq!(follow(&app, "PUT", href, b"first").await.status, 403);
    app.clock.advance(Duration::from_secs(3601));
    assert_eq!(follow(&app, "GET", href, b"").await.status, 403);
}

#[tokio::test]
async fn a_removed_file_is_not_given_out_at_old_addresses() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny", "public").await;
    upload(&app, &repo, &alice, b"first").await;
    assert_eq!(commit(&app, &repo, &alice, b"first").await.status, 200);
    let asked = ask(&app, &repo, None, "download", b"first").await;
    let listed = app.get(&format!("/api/models/{repo}/lfs-files"), None).await;
    let file = &listed.json[0];
    assert_eq!((&file["filename"], &file["size"]), (&json!("a.bin"), &json!(5)), "{}", listed.text);
    let path = format!("/api/models/{repo}/lfs-files/batch");
    let deletions = |rewrite| json!({"deletions": {"sha": [file["fileOid"]], "rewriteHistory": rewrite}});
    assert_eq!(app.post(&path, Some(&alice.read), &deletions(false)).await.status, 403);
    assert_eq!(app.post(&path, Some(&alice.write), &deletions(false)).await.json["removed"], 1);
    assert_eq!(follow(&app, "GET", &asked["actions"]["download"]["href"], b"").await.status, 404);
    assert_eq!(app.get(&format!("/api/models/{repo}/lfs-files"), None).await.json, json!([]));
}

#[tokio::test]
async fn a_removed_file_is_forgotten_by_every_ref() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let repo = model(&app, &alice, "tiny", "public").await;
    upload(&app, &repo, &alice, b"first").await;
    assert_eq!(commit(&app, &repo, &alice, b"first").await.status, 200);
    let branch = format!("/api/models/{repo}/branch/side");
    assert_eq!(app.post(&branch, Some(&alice.write), &json!({})).await.status, 200);
    let before = app.get(&format!("/api/models/{repo}"), None).await.json["sha"].clone();
    let path = format!("/api/models/{repo}/lfs-files/batch");
    let forget = json!({"deletions": {"sha": [sha256(b"first")], "rewriteHistory": true}});
    assert_eq!(app.post(&path, Some(&bob.write), &forget).await.status, 403);
    let done = app.post(&path, Some(&alice.write), &forget).await;
    assert_eq!(done.json, json!({"removed": 1, "refs": ["refs/heads/main", "refs/heads/side"]}), "{}", done.text);
    let info = app.get(&format!("/api/models/{repo}"), None).await.json;
    assert_ne!(info["sha"], before);
    assert!(!info["siblings"].to_string().contains("a.bin"), "{info}");
    for revision in ["main", "side"] {
        assert_eq!(app.get(&format!("/{repo}/resolve/{revision}/a.bin"), None).await.status, 404);
    }
    // A commit on what was is told that it is not there any more.
    let lines = format!("{{\"key\":\"header\",\"value\":{{\"summary\":\"x\",\"parentCommit\":{before}}}}}\n");
    let ndjson = [("content-type", "application/x-ndjson")];
    let commit = format!("/api/models/{repo}/commit/main");
    let late = app.send("POST", &commit, Some(&alice.write), &ndjson, lines.into_bytes()).await;
    assert_eq!(late.status, 412, "{}", late.text);
    let again = app.post(&path, Some(&alice.write), &forget).await;
    assert_eq!(again.json, json!({"removed": 0, "refs": []}));
}

#[tokio::test]
async fn refusals_are_those_that_git_lfs_reads() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let repo = model(&app, &alice, "tiny", "private").await;
    let body = json!({"operation": "download", "objects": []});
    let anonymous = batch(&app, &repo, None, &body).await;
    assert_eq!(anonymous.status, 401);
    assert!(anonymous.header("lfs-authenticate").starts_with("Basic realm="), "git-lfs asks for a password then");
    assert_eq!(batch(&app, &repo, Some(&bob.write), &body).await.status, 404);
    let push = json!({"operation": "upload", "objects": [], "ref": {"name": "refs/heads/main"}});
    assert_eq!(batch(&app, &repo, Some(&alice.read), &push).await.status, 403);
    let locks = app.post(&format!("/{repo}.git/info/lfs/locks/verify"), Some(&alice.write), &json!({})).await;
    assert_eq!(locks.status, 404);
    for (body, status) in [
        (json!({"operation": "copy", "objects": []}), 400),
        (json!({"operation": "upload", "objects": [], "hash_algo": "md5"}), 400),
        (json!({"objects": []}), 400),
        (json!([]), 400),
    ] {
        let answer = batch(&app, &repo, Some(&alice.write), &body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
        assert_ne!(answer.json["message"], Value::Null, "{body}");
    }
    let odd = json!({"operation": "upload", "objects": [{"oid": "../../x", "size": 1}, {"oid": sha256(b"x"), "size": 1u64 << 50}]});
    let answer = batch(&app, &repo, Some(&alice.write), &odd).await;
    assert_eq!(
        (&answer.json["objects"][0]["error"]["code"], &answer.json["objects"][1]["error"]["code"]),
        (&json!(422), &json!(422))
    );
}

/// A session with the content-addressed store.
struct Session {
    base: String,
    token: String,
}

impl Session {
    async fn of(app: &TestApp, repo: &str, person: Option<&Person>, right: &str) -> Self {
        let path = format!("/api/models/{repo}/xet-{right}-token/main");
        let answer = app.get(&path, person.map(|person| person.write.as_str())).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("x-xet-cas-url"), answer.json["casUrl"]);
        assert_eq!(answer.header("x-xet-access-token"), answer.json["accessToken"]);
        assert_eq!(answer.header("x-xet-token-expiration"), answer.json["exp"].to_string());
        let base = answer.json["casUrl"].as_str().unwrap().strip_prefix(&app.url).unwrap().to_owned();
        Self { base, token: answer.json["accessToken"].as_str().unwrap().to_owned() }
    }

    async fn post(&self, app: &TestApp, path: &str, body: &[u8]) -> Answer {
        app.send("POST", &format!("{}{path}", self.base), Some(&self.token), &[], body.to_vec()).await
    }

    async fn get(&self, app: &TestApp, path: &str, range: Option<&str>) -> Answer {
        let headers: Vec<_> = range.map(|range| ("range", range)).into_iter().collect();
        app.send("GET", &format!("{}{path}", self.base), Some(&self.token), &headers, Vec::new()).await
    }

    async fn upload(&self, app: &TestApp, file: &XetFile) {
        let put = self.post(app, &format!("/v1/xorbs/default/{}", file.xorb_hash), &file.xorb).await;
        assert_eq!((put.status.as_u16(), put.json.is_object()), (200, true), "{}", put.text);
        let put = self.post(app, "/v1/shards", &file.shard).await;
        assert_eq!((put.status.as_u16(), &put.json["result"]), (200, &json!(1)), "{}", put.text);
    }
}

#[tokio::test]
async fn whichever_way_a_large_file_is_read_it_counts_once() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny", "public").await;
    let content = [b"first chunk ".repeat(1000), b"second chunk ".repeat(1000)].concat();
    let file = XetFile::of(&[&content[..12_000], &content[12_000..]]);
    Session::of(&app, &repo, Some(&alice), "write").await.upload(&app, &file).await;
    assert_eq!(commit(&app, &repo, &alice, &content).await.status, 200);
    let href = ask(&app, &repo, None, "download", &content).await["actions"]["download"]["href"].clone();
    let path = href.as_str().unwrap().strip_prefix(&app.url).unwrap();
    let reading = Session::of(&app, &repo, None, "read").await;
    let plan = format!("/v2/reconstructions/{}", file.file_hash);
    for range in [None, Some("bytes=0-99"), Some("bytes=12000-")] {
        let headers: Vec<_> = range.map(|range| ("range", range)).into_iter().collect();
        app.send("GET", path, None, &headers, Vec::new()).await;
        reading.get(&app, &plan, range).await;
    }
    app.lifetime.stop.cancel();
    app.lifetime.tasks.close();
    app.lifetime.tasks.wait().await;
    let name = repo.parse().unwrap();
    let repo = app.store.repo_by_name(spaceport_core::RepoKind::Model, &name).await.unwrap().unwrap();
    assert_eq!(repo.downloads, 4, "two that began by git-lfs, and two by Xet");
}

#[tokio::test]
async fn xet_uploads_and_both_read() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny", "public").await;
    let content = [b"first chunk ".repeat(1000), b"second chunk ".repeat(1000)].concat();
    let file = XetFile::of(&[&content[..12_000], &content[12_000..]]);
    let writing = Session::of(&app, &repo, Some(&alice), "write").await;
    writing.upload(&app, &file).await;
    assert_eq!(commit(&app, &repo, &alice, &content).await.status, 200);

    let asked = ask(&app, &repo, None, "download", &content).await;
    let got = follow(&app, "GET", &asked["actions"]["download"]["href"], b"").await;
    assert!(got.text.as_bytes() == content, "git-lfs reads what Xet sent");
    let head = app.send("HEAD", &format!("/{repo}/resolve/main/a.bin"), None, &[], Vec::new()).await;
    assert_eq!(head.header("x-xet-hash"), file.file_hash);
    assert!(head.header("link").contains("/xet-read-token/") && head.header("link").ends_with("rel=\"xet-auth\""));
    let tree = app.get(&format!("/api/models/{repo}/tree/main"), None).await.json;
    let entry = tree.as_array().unwrap().iter().find(|entry| entry["path"] == "a.bin").unwrap();
    assert_eq!(entry["xetHash"], file.file_hash);

    let reading = Session::of(&app, &repo, None, "read").await;
    let plan = reading.get(&app, &format!("/v1/reconstructions/{}", file.file_hash), None).await;
    assert_eq!(plan.json["offset_into_first_range"], 0, "{}", plan.text);
    assert_eq!(plan.json["terms"][0]["unpacked_length"], content.len());
    let fetch = &plan.json["fetch_info"][&file.xorb_hash][0];
    assert_eq!(fetch["range"], json!({"start": 0, "end": 2}));
    let range = format!("bytes={}-{}", fetch["url_range"]["start"], fetch["url_range"]["end"]);
    let path = fetch["url"].as_str().unwrap().strip_prefix(&app.url).unwrap().to_owned();
    let part = app.send("GET", &path, None, &[("range", &range)], Vec::new()).await;
    let length = file.xorb.len().to_string();
    assert_eq!((part.status.as_u16(), part.header("content-length")), (206, length.as_str()));

    // A range needs the second chunk only, and its address allows no more.
    let plan = reading.get(&app, &format!("/v2/reconstructions/{}", file.file_hash), Some("bytes=12010-12020")).await;
    assert_eq!(
        (&plan.json["offset_into_first_range"], &plan.json["terms"][0]["range"]["start"]),
        (&json!(10), &json!(1))
    );
    let fetch = &plan.json["xorbs"][&file.xorb_hash][0];
    let (start, end) = (&fetch["ranges"][0]["bytes"]["start"], &fetch["ranges"][0]["bytes"]["end"]);
    let path = fetch["url"].as_str().unwrap().strip_prefix(&app.url).unwrap().to_owned();
    let part = app.send("GET", &path, None, &[("range", &format!("bytes={start}-{end}"))], Vec::new()).await;
    assert!(part.text.ends_with("second chunk ") && !part.text.contains("first"), "{}", part.status);
    let wider = app.send("GET", &path, None, &[("range", &format!("bytes=0-{end}"))], Vec::new()).await;
    assert_eq!(wider.status, 403);
    let last: u64 = end.as_u64().unwrap();
    let two = format!("bytes={start}-{start},{last}-{last}");
    let parts = app.send("GET", &path, None, &[("range", &two)], Vec::new()).await;
    assert!(parts.header("content-type").starts_with("multipart/byteranges; boundary="), "{}", parts.text);
    assert_eq!(parts.text.matches("Content-Range: bytes").count(), 2);
    let behind = reading.get(&app, &format!("/v2/reconstructions/{}", file.file_hash), Some("bytes=999999-")).await;
    assert_eq!(behind.status, 416);
}

#[tokio::test]
async fn a_xet_token_is_for_one_repository() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let (private, public) =
        (model(&app, &alice, "private", "private").await, model(&app, &alice, "public", "public").await);
    let content = b"a secret of alice".as_slice();
    let file = XetFile::of(&[content]);
    let writing = Session::of(&app, &private, Some(&alice), "write").await;
    writing.upload(&app, &file).await;
    assert_eq!(commit(&app, &private, &alice, content).await.status, 200);
    let path = format!("/v1/reconstructions/{}", file.file_hash);
    assert_eq!(writing.get(&app, &path, None).await.status, 200);
    let elsewhere = Session::of(&app, &public, Some(&bob), "read").await;
    assert_eq!(elsewhere.get(&app, &path, None).await.status, 404);
    // Reading tokens write nothing.
    let put = elsewhere.post(&app, &format!("/v1/xorbs/default/{}", file.xorb_hash), &file.xorb).await;
    assert_eq!(put.status, 403);
    // Another account may not make files of xorbs that it did not send.
    let own = model(&app, &bob, "own", "public").await;
    let session = Session::of(&app, &own, Some(&bob), "write").await;
    assert_ne!(session.base, writing.base, "clients remember by address what they sent");
    let put = session.post(&app, "/v1/shards", &file.shard).await;
    assert_eq!(put.status, 400);
    assert!(put.json["error"].as_str().unwrap().contains("was not uploaded by this account"), "{}", put.text);
    session.upload(&app, &file).await;
    let anonymous = app.send("POST", &format!("{}/v1/shards", session.base), None, &[], file.shard.clone()).await;
    assert_eq!(anonymous.status, 403);
    app.clock.advance(Duration::from_secs(3601));
    assert_eq!(writing.get(&app, &path, None).await.status, 403);
}

#[tokio::test]
async fn an_account_is_told_which_chunks_it_has_sent() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let repo = model(&app, &alice, "tiny", "public").await;
    let file = XetFile::of(&[b"content"]);
    // Of one chunk, the xorb has the chunk's own hash.
    let path = format!("/v1/chunks/default/{}", file.xorb_hash);
    let session = Session::of(&app, &repo, Some(&alice), "write").await;
    assert_eq!(session.get(&app, &path, None).await.status, 404);
    session.upload(&app, &file).await;
    let known = session.get(&app, &path, None).await;
    assert_eq!((known.status.as_u16(), known.text.contains("HFRepoMetaData")), (200, true));
    assert_eq!(session.get(&app, "/v1/chunks/default/xyz", None).await.status, 400);
    // That the file is public changes nothing: bob would have to send it, too.
    let other = model(&app, &bob, "own", "public").await;
    let other = Session::of(&app, &other, Some(&bob), "write").await;
    assert_eq!(other.get(&app, &path, None).await.status, 404);
    let reading = Session::of(&app, &repo, Some(&alice), "read").await;
    assert_eq!(reading.get(&app, &path, None).await.status, 403);
}

#[tokio::test]
async fn a_shard_is_checked_with_progress() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny", "public").await;
    let file = XetFile::of(&[b"content"]);
    let session = Session::of(&app, &repo, Some(&alice), "write").await;
    let early = session.post(&app, "/v2/shards", &file.shard).await;
    assert_eq!(early.status, 200);
    let frame: Value = serde_json::from_str(early.text.lines().last().unwrap()).unwrap();
    assert_eq!((&frame["type"], &frame["retryable"]), (&json!("error"), &json!(false)), "{frame}");
    session.post(&app, &format!("/v1/xorbs/default/{}", file.xorb_hash), &file.xorb).await;
    let done = session.post(&app, "/v2/shards", &file.shard).await;
    let frame: Value = serde_json::from_str(done.text.lines().last().unwrap()).unwrap();
    assert_eq!(frame["type"], "result", "{}", done.text);
    for bad in [b"".as_slice(), b"not a shard", &file.shard[..100]] {
        let answer = session.post(&app, "/v2/shards", bad).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
    let put = session.post(&app, &format!("/v1/xorbs/default/{}", "0".repeat(64)), &file.xorb).await;
    assert_eq!(put.status, 400);
    // What this store does without.
    let grant = session.post(&app, &format!("/v1/xorb-grants/default/{}", file.xorb_hash), b"{}").await;
    assert_eq!(grant.status, 404);
}

#[tokio::test]
async fn files_are_copied_without_sending_them() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let (from, to) = (model(&app, &alice, "from", "private").await, model(&app, &alice, "to", "private").await);
    upload(&app, &from, &alice, b"content").await;
    assert_eq!(commit(&app, &from, &alice, b"content").await.status, 200);
    let files = json!([{"sha256": sha256(b"content"), "xetHash": "x", "filename": "a.bin"}, {"sha256": sha256(b"?")}]);
    let body = json!({"target": {"type": "model", "name": to}, "files": files});
    let path = format!("/api/models/{from}/lfs-files/duplicate");
    let copied = app.post(&path, Some(&alice.write), &body).await;
    assert_eq!(copied.json["failed"][0]["sha256"], sha256(b"?"), "{}", copied.text);
    assert_eq!(copied.json["failed"].as_array().unwrap().len(), 1);
    assert_eq!(ask(&app, &to, Some(&alice.write), "upload", b"content").await.get("actions"), None);
    assert_eq!(app.post(&path, Some(&bob.write), &body).await.status, 404);
    assert_eq!(app.post(&path, Some(&alice.read), &body).await.status, 403);
}
