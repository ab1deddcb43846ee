use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::xet::chunk::{Packing, tests::pack};
use crate::xet::merkle::{TermHasher, Tree, chunk_hash};
use crate::xet::shard::FileBlock;
use crate::xet::xorb::XorbIndex;
use crate::{Reconstruction, RegisteredFile, Term, XetHash};

/// A xorb as a client makes it.
#[derive(Clone)]
pub(crate) struct Xorb {
    pub(crate) hash: XetHash,
    pub(crate) bytes: Vec<u8>,
    pub(crate) chunks: Vec<Vec<u8>>,
}

pub(crate) fn xorb(chunks: &[Vec<u8>], packing: Packing) -> Xorb {
    let mut tree = Tree::default();
    for chunk in chunks {
        tree.push(chunk_hash(chunk), chunk.len() as u64);
    }
    let bytes = chunks.iter().flat_map(|chunk| pack(chunk, packing)).collect();
    Xorb { hash: tree.xorb_hash(), bytes, chunks: chunks.to_vec() }
}

/// What a shard says of the file that consists of these pieces, and its bytes.
pub(crate) fn file(pieces: &[(&Xorb, Range<usize>)]) -> (FileBlock, Vec<u8>) {
    let (mut tree, mut bytes, mut terms, mut verification) = (Tree::default(), Vec::new(), Vec::new(), Vec::new());
    let number = |value: usize| u32::try_from(value).unwrap();
    for (xorb, range) in pieces {
        let (mut hasher, before) = (TermHasher::new(), bytes.len());
        for chunk in &xorb.chunks[range.clone()] {
            tree.push(chunk_hash(chunk), chunk.len() as u64);
            hasher.push(&chunk_hash(chunk));
            bytes.extend(chunk);
        }
        let length = number(bytes.len() - before);
        terms.push(Term { xorb: xorb.hash, length, start: number(range.start), end: number(range.end) });
        verification.push(hasher.finish());
    }
    let block = FileBlock { file: tree.file_hash(), terms, verification, sha256: Some(sha256(&bytes)) };
    (block, bytes)
}

pub(crate) async fn put_xorb(store: &ObjectStore, xorb: &Xorb, number: u128) -> bool {
    store.put_xorb(xorb.hash, account(number), body(&xorb.bytes, 5000), now()).await.unwrap()
}

pub(crate) async fn put_shard(
    store: &ObjectStore,
    block: &FileBlock,
    number: u128,
) -> Result<Vec<RegisteredFile>, ObjectError> {
    let shard = store.receive_shard(body(&block.to_bytes(), 100)).await?;
    store.register(account(number), shard, std::sync::Arc::new(|_, _| ()), now()).await
}

fn chunks(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|seed| noise(1000 + 300 * usize::from(seed), seed)).collect()
}

/// Puts a file together as a client does, from ranges of serialized xorbs.
async fn fetch(store: &ObjectStore, plan: &Reconstruction, length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for term in &plan.terms {
        let spans = &plan.xorbs.iter().find(|xorb| xorb.xorb == term.xorb).unwrap().spans;
        let span = spans.iter().find(|span| span.chunks.start <= term.start && term.end <= span.chunks.end).unwrap();
        let mut packed = tempfile::tempfile().unwrap();
        let bytes = collect(store.read_xorb(term.xorb, span.bytes.clone()).await.unwrap().unwrap()).await;
        packed.write_all(&bytes).unwrap();
        std::io::Seek::rewind(&mut packed).unwrap();
        let index = XorbIndex::compute(&packed).unwrap();
        let place = |chunk: u32| usize::try_from(chunk - span.chunks.start).unwrap();
        let unpacked = index.unpack(&packed, &(place(term.start)..place(term.end))).unwrap();
        assert_eq!(unpacked.len(), usize::try_from(term.length).unwrap());
        out.extend(unpacked);
    }
    let offset = usize::try_from(plan.offset_into_first_range).unwrap();
    out[offset..offset + length].to_vec()
}

#[tokio::test]
async fn a_file_made_of_xorbs_comes_back() {
    let (_folder, store) = site();
    let first = xorb(&chunks(9), Packing::Lz4);
    let second = xorb(&chunks(5)[2..], Packing::GroupedLz4);
    assert!(put_xorb(&store, &first, 1).await);
    assert!(put_xorb(&store, &second, 1).await);
    assert!(!put_xorb(&store, &second, 1).await);
    let (block, bytes) = file(&[(&first, 0..9), (&second, 1..3), (&first, 4..5)]);
    let registered = put_shard(&store, &block, 1).await.unwrap();
    let size = bytes.len() as u64;
    assert_eq!(registered, [RegisteredFile { sha256: sha256(&bytes), file: block.file, size }]);
    assert_eq!(read(&store, sha256(&bytes), 0..size).await, bytes);
    assert_eq!(read_blocking(&store, sha256(&bytes)), bytes);
    assert_eq!(store.sha256_of(block.file).await.unwrap(), Some(sha256(&bytes)));
    let info = store.info(sha256(&bytes)).await.unwrap().unwrap();
    assert_eq!((info.size, info.xet), (size, Some(block.file)));
    // Sent again, it is the same file.
    assert_eq!(put_shard(&store, &block, 1).await.unwrap(), registered);
}

