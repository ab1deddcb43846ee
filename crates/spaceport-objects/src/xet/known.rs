//! Chunks that a client need not send, since its account has sent them before: what Xet calls global deduplication.
//!
//! A client asks about the first chunk of a file, and about chunks whose hash says so, and gets a shard that lists
//! the chunks of whole xorbs. So an upload that was cut off goes on where it ended, and a second machine of the same
//! account sends only what changed. Only the account's own xorbs are told of: whether *anybody* has a chunk
//! says what others keep, and a file may be made only of xorbs that its sender has uploaded.
//!
//! What is written here are hints: they are not waited for, and whoever reads them looks whether the xorb is there.
//! Specification: <https://huggingface.co/docs/xet/deduplication>, "Global Deduplication".

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spaceport_core::{AccountId, Timestamp};

use super::shard::{FileBlock, XorbsShard};
use super::xorb::XorbIndex;
use crate::incoming::blocking;
use crate::store::Inner;
use crate::{ObjectError, ObjectStore, XetHash, folder, sweep};

/// Clients ask about every chunk whose hash this divides. Specification: "Chunk Eligibility Criteria".
const ELIGIBLE: u64 = 1024;
/// A client may rely on an answer for so long; xorbs are kept longer after they were told of.
const EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);
/// No more xorbs are told of in an answer that has so many bytes.
const MAX_ANSWER_BYTES: usize = 16 << 20;

impl ObjectStore {
    /// A shard with the xorbs of an account that hold this chunk and probably those that follow it; `None` when the
    /// account has sent no such chunk, or none that clients ask about.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn known_chunks(
        &self,
        account: AccountId,
        chunk: XetHash,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, ObjectError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.known_chunks(account, &chunk, now)).await
    }
}

impl Inner {
    /// Notes that an account has sent a xorb, which no file is made of yet.
    pub(super) fn note_xorb(&self, account: AccountId, index: &XorbIndex) -> Result<(), ObjectError> {
        let asked = index.chunks.iter().enumerate().filter(|(at, chunk)| *at == 0 || is_eligible(&chunk.hash));
        for (_, chunk) in asked {
            let path = self.folder.chunk_path(account, &chunk.hash);
            // One that leads to a whole file says more.
            if !path.exists() {
                self.hint(&path, &index.hash.to_string())?;
            }
        }
        self.hint(&self.folder.unused_path(account, &index.hash), "")
    }

    /// Notes which xorbs a file of the account is made of.
    pub(super) fn note_file(&self, account: AccountId, first: &XetHash, block: &FileBlock) -> Result<(), ObjectError> {
        let mut xorbs: Vec<XetHash> = Vec::new();
        for term in &block.terms {
            if !xorbs.contains(&term.xorb) {
                xorbs.push(term.xorb);
            }
        }
        let text: Vec<_> = xorbs.iter().map(XetHash::to_string).collect();
        self.hint(&self.folder.chunk_path(account, first), &text.join("\n"))?;
        xorbs.iter().try_for_each(|xorb| sweep::remove_file(&self.folder.unused_path(account, xorb)))
    }

    fn known_chunks(
        &self,
        account: AccountId,
        chunk: &XetHash,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, ObjectError> {
        let mut xorbs = read(&self.folder.chunk_path(account, chunk))?;
        let Some(first) = xorbs.first() else { return Ok(None) };
        if self.folder.unused_path(account, first).exists() {
            // An upload was cut off. What else it had sent is of no file either.
            let others = sweep::list(&self.folder.unused(account)).unwrap_or_default();
            xorbs.extend(others.iter().filter_map(|path| path.file_name()?.to_str()?.parse::<XetHash>().ok()));
        }
        let mut answer = XorbsShard::new();
        let mut told = Vec::new();
        for xorb in xorbs {
            if told.contains(&xorb) || answer.len() > MAX_ANSWER_BYTES {
                continue;
            }
            match self.claim_xorb(&xorb, account, now) {
                Ok(opened) => answer.push(&opened.index),
                Err(ObjectError::UnknownXorb(_)) => {}
                Err(error) => return Err(error),
            }
            told.push(xorb);
        }
        Ok(answer.finish(now, now + EXPIRY))
    }

    fn hint(&self, path: &Path, text: &str) -> Result<(), ObjectError> {
        let writing = ObjectError::io("note the chunks of a xorb");
        self.folder.make_folder(path.parent().expect("nothing is placed at the root of the file system"))?;
        let mut file = self.folder.temporary()?;
        file.write_all(text.as_bytes()).map_err(&writing)?;
        file.persist(path).map(drop).map_err(|refused| writing(refused.error))
    }

    /// Removes hints that lead nowhere any more.
    pub(crate) fn sweep_hints(&self) -> Result<(), ObjectError> {
        for account in sweep::list(&self.folder.unused_of_all())? {
            for path in sweep::list(&account)? {
                let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
                if name.is_none_or(|xorb| !self.folder.xorb_path(&xorb).exists()) {
                    sweep::remove_file(&path)?;
                }
            }
        }
        for account in sweep::list(&self.folder.chunks())? {
            for (_, path) in sweep::entries::<XetHash>(&account)? {
                if !read(&path)?.iter().any(|xorb| self.folder.xorb_path(xorb).exists()) {
                    sweep::remove_file(&path)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether clients ask about a chunk wherever it stands. The remainder is taken of the last word.
fn is_eligible(chunk: &XetHash) -> bool {
    let last = chunk.as_bytes().last_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*last).is_multiple_of(ELIGIBLE)
}

/// The xorbs that a hint names.
fn read(path: &Path) -> Result<Vec<XetHash>, ObjectError> {
    let Some(mut file) = folder::open(path)? else { return Ok(Vec::new()) };
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(ObjectError::io("look up a chunk"))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}
