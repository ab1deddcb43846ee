//! Every endpoint with every kind of credential. The list of endpoints is complete: one that is in the
//! description of the API and not here fails the test.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use spaceport_core::RepoId;
use spaceport_core::access::Credential;
use spaceport_core::account::{Permission, Scope, Scopes, TokenRole};
use spaceport_testkit::{Person, TestApp};

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nobody in particular.
    Nothing,
    /// Somebody, whatever the credential may do.
    Anybody,
    /// To read everything the account may.
    Account,
    /// To read a private repository.
    Read,
    /// To change it.
    Write,
    /// To do everything in a namespace, as creating repositories does.
    Namespace,
    /// To manage an organization.
    Manage,
    /// Everything the account may do.
    Everything,
    /// The same, of a site admin.
    SiteAdmin,
    /// Tested elsewhere, for the reason that stands there.
    Elsewhere(&'static str),
}

use Needs::{Account, Anybody, Elsewhere, Everything, Manage, Namespace, Nothing, Read, SiteAdmin, Write};

/// What a credential can do of it.
#[derive(Debug, Clone, Copy)]
struct Can {
    read: bool,
    write: bool,
    namespace: bool,
    manage: bool,
    account: bool,
    everything: bool,
}

const NOTHING: Can =
    Can { read: false, write: false, namespace: false, manage: false, account: false, everything: false };
const READ: Can = Can { read: true, ..NOTHING };
const WRITE: Can = Can { write: true, ..READ };
const ALL: Can = Can { read: true, write: true, namespace: true, manage: true, account: true, everything: true };

