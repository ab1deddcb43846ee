//! Files as clients read them.

use serde_json::{Value, json};
use spaceport_testkit::TestApp;

use crate::support::{committed, header, model, put};

fn paths(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_tree_is_listed_with_folders_in_pages() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    let sha = committed(
        &app,
        &alice,
        &id,
        &[header("Add"), put("a/b/c.txt", b"c"), put("a/ü d.txt", b"dd"), put("z.txt", b""), put("a%2Fb.txt", b"x")],
    )
    .await;
    let tree = format!("/api/models/{id}/tree");
    let root = app.get(&format!("{tree}/main"), None).await.json;
    // Git's order: a folder as if its name ended in a slash.
    assert_eq!(paths(&root), [".gitattributes", "README.md", "a%2Fb.txt", "a", "z.txt"]);
    assert_eq!(root[3]["type"], "directory");
    assert_eq!((&root[3]["size"], &root[4]["size"], &root[4]["type"]), (&json!(0), &json!(0), &json!("file")));
    assert_eq!(root[4]["oid"], "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    let all = app.get(&format!("{tree}/{sha}?recursive=true"), None).await.json;
    let expected = [".gitattributes", "README.md", "a%2Fb.txt", "a", "a/b", "a/b/c.txt", "a/ü d.txt", "z.txt"];
    assert_eq!(paths(&all), expected);
    for path in ["main/a%2Fb", "main/a/b", "refs%2Fheads%2Fmain/a/b/", "refs/heads/main/a%2fb"] {
        assert_eq!(paths(&app.get(&format!("{tree}/{path}"), None).await.json), ["a/b/c.txt"], "{path}");
    }

    // Pages show the commit the first one showed.
    let first = app.get(&format!("{tree}/main?recursive=true&limit=3&expand=true"), None).await;
    assert_eq!(paths(&first.json), [".gitattributes", "README.md", "a%2Fb.txt"]);
    assert_eq!(first.json[0]["lastCommit"]["title"], "initial commit");
    assert_eq!(first.json[2]["lastCommit"]["title"], "Add");
    assert_eq!(first.json[2]["lastCommit"]["id"], *sha);
    committed(&app, &alice, &id, &[header("More"), put("b.txt", b"b")]).await;
    let (mut found, mut next) = (3, first.header("link").to_owned());
    while let Some((url, _)) = next.strip_prefix('<').and_then(|link| link.split_once(">; rel=\"next\"")) {
        let page = app.get(url.strip_prefix(&app.url).unwrap(), None).await;
        assert!(!paths(&page.json).contains(&"b.txt"), "{}", page.text);
        found += page.json.as_array().unwrap().len();
        next = page.header("link").to_owned();
    }
    assert_eq!(found, 8);
}

#[tokio::test]
async fn what_is_not_there_has_a_code_and_a_commit() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    let long = "x/".repeat(2500);
    for path in
        ["nope", "README.md/x", "..", "%2e%2e/x", "%2Fetc%2Fpasswd", "C:%5Cx", "%F0%9F%9A%80", &long, ".git/config"]
    {
        for (url, code) in [
            (format!("/api/models/{id}/tree/main/{path}"), "EntryNotFound"),
            (format!("/{id}/resolve/main/{path}"), "EntryNotFound"),
            (format!("/{id}/raw/main/{path}"), "EntryNotFound"),
        ] {
            let answer = app.send("GET", &url, None, &[], Vec::new()).await;
            // The client of the test resolves dots, as browsers do, before it asks.
            if path.contains("..") || path.contains("%2e") {
                assert_ne!(answer.status, 500, "{url}");
                continue;
            }
            assert_eq!((answer.status.as_u16(), answer.header("x-error-code")), (404, code), "{url}: {}", answer.text);
            assert_eq!(answer.header("x-repo-commit").len(), 40, "{url}");
        }
    }
    // Nothing that is stored has a NUL in it, and PostgreSQL takes none: the question itself is wrong.
    assert_eq!(app.send("GET", &format!("/{id}/resolve/main/a%00b"), None, &[], Vec::new()).await.status, 400);
    for revision in ["nope", "%2e%2e%2f", "main%3Ax", "HEAD", "0000000", "refs%2Fheads%2F", "%F0%9F%9A%80"] {
        for url in [
            format!("/api/models/{id}/tree/{revision}"),
            format!("/api/models/{id}/commits/{revision}"),
            format!("/api/models/{id}/revision/{revision}"),
            format!("/{id}/resolve/{revision}/README.md"),
            format!("/api/models/{id}/compare/main..{revision}"),
        ] {
            let answer = app.get(&url, None).await;
            let found = (answer.status.as_u16(), answer.header("x-error-code"));
            assert_eq!(found, (404, "RevisionNotFound"), "{url}: {}", answer.text);
        }
    }
    for url in ["/api/models/alice/none/tree/main", "/alice/none/resolve/main/x", "/spaces/alice/none/raw/main/x"] {
        let answer = app.get(url, Some(&alice.read)).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-error-code")), (404, "RepoNotFound"), "{url}");
    }
    for url in [
        format!("/api/models/{id}/tree/main/%ff"),
        format!("/api/models/{id}/tree/main?limit=x"),
        format!("/api/models/{id}/tree/main?cursor=x"),
        format!("/api/models/{id}/commits/main?cursor=x"),
        format!("/api/models/{id}/commits/main?p=-1"),
        format!("/api/models/{id}/compare/main"),
        format!("/api/models/{id}/compare/main.."),
    ] {
        assert_eq!(app.get(&url, None).await.status, 400, "{url}");
    }
}

