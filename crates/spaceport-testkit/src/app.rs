//! The API as a client sees it: served on a free port, with helpers in the words of the domain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};
use tempfile::TempDir;

use spaceport_api::{
    ApiState, ClaimKey, Downloads, GitLimits, GitSlots, Health, HealthPart, HealthProbe, LargeFiles, Lifetime, SignIn,
    Site, Uploads, WeightHeaders, random_token,
};
use spaceport_control::{ControlHandle, LogStore};
use spaceport_core::account::{Account, AccountKind, Scopes, Session, TokenRole, session_cookie};
use spaceport_core::space::Space;
use spaceport_core::ticket::TicketKey;
use spaceport_core::{Catalog, RepoName};
use spaceport_git::{Limits, Repositories};
use spaceport_objects::{ObjectStore, ObjectsConfig};
use spaceport_store::vault::Vault;
use spaceport_store::{NewSession, NewToken, Store};

use crate::{ManualClock, TestDatabase};

/// A running API on an empty database. No reconciler runs: tests see desired state.
pub struct TestApp {
    /// The address, `http://127.0.0.1:…`.
    pub url: String,
    /// The database.
    pub store: Store,
    /// The handle the API has.
    pub control: ControlHandle,
    /// The repositories.
    pub repositories: Repositories,
    /// The turns of its git processes: twelve in all, eight for each caller, had within a second.
    pub git: GitSlots,
    /// Its clock.
    pub clock: ManualClock,
    /// The large files.
    pub objects: ObjectStore,
    /// Its vault.
    pub vault: Vault,
    /// Whether `/api/health` says that all is well.
    pub healthy: Arc<std::sync::atomic::AtomicBool>,
    /// Ends its streams.
    pub lifetime: Lifetime,
    /// For clones and other files of a test.
    pub folder: TempDir,
    client: reqwest::Client,
    database: TestDatabase,
}

/// What its tickets are signed with.
pub const TICKETS: TicketKey = TicketKey::new([9; 32]);

/// A user with a token of each role.
#[derive(Debug, Clone)]
pub struct Person {
    /// The account.
    pub account: Account,
    /// May read.
    pub read: String,
    /// May write.
    pub write: String,
}

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body; null when it is not JSON.
    pub json: Value,
    /// The body.
    pub text: String,
}

impl Answer {
    /// A header; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

impl TestApp {
    /// On SQLite.
    pub async fn start() -> Self {
        Self::on(TestDatabase::sqlite().await).await
    }

    /// On SQLite, with other ways to sign in.
    pub async fn start_with(sign_in: SignIn) -> Self {
        Self::build(TestDatabase::sqlite().await, sign_in).await
    }

    /// On a database.
    ///
    /// # Panics
    /// When the machine has no free port or no space for temporary files.
    pub async fn on(database: TestDatabase) -> Self {
        Self::build(database, SignIn::default()).await
    }

