//! The store as its users see it, on a real folder.

mod known;
mod multipart;
mod plain;
mod sweep;
mod xet;

use std::collections::HashSet;
use std::convert::Infallible;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use sha2::Digest;
use spaceport_core::{AccountId, Timestamp};
use tempfile::TempDir;

use crate::{ByteStream, ObjectError, ObjectStore, ObjectsConfig, Sha256};

pub(crate) const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

pub(crate) fn config() -> ObjectsConfig {
    ObjectsConfig { keep_free_bytes: 0, fsync: false, ..ObjectsConfig::default() }
}

pub(crate) fn site() -> (TempDir, ObjectStore) {
    site_with(config())
}

pub(crate) fn site_with(config: ObjectsConfig) -> (TempDir, ObjectStore) {
    let folder = TempDir::new().unwrap();
    let store = ObjectStore::open(folder.path().join("objects"), config).unwrap();
    (folder, store)
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

pub(crate) fn account(number: u128) -> AccountId {
    AccountId::new(Timestamp::from_millis(1), number)
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

/// A body that arrives in pieces of this length.
pub(crate) fn body(bytes: &[u8], piece: usize) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    let pieces: Vec<_> = bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

/// Bytes without a pattern.
pub(crate) fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) async fn collect(stream: ByteStream) -> Vec<u8> {
    stream
        .try_fold(Vec::new(), |mut all, piece| async move {
            all.extend_from_slice(&piece);
            Ok(all)
        })
        .await
        .unwrap()
}

pub(crate) async fn read(store: &ObjectStore, sha256: Sha256, range: Range<u64>) -> Vec<u8> {
    let object = store.open_object(sha256).await.unwrap().expect("the file is there");
    collect(object.stream(range)).await
}

/// All of a file, as a thread reads it that may wait.
pub(crate) fn read_blocking(store: &ObjectStore, sha256: Sha256) -> Vec<u8> {
    let object = store.open_object_blocking(sha256).unwrap().expect("the file is there");
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut object.into_reader(), &mut bytes).unwrap();
    bytes
}

pub(crate) async fn put(store: &ObjectStore, bytes: &[u8]) -> Sha256 {
    let sha256 = sha256(bytes);
    store.put(sha256, bytes.len() as u64, body(bytes, 1000), now()).await.unwrap();
    sha256
}

/// Files below a folder, in no order.
pub(crate) fn files(folder: &Path) -> HashSet<std::path::PathBuf> {
    let mut found = HashSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    found
}

pub(crate) fn is_invalid(error: &ObjectError) -> bool {
    matches!(error, ObjectError::Invalid(_))
}
