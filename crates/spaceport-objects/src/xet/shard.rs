//! A shard: what a client sends to say of which chunks its files consist.
//!
//! Layout: a header of 48 bytes; for each file a head, its terms, their verification hashes and
//! its SHA-256, every one 48 bytes; a head of ones that ends the list; the same for xorbs. What
//! follows is a lookup table for local use and is not read. A shard that is given out has a footer, and no such
//! table: clients make their own.
//! Specification: <https://huggingface.co/docs/xet/shard>.

use std::io::Read;

use spaceport_core::Timestamp;

use super::xorb::XorbIndex;
use crate::error::FormatError;
use crate::{Sha256, XetHash};

/// The longest shard that is accepted. Specification: "Shard Upload", the limit of the API.
pub const MAX_SHARD_BYTES: u64 = 64 << 20;

const TAG: [u8; 32] = [
    b'H', b'F', b'R', b'e', b'p', b'o', b'M', b'e', b't', b'a', b'D', b'a', b't', b'a', 0, 85, 105, 103, 69, 106, 123,
    129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169,
];
const VERSION: u64 = 2;
const FOOTER_VERSION: u64 = 1;
const FOOTER: u64 = 200;
const ENTRY: usize = 48;
const END: XetHash = XetHash::from_bytes([0xff; 32]);
const WITH_VERIFICATION: u32 = 1 << 31;
const WITH_SHA256: u32 = 1 << 30;

/// A range of chunks of a xorb that is the next piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// The xorb.
    pub xorb: XetHash,
    /// Bytes of the piece.
    pub length: u32,
    /// The first chunk.
    pub start: u32,
    /// The chunk after the last.
    pub end: u32,
}

/// What a shard says about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileBlock {
    /// The file's hash.
    pub file: XetHash,
    /// Its pieces, in order.
    pub terms: Vec<Term>,
    /// For each piece the hash over its chunk hashes; empty when the shard has none.
    pub verification: Vec<XetHash>,
    /// The SHA-256 of its bytes, as the client says.
    pub sha256: Option<Sha256>,
}

/// Reads the files of a shard one after the other.
pub(crate) struct ShardReader<R> {
    input: R,
    /// Bytes that may still come: what a length may claim.
    left: u64,
}

impl<R: Read> ShardReader<R> {
    /// Checks the header of a shard of `length` bytes.
    pub(crate) fn new(input: R, length: u64) -> Result<Self, FormatError> {
        let mut reader = Self { input, left: length };
        let header = reader.entry()?;
        if header[..32] != TAG {
            return Err(FormatError::new("this is not a shard: it begins otherwise"));
        }
        let version = u64::from_le_bytes(*header[32..].first_chunk().expect("an entry has 48 bytes"));
        if version != VERSION {
            return Err(FormatError(format!("shard version {version} is unknown; {VERSION} is known")));
        }
        Ok(reader)
    }

    /// The next file; `None` after the last.
    pub(crate) fn next_file(&mut self) -> Result<Option<FileBlock>, FormatError> {
        let head = self.entry()?;
        let file = hash(&head);
        if file == END {
            return Ok(None);
        }
        let (flags, count) = (number(&head, 32), self.count(number(&head, 36))?);
        let mut block = FileBlock { file, terms: Vec::with_capacity(count), verification: Vec::new(), sha256: None };
        for _ in 0..count {
            let entry = self.entry()?;
            block.terms.push(Term {
                xorb: hash(&entry),
                length: number(&entry, 36),
                start: number(&entry, 40),
                end: number(&entry, 44),
            });
        }
        if flags & WITH_VERIFICATION != 0 {
            for _ in 0..count {
                block.verification.push(hash(&self.entry()?));
            }
        }
        if flags & WITH_SHA256 != 0 {
            block.sha256 = Some(hash(&self.entry()?).to_sha256());
        }
        Ok(Some(block))
    }

    /// Reads the list of xorbs to its end. The store has its own index of every xorb, so the list
    /// need only be well-formed.
    pub(crate) fn check_xorbs(&mut self) -> Result<(), FormatError> {
        loop {
            let head = self.entry()?;
            if hash(&head) == END {
                return Ok(());
            }
            for _ in 0..self.count(number(&head, 36))? {
                self.entry()?;
            }
        }
    }

    /// So many entries are no more than the shard can hold.
    fn count(&self, claimed: u32) -> Result<usize, FormatError> {
        usize::try_from(claimed)
            .ok()
            .filter(|_| u64::from(claimed) <= self.left / ENTRY as u64)
            .ok_or_else(|| FormatError(format!("a block of {claimed} entries is longer than the shard")))
    }

    fn entry(&mut self) -> Result<[u8; ENTRY], FormatError> {
        let mut entry = [0; ENTRY];
        self.left = self.left.checked_sub(ENTRY as u64).ok_or_else(truncated)?;
        self.input.read_exact(&mut entry).map_err(|_| truncated())?;
        Ok(entry)
    }
}

impl FileBlock {
    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        self.terms.iter().map(|term| u64::from(term.length)).sum()
    }

    /// A shard with this file alone: the form in which the store keeps it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let verified = self.verification.len() == self.terms.len() && !self.terms.is_empty();
        let mut flags = if verified { WITH_VERIFICATION } else { 0 };
        if self.sha256.is_some() {
            flags |= WITH_SHA256;
        }
        let count = u32::try_from(self.terms.len()).expect("a shard holds fewer terms");
        let mut out = Vec::with_capacity(ENTRY * (5 + 2 * self.terms.len()));
        out.extend(TAG);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 8]);
        put(&mut out, &self.file, [flags, count, 0, 0]);
        for term in &self.terms {
            put(&mut out, &term.xorb, [0, term.length, term.start, term.end]);
        }
        if verified {
            self.verification.iter().for_each(|hash| put(&mut out, hash, [0; 4]));
        }
        if let Some(sha256) = &self.sha256 {
            put(&mut out, &XetHash::from_sha256(sha256), [0; 4]);
        }
        put(&mut out, &END, [0; 4]);
        put(&mut out, &END, [0; 4]);
        out
    }
}

