//! Xet's hashes: keyed BLAKE3 for chunks and ranges, a tree of chunk hashes for xorbs and files.
//!
//! Specification: <https://huggingface.co/docs/xet/hashing>.

use std::fmt::Write;

use crate::XetHash;

/// Key of the hash of a chunk. Specification: "Chunk Hashes", `DATA_KEY`.
const CHUNK_KEY: [u8; 32] = [
    102, 151, 245, 119, 91, 149, 80, 222, 49, 53, 203, 172, 165, 151, 24, 28, 157, 228, 33, 16, 155, 235, 43, 88, 180,
    208, 176, 75, 147, 173, 242, 41,
];
/// Key of the hash of a node of the tree. Specification: "Xorb Hashes", `INTERNAL_NODE_KEY`.
const NODE_KEY: [u8; 32] = [
    1, 126, 197, 199, 165, 71, 41, 150, 253, 148, 102, 102, 180, 138, 2, 230, 93, 221, 83, 111, 55, 199, 109, 210, 248,
    99, 82, 230, 74, 83, 113, 63,
];
/// Key of the hash over a term's chunk hashes. Specification: "Term Verification Hashes".
const VERIFICATION_KEY: [u8; 32] = [
    127, 24, 87, 214, 206, 86, 237, 102, 18, 127, 249, 19, 231, 165, 195, 243, 164, 205, 38, 213, 181, 219, 73, 230,
    65, 36, 152, 127, 40, 251, 148, 195,
];
/// Key of the last step from the root of the tree to the hash of a file. Specification: "File Hashes".
const FILE_KEY: [u8; 32] = [0; 32];

/// A group of nodes ends after a hash that this divides.
const BRANCHING: u8 = 4;
/// A group has at least this many nodes, unless the level ends.
const MIN_GROUP: usize = 3;
/// A group has at most this many nodes.
const MAX_GROUP: usize = 9;

/// The hash of a chunk's bytes.
pub(crate) fn chunk_hash(bytes: &[u8]) -> XetHash {
    XetHash::from_bytes(*blake3::keyed_hash(&CHUNK_KEY, bytes).as_bytes())
}

/// Hashes the chunk hashes of one term of a file, in order.
pub(crate) struct TermHasher(blake3::Hasher);

impl TermHasher {
    pub(crate) fn new() -> Self {
        Self(blake3::Hasher::new_keyed(&VERIFICATION_KEY))
    }

    pub(crate) fn push(&mut self, chunk: &XetHash) {
        self.0.update(chunk.as_bytes());
    }

