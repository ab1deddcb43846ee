//! HTTP to the server, with its errors turned into sentences.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::Server;
use super::error::{CliError, Kind};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer that is no stream may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A stream that says nothing for so long is broken: the server sends a comment every 10 s.
const STREAM_TIMEOUT: Duration = Duration::from_secs(45);
/// Where `spaceport serve` keeps its data unless told otherwise.
const DEFAULT_DATA_DIR: &str = "spaceport-data";

/// A server and a token.
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(server: &Server) -> Result<Self, CliError> {
        let url = server.url.trim_end_matches('/').to_owned();
        let parsed = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let parsed = parsed.ok_or_else(|| {
            CliError::new(Kind::Usage, format!("{url:?} is not an address such as http://localhost:8080"))
        })?;
        let given = server.token.clone().filter(|token| !token.is_empty());
        let hub = server.hub_token.clone().filter(|token| !token.is_empty());
        let local = || is_local(&parsed).then(|| local_token(server.data_dir.as_deref())).flatten();
        // HF_TOKEN may be of another hub, and whoever may read the file administers this one.
        let token = given.or_else(local).or(hub);
        // The platform's certificates; a provider must be chosen before the first connection.
        // Another one chosen earlier does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(STREAM_TIMEOUT)
            .user_agent(concat!("spaceport/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| CliError::failed(format!("cannot set up HTTP: {error}")))?;
        Ok(Self { http, url, token })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// `GET` and its JSON.
    pub(super) async fn get(&self, path: &str) -> Result<Value, CliError> {
        self.json(self.request(Method::GET, path)).await
    }

    /// `GET` of a text of some type.
    pub(super) async fn text(&self, path: &str, accept: &str) -> Result<String, CliError> {
        let request = self.request(Method::GET, path).header("accept", accept).timeout(ANSWER_TIMEOUT);
        let response = self.checked(self.answer(request).await?).await?;
        response.text().await.map_err(|error| self.unreachable(&error))
    }

    /// A request with a JSON body and its JSON answer.
    pub(super) async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, CliError> {
        self.json(self.request(method, path).json(body)).await
    }

    /// `POST`.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.send(Method::POST, path, body).await
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let response = self.answer(request.timeout(ANSWER_TIMEOUT)).await?;
        read_json(self.checked(response).await?).await
    }

    /// Every page of a list.
    pub(super) async fn pages(&self, path: &str) -> Result<Vec<Value>, CliError> {
        let (mut next, mut all) = (Some(path.to_owned()), Vec::new());
        while let Some(path) = next.take() {
            let page;
            (page, next) = self.page(&path).await?;
            if let Value::Array(page) = page {
                all.extend(page);
            }
        }
        Ok(all)
    }

    /// A page, and the path of the next one.
    pub(super) async fn page(&self, path: &str) -> Result<(Value, Option<String>), CliError> {
        let response = self.answer(self.request(Method::GET, path).timeout(ANSWER_TIMEOUT)).await?;
        let response = self.checked(response).await?;
        let link = response.headers().get("link").and_then(|link| link.to_str().ok()).unwrap_or("").to_owned();
        // Only the path is taken over, so that the token never goes to another server.
        let target = link.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(url, _)| url.to_owned());
        let next = target
            .and_then(|url| Url::parse(&url).ok())
            .map(|url| url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path())));
        Ok((read_json(response).await?, next))
    }

    /// Status and JSON, whatever the status.
    pub(super) async fn look(&self, path: &str) -> Result<(StatusCode, Value), CliError> {
        let response = self.answer(self.request(Method::GET, path).timeout(ANSWER_TIMEOUT)).await?;
        Ok((response.status(), read_json(response).await?))
    }

    /// Opens a stream of events.
    pub(super) async fn stream(&self, path: &str) -> Result<Response, CliError> {
        let response = self.answer(self.request(Method::GET, path).header("accept", "text/event-stream")).await?;
        self.checked(response).await
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, CliError> {
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    pub(super) fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        CliError::new(Kind::Unreachable, format!("{} cannot be reached: {cause}", self.url))
            .remedy("Is the server running? Choose another one with --url or SPACEPORT_URL.")
    }

    async fn checked(&self, response: Response) -> Result<Response, CliError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (code, request) = (header("x-error-code").unwrap_or_default(), header("x-request-id"));
        let body: Value = response.json().await.unwrap_or(Value::Null);
        let said = body["error"].as_str().map_or_else(|| format!("the server answered {status}"), str::to_owned);
        let error = |kind| CliError::new(kind, said.clone());
        Err(match (status.as_u16(), code.as_str()) {
            (401, "InvalidCredentials") => error(Kind::NoPermission)
                .remedy("The token is not valid on this server; check --token, SPACEPORT_TOKEN and HF_TOKEN."),
            (401, "RepoNotFound") => error(Kind::NotFound)
                .remedy("A private Space is only found with a token: use --token or SPACEPORT_TOKEN."),
            (401, _) => error(Kind::NoPermission).remedy("Use --token or SPACEPORT_TOKEN."),
            (403, _) => error(Kind::NoPermission),
            (404, _) => error(Kind::NotFound),
            (500.., _) => {
                let id = request.unwrap_or_default();
                error(Kind::Failed).remedy(format!("The server's log has the cause under the request id {id}."))
            }
            _ => error(Kind::Failed),
        })
    }

    /// `owner/name`; a bare name is the caller's own.
    pub(super) async fn space_path(&self, space: &str) -> Result<String, CliError> {
        let name = self.space_name(space).await?;
        Ok(format!("/api/spaces/{name}"))
    }

    /// `owner/name`, checked.
    pub(super) async fn space_name(&self, space: &str) -> Result<String, CliError> {
        let wrong = |error: spaceport_core::name::InvalidName| CliError::new(Kind::Usage, error.to_string());
        if space.contains('/') {
            return Ok(space.parse::<spaceport_core::RepoName>().map_err(wrong)?.to_string());
        }
        spaceport_core::name::check_part(space).map_err(wrong)?;
        let me = self.get("/api/whoami-v2").await?;
        Ok(format!("{}/{space}", me["name"].as_str().unwrap_or_default()))
    }
}

