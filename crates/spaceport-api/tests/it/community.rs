//! Discussions, pull requests, likes and follows as their clients see them.

use serde_json::{Value, json};
use spaceport_testkit::{Answer, Person, TestApp};

const NONE: Value = Value::Null;

/// A model with a file, made through the API.
pub async fn model(app: &TestApp, owner: &Person, name: &str, visibility: &str) -> String {
    let body = json!({"type": "model", "name": name, "visibility": visibility,
        "files": [{"path": "README.md", "content": "# One\n\nTwo\n"}]});
    let made = app.post("/api/repos/create", Some(&owner.write), &body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    format!("/api/models/{}/{name}", owner.account.name)
}

/// Opens a discussion; gives its number.
async fn open(app: &TestApp, repo: &str, by: &Person, title: &str, pull: bool) -> i64 {
    let body = json!({"title": title, "description": "because", "pullRequest": pull});
    let opened = app.post(&format!("{repo}/discussions"), Some(&by.write), &body).await;
    assert_eq!(opened.status, 200, "{}", opened.text);
    opened.json["num"].as_i64().unwrap()
}

fn types(details: &Value) -> Vec<&str> {
    details["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn numbers(list: &Answer) -> Vec<i64> {
    list.json["discussions"].as_array().unwrap().iter().map(|one| one["num"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_discussion_from_its_first_word_to_its_end() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let repo = model(&app, &alice, "tiny", "public").await;
    let body = json!({"title": "  How? ", "description": "**why** <script>x</script>", "pullRequest": false});
    let opened = app.post(&format!("{repo}/discussions"), Some(&bob.write), &body).await;
    assert_eq!(opened.json["num"], 1, "{}", opened.text);
    assert_eq!(opened.json["url"], format!("{}/alice/tiny/discussions/1", app.url));
    let path = format!("{repo}/discussions/1");
    let details = app.get(&path, None).await.json;
    assert_eq!((&details["title"], &details["status"]), (&json!("How?"), &json!("open")));
    assert_eq!(details["author"]["name"], "bob");
    assert_eq!(details["repo"], json!({"name": "alice/tiny", "type": "model"}));
    assert_eq!((&details["isPullRequest"], &details["changes"]), (&json!(false), &NONE));
    let first = &details["events"][0];
    assert_eq!(first["data"]["latest"]["raw"], "**why** <script>x</script>");
    assert_eq!(first["data"]["latest"]["html"], "<p><strong>why</strong> &lt;script&gt;x&lt;/script&gt;</p>\n");
    assert_eq!((&first["data"]["edited"], &first["data"]["history"]), (&json!(false), &json!([])));

    let post = async |below: &str, token: &str, body: Value| {
        let answer = app.post(&format!("{path}/{below}"), Some(token), &body).await;
        assert_eq!(answer.status, 200, "{below}: {}", answer.text);
        answer.json
    };
    let said = post("comment", &alice.write, json!({"comment": "So."})).await["newMessage"].clone();
    assert_eq!((&said["type"], &said["author"]["name"]), (&json!("comment"), &json!("alice")));
    let id = said["id"].as_str().unwrap().to_owned();
    let edited = post(&format!("comment/{id}/edit"), &alice.write, json!({"content": "Thus."})).await;
    let data = &edited["updatedComment"]["data"];
    assert_eq!((&data["edited"], &data["latest"]["raw"]), (&json!(true), &json!("Thus.")));
    assert_eq!((&data["history"][0]["raw"], &data["latest"]["author"]["name"]), (&json!("So."), &json!("alice")));
    let renamed = post("title", &bob.write, json!({"title": "Why?"})).await["newTitle"].clone();
    assert_eq!(renamed["data"], json!({"from": "How?", "to": "Why?"}));
    let closed = post("status", &bob.write, json!({"status": "closed", "comment": "Thanks!"})).await;
    assert_eq!(closed["newStatus"]["data"]["status"], "closed");
    let hidden = post(&format!("comment/{id}/hide"), &alice.write, NONE).await["updatedComment"].clone();
    assert_eq!((&hidden["data"]["hidden"], &hidden["data"]["hiddenBy"]), (&json!(true), &json!("alice")));
    let details = app.get(&path, None).await;
    assert!(!details.text.contains("Thus.") && !details.text.contains("So."), "hidden words are gone");
    assert_eq!(types(&details.json), ["comment", "comment", "title-change", "comment", "status-change"]);
    assert_eq!((&details.json["status"], &details.json["numComments"]), (&json!("closed"), &json!(2)));
    for (below, body, status) in [
        ("status", json!({"status": "closed"}), 409),
        ("status", json!({"status": "merged"}), 400),
        ("title", json!({"title": "Why?"}), 409),
        ("merge", NONE, 409),
        (&format!("comment/{id}/edit"), json!({"content": "again"}), 409),
        ("comment/01m83az47jn4cc9pc92xfm4pk2/edit", json!({"content": "x"}), 404),
    ] {
        let answer = app.post(&format!("{path}/{below}"), Some(&alice.write), &body).await;
        assert_eq!(answer.status.as_u16(), status, "{below}: {}", answer.text);
    }
    post("status", &alice.write, json!({"status": "open"})).await;
    // An account that was deleted did what it did.
    app.store.account_disable(bob.account.id, app.clock.now()).await.unwrap();
    let details = app.get(&path, None).await.json;
    assert_eq!((&details["author"], &details["events"][0]["author"]), (&NONE, &NONE));
    let audit = app.store.audit_latest(app.clock.now(), 50).await.unwrap();
    for action in ["discussion.open", "discussion.comment", "discussion.edit", "discussion.hide", "discussion.status"] {
        assert!(audit.iter().any(|entry| entry.action == action), "{action}");
    }
}

#[tokio::test]
async fn who_may_do_what_in_a_discussion() {
    let app = TestApp::start().await;
    let (alice, bob, carol) = (app.person("alice").await, app.person("bob").await, app.person("carol").await);
    let repo = model(&app, &alice, "tiny", "public").await;
    open(&app, &repo, &bob, "A question", false).await;
    let path = format!("{repo}/discussions/1");
    let comment = app.get(&path, None).await.json["events"][0]["id"].as_str().unwrap().to_owned();
    let callers = [None, Some(&alice.read), Some(&carol.write), Some(&bob.write), Some(&alice.write)];
    let speak = [401, 403, 200, 200, 200];
    let steer = [401, 403, 403, 200, 200];
    let keep = [401, 403, 403, 403, 200];
    let status = |status: &str| json!({"status": status});
    for (method, url, body, expected) in [
        ("GET", format!("{repo}/discussions"), NONE, [200; 5]),
        ("GET", path.clone(), NONE, [200; 5]),
        ("POST", format!("{repo}/discussions"), json!({"title": "t", "description": ""}), speak),
        ("POST", format!("{path}/comment"), json!({"comment": "c"}), speak),
        ("POST", format!("{path}/comment/{comment}/edit"), json!({"content": "d"}), steer),
        ("POST", format!("{path}/title"), json!({"title": "one"}), [401, 403, 403, 200, 409]),
        ("POST", format!("{path}/status"), status("closed"), [401, 403, 403, 200, 409]),
        ("POST", format!("{path}/status"), status("open"), [401, 403, 403, 200, 409]),
        ("POST", format!("{path}/pin"), json!({"pinned": true}), keep),
        ("POST", format!("{path}/comment/{comment}/hide"), NONE, [401, 403, 403, 200, 409]),
        ("POST", format!("{path}/lock"), json!({"locked": true}), keep),
        ("POST", format!("{path}/comment"), json!({"comment": "c"}), [401, 403, 403, 403, 200]),
        ("POST", format!("{path}/lock"), json!({"locked": false}), keep),
        ("POST", format!("{path}/comment"), json!({"comment": "c"}), speak),
        ("POST", format!("{repo}/like"), NONE, speak),
        ("DELETE", format!("{repo}/like"), NONE, speak),
        ("GET", format!("{repo}/likers"), NONE, [200; 5]),
    ] {
        for (caller, status) in callers.iter().zip(expected) {
            let answer = app.call(method, &url, caller.map(String::as_str), &body).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {url} as {caller:?}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn what_is_private_is_discussed_in_private() {
    let app = TestApp::start().await;
    let (alice, bob, root) = (app.person("alice").await, app.person("bob").await, app.admin("root").await);
    let repo = model(&app, &alice, "secret", "private").await;
    open(&app, &repo, &alice, "Nobody knows", false).await;
    let none = repo.replace("secret", "absent");
    for (method, below, body) in [
        ("GET", "discussions", NONE),
        ("HEAD", "discussions", NONE),
        ("POST", "discussions", json!({"title": "t"})),
        ("GET", "discussions/1", NONE),
        ("POST", "discussions/1/comment", json!({"comment": "c"})),
        ("POST", "discussions/1/merge", NONE),
        ("POST", "like", NONE),
        ("GET", "likers", NONE),
    ] {
        for token in [None, Some(bob.write.as_str())] {
            let hidden = app.call(method, &format!("{repo}/{below}"), token, &body).await;
            let absent = app.call(method, &format!("{none}/{below}"), token, &body).await;
            assert_eq!((hidden.status, &hidden.text), (absent.status, &absent.text), "{method} {below}");
            assert_eq!(hidden.header("x-error-code"), "RepoNotFound", "{method} {below}");
        }
    }
    assert_eq!(app.get(&format!("{repo}/discussions/1"), Some(&root.write)).await.status, 200);
    app.post(&format!("{repo}/like"), Some(&alice.write), &NONE).await;
    assert_eq!(app.get("/api/users/alice/likes", Some(&bob.read)).await.json, json!([]));
    assert_eq!(app.get("/api/users/alice/likes", Some(&alice.read)).await.json[0]["repo"]["name"], "alice/secret");
    // The app of a protected Space is for all, its discussions are not.
    app.space(&alice, "shown", "protected").await;
    assert_eq!(app.get("/api/spaces/alice/shown/discussions", Some(&bob.read)).await.status, 404);
    assert_eq!(app.get("/api/spaces/alice/shown/discussions", Some(&alice.read)).await.status, 200);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let repo = model(&app, &alice, "tiny", "public").await;
    for number in 0..53 {
        open(&app, &repo, if number % 2 == 0 { &alice } else { &bob }, &format!("Nr {number}"), number == 7).await;
    }
    app.post(&format!("{repo}/discussions/1/status"), Some(&alice.write), &json!({"status": "closed"})).await;
    let list = async |query: &str| app.get(&format!("{repo}/discussions{query}"), None).await;
    let first = list("").await;
    assert_eq!((&first.json["count"], &first.json["start"]), (&json!(53), &json!(0)));
    assert_eq!(numbers(&first), (4..=53).rev().collect::<Vec<_>>());
    let second = list("?p=1").await;
    assert_eq!((numbers(&second), &second.json["start"]), (vec![3, 2, 1], &json!(50)));
    assert!(numbers(&list("?p=2").await).is_empty() && numbers(&list("?p=99999999999999").await).is_empty());
    assert_eq!(numbers(&list("?type=pull_request").await), [8]);
    assert_eq!(list("?type=discussion").await.json["count"], 52);
    assert_eq!(numbers(&list("?status=closed").await), [1]);
    assert_eq!(list("?status=open&type=all").await.json["count"], 52);
    assert_eq!(list("?status=all&author=BOB").await.json["count"], 26);
    assert_eq!(list("?author=nobody").await.json["count"], 0);
    for wrong in ["?p=x", "?p=-1", "?type=issue", "?status=merged"] {
        assert_eq!(list(wrong).await.status, 400, "{wrong}");
    }
    let head = app.call("HEAD", &format!("{repo}/discussions"), None, &NONE).await;
    assert_eq!((head.status.as_u16(), head.header("x-total-count"), head.text.as_str()), (200, "53", ""));
}

#[tokio::test]
async fn what_cannot_be_said_is_refused() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny", "public").await;
    let path = format!("{repo}/discussions");
    for body in [
        json!({}),
        json!({"title": "  "}),
        json!({"title": "x".repeat(201)}),
        json!({"title": "two\nlines"}),
        json!({"title": "t", "description": "nul \u{0}"}),
        json!({"title": "t", "description": "x".repeat((64 << 10) + 1)}),
        json!({"title": ["t"]}),
    ] {
        let answer = app.post(&path, Some(&alice.write), &body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
    assert_eq!(app.get(&path, None).await.json["count"], 0);
    open(&app, &repo, &alice, "t", false).await;
    for body in [json!({}), json!({"comment": " \n"}), json!({"comment": "x".repeat((64 << 10) + 1)})] {
        let answer = app.post(&format!("{path}/1/comment"), Some(&alice.write), &body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
    for number in ["0", "2", "-1", "x", "99999999999999999999"] {
        assert_eq!(app.get(&format!("{path}/{number}"), None).await.status, 404, "{number}");
    }
    assert_eq!(
        app.post(&format!("{path}/1/comment"), Some(&alice.write), &json!({"comment": "x".repeat(64 << 10)}))
            .await
            .status,
        200
    );
}

/// A clone whose `refs/pr/N` is checked out.
async fn checkout(app: &TestApp, name: &str, token: &str, number: i64, folder: &str) {
    let url = app.git_url("", Some(token)).replace("/spaces/", &format!("/{name}"));
    assert!(app.git(&["clone", "-q", &url, folder]).await.status.success());
    let reference = format!("refs/pr/{number}");
    assert!(app.git(&["-C", folder, "fetch", "-q", "origin", &reference]).await.status.success());
    assert!(app.git(&["-C", folder, "checkout", "-q", "FETCH_HEAD"]).await.status.success());
}

async fn commit(app: &TestApp, folder: &str, path: &str, content: &str) {
    std::fs::write(app.folder.path().join(folder).join(path), content).unwrap();
    assert!(app.git(&["-C", folder, "add", "-A"]).await.status.success());
    let title = format!("Change {path}");
    assert!(app.git(&["-C", folder, "commit", "-q", "-m", &title]).await.status.success());
}

async fn push(app: &TestApp, folder: &str, to: &str) -> bool {
    app.git(&["-C", folder, "push", "-q", "--force", "origin", &format!("HEAD:{to}")]).await.status.success()
}

#[tokio::test]
async fn a_pull_request_of_a_stranger_is_pushed_and_merged() {
    let app = TestApp::start().await;
    let (alice, bob, carol) = (app.person("alice").await, app.person("bob").await, app.person("carol").await);
    let repo = model(&app, &alice, "tiny", "public").await;
    let number = open(&app, &repo, &bob, "Better words", true).await;
    let path = format!("{repo}/discussions/{number}");
    let draft = app.get(&format!("{path}?diff=1"), None).await.json;
    assert_eq!((&draft["status"], &draft["isPullRequest"]), (&json!("draft"), &json!(true)));
    assert_eq!(draft["changes"]["base"], "refs/heads/main");
    assert_eq!((&draft["filesWithConflicts"], &draft["diff"]), (&json!(false), &json!("")));
    let main = app.get(&repo, None).await.json["sha"].clone();
    assert_eq!(draft["changes"]["head"], main);

    checkout(&app, "alice/tiny", &bob.write, number, "bob").await;
    commit(&app, "bob", "new.txt", "new\n").await;
    let own = format!("refs/pr/{number}");
    for elsewhere in ["refs/heads/main", "refs/heads/other", "refs/tags/v1", "refs/pr/7"] {
        assert!(!push(&app, "bob", elsewhere).await, "{elsewhere}");
    }
    assert!(push(&app, "bob", &own).await, "the own pull request");
    checkout(&app, "alice/tiny", &carol.write, number, "carol").await;
    commit(&app, "carol", "new.txt", "mine\n").await;
    assert!(!push(&app, "carol", &own).await, "somebody else's");

    let pushed = app.get(&format!("{path}?diff=1"), None).await.json;
    assert_eq!(types(&pushed), ["comment", "commit"]);
    assert_eq!(pushed["events"][1]["data"]["subject"], "Change new.txt");
    assert_eq!(pushed["events"][1]["data"]["oid"], pushed["changes"]["head"]);
    assert!(pushed["diff"].as_str().unwrap().contains("+new"), "{pushed}");

    for (token, status) in [(&carol.write, 403), (&bob.write, 403), (&alice.read, 403)] {
        assert_eq!(app.post(&format!("{path}/merge"), Some(token), &NONE).await.status.as_u16(), status);
    }
    let opened = app.post(&format!("{path}/status"), Some(&bob.write), &json!({"status": "open"})).await;
    assert_eq!(opened.json["newStatus"]["data"]["status"], "open");
    let merged = app.post(&format!("{path}/merge"), Some(&alice.write), &json!({"comment": "Thank you"})).await;
    assert_eq!(merged.status, 200, "{}", merged.text);
    assert_eq!(merged.json["newStatus"]["data"]["status"], "merged");
    let after = app.get(&format!("{path}?diff=1"), None).await.json;
    assert_eq!(
        (&after["status"], &after["changes"]["mergeCommitId"]),
        (&json!("merged"), &merged.json["mergeCommitId"])
    );
    assert!(after["diff"].as_str().unwrap().contains("+new"), "the diff stays");
    assert_eq!(types(&after), ["comment", "commit", "status-change", "comment", "status-change"]);
    let info = app.get(&repo, None).await.json;
    assert_eq!(info["sha"], merged.json["mergeCommitId"], "main was recorded");
    assert!(info["siblings"].as_array().unwrap().iter().any(|file| file["rfilename"] == "new.txt"));
    assert_eq!(app.post(&format!("{path}/merge"), Some(&alice.write), &NONE).await.status, 409);
    assert_eq!(app.post(&format!("{path}/status"), Some(&alice.write), &json!({"status": "open"})).await.status, 409);
    commit(&app, "bob", "late.txt", "late\n").await;
    assert!(!push(&app, "bob", &own).await, "what is merged is over");
}

#[tokio::test]
async fn pull_requests_that_clash_are_not_merged() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let repo = model(&app, &alice, "tiny", "public").await;
    for (number, folder, text) in [(1, "one", "# Ours\n"), (2, "two", "# Theirs\n")] {
        assert_eq!(open(&app, &repo, &bob, "Edit", true).await, number);
        checkout(&app, "alice/tiny", &bob.write, number, folder).await;
        commit(&app, folder, "README.md", text).await;
        assert!(push(&app, folder, &format!("refs/pr/{number}")).await);
    }
    let merge =
        async |number: i64| app.post(&format!("{repo}/discussions/{number}/merge"), Some(&alice.write), &NONE).await;
    assert_eq!(merge(1).await.status, 200);
    let before = app.get(&repo, None).await.json["sha"].clone();
    let clash = app.get(&format!("{repo}/discussions/2"), None).await.json;
    assert_eq!(clash["filesWithConflicts"], json!(["README.md"]));
    let refused = merge(2).await;
    assert_eq!((refused.status.as_u16(), &refused.json["filesWithConflicts"]), (409, &json!(["README.md"])));
    assert!(refused.json["error"].as_str().unwrap().contains("README.md"));
    assert_eq!(app.get(&repo, None).await.json["sha"], before);
    assert_eq!(app.get(&format!("{repo}/discussions/2"), None).await.json["status"], "draft");
    // Main is merged into it, and what it brings is still one change.
    assert!(app.git(&["-C", "two", "fetch", "-q", "origin", "main"]).await.status.success());
    assert!(
        app.git(&["-C", "two", "merge", "-q", "-s", "ours", "FETCH_HEAD", "-m", "Up to date"]).await.status.success()
    );
    assert!(push(&app, "two", "refs/pr/2").await);
    let solved = app.get(&format!("{repo}/discussions/2?diff=1"), None).await.json;
    assert_eq!(solved["filesWithConflicts"], false);
    assert_eq!(types(&solved), ["comment", "commit", "commit"], "what came from main is not shown");
    assert!(solved["diff"].as_str().unwrap().contains("+# Theirs"));
    assert_eq!(merge(2).await.status, 200);
}

#[tokio::test]
async fn a_pull_request_without_commits_can_be_merged_and_one_without_a_base_cannot_be_opened() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny", "public").await;
    let number = open(&app, &repo, &alice, "Nothing", true).await;
    let merged = app.post(&format!("{repo}/discussions/{number}/merge"), Some(&alice.write), &NONE).await;
    assert_eq!(merged.json["mergeCommitId"], app.get(&repo, None).await.json["sha"], "{}", merged.text);
    // A ref that no pull request names takes its number with it.
    let id =
        app.store.repo_by_name("model".parse().unwrap(), &"alice/tiny".parse().unwrap()).await.unwrap().unwrap().id;
    let head = app.repositories.head(id, "main").await.unwrap().unwrap();
    app.repositories.create_pull_ref(id, 2, &head).await.unwrap();
    assert_eq!(open(&app, &repo, &alice, "Next", true).await, 3);
}

#[tokio::test]
async fn likes_count_and_come_in_pages() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let repo = model(&app, &alice, "tiny", "public").await;
    let other = model(&app, &alice, "other", "public").await;
    let mut people = Vec::new();
    for name in ["bob", "carol", "dave"] {
        people.push(app.person(name).await);
        app.clock.advance(std::time::Duration::from_secs(1));
        for _ in 0..2 {
            let liked = app.post(&format!("{repo}/like"), Some(&people.last().unwrap().write), &NONE).await;
            assert_eq!((liked.status.as_u16(), &liked.json["liked"]), (200, &json!(true)));
        }
    }
    app.clock.advance(std::time::Duration::from_secs(1));
    app.post(&format!("{other}/like"), Some(&people[0].write), &NONE).await;
    let info = app.get(&repo, None).await.json;
    assert_eq!((&info["likes"], &info["trendingScore"]), (&json!(3), &json!(3)));
    let (mut path, mut seen) = (format!("{repo}/likers?limit=2"), Vec::new());
    loop {
        let page = app.get(&path, None).await;
        for liker in page.json.as_array().unwrap() {
            assert!(liker["fullname"].is_string() && liker["avatarUrl"].is_string());
            seen.push(liker["user"].as_str().unwrap().to_owned());
        }
        let Some(next) = page.header("link").strip_prefix('<') else { break };
        path = next.split_once('>').unwrap().0.strip_prefix(&app.url).unwrap().to_owned();
    }
    assert_eq!(seen, ["dave", "carol", "bob"]);
    let likes = app.get("/api/users/BOB/likes?limit=1", None).await;
    assert_eq!(likes.json[0]["repo"], json!({"name": "alice/other", "type": "model"}));
    let next = likes.header("link").strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned();
    let rest = app.get(next.strip_prefix(&app.url).unwrap(), None).await;
    assert_eq!((&rest.json[0]["repo"]["name"], rest.header("link")), (&json!("alice/tiny"), ""));
    for _ in 0..2 {
        assert_eq!(app.call("DELETE", &format!("{repo}/like"), Some(&people[0].write), &NONE).await.status, 200);
    }
    assert_eq!(app.get(&repo, None).await.json["likes"], 2);
    let list = app.get("/api/models?sort=likes", None).await.json;
    assert_eq!((&list[0]["id"], &list[0]["likes"]), (&json!("alice/tiny"), &json!(2)));
    assert_eq!(app.get("/api/users/nobody/likes", None).await.status, 404);
    assert_eq!(app.get(&format!("{repo}/likers?cursor=x"), None).await.status, 400);
}

#[tokio::test]
async fn people_follow_people() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    for (token, status) in [(None, 401), (Some(&bob.read), 403), (Some(&bob.write), 200), (Some(&bob.write), 200)] {
        let answer = app.post("/api/users/alice/follow", token.map(String::as_str), &NONE).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    }
    let followers = app.get("/api/users/alice/followers", None).await.json;
    assert_eq!((followers.as_array().unwrap().len(), &followers[0]["user"]), (1, &json!("bob")));
    assert_eq!(app.get("/api/users/bob/following", None).await.json[0]["user"], "alice");
    let repo = model(&app, &alice, "tiny", "public").await;
    open(&app, &repo, &bob, "A question", false).await;
    app.post(&format!("{repo}/like"), Some(&bob.write), &NONE).await;
    let alice_is = app.get("/api/users/alice/overview", Some(&bob.read)).await.json;
    assert_eq!((&alice_is["numFollowers"], &alice_is["isFollowing"]), (&json!(1), &json!(true)));
    let bob_is = app.get("/api/users/bob/overview", None).await.json;
    let counted = ["numFollowing", "numDiscussions", "numLikes", "isFollowing"].map(|field| &bob_is[field]);
    assert_eq!(counted, [&json!(1), &json!(1), &json!(1), &json!(false)]);
    assert_eq!(app.get("/api/users/alice/following", None).await.json, json!([]));
    assert_eq!(app.post("/api/users/alice/follow", Some(&alice.write), &NONE).await.status, 400, "oneself");
    assert_eq!(app.post("/api/users/nobody/follow", Some(&bob.write), &NONE).await.status, 404);
    assert_eq!(
        app.post("/api/organizations/alice/follow", Some(&bob.write), &NONE).await.status,
        404,
        "no organization"
    );
    assert_eq!(app.call("DELETE", "/api/users/alice/follow", Some(&bob.write), &NONE).await.status, 200);
    assert_eq!(app.get("/api/users/alice/followers", None).await.json, json!([]));
}

#[tokio::test]
async fn a_merge_into_a_space_asks_for_a_build() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let space = app.space(&alice, "demo", "public").await;
    let repo = "/api/spaces/alice/demo";
    let number = open(&app, repo, &alice, "An app", true).await;
    checkout(&app, "spaces/alice/demo", &alice.write, number, "work").await;
    commit(&app, "work", "app.py", "print(1)\n").await;
    assert!(push(&app, "work", &format!("refs/pr/{number}")).await);
    let before = app.find("alice/demo").await.desired;
    assert_eq!(before.head, space.desired.head, "a pull request builds nothing");
    let merged = app.post(&format!("{repo}/discussions/{number}/merge"), Some(&alice.write), &NONE).await;
    let after = app.find("alice/demo").await.desired;
    assert_eq!(after.head.unwrap().as_str(), merged.json["mergeCommitId"].as_str().unwrap());
    assert!(after.generation > before.generation);
}