fn rows() -> Vec<(&'static str, &'static str, Value, Needs)> {
    let none = || Value::Null;
    let key = || json!({"key": "NAME", "value": "v"});
    let space = "/api/spaces/{owner}/{name}";
    let below = |path: &str| -> &'static str { format!("{space}{path}").leak() };
    vec![
        ("GET", "/api/health", none(), Nothing),
        ("GET", "/api/agent-harnesses", none(), Nothing),
        ("POST", "/api/validate-yaml", json!({"content": ""}), Nothing),
        ("GET", "/api/models", none(), Nothing),
        ("GET", "/api/datasets", none(), Nothing),
        ("GET", "/api/spaces", none(), Nothing),
        ("GET", "/api/spaces/hardware", none(), Nothing),
        ("GET", "/api/spaces/templates", none(), Nothing),
        ("GET", "/api/spaces/semantic-search", none(), Nothing),
        ("GET", "/api/models-tags-by-type", none(), Nothing),
        ("GET", "/api/datasets-tags-by-type", none(), Nothing),
        ("GET", "/api/avatars/{name}", none(), Nothing),
        ("GET", "/api/users/{user}/overview", none(), Nothing),
        ("GET", "/api/organizations/{org}/overview", none(), Nothing),
        ("GET", "/api/organizations/{org}/avatar", none(), Nothing),
        ("GET", "/api/organizations/{org}/members", none(), Nothing),
        ("POST", "/api/credentials/revoke", none(), Elsewhere("a browser's cookie has no say in it")),
        ("GET", "/api/login", none(), Nothing),
        ("POST", "/api/login", none(), Elsewhere("makes a credential, needs none")),
        ("POST", "/api/login/link", none(), Elsewhere("makes a credential, needs none")),
        ("GET", "/api/login/device", none(), Elsewhere("a browser's session alone may do it")),
        ("POST", "/api/login/device", none(), Elsewhere("a browser's session alone may do it")),
        ("POST", "/api/logout", none(), Elsewhere("ends the credential")),
        ("GET", "/api/whoami-v2", none(), Anybody),
        ("GET", "/api/settings/tokens", none(), Account),
        ("GET", "/api/settings/sessions", none(), Account),
        ("GET", "/api/settings/identities", none(), Account),
        ("POST", "/api/settings/identities", none(), Elsewhere("a browser's session alone may do it")),
        ("DELETE", "/api/settings/identities", json!({"issuer": "x"}), Everything),
        ("GET", "/api/settings/repositories", none(), Anybody),
        ("GET", "/api/organizations/{org}/settings/repositories", none(), Anybody),
        ("POST", "/api/settings/tokens", json!({"name": "a/b"}), Everything),
        ("DELETE", "/api/settings/tokens/{token}", none(), Everything),
        ("POST", "/api/settings/password", json!({"password": "short"}), Everything),
        ("DELETE", "/api/settings/sessions/{session}", none(), Everything),
        ("POST", "/api/organizations", json!({"name": "a b"}), Everything),
        ("DELETE", "/api/organizations/{org}", none(), Everything),
        ("PUT", "/api/organizations/{org}", json!({"details": "x"}), Manage),
        ("PUT", "/api/organizations/{org}/members/{user}", json!({"role": "no such role"}), Manage),
        ("DELETE", "/api/organizations/{org}/members/{user}", none(), Manage),
        ("POST", "/api/repos/create", json!({"type": "space", "name": "new"}), Namespace),
        ("DELETE", "/api/repos/delete", none(), Elsewhere("deletes what the others need")),
        ("POST", "/api/repos/move", none(), Elsewhere("moving.rs")),
        ("GET", "/api/spaces/by-subdomain/{subdomain}", none(), Read),
        ("GET", space, none(), Read),
        ("GET", "/api/{kind}/{owner}/{name}", none(), Read),
        ("GET", "/api/{kind}/{owner}/{name}/revision/{revision}", none(), Read),
        ("GET", "/api/{kind}/{owner}/{name}/auth-check", none(), Read),
        ("GET", "/api/{kind}/{owner}/{name}/auth-check/write", none(), Write),
        ("PUT", "/api/{kind}/{owner}/{name}/settings", json!({"visibility": "private"}), Write),
        ("GET", below("/runtime"), none(), Read),
        ("GET", below("/host"), none(), Read),
        ("GET", below("/events"), none(), Read),
        ("GET", below("/builds"), none(), Read),
        ("GET", below("/builds/{number}"), none(), Read),
        ("GET", below("/releases"), none(), Read),
        ("GET", below("/instances"), none(), Read),
        ("GET", below("/metrics"), none(), Write),
        ("GET", below("/logs/run"), none(), Write),
        ("GET", below("/logs/build"), none(), Write),
        ("GET", below("/builds/{number}/log"), none(), Write),
        ("POST", below("/builds/{number}/cancel"), none(), Write),
        ("GET", below("/secrets"), none(), Write),
        ("POST", below("/secrets"), key(), Write),
        ("DELETE", below("/secrets"), key(), Write),
        ("GET", below("/variables"), none(), Write),
        ("POST", below("/variables"), key(), Write),
        ("DELETE", below("/variables"), key(), Write),
        ("POST", below("/hardware"), json!({"flavor": "cpu-upgrade"}), Write),
        ("POST", below("/sleeptime"), json!({"seconds": 300}), Write),
        ("POST", below("/pause"), none(), Write),
        ("POST", below("/restart"), none(), Write),
        ("POST", below("/stop"), none(), Elsewhere("also needs a site admin")),
        ("POST", below("/dev-mode"), json!({"enabled": false}), Write),
        ("POST", below("/replicas"), json!({"replicas": 1}), Write),
        ("POST", below("/storage"), json!({"tier": "small"}), Write),
        ("DELETE", below("/storage"), none(), Write),
        ("GET", "/api/spaces/zero-gpu/quota", none(), Anybody),
        ("GET", below("/queue"), none(), Read),
        ("GET", "/api/gpu/devices", none(), Anybody),
        ("POST", "/api/gpu/devices/{device}/drain", none(), SiteAdmin),
        ("POST", "/api/gpu/devices/{device}/undrain", none(), SiteAdmin),
        ("POST", "/api/gpu/nodes/{node}/cordon", none(), SiteAdmin),
        ("POST", "/api/gpu/nodes/{node}/uncordon", none(), SiteAdmin),
        ("GET", "/api/gpu/queue", none(), Anybody),
        ("POST", "/api/gpu/queue/{claim}/move", none(), SiteAdmin),
        ("POST", "/api/gpu/queue/{claim}/cancel", none(), SiteAdmin),
        ("GET", "/api/quotas", none(), Anybody),
        ("GET", "/api/quotas/{place}", none(), Anybody),
        ("PUT", "/api/quotas/{place}", none(), Elsewhere("gpu/quotas.rs")),
        ("DELETE", "/api/quotas/{place}", none(), Elsewhere("gpu/quotas.rs")),
        ("GET", "/api/usage", none(), Anybody),
        ("GET", "/api/usage/forecast", none(), Anybody),
        ("POST", "/api/usage/{entry}/refund", json!({"reason": "node_lost"}), SiteAdmin),
        ("GET", "/api/gpu/reservations", none(), Anybody),
        ("POST", "/api/gpu/reservations", json!({"place": "~nobody", "devices": 1, "until": "2999-01-01"}), SiteAdmin),
        ("DELETE", "/api/gpu/reservations/{reservation}", none(), SiteAdmin),
        ("GET", "/metrics", none(), SiteAdmin),
        ("GET", "/api/admin/users", none(), SiteAdmin),
        ("POST", "/api/admin/users", json!({"name": "a b"}), SiteAdmin),
        ("DELETE", "/api/admin/users/{user}", none(), SiteAdmin),
        ("POST", "/api/admin/users/{user}/disable", none(), SiteAdmin),
        ("POST", "/api/admin/users/{user}/enable", none(), SiteAdmin),
        ("PUT", "/api/admin/users/{user}/password", json!({"password": "short"}), SiteAdmin),
        ("POST", "/api/admin/users/{user}/sign-in-link", none(), SiteAdmin),
        ("GET", "/api/admin/users/{user}/tokens", none(), SiteAdmin),
        ("POST", "/api/admin/users/{user}/tokens", json!({"name": "a/b"}), SiteAdmin),
        ("DELETE", "/api/admin/users/{user}/tokens/{token}", none(), SiteAdmin),
        ("GET", "/api/admin/tasks", none(), SiteAdmin),
        ("GET", "/api/admin/audit", none(), SiteAdmin),
        // What these need differs with the repository and its owner; the file named has their tables.
        ("DELETE", "/api/organizations/{organization}/follow", none(), Elsewhere("community.rs")),
        ("DELETE", "/api/settings/webhooks/{webhook}", none(), Elsewhere("webhooks.rs")),
        ("DELETE", "/api/spaces/{owner}/{name}/volumes", none(), Elsewhere("settings.rs")),
        ("DELETE", "/api/users/{user}/follow", none(), Elsewhere("community.rs")),
        ("DELETE", "/api/{kind}/{owner}/{name}/branch/{branch}", none(), Elsewhere("refs.rs")),
        ("DELETE", "/api/{kind}/{owner}/{name}/like", none(), Elsewhere("community.rs")),
        ("DELETE", "/api/{kind}/{owner}/{name}/tag/{revision}", none(), Elsewhere("refs.rs")),
        ("GET", "/api/organizations/{organization}/followers", none(), Elsewhere("community.rs")),
        ("GET", "/api/settings/webhooks", none(), Elsewhere("webhooks.rs")),
        ("GET", "/api/settings/webhooks/{webhook}", none(), Elsewhere("webhooks.rs")),
        ("GET", "/api/settings/webhooks/{webhook}/deliveries", none(), Elsewhere("webhooks.rs")),
        ("GET", below("/jwt"), none(), Read),
        ("GET", "/api/users/{user}/followers", none(), Elsewhere("community.rs")),
        ("GET", "/api/users/{user}/following", none(), Elsewhere("community.rs")),
        ("GET", "/api/users/{user}/likes", none(), Elsewhere("community.rs")),
        ("GET", "/api/{kind}/{owner}/{name}/commits/{revision}", none(), Elsewhere("files.rs")),
        ("GET", "/api/{kind}/{owner}/{name}/compare/{range}", none(), Elsewhere("files.rs")),
        ("GET", "/api/{kind}/{owner}/{name}/discussions", none(), Elsewhere("community.rs")),
        ("GET", "/api/{kind}/{owner}/{name}/discussions/{number}", none(), Elsewhere("community.rs")),
        ("GET", "/api/{kind}/{owner}/{name}/lfs-files", none(), Elsewhere("large_files.rs")),
        ("GET", "/api/{kind}/{owner}/{name}/likers", none(), Elsewhere("community.rs")),
        ("GET", "/api/{kind}/{owner}/{name}/refs", none(), Elsewhere("refs.rs")),
        ("GET", "/api/{kind}/{owner}/{name}/tree/{rest}", none(), Elsewhere("files.rs")),
        ("GET", "/api/{kind}/{owner}/{name}/xet-read-token/{revision}", none(), Elsewhere("large_files.rs")),
        ("GET", "/api/{kind}/{owner}/{name}/xet-write-token/{revision}", none(), Elsewhere("large_files.rs")),
        ("GET", "/spaces/{owner}/{name}/agents.md", none(), Elsewhere("repositories.rs")),
        ("GET", "/{owner}/{name}/resolve/{rest}", none(), Elsewhere("files.rs")),
        ("POST", "/api/organizations/{organization}/follow", none(), Elsewhere("community.rs")),
        ("POST", "/api/settings/webhooks", none(), Elsewhere("webhooks.rs")),
        ("POST", "/api/settings/webhooks/{webhook}", none(), Elsewhere("webhooks.rs")),
        ("POST", "/api/settings/webhooks/{webhook}/deliveries/{delivery}/replay", none(), Elsewhere("webhooks.rs")),
        ("POST", "/api/settings/webhooks/{webhook}/disable", none(), Elsewhere("webhooks.rs")),
        ("POST", "/api/settings/webhooks/{webhook}/enable", none(), Elsewhere("webhooks.rs")),
        ("POST", "/api/users/{user}/follow", none(), Elsewhere("community.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/branch/{branch}", none(), Elsewhere("refs.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/commit/{revision}", none(), Elsewhere("commits.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/discussions", none(), Elsewhere("community.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/discussions/{number}/comment", none(), Elsewhere("community.rs")),
        (
            "POST",
            "/api/{kind}/{owner}/{name}/discussions/{number}/comment/{comment}/edit",
            none(),
            Elsewhere("community.rs"),
        ),
        (
            "POST",
            "/api/{kind}/{owner}/{name}/discussions/{number}/comment/{comment}/hide",
            none(),
            Elsewhere("community.rs"),
        ),
        ("POST", "/api/{kind}/{owner}/{name}/discussions/{number}/lock", none(), Elsewhere("community.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/discussions/{number}/merge", none(), Elsewhere("community.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/discussions/{number}/pin", none(), Elsewhere("community.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/discussions/{number}/status", none(), Elsewhere("community.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/discussions/{number}/title", none(), Elsewhere("community.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/lfs-files/batch", none(), Elsewhere("large_files.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/lfs-files/duplicate", none(), Elsewhere("large_files.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/like", none(), Elsewhere("community.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/duplicate", none(), Elsewhere("duplicate.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/paths-info/{revision}", none(), Elsewhere("files.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/preupload/{revision}", none(), Elsewhere("commits.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/super-squash/{revision}", none(), Elsewhere("refs.rs")),
        ("POST", "/api/{kind}/{owner}/{name}/tag/{revision}", none(), Elsewhere("refs.rs")),
        ("PUT", "/api/spaces/{owner}/{name}/volumes", none(), Elsewhere("settings.rs")),
    ]
}

#[test]
fn every_endpoint_is_in_the_table() {
    let document = serde_json::to_value(spaceport_api::openapi()).unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let tested: BTreeSet<_> =
        rows().into_iter().map(|(method, path, ..)| (method.to_owned(), path.to_owned())).collect();
    let missing: Vec<_> = described.difference(&tested).collect();
    let gone: Vec<_> = tested.difference(&described).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not tested: {missing:#?}\nno longer there: {gone:#?}");
}

/// What came of a call, whatever came of what it asks for.
fn outcome(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (401, _) => "not signed in",
        (403, _) => "refused",
        (404, "RepoNotFound") => "hidden",
        _ => "let in",
    }
}

fn expected(needs: Needs, can: Can, safe: bool, same_origin: bool) -> &'static str {
    let all = |may: bool| if may { "let in" } else { "refused" };
    if !safe && !same_origin {
        return "refused";
    }
    match needs {
        Nothing | Anybody => "let in",
        Read => {
            if can.read {
                "let in"
            } else {
                "hidden"
            }
        }
        Write if !can.read => "hidden",
        Write => all(can.write),
        Namespace => all(can.namespace),
        Manage => all(can.manage),
        Account => all(can.account),
        Everything | SiteAdmin => all(can.everything),
        Elsewhere(why) => panic!("not here: {why}"),
    }
}

fn fill(path: &str, owner: &str) -> String {
    let parts = [
        ("kind", "spaces"),
        ("owner", owner),
        ("name", "demo"),
        ("org", "lab"),
        ("user", "nobody"),
        ("token", "no-such-token"),
        ("session", "no-such-session"),
        ("number", "1"),
        ("revision", "main"),
        ("subdomain", "alice-demo"),
    ];
    let path = if path.starts_with("/api/users/") { path.replace("{user}", owner) } else { path.to_owned() };
    parts.iter().fold(path, |path, (name, value)| path.replace(&format!("{{{name}}}"), value))
}

/// A credential as headers, and what it can do with `alice/demo`, alice's namespace and `lab`.
struct Bearer {
    name: String,
    headers: Vec<(String, String)>,
    can: Can,
    same_origin: bool,
}

async fn bearers(app: &TestApp, owner: &Person, lab: spaceport_core::AccountId) -> Vec<Bearer> {
    let demo: RepoId = app.find("alice/demo").await.id.into();
    let other: RepoId = app.find("alice/other").await.id.into();
    let account = &owner.account;
    let one = |repo, permission| vec![Scope::repo(repo, vec![permission])];
    let all = |account, permission| vec![Scope::account(account, vec![permission])];
    let scoped = |scoped| Scopes { global: Vec::new(), scoped };
    let global = |permission| Scopes { global: vec![permission], scoped: Vec::new() };
    let own = account.id;
    let fine = [
        ("for nothing", Scopes::default(), NOTHING),
        ("to read demo", scoped(one(demo, Permission::ReadContent)), READ),
        ("to write demo", scoped(one(demo, Permission::Write)), WRITE),
        ("to discuss demo", scoped(one(demo, Permission::Discuss)), NOTHING),
        ("to write another one", scoped(one(other, Permission::Write)), NOTHING),
        ("to read alice's", scoped(all(own, Permission::ReadContent)), READ),
        ("to write alice's", scoped(all(own, Permission::Write)), Can { namespace: true, ..WRITE }),
        ("to write lab's", scoped(all(lab, Permission::Write)), NOTHING),
        ("to manage lab", scoped(all(lab, Permission::ManageOrg)), Can { manage: true, ..NOTHING }),
        ("to manage alice", scoped(all(own, Permission::ManageOrg)), NOTHING),
        ("to read all", global(Permission::ReadContent), READ),
        ("to write all", global(Permission::Write), Can { namespace: true, ..WRITE }),
        ("to manage all", global(Permission::ManageOrg), Can { manage: true, ..NOTHING }),
    ];
    let token = |token: &str| vec![("authorization".to_owned(), format!("Bearer {token}"))];
    let mut bearers = vec![
        Bearer {
            name: "a read token".to_owned(),
            headers: token(&owner.read),
            can: Can { account: true, ..READ },
            same_origin: true,
        },
        Bearer { name: "a write token".to_owned(), headers: token(&owner.write), can: ALL, same_origin: true },
    ];
    for (name, scopes, can) in fine {
        let value = app.token(account, name, TokenRole::FineGrained, scopes).await;
        bearers.push(Bearer { name: format!("a token {name}"), headers: token(&value), can, same_origin: true });
    }
    let cookie = || async { ("cookie".to_owned(), app.session(account).await) };
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for (name, origin, same_origin) in [
        ("a browser on our page", Some(header("sec-fetch-site", "same-origin")), true),
        ("a browser on our page, over http", Some(header("origin", &app.url)), true),
        ("a browser on an app's page", Some(header("origin", "http://alice-demo.localhost:8080")), false),
        ("a browser on a page nearby", Some(header("sec-fetch-site", "same-site")), false),
        ("a browser that does not say", None, false),
    ] {
        let headers = [cookie().await].into_iter().chain(origin).collect();
        bearers.push(Bearer { name: name.to_owned(), headers, can: ALL, same_origin });
    }
    bearers
}

#[tokio::test]
async fn every_credential_at_every_endpoint() {
    let app = TestApp::start().await;
    let (alice, bob, root) = (app.person("alice").await, app.person("bob").await, app.admin("root").await);
    app.space(&alice, "demo", "private").await;
    app.space(&alice, "other", "private").await;
    for owner in [&alice, &root] {
        let name = if owner.account.name == "alice" { "lab" } else { "site" };
        let made = app.post("/api/organizations", Some(&owner.write), &json!({"name": name})).await;
        assert_eq!(made.status, 200, "{}", made.text);
    }
    // An organization with repositories cannot be deleted meanwhile.
    let new = json!({"type": "space", "name": "kept", "organization": "lab", "sdk": "static"});
    assert_eq!(app.post("/api/repos/create", Some(&alice.write), &new).await.status, 200);
    let lab = app.store.account_by_name("lab").await.unwrap().unwrap();
    let owners = bearers(&app, &alice, lab.id).await;
    let admins = bearers(&app, &root, lab.id).await;
    let mut wrong = Vec::new();
    for (method, template, body, needs) in rows() {
        if matches!(needs, Elsewhere(_)) {
            continue;
        }
        let path = fill(template, "alice");
        let mut check = async |who: &str, headers: &[(String, String)], expected: &str| {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let (status, code) = app.look(method, &path, &headers, &body).await;
            let found = outcome(status, &code);
            if found != expected {
                wrong.push(format!("{method} {path} with {who}: {found} ({status} {code}), not {expected}"));
            }
        };
        let anonymous = if needs == Nothing { "let in" } else { "not signed in" };
        check("nothing", &[], anonymous).await;
        check(
            "a wrong token",
            &[("authorization".to_owned(), "Bearer hf_x".to_owned())],
            match template {
                // They do not ask who calls.
                "/api/health"
                | "/api/agent-harnesses"
                | "/api/validate-yaml"
                | "/api/spaces/hardware"
                | "/api/spaces/templates" => "let in",
                path if path.starts_with("/api/avatars/") => "let in",
                _ => "not signed in",
            },
        )
        .await;
        // A session that is over is none.
        check("an old cookie", &[("cookie".to_owned(), "spaceport_session=old".to_owned())], anonymous).await;
        let stranger = [("authorization".to_owned(), format!("Bearer {}", bob.write))];
        let strange = match needs {
            Nothing | Anybody | Account | Everything if !template.contains("{org}") || method == "GET" => "let in",
            Read | Write => "hidden",
            Namespace => "let in",
            _ => "refused",
        };
        check("a stranger's token", &stranger, strange).await;
        let safe = method == "GET";
        for bearer in if needs == SiteAdmin { &admins } else { &owners } {
            // What needs no caller does not look at cookies.
            let same_origin = bearer.same_origin || needs == Nothing;
            check(&bearer.name, &bearer.headers, expected(needs, bearer.can, safe, same_origin)).await;
        }
        if needs == SiteAdmin {
            for bearer in &owners {
                check(&format!("{} of no admin", bearer.name), &bearer.headers, "refused").await;
            }
        }
    }
    assert!(wrong.is_empty(), "{} surprises:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn git_takes_every_token_for_what_it_is() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let new = json!({"name": "lab"});
    assert_eq!(app.post("/api/organizations", Some(&alice.write), &new).await.status, 200);
    let lab = app.store.account_by_name("lab").await.unwrap().unwrap();
    app.space(&alice, "demo", "private").await;
    app.space(&alice, "other", "private").await;
    for bearer in bearers(&app, &alice, lab.id).await.iter().filter(|bearer| bearer.same_origin) {
        for (service, needs) in [("git-upload-pack", Read), ("git-receive-pack", Write)] {
            let headers: Vec<_> = bearer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let path = format!("/spaces/alice/demo/info/refs?service={service}");
            let (status, code) = app.look("GET", &path, &headers, &Value::Null).await;
            assert_eq!(
                outcome(status, &code),
                expected(needs, bearer.can, true, true),
                "{service} with {}",
                bearer.name
            );
        }
    }
}

#[tokio::test]
async fn only_who_may_own_a_repository_deletes_it() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let new = json!({"name": "lab"});
    assert_eq!(app.post("/api/organizations", Some(&alice.write), &new).await.status, 200);
    let lab = app.store.account_by_name("lab").await.unwrap().unwrap();
    app.space(&alice, "other", "private").await;
    app.space(&alice, "demo", "private").await;
    for bearer in bearers(&app, &alice, lab.id).await {
        let headers: Vec<_> = bearer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (status, code) =
            app.look("DELETE", "/api/repos/delete", &headers, &json!({"type": "space", "name": "demo"})).await;
        // A token that may not write at all is told so before the repository is looked for.
        let expected = match bearer.name.as_str() {
            "a read token" => "refused",
            _ => expected(Write, bearer.can, false, bearer.same_origin),
        };
        assert_eq!(outcome(status, &code), expected, "{}: {status} {code}", bearer.name);
        if expected == "let in" {
            // Fine-grained tokens are for the one that is gone.
            return;
        }
    }
    panic!("nobody could delete it");
}

/// `Credential` is what a handler sees; that sessions and tokens are told apart is what this is for.
#[test]
fn a_session_may_do_everything() {
    let session = spaceport_core::account::Session {
        id: spaceport_core::SessionId::new(spaceport_core::Timestamp::from_millis(1), 1),
        account: spaceport_core::AccountId::new(spaceport_core::Timestamp::from_millis(1), 1),
        created_at: spaceport_core::Timestamp::from_millis(1),
        last_used_at: spaceport_core::Timestamp::from_millis(1),
        expires_at: spaceport_core::Timestamp::from_millis(1),
        origin: String::new(),
        agent: String::new(),
    };
    assert_eq!(Credential::Session(session).role(), TokenRole::Write);
}
