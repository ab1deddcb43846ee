//! The provider: what it publishes of itself, and the calls of this server to it.
//!
//! Documents and keys are kept for a while; keys are looked at again when a token is signed with one
//! that is not known yet, at most once a minute. Redirects are not followed: each address is the
//! provider's own word.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Certificate, Client, RequestBuilder, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use url::Url;

use spaceport_core::Timestamp;

use crate::error::clip;
use crate::sign_in::oidc::token::{self, Claims, Expected, Invalid, Keys};
use crate::sign_in::oidc::{CannotCall, OidcConfig, Problem};

/// One call may take so long, its connection included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// No document is larger.
const MAX_BYTES: usize = 1 << 20;
/// What the provider publishes is looked at again after so long.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// Keys are not asked for more often.
const KEYS_EVERY: Duration = Duration::from_secs(60);
/// Calls at once, so that nobody uses us to flood the provider.
const AT_ONCE: usize = 32;

/// OpenID Connect Discovery 1.0 §3, RFC 9207 §3.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Document {
    issuer: String,
    pub(crate) authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

/// What an answer of the token endpoint has for us (RFC 6749 §5).
#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
    access_token: Option<String>,
}

#[derive(Default)]
struct Known {
    document: Option<(Timestamp, Arc<Document>)>,
    keys: Option<(Timestamp, Arc<Keys>)>,
}

/// The provider.
pub(crate) struct Provider {
    client: Client,
    issuer: String,
    client_id: String,
    client_secret: Option<String>,
    known: Mutex<Known>,
    turns: Semaphore,
}

impl Provider {
    pub(crate) fn new(config: &OidcConfig) -> Result<Self, CannotCall> {
        let mut client = Client::builder().redirect(redirect::Policy::none()).no_proxy().timeout(TIMEOUT);
        if let Some(bundle) = &config.ca_bundle {
            client = client.tls_certs_merge(Certificate::from_pem_bundle(bundle).map_err(CannotCall)?);
        }
        Ok(Self {
            client: client.build().map_err(CannotCall)?,
            issuer: config.issuer.clone(),
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            known: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
        })
    }

    /// What the provider publishes of itself.
    ///
    /// # Errors
    /// When it cannot be had, or is somebody else's.
    pub(crate) async fn document(&self, now: Timestamp) -> Result<Arc<Document>, Problem> {
        let known = self.known().document.clone();
        if let Some((at, document)) = known
            && now.since(at) < FRESH
        {
            return Ok(document);
        }
        // Anybody can ask for it, also while the provider is away.
        let _turn = self.turns.try_acquire().map_err(|_| Problem::Busy)?;
        // Discovery §4: appended, whatever the path of the issuer.
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document: Document = self.get(&url, None).await?;
        if document.issuer != self.issuer {
            let (says, configured) = (clip(&document.issuer), &self.issuer);
            let message =
                format!("it calls itself {says:?}, and the configuration {configured:?}; they must be the same");
            return Err(Problem::Provider(message));
        }
        let secure = self.issuer.starts_with("https://");
        let further = document.userinfo_endpoint.iter();
        for address in
            [&document.authorization_endpoint, &document.token_endpoint, &document.jwks_uri].into_iter().chain(further)
        {
            let scheme = Url::parse(address).map(|url| url.scheme().to_owned()).unwrap_or_default();
            if scheme != "https" && (secure || scheme != "http") {
                return Err(Problem::Provider(format!("it names the address {:?}, which is not https", clip(address))));
            }
        }
        let document = Arc::new(document);
        self.known().document = Some((now, Arc::clone(&document)));
        Ok(document)
    }

