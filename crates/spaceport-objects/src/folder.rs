//! The folder of the store: where things lie, and how they come to lie there.
//!
//! Nothing is ever written in its place: content is written under `tmp/` and renamed when it is
//! complete and checked, so a crash leaves either all of it or a temporary file.
//!
//! ```text
//! plain/ab/abcd…             a file's bytes, by SHA-256
//! files/ab/abcd…             the terms of a Xet file, by SHA-256
//! hashes/ab/abcd…            the SHA-256 of a Xet file, by its Xet hash
//! xorbs/ab/abcd…/xorb        a xorb, by its hash
//! xorbs/ab/abcd…/{account}   this account has uploaded it
//! chunks/{account}/ab/abcd…  xorbs of the account that hold this chunk, a hint
//! unused/{account}/abcd…     no file is made of this xorb of the account yet, a hint
//! parts/{account}-{sha256}/  a multipart upload
//! tmp/                       what is being received or removed
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spaceport_core::{AccountId, Timestamp};
use tempfile::NamedTempFile;

use crate::{ObjectError, ObjectsConfig, Sha256, XetHash};

/// The folder and the rules for writing to it.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    pub config: ObjectsConfig,
}

impl Folder {
    /// Opens the folder, makes it when missing, and removes what a former process left half done.
    /// One process at a time may have it open.
    pub(crate) fn open(root: PathBuf, config: ObjectsConfig) -> Result<Self, ObjectError> {
        let folder = Self { root, config };
        match fs::remove_dir_all(folder.tmp()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ObjectError::io("empty the folder of unfinished uploads")(error));
            }
            _ => {}
        }
        let (plain, files, hashes, xorbs) = (folder.plain(), folder.files(), folder.hashes(), folder.xorbs());
        let (parts, hints) = (folder.parts(), [folder.chunks(), folder.unused_of_all()]);
        for path in [folder.tmp(), plain, files, hashes, xorbs, parts].into_iter().chain(hints) {
            fs::create_dir_all(path).map_err(ObjectError::io("create the folder of large files"))?;
        }
        Ok(folder)
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn plain(&self) -> PathBuf {
        self.root.join("plain")
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    pub(crate) fn hashes(&self) -> PathBuf {
        self.root.join("hashes")
    }

    pub(crate) fn xorbs(&self) -> PathBuf {
        self.root.join("xorbs")
    }

    pub(crate) fn parts(&self) -> PathBuf {
        self.root.join("parts")
    }

    pub(crate) fn chunks(&self) -> PathBuf {
        self.root.join("chunks")
    }

    pub(crate) fn unused_of_all(&self) -> PathBuf {
        self.root.join("unused")
    }

    pub(crate) fn unused(&self, account: AccountId) -> PathBuf {
        self.unused_of_all().join(account.to_string())
    }

    pub(crate) fn unused_path(&self, account: AccountId, xorb: &XetHash) -> PathBuf {
        self.unused(account).join(xorb.to_string())
    }

    pub(crate) fn chunk_path(&self, account: AccountId, chunk: &XetHash) -> PathBuf {
        sharded(self.chunks().join(account.to_string()), &chunk.to_string())
    }

    pub(crate) fn plain_path(&self, sha256: &Sha256) -> PathBuf {
        sharded(self.plain(), &sha256.to_string())
    }

    pub(crate) fn file_path(&self, sha256: &Sha256) -> PathBuf {
        sharded(self.files(), &sha256.to_string())
    }

    pub(crate) fn hash_path(&self, file: &XetHash) -> PathBuf {
        sharded(self.hashes(), &file.to_string())
    }

    pub(crate) fn xorb_folder(&self, xorb: &XetHash) -> PathBuf {
        sharded(self.xorbs(), &xorb.to_string())
    }

    pub(crate) fn xorb_path(&self, xorb: &XetHash) -> PathBuf {
        self.xorb_folder(xorb).join("xorb")
    }

    /// Exists when the account has uploaded the xorb.
    pub(crate) fn possession_path(&self, xorb: &XetHash, account: AccountId) -> PathBuf {
        self.xorb_folder(xorb).join(account.to_string())
    }

    pub(crate) fn parts_path(&self, sha256: &Sha256, account: AccountId) -> PathBuf {
        self.parts().join(format!("{account}-{sha256}"))
    }

    /// A temporary file that is gone when it is dropped.
    pub(crate) fn temporary(&self) -> Result<NamedTempFile, ObjectError> {
        NamedTempFile::with_prefix_in("in-", self.tmp()).map_err(ObjectError::io("create a temporary file"))
    }

    /// Refuses what would leave the disk with too little room.
    pub(crate) fn ensure_room(&self, bytes: u64) -> Result<(), ObjectError> {
        let disk = rustix::fs::statvfs(&self.root)
            .map_err(|error| ObjectError::io("look how much room the disk has")(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < bytes.saturating_add(self.config.keep_free_bytes) { Err(ObjectError::Full) } else { Ok(()) }
    }

    /// Puts a file whose bytes are on the disk in its place. When something is there already it
    /// is the same content, and stays. Says whether the file was put.
    pub(crate) fn rename(&self, file: NamedTempFile, path: &Path, now: Timestamp) -> Result<bool, ObjectError> {
        self.make_folder(path.parent().expect("nothing is placed at the root of the file system"))?;
        match file.persist_noclobber(path) {
            Ok(_) => Ok(true),
            Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {
                touch(path, now)?;
                Ok(false)
            }
            Err(refused) => Err(ObjectError::io("put an uploaded file in its place")(refused.error)),
        }
    }

    /// Brings a file's bytes to the disk and gives it its time.
    pub(crate) fn complete(&self, file: &File, now: Timestamp) -> Result<(), ObjectError> {
        let completing = ObjectError::io("write an uploaded file to the disk");
        file.set_modified(system_time(now)).map_err(&completing)?;
        if self.config.fsync { file.sync_all().map_err(completing) } else { Ok(()) }
    }

    pub(crate) fn make_folder(&self, folder: &Path) -> Result<(), ObjectError> {
        let making = ObjectError::io("create a folder of large files");
        match fs::create_dir(folder) {
            Ok(()) => self.sync_folder(folder.parent().unwrap_or(&self.root)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match folder.parent() {
                Some(parent) if folder.starts_with(&self.root) => {
                    self.make_folder(parent)?;
                    self.make_folder(folder)
                }
                _ => Err(making(error)),
            },
            Err(error) => Err(making(error)),
        }
    }

    /// A rename survives a power failure only when its folder is on the disk.
    pub(crate) fn sync_folder(&self, folder: &Path) -> Result<(), ObjectError> {
        if !self.config.fsync {
            return Ok(());
        }
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(ObjectError::io("write a folder of large files to the disk"))
    }
}

/// A folder with a million files is slow to list: the first byte of the name is a folder.
fn sharded(folder: PathBuf, name: &str) -> PathBuf {
    folder.join(&name[..2]).join(name)
}

/// Opens a file that may not exist.
pub(crate) fn open(path: &Path) -> Result<Option<File>, ObjectError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ObjectError::io("open a large file")(error)),
    }
}

