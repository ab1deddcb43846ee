//! How people sign in with a browser: a password, a one-time link, or an OpenID Connect provider.
//! What comes of it is a session: a random secret in a cookie, of which the database has the hash.

pub mod device;
pub(crate) mod gate;
pub mod login;
pub mod oidc;
pub(crate) mod password;
pub(crate) mod session;

use std::sync::Arc;
use std::time::Duration;

use spaceport_core::account::Account;
use spaceport_store::{Store, StoreError};

use crate::sign_in::device::Devices;
use crate::sign_in::gate::Gate;
use crate::sign_in::oidc::Oidc;
use crate::sign_in::password::Passwords;

/// How long a one-time link works.
const LINK_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// What signing in needs beyond the database: one per process.
#[derive(Clone, Default)]
pub struct SignIn {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    gate: Gate,
    devices: Devices,
    passwords: Passwords,
    oidc: Option<Oidc>,
}

impl SignIn {
    /// With a provider.
    #[must_use]
    pub fn with_provider(oidc: Option<Oidc>) -> Self {
        Self { inner: Arc::new(Inner { oidc, ..Inner::default() }) }
    }

    /// The provider, where there is one.
    pub(crate) fn oidc(&self) -> Option<&Oidc> {
        self.inner.oidc.as_ref()
    }

    /// Slows down whoever guesses.
    pub(crate) fn gate(&self) -> &Gate {
        &self.inner.gate
    }

    /// Programs that wait to be let in.
    pub(crate) fn devices(&self) -> &Devices {
        &self.inner.devices
    }

    /// Hashes and compares passwords.
    pub(crate) fn passwords(&self) -> &Passwords {
        &self.inner.passwords
    }
}

/// A new link that signs an account in, once, within a day.
///
/// # Errors
/// When the database fails.
///
/// # Panics
/// When the operating system has no random numbers.
pub async fn sign_in_link(
    store: &Store,
    clock: &spaceport_control::Clock,
    hub_url: &str,
    account: &Account,
) -> Result<SignInLink, StoreError> {
    let (secret, now) = (session::random_secret(), clock.now());
    let expires_at = now + LINK_LIFETIME;
    store.sign_in_link_create(account.id, &secret, now, expires_at).await?;
    Ok(SignInLink { url: format!("{hub_url}/login/link/{secret}"), expires_at })
}

/// A link that signs in once.
#[derive(Clone)]
pub struct SignInLink {
    /// Where to; whoever has it may sign in.
    pub url: String,
    /// Until when.
    pub expires_at: spaceport_core::Timestamp,
}
