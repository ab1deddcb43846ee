//! Sign-in through an OpenID Connect provider: the way there and back, who is let in, and what attackers try.

mod provider;

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use spaceport_api::{Admission, GroupRole, Oidc, OidcConfig, SignIn};
use spaceport_core::account::OrgRole;
use spaceport_testkit::TestApp;

use provider::{CLIENT, Provider, SECRET, Signature};

fn config(provider: &Provider) -> OidcConfig {
    OidcConfig {
        issuer: provider.issuer().to_owned(),
        client_id: CLIENT.to_owned(),
        client_secret: Some(SECRET.to_owned()),
        label: "Sign in with the lab".to_owned(),
        scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
        create_accounts: true,
        admission: Admission::default(),
        name_claim: "preferred_username".to_owned(),
        groups_claim: "groups".to_owned(),
        admin_group: None,
        organizations: Vec::new(),
        ca_bundle: None,
    }
}

async fn start() -> (Provider, TestApp) {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut OidcConfig)) -> (Provider, TestApp) {
    let provider = Provider::start().await;
    let mut config = config(&provider);
    change(&mut config);
    let app = TestApp::start_with(SignIn::with_provider(Some(Oidc::new(config).unwrap()))).await;
    (provider, app)
}

/// What a browser sees of an answer.
struct Page {
    status: u16,
    location: String,
    set: Vec<String>,
}

/// A browser: it keeps cookies, and goes where it is sent when the test says so.
struct Browser {
    client: reqwest::Client,
    jar: HashMap<String, String>,
}

