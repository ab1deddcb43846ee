//! Claims: what the bearer of an address or a token may do, signed by this hub.
//!
//! A claim names one operation on one file of one repository, or a Xet session of one account with
//! one repository, and ends soon. The form is ours and opaque to clients: the claim as JSON and a
//! keyed BLAKE3 hash of it, both in base64. Claims stand in query strings, never in paths: paths are
//! logged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use spaceport_core::{AccountId, RepoId, Timestamp};

use crate::error::ApiError;

/// The key of the installation's claims.
pub struct ClaimKey([u8; 32]);

impl std::fmt::Debug for ClaimKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClaimKey")
    }
}

/// What is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Claim {
    /// Uploading a file to a repository by git-lfs, whole or in parts, and asking whether it came.
    Upload {
        repo: RepoId,
        account: AccountId,
        sha256: String,
        size: u64,
        /// Bytes of each part but the last; absent for a file that is sent whole.
        part: Option<u64>,
    },
    /// Downloading a file of a repository.
    Download { repo: RepoId, sha256: String },
    /// Using the content-addressed store for a repository.
    Xet { repo: RepoId, account: Option<AccountId>, write: bool },
    /// Reading parts of a xorb, as `start..end` in bytes.
    Xorb { xorb: String, spans: Vec<(u64, u64)> },
}

#[derive(Serialize, Deserialize)]
struct Signed {
    claim: Claim,
    until: Timestamp,
}

impl ClaimKey {
    /// From 32 random bytes that are kept.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The claim as text, valid until a time.
    pub(crate) fn sign(&self, claim: Claim, until: Timestamp) -> String {
        let signed = serde_json::to_vec(&Signed { claim, until }).expect("a claim serialises to JSON");
        let mac = blake3::keyed_hash(&self.0, &signed);
        format!("{}.{}", URL_SAFE_NO_PAD.encode(signed), URL_SAFE_NO_PAD.encode(mac.as_bytes()))
    }

    /// Reads a claim of this hub that has not ended.
    ///
    /// # Errors
    /// 403 when it is another's, was changed, or has ended.
    pub(crate) fn read(&self, text: &str, now: Timestamp) -> Result<Claim, ApiError> {
        let invalid = || ApiError::forbidden("This address or token was not made by this server; ask for a new one");
        let (signed, mac) = text.split_once('.').ok_or_else(invalid)?;
        let signed = URL_SAFE_NO_PAD.decode(signed).map_err(|_| invalid())?;
        let mac: [u8; 32] = URL_SAFE_NO_PAD.decode(mac).ok().and_then(|mac| mac.try_into().ok()).ok_or_else(invalid)?;
        // Compares in constant time.
        if blake3::keyed_hash(&self.0, &signed) != blake3::Hash::from_bytes(mac) {
            return Err(invalid());
        }
        let Signed { claim, until } = serde_json::from_slice(&signed).map_err(|_| invalid())?;
        if until < now {
            return Err(ApiError::forbidden("This address or token has ended; ask for a new one"));
        }
        Ok(claim)
    }

    /// A short name by which an account's Xet clients know this hub. They keep lists of what they
    /// have uploaded by the address of the store, so the address differs by account and by
    /// installation: an upload may refer only to what the same account has uploaded here.
    pub(crate) fn store_name(&self, account: Option<AccountId>) -> String {
        let account = account.map_or_else(|| "anyone".to_owned(), |account| account.to_string());
        blake3::keyed_hash(&self.0, account.as_bytes()).to_hex()[..16].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim::Xorb { xorb: "0".repeat(64), spans: vec![(0, 10)] }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_claim_is_good_until_it_ends() {
        let key = ClaimKey::new([1; 32]);
        let text = key.sign(claim(), at(10));
        assert_eq!(key.read(&text, at(10)).unwrap(), claim());
        assert!(key.read(&text, at(11)).is_err());
        assert!(ClaimKey::new([2; 32]).read(&text, at(10)).is_err());
    }

    #[test]
    fn a_changed_claim_is_refused() {
        let key = ClaimKey::new([1; 32]);
        let text = key.sign(claim(), at(10));
        for position in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(key.read(&changed, at(1)).is_err(), "{position}");
        }
        for text in ["", ".", "a.b", "é.é"] {
            assert!(key.read(text, at(1)).is_err(), "{text}");
        }
    }
}
