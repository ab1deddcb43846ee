//! Files that arrive in parts: git-lfs' `multipart` transfer.
//!
//! Parts are written to their place in one file, in any order and at the same time; a small file
//! beside it marks each part that is complete. Completing the upload reads the whole once, checks
//! it and renames it: nothing is copied. What was received survives a restart.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use sha2::Digest;
use spaceport_core::{AccountId, Timestamp};
use tokio::sync::RwLock;

use crate::folder::{self, touch};
use crate::incoming::{blocking, receive};
use crate::store::Inner;
use crate::{ObjectError, ObjectStore, Sha256};

/// Completing waits so long for parts that are still arriving: a client that gave a connection up
/// sends the part again, and the server may learn of the first one's end later.
const STRAGGLERS: Duration = Duration::from_secs(20);

/// An upload in parts. Two accounts that send the same file have two uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Multipart {
    /// Who uploads.
    pub account: AccountId,
    /// The SHA-256 of the whole.
    pub sha256: Sha256,
    /// The length of the whole, in bytes.
    pub size: u64,
    /// The length of each part but the last, in bytes; not zero.
    pub part_bytes: u64,
}

impl Multipart {
    /// How many parts there are; they are numbered from 1.
    #[must_use]
    pub fn parts(&self) -> u64 {
        self.size.div_ceil(self.part_bytes.max(1))
    }

    /// Where a part begins and how long it is.
    fn part(&self, number: u32) -> Option<(u64, u64)> {
        let before = u64::from(number.checked_sub(1)?);
        let start = before.checked_mul(self.part_bytes)?;
        let length = self.size.checked_sub(start)?.min(self.part_bytes);
        (length > 0).then_some((start, length))
    }
}

/// Uploads that somebody is writing to or completing. Parts share the lock, completing has it
/// alone: a part that arrived while the file is checked could change what was checked.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<HashMap<(AccountId, Sha256), UploadLock>>);

/// Gone when nobody holds it.
type UploadLock = Weak<RwLock<()>>;

impl Uploads {
    fn lock(&self, upload: &Multipart) -> Arc<RwLock<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        let key = (upload.account, upload.sha256);
        if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(RwLock::new(()));
        locks.insert(key, Arc::downgrade(&lock));
        lock
    }

    /// Whether nobody writes to the upload at this moment.
    pub(crate) fn idle(&self, account: AccountId, sha256: Sha256) -> bool {
        let locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.get(&(account, sha256)).is_none_or(|lock| lock.strong_count() == 0)
    }
}

impl ObjectStore {
    /// Receives one part. A part that is sent again replaces the former one.
    ///
    /// # Errors
    /// [`ObjectError::WrongSize`] when it has not the length of that part;
    /// [`ObjectError::Invalid`] when there is no such part.
    pub async fn put_part<S, E>(
        &self,
        upload: &Multipart,
        number: u32,
        body: S,
        now: Timestamp,
    ) -> Result<(), ObjectError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.check_size(upload.size)?;
        let (start, length) = upload.part(number).ok_or_else(|| {
            ObjectError::Invalid(format!("the upload has {} parts; {number} is none", upload.parts()))
        })?;
        let lock = self.inner.uploads.lock(upload);
        let _shared = lock.read_owned().await;
        let (inner, folder) = (Arc::clone(&self.inner), self.inner.folder.parts_path(&upload.sha256, upload.account));
        let mark = folder.join(format!("{number:05}"));
        let marked = mark.clone();
        let file = blocking(move || {
            inner.folder.ensure_room(length)?;
            inner.folder.make_folder(&folder)?;
            folder::mark(&folder, now)?;
            remove(&marked)?;
            let opening = ObjectError::io("open a file for parts");
            let data = folder.join("data");
            let mut file = File::options().write(true).create(true).truncate(false).open(data).map_err(&opening)?;
            file.seek(SeekFrom::Start(start)).map_err(opening)?;
            Ok(file)
        })
        .await?;
        let received = match receive(file, body, length, false).await {
            Err(ObjectError::TooLarge { .. }) => length.saturating_add(1),
            other => other?.bytes,
        };
        if received != length {
            return Err(ObjectError::WrongSize { expected: length, actual: received });
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.place_bytes(b"", &mark, now)?;
            folder::mark(mark.parent().unwrap_or(&mark), now)
        })
        .await
    }

    /// Checks the whole and keeps it. Says whether it is new here.
    ///
    /// # Errors
    /// [`ObjectError::MissingPart`]; [`ObjectError::WrongContent`], after which every part must be
    /// sent again; [`ObjectError::Busy`] when parts keep arriving.
    pub async fn complete(&self, upload: &Multipart, now: Timestamp) -> Result<bool, ObjectError> {
        let lock = self.inner.uploads.lock(upload);
        let alone = tokio::time::timeout(STRAGGLERS, lock.write_owned()).await.map_err(|_| ObjectError::Busy)?;
        let _permit = self.inner.work.acquire().await.map_err(|_| ObjectError::Busy)?;
        let (inner, upload) = (Arc::clone(&self.inner), *upload);
        blocking(move || {
            // Held by the thread: the caller may leave, the thread does not.
            let _alone = alone;
            inner.complete(&upload, now)
        })
        .await
    }
}

impl Inner {
    fn complete(&self, upload: &Multipart, now: Timestamp) -> Result<bool, ObjectError> {
        let folder = self.folder.parts_path(&upload.sha256, upload.account);
        for number in 1..=upload.parts() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if !folder.join(format!("{number:05}")).exists() {
                return Err(ObjectError::MissingPart(number));
            }
        }
        let Some(mut file) = folder::open(&folder.join("data"))? else { return Err(ObjectError::MissingPart(1)) };
        let (bytes, actual) = digest(&mut file)?;
        if (bytes, actual) != (upload.size, upload.sha256) {
            discard(&folder)?;
            return Err(ObjectError::WrongContent { expected: upload.sha256, actual });
        }
        self.folder.complete(&file, now)?;
        let path = self.folder.plain_path(&upload.sha256);
        let shard = path.parent().unwrap_or(&path);
        self.folder.make_folder(shard)?;
        let linked = {
            let _spared = self.spare();
            let known = touch(&self.folder.file_path(&upload.sha256), now)? || touch(&path, now)?;
            if !known {
                fs::hard_link(folder.join("data"), &path)
                    .map_err(ObjectError::io("put an uploaded file in its place"))?;
            }
            !known
        };
        self.folder.sync_folder(shard)?;
        discard(&folder)?;
        Ok(linked)
    }
}

/// The length and the SHA-256 of a file.
fn digest(file: &mut File) -> Result<(u64, Sha256), ObjectError> {
    let (mut hasher, mut buffer, mut total) = (sha2::Sha256::new(), vec![0; 1 << 20], 0u64);
    loop {
        match file.read(&mut buffer).map_err(ObjectError::io("read an uploaded file"))? {
            0 => return Ok((total, Sha256::from_bytes(hasher.finalize().into()))),
            read => {
                hasher.update(&buffer[..read]);
                total += read as u64;
            }
        }
    }
}

fn remove(path: &Path) -> Result<(), ObjectError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ObjectError::io("replace a part")(error)),
        _ => Ok(()),
    }
}

fn discard(folder: &Path) -> Result<(), ObjectError> {
    fs::remove_dir_all(folder).map_err(ObjectError::io("remove the parts of an upload"))
}
