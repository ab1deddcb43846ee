//! The way to the provider and back: what is taken along in a sealed cookie, and what is compared
//! when somebody comes back.
//!
//! The cookie is the browser's, so nobody is signed in by an answer that somebody else got (RFC 6749
//! §10.12). It is taken away by the first answer, whatever that says.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;

use spaceport_core::{AccountId, Timestamp};
use spaceport_store::vault::Vault;

use crate::error::ApiError;
use crate::sign_in::oidc::{OidcConfig, Problem};
use crate::sign_in::session::{cookie, random_secret, set_cookie};
use crate::state::Site;

/// Somebody may take so long at the provider.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Longest address somebody comes back to.
const MAX_NEXT: usize = 1500;
/// The cookie's name with https (RFC 6265bis §4.1.3.2), and without.
const COOKIES: [&str; 2] = ["__Host-spaceport-errand", "spaceport_errand"];

/// A sign-in under way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Errand {
    state: String,
    /// What the token must repeat.
    pub(crate) nonce: String,
    /// What proves to the provider that it is us who asked (RFC 7636).
    pub(crate) verifier: String,
    /// Where somebody comes back to: a path of this hub.
    pub(crate) next: String,
    /// Whom the identity is to be connected with; nobody is signed in by it then.
    pub(crate) connect: Option<AccountId>,
    until: Timestamp,
}

impl Errand {
    pub(crate) fn new(next: String, connect: Option<AccountId>, now: Timestamp) -> Self {
        let (state, nonce, verifier) = (random_secret(), random_secret(), random_secret());
        Self { state, nonce, verifier, next, connect, until: now + LIFETIME }
    }

    /// The provider's page for it.
    ///
    /// # Errors
    /// When the provider's address is none.
    pub(crate) fn address(&self, endpoint: &str, config: &OidcConfig, site: &Site) -> Result<String, Problem> {
        let wrong = |error| Problem::Provider(format!("its authorization endpoint is no address: {error}"));
        let mut url = Url::parse(endpoint).map_err(wrong)?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.as_bytes()));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &config.client_id)
            .append_pair("redirect_uri", &redirect_uri(site))
            .append_pair("scope", &config.scopes.join(" "))
            .append_pair("state", &self.state)
            .append_pair("nonce", &self.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// The cookie that takes it along.
    pub(crate) fn pack(&self, vault: &Vault, site: &Site) -> Result<HeaderValue, ApiError> {
        let text = serde_json::to_string(self).map_err(ApiError::internal)?;
        set_cookie(site, name(site), &vault.seal_sign_in(&text), LIFETIME)
    }

    /// The errand of this browser, if the answer is its.
    ///
    /// # Errors
    /// When there is none, it took too long, or the answer is another one's.
    pub(crate) fn unpack(
        headers: &HeaderMap,
        vault: &Vault,
        site: &Site,
        state: &str,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let sealed = cookie(headers, name(site)).ok_or(Problem::Errand("it has no cookie of one"))?;
        let opened = vault.open_sign_in(&sealed).map_err(|_| Problem::Errand("its cookie is not ours"))?;
        let errand: Self =
            serde_json::from_str(&opened).map_err(|_| Problem::Errand("its cookie is from another version"))?;
        if !bool::from(errand.state.as_bytes().ct_eq(state.as_bytes())) {
            return Err(Problem::Errand("its state is another one's"));
        }
        if now >= errand.until {
            return Err(Problem::Errand("it took too long"));
        }
        Ok(errand)
    }

    /// Takes the cookie away.
    pub(crate) fn forget(site: &Site) -> Result<HeaderValue, ApiError> {
        set_cookie(site, name(site), "", Duration::ZERO)
    }
}

fn name(site: &Site) -> &'static str {
    COOKIES[if site.is_https() { 0 } else { 1 }]
}

/// Where the provider sends people back to: what an administrator registers there.
pub(crate) fn redirect_uri(site: &Site) -> String {
    format!("{}/login/oidc/callback", site.hub_url)
}

/// Where to after signing in: a path of this hub as it stands, or the first page. Browsers take
/// `//host` and `/\host` for other hosts, and overlook line breaks.
pub(crate) fn own_path(site: &Site, next: Option<&str>) -> String {
    let is_own = |next: &&str| {
        let plain = next.starts_with('/') && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let hub = Url::parse(&site.hub_url).ok();
        let joined = hub.as_ref().and_then(|hub| hub.join(next).ok());
        plain && next.len() <= MAX_NEXT && joined.zip(hub).is_some_and(|(joined, hub)| joined.origin() == hub.origin())
    };
    next.filter(is_own).unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_comes_back_to_a_path_of_this_hub_and_nowhere_else() {
        let site = Site {
            hub_url: "https://hub.example".to_owned(),
            spaces_domain: "apps.example".to_owned(),
            https: true,
            hardware: spaceport_core::hardware::Catalog::default(),
        };
        for own in ["/", "/spaces/alice/demo", "/login?app=a-b&path=%2Fx%3Fy", "/a//b", "/@evil.example", "/.//x"] {
            assert_eq!(own_path(&site, Some(own)), own);
        }
        for other in [
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "https://evil.example/",
            "https:evil.example",
            "javascript:alert(1)",
            "evil.example",
            "@evil.example",
            "",
            "?x",
            &format!("/{}", "x".repeat(MAX_NEXT)),
        ] {
            assert_eq!(own_path(&site, Some(other)), "/", "{other:?}");
        }
        assert_eq!(own_path(&site, None), "/");
    }
}
