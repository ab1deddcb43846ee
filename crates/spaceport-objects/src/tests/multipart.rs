use super::*;
use crate::Multipart;

const PART: usize = 100_000;

fn upload(bytes: &[u8], number: u128) -> Multipart {
    let (size, part_bytes) = (bytes.len() as u64, PART as u64);
    Multipart { account: account(number), sha256: sha256(bytes), size, part_bytes }
}

async fn put_part(store: &ObjectStore, upload: &Multipart, number: usize, bytes: &[u8]) {
    let part = bytes.chunks(PART).nth(number - 1).unwrap();
    store.put_part(upload, u32::try_from(number).unwrap(), body(part, 7000), now()).await.unwrap();
}

#[tokio::test]
async fn parts_arrive_in_any_order_and_at_once() {
    let (folder, store) = site();
    let bytes = noise(350_000, 1);
    let upload = upload(&bytes, 1);
    assert_eq!(upload.parts(), 4);
    futures::future::join_all([3, 1, 4, 2, 1].map(|number| put_part(&store, &upload, number, &bytes))).await;
    assert!(store.complete(&upload, now()).await.unwrap());
    assert_eq!(read(&store, upload.sha256, 0..350_000).await, bytes);
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let (folder, store) = site();
    let bytes = noise(250_000, 1);
    let upload = upload(&bytes, 1);
    put_part(&store, &upload, 1, &bytes).await;
    put_part(&store, &upload, 3, &bytes).await;
    drop(store);
    let store = ObjectStore::open(folder.path().join("objects"), config()).unwrap();
    let error = store.complete(&upload, now()).await.unwrap_err();
    assert!(matches!(error, ObjectError::MissingPart(2)), "{error}");
    put_part(&store, &upload, 2, &bytes).await;
    assert!(store.complete(&upload, now()).await.unwrap());
    assert_eq!(read(&store, upload.sha256, 0..250_000).await, bytes);
}

#[tokio::test]
async fn a_part_of_the_wrong_length_does_not_count() {
    let (_folder, store) = site();
    let bytes = noise(150_000, 1);
    let upload = upload(&bytes, 1);
    put_part(&store, &upload, 1, &bytes).await;
    put_part(&store, &upload, 2, &bytes).await;
    for length in [0, 49_999, 50_001] {
        let error = store.put_part(&upload, 2, body(&bytes[..length], 999), now()).await.unwrap_err();
        assert!(matches!(error, ObjectError::WrongSize { expected: 50_000, .. }), "{error}");
    }
    for number in [0, 3, u32::MAX] {
        let error = store.put_part(&upload, number, body(b"x", 1), now()).await.unwrap_err();
        assert!(is_invalid(&error), "{error}");
    }
    let error = store.complete(&upload, now()).await.unwrap_err();
    assert!(matches!(error, ObjectError::MissingPart(2)), "{error}");
}

#[tokio::test]
async fn wrong_bytes_are_found_when_the_upload_is_completed() {
    let (folder, store) = site();
    let bytes = noise(150_000, 1);
    let upload = upload(&bytes, 1);
    let other = noise(150_000, 2);
    put_part(&store, &upload, 1, &bytes).await;
    put_part(&store, &upload, 2, &other).await;
    let error = store.complete(&upload, now()).await.unwrap_err();
    assert!(matches!(error, ObjectError::WrongContent { .. }), "{error}");
    assert_eq!(files(folder.path()), HashSet::new());
}

#[tokio::test]
async fn one_account_cannot_complete_what_another_sends() {
    let (_folder, store) = site();
    let bytes = noise(150_000, 1);
    put_part(&store, &upload(&bytes, 1), 1, &bytes).await;
    put_part(&store, &upload(&bytes, 1), 2, &bytes).await;
    let error = store.complete(&upload(&bytes, 2), now()).await.unwrap_err();
    assert!(matches!(error, ObjectError::MissingPart(1)), "{error}");
    assert!(store.complete(&upload(&bytes, 1), now()).await.unwrap());
    // Nor does it help that the file is there now.
    let error = store.complete(&upload(&bytes, 2), now()).await.unwrap_err();
    assert!(matches!(error, ObjectError::MissingPart(1)), "{error}");
}