/// Notes that the file is wanted; it is spared by the next sweeps. Says whether it exists.
pub(crate) fn touch(path: &Path, now: Timestamp) -> Result<bool, ObjectError> {
    let Some(file) = open(path)? else { return Ok(false) };
    let noting = ObjectError::io("note the use of a large file");
    // Many requests of one upload touch the same file, and a sweep does not care for seconds.
    let modified = file.metadata().and_then(|metadata| metadata.modified()).map_err(&noting)?;
    if timestamp(modified) + Duration::from_secs(60) < now {
        file.set_modified(system_time(now)).map_err(noting)?;
    }
    Ok(true)
}

/// Gives a folder its time, which otherwise is that of the system's clock.
pub(crate) fn mark(folder: &Path, now: Timestamp) -> Result<(), ObjectError> {
    let noting = ObjectError::io("note the use of a folder");
    File::open(folder).and_then(|folder| folder.set_modified(system_time(now))).map_err(noting)
}

/// When the file was last wanted; `None` when it does not exist.
pub(crate) fn wanted_at(path: &Path) -> Result<Option<Timestamp>, ObjectError> {
    match fs::metadata(path).and_then(|metadata| metadata.modified()) {
        Ok(modified) => Ok(Some(timestamp(modified))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ObjectError::io("look at a large file")(error)),
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(0))
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
