use super::*;

#[tokio::test]
async fn a_file_comes_back_whole_and_in_ranges() {
    let (_folder, store) = site();
    let bytes = noise(3_000_001, 1);
    let size = bytes.len() as u64;
    let sha256 = sha256(&bytes);
    assert!(store.put(sha256, size, body(&bytes, 70_000), now()).await.unwrap());
    assert!(!store.put(sha256, size, body(&bytes, 7_000_000), now()).await.unwrap());
    assert_eq!(read(&store, sha256, 0..size).await, bytes);
    assert_eq!(read(&store, sha256, 999_999..2_500_000).await, bytes[999_999..2_500_000]);
    assert_eq!(read(&store, sha256, size - 1..u64::MAX).await, bytes[bytes.len() - 1..]);
    assert_eq!(read(&store, sha256, size..size).await, b"");
    assert_eq!(read_blocking(&store, sha256), bytes);
    let info = store.info(sha256).await.unwrap().unwrap();
    assert_eq!((info.size, info.xet), (size, None));
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let (_folder, store) = site();
    let sha256 = put(&store, b"").await;
    assert_eq!(read(&store, sha256, 0..10).await, b"");
}

#[tokio::test]
async fn what_is_not_as_announced_leaves_nothing() {
    let (folder, store) = site();
    let bytes = noise(2_000_000, 1);
    let size = bytes.len() as u64;
    let good = sha256(&bytes);
    let error = store.put(sha256(b"other"), size, body(&bytes, 9999), now()).await.unwrap_err();
    assert!(matches!(error, ObjectError::WrongContent { actual, .. } if actual == good), "{error}");
    for announced in [size - 1, size + 1] {
        let error = store.put(good, announced, body(&bytes, 9999), now()).await.unwrap_err();
        assert!(matches!(error, ObjectError::WrongSize { expected, .. } if expected == announced), "{error}");
    }
    let broken = stream::iter([Ok(Bytes::from(bytes.clone())), Err("the connection is gone")]);
    let error = store.put(good, size, broken, now()).await.unwrap_err();
    assert!(matches!(error, ObjectError::Body(_)), "{error}");
    assert_eq!(files(folder.path()), HashSet::new());
    assert_eq!(store.info(good).await.unwrap(), None);
}

#[tokio::test]
async fn a_client_that_leaves_leaves_nothing() {
    let (folder, store) = site();
    let bytes = noise(2_000_000, 1);
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from(bytes.clone()))]);
    let stalled = futures::StreamExt::chain(first, stream::pending());
    let putting = store.put(sha256(&bytes), 4_000_000, stalled, now());
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), putting).await.is_err());
    assert_eq!(files(folder.path()), HashSet::new());
}

#[tokio::test]
async fn too_large_a_file_is_refused_before_it_is_sent() {
    let (_folder, store) = site_with(ObjectsConfig { max_object_bytes: 100, ..config() });
    let never = stream::pending::<Result<Bytes, Infallible>>();
    let error = store.put(sha256(b""), 101, never, now()).await.unwrap_err();
    assert!(matches!(error, ObjectError::TooLarge { limit: 100 }), "{error}");
}

#[tokio::test]
async fn a_disk_without_room_refuses_before_anything_is_sent() {
    let (folder, store) = site_with(ObjectsConfig { keep_free_bytes: u64::MAX / 2, ..config() });
    let never = stream::pending::<Result<Bytes, Infallible>>();
    let error = store.put(sha256(b""), 1, never, now()).await.unwrap_err();
    assert!(matches!(error, ObjectError::Full), "{error}");
    assert_eq!(files(folder.path()), HashSet::new());
}

#[tokio::test]
async fn a_restart_clears_what_was_half_received() {
    let (folder, store) = site();
    let sha256 = put(&store, b"kept").await;
    let root = folder.path().join("objects");
    std::fs::write(root.join("tmp/in-half"), b"half").unwrap();
    drop(store);
    let store = ObjectStore::open(root.clone(), config()).unwrap();
    assert!(!root.join("tmp/in-half").exists());
    assert_eq!(read(&store, sha256, 0..4).await, b"kept");
}
