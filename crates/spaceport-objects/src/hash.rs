//! The two names of content: SHA-256, by which git-lfs and commits name a file, and Xet's hash.

use std::fmt;
use std::str::FromStr;

/// A text is not a hash of the expected form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits")]
pub struct InvalidHash;

/// The SHA-256 of a file's bytes: the `oid` of git-lfs. As text, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// From the bytes of the digest.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

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
        Sha256(swap_words(self.0))
    }

    /// The inverse of [`Self::to_sha256`].
    pub(crate) fn from_sha256(sha256: &Sha256) -> Self {
        Self(swap_words(sha256.0))
    }
}

fn swap_words(mut bytes: [u8; 32]) -> [u8; 32] {
    for word in bytes.chunks_exact_mut(8) {
        word.reverse();
    }
    bytes
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = InvalidHash;
    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        decode(text).map(Self)
    }
}

impl fmt::Display for XetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        swap_words(self.0).iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        decode(text).map(|bytes| Self(swap_words(bytes)))
    }
}

/// Lower case only: one content has one name, and names are paths.
fn decode(text: &str) -> Result<[u8; 32], InvalidHash> {
    let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| InvalidHash)?;
    let mut bytes = [0u8; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

fn digit(byte: u8) -> Result<u8, InvalidHash> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(InvalidHash),
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

    #[test]
    fn only_lower_case_hex_of_full_length_is_a_hash() {
        for text in ["", "e3b0", &"g".repeat(64), &"A".repeat(64), &"../".repeat(21), &"é".repeat(32)] {
            assert_eq!(text.parse::<Sha256>(), Err(InvalidHash), "{text}");
            assert_eq!(text.parse::<XetHash>(), Err(InvalidHash), "{text}");
        }
    }
}
