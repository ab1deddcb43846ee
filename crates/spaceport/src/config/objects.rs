//! `[objects]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spaceport_objects::ObjectsConfig;

/// Seconds.
const HOUR: u64 = 60 * 60;

/// `[objects]`: large files, sent by git-lfs or Xet.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objects {
    /// One file may have so many GiB.
    pub max_file_gib: u64,
    /// Uploads are refused while the disk has less than so many GiB left.
    pub keep_free_gib: u64,
    /// Clients that can send files above so many MiB in parts.
    pub multipart_above_mib: u64,
    /// Hours a file is kept that was uploaded and no commit names, or that its repositories are gone of.
    pub keep_unused_hours: u64,
    /// Days chunks are kept that no file needs: clients rely on 21 days.
    pub keep_unused_chunks_days: u64,
    /// Answers an upload when it is on the disk, so that no power failure takes it back.
    pub fsync: bool,
}

impl Default for Objects {
    fn default() -> Self {
        let store = ObjectsConfig::default();
        Self {
            max_file_gib: store.max_object_bytes >> 30,
            keep_free_gib: store.keep_free_bytes >> 30,
            multipart_above_mib: 256,
            keep_unused_hours: store.keep_unused.as_secs() / HOUR,
            keep_unused_chunks_days: store.keep_unused_xorbs.as_secs() / (24 * HOUR),
            fsync: store.fsync,
        }
    }
}

impl Objects {
    /// In the units of the store.
    pub fn store(&self) -> ObjectsConfig {
        ObjectsConfig {
            max_object_bytes: self.max_file_gib << 30,
            keep_free_bytes: self.keep_free_gib << 30,
            fsync: self.fsync,
            keep_unused: Duration::from_secs(self.keep_unused_hours * HOUR),
            keep_unused_xorbs: Duration::from_secs(self.keep_unused_chunks_days * 24 * HOUR),
        }
    }
}
