//! The store itself, and whole files in it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use futures::Stream;
use spaceport_core::Timestamp;
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;

use crate::folder::{self, Folder};
use crate::incoming::{blocking, receive};
use crate::multipart::Uploads;
use crate::xet::FileRecord;
use crate::{ObjectError, ObjectsConfig, Sha256, XetHash};

/// All large files of a site. A clone is another handle on the same store.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub folder: Folder,
    /// A sweep removes under the write lock, one thing at a time, after a last look at when it was
    /// wanted; whoever relies on something being there notes that under the read lock.
    pub removal: RwLock<()>,
    /// Unpacking and hashing whole xorbs and files: as many at once as there are cores.
    pub work: Semaphore,
    pub uploads: Uploads,
}

/// What is known of a stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its length, in bytes.
    pub size: u64,
    /// Its Xet hash, when it is kept as chunks.
    pub xet: Option<XetHash>,
}

impl ObjectStore {
    /// Opens the store in a folder, and makes it when missing.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(root: PathBuf, config: ObjectsConfig) -> Result<Self, ObjectError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let inner = Inner {
            folder: Folder::open(root, config)?,
            removal: RwLock::new(()),
            work: Semaphore::new(cores),
            uploads: Uploads::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The limits and times it was opened with.
    #[must_use]
    pub fn config(&self) -> &ObjectsConfig {
        &self.inner.folder.config
    }

    /// Receives a file of which name and length were announced. It is there completely and
    /// checked, or not at all. Says whether it is new here.
    ///
    /// # Errors
    /// [`ObjectError::WrongContent`], [`ObjectError::WrongSize`] and [`ObjectError::TooLarge`] when
    /// the bytes are not those that were announced; [`ObjectError::Full`].
    pub async fn put<S, E>(&self, sha256: Sha256, size: u64, body: S, now: Timestamp) -> Result<bool, ObjectError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.check_size(size)?;
        let (temporary, file) = self.begin(size).await?;
        let received = match receive(file, body, size, true).await {
            // More than announced: the announcement was wrong.
            Err(ObjectError::TooLarge { .. }) => {
                return Err(ObjectError::WrongSize { expected: size, actual: size.saturating_add(1) });
            }
            other => other?,
        };
        if received.bytes != size {
            return Err(ObjectError::WrongSize { expected: size, actual: received.bytes });
        }
        match received.sha256 {
            Some(actual) if actual != sha256 => Err(ObjectError::WrongContent { expected: sha256, actual }),
            _ => {
                let inner = Arc::clone(&self.inner);
                blocking(move || inner.keep_plain(temporary, &sha256, now)).await
            }
        }
    }

    /// A temporary file for an upload of so many bytes, and a handle to write it with.
    pub(crate) async fn begin(&self, bytes: u64) -> Result<(NamedTempFile, File), ObjectError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.folder.ensure_room(bytes)?;
            let temporary = inner.folder.temporary()?;
            let file = temporary.reopen().map_err(ObjectError::io("open a temporary file"))?;
            Ok((temporary, file))
        })
        .await
    }

    /// Whether its disk has more room than is kept free. What else is written to that disk asks, too.
    ///
    /// # Errors
    /// When the disk cannot be asked.
    pub fn has_room(&self) -> Result<bool, ObjectError> {
        match self.inner.folder.ensure_room(0) {
            Err(ObjectError::Full) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Whether a file of this size is accepted.
    ///
    /// # Errors
    /// [`ObjectError::TooLarge`] when it is not.
    pub fn check_size(&self, size: u64) -> Result<(), ObjectError> {
        let limit = self.inner.folder.config.max_object_bytes;
        if size > limit { Err(ObjectError::TooLarge { limit }) } else { Ok(()) }
    }

    /// Looks a file up.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn info(&self, sha256: Sha256) -> Result<Option<ObjectInfo>, ObjectError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.info(&sha256)).await
    }

    /// Looks a file up for somebody who will rely on it: from now on it is spared by sweeps for the
    /// time of [`ObjectsConfig::keep_unused`]. Call this before the file's use is recorded.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn claim(&self, sha256: Sha256, now: Timestamp) -> Result<Option<ObjectInfo>, ObjectError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let _spared = inner.spare();
            let Some(info) = inner.info(&sha256)? else { return Ok(None) };
            folder::touch(&inner.folder.plain_path(&sha256), now)?;
            folder::touch(&inner.folder.file_path(&sha256), now)?;
            Ok(Some(info))
        })
        .await
    }

    /// The SHA-256 of a file by its Xet hash.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn sha256_of(&self, file: XetHash) -> Result<Option<Sha256>, ObjectError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.sha256_of(&file)).await
    }
}

impl Inner {
    /// While this is held, nothing is removed.
    pub(crate) fn spare(&self) -> std::sync::RwLockReadGuard<'_, ()> {
        // The lock protects no value that a panic could have left half changed.
        self.removal.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn info(&self, sha256: &Sha256) -> Result<Option<ObjectInfo>, ObjectError> {
        if let Some(record) = FileRecord::load(&self.folder, sha256)? {
            return Ok(Some(ObjectInfo { size: record.size, xet: Some(record.file) }));
        }
        let Some(file) = folder::open(&self.folder.plain_path(sha256))? else { return Ok(None) };
        let size = file.metadata().map_err(ObjectError::io("look at a large file"))?.len();
        Ok(Some(ObjectInfo { size, xet: None }))
    }

    /// Keeps the bytes, unless the file is here as chunks already.
    pub(crate) fn keep_plain(&self, file: NamedTempFile, sha256: &Sha256, now: Timestamp) -> Result<bool, ObjectError> {
        {
            let _spared = self.spare();
            if folder::touch(&self.folder.file_path(sha256), now)? {
                return Ok(false);
            }
        }
        self.place(file, &self.folder.plain_path(sha256), now)
    }

    /// Brings a file to the disk and to its place. Says whether it is new there.
    pub(crate) fn place(&self, file: NamedTempFile, path: &Path, now: Timestamp) -> Result<bool, ObjectError> {
        // Outside the lock: the disk may take its time.
        self.folder.complete(file.as_file(), now)?;
        let placed = {
            let _spared = self.spare();
            self.folder.rename(file, path, now)?
        };
        if let (true, Some(folder)) = (placed, path.parent()) {
            self.folder.sync_folder(folder)?;
        }
        Ok(placed)
    }

    /// As [`Self::place`], for a small file with these bytes.
    pub(crate) fn place_bytes(&self, bytes: &[u8], path: &Path, now: Timestamp) -> Result<bool, ObjectError> {
        let mut file = self.folder.temporary()?;
        file.write_all(bytes).map_err(ObjectError::io("write a temporary file"))?;
        self.place(file, path, now)
    }
}