#[tokio::test]
async fn a_file_is_served_with_what_clients_read() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    let sha = committed(&app, &alice, &id, &[header("Add"), put("d/ä b.html", b"0123456789"), put("empty", b"")]).await;
    let url = format!("/{id}/resolve/main/d/%C3%A4%20b.html");
    let tag = "\"ad471007bd7f5983d273b9584e5629230150fd54\"";
    for method in ["HEAD", "GET"] {
        let answer = app.send(method, &url, None, &[("accept-encoding", "gzip")], Vec::new()).await;
        assert_eq!(answer.status, 200);
        for (name, value) in [
            ("x-repo-commit", sha.as_str()),
            ("etag", tag),
            ("content-length", "10"),
            ("accept-ranges", "bytes"),
            ("content-type", "text/plain; charset=utf-8"),
            ("content-disposition", "inline; filename*=UTF-8''%C3%A4%20b.html; filename=\"_ b.html\";"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("content-encoding", ""),
            ("x-linked-etag", ""),
        ] {
            assert_eq!(answer.header(name), value, "{method} {name}");
        }
        assert_eq!(answer.text, if method == "GET" { "0123456789" } else { "" });
    }
    let part = async |range: &str| {
        let answer = app.send("GET", &url, None, &[("range", range)], Vec::new()).await;
        (answer.status.as_u16(), answer.header("content-range").to_owned(), answer.text)
    };
    let of = |status, range: &str, text: &str| (status, range.to_owned(), text.to_owned());
    assert_eq!(part("bytes=2-4").await, of(206, "bytes 2-4/10", "234"));
    assert_eq!(part("bytes=7-").await, of(206, "bytes 7-9/10", "789"));
    assert_eq!(part("bytes=-2").await, of(206, "bytes 8-9/10", "89"));
    assert_eq!(part("bytes=-99").await, of(206, "bytes 0-9/10", "0123456789"));
    assert_eq!(part("bytes=x").await.0, 200);
    let outside = app.send("GET", &url, None, &[("range", "bytes=10-")], Vec::new()).await;
    assert_eq!((outside.status.as_u16(), outside.header("content-range")), (416, "bytes */10"));
    assert!(outside.json["error"].is_string());
    let known = app.send("GET", &url, None, &[("if-none-match", tag)], Vec::new()).await;
    assert_eq!((known.status.as_u16(), known.text.as_str(), known.header("x-repo-commit")), (304, "", &*sha));
    let save = app.get(&format!("{url}?download=true"), None).await;
    assert!(save.header("content-disposition").starts_with("attachment;"));
    let empty = app.get(&format!("/{id}/resolve/{sha}/empty"), None).await;
    assert_eq!((empty.status.as_u16(), empty.header("content-length")), (200, "0"));
    assert_eq!(app.get(&format!("/{id}/raw/main/d/%C3%A4%20b.html"), None).await.text, "0123456789");
    assert_eq!(app.get(&format!("/{id}/resolve/main/d"), None).await.header("x-error-code"), "EntryNotFound");
}

#[tokio::test]
async fn files_of_a_private_repository_are_for_those_who_may() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let secret = json!({"name": "hidden", "private": true, "files": [{"path": "a.txt", "content": "for my eyes"}]});
    app.post("/api/repos/create", Some(&alice.write), &secret).await;
    app.space(&alice, "app", "protected").await;
    for path in [
        "/alice/hidden/resolve/main/a.txt",
        "/alice/hidden/raw/main/a.txt",
        "/api/models/alice/hidden/tree/main",
        "/api/models/alice/hidden/refs",
        "/api/models/alice/hidden/commits/main",
        "/spaces/alice/app/resolve/main/README.md",
        "/api/spaces/alice/app/tree/main",
    ] {
        assert_eq!(app.get(path, Some(&alice.read)).await.status, 200, "{path}");
        for (token, status) in [(None, 401), (Some(&*bob.write), 404)] {
            let answer = app.get(path, token).await;
            assert_eq!((answer.status.as_u16(), answer.header("x-error-code")), (status, "RepoNotFound"), "{path}");
            assert!(!answer.text.contains("for my eyes"));
        }
    }
    let mine = app.get("/alice/hidden/resolve/main/a.txt", Some(&alice.read)).await;
    assert!(mine.header("cache-control").contains("private"));
}

