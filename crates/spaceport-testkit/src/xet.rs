//! Files as Xet clients send them, made by the public specification and not by the code under test.
//! Specification: <https://huggingface.co/docs/xet>.

use sha2::{Digest, Sha256};

const CHUNK_KEY: [u8; 32] = [
    102, 151, 245, 119, 91, 149, 80, 222, 49, 53, 203, 172, 165, 151, 24, 28, 157, 228, 33, 16, 155, 235, 43, 88, 180,
    208, 176, 75, 147, 173, 242, 41,
];
const NODE_KEY: [u8; 32] = [
    1, 126, 197, 199, 165, 71, 41, 150, 253, 148, 102, 102, 180, 138, 2, 230, 93, 221, 83, 111, 55, 199, 109, 210, 248,
    99, 82, 230, 74, 83, 113, 63,
];
const VERIFICATION_KEY: [u8; 32] = [
    127, 24, 87, 214, 206, 86, 237, 102, 18, 127, 249, 19, 231, 165, 195, 243, 164, 205, 38, 213, 181, 219, 73, 230,
    65, 36, 152, 127, 40, 251, 148, 195,
];
const TAG: &[u8; 32] = b"HFRepoMetaData\0UigEj{\x81W\x83\xa5\xbd\xd9\\\xcd\xd1J\xa9";

/// A file of one or two chunks in one xorb.
#[derive(Debug, Clone)]
pub struct XetFile {
    /// The hash of the xorb, as it stands in paths.
    pub xorb_hash: String,
    /// The serialized xorb.
    pub xorb: Vec<u8>,
    /// The hash of the file, as it stands in paths.
    pub file_hash: String,
    /// The shard that says of what the file consists.
    pub shard: Vec<u8>,
}

impl XetFile {
    /// A file of these chunks, which are not packed.
    ///
    /// # Panics
    /// When there are more than two, or one is too long.
    #[must_use]
    pub fn of(chunks: &[&[u8]]) -> Self {
        assert!(chunks.len() <= 2, "the tree over more chunks is not made here");
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a short chunk");
        let hashes: Vec<[u8; 32]> = chunks.iter().map(|chunk| keyed(&CHUNK_KEY, chunk)).collect();
        let root = match hashes.as_slice() {
            [only] => *only,
            hashes => {
                let line = |(hash, chunk): (&[u8; 32], &&[u8])| format!("{} : {}\n", text(hash), chunk.len());
                keyed(&NODE_KEY, hashes.iter().zip(chunks).map(line).collect::<String>().as_bytes())
            }
        };
        let file = keyed(&[0; 32], &root);
        let mut xorb = Vec::new();
        for chunk in chunks {
            let bytes = length(chunk).to_le_bytes();
            xorb.extend([0, bytes[0], bytes[1], bytes[2], 0, bytes[0], bytes[1], bytes[2]]);
            xorb.extend(*chunk);
        }
        let content = chunks.concat();
        let count = u32::try_from(chunks.len()).expect("few chunks");
        let mut sha256: [u8; 32] = Sha256::digest(&content).into();
        sha256.chunks_exact_mut(8).for_each(<[u8]>::reverse);
        let mut shard = TAG.to_vec();
        shard.extend(2u64.to_le_bytes());
        shard.extend(0u64.to_le_bytes());
        let mut entry = |hash: [u8; 32], numbers: [u32; 4]| {
            shard.extend(hash);
            numbers.iter().for_each(|number| shard.extend(number.to_le_bytes()));
        };
        entry(file, [(1 << 31) | (1 << 30), 1, 0, 0]);
        entry(root, [0, length(&content), 0, count]);
        entry(keyed(&VERIFICATION_KEY, &hashes.concat()), [0; 4]);
        entry(sha256, [0; 4]);
        entry([0xff; 32], [0; 4]);
        entry([0xff; 32], [0; 4]);
        Self { xorb_hash: text(&root), xorb, file_hash: text(&file), shard }
    }
}

/// The SHA-256 of bytes, as git-lfs writes it.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn keyed(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key, bytes).as_bytes()
}

fn text(hash: &[u8; 32]) -> String {
    hash.chunks_exact(8).flat_map(|word| word.iter().rev()).map(|byte| format!("{byte:02x}")).collect()
}
