//! The real git client against a served router.

use serde_json::json;
use spaceport_testkit::{TestApp, wait_for};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn commit(app: &TestApp, folder: &str, file: &str, content: &str) {
    std::fs::write(app.folder.path().join(folder).join(file), content).unwrap();
    assert!(app.git(&["-C", folder, "add", "."]).await.status.success());
    assert!(app.git(&["-C", folder, "commit", "-qm", "change"]).await.status.success());
}

#[tokio::test]
async fn a_push_becomes_the_desired_revision_and_says_where_to_look() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let space = app.space(&alice, "demo", "private").await;
    let url = app.git_url("alice/demo.git", Some(&alice.write));
    let clone = app.git(&["clone", "-q", &url, "work"]).await;
    assert!(clone.status.success(), "{}", text(&clone.stderr));
    commit(&app, "work", "app.py", "print('hello')\n").await;
    let push = app.git(&["-C", "work", "push", "origin", "main"]).await;
    let said = text(&push.stderr);
    assert!(push.status.success(), "{said}");
    assert!(said.contains("http://alice-demo.localhost:8080"), "{said}");
    assert!(said.contains(&format!("{}/spaces/alice/demo", app.url)), "{said}");
    assert!(said.contains("hf spaces logs alice/demo --build"), "{said}");
    // The push has ended, so it is recorded.
    let head = text(&app.git(&["-C", "work", "rev-parse", "HEAD"]).await.stdout);
    let pushed = app.find("alice/demo").await;
    assert_eq!(pushed.desired.head.unwrap().as_str(), head.trim());
    assert!(pushed.desired.generation > space.desired.generation);
    let info = app.get("/api/spaces/alice/demo", Some(&alice.read)).await.json;
    assert_eq!(info["siblings"][2]["rfilename"], "app.py");
    // Another branch moves nothing.
    commit(&app, "work", "other.py", "pass\n").await;
    let push = app.git(&["-C", "work", "push", "-q", "origin", "HEAD:refs/heads/other"]).await;
    assert!(push.status.success() && text(&push.stderr).contains("Only 'main' is built"), "{}", text(&push.stderr));
    assert_eq!(app.find("alice/demo").await.desired.generation, pushed.desired.generation);
    // A paused Space says that nothing is built.
    assert_eq!(app.post("/api/spaces/alice/demo/pause", Some(&alice.write), &json!({})).await.status, 200);
    let push = app.git(&["-C", "work", "push", "-q", "origin", "HEAD:main"]).await;
    assert!(text(&push.stderr).contains("alice/demo is paused"), "{}", text(&push.stderr));
}

#[tokio::test]
async fn git_gets_the_answer_that_makes_it_ask_or_stop() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    app.space(&alice, "open", "public").await;
    app.space(&alice, "closed", "private").await;
    app.space(&alice, "half", "protected").await;
    let refs = |space: &str, service: &str| format!("/spaces/alice/{space}/info/refs?service=git-{service}-pack");
    for (space, service, token, status) in [
        ("open", "upload", None, 200),
        ("open.git", "upload", None, 200),
        ("OPEN", "upload", None, 200),
        ("closed", "upload", None, 401),
        ("absent", "upload", None, 401),
        ("half", "upload", None, 401),
        ("closed", "upload", Some(&bob.write), 404),
        ("absent", "upload", Some(&bob.write), 404),
        ("half", "upload", Some(&bob.write), 404),
        ("closed", "upload", Some(&alice.read), 200),
        ("open", "receive", None, 401),
        ("open", "receive", Some(&bob.write), 403),
        ("open", "receive", Some(&alice.read), 403),
        ("closed", "receive", Some(&bob.write), 404),
        ("closed", "receive", Some(&alice.write), 200),
    ] {
        let answer = app.get(&refs(space, service), token.map(String::as_str)).await;
        assert_eq!(answer.status.as_u16(), status, "{service} {space}: {}", answer.text);
        assert_eq!(!answer.header("www-authenticate").is_empty(), status == 401, "{service} {space}");
    }
    let (hidden, absent) = (refs("closed", "upload"), refs("absent", "upload"));
    assert_eq!(app.get(&hidden, None).await.text, app.get(&absent, None).await.text);
    assert_eq!(app.get("/spaces/alice/open/info/refs", None).await.status, 403, "the dumb protocol is not spoken");
    assert_eq!(app.get("/spaces/alice/open/info/refs?service=git-upload-archive", None).await.status, 403);
}

#[tokio::test]
async fn a_read_token_cannot_push_and_git_says_why() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "private").await;
    let clone = app.git(&["clone", "-q", &app.git_url("alice/demo", Some(&alice.read)), "work"]).await;
    assert!(clone.status.success(), "{}", text(&clone.stderr));
    commit(&app, "work", "app.py", "pass\n").await;
    let push = app.git(&["-C", "work", "push", "origin", "main"]).await;
    assert!(!push.status.success());
    assert!(text(&push.stderr).contains("use a token with the role 'write'"), "{}", text(&push.stderr));
}

#[tokio::test]
async fn a_wrong_encoding_is_refused_and_a_broken_body_breaks_nothing() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let before = app.space(&alice, "demo", "public").await;
    let path = "/spaces/alice/demo/git-receive-pack";
    let token = Some(alice.write.as_str());
    let answer = app.send("POST", path, token, &[("content-encoding", "br")], b"x".to_vec()).await;
    assert_eq!(answer.status, 415);
    for body in [b"".to_vec(), b"zzzz".to_vec(), b"0000".to_vec(), vec![0xff; 100_000]] {
        app.send("POST", path, token, &[("content-type", "application/x-git-receive-pack-request")], body).await;
    }
    let answer = app.send("POST", "/spaces/alice/demo/git-upload-pack", None, &[], b"zzzz".to_vec()).await;
    assert!(answer.status.is_client_error() || answer.status.is_success(), "{}", answer.status);
    wait_for("pushes to end", || async { app.lifetime.tasks.len().le(&1).then_some(()) }).await;
    assert_eq!(app.find("alice/demo").await.desired, before.desired);
}

#[tokio::test]
async fn git_waits_for_its_turn_and_is_told_when_there_is_none() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    app.space(&alice, "demo", "public").await;
    let mut turns = Vec::new();
    for _ in 0..8 {
        turns.push(app.git.take(&alice.account.id.to_string()).await.unwrap());
    }
    let refs = "/spaces/alice/demo/info/refs?service=git-upload-pack";
    let own = app.get(refs, Some(&alice.read)).await;
    assert_eq!((own.status.as_u16(), own.header("retry-after")), (503, "5"), "{}", own.text);
    assert!(own.text.contains("8 git commands"), "{}", own.text);
    // Others have turns of their own, until the site has none left.
    assert_eq!(app.get(refs, Some(&bob.read)).await.status, 200);
    assert_eq!(app.get(refs, None).await.status, 200);
    for caller in ["carol", "dave", "erin", "frank"] {
        turns.push(app.git.take(caller).await.unwrap());
    }
    let full = app.get(refs, Some(&bob.read)).await;
    assert_eq!((full.status.as_u16(), full.header("x-error-code")), (503, "Busy"), "{}", full.text);
    // Whoever waits gets the next one.
    let (waited, ()) = futures::future::join(app.get(refs, Some(&bob.read)), async move { drop(turns) }).await;
    assert_eq!(waited.status, 200);
    let clone = app.git(&["clone", "-q", &app.git_url("alice/demo", Some(&alice.read)), "work"]).await;
    assert!(clone.status.success());
}