#[tokio::test]
async fn a_large_chunked_file_is_read_in_pieces() {
    let (_folder, store) = site();
    let large: Vec<_> = (0..40).map(|seed| noise(128 * 1024, seed)).collect();
    let xorb = xorb(&large, Packing::None);
    put_xorb(&store, &xorb, 1).await;
    let (block, bytes) = file(&[(&xorb, 0..40), (&xorb, 3..20)]);
    put_shard(&store, &block, 1).await.unwrap();
    assert!(read(&store, sha256(&bytes), 0..u64::MAX).await == bytes);
    let middle = 5_200_000..6_000_123;
    assert!(read(&store, sha256(&bytes), 5_200_000..6_000_123).await == bytes[middle]);
}

#[tokio::test]
async fn the_index_of_a_client_is_not_believed() {
    let (folder, store) = site();
    let mut sent = xorb(&chunks(3), Packing::None);
    let plain = sent.bytes.clone();
    let index = {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&plain).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        XorbIndex::compute(&file).unwrap().to_bytes()
    };
    sent.bytes.extend(&index);
    // A wrong hash of a chunk.
    sent.bytes[plain.len() + 60] ^= 1;
    put_xorb(&store, &sent, 1).await;
    let stored = files(&folder.path().join("objects/xorbs")).into_iter().find(|path| path.ends_with("xorb")).unwrap();
    assert_eq!(std::fs::read(stored).unwrap(), [plain, index].concat());
}

#[tokio::test]
async fn a_xorb_that_is_not_what_it_says_leaves_nothing() {
    let (folder, store) = site();
    let good = xorb(&chunks(3), Packing::None);
    let hash = good.hash;
    let mut changed = good.bytes.clone();
    changed[100] ^= 1;
    let cut = good.bytes[..good.bytes.len() - 1].to_vec();
    let headless = good.bytes[..good.bytes.len() - chunks(3)[2].len() - 3].to_vec();
    for bytes in [changed, cut, headless, Vec::new(), b"XETBLOB\x01".to_vec()] {
        let error = store.put_xorb(hash, account(1), body(&bytes, 100), now()).await.unwrap_err();
        assert!(is_invalid(&error), "{error}");
    }
    assert_eq!(files(folder.path()), HashSet::new());
}

#[tokio::test]
async fn knowing_hashes_gives_no_content() {
    let (_folder, store) = site();
    let secret = xorb(&chunks(4), Packing::None);
    put_xorb(&store, &secret, 1).await;
    let (block, bytes) = file(&[(&secret, 0..4)]);
    put_shard(&store, &block, 1).await.unwrap();
    let error = put_shard(&store, &block, 2).await.unwrap_err();
    assert!(matches!(error, ObjectError::UnknownXorb(hash) if hash == secret.hash), "{error}");
    // Whoever has the bytes may use them, and they are not stored twice.
    assert!(!put_xorb(&store, &secret, 2).await);
    assert_eq!(put_shard(&store, &block, 2).await.unwrap()[0].sha256, sha256(&bytes));
    let unknown = xorb(&chunks(5), Packing::None);
    let error = put_shard(&store, &file(&[(&unknown, 0..1)]).0, 1).await.unwrap_err();
    assert!(matches!(error, ObjectError::UnknownXorb(hash) if hash == unknown.hash), "{error}");
}

#[tokio::test]
async fn what_a_shard_says_wrong_is_not_recorded() {
    let (_folder, store) = site();
    let xorb = xorb(&chunks(6), Packing::Lz4);
    put_xorb(&store, &xorb, 1).await;
    let (good, bytes) = file(&[(&xorb, 1..4), (&xorb, 0..2)]);
    let wrong = |change: fn(&mut FileBlock)| {
        let mut block = good.clone();
        change(&mut block);
        block
    };
    let blocks = [
        wrong(|block| block.file = XetHash::default()),
        wrong(|block| block.sha256 = None),
        wrong(|block| block.verification.clear()),
        wrong(|block| block.verification.swap(0, 1)),
        wrong(|block| block.terms.swap(0, 1)),
        wrong(|block| block.terms[0].length += 1),
        wrong(|block| block.terms[0].end = 7),
        wrong(|block| block.terms[0].end = block.terms[0].start),
        wrong(|block| block.terms[1].start = u32::MAX),
    ];
    for block in blocks {
        let error = put_shard(&store, &block, 1).await.unwrap_err();
        assert!(is_invalid(&error), "{error}");
    }
    let other = wrong(|block| block.sha256 = Some(sha256(b"other")));
    let error = put_shard(&store, &other, 1).await.unwrap_err();
    assert!(matches!(error, ObjectError::WrongContent { actual, .. } if actual == sha256(&bytes)), "{error}");
    assert_eq!(store.info(sha256(&bytes)).await.unwrap(), None);
    assert_eq!(store.info(sha256(b"other")).await.unwrap(), None);
    // A SHA-256 that is known does not open the door either.
    put_shard(&store, &good, 1).await.unwrap();
    let lie = wrong(|block| block.terms.truncate(1));
    assert!(put_shard(&store, &lie, 1).await.is_err());
}

