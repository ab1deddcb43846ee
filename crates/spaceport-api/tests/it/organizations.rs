//! Organizations: who is in them, and what the four roles may do.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use spaceport_testkit::{Person, TestApp};

async fn org(app: &TestApp, admin: &Person, name: &str) {
    let made = app.post("/api/organizations", Some(&admin.write), &json!({"name": name})).await;
    assert_eq!((made.status.as_u16(), made.json["name"].as_str()), (200, Some(name)), "{}", made.text);
}

async fn set(app: &TestApp, by: &Person, org: &str, user: &str, role: &str) -> u16 {
    let path = format!("/api/organizations/{org}/members/{user}");
    app.call("PUT", &path, Some(&by.write), &json!({"role": role})).await.status.as_u16()
}

#[tokio::test]
async fn a_bucket_is_given_by_who_may_write_everything_of_its_owner() {
    let app = TestApp::start().await;
    let (alice, carl, wilma) = (app.person("alice").await, app.person("carl").await, app.person("wilma").await);
    org(&app, &alice, "lab").await;
    assert_eq!(set(&app, &alice, "lab", "carl", "contributor").await, 200);
    assert_eq!(set(&app, &alice, "lab", "wilma", "write").await, 200);
    let bucket = |read_only: bool| json!([{"type": "bucket", "source": "lab/notes", "mountPath": "/data", "readOnly": read_only}]);
    let new = |name: &str, volumes: &Value| json!({"type": "space", "organization": "lab", "name": name, "sdk": "static", "volumes": volumes});
    let made = app.post("/api/repos/create", Some(&carl.write), &new("early", &bucket(true))).await;
    assert_eq!(made.status, 403, "{}", made.text);
    assert_eq!(app.post("/api/repos/create", Some(&carl.write), &new("demo", &json!([]))).await.status, 200);
    let copy = json!({"repository": "lab/copy", "volumes": bucket(true)});
    let copied = app.post("/api/spaces/lab/demo/duplicate", Some(&carl.write), &copy).await;
    assert_eq!(copied.status, 403, "{}", copied.text);
    let scopes = json!({"scoped": [{"repo": "spaces/lab/demo", "permissions": ["repo.write"]}]});
    let request = json!({"name": "ci", "role": "fineGrained", "fineGrained": scopes});
    let narrow = app.post("/api/settings/tokens", Some(&wilma.write), &request).await.json["token"].clone();
    let narrow = narrow.as_str().unwrap();
    let put = async |token: &str, volumes: Value| {
        let body = json!({"volumes": volumes});
        app.call("PUT", "/api/spaces/lab/demo/volumes", Some(token), &body).await.status.as_u16()
    };
    assert_eq!(put(&carl.write, bucket(true)).await, 403);
    assert_eq!(put(narrow, bucket(true)).await, 403);
    assert_eq!(put(&wilma.write, bucket(true)).await, 200);
    // What the Space has stays with it, and gets no wider.
    for token in [&carl.write, narrow] {
        assert_eq!(put(token, bucket(true)).await, 200);
        assert_eq!(put(token, bucket(false)).await, 403);
    }
    assert_eq!(put(&carl.write, json!([])).await, 200);
    assert_eq!(put(&carl.write, bucket(true)).await, 403);
}

