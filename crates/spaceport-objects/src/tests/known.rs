use super::xet::{file, put_shard, put_xorb, xorb};
use super::*;
use crate::XetHash;
use crate::xet::chunk::Packing;
use crate::xet::merkle::chunk_hash;

/// The xorbs that an answer tells of, with how many chunks each has, read by the specification's layout.
fn told(shard: &[u8]) -> Vec<(XetHash, u32)> {
    let word = |at: usize| usize::try_from(u64::from_le_bytes(*shard[at..].first_chunk().unwrap())).unwrap();
    let footer = shard.len() - word(40);
    assert_eq!((word(footer), word(footer + 192)), (1, footer), "a footer that knows where it is");
    let (mut at, end) = (word(footer + 16), word(footer + 24));
    let mut xorbs = Vec::new();
    while at < end - 48 {
        let count = u32::from_le_bytes(*shard[at + 36..].first_chunk().unwrap());
        xorbs.push((XetHash::from_bytes(*shard[at..].first_chunk().unwrap()), count));
        at += 48 * (1 + usize::try_from(count).unwrap());
    }
    assert_eq!(shard[at..at + 32], [0xff; 32]);
    xorbs.sort_unstable();
    xorbs
}

async fn ask(store: &ObjectStore, number: u128, chunk: &[u8]) -> Option<Vec<(XetHash, u32)>> {
    let answer = store.known_chunks(account(number), chunk_hash(chunk), now()).await.unwrap();
    answer.map(|shard| told(&shard))
}

fn sorted(mut xorbs: Vec<(XetHash, u32)>) -> Option<Vec<(XetHash, u32)>> {
    xorbs.sort_unstable();
    Some(xorbs)
}

#[tokio::test]
async fn an_upload_that_was_cut_off_is_told_what_has_arrived() {
    let (_folder, store) = site();
    let chunks: Vec<_> = (0..5).map(|seed| noise(2000, seed)).collect();
    let (one, two) = (xorb(&chunks[..3], Packing::None), xorb(&chunks[3..], Packing::None));
    assert_eq!(ask(&store, 1, &chunks[0]).await, None);
    put_xorb(&store, &one, 1).await;
    put_xorb(&store, &two, 1).await;
    let both = sorted(vec![(one.hash, 3), (two.hash, 2)]);
    assert_eq!(ask(&store, 1, &chunks[0]).await, both);
    assert_eq!(ask(&store, 1, &chunks[3]).await, both);
    assert_eq!(ask(&store, 2, &chunks[0]).await, None, "what others have sent is not told");
    // Sent by another as well, it is told what it has sent itself.
    put_xorb(&store, &one, 2).await;
    assert_eq!(ask(&store, 2, &chunks[0]).await, Some(vec![(one.hash, 3)]));
}

#[tokio::test]
async fn a_file_is_known_by_its_first_chunk() {
    let (_folder, store) = site();
    let chunks: Vec<_> = (0..6).map(|seed| noise(2000, seed)).collect();
    let (one, two) = (xorb(&chunks[..3], Packing::None), xorb(&chunks[3..5], Packing::None));
    let other = xorb(&chunks[5..], Packing::None);
    for xorb in [&one, &two, &other] {
        put_xorb(&store, xorb, 1).await;
    }
    let (block, _) = file(&[(&one, 1..3), (&two, 0..2), (&one, 0..1)]);
    put_shard(&store, &block, 1).await.unwrap();
    assert_eq!(ask(&store, 1, &chunks[1]).await, sorted(vec![(one.hash, 3), (two.hash, 2)]));
    assert_eq!(ask(&store, 1, &chunks[5]).await, Some(vec![(other.hash, 1)]));
}

#[tokio::test]
async fn what_was_told_of_is_kept_and_what_is_gone_is_not_told_of() {
    let (folder, store) = site();
    let chunk = noise(2000, 1);
    let sent = xorb(std::slice::from_ref(&chunk), Packing::None);
    put_xorb(&store, &sent, 1).await;
    let hash = chunk_hash(&chunk);
    let later = |days: u32| now() + HOUR * 24 * days;
    assert!(store.known_chunks(account(1), hash, later(21)).await.unwrap().is_some());
    assert_eq!(store.sweep(HashSet::new(), later(42)).await.unwrap().xorbs_removed, 0);
    assert_eq!(store.sweep(HashSet::new(), later(44)).await.unwrap().xorbs_removed, 1);
    assert_eq!(store.known_chunks(account(1), hash, later(44)).await.unwrap(), None);
    // The hints go with the next sweep at the latest.
    store.sweep(HashSet::new(), later(45)).await.unwrap();
    assert_eq!(files(folder.path()).len(), 0);
}
