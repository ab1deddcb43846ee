use super::xet::{file, put_shard, put_xorb, xorb};
use super::*;
use crate::xet::chunk::Packing;
use crate::{Multipart, Swept};

fn later(hours: u32) -> Timestamp {
    now() + HOUR * hours
}

async fn sweep(store: &ObjectStore, live: &[Sha256], at: Timestamp) -> Swept {
    store.sweep(live.iter().copied().collect(), at).await.unwrap()
}

#[tokio::test]
async fn unused_files_go_after_the_time_of_grace() {
    let (folder, store) = site();
    let used = put(&store, b"used").await;
    let unused = put(&store, b"unused").await;
    assert_eq!(sweep(&store, &[used], later(47)).await.files_removed, 0);
    let swept = sweep(&store, &[used], later(49)).await;
    assert_eq!((swept.files_removed, swept.bytes_removed, swept.bytes_kept), (1, 6, 4));
    assert_eq!(store.info(unused).await.unwrap(), None);
    assert_eq!(read(&store, used, 0..4).await, b"used");
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test]
async fn what_is_claimed_or_sent_again_is_spared() {
    let (_folder, store) = site();
    let claimed = put(&store, b"claimed").await;
    let sent_again = put(&store, b"sent again").await;
    assert!(store.claim(claimed, later(47)).await.unwrap().is_some());
    store.put(sent_again, 10, body(b"sent again", 3), later(47)).await.unwrap();
    assert_eq!(sweep(&store, &[], later(49)).await.files_removed, 0);
    assert_eq!(sweep(&store, &[], later(96)).await.files_removed, 2);
    assert!(store.claim(claimed, later(97)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_xorb_lives_while_any_file_needs_it() {
    let (folder, store) = site();
    let chunks: Vec<_> = (0..4).map(|seed| noise(2000, seed)).collect();
    let (shared, alone) = (xorb(&chunks, Packing::None), xorb(&chunks[..1], Packing::None));
    put_xorb(&store, &shared, 1).await;
    put_xorb(&store, &alone, 1).await;
    let (first, first_bytes) = file(&[(&shared, 0..3)]);
    let (second, second_bytes) = file(&[(&shared, 1..4), (&alone, 0..1)]);
    put_shard(&store, &first, 1).await.unwrap();
    put_shard(&store, &second, 1).await.unwrap();
    let live = [sha256(&first_bytes)];
    // The file goes first; xorbs stay for clients that remember them.
    let swept = sweep(&store, &live, later(24 * 21)).await;
    assert_eq!((swept.files_removed, swept.xorbs_removed), (1, 0));
    assert_eq!(store.sha256_of(second.file).await.unwrap(), None);
    let swept = sweep(&store, &live, later(24 * 23)).await;
    assert_eq!((swept.files_removed, swept.xorbs_removed), (0, 1));
    assert_eq!(read(&store, sha256(&first_bytes), 0..u64::MAX).await, first_bytes);
    assert_eq!(store.info(sha256(&second_bytes)).await.unwrap(), None);
    let swept = sweep(&store, &[], later(24 * 46)).await;
    assert_eq!((swept.files_removed, swept.xorbs_removed, swept.bytes_kept), (1, 1, 0));
    assert_eq!(files(folder.path()), HashSet::new());
}

#[tokio::test]
async fn a_shard_spares_the_xorbs_it_refers_to() {
    let (_folder, store) = site();
    let old = xorb(&[noise(2000, 1)], Packing::None);
    put_xorb(&store, &old, 1).await;
    let (block, bytes) = file(&[(&old, 0..1)]);
    let shard = store.receive_shard(body(&block.to_bytes(), 100)).await.unwrap();
    let then = later(24 * 23);
    store.register(account(1), shard, std::sync::Arc::new(|_, _| ()), then).await.unwrap();
    // Before the commit: the file is in its time of grace, and its xorb with it.
    let swept = sweep(&store, &[], then).await;
    assert_eq!(Swept { bytes_kept: 0, ..swept }, Swept::default());
    assert_eq!(read(&store, sha256(&bytes), 0..u64::MAX).await, bytes);
}

#[tokio::test]
async fn a_file_kept_twice_is_kept_as_chunks() {
    let (_folder, store) = site();
    let chunk = noise(2000, 1);
    let sha256 = put(&store, &chunk).await;
    let xorb = xorb(std::slice::from_ref(&chunk), Packing::None);
    put_xorb(&store, &xorb, 1).await;
    put_shard(&store, &file(&[(&xorb, 0..1)]).0, 1).await.unwrap();
    let swept = sweep(&store, &[sha256], later(49)).await;
    assert_eq!((swept.files_removed, swept.bytes_removed), (0, 2000));
    assert_eq!(read(&store, sha256, 0..2000).await, chunk);
}

#[tokio::test]
async fn uploads_that_were_given_up_go() {
    let (folder, store) = site();
    let bytes = noise(200, 1);
    let upload = Multipart { account: account(1), sha256: sha256(&bytes), size: 200, part_bytes: 100 };
    store.put_part(&upload, 1, body(&bytes[..100], 10), now()).await.unwrap();
    assert_eq!(sweep(&store, &[], later(47)).await.uploads_removed, 0);
    assert_eq!(sweep(&store, &[], later(49)).await.uploads_removed, 1);
    assert_eq!(files(folder.path()), HashSet::new());
}