impl Browser {
    fn new() -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { client: client.build().unwrap(), jar: HashMap::new() }
    }

    async fn open(&mut self, url: &str) -> Page {
        self.send(self.client.get(url)).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Page {
        let cookies: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = request.header("cookie", cookies.join("; ")).send().await.unwrap();
        let headers = answer.headers().clone();
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
        let set: Vec<String> = headers.get_all("set-cookie").iter().map(text).collect();
        for cookie in &set {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
        let location = headers.get("location").map(text).unwrap_or_default();
        Page { status: answer.status().as_u16(), location, set }
    }

    /// Leaves for the provider, agrees, and gives the address one is sent back to.
    async fn agree(&mut self, app: &TestApp, next: &str) -> String {
        let there = self.open(&format!("{}/login/oidc?next={next}", app.url)).await;
        assert_eq!(there.status, 303, "{}", there.location);
        self.open(&there.location).await.location
    }

    /// All of it: where one ends.
    async fn sign_in(&mut self, app: &TestApp) -> String {
        let back = self.agree(app, "/spaces/maya/demo").await;
        self.open(&back).await.location
    }

    async fn who(&self, app: &TestApp) -> Value {
        let cookies: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers = [("cookie", cookies.join("; "))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        app.send("GET", "/api/login", None, &headers, Vec::new()).await.json["user"].clone()
    }
}

/// A person at the provider.
fn person(provider: &Provider, subject: &str, name: &str, groups: &[&str]) {
    let claims = json!({"sub": subject, "preferred_username": name, "name": "", "groups": groups,
        "email": format!("{name}@lab.example"), "email_verified": true});
    provider.set(|behaviour| behaviour.claims = claims);
}

#[tokio::test]
async fn one_signs_in_comes_back_and_is_the_same_the_next_time() {
    let (provider, app) = start().await;
    let mut browser = Browser::new();
    assert_eq!(browser.who(&app).await, Value::Null);
    let button = app.get("/api/login", None).await.json["provider"].clone();
    assert_eq!(button, json!({"label": "Sign in with the lab", "url": "/login/oidc"}));

    let there = browser.open(&format!("{}/login/oidc?next=/spaces/maya/demo?a=b", app.url)).await;
    let errand = there.set.concat();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=900"] {
        assert!(errand.contains(attribute), "{errand}");
    }
    let back = browser.open(&there.location).await.location;
    let verifier_is_hidden = there.location.split(['?', '&']).all(|pair| !errand.contains(pair));
    assert!(verifier_is_hidden, "what the cookie says is sealed");
    let home = browser.open(&back).await;
    assert_eq!((home.status, home.location.as_str()), (303, "/spaces/maya/demo?a=b"));
    assert_eq!(browser.jar.keys().collect::<Vec<_>>(), ["spaceport_session"], "the errand is over");
    let me = browser.who(&app).await;
    assert_eq!((&me["name"], &me["fullname"], &me["isAdmin"]), (&json!("maya"), &json!("Maya Lind"), &json!(false)));
    assert_eq!((&me["connected"], &me["hasPassword"]), (&json!(true), &json!(false)));

    // With another key, another name and another address it is the same person.
    provider.set(|behaviour| {
        behaviour.signature = Signature::Es256;
        behaviour.claims = json!({"sub": "1", "preferred_username": "someone-else", "email": "else@lab.example"});
    });
    let mut other = Browser::new();
    assert_eq!(other.sign_in(&app).await, "/spaces/maya/demo");
    assert_eq!(other.who(&app).await["name"], "maya");
    // A second person is another one, whatever their name was.
    provider.set(|behaviour| behaviour.claims = json!({"sub": "2", "preferred_username": "Jo.Doe@lab.example"}));
    let mut third = Browser::new();
    third.sign_in(&app).await;
    assert_eq!(third.who(&app).await["name"], "Jo.Doe");
    let root = app.admin("root").await;
    let audit = app.get("/api/admin/audit", Some(&root.write)).await.text;
    assert!(audit.contains("user.create") && audit.contains(r#""how":"oidc""#), "{audit}");
}

#[tokio::test]
async fn nobody_gets_an_account_by_its_name() {
    let (provider, app) = start().await;
    let maya = app.person("Maya").await;
    let root = app.admin("root").await;
    assert_eq!(app.post("/api/organizations", Some(&root.write), &json!({"name": "lab"})).await.status, 200);
    for (subject, name, problem) in
        [("1", "maya", "name-taken"), ("2", "LAB", "name-taken"), ("3", "api", "no-name"), ("4", "李", "no-name")]
    {
        person(&provider, subject, name, &[]);
        let mut browser = Browser::new();
        let end = browser.sign_in(&app).await;
        assert_eq!(end, format!("/login?problem={problem}&next=%2Fspaces%2Fmaya%2Fdemo"), "{name}");
        assert_eq!(browser.who(&app).await, Value::Null);
    }
    // Whoever the account belongs to connects it, signed in.
    person(&provider, "1", "maya", &[]);
    let mut browser = Browser::new();
    let session = app.session(&maya.account).await;
    let (name, value) = session.split_once('=').unwrap();
    browser.jar.insert(name.to_owned(), value.to_owned());
    let connect = async |browser: &mut Browser, origin: &str| {
        let url = format!("{}/api/settings/identities", app.url);
        let cookies: Vec<String> = browser.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = browser.client.post(url).header("origin", origin).header("cookie", cookies.join("; "));
        let answer = request.body(r#"{"next": "/login"}"#).send().await.unwrap();
        let set = answer.headers().get("set-cookie").map(|set| set.to_str().unwrap().to_owned());
        (answer.status().as_u16(), set, answer.json::<Value>().await.unwrap()["url"].clone())
    };
    assert_eq!(connect(&mut browser, "http://evil.example").await.0, 403, "pages of others connect nothing");
    let (status, set, url) = connect(&mut browser, &app.url).await;
    assert_eq!(status, 200);
    let errand = set.unwrap();
    let (name, value) = errand.split(';').next().unwrap().split_once('=').unwrap();
    browser.jar.insert(name.to_owned(), value.to_owned());
    let back = browser.open(url.as_str().unwrap()).await.location;
    // In a browser where somebody else is signed in meanwhile it connects nobody.
    let mut mallory = Browser::new();
    mallory.jar.insert(name.to_owned(), value.to_owned());
    assert_eq!(mallory.open(&back).await.location, "/login?problem=expired&next=%2Flogin");
    let (_, set, url) = connect(&mut browser, &app.url).await;
    let errand = set.unwrap();
    let (name, value) = errand.split(';').next().unwrap().split_once('=').unwrap();
    browser.jar.insert(name.to_owned(), value.to_owned());
    let back = browser.open(url.as_str().unwrap()).await.location;
    assert_eq!(browser.open(&back).await.location, "/login");
    let mut fresh = Browser::new();
    fresh.sign_in(&app).await;
    assert_eq!(fresh.who(&app).await["name"], "Maya");

    let token = app.post("/api/settings/identities", Some(&maya.write), &json!({})).await;
    assert_eq!(token.status, 403, "tokens connect nothing: {}", token.text);
    let listed = app.get("/api/settings/identities", Some(&maya.read)).await.json;
    assert_eq!(listed, json!([{"issuer": provider.issuer(), "subject": "1"}]));
    let remove = async || {
        let body = json!({"issuer": provider.issuer()});
        app.call("DELETE", "/api/settings/identities", Some(&maya.write), &body).await.status.as_u16()
    };
    assert_eq!(remove().await, 409, "there would be no way in");
    let password = json!({"password": "correct horse battery"});
    assert_eq!(app.post("/api/settings/password", Some(&maya.write), &password).await.status, 200);
    assert_eq!(remove().await, 200);
    assert_eq!(remove().await, 404);
    let mut fresh = Browser::new();
    assert!(fresh.sign_in(&app).await.contains("name-taken"));
}

#[tokio::test]
async fn an_identity_is_one_accounts_alone_and_a_disabled_account_is_nobodys() {
    let (provider, app) = start().await;
    let (maya, root) = (app.person("other").await, app.admin("root").await);
    Browser::new().sign_in(&app).await;
    let mut browser = Browser::new();
    let session = app.session(&maya.account).await;
    let (name, value) = session.split_once('=').unwrap();
    browser.jar.insert(name.to_owned(), value.to_owned());
    let url = format!("{}/api/settings/identities", app.url);
    let request = browser.client.post(url).header("origin", &app.url).header("cookie", &session);
    let answer = request.send().await.unwrap();
    let set = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
    browser.jar.insert(name.to_owned(), value.to_owned());
    let there = answer.json::<Value>().await.unwrap()["url"].as_str().unwrap().to_owned();
    let back = browser.open(&there).await.location;
    assert_eq!(browser.open(&back).await.location, "/login?problem=connected");

    assert_eq!(app.post("/api/admin/users/maya/disable", Some(&root.write), &Value::Null).await.status, 200);
    let mut browser = Browser::new();
    assert!(browser.sign_in(&app).await.starts_with("/login?problem=disabled"));
    assert_eq!(browser.who(&app).await, Value::Null);
    assert_eq!(app.post("/api/admin/users/maya/enable", Some(&root.write), &Value::Null).await.status, 200);
    browser.sign_in(&app).await;
    assert_eq!(browser.who(&app).await["name"], "maya");
    // One that was deleted does not come back under another identity, and its name stays taken.
    assert_eq!(app.call("DELETE", "/api/admin/users/maya", Some(&root.write), &Value::Null).await.status, 200);
    assert!(browser.sign_in(&app).await.starts_with("/login?problem=name-taken"));
    let _ = provider;
}

#[tokio::test]
async fn who_may_sign_in_is_said_by_address_and_groups() {
    let (provider, app) = start_with(|config| {
        config.admission.domains = vec!["lab.example".to_owned()];
        config.admission.groups = vec!["guests".to_owned()];
    })
    .await;
    for (claims, let_in) in [
        (json!({"email": "a@LAB.example", "email_verified": true}), true),
        (json!({"email": "a@lab.example", "email_verified": "true"}), true),
        (json!({"email": "a@lab.example", "email_verified": false}), false),
        (json!({"email": "a@lab.example"}), false),
        (json!({"email": "a@lab.example.evil", "email_verified": true}), false),
        (json!({"email": "a@evil.example", "email_verified": true, "groups": ["guests"]}), true),
        (json!({"groups": "guests"}), true),
        (json!({"groups": ["Guests", "guest", 7, null]}), false),
        (json!({"groups": {"guests": true}}), false),
        (json!({}), false),
    ] {
        let mut all = json!({"sub": claims.to_string(), "preferred_username": "x"});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        provider.set(|behaviour| behaviour.claims = all);
        let end = Browser::new().sign_in(&app).await;
        // The name is taken after the first one, which comes after admission.
        let admitted = end == "/spaces/maya/demo" || end.contains("name-taken");
        assert_eq!(admitted, let_in, "{claims}: {end}");
        assert!(let_in || end.contains("problem=not-admitted"), "{end}");
    }
}

#[tokio::test]
async fn without_new_accounts_only_known_people_sign_in() {
    let (provider, app) = start_with(|config| config.create_accounts = false).await;
    let end = Browser::new().sign_in(&app).await;
    assert!(end.contains("problem=no-account"), "{end}");
    assert!(app.store.account_by_name("maya").await.unwrap().is_none());
    let maya = app.person("maya").await;
    let identity = spaceport_store::Identity { issuer: provider.issuer().to_owned(), subject: "1".to_owned() };
    app.store.identity_add(maya.account.id, &identity, app.clock.now()).await.unwrap();
    assert_eq!(Browser::new().sign_in(&app).await, "/spaces/maya/demo");
}

#[tokio::test]
async fn groups_make_members_and_admins_and_unmake_them() {
    let map = |group: &str, organization: &str, role| GroupRole {
        group: group.to_owned(),
        organization: organization.to_owned(),
        role,
    };
    let (provider, app) = start_with(|config| {
        config.admin_group = Some("admins".to_owned());
        config.groups_claim = "realm_access.roles".to_owned();
        config.organizations = vec![
            map("ml", "vision", OrgRole::Write),
            map("everyone", "vision", OrgRole::Read),
            map("ml", "missing", OrgRole::Admin),
        ];
    })
    .await;
    let root = app.admin("root").await;
    for org in ["vision", "elsewhere"] {
        assert_eq!(app.post("/api/organizations", Some(&root.write), &json!({"name": org})).await.status, 200);
    }
    // Whoever made it first would be given everybody of the group.
    let mallory = app.person("mallory").await;
    let refused = app.post("/api/organizations", Some(&mallory.write), &json!({"name": "Missing"})).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    let sign_in = async |groups: &[&str]| {
        let claims = json!({"sub": "1", "preferred_username": "maya", "realm_access": {"roles": groups}});
        provider.set(|behaviour| behaviour.claims = claims);
        let mut browser = Browser::new();
        browser.sign_in(&app).await;
        let maya = app.store.account_by_name("maya").await.unwrap().unwrap();
        let orgs = app.store.orgs_of(maya.id).await.unwrap();
        let orgs: Vec<String> = orgs.iter().map(|(org, role)| format!("{} {role}", org.name)).collect();
        (browser.who(&app).await["isAdmin"] == true, orgs.join(", "))
    };
    assert_eq!(sign_in(&[]).await, (false, String::new()));
    assert_eq!(sign_in(&["everyone", "ml"]).await, (false, "vision write".to_owned()));
    assert_eq!(sign_in(&["everyone", "admins"]).await, (true, "vision read".to_owned()));
    let member = json!({"role": "write"});
    let path = "/api/organizations/elsewhere/members/maya";
    assert_eq!(app.call("PUT", path, Some(&root.write), &member).await.status, 200);
    assert_eq!(sign_in(&["admins"]).await, (true, "elsewhere write".to_owned()), "the mapping rules what it names");
    assert_eq!(sign_in(&["ml"]).await, (false, "elsewhere write, vision write".to_owned()));
    let audit = app.get("/api/admin/audit", Some(&root.write)).await.text;
    assert!(audit.contains("user.admin") && audit.contains("member.remove"), "{audit}");
    // The last admin of a site stays one.
    assert!(sign_in(&["admins"]).await.0);
    let maya = app.store.account_by_name("maya").await.unwrap().unwrap();
    app.store.account_disable(root.account.id, app.clock.now()).await.unwrap();
    assert!(sign_in(&[]).await.0);
    assert_eq!(maya.name, "maya");
}

#[tokio::test]
async fn what_a_token_leaves_out_is_asked_for() {
    let (provider, app) = start_with(|config| config.admission.groups = vec!["ml".to_owned()]).await;
    provider.set(|behaviour| {
        behaviour.claims = json!({"sub": "1"});
        behaviour.userinfo = json!({"sub": "1", "preferred_username": "maya", "groups": ["ml"]});
    });
    let mut browser = Browser::new();
    browser.sign_in(&app).await;
    assert_eq!(browser.who(&app).await["name"], "maya");
    // What it says of somebody else is not about this one; nor does it change what is signed.
    provider.set(|behaviour| behaviour.userinfo["sub"] = json!("2"));
    assert!(Browser::new().sign_in(&app).await.contains("problem=token"));
    provider.set(|behaviour| {
        behaviour.claims = json!({"sub": "3", "groups": []});
        behaviour.userinfo = json!({"sub": "3", "preferred_username": "jo", "groups": ["ml"]});
    });
    assert!(Browser::new().sign_in(&app).await.contains("problem=not-admitted"));
}

#[tokio::test]
async fn a_token_that_breaks_a_rule_signs_nobody_in() {
    let (mut provider, mut app) = start().await;
    let (later, issuer) = (json!(1_767_323_045 + 120), provider.issuer().to_owned());
    let rules: Vec<(&str, &str, Value)> = vec![
        ("nonce", "token", json!("another")),
        ("nonce", "token", Value::Null),
        ("nonce", "token", json!(["x"])),
        ("iss", "token", json!("http://evil.example")),
        ("iss", "token", json!(format!("{issuer}/"))),
        ("iss", "token", Value::Null),
        ("aud", "token", json!("another client")),
        ("aud", "token", json!(["another client", "a third"])),
        ("aud", "token", json!([])),
        ("aud", "token", json!({CLIENT: true})),
        ("aud", "token", Value::Null),
        // Several audiences, and nothing says that it was given to us.
        ("aud", "token", json!([CLIENT, "another client"])),
        ("azp", "token", json!("another client")),
        ("sub", "token", Value::Null),
        ("sub", "token", json!("")),
        ("sub", "token", json!(1)),
        ("sub", "token", json!("a\u{0}b")),
        ("sub", "token", json!("x".repeat(256))),
        ("exp", "token", Value::Null),
        ("exp", "token", json!("9999999999")),
        ("iat", "token", Value::Null),
        ("nbf", "token", json!("0")),
        ("exp", "clock", json!(1_767_323_045 - 61)),
        ("iat", "clock", later.clone()),
        ("nbf", "clock", later),
    ];
    for (index, (claim, problem, value)) in rules.into_iter().enumerate() {
        // Whoever fails too often from one address must wait.
        if index == 15 {
            (provider, app) = start().await;
        }
        let text = format!("{claim} = {value}");
        provider.set(|behaviour| {
            behaviour.change = Box::new(move |claims| {
                if value.is_null() {
                    claims.remove(claim)
                } else {
                    claims.insert(claim.to_owned(), value.clone())
                };
            });
        });
        let mut browser = Browser::new();
        let end = browser.sign_in(&app).await;
        assert_eq!(end, format!("/login?problem={problem}&next=%2Fspaces%2Fmaya%2Fdemo"), "{text}");
        assert_eq!(browser.who(&app).await, Value::Null, "{text}");
    }
    // What the rules allow.
    for (claim, value) in [
        ("aud", json!([CLIENT])),
        ("azp", json!(CLIENT)),
        ("exp", json!(1_767_323_045 - 59)),
        ("iat", json!(1_767_323_045 + 59)),
        ("exp", json!(1_767_323_345.5)),
    ] {
        let text = format!("{claim} = {value}");
        provider.set(|behaviour| {
            behaviour.change = Box::new(move |claims| {
                claims.insert(claim.to_owned(), value.clone());
            });
        });
        assert_eq!(Browser::new().sign_in(&app).await, "/spaces/maya/demo", "{text}");
    }
}

#[tokio::test]
async fn only_a_published_key_signs() {
    let (provider, app) = start().await;
    for signature in [Signature::None, Signature::Hs256, Signature::OtherKey, Signature::UnknownKey] {
        provider.set(|behaviour| behaviour.signature = signature);
        let end = Browser::new().sign_in(&app).await;
        assert!(end.starts_with("/login?problem=token"), "{signature:?}: {end}");
    }
    provider.set(|behaviour| behaviour.signature = Signature::Es256);
    assert_eq!(Browser::new().sign_in(&app).await, "/spaces/maya/demo");
    // A new key counts as soon as keys may be looked at again, and the old one does not any more.
    provider.set(|behaviour| behaviour.ec = 1);
    let asked = provider.get(|behaviour| behaviour.key_calls);
    assert!(Browser::new().sign_in(&app).await.contains("problem=token"), "not more than once a minute");
    assert_eq!(provider.get(|behaviour| behaviour.key_calls), asked);
    app.clock.advance(Duration::from_secs(61));
    provider.set(|behaviour| behaviour.now += 61);
    assert_eq!(Browser::new().sign_in(&app).await, "/spaces/maya/demo");
}

#[tokio::test]
async fn an_answer_is_of_use_once_and_in_the_browser_that_asked() {
    let (provider, app) = start().await;
    let mut browser = Browser::new();
    let back = browser.agree(&app, "/").await;
    // Somebody else's browser, with an errand of its own and without.
    let mut mallory = Browser::new();
    assert_eq!(mallory.open(&back).await.location, "/login?problem=expired");
    mallory.agree(&app, "/").await;
    assert_eq!(mallory.open(&back).await.location, "/login?problem=expired");
    assert_eq!(mallory.who(&app).await, Value::Null);
    assert_eq!(provider.get(|behaviour| behaviour.token_calls), 0, "the code was not even shown");
    // A state that was made up, or left out.
    let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    for forged in ["", "x", &"A".repeat(43)] {
        let end = browser.open(&back.replace(&state, forged)).await.location;
        assert_eq!(end, "/login?problem=expired", "{forged}");
    }
    // Answers of others took nothing from this one.
    let jar = browser.jar.clone();
    assert_eq!(browser.open(&back).await.location, "/");
    assert_eq!(browser.who(&app).await["name"], "maya");
    // Again: the errand is over; with the old cookie the provider refuses the code.
    assert_eq!(browser.open(&back).await.location, "/login?problem=expired");
    let mut replay = Browser::new();
    replay.jar = jar;
    assert_eq!(replay.open(&back).await.location, "/login?problem=code");
    assert_eq!(replay.who(&app).await, Value::Null);
    // A cookie that was changed is none.
    let mut changed = Browser::new();
    let back = changed.agree(&app, "/").await;
    changed.jar.insert("spaceport_errand".to_owned(), "AAAA".repeat(30));
    assert_eq!(changed.open(&back).await.location, "/login?problem=expired");
    // Too late.
    let mut late = Browser::new();
    let back = late.agree(&app, "/").await;
    app.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(late.open(&back).await.location, "/login?problem=expired");
}

#[tokio::test]
async fn another_providers_answer_is_not_this_ones() {
    let (provider, app) = start().await;
    for (iss, problem) in [(Some("http://evil.example"), "expired"), (None, "expired")] {
        provider.set(|behaviour| behaviour.iss = iss.map(str::to_owned));
        let mut browser = Browser::new();
        let back = browser.agree(&app, "/").await;
        assert_eq!(browser.open(&back).await.location, format!("/login?problem={problem}"), "{iss:?}");
    }
    assert_eq!(provider.get(|behaviour| behaviour.token_calls), 0, "the code was shown to nobody");
}

#[tokio::test]
async fn one_comes_back_to_this_hub_and_nowhere_else() {
    let (_provider, app) = start().await;
    for next in ["//evil.example", "/%5Cevil.example", "https://evil.example", "/%09/evil.example", "javascript:x"] {
        let mut browser = Browser::new();
        let back = browser.agree(&app, next).await;
        assert_eq!(browser.open(&back).await.location, "/", "{next}");
    }
}

#[tokio::test]
async fn whoever_says_no_or_is_away_is_told_of() {
    let (provider, app) = start().await;
    for (error, problem) in [
        ("access_denied", "denied"),
        ("temporarily_unavailable", "provider"),
        ("invalid_scope", "provider"),
        ("%3Cscript%3E%0d%0aSet-Cookie:x", "provider"),
    ] {
        let mut browser = Browser::new();
        let back = browser.agree(&app, "/").await;
        let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap();
        let iss = provider.issuer();
        let no = format!("{}/login/oidc/callback?error={error}&state={state}&iss={iss}", app.url);
        let answer = browser.open(&no).await;
        assert_eq!((answer.status, answer.location), (303, format!("/login?problem={problem}")), "{error}");
        assert!(browser.jar.is_empty(), "{error}");
    }
    // Away between leaving and coming back.
    let mut browser = Browser::new();
    let back = browser.agree(&app, "/").await;
    provider.set(|behaviour| behaviour.broken = Some(503));
    assert_eq!(browser.open(&back).await.location, "/login?problem=provider");

    // Away from the beginning, or somebody else.
    let (provider, app) = start().await;
    provider.set(|behaviour| behaviour.broken = Some(500));
    let answer = Browser::new().open(&format!("{}/login/oidc?next=/a", app.url)).await;
    assert_eq!((answer.status, answer.location.as_str()), (303, "/login?problem=provider&next=%2Fa"));
    provider.set(|behaviour| {
        behaviour.broken = None;
        behaviour.document = Box::new(|document| {
            document.insert("issuer".to_owned(), json!("http://evil.example"));
        });
    });
    let answer = Browser::new().open(&format!("{}/login/oidc", app.url)).await;
    assert_eq!(answer.location, "/login?problem=provider");
    provider.set(|behaviour| behaviour.document = Box::new(|_| {}));
    assert_eq!(Browser::new().sign_in(&app).await, "/spaces/maya/demo", "and it is asked again");
}

#[tokio::test]
async fn a_client_that_the_provider_does_not_know_and_one_that_shows_its_secret_in_the_form() {
    let (provider, app) = start_with(|config| config.client_secret = Some("wrong".to_owned())).await;
    assert!(Browser::new().sign_in(&app).await.contains("problem=provider"));
    drop((provider, app));
    let (provider, app) = start().await;
    provider.set(|behaviour| {
        behaviour.document = Box::new(|document| {
            document.insert("token_endpoint_auth_methods_supported".to_owned(), json!(["client_secret_post"]));
        });
    });
    assert_eq!(Browser::new().sign_in(&app).await, "/spaces/maya/demo");
}

#[tokio::test]
async fn without_a_provider_there_is_no_way_there() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/api/login", None).await.json, json!({"user": null, "provider": null}));
    for path in ["/login/oidc", "/login/oidc/callback?code=x&state=y"] {
        let answer = app.get(path, None).await;
        assert_eq!(answer.status, 404, "{}", answer.text);
        assert!(answer.text.contains("[oidc]"));
    }
}

#[tokio::test]
async fn whoever_called_the_hub_by_another_name_is_sent_to_its_own() {
    let (_provider, app) = start().await;
    let mut browser = Browser::new();
    let request = browser.client.get(format!("{}/login/oidc?next=/a", app.url)).header("host", "hub.lan:8080");
    let answer = browser.send(request).await;
    assert_eq!(answer.location, format!("{}/login/oidc?next=%2Fa&moved", app.url));
    assert!(browser.jar.is_empty());
}
