//! Receives a shard: checks what it says of each file, down to the SHA-256 of the bytes, and
//! records the files.
//!
//! Everything is checked before anything is recorded, and before the client is answered: a commit
//! can then rely on a record without reading a byte. Per file, in this order:
//!
//! 1. every xorb was uploaded by this account, and has the chunks;
//! 2. the verification hashes show that the sender knows the chunks' hashes;
//! 3. the tree over all chunks gives the file's hash;
//! 4. the bytes have the SHA-256; this is left out when it was found before.

use std::io::BufReader;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use sha2::Digest;
use spaceport_core::{AccountId, Timestamp};

use super::files::FileRecord;
use super::merkle::{TermHasher, Tree};
use super::reconstruct::usable;
use super::shard::{FileBlock, MAX_SHARD_BYTES, ShardReader};
use super::xorbs::OpenXorb;
use crate::error::FormatError;
use crate::incoming::{blocking, receive};
use crate::read::pieces;
use crate::store::Inner;
use crate::{ObjectError, ObjectStore, Sha256, XetHash};

/// A file that a shard brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisteredFile {
    /// The SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Its Xet hash.
    pub file: XetHash,
    /// Its length, in bytes.
    pub size: u64,
}

/// Is told how many pieces are checked, of how many.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// A shard that is well-formed; nothing it says is checked yet.
#[derive(Debug)]
pub struct ReceivedShard {
    blocks: Vec<FileBlock>,
}

impl ObjectStore {
    /// Receives a shard.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`] when it is malformed; [`ObjectError::TooLarge`].
    pub async fn receive_shard<S, E>(&self, body: S) -> Result<ReceivedShard, ObjectError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (temporary, file) = self.begin(MAX_SHARD_BYTES).await?;
        let length = receive(file, body, MAX_SHARD_BYTES, false).await?.bytes;
        blocking(move || {
            let mut reader =
                ShardReader::new(BufReader::new(temporary.as_file()), length).map_err(FormatError::sent)?;
            let mut blocks = Vec::new();
            while let Some(block) = reader.next_file().map_err(FormatError::sent)? {
                blocks.push(block);
            }
            reader.check_xorbs().map_err(FormatError::sent)?;
            Ok(ReceivedShard { blocks })
        })
        .await
    }

    /// Checks what a shard says and records its files: all of them, or none.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`] when it says something wrong of a file;
    /// [`ObjectError::UnknownXorb`] when it refers to a xorb that the account has not uploaded;
    /// [`ObjectError::WrongContent`] when a file's bytes have another SHA-256;
    /// [`ObjectError::TooLarge`].
    pub async fn register(
        &self,
        account: AccountId,
        ReceivedShard { blocks }: ReceivedShard,
        progress: Progress,
        now: Timestamp,
    ) -> Result<Vec<RegisteredFile>, ObjectError> {
        let total = blocks.iter().map(|block| block.terms.len() as u64).sum();
        let (mut checked, mut done) = (Vec::with_capacity(blocks.len()), 0);
        for block in blocks {
            self.check_size(block.size())?;
            let mut check = Check::begin(Arc::clone(&self.inner), account, block, now).await?;
            for term in 0..check.block.terms.len() {
                // One piece at a time, so that a large file does not keep others waiting.
                let _permit = self.inner.work.acquire().await.map_err(|_| ObjectError::Busy)?;
                check = blocking(move || check.term(term)).await?;
                done += 1;
                progress(done, total);
            }
            checked.push(check.finish()?);
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let keep = |Checked { block, sha256, first }: &Checked| {
                inner.keep_file(block, sha256, now)?;
                if let Some(first) = first {
                    inner.note_file(account, first, block)?;
                }
                Ok(RegisteredFile { sha256: *sha256, file: block.file, size: block.size() })
            };
            checked.iter().map(keep).collect()
        })
        .await
    }
}

/// A file about which everything said is true.
struct Checked {
    block: FileBlock,
    sha256: Sha256,
    /// Its first chunk; an empty file has none.
    first: Option<XetHash>,
}

/// The check of one file.
struct Check {
    inner: Arc<Inner>,
    account: AccountId,
    now: Timestamp,
    block: FileBlock,
    sha256: Sha256,
    first: Option<XetHash>,
    tree: Tree,
    /// Absent when it is known that a file with this hash has this SHA-256.
    hasher: Option<sha2::Sha256>,
    /// Terms that follow each other often lie in the same xorb.
    last: Option<(XetHash, OpenXorb)>,
}

impl Check {
    async fn begin(
        inner: Arc<Inner>,
        account: AccountId,
        block: FileBlock,
        now: Timestamp,
    ) -> Result<Self, ObjectError> {
        let file = block.file;
        let missing = |what| ObjectError::Invalid(format!("the shard has no {what} for file {file}"));
        let sha256 = block.sha256.ok_or_else(|| missing("SHA-256"))?;
        if block.verification.len() != block.terms.len() {
            return Err(missing("verification hashes"));
        }
        blocking(move || {
            let known = FileRecord::load(&inner.folder, &sha256)?.is_some_and(|record| record.file == block.file);
            let hasher = (!known).then(sha2::Sha256::new);
            Ok(Self { inner, account, now, block, sha256, first: None, tree: Tree::default(), hasher, last: None })
        })
        .await
    }

    fn term(mut self, at: usize) -> Result<Self, ObjectError> {
        let (term, file) = (self.block.terms[at], self.block.file);
        let wrong = |what| ObjectError::Invalid(format!("term {at} of file {file} {what}"));
        let xorb = match self.last.take() {
            Some((hash, xorb)) if hash == term.xorb => xorb,
            _ => self.inner.claim_xorb(&term.xorb, self.account, self.now)?,
        };
        let chunks =
            usable(&term, xorb.index.chunks.len()).map_err(|_| wrong("names chunks that its xorb does not have"))?;
        if xorb.index.unpacked_length(&chunks) != u64::from(term.length) {
            return Err(wrong("has another length than its chunks"));
        }
        let mut verification = TermHasher::new();
        for number in chunks.clone() {
            let hash = xorb.index.chunks[number].hash;
            verification.push(&hash);
            self.first.get_or_insert(hash);
            self.tree.push(hash, xorb.index.unpacked_length(&(number..number + 1)));
        }
        if verification.finish() != self.block.verification[at] {
            return Err(wrong("has a wrong verification hash"));
        }
        if let Some(hasher) = &mut self.hasher {
            for piece in pieces(&xorb.index, chunks) {
                hasher.update(xorb.index.unpack(&xorb.file, &piece)?);
            }
        }
        self.last = Some((term.xorb, xorb));
        Ok(self)
    }

    fn finish(self) -> Result<Checked, ObjectError> {
        let hash = self.tree.file_hash();
        if hash != self.block.file {
            let announced = self.block.file;
            return Err(ObjectError::Invalid(format!("the chunks make file {hash}, not {announced}")));
        }
        if let Some(hasher) = self.hasher {
            let actual = Sha256::from_bytes(hasher.finalize().into());
            if actual != self.sha256 {
                return Err(ObjectError::WrongContent { expected: self.sha256, actual });
            }
        }
        Ok(Checked { block: self.block, sha256: self.sha256, first: self.first })
    }
}