    pub(crate) fn finish(self) -> XetHash {
        XetHash::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// Computes the root of the tree over chunks that arrive in order.
///
/// The specification describes the tree level by level over all chunks at once. Where a group
/// ends depends on the group alone, so every level keeps only its open group: a file of any size
/// takes a few kilobytes.
#[derive(Default)]
pub(crate) struct Tree {
    levels: Vec<Level>,
}

#[derive(Default)]
struct Level {
    /// The nodes of the group that is not complete.
    open: Vec<(XetHash, u64)>,
    /// Whether a group of this level has become a node of the level above.
    grouped: bool,
}

impl Tree {
    /// Adds a chunk: its hash and the length of its bytes.
    pub(crate) fn push(&mut self, hash: XetHash, length: u64) {
        let mut node = (hash, length);
        for depth in 0.. {
            if depth == self.levels.len() {
                self.levels.push(Level::default());
            }
            let level = &mut self.levels[depth];
            level.open.push(node);
            let full = level.open.len() == MAX_GROUP;
            // The remainder is taken of the last word, whose lowest byte comes first.
            let cut = level.open.len() >= MIN_GROUP && node.0.as_bytes()[24].is_multiple_of(BRANCHING);
            if !full && !cut {
                return;
            }
            node = merge(&level.open);
            level.open.clear();
            level.grouped = true;
        }
    }

    /// The hash of a xorb with these chunks; zeros when there are none.
    pub(crate) fn xorb_hash(self) -> XetHash {
        self.root().unwrap_or_default()
    }

    /// The hash of a file with these chunks; zeros when there are none.
    pub(crate) fn file_hash(self) -> XetHash {
        self.root().map_or_else(XetHash::default, |root| {
            XetHash::from_bytes(*blake3::keyed_hash(&FILE_KEY, root.as_bytes()).as_bytes())
        })
    }

    fn root(self) -> Option<XetHash> {
        // What the level below gives last, now that its input has ended.
        let mut carried = None;
        for mut level in self.levels {
            level.open.extend(carried.take());
            match level.open.as_slice() {
                // A level of one node is the root.
                [(root, _)] if !level.grouped => return Some(*root),
                // Its last group was complete.
                [] => {}
                group => carried = Some(merge(group)),
            }
        }
        carried.map(|(hash, _)| hash)
    }
}

/// The parent of a group: a hash over one line of text for each child.
fn merge(group: &[(XetHash, u64)]) -> (XetHash, u64) {
    let mut text = String::with_capacity(group.len() * 88);
    let mut total = 0u64;
    for (hash, length) in group {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{hash} : {length}");
        total = total.saturating_add(*length);
    }
    (XetHash::from_bytes(*blake3::keyed_hash(&NODE_KEY, text.as_bytes()).as_bytes()), total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(chunks: &[(XetHash, u64)]) -> Tree {
        let mut tree = Tree::default();
        for (hash, length) in chunks {
            tree.push(*hash, *length);
        }
        tree
    }

    /// The specification's wording: whole levels, one after the other.
    fn by_levels(chunks: &[(XetHash, u64)]) -> XetHash {
        let mut level = chunks.to_vec();
        while level.len() > 1 {
            let mut next = Vec::new();
            let mut rest = level.as_slice();
            while !rest.is_empty() {
                let longest = rest.len().min(MAX_GROUP);
                let cut = (MIN_GROUP..=longest).find(|length| rest[length - 1].0.as_bytes()[24].is_multiple_of(4));
                let (group, others) = rest.split_at(cut.unwrap_or(longest));
                next.push(merge(group));
                rest = others;
            }
            level = next;
        }
        level.first().map_or_else(XetHash::default, |(hash, _)| *hash)
    }

    #[test]
    fn one_chunk_is_its_own_tree() {
        let chunk: XetHash = "cfc5d07f6f03c29bbf424132963fe08d19a37d5757aaf520bf08119f05cd56d6".parse().unwrap();
        assert_eq!(tree(&[(chunk, 100)]).xorb_hash(), chunk);
        // A value that other implementations are tested with.
        let file = "8e16257caa3fe079d484d872a8975264b2ff683b0d6db9028cc7c0f968a45661";
        assert_eq!(tree(&[(chunk, 100)]).file_hash().to_string(), file);
        assert_eq!(Tree::default().file_hash(), XetHash::default());
    }

    proptest! {
        #[test]
        fn growing_the_tree_gives_the_root_of_the_whole(seeds in prop::collection::vec(any::<[u8; 4]>(), 0..600)) {
            let chunks: Vec<_> = seeds.iter().map(|seed| (chunk_hash(seed), u64::from(seed[0]))).collect();
            prop_assert_eq!(tree(&chunks).xorb_hash(), by_levels(&chunks));
        }

        #[test]
        fn groups_of_every_shape(cuts in prop::collection::vec(0u8..6, 0..60)) {
            let chunks: Vec<_> = cuts.iter().map(|cut| {
                let mut bytes = *chunk_hash(&[*cut]).as_bytes();
                bytes[24] = *cut;
                (XetHash::from_bytes(bytes), 1)
            }).collect();
            prop_assert_eq!(tree(&chunks).xorb_hash(), by_levels(&chunks));
        }
    }
}
