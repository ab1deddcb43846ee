//! Secrets at rest: sealed with XChaCha20-Poly1305 under a key that lies beside the database.
//!
//! Each value is bound to its Space and name, so a sealed value copied to another row does not
//! open. Values are opened only to hand them to a container or a build. A second key, derived from
//! the first, makes names that nobody else can compute.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use spaceport_core::{SpaceId, WebhookId};

const NONCE_LEN: usize = 24;
/// Says what the derived key is for, as `blake3::derive_key` wants it.
const NAMES: &str = "spaceport 2026-11-23 names that cannot be guessed";

/// Binds what is sealed for a sign-in. No Space has such an id.
const SIGN_IN: &[u8] = b"sign-in\0";

/// The key is wrong, or the value was tampered with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret {name} cannot be opened with this installation's key")]
pub struct CannotOpen {
    name: String,
}

/// Seals and opens secrets.
#[derive(Clone)]
pub struct Vault {
    cipher: XChaCha20Poly1305,
    names: [u8; 32],
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// With this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { cipher: XChaCha20Poly1305::new(key.into()), names: blake3::derive_key(NAMES, key) }
    }

    /// A name (64 hexadecimal digits) for these texts: the same ones have the same name, and only
    /// this installation can compute it. For what others could use if they guessed its name.
    #[must_use]
    pub fn name(&self, parts: &[&str]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.names);
        for part in parts {
            // With its length before it, so that no two lists collide.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Seals a value for one Space and name.
    #[must_use]
    pub fn seal(&self, space: SpaceId, name: &str, value: &str) -> String {
        self.seal_bound(&binding(space, name), value)
    }

    /// Seals the secret of a webhook.
    #[must_use]
    pub fn seal_webhook(&self, webhook: WebhookId, secret: &str) -> String {
        self.seal_bound(&webhook_binding(webhook), secret)
    }

    /// Seals what a browser keeps for the hub while somebody signs in elsewhere.
    #[must_use]
    pub fn seal_sign_in(&self, value: &str) -> String {
        self.seal_bound(SIGN_IN, value)
    }

    fn seal_bound(&self, bound: &[u8], value: &str) -> String {
        let mut nonce = [0u8; NONCE_LEN];
        getrandom::fill(&mut nonce).expect("the operating system has random numbers");
        let payload = Payload { msg: value.as_bytes(), aad: bound };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).expect("a value fits into memory");
        STANDARD_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// Opens what [`Vault::seal`] made for the same Space and name.
    ///
    /// # Errors
    /// When the key, the Space or the name is another one, or the text is damaged.
    pub fn open(&self, space: SpaceId, name: &str, sealed: &str) -> Result<String, CannotOpen> {
        self.open_bound(&binding(space, name), name, sealed)
    }

    /// Opens what [`Vault::seal_webhook`] made for the same webhook.
    ///
    /// # Errors
    /// When the key or the webhook is another one, or the text is damaged.
    pub fn open_webhook(&self, webhook: WebhookId, sealed: &str) -> Result<String, CannotOpen> {
        self.open_bound(&webhook_binding(webhook), "of the webhook", sealed)
    }

    /// Opens what [`Vault::seal_sign_in`] made.
    ///
    /// # Errors
    /// When the key is another one, or the text is damaged.
    pub fn open_sign_in(&self, sealed: &str) -> Result<String, CannotOpen> {
        self.open_bound(SIGN_IN, "of a sign-in", sealed)
    }

    fn open_bound(&self, bound: &[u8], name: &str, sealed: &str) -> Result<String, CannotOpen> {
        let failed = || CannotOpen { name: name.to_owned() };
        let bytes = STANDARD_NO_PAD.decode(sealed).map_err(|_| failed())?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or_else(failed)?;
        let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| failed())?;
        let opened = self.cipher.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: bound });
        opened.ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(failed)
    }
}

fn binding(space: SpaceId, name: &str) -> Vec<u8> {
    format!("{space}\0{name}").into_bytes()
}

fn webhook_binding(webhook: WebhookId) -> Vec<u8> {
    // No Space has such an id.
    format!("webhook\0{webhook}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceport_core::Timestamp;

    #[test]
    fn a_webhooks_secret_opens_for_it_only() {
        let vault = Vault::new(&[7; 32]);
        let (a, b) = (WebhookId::new(Timestamp::from_millis(1), 1), WebhookId::new(Timestamp::from_millis(1), 2));
        let sealed = vault.seal_webhook(a, "hunter2");
        assert_eq!(vault.open_webhook(a, &sealed).as_deref(), Ok("hunter2"));
        assert!(vault.open_webhook(b, &sealed).is_err());
    }

    #[test]
    fn what_is_sealed_for_a_sign_in_is_nothing_else() {
        let vault = Vault::new(&[7; 32]);
        let sealed = vault.seal_sign_in("a secret");
        assert_eq!(vault.open_sign_in(&sealed).as_deref(), Ok("a secret"));
        assert!(Vault::new(&[8; 32]).open_sign_in(&sealed).is_err());
        let (space, webhook) =
            (SpaceId::new(Timestamp::from_millis(1), 1), WebhookId::new(Timestamp::from_millis(1), 1));
        assert!(vault.open_sign_in(&vault.seal(space, "", "x")).is_err());
        assert!(vault.open_sign_in(&vault.seal_webhook(webhook, "x")).is_err());
    }

    #[test]
    fn opens_only_for_the_same_space_and_name() {
        let vault = Vault::new(&[7; 32]);
        let (a, b) = (SpaceId::new(Timestamp::from_millis(1), 1), SpaceId::new(Timestamp::from_millis(1), 2));
        let sealed = vault.seal(a, "KEY", "hunter2 ü");
        assert!(!sealed.contains("hunter2"));
        assert_eq!(vault.open(a, "KEY", &sealed).as_deref(), Ok("hunter2 ü"));
        assert!(vault.open(b, "KEY", &sealed).is_err());
        assert!(vault.open(a, "OTHER", &sealed).is_err());
        assert!(Vault::new(&[8; 32]).open(a, "KEY", &sealed).is_err());
        assert!(vault.open(a, "KEY", "AAAA").is_err());
    }

    #[test]
    fn names_are_of_their_texts_and_of_the_key() {
        let vault = Vault::new(&[7; 32]);
        assert_eq!(vault.name(&["a", "b"]), vault.name(&["a", "b"]));
        assert_eq!(vault.name(&["a"]).len(), 64);
        assert_ne!(vault.name(&["ab", "c"]), vault.name(&["a", "bc"]));
        assert_ne!(vault.name(&["a"]), Vault::new(&[8; 32]).name(&["a"]));
    }
}
