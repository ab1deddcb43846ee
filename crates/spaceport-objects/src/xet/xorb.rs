//! A xorb: up to 8192 chunks in one file, and at its end an index of them.
//!
//! Clients may leave the index out, and what they write there proves nothing. The store computes
//! every hash itself while it checks a xorb, cuts off whatever follows the chunks, and writes an
//! index of its own, in the public format.
//! Specification: <https://huggingface.co/docs/xet/xorb>.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::chunk::{ChunkHeader, HEADER};
use super::merkle::{Tree, chunk_hash};
use crate::XetHash;
use crate::error::{FormatError, ObjectError};

/// The most chunks in a xorb. Specification: "Xorb Limits".
pub(crate) const MAX_CHUNKS: usize = 8192;
/// The longest serialized xorb that is accepted: 64 MiB of chunks, their headers and an index.
pub const MAX_XORB_BYTES: u64 = 65 << 20;

const IDENT: &[u8; 7] = b"XETBLOB";
const HASHES_IDENT: &[u8; 8] = b"XBLBHSH\0";
const BOUNDARIES_IDENT: &[u8; 8] = b"XBLBBND\x01";
/// Bytes of the index besides those for each chunk.
const INDEX_FIXED: usize = 92;
/// Bytes of the index for each chunk: its hash and two offsets.
const INDEX_CHUNK: usize = 40;

/// What is in a xorb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct XorbIndex {
    /// The hash of the xorb.
    pub hash: XetHash,
    /// Its chunks, in order.
    pub chunks: Vec<IndexedChunk>,
}

/// One chunk of a xorb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexedChunk {
    /// The hash of its bytes.
    pub hash: XetHash,
    /// Where it ends in the file.
    pub packed_end: u32,
    /// Where it ends when all chunks are unpacked one after the other.
    pub unpacked_end: u32,
}

impl XorbIndex {
    /// Reads and checks every chunk, up to the end of the file or the sender's own index.
    pub(crate) fn compute(file: &File) -> Result<Self, ObjectError> {
        let read = ObjectError::io("read a received xorb");
        let mut reader = BufReader::with_capacity(256 * 1024, file);
        let (mut chunks, mut tree) = (Vec::new(), Tree::default());
        let (mut packed_end, mut unpacked_end) = (0u32, 0u32);
        let (mut packed, mut bytes) = (Vec::new(), Vec::new());
        loop {
            let mut header = [0u8; HEADER];
            match read_up_to(&mut reader, &mut header).map_err(&read)? {
                0 => break,
                HEADER if header.starts_with(IDENT) => break,
                HEADER => {}
                _ => return Err(truncated()),
            }
            let header = ChunkHeader::parse(&header).map_err(FormatError::sent)?;
            if chunks.len() == MAX_CHUNKS {
                return Err(ObjectError::Invalid(format!("a xorb has at most {MAX_CHUNKS} chunks")));
            }
            packed.resize(header.packed, 0);
            if read_up_to(&mut reader, &mut packed).map_err(&read)? < header.packed {
                return Err(truncated());
            }
            bytes.clear();
            header.unpack(&packed, &mut bytes).map_err(FormatError::sent)?;
            let hash = chunk_hash(&bytes);
            tree.push(hash, bytes.len() as u64);
            // Neither can overflow: 8192 chunks have at most 2 GiB packed and 1 GiB unpacked.
            packed_end += small(HEADER + header.packed);
            unpacked_end += small(header.unpacked);
            chunks.push(IndexedChunk { hash, packed_end, unpacked_end });
        }
        if chunks.is_empty() {
            return Err(ObjectError::Invalid("a xorb has at least one chunk".to_owned()));
        }
        Ok(Self { hash: tree.xorb_hash(), chunks })
    }