    /// Exchanges a code for what the provider says of the person.
    ///
    /// # Errors
    /// When the provider does not take the code, or what it says does not hold.
    pub(crate) async fn redeem(
        &self,
        code: &str,
        verifier: &str,
        nonce: &str,
        redirect_uri: &str,
        now: Timestamp,
        wants: impl Fn(&Map<String, Value>) -> bool,
    ) -> Result<Claims, Problem> {
        let _turn = self.turns.try_acquire().map_err(|_| Problem::Busy)?;
        let document = self.document(now).await?;
        let tokens = self.exchange(&document, code, verifier, redirect_uri).await?;
        let id_token = tokens.id_token.ok_or_else(|| Problem::Token("there is none in the answer".to_owned()))?;
        let expected = Expected { issuer: &self.issuer, client_id: &self.client_id, nonce, now };
        let keys = self.keys(&document, now, FRESH).await?;
        let mut claims = match token::check(&id_token, &keys, &expected) {
            Err(Invalid::UnknownKey(_)) => {
                let keys = self.keys(&document, now, KEYS_EVERY).await?;
                token::check(&id_token, &keys, &expected)?
            }
            checked => checked?,
        };
        // Some providers keep tokens small and tell the rest on request.
        if let (Some(url), Some(access), true) = (&document.userinfo_endpoint, &tokens.access_token, wants(&claims.all))
        {
            let further: Map<String, Value> = self.get(url, Some(access)).await?;
            // OpenID Connect Core 1.0 §5.3.2: else it may be somebody else's.
            if further.get("sub").and_then(Value::as_str) != Some(claims.subject.as_str()) {
                return Err(Problem::Token("what the provider tells on request is about somebody else".to_owned()));
            }
            for (name, value) in further {
                claims.all.entry(name).or_insert(value);
            }
        }
        Ok(claims)
    }

    async fn exchange(
        &self,
        document: &Document,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<Tokens, Problem> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        let mut request = self.client.post(&document.token_endpoint);
        let by_form = document.token_endpoint_auth_methods_supported.as_ref().is_some_and(|methods| {
            let has = |name: &str| methods.iter().any(|method| method == name);
            has("client_secret_post") && !has("client_secret_basic")
        });
        match &self.client_secret {
            Some(secret) if !by_form => {
                // RFC 6749 §2.3.1: encoded like a form before they become a user and a password.
                let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                request = request.basic_auth(encoded(&self.client_id), Some(encoded(secret)));
            }
            Some(secret) => form.extend([("client_id", self.client_id.as_str()), ("client_secret", secret)]),
            None => form.push(("client_id", &self.client_id)),
        }
        let (status, body) = self.send(request.form(&form)).await?;
        if status.is_client_error() {
            let said: Value = serde_json::from_slice(&body).unwrap_or_default();
            let said = said.get("error").and_then(Value::as_str).unwrap_or("no reason").to_owned();
            // Codes are good once and not for long; everything else is a mistake in the configuration.
            return Err(match said.as_str() {
                "invalid_grant" => Problem::Code(said),
                _ => Problem::Provider(format!("its token endpoint answered {status} ({})", clip(&said))),
            });
        }
        read(&document.token_endpoint, status, &body)
    }

    async fn keys(&self, document: &Document, now: Timestamp, fresh: Duration) -> Result<Arc<Keys>, Problem> {
        let known = self.known().keys.clone();
        if let Some((at, keys)) = known
            && now.since(at) < fresh
        {
            return Ok(keys);
        }
        let keys: Arc<Keys> = Arc::new(self.get(&document.jwks_uri, None).await?);
        self.known().keys = Some((now, Arc::clone(&keys)));
        Ok(keys)
    }

    async fn get<T: DeserializeOwned>(&self, url: &str, token: Option<&str>) -> Result<T, Problem> {
        let mut request = self.client.get(url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let (status, body) = self.send(request.header("accept", "application/json")).await?;
        read(url, status, &body)
    }

    async fn send(&self, request: RequestBuilder) -> Result<(reqwest::StatusCode, Vec<u8>), Problem> {
        let failed = |error: reqwest::Error| Problem::Provider(words(&error));
        let mut response = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(Problem::Provider(format!("it answered more than {} KiB", MAX_BYTES >> 10)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<T: DeserializeOwned>(url: &str, status: reqwest::StatusCode, body: &[u8]) -> Result<T, Problem> {
    if !status.is_success() {
        return Err(Problem::Provider(format!("{} answered {status}", clip(url))));
    }
    let wrong = |error| Problem::Provider(format!("the answer of {} is not as expected: {error}", clip(url)));
    serde_json::from_slice(body).map_err(wrong)
}

/// What went wrong, down to the cause.
fn words(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