#[tokio::test]
async fn paths_are_looked_up_by_form_and_by_json() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    committed(&app, &alice, &id, &[header("Add"), put("a/b.txt", b"b")]).await;
    let url = format!("/api/models/{id}/paths-info/main");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = "paths=a%2Fb.txt&paths=nope&paths=a&paths=..%2Fx&expand=True";
    let answer = app.send("POST", &url, None, &form, body.into()).await;
    assert_eq!(paths(&answer.json), ["a/b.txt", "a"], "{}", answer.text);
    assert_eq!(answer.json[0]["lastCommit"]["title"], "Add");
    let answer = app.post(&url, None, &json!({"paths": ["README.md"], "expand": false})).await;
    assert_eq!(paths(&answer.json), ["README.md"]);
    assert!(answer.json[0].get("lastCommit").is_none());
    assert_eq!(paths(&app.post(&url, None, &json!({"paths": "README.md"})).await.json), ["README.md"]);
    assert_eq!(app.send("POST", &url, None, &form, Vec::new()).await.json, json!([]));
    for wrong in [json!({"paths": 1}), json!("x"), json!({"paths": vec!["x"; 10_001]})] {
        assert_eq!(app.post(&url, None, &wrong).await.status, 400);
    }
}

#[tokio::test]
async fn history_and_differences_are_shown() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    for number in 0..5 {
        let title = format!("Commit <{number}>");
        let head =
            json!({"key": "header", "value": {"summary": title, "description": "Co-authored-by: Bob <b@localhost>"}});
        committed(&app, &alice, &id, &[head, put("a.txt", format!("{number}\n").as_bytes())]).await;
    }
    let url = format!("/api/models/{id}/commits/main");
    let all = app.get(&format!("{url}?expand[]=formatted"), None).await;
    assert_eq!(all.json.as_array().unwrap().len(), 6);
    assert_eq!(all.header("x-total-count"), "6");
    let newest = &all.json[0];
    assert_eq!((&newest["title"], &newest["formatted"]["title"]), (&json!("Commit <4>"), &json!("Commit &lt;4&gt;")));
    assert_eq!(newest["authors"], json!([{"user": "alice"}, {"user": "Bob"}]));
    assert_eq!(newest["date"], "2026-01-02T03:04:05.000Z");
    assert_eq!(all.json[5]["title"], "initial commit");
    let first = app.get(&format!("{url}?limit=4"), None).await;
    let link = first.header("link");
    let next = link.strip_prefix(&format!("<{}", app.url)).unwrap().split_once('>').unwrap().0;
    let second = app.get(next, None).await;
    assert_eq!((second.json.as_array().unwrap().len(), second.header("link")), (2, ""));
    let page = app.get(&format!("{url}?limit=4&p=1"), None).await.json;
    assert_eq!(page, second.json);
    assert_eq!(app.get(&format!("{url}?limit=1000&p=99999999999999999999"), None).await.status, 400);
    assert_eq!(app.get(&format!("{url}?limit=1000&p=9999999999999999999"), None).await.json, json!([]));

    let (old, new) = (all.json[2]["id"].as_str().unwrap(), "main");
    let raw = app.get(&format!("/api/models/{id}/compare/{old}..{new}?raw=true"), None).await;
    assert!(raw.text.contains("-2\n+4\n"), "{}", raw.text);
    assert!(raw.header("content-type").starts_with("text/plain"));
    let shown = app.get(&format!("/api/models/{id}/compare/{old}...refs%2Fheads%2Fmain"), None).await.json;
    assert_eq!(shown["files"], json!([{"path": "a.txt", "status": "modified"}]));
}

#[tokio::test]
async fn downloads_are_counted_even_when_the_server_ends() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    let url = format!("/{id}/resolve/main/README.md");
    for _ in 0..3 {
        app.get(&url, None).await;
    }
    app.send("HEAD", &url, None, &[], Vec::new()).await;
    app.send("GET", &url, None, &[("range", "bytes=5-")], Vec::new()).await;
    app.lifetime.stop.cancel();
    app.lifetime.tasks.close();
    app.lifetime.tasks.wait().await;
    let name = id.parse().unwrap();
    let repo = app.store.repo_by_name(spaceport_core::RepoKind::Model, &name).await.unwrap().unwrap();
    assert_eq!(repo.downloads, 3);
}

#[tokio::test]
async fn info_lists_files_with_sizes() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let id = model(&app, &alice, "tiny").await;
    committed(&app, &alice, &id, &[header("Add"), put("a/b.txt", b"bbb")]).await;
    let info = app.get(&format!("/api/models/{id}/revision/main?blobs=true"), None).await.json;
    let files = info["siblings"].as_array().unwrap();
    assert_eq!(files.len(), 3, "folders are not files: {info}");
    assert_eq!((&files[2]["rfilename"], &files[2]["size"]), (&json!("a/b.txt"), &json!(3)));
}