#[tokio::test]
async fn the_four_roles() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    org(&app, &alice, "lab").await;
    let mut people = Vec::new();
    for role in ["read", "contributor", "write", "admin"] {
        let person = app.person(&format!("{role}er")).await;
        assert_eq!(set(&app, &alice, "lab", &person.account.name, role).await, 200);
        people.push(person);
    }
    let create = async |person: &Person, name: &str| {
        let body = json!({"type": "space", "organization": "lab", "name": name, "sdk": "static", "private": true});
        app.post("/api/repos/create", Some(&person.write), &body).await.status.as_u16()
    };
    assert_eq!(create(&alice, "shared").await, 200);
    assert_eq!(create(&people[0], "x0").await, 403);
    for (index, person) in people.iter().enumerate().skip(1) {
        assert_eq!(create(person, &format!("x{index}")).await, 200, "{}", person.account.name);
    }
    // What each may do with a repository of somebody else, and of its own.
    let key = json!({"key": "K", "value": "v"});
    for (index, (others, own, owns_others)) in
        [(403, 404, 403), (403, 200, 403), (200, 200, 403), (200, 200, 200)].into_iter().enumerate()
    {
        let person = &people[index];
        let call = async |method: &str, path: String, body: &Value| {
            app.call(method, &path, Some(&person.write), body).await.status.as_u16()
        };
        let name = &person.account.name;
        assert_eq!(call("GET", "/api/spaces/lab/shared".to_owned(), &Value::Null).await, 200, "{name}");
        assert_eq!(call("POST", "/api/spaces/lab/shared/variables".to_owned(), &key).await, others, "{name}");
        assert_eq!(call("POST", format!("/api/spaces/lab/x{index}/variables"), &key).await, own, "{name}");
        let hide = json!({"visibility": "private"});
        assert_eq!(call("PUT", "/api/spaces/lab/shared/settings".to_owned(), &hide).await, owns_others, "{name}");
        let manages = if index == 3 { 200 } else { 403 };
        assert_eq!(call("PUT", "/api/organizations/lab".to_owned(), &json!({"details": "d"})).await, manages, "{name}");
        assert_eq!(set(&app, person, "lab", "reader", "read").await, manages, "{name}");
    }
    let stranger = app.person("stranger").await;
    assert_eq!(app.get("/api/spaces/lab/shared", Some(&stranger.write)).await.status, 404);
    let overview = app.get("/api/organizations/LAB/overview", Some(&stranger.write)).await.json;
    assert_eq!(
        (&overview["numUsers"], &overview["numSpaces"], &overview["details"]),
        (&json!(5), &json!(0), &json!("d"))
    );
    let overview = app.get("/api/organizations/lab/overview", Some(&people[0].read)).await.json;
    assert_eq!(overview["numSpaces"], 4, "a member sees what is private");
    assert_eq!(app.get("/api/spaces?author=lab", Some(&people[0].read)).await.json.as_array().unwrap().len(), 4);
    assert_eq!(app.get("/api/spaces?author=lab", None).await.json, json!([]));
}

#[tokio::test]
async fn members_come_and_go_and_one_admin_stays() {
    let app = TestApp::start().await;
    let (alice, bob, root) = (app.person("alice").await, app.person("bob").await, app.admin("root").await);
    org(&app, &alice, "Lab").await;
    assert_eq!(set(&app, &bob, "lab", "bob", "admin").await, 403, "nobody invites oneself");
    assert_eq!(set(&app, &alice, "lab", "nobody", "read").await, 404);
    assert_eq!(set(&app, &alice, "lab", "bob", "owner").await, 400);
    assert_eq!(set(&app, &alice, "nowhere", "bob", "read").await, 404);
    assert_eq!(set(&app, &alice, "bob", "bob", "read").await, 404, "a user is no organization");
    assert_eq!(set(&app, &alice, "lab", "bob", "write").await, 200);
    let me = app.get("/api/whoami-v2", Some(&bob.read)).await.json;
    assert_eq!(
        (&me["orgs"][0]["name"], &me["orgs"][0]["roleInOrg"], &me["orgs"][0]["type"]),
        (&json!("Lab"), &json!("write"), &json!("org"))
    );
    let members = app.get("/api/organizations/lab/members", None).await.json;
    assert_eq!(
        (&members[1]["user"], &members[1]["role"], &members[1]["type"]),
        (&json!("bob"), &json!("write"), &json!("user"))
    );

    let remove = async |by: &str, user: &str| {
        let path = format!("/api/organizations/lab/members/{user}");
        app.call("DELETE", &path, Some(by), &Value::Null).await.status.as_u16()
    };
    assert_eq!(remove(&alice.write, "alice").await, 409, "the last admin");
    assert_eq!(set(&app, &alice, "lab", "alice", "write").await, 409);
    assert_eq!(remove(&bob.write, "alice").await, 403);
    assert_eq!(remove(&bob.read, "bob").await, 403, "a token that may only read");
    assert_eq!(remove(&bob.write, "bob").await, 200, "everybody may leave");
    assert_eq!(remove(&alice.write, "bob").await, 404);
    assert_eq!(app.get("/api/whoami-v2", Some(&bob.read)).await.json["orgs"], json!([]));
    // A site admin helps where nobody else can.
    assert_eq!(set(&app, &root, "lab", "bob", "admin").await, 200);
    assert_eq!(remove(&root.write, "alice").await, 200);
    let audit = app.get("/api/admin/audit", Some(&root.write)).await.text;
    for action in ["org.create", "member.set", "member.remove"] {
        assert!(audit.contains(action), "{action}");
    }
}

