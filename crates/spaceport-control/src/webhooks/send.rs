//! One attempt of a delivery: a request to an address that a user chose.
//!
//! Users must not reach through us what only this server can reach. So the name is resolved by us, addresses
//! that are not of the public internet are taken out, and the connection is made to what is left: there is no
//! second resolution that could give another answer. Redirects are not followed, no proxy is used, and of
//! the answer nothing but the status is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use reqwest::{Certificate, Client, Url, redirect};
use sha2::Sha256;
use spaceport_core::address::is_public;
use spaceport_core::webhook::Delivery;
use url::Host;

/// An attempt may take so long, its connection included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A connection may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest text that is kept of what went wrong.
const MAX_ERROR: usize = 300;
/// What a refused address is told, besides its name.
const NOT_PUBLIC: &str = "does not lead to an address of the public internet; \
     an administrator can allow others with allow_private in [webhooks]";

/// Where deliveries may go.
#[derive(Debug, Clone, Default)]
pub struct WebhookConfig {
    /// Also to this machine and to private networks: for labs whose users are trusted.
    pub allow_private: bool,
    /// Trusted besides what the system trusts: certificates in PEM.
    pub ca_bundle: Option<Vec<u8>>,
}

/// Nothing can be sent with this configuration.
#[derive(Debug, thiserror::Error)]
#[error("webhooks cannot be sent with these certificates")]
pub struct CannotSend(#[source] reqwest::Error);

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// What the receiver answered, if it did.
    pub(super) status: Option<u16>,
    /// In words.
    pub(super) why: String,
    /// Trying again is of no use.
    pub(super) for_good: bool,
}

impl Refused {
    pub(super) fn for_good(why: &str) -> Self {
        Self { status: None, why: why.to_owned(), for_good: true }
    }

    fn now(why: impl Into<String>) -> Self {
        let why: String = why.into();
        Self { status: None, why: why.chars().take(MAX_ERROR).collect(), for_good: false }
    }
}

/// Sends.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    client: Client,
    allow_private: bool,
}

impl Sender {
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, CannotSend> {
        let mut client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // Receivers are many and told seldom; each attempt resolves the name anew.
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(Resolver { allow_private: config.allow_private }));
        if let Some(bundle) = &config.ca_bundle {
            client = client.tls_certs_merge(Certificate::from_pem_bundle(bundle).map_err(CannotSend)?);
        }
        Ok(Self { client: client.build().map_err(CannotSend)?, allow_private: config.allow_private })
    }

    /// Sends one delivery; gives the status of an answer that is good.
    pub(super) async fn send(&self, url: &str, secret: Option<&str>, delivery: &Delivery) -> Result<u16, Refused> {
        let url: Url = url.parse().map_err(|_| Refused::for_good("its address is none"))?;
        // An address instead of a name is never resolved.
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        if literal.is_some_and(|address| !self.allow_private && !is_public(address)) {
            return Err(Refused::now(format!("{} {NOT_PUBLIC}", url.host_str().unwrap_or_default())));
        }
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, concat!("Spaceport-Webhooks/", env!("CARGO_PKG_VERSION")))
            .header("x-spaceport-delivery", delivery.id.to_string())
            .header("x-spaceport-event", delivery.event.to_string());
        if let Some(secret) = secret {
            let bad = |_| Refused::for_good("its secret cannot stand in a header; set another one");
            let mut value = HeaderValue::from_str(secret).map_err(bad)?;
            value.set_sensitive(true);
            request = request.header("x-webhook-secret", value);
            request = request.header("x-spaceport-signature-256", signature(secret, delivery.body.as_bytes()));
        }
        let answer = request.body(delivery.body.clone()).send().await.map_err(|error| Refused::now(words(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(status.as_u16());
        }
        let why = if status.is_redirection() {
            format!("it answered {status}, a redirect, and those are not followed")
        } else {
            format!("it answered {status}")
        };
        Err(Refused { status: Some(status.as_u16()), ..Refused::now(why) })
    }
}

/// `sha256=` and the HMAC of a body in hexadecimal digits (RFC 2104).
fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// What went wrong, without the address: it may hold a secret of the receiver.
fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("it did not answer within {} seconds", TIMEOUT.as_secs());
    }
    // The outermost text names the address, the innermost says why.
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if std::ptr::eq(cause, error as &dyn std::error::Error) {
        return "it could not be reached".to_owned();
    }
    format!("it could not be reached: {cause}")
}

/// Resolves names to addresses something may be delivered to.
#[derive(Debug)]
struct Resolver {
    allow_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| allow_private || is_public(address.ip())).collect();
            if allowed.is_empty() {
                return Err(format!("{} {NOT_PUBLIC}", name.as_str()).into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::signature;

    #[test]
    fn signs_as_the_rfc_says() {
        // RFC 4231, test case 2.
        assert_eq!(
            signature("Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
