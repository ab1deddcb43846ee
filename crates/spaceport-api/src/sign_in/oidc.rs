//! Sign-in through an OpenID Connect provider: the authorization code flow with PKCE, state and
//! nonce (OpenID Connect Core 1.0 §3.1, RFC 7636, RFC 9207).
//!
//! The protocol is ours and the cryptography `ring`'s, which TLS brought along: no package more.
//! `openidconnect` would bring some sixty (two generations of RustCrypto's curves, `chrono`, and an
//! `rsa` with an open advisory), `jsonwebtoken` ten with `aws-lc` or thirty with RustCrypto; its old
//! line is small, and skips claims that have the wrong type. What we need is one flow and one check,
//! and each rule of it has a test of its own.
//!
//! What must survive the way to the provider and back lies sealed in a cookie of the browser that
//! went, so an answer is of use in that browser alone, and strangers fill no memory.

pub(crate) mod admit;
pub(crate) mod endpoints;
pub(crate) mod errand;
pub(crate) mod provider;
pub(crate) mod token;

use std::sync::Arc;

use spaceport_core::account::OrgRole;

use crate::sign_in::oidc::provider::Provider;

/// How people sign in elsewhere.
#[derive(Clone)]
pub struct OidcConfig {
    /// The provider, exactly as it calls itself: `https://login.example/realms/lab`.
    pub issuer: String,
    /// What this hub is called there.
    pub client_id: String,
    /// What it proves that with; a public client has none and relies on PKCE.
    pub client_secret: Option<String>,
    /// What the button says.
    pub label: String,
    /// What is asked for; `openid` is among it.
    pub scopes: Vec<String>,
    /// Whether somebody who comes for the first time gets an account.
    pub create_accounts: bool,
    /// Who may sign in.
    pub admission: Admission,
    /// The claim that new accounts are named after.
    pub name_claim: String,
    /// The claim with the groups; `a.b` looks into an object.
    pub groups_claim: String,
    /// Who is in it is a site admin, and nobody else who signs in this way.
    pub admin_group: Option<String>,
    /// Which groups are members of which organizations.
    pub organizations: Vec<GroupRole>,
    /// Trusted besides what the system trusts: certificates in PEM.
    pub ca_bundle: Option<Vec<u8>>,
}

/// Who may sign in: everybody the provider knows when both are empty, else whoever fits one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// What follows the `@` of an address that the provider has verified.
    pub domains: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
}

/// The role that a group has in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRole {
    /// What the provider calls the group.
    pub group: String,
    /// The organization's name.
    pub organization: String,
    /// What its members may do there.
    pub role: OrgRole,
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the OpenID Connect provider cannot be called with these certificates")]
pub struct CannotCall(#[source] reqwest::Error);

/// An OpenID Connect provider, and what is made of what it says.
#[derive(Clone)]
pub struct Oidc {
    inner: Arc<Inner>,
}

struct Inner {
    config: OidcConfig,
    provider: Provider,
}

impl Oidc {
    /// Calls nobody: the provider may be away while the hub starts.
    ///
    /// # Errors
    /// When the certificates are none.
    pub fn new(config: OidcConfig) -> Result<Self, CannotCall> {
        let provider = Provider::new(&config)?;
        Ok(Self { inner: Arc::new(Inner { config, provider }) })
    }

    pub(crate) fn config(&self) -> &OidcConfig {
        &self.inner.config
    }

    pub(crate) fn provider(&self) -> &Provider {
        &self.inner.provider
    }
}

/// Why somebody could not sign in this way. The page of the hub has words and a remedy for each.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// The provider does not answer, or not as one does.
    #[error("the provider cannot be asked: {0}")]
    Provider(String),
    /// The person, or the provider, said no.
    #[error("the provider said no: {0}")]
    Denied(String),
    /// The answer belongs to no sign-in of this browser, or comes too late.
    #[error("the answer belongs to no sign-in that this browser began: {0}")]
    Errand(&'static str),
    /// The code is not one, or not any more.
    #[error("the provider did not take the code: {0}")]
    Code(String),
    /// What the provider says of somebody is not what it may say.
    #[error("the ID token is not valid: {0}")]
    Token(String),
    /// The token is from another time.
    #[error("the ID token is from another time: {0}")]
    Clock(String),
    /// Not everybody may sign in, and this is not one of them.
    #[error("{0} is not among those who may sign in")]
    NotAdmitted(String),
    /// There is no account, and none is made.
    #[error("{0} has no account, and none is made")]
    NoAccount(String),
    /// The account would have a name that is taken.
    #[error("the name {0} is taken")]
    NameTaken(String),
    /// The claims hold nothing that an account could be called.
    #[error("the claims of {0} hold no name that an account can have")]
    NoName(String),
    /// The account is disabled.
    #[error("the account of {0} is disabled")]
    Disabled(String),
    /// The identity is another account's.
    #[error("{0} is connected with another account")]
    Connected(String),
    /// Too many at once.
    #[error("too many people sign in at once")]
    Busy,
    /// Our own fault.
    #[error("{}", .0.message())]
    Failed(crate::error::ApiError),
}

impl From<crate::error::ApiError> for Problem {
    fn from(error: crate::error::ApiError) -> Self {
        Self::Failed(error)
    }
}

impl From<spaceport_store::StoreError> for Problem {
    fn from(error: spaceport_store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl Problem {
    /// What the page of the hub is told.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Provider(_) => "provider",
            Self::Denied(_) => "denied",
            Self::Errand(_) => "expired",
            Self::Code(_) => "code",
            Self::Token(_) => "token",
            Self::Clock(_) => "clock",
            Self::NotAdmitted(_) => "not-admitted",
            Self::NoAccount(_) => "no-account",
            Self::NameTaken(_) => "name-taken",
            Self::NoName(_) => "no-name",
            Self::Disabled(_) => "disabled",
            Self::Connected(_) => "connected",
            Self::Busy => "busy",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether an administrator of this hub must do something about it.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Provider(_) | Self::Token(_) | Self::Clock(_) | Self::Failed(_))
    }
}
