//! Xet's name of content. The other name, SHA-256, is `spaceport_core::Sha256`.

use std::fmt;
use std::str::FromStr;

use crate::{InvalidHash, Sha256};

/// A hash of Xet: of a chunk, a xorb or a file.
///
/// As text it is *not* the hexadecimal form of its bytes: the 32 bytes are four little-endian
/// 64-bit words, each written with its highest digit first.
/// Specification: <https://huggingface.co/docs/xet/file-id>, "hash as string".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct XetHash([u8; 32]);

impl XetHash {
    /// From bytes as they stand in xorbs and shards.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes as they stand in xorbs and shards.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Shards keep a SHA-256 in the form of their own hashes: with the same text, so with the
    /// bytes of each word reversed.
    pub(crate) fn to_sha256(self) -> Sha256 {
        Sha256::from_bytes(swap_words(self.0))
    }

    /// The inverse of [`Self::to_sha256`].
    pub(crate) fn from_sha256(sha256: &Sha256) -> Self {
        Self(swap_words(*sha256.as_bytes()))
    }
}

fn swap_words(mut bytes: [u8; 32]) -> [u8; 32] {
    for word in bytes.chunks_exact_mut(8) {
        word.reverse();
    }
    bytes
}

impl fmt::Display for XetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_sha256().fmt(f)
    }
}

impl fmt::Debug for XetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XetHash({self})")
    }
}

impl FromStr for XetHash {
    type Err = InvalidHash;
    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        text.parse().map(|same_text| Self::from_sha256(&same_text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xet_writes_words_not_bytes() {
        let text = "0706050403020100".to_owned() + &"0".repeat(48);
        let hash: XetHash = text.parse().unwrap();
        assert_eq!(hash.as_bytes()[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(hash.to_string(), text);
    }

    #[test]
    fn a_sha256_keeps_its_text_in_a_shard() {
        let sha256: Sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse().unwrap();
        assert_eq!(XetHash::from_sha256(&sha256).to_string(), sha256.to_string());
        assert_eq!(XetHash::from_sha256(&sha256).to_sha256(), sha256);
    }
}
