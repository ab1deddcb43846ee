//! The record of a Xet file: its hash and its terms, kept by SHA-256.

use std::fs;
use std::io::{BufReader, ErrorKind};

use spaceport_core::Timestamp;

use super::shard::{FileBlock, ShardReader, Term};
use crate::error::FormatError;
use crate::folder::{self, Folder};
use crate::store::Inner;
use crate::{ObjectError, Sha256, XetHash};

/// A file as a list of pieces of xorbs. It is recorded only when its bytes have this SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRecord {
    /// Its Xet hash.
    pub file: XetHash,
    /// Its length, in bytes.
    pub size: u64,
    /// Its pieces, in order.
    pub terms: Vec<Term>,
}

impl FileRecord {
    pub(crate) fn load(folder: &Folder, sha256: &Sha256) -> Result<Option<Self>, ObjectError> {
        let Some(file) = folder::open(&folder.file_path(sha256))? else { return Ok(None) };
        let length = file.metadata().map_err(ObjectError::io("read the record of a file"))?.len();
        let mut reader = ShardReader::new(BufReader::new(file), length).map_err(FormatError::stored)?;
        let block = reader.next_file().map_err(FormatError::stored)?;
        let block = block.filter(|block| block.sha256 == Some(*sha256));
        let block = block.ok_or_else(|| ObjectError::Damaged(format!("the record of {sha256} is of another file")))?;
        Ok(Some(Self { file: block.file, size: block.size(), terms: block.terms }))
    }
}

impl Inner {
    /// Records files that were checked. Their Xet hashes come last: whoever finds a file by one
    /// finds its record.
    pub(crate) fn keep_file(&self, block: &FileBlock, sha256: &Sha256, now: Timestamp) -> Result<(), ObjectError> {
        let kept =
            FileBlock { file: block.file, terms: block.terms.clone(), verification: Vec::new(), sha256: Some(*sha256) };
        self.place_bytes(&kept.to_bytes(), &self.folder.file_path(sha256), now)?;
        self.place_bytes(sha256.to_string().as_bytes(), &self.folder.hash_path(&block.file), now)?;
        Ok(())
    }

    pub(crate) fn sha256_of(&self, file: &XetHash) -> Result<Option<Sha256>, ObjectError> {
        match fs::read_to_string(self.folder.hash_path(file)) {
            Ok(text) => {
                let damaged = |_| ObjectError::Damaged(format!("the SHA-256 of Xet file {file} cannot be read"));
                text.parse().map(Some).map_err(damaged)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ObjectError::io("look up a Xet file")(error)),
        }
    }
}
