//! What a site decides about large files.

use std::time::Duration;

/// Limits and times of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectsConfig {
    /// The largest file, in bytes.
    pub max_object_bytes: u64,
    /// Uploads are refused while the disk has less than this left besides what they bring, in
    /// bytes: a full disk would stop the database as well.
    pub keep_free_bytes: u64,
    /// Whether content is on the disk, not only in the system's memory, before an upload is
    /// answered. Clients remember for weeks what they have uploaded and never send it again, so
    /// an answer that a power failure takes back breaks their later uploads.
    pub fsync: bool,
    /// What no repository uses is kept this long after it was last asked for: longer than the time
    /// between an upload and its commit. `hf upload-large-folder` relies on 20 hours.
    pub keep_unused: Duration,
    /// A xorb that no file uses is kept this long after it was last uploaded or referred to.
    /// Clients deduplicate against what they uploaded within the last 21 days without asking, and
    /// an upload that refers to a missing xorb fails.
    pub keep_unused_xorbs: Duration,
}

impl Default for ObjectsConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            max_object_bytes: 500 << 30,
            keep_free_bytes: 1 << 30,
            fsync: true,
            keep_unused: 2 * DAY,
            keep_unused_xorbs: 22 * DAY,
        }
    }
}
