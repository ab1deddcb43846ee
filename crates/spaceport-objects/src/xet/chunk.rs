//! One chunk as it stands in a xorb: a header of 8 bytes and the packed bytes.
//!
//! Specification: <https://huggingface.co/docs/xet/xorb>, "Chunk Format". The lengths come from
//! strangers: nothing is allocated before they are known to be in range.

use std::io::Read;

use lz4_flex::frame::FrameDecoder;

use crate::error::FormatError;

/// Bytes of the header.
pub(crate) const HEADER: usize = 8;
/// The longest chunk. Specification: "Chunk Sizes", the maximum.
pub(crate) const MAX_CHUNK: usize = 128 * 1024;
/// The longest packed form that is accepted; the clients accept no more either.
const MAX_PACKED: usize = 2 * MAX_CHUNK;

/// How the bytes of a chunk are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As they are.
    None,
    /// An LZ4 frame.
    Lz4,
    /// Every fourth byte together, four times, in an LZ4 frame: for 32-bit floats.
    GroupedLz4,
}

/// The header of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkHeader {
    /// Bytes that follow the header.
    pub packed: usize,
    /// Bytes of the chunk.
    pub unpacked: usize,
    /// How they are packed.
    pub packing: Packing,
}

impl ChunkHeader {
    pub(crate) fn parse(bytes: &[u8; HEADER]) -> Result<Self, FormatError> {
        let [version, p0, p1, p2, scheme, u0, u1, u2] = *bytes;
        if version != 0 {
            return Err(FormatError(format!("chunk header version {version} is unknown; 0 is known")));
        }
        let packing = match scheme {
            0 => Packing::None,
            1 => Packing::Lz4,
            2 => Packing::GroupedLz4,
            other => return Err(FormatError(format!("compression scheme {other} is unknown; 0, 1 and 2 are known"))),
        };
        let length = |low, middle, high| usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        let header = Self { packed: length(p0, p1, p2), unpacked: length(u0, u1, u2), packing };
        if header.unpacked == 0 || header.unpacked > MAX_CHUNK {
            return Err(FormatError(format!("a chunk has 1 to {MAX_CHUNK} bytes, not {}", header.unpacked)));
        }
        if header.packed == 0 || header.packed > MAX_PACKED {
            return Err(FormatError(format!("a packed chunk has 1 to {MAX_PACKED} bytes, not {}", header.packed)));
        }
        Ok(header)
    }

    /// Appends the chunk's bytes to `out`; on an error, `out` may have grown.
    pub(crate) fn unpack(self, packed: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let written = match self.packing {
            Packing::None => {
                out.extend_from_slice(packed);
                packed.len()
            }
            Packing::Lz4 => self.inflate(packed, out)?,
            Packing::GroupedLz4 => {
                let mut grouped = Vec::with_capacity(self.unpacked);
                self.inflate(packed, &mut grouped)?;
                ungroup(&grouped, out);
                grouped.len()
            }
        };
        if written == self.unpacked {
            Ok(())
        } else {
            Err(FormatError(format!("a chunk of {} bytes was announced with {}", written, self.unpacked)))
        }
    }

    /// One byte more than announced is enough to know that there are more.
    fn inflate(self, packed: &[u8], out: &mut Vec<u8>) -> Result<usize, FormatError> {
        FrameDecoder::new(packed)
            .take(self.unpacked as u64 + 1)
            .read_to_end(out)
            .map_err(|error| FormatError(format!("a chunk is not a valid LZ4 frame: {error}")))
    }
}