    /// The bytes to write behind the chunks.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let count = small(self.chunks.len()).to_le_bytes();
        let mut out = Vec::with_capacity(INDEX_FIXED + INDEX_CHUNK * self.chunks.len() + 4);
        out.extend(IDENT);
        out.push(1);
        out.extend(self.hash.as_bytes());
        let hashes = out.len();
        out.extend(HASHES_IDENT);
        out.extend(count);
        self.chunks.iter().for_each(|chunk| out.extend(chunk.hash.as_bytes()));
        let boundaries = out.len();
        out.extend(BOUNDARIES_IDENT);
        out.extend(count);
        self.chunks.iter().for_each(|chunk| out.extend(chunk.packed_end.to_le_bytes()));
        self.chunks.iter().for_each(|chunk| out.extend(chunk.unpacked_end.to_le_bytes()));
        out.extend(count);
        // Both sections are found by their distance from the end: two offsets and a reserve of 16 bytes follow.
        let end = out.len() + 4 + 4 + 16;
        out.extend(small(end - hashes).to_le_bytes());
        out.extend(small(end - boundaries).to_le_bytes());
        out.extend([0; 16]);
        let length = small(out.len());
        out.extend(length.to_le_bytes());
        out
    }

    /// Reads the index at the end of a stored xorb.
    pub(crate) fn read(file: &File) -> Result<Self, ObjectError> {
        let read = ObjectError::io("read a xorb");
        let length = file.metadata().map_err(&read)?.len();
        let mut size = [0u8; 4];
        let size_at = length.checked_sub(4).ok_or_else(|| damaged("it is too short"))?;
        file.read_exact_at(&mut size, size_at).map_err(&read)?;
        let size = u64::from(u32::from_le_bytes(size));
        let index_at = size_at.checked_sub(size).ok_or_else(|| damaged("its index is longer than itself"))?;
        if size > (INDEX_FIXED + INDEX_CHUNK * MAX_CHUNKS) as u64 {
            return Err(damaged("its index is too long"));
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| damaged("its index is too long"))?];
        file.read_exact_at(&mut bytes, index_at).map_err(&read)?;
        let index = Self::parse(&bytes).ok_or_else(|| damaged("its index is malformed"))?;
        if index.chunks.last().is_none_or(|chunk| u64::from(chunk.packed_end) != index_at) {
            return Err(damaged("its index does not fit its length"));
        }
        Ok(index)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let count = bytes.len().checked_sub(INDEX_FIXED)? / INDEX_CHUNK;
        let (ident, rest) = bytes.split_at_checked(8)?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let (hashes_ident, rest) = rest.split_at_checked(8)?;
        let (_, rest) = rest.split_at_checked(4)?;
        let (hashes, rest) = rest.split_at_checked(32 * count)?;
        let (boundaries_ident, rest) = rest.split_at_checked(8)?;
        let (_, rest) = rest.split_at_checked(4)?;
        let (packed, rest) = rest.split_at_checked(4 * count)?;
        let (unpacked, rest) = rest.split_at_checked(4 * count)?;
        if !ident.starts_with(IDENT) || hashes_ident != HASHES_IDENT || boundaries_ident != BOUNDARIES_IDENT {
            return None;
        }
        if rest.len() != 28 || !rest.starts_with(&small(count).to_le_bytes()) {
            return None;
        }
        let (hashes, packed, unpacked) =
            (hashes.as_chunks::<32>().0, packed.as_chunks::<4>().0, unpacked.as_chunks::<4>().0);
        let chunks = hashes.iter().zip(packed).zip(unpacked).map(|((hash, packed), unpacked)| IndexedChunk {
            hash: XetHash::from_bytes(*hash),
            packed_end: u32::from_le_bytes(*packed),
            unpacked_end: u32::from_le_bytes(*unpacked),
        });
        let index = Self { hash: XetHash::from_bytes(*hash), chunks: chunks.collect() };
        let ascending = |pair: &[IndexedChunk]| {
            pair[0].packed_end < pair[1].packed_end && pair[0].unpacked_end < pair[1].unpacked_end
        };
        index.chunks.windows(2).all(ascending).then_some(index)
    }

    /// Where chunks lie in the file.
    pub(crate) fn packed_range(&self, chunks: &Range<usize>) -> Range<u64> {
        u64::from(self.packed_start(chunks.start))..u64::from(self.packed_start(chunks.end))
    }

    /// Bytes of these chunks when unpacked.
    pub(crate) fn unpacked_length(&self, chunks: &Range<usize>) -> u64 {
        u64::from(self.unpacked_start(chunks.end) - self.unpacked_start(chunks.start))
    }

    fn packed_start(&self, chunk: usize) -> u32 {
        if chunk == 0 { 0 } else { self.chunks[chunk - 1].packed_end }
    }

    /// Where a chunk begins among the unpacked bytes.
    pub(crate) fn unpacked_start(&self, chunk: usize) -> u32 {
        if chunk == 0 { 0 } else { self.chunks[chunk - 1].unpacked_end }
    }

    /// Reads chunks from a stored xorb and unpacks them.
    pub(crate) fn unpack(&self, file: &File, chunks: &Range<usize>) -> Result<Vec<u8>, ObjectError> {
        let packed_range = self.packed_range(chunks);
        let length = |bytes: u64| usize::try_from(bytes).map_err(|_| damaged("a chunk is too long"));
        let mut packed = vec![0; length(packed_range.end - packed_range.start)?];
        file.read_exact_at(&mut packed, packed_range.start).map_err(ObjectError::io("read a xorb"))?;
        let expected = length(self.unpacked_length(chunks))?;
        let mut out = Vec::with_capacity(expected + 1);
        let mut rest = packed.as_slice();
        while let Some((header, after)) = rest.split_first_chunk() {
            let header = ChunkHeader::parse(header).map_err(FormatError::stored)?;
            let (chunk, after) = after.split_at_checked(header.packed).ok_or_else(|| damaged("a chunk is too long"))?;
            header.unpack(chunk, &mut out).map_err(FormatError::stored)?;
            rest = after;
        }
        if out.len() == expected { Ok(out) } else { Err(damaged("its chunks have other lengths than its index says")) }
    }
}

/// Fills the buffer as far as the input goes, and says how far that was.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn truncated() -> ObjectError {
    ObjectError::Invalid("the xorb ends within a chunk".to_owned())
}

fn damaged(what: &str) -> ObjectError {
    ObjectError::Damaged(format!("a xorb cannot be read: {what}"))
}

/// Lengths and counts of a xorb fit 32 bits, since its size is limited.
fn small(value: usize) -> u32 {
    u32::try_from(value).expect("a xorb is smaller than 4 GiB")
}