/// A text as one segment of a path.
pub(super) fn encode(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

async fn read_json(response: Response) -> Result<Value, CliError> {
    let url = response.url().to_string();
    let read = response.json().await;
    read.map_err(|_| {
        CliError::failed(format!("{url} did not answer in JSON")).remedy("Is this the address of a Spaceport server?")
    })
}

/// Whether a server runs on this machine, so that its files can be read.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The admin's token, for whoever may read the server's data directory.
fn local_token(data_dir: Option<&Path>) -> Option<String> {
    let folder = data_dir.map_or_else(|| PathBuf::from(DEFAULT_DATA_DIR), Path::to_owned);
    let token = std::fs::read_to_string(folder.join("admin-token")).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_gets_the_local_token() {
        for (url, local) in [
            ("http://localhost:8080", true),
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("https://hub.example", false),
            ("http://localhost.example", false),
            ("http://192.168.0.1", false),
        ] {
            assert_eq!(is_local(&Url::parse(url).unwrap()), local, "{url}");
        }
    }

    #[test]
    fn the_token_of_another_hub_comes_last() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("admin-token"), "hf_admin").unwrap();
        let token = |url: &str, given: Option<&str>| {
            let server = Server {
                url: url.to_owned(),
                token: given.map(str::to_owned),
                json: false,
                hub_token: Some("hf_hub".to_owned()),
                data_dir: Some(folder.path().to_owned()),
                no_color: None,
            };
            Client::new(&server).ok().and_then(|client| client.token)
        };
        assert_eq!(token("http://localhost:8080", None).as_deref(), Some("hf_admin"));
        assert_eq!(token("http://localhost:8080", Some("hf_given")).as_deref(), Some("hf_given"));
        assert_eq!(token("https://hub.example", None).as_deref(), Some("hf_hub"));
    }

    #[test]
    fn the_local_token_is_read_without_its_line_break() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(local_token(Some(folder.path())), None);
        std::fs::write(folder.path().join("admin-token"), "hf_x\n").unwrap();
        assert_eq!(local_token(Some(folder.path())).as_deref(), Some("hf_x"));
    }
}
