//! One Space, as its author and its visitors see it.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use tokio::time::Instant;

use crate::git::{Checkout, Outcome};
use crate::site::TOKEN;
use crate::{Files, Site, until};

/// A stage of failure that lasts so long is one.
const FAILED: Duration = Duration::from_secs(5);

/// A Space of a site.
#[derive(Debug)]
pub struct Space<'a> {
    /// Where it lives.
    pub site: &'a Site,
    /// `owner/name`.
    pub id: String,
    /// `subdomain.localhost:PORT`.
    pub host: String,
}

/// What the API says about how a Space runs.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The stage.
    pub stage: String,
    /// The code of the reason.
    pub reason: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// All of it.
    pub json: Value,
}

impl<'a> Space<'a> {
    /// A Space that exists.
    pub async fn of(site: &'a Site, id: String) -> Self {
        let info = site.ask(Method::GET, &format!("/api/spaces/{id}"), None).await;
        let host = info["host"].as_str().expect("a host").to_owned();
        let host = host.split_once("://").map_or(host.as_str(), |(_, host)| host).to_owned();
        Self { site, id, host }
    }

    /// `/api/spaces/owner/name` and what follows.
    #[must_use]
    pub fn api(&self, path: &str) -> String {
        format!("/api/spaces/{}{path}", self.id)
    }

    /// The address git uses, with a token.
    #[must_use]
    pub fn git_url(&self) -> String {
        format!("http://admin:{TOKEN}@{}/spaces/{}", self.site.authority(), self.id)
    }

    /// Commits and pushes.
    ///
    /// # Panics
    /// When the push is refused.
    pub async fn push(&self, files: &Files) -> String {
        let (sha, outcome) = self.try_push(files).await;
        assert!(outcome.ok, "the push was refused: {}", outcome.text);
        sha
    }

    /// Commits and pushes; the push may be refused.
    pub async fn try_push(&self, files: &Files) -> (String, Outcome) {
        let checkout = Checkout::of(files).await;
        let outcome = checkout.push(&self.git_url()).await;
        (checkout.head().await, outcome)
    }

    /// How it runs.
    pub async fn runtime(&self) -> Runtime {
        let json = self.site.ask(Method::GET, &self.api("/runtime"), None).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Runtime {
            stage: text(&json["stage"]),
            reason: text(&json["spaceport"]["reason"]),
            message: text(&json["spaceport"]["message"]),
            remedy: text(&json["spaceport"]["remedy"]),
            json,
        }
    }

    /// Waits for what the API says to satisfy `is`.
    pub async fn wait(&self, what: &str, limit_s: u64, is: impl Fn(&Runtime) -> bool) -> Runtime {
        until(what, limit_s, async || {
            let runtime = self.runtime().await;
            if is(&runtime) { Ok(runtime) } else { Err(runtime.json.to_string()) }
        })
        .await
    }

    /// Waits until this commit runs, and nothing else is under way.
    ///
    /// # Panics
    /// Early when the Space fails instead; with what its author is told and the build's log. A
    /// failure counts after a moment: just after a push the stage is still that of the commit before.
    pub async fn running(&self, sha: &str, limit_s: u64) -> Runtime {
        let failing = std::cell::Cell::new(None);
        let runtime = self
            .wait("the Space runs", limit_s, |runtime| {
                let failed = ["BUILD_ERROR", "CONFIG_ERROR", "RUNTIME_ERROR", "NO_APP_FILE"].contains(&&*runtime.stage);
                let since = failed.then(|| failing.get().unwrap_or_else(Instant::now));
                failing.set(since);
                runtime.stage == "RUNNING" && runtime.json["sha"] == sha
                    || since.is_some_and(|at| at.elapsed() > FAILED)
            })
            .await;
        if runtime.stage != "RUNNING" {
            panic!("the Space does not run: {}\n{}", runtime.json, self.build_log().await);
        }
        runtime
    }

    /// The builds, newest first.
    pub async fn builds(&self) -> Vec<Value> {
        let list = self.site.ask(Method::GET, &self.api("/builds"), None).await;
        list.as_array().cloned().unwrap_or_default()
    }

    /// The attempts, newest first.
    pub async fn instances(&self) -> Vec<Value> {
        let list = self.site.ask(Method::GET, &self.api("/instances"), None).await;
        list.as_array().cloned().unwrap_or_default()
    }

    /// The log of the newest build.
    pub async fn build_log(&self) -> String {
        let builds = self.builds().await;
        let Some(number) = builds.first().and_then(|build| build["number"].as_i64()) else { return String::new() };
        let (_, log) = self.site.call(Method::GET, &self.api(&format!("/builds/{number}/log")), None).await;
        log.as_str().map_or_else(|| log.to_string(), str::to_owned)
    }

    /// A variable.
    pub async fn set_variable(&self, key: &str, value: &str) {
        self.site.ask(Method::POST, &self.api("/variables"), Some(&json!({"key": key, "value": value}))).await;
    }

    /// A secret.
    pub async fn set_secret(&self, key: &str, value: &str) {
        self.site.ask(Method::POST, &self.api("/secrets"), Some(&json!({"key": key, "value": value}))).await;
    }

    /// A request to the app, by its host name.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.site.address);
        self.site.http.request(method, url).header("host", &self.host)
    }

    /// Status and text of a page of the app.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.request(Method::GET, path).send().await.expect("the proxy answers");
        let status = answer.status();
        (status, answer.text().await.unwrap_or_default())
    }

    /// A websocket to the app.
    ///
    /// # Panics
    /// When it is not upgraded.
    pub async fn websocket(&self, path: &str) -> WebSocket {
        let stream = tokio::net::TcpStream::connect(self.site.address).await.expect("the proxy takes connections");
        let url = format!("ws://{}{path}", self.host);
        let connected = tokio_tungstenite::client_async(url, stream);
        let connected = tokio::time::timeout(Duration::from_secs(30), connected);
        connected.await.expect("the upgrade is answered").expect("the upgrade succeeds").0
    }
}

/// A websocket of a visitor.
pub type WebSocket = tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>;