#[tokio::test]
async fn a_range_behind_the_file_has_no_reconstruction() {
    let (_folder, store) = site();
    let xorb = xorb(&chunks(2), Packing::None);
    put_xorb(&store, &xorb, 1).await;
    let (block, bytes) = file(&[(&xorb, 0..2)]);
    put_shard(&store, &block, 1).await.unwrap();
    let size = bytes.len() as u64;
    assert_eq!(store.reconstruction(sha256(&bytes), Some(size..size + 10)).await.unwrap(), None);
    assert_eq!(store.reconstruction(sha256(b"unknown"), None).await.unwrap(), None);
    let tail = store.reconstruction(sha256(&bytes), Some(size - 1..u64::MAX)).await.unwrap().unwrap();
    assert_eq!(tail.terms.len(), 1);
    assert_eq!(tail.terms[0].start..tail.terms[0].end, 1..2);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_file_is_read_in_any_range(
        sizes in prop::collection::vec(prop::collection::vec(1usize..3000, 1..12), 1..4),
        terms in prop::collection::vec((any::<prop::sample::Index>(), any::<[prop::sample::Index; 2]>()), 1..10),
        ranges in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 1..5),
    ) {
        let packings = [Packing::None, Packing::Lz4, Packing::GroupedLz4];
        let xorbs: Vec<_> = sizes.iter().zip(packings.iter().cycle()).enumerate().map(|(number, (sizes, packing))| {
            let seed = u8::try_from(number * 50).unwrap();
            let chunks: Vec<_> = sizes.iter().zip(seed..).map(|(size, seed)| noise(*size, seed)).collect();
            xorb(&chunks, *packing)
        }).collect();
        let pieces: Vec<_> = terms.iter().map(|(which, [a, b])| {
            let xorb = which.get(&xorbs);
            let (a, b) = (a.index(xorb.chunks.len()), b.index(xorb.chunks.len()));
            (xorb, a.min(b)..a.max(b) + 1)
        }).collect();
        let (block, bytes) = file(&pieces);
        runtime().block_on(async {
            let (_folder, store) = site();
            for xorb in &xorbs {
                put_xorb(&store, xorb, 1).await;
            }
            put_shard(&store, &block, 1).await.unwrap();
            for [a, b] in ranges {
                let (a, b) = (a.index(bytes.len()), b.index(bytes.len()));
                let (a, b) = (a.min(b), a.max(b) + 1);
                assert_eq!(read(&store, sha256(&bytes), a as u64..b as u64).await, &bytes[a..b]);
                let plan = store.reconstruction(sha256(&bytes), Some(a as u64..b as u64)).await.unwrap().unwrap();
                assert_eq!(fetch(&store, &plan, b - a).await, &bytes[a..b]);
            }
        });
    }

    #[test]
    fn a_changed_xorb_is_refused_and_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let good = xorb(&chunks(3), Packing::Lz4);
        let mut bytes = good.bytes.clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()));
        runtime().block_on(async {
            let (_folder, store) = site();
            let result = store.put_xorb(good.hash, account(1), body(&bytes, 999), now()).await;
            assert!(result.is_err_and(|error| is_invalid(&error)));
        });
    }

    #[test]
    fn a_damaged_index_is_noticed_and_never_panics(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let good = xorb(&chunks(3), Packing::None);
        let mut stored = tempfile::tempfile().unwrap();
        stored.write_all(&good.bytes).unwrap();
        std::io::Seek::rewind(&mut stored).unwrap();
        let index = XorbIndex::compute(&stored).unwrap();
        let mut bytes = index.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = value;
        std::io::Seek::seek(&mut stored, std::io::SeekFrom::End(0)).unwrap();
        stored.write_all(&bytes).unwrap();
        if let Ok(read) = XorbIndex::read(&stored) {
            // What does not concern reading may differ.
            let _ = read.unpack(&stored, &(0..read.chunks.len()));
        }
    }
}