/// A shard without files that tells of xorbs and their chunks.
pub(crate) struct XorbsShard {
    out: Vec<u8>,
    unpacked: u64,
    packed: u64,
}

impl XorbsShard {
    pub(crate) fn new() -> Self {
        let mut out = Vec::from(TAG);
        out.extend(VERSION.to_le_bytes());
        out.extend(FOOTER.to_le_bytes());
        put(&mut out, &END, [0; 4]);
        Self { out, unpacked: 0, packed: 0 }
    }

    /// Its bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn push(&mut self, xorb: &XorbIndex) {
        let count = u32::try_from(xorb.chunks.len()).expect("a xorb has at most 8192 chunks");
        let (unpacked, packed) = xorb.chunks.last().map_or((0, 0), |last| (last.unpacked_end, last.packed_end));
        put(&mut self.out, &xorb.hash, [0, count, unpacked, packed]);
        let mut start = 0;
        for chunk in &xorb.chunks {
            put(&mut self.out, &chunk.hash, [start, chunk.unpacked_end - start, 0, 0]);
            start = chunk.unpacked_end;
        }
        self.unpacked += u64::from(unpacked);
        self.packed += u64::from(packed);
    }

    /// The whole, to be relied on until `expiry`; `None` when there are no xorbs.
    pub(crate) fn finish(self, now: Timestamp, expiry: Timestamp) -> Option<Vec<u8>> {
        let Self { mut out, unpacked, packed } = self;
        let xorbs_at = 2 * ENTRY as u64;
        if u64::try_from(out.len()).is_ok_and(|length| length == xorbs_at) {
            return None;
        }
        put(&mut out, &END, [0; 4]);
        let footer_at = u64::try_from(out.len()).expect("a shard fits the memory");
        let seconds = |at: Timestamp| u64::try_from(at.as_millis() / 1000).unwrap_or(0);
        let mut words = |words: &[u64]| words.iter().for_each(|word| out.extend(word.to_le_bytes()));
        // Where files and xorbs are, and three tables without entries: of files, xorbs and chunks.
        words(&[FOOTER_VERSION, ENTRY as u64, xorbs_at, footer_at, 0, footer_at, 0, footer_at, 0]);
        // The chunks' hashes are not keyed: whoever gets them has sent the chunks.
        words(&[0; 4]);
        words(&[seconds(now), seconds(expiry)]);
        words(&[0; 6]);
        words(&[packed, unpacked, unpacked, footer_at]);
        Some(out)
    }
}

fn put(out: &mut Vec<u8>, hash: &XetHash, numbers: [u32; 4]) {
    out.extend(hash.as_bytes());
    numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
}

fn hash(entry: &[u8; ENTRY]) -> XetHash {
    XetHash::from_bytes(*entry.first_chunk().expect("an entry has 48 bytes"))
}

fn number(entry: &[u8; ENTRY], at: usize) -> u32 {
    u32::from_le_bytes(*entry[at..].first_chunk().expect("an entry has 48 bytes"))
}

fn truncated() -> FormatError {
    FormatError::new("the shard ends too early")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn terms()(xorb in any::<[u8; 32]>(), length in any::<u32>(), start in any::<u32>(), end in any::<u32>()) -> Term {
            Term { xorb: XetHash::from_bytes(xorb), length, start, end }
        }
    }

    prop_compose! {
        fn blocks()(
            terms in prop::collection::vec(terms(), 0..20),
            file in prop::collection::vec(0u8..255, 32),
            verified in any::<bool>(),
            sha256 in prop::option::of(any::<[u8; 32]>()),
        ) -> FileBlock {
            let verification = if verified { terms.iter().map(|term| term.xorb).collect() } else { Vec::new() };
            let file = XetHash::from_bytes(file.try_into().unwrap());
            FileBlock { file, terms, verification, sha256: sha256.map(Sha256::from_bytes) }
        }
    }

    fn read_all(bytes: &[u8], length: u64) -> Result<Vec<FileBlock>, FormatError> {
        let mut reader = ShardReader::new(bytes, length)?;
        let mut files = Vec::new();
        while let Some(file) = reader.next_file()? {
            files.push(file);
        }
        reader.check_xorbs()?;
        Ok(files)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(block in blocks()) {
            let bytes = block.to_bytes();
            prop_assert_eq!(read_all(&bytes, bytes.len() as u64).unwrap(), vec![block]);
        }

        #[test]
        fn a_shard_cut_anywhere_is_refused(block in blocks(), cut in any::<prop::sample::Index>()) {
            let bytes = block.to_bytes();
            let cut = cut.index(bytes.len());
            prop_assert!(read_all(&bytes[..cut], cut as u64).is_err());
        }

        #[test]
        fn hostile_bytes_never_panic(
            block in blocks(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = block.to_bytes();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _ = read_all(&bytes, bytes.len() as u64);
        }
    }

    #[test]
    fn a_count_that_the_shard_cannot_hold_allocates_nothing() {
        let block = FileBlock { file: XetHash::default(), terms: Vec::new(), verification: Vec::new(), sha256: None };
        let mut bytes = block.to_bytes();
        bytes[ENTRY + 36..ENTRY + 40].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = read_all(&bytes, bytes.len() as u64).unwrap_err();
        assert!(error.to_string().contains("longer than the shard"), "{error}");
    }
}