/// Puts bytes back into their order. The first groups are one longer when the length is not a
/// multiple of four.
fn ungroup(grouped: &[u8], out: &mut Vec<u8>) {
    let (each, rest) = (grouped.len() / 4, grouped.len() % 4);
    let (first, others) = grouped.split_at(each + usize::from(rest > 0));
    let (second, others) = others.split_at(each + usize::from(rest > 1));
    let (third, fourth) = others.split_at(each + usize::from(rest > 2));
    let start = out.len();
    out.resize(start + grouped.len(), 0);
    let (quads, tail) = out[start..].as_chunks_mut::<4>();
    for ((((quad, a), b), c), d) in quads.iter_mut().zip(first).zip(second).zip(third).zip(fourth) {
        *quad = [*a, *b, *c, *d];
    }
    for (byte, group) in tail.iter_mut().zip([first, second, third]) {
        *byte = group[each];
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use lz4_flex::frame::FrameEncoder;
    use proptest::prelude::*;

    use super::*;

    fn group(bytes: &[u8]) -> Vec<u8> {
        (0..4).flat_map(|phase| bytes.iter().skip(phase).step_by(4).copied()).collect()
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A chunk as clients write it.
    pub(crate) fn pack(bytes: &[u8], packing: Packing) -> Vec<u8> {
        let (scheme, packed) = match packing {
            Packing::None => (0, bytes.to_vec()),
            Packing::Lz4 => (1, lz4(bytes)),
            Packing::GroupedLz4 => (2, lz4(&group(bytes))),
        };
        let mut out = vec![0];
        out.extend(&u32::try_from(packed.len()).unwrap().to_le_bytes()[..3]);
        out.push(scheme);
        out.extend(&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..3]);
        out.extend(packed);
        out
    }

    pub(crate) fn packings() -> impl Strategy<Value = Packing> {
        prop_oneof![Just(Packing::None), Just(Packing::Lz4), Just(Packing::GroupedLz4)]
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(bytes in prop::collection::vec(0u8..8, 1..5000), packing in packings()) {
            let packed = pack(&bytes, packing);
            let (header, packed) = packed.split_first_chunk().unwrap();
            let header = ChunkHeader::parse(header).unwrap();
            prop_assert_eq!(header.packing, packing);
            let mut out = b"before".to_vec();
            header.unpack(packed, &mut out).unwrap();
            prop_assert_eq!(&out[6..], &bytes[..]);
        }

        #[test]
        fn hostile_bytes_are_refused_or_unpacked(
            header in any::<[u8; 8]>(),
            packed in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(header) = ChunkHeader::parse(&header) {
                let mut out = Vec::new();
                let ok = header.unpack(&packed, &mut out).is_ok();
                prop_assert!(!ok || out.len() == header.unpacked);
            }
        }

        #[test]
        fn a_changed_byte_never_panics(at in 8usize..300, value in any::<u8>(), packing in packings()) {
            let mut packed = pack(&[7; 1000], packing);
            let at = at.min(packed.len() - 1);
            packed[at] = value;
            let (header, packed) = packed.split_first_chunk().unwrap();
            let mut out = Vec::new();
            let _ = ChunkHeader::parse(header).unwrap().unpack(packed, &mut out);
            prop_assert!(out.len() <= 1001);
        }
    }

    #[test]
    fn a_small_frame_cannot_become_a_large_chunk() {
        let bomb = pack(&vec![0; MAX_CHUNK], Packing::Lz4);
        let (_, packed) = bomb.split_first_chunk::<HEADER>().unwrap();
        let mut out = Vec::new();
        let small = ChunkHeader { packed: packed.len(), unpacked: 10, packing: Packing::Lz4 };
        assert!(small.unpack(packed, &mut out).is_err());
        assert_eq!(out.len(), 11);
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        for bytes in [
            [1, 1, 0, 0, 0, 1, 0, 0],
            [0, 1, 0, 0, 3, 1, 0, 0],
            [0, 0, 0, 0, 0, 1, 0, 0],
            [0, 1, 0, 0, 0, 0, 0, 0],
            [0, 1, 0, 0, 0, 1, 0, 2],
            [0, 1, 0, 4, 1, 1, 0, 0],
        ] {
            assert!(ChunkHeader::parse(&bytes).is_err(), "{bytes:?}");
        }
    }
}