#[tokio::test]
async fn an_organization_goes_when_it_is_empty() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    org(&app, &alice, "lab").await;
    for (name, status) in [("LAB", 409), ("alice", 409), ("api", 400), ("a b", 400), ("", 400)] {
        let answer = app.post("/api/organizations", Some(&bob.write), &json!({"name": name})).await;
        assert_eq!(answer.status.as_u16(), status, "{name}");
    }
    let root = app.admin("root").await;
    assert_eq!(app.post("/api/admin/users", Some(&root.write), &json!({"name": "Lab"})).await.status, 409);
    let new = json!({"name": "m", "organization": "lab"});
    assert_eq!(app.post("/api/repos/create", Some(&alice.write), &new).await.status, 200);
    let delete = async |by: &str| app.call("DELETE", "/api/organizations/lab", Some(by), &Value::Null).await.status;
    assert_eq!(delete(&alice.write).await, 409);
    let gone = json!({"name": "lab/m", "type": "model"});
    assert_eq!(app.call("DELETE", "/api/repos/delete", Some(&alice.write), &gone).await.status, 200);
    assert_eq!(delete(&bob.write).await, 403);
    assert_eq!(delete(&alice.write).await, 200);
    assert_eq!(app.get("/api/organizations/lab/overview", None).await.status, 404);
    org(&app, &bob, "lab").await;
    assert_eq!(delete(&alice.write).await, 403, "it is somebody else's now");
}

#[tokio::test]
async fn users_and_organizations_in_short() {
    let app = TestApp::start().await;
    let alice = app.person("Alice").await;
    org(&app, &alice, "lab").await;
    app.space(&alice, "open", "public").await;
    app.space(&alice, "hidden", "private").await;
    let seen = app.get("/api/users/alice/overview", None).await;
    assert_eq!(
        (&seen.json["user"], &seen.json["type"], &seen.json["numSpaces"], &seen.json["orgs"][0]["name"]),
        (&json!("Alice"), &json!("user"), &json!(1), &json!("lab")),
        "{}",
        seen.text
    );
    assert_eq!(app.get("/api/users/alice/overview", Some(&alice.read)).await.json["numSpaces"], 2);
    for path in ["/api/users/lab/overview", "/api/users/nobody/overview", "/api/organizations/alice/overview"] {
        assert_eq!(app.get(path, None).await.status, 404, "{path}");
    }
    let avatar = app.get("/api/organizations/lab/avatar", None).await.json["avatarUrl"].as_str().unwrap().to_owned();
    let picture = app.get(avatar.strip_prefix(&app.url).unwrap(), None).await;
    assert_eq!((picture.status.as_u16(), picture.header("content-type")), (200, "image/svg+xml"));
    assert!(picture.header("content-security-policy").contains("sandbox"));
    assert_eq!(app.get("/api/avatars/..%2fx", None).await.status, 404);

    let storage = app.get("/api/settings/repositories", Some(&alice.read)).await.json;
    assert_eq!(storage.as_array().unwrap().len(), 2);
    let first = app.get("/api/settings/repositories?limit=1", Some(&alice.read)).await;
    assert_eq!(first.json, json!([storage[0]]));
    let link = first.header("link").to_owned();
    let next = link.strip_prefix(&format!("<{}", app.url)).and_then(|link| link.split_once('>')).unwrap().0;
    let second = app.get(next, Some(&alice.read)).await;
    assert_eq!((&second.json, second.header("link")), (&json!([storage[1]]), ""));
    assert!(storage[0]["storage"].as_u64().unwrap() > 0, "{storage}");
    let names: BTreeSet<Option<&str>> = storage.as_array().unwrap().iter().map(|one| one["id"].as_str()).collect();
    assert_eq!(
        (&storage[0]["type"], names),
        (&json!("space"), BTreeSet::from([Some("Alice/hidden"), Some("Alice/open")]))
    );
    let empty = app.get("/api/organizations/lab/settings/repositories", Some(&alice.read)).await;
    assert_eq!((empty.status.as_u16(), &empty.json), (200, &json!([])));
}