    async fn build(database: TestDatabase, sign_in: SignIn) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = ManualClock::default();
        let logs = LogStore::new(folder.path().join("logs"), clock.clock());
        let control = ControlHandle::new(clock.clock(), logs);
        let repositories = Repositories::new(folder.path().join("repos"), Limits::default()).expect("repositories");
        let vault = Vault::new(&[7; 32]);
        let config = ObjectsConfig { keep_free_bytes: 0, fsync: false, ..ObjectsConfig::default() };
        let objects = ObjectStore::open(folder.path().join("objects"), config).expect("a store of large files");
        let git = GitSlots::new(GitLimits { site: 12, caller: 8, wait: Duration::from_secs(1) });
        let healthy = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let lifetime = Lifetime::default();
        let probe = Arc::clone(&healthy);
        let state = ApiState {
            store: database.store.clone(),
            control: control.clone(),
            repositories: repositories.clone(),
            large: LargeFiles {
                objects: objects.clone(),
                key: Arc::new(ClaimKey::new([8; 32])),
                multipart_above: 1 << 20,
            },
            git: git.clone(),
            vault: vault.clone(),
            tickets: TICKETS,
            site: Arc::new(Site {
                hub_url: url.clone(),
                spaces_domain: "localhost:8080".to_owned(),
                https: false,
                hardware: Catalog::default(),
            }),
            health: HealthProbe::new(move || {
                let ok = probe.load(std::sync::atomic::Ordering::SeqCst);
                async move {
                    let part = HealthPart {
                        ok,
                        degraded: false,
                        message: if ok { "works" } else { "does not answer" }.to_owned(),
                    };
                    Health::of("0.0.0", BTreeMap::from([("database".to_owned(), part)]))
                }
            }),
            lifetime: lifetime.clone(),
            downloads: Downloads::default(),
            weights: WeightHeaders::default(),
            uploads: Uploads::open(folder.path().join("uploads")).expect("a folder for uploads"),
            sign_in,
            making: Arc::default(),
            told: Arc::default(),
        };
        let router = spaceport_api::router(state).into_make_service_with_connect_info::<SocketAddr>();
        let stop = lifetime.stop.clone();
        lifetime.tasks.spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
            let _ = serving.await;
        });
        let client = client();
        let store = database.store.clone();
        Self {
            url,
            store,
            control,
            repositories,
            git,
            clock,
            objects,
            vault,
            healthy,
            lifetime,
            folder,
            client,
            database,
        }
    }

    /// A user with tokens.
    ///
    /// # Panics
    /// When the name is taken.
    pub async fn person(&self, name: &str) -> Person {
        self.add(name, false).await
    }

    /// A site admin with tokens.
    ///
    /// # Panics
    /// When the name is taken.
    pub async fn admin(&self, name: &str) -> Person {
        self.add(name, true).await
    }

    async fn add(&self, name: &str, is_admin: bool) -> Person {
        let clock = self.control.clock();
        let account = Account {
            id: clock.account_id(),
            name: name.to_owned(),
            kind: AccountKind::User,
            full_name: name.to_owned(),
            email: None,
            is_admin,
            created_at: clock.now(),
        };
        self.store.account_create(&account).await.expect("a free name");
        let read = self.token(&account, "reader", TokenRole::Read, Scopes::default()).await;
        let write = self.token(&account, "writer", TokenRole::Write, Scopes::default()).await;
        Person { account, read, write }
    }

    /// One more token of an account.
    ///
    /// # Panics
    /// When the account has one of this name.
    pub async fn token(&self, account: &Account, name: &str, role: TokenRole, scopes: Scopes) -> String {
        let (clock, token) = (self.control.clock(), random_token().expect("random numbers"));
        let new = NewToken {
            id: clock.token_id(),
            account: account.id,
            name,
            role,
            scopes,
            token: &token,
            at: clock.now(),
            expires_at: None,
        };
        self.store.token_create(&new).await.expect("a new token");
        token
    }

    /// The cookie of a browser in which an account signed in, as `Cookie` has it.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn session(&self, account: &Account) -> String {
        let (clock, secret) = (self.control.clock(), random_token().expect("random numbers"));
        let session = Session {
            id: clock.session_id(),
            account: account.id,
            created_at: clock.now(),
            last_used_at: clock.now(),
            expires_at: clock.now() + Duration::from_secs(24 * 60 * 60),
            origin: "127.0.0.1".to_owned(),
            agent: "a test".to_owned(),
        };
        self.store.session_create(&NewSession { session, secret: &secret }).await.expect("a new session");
        format!("{}={secret}", session_cookie(false))
    }

    /// A Space created through the API.
    ///
    /// # Panics
    /// When the API refuses.
    pub async fn space(&self, owner: &Person, name: &str, visibility: &str) -> Space {
        let body = json!({"type": "space", "name": name, "sdk": "gradio", "visibility": visibility});
        let made = self.post("/api/repos/create", Some(&owner.write), &body).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.text);
        self.find(&format!("{}/{name}", owner.account.name)).await
    }

    /// A Space as it is in the database.
    ///
    /// # Panics
    /// When there is none.
    pub async fn find(&self, name: &str) -> Space {
        let name: RepoName = name.parse().expect("a name");
        self.store.space_by_name(&name).await.expect("the database answers").expect("the Space is there")
    }

    /// A request with a JSON body; `Value::Null` sends none.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn call(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Answer {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, token, &[("content-type", "application/json")], text.into_bytes()).await
    }

    /// A request with exactly this body and these headers.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url)).timeout(crate::PATIENCE);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.body(body).send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a body");
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, json, text }
    }

    /// Status and error code of an answer, whose body may have no end.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn look(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, String) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url)).timeout(crate::PATIENCE);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let response = request.body(text).send().await.expect("an answer");
        let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or("");
        (response.status().as_u16(), code.to_owned())
    }

    /// `GET`.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.call("GET", path, token, &Value::Null).await
    }

    /// `POST`.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.call("POST", path, token, body).await
    }

    /// Opens a stream of events.
    ///
    /// # Panics
    /// When the server does not answer with a stream.
    pub async fn events(&self, path: &str, token: Option<&str>) -> Events {
        let mut request = self.client.get(format!("{}{path}", self.url)).header("accept", "text/event-stream");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().contains_key("date"), "clients compare with the header Date");
        Events { response, pending: String::new() }
    }

    /// A repository's address with credentials in it.
    #[must_use]
    pub fn git_url(&self, space: &str, token: Option<&str>) -> String {
        let host = self.url.trim_start_matches("http://");
        match token {
            Some(token) => format!("http://user:{token}@{host}/spaces/{space}"),
            None => format!("http://{host}/spaces/{space}"),
        }
    }

    /// Keeps everybody else from writing to the database, which is SQLite, until it is dropped.
    ///
    /// # Panics
    /// When somebody else writes for too long.
    pub async fn hold_writes(&self) -> SqliteConnection {
        let mut connection = SqliteConnection::connect(&self.database.url).await.expect("the database opens");
        connection.execute("PRAGMA busy_timeout = 5000").await.expect("a setting");
        connection.execute("BEGIN IMMEDIATE").await.expect("nobody writes");
        connection
    }

    /// Runs the git client in the test's folder.
    ///
    /// # Panics
    /// When there is no git.
    pub async fn git(&self, args: &[&str]) -> Output {
        let mut git = tokio::process::Command::new("git");
        git.args(["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "credential.helper="]);
        git.args(args).current_dir(self.folder.path());
        git.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", self.folder.path());
        git.kill_on_drop(true);
        tokio::time::timeout(crate::PATIENCE, git.output()).await.expect("git ends").expect("git is there")
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.lifetime.stop.cancel();
    }
}

/// Server-sent events as they come.
pub struct Events {
    response: reqwest::Response,
    pending: String,
}

impl Events {
    /// The next event; `None` at the end of the stream.
    ///
    /// # Panics
    /// When none comes in time, or one is not in the form that the Hub's clients read.
    pub async fn next(&mut self) -> Option<Value> {
        let read = async {
            loop {
                if let Some(end) = self.pending.find("\n\n") {
                    let block: String = self.pending.drain(..end + 2).collect();
                    if let Some(data) = block.strip_prefix("data: ") {
                        return Some(serde_json::from_str(data.trim_end()).expect("JSON"));
                    }
                    assert!(block.starts_with(':'), "neither an event nor a comment: {block:?}");
                    continue;
                }
                let chunk = self.response.chunk().await.expect("the stream goes on")?;
                self.pending.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
            }
        };
        tokio::time::timeout(crate::PATIENCE, read).await.expect("an event in time")
    }

    /// The lines of a log until the stream ends.
    ///
    /// # Panics
    /// As [`Events::next`].
    pub async fn lines(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(event) = self.next().await {
            lines.push(event["data"].as_str().unwrap_or_default().to_owned());
        }
        lines
    }
}

/// Chooses a TLS library. The workspace's features leave that to the process, even for a client that
/// speaks plain HTTP; a second choice is refused and means the same.
pub fn choose_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client for plain HTTP.
fn client() -> reqwest::Client {
    choose_tls();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}
