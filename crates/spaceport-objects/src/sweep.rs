//! Removes what nothing needs: mark and sweep, with a time of grace.
//!
//! A file is kept while a repository has it, and for [`ObjectsConfig::keep_unused`] after it was
//! last wanted; a xorb while a kept file is made of it, and for
//! [`ObjectsConfig::keep_unused_xorbs`] after it was last wanted. The second look at that time
//! happens under the lock that everyone holds who is about to rely on something, so what is wanted
//! while a sweep runs is never removed by it.
//!
//! [`ObjectsConfig::keep_unused`]: crate::ObjectsConfig::keep_unused
//! [`ObjectsConfig::keep_unused_xorbs`]: crate::ObjectsConfig::keep_unused_xorbs

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use spaceport_core::{AccountId, Timestamp};

use crate::folder::wanted_at;
use crate::incoming::blocking;
use crate::store::Inner;
use crate::xet::FileRecord;
use crate::{ObjectError, ObjectStore, Sha256, XetHash};

/// What a sweep has removed and what it has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Files removed, in either form.
    pub files_removed: u64,
    /// Xorbs removed.
    pub xorbs_removed: u64,
    /// Multipart uploads that were given up.
    pub uploads_removed: u64,
    /// Bytes that plain files and xorbs occupied before they were removed.
    pub bytes_removed: u64,
    /// Bytes that plain files and xorbs occupy now.
    pub bytes_kept: u64,
}

impl ObjectStore {
    /// Removes every file that is not `live` and was not wanted for a while, and the xorbs that no
    /// file needs any more. `live` is what repositories have, read after the call's `now`: a file
    /// must be claimed before its use is recorded.
    ///
    /// # Errors
    /// When the disk cannot be read; what was removed before stays removed.
    pub async fn sweep(&self, live: HashSet<Sha256>, now: Timestamp) -> Result<Swept, ObjectError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || Sweep { inner: &inner, now, swept: Swept::default() }.run(&live)).await
    }
}

struct Sweep<'a> {
    inner: &'a Inner,
    now: Timestamp,
    swept: Swept,
}

impl Sweep<'_> {
    fn run(mut self, live: &HashSet<Sha256>) -> Result<Swept, ObjectError> {
        let (folder, config) = (&self.inner.folder, &self.inner.folder.config);
        let mut needed = HashSet::new();
        for (sha256, path) in entries::<Sha256>(&folder.files())? {
            let record = FileRecord::load(folder, &sha256)?;
            if !live.contains(&sha256) && self.remove(&path, &path, config.keep_unused)? {
                self.swept.files_removed += 1;
                // The hash leads nowhere without the record, so it may go second.
                if let Some(record) = record {
                    remove_file(&folder.hash_path(&record.file))?;
                }
            } else if let Some(record) = record {
                needed.extend(record.terms.iter().map(|term| term.xorb));
            }
        }
        for (sha256, path) in entries::<Sha256>(&folder.plain())? {
            let bytes = size(&path)?;
            // As chunks it takes less room, and its bytes were checked.
            let twice = folder.file_path(&sha256).exists();
            if (twice || !live.contains(&sha256)) && self.remove(&path, &path, config.keep_unused)? {
                self.swept.files_removed += u64::from(!twice);
                self.swept.bytes_removed += bytes;
            } else {
                self.swept.bytes_kept += bytes;
            }
        }
        for (hash, path) in entries::<XetHash>(&folder.xorbs())? {
            let xorb = path.join("xorb");
            let bytes = size(&xorb)?;
            if !needed.contains(&hash) && self.remove(&path, &xorb, config.keep_unused_xorbs)? {
                self.swept.xorbs_removed += 1;
                self.swept.bytes_removed += bytes;
            } else {
                self.swept.bytes_kept += bytes;
            }
        }
        self.inner.sweep_hints()?;
        self.give_up_uploads()?;
        Ok(self.swept)
    }

    /// Removes `path` unless `witness` was wanted within the time of grace.
    fn remove(&self, path: &Path, witness: &Path, grace: Duration) -> Result<bool, ObjectError> {
        let removing = ObjectError::io("remove an unused large file");
        let recent = |wanted: Option<Timestamp>| wanted.is_some_and(|wanted| self.now.since(wanted) < grace);
        if recent(wanted_at(witness)?) {
            return Ok(false);
        }
        let grave = self.inner.folder.tmp().join(format!("out-{}", path.file_name().unwrap_or_default().display()));
        {
            let _alone = self.inner.removal.write().unwrap_or_else(PoisonError::into_inner);
            if recent(wanted_at(witness)?) {
                return Ok(false);
            }
            fs::rename(path, &grave).map_err(&removing)?;
        }
        if grave.is_dir() { fs::remove_dir_all(&grave) } else { fs::remove_file(&grave) }.map_err(removing)?;
        Ok(true)
    }

    fn give_up_uploads(&mut self) -> Result<(), ObjectError> {
        let (folder, config) = (&self.inner.folder, &self.inner.folder.config);
        for path in list(&folder.parts())? {
            let Some((account, sha256)) = upload(&path) else { continue };
            let recent = |wanted: Option<Timestamp>| wanted.is_some_and(|at| self.now.since(at) < config.keep_unused);
            // The folder has the time of the last part that began or ended.
            if !recent(wanted_at(&path)?) && self.inner.uploads.idle(account, sha256) {
                fs::remove_dir_all(&path).map_err(ObjectError::io("remove an abandoned upload"))?;
                self.swept.uploads_removed += 1;
            }
        }
        Ok(())
    }
}

/// `{account}-{sha256}`.
fn upload(path: &Path) -> Option<(AccountId, Sha256)> {
    let (account, sha256) = path.file_name()?.to_str()?.split_once('-')?;
    Some((account.parse().ok()?, sha256.parse().ok()?))
}

/// Everything in a folder of folders that is named by a hash.
pub(crate) fn entries<H: FromStr>(folder: &Path) -> Result<Vec<(H, PathBuf)>, ObjectError> {
    let mut found = Vec::new();
    for shard in list(folder)? {
        let named = |path: PathBuf| Some((path.file_name()?.to_str()?.parse().ok()?, path));
        found.extend(list(&shard)?.into_iter().filter_map(named));
    }
    Ok(found)
}

pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, ObjectError> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    entries.map_err(ObjectError::io("list large files"))
}

fn size(path: &Path) -> Result<u64, ObjectError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(ObjectError::io("look at a large file")(error)),
    }
}

pub(crate) fn remove_file(path: &Path) -> Result<(), ObjectError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(ObjectError::io("remove an unused record")(error)),
        _ => Ok(()),
    }
}
