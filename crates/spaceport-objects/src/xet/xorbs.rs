//! Stored xorbs: receiving one, finding one, knowing who has uploaded it.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use spaceport_core::{AccountId, Timestamp};

use super::xorb::{MAX_XORB_BYTES, XorbIndex};
use crate::folder;
use crate::incoming::{blocking, receive};
use crate::store::Inner;
use crate::{ObjectError, ObjectStore, XetHash};

/// A stored xorb, open for reading: it can be read to its end even when it is removed meanwhile.
#[derive(Debug)]
pub(crate) struct OpenXorb {
    pub file: File,
    pub index: XorbIndex,
}

impl ObjectStore {
    /// Receives a serialized xorb, checks every chunk and that the whole has this hash, and notes
    /// that the account has it. Says whether it is new here.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`] when it is malformed or has another hash;
    /// [`ObjectError::TooLarge`]; [`ObjectError::Full`].
    pub async fn put_xorb<S, E>(
        &self,
        hash: XetHash,
        account: AccountId,
        body: S,
        now: Timestamp,
    ) -> Result<bool, ObjectError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut temporary, file) = self.begin(MAX_XORB_BYTES).await?;
        receive(file, body, MAX_XORB_BYTES, false).await?;
        let _permit = self.inner.work.acquire().await.map_err(|_| ObjectError::Busy)?;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            // Even a xorb that is here already is checked: having its bytes is what gives the
            // account the right to refer to it.
            let index = XorbIndex::compute(temporary.as_file())?;
            if index.hash != hash {
                return Err(ObjectError::Invalid(format!("the xorb's hash is {}, not {hash}", index.hash)));
            }
            let writing = ObjectError::io("write a xorb");
            let chunks_end = index.packed_range(&(0..index.chunks.len())).end;
            temporary.as_file().set_len(chunks_end).map_err(&writing)?;
            temporary.seek(SeekFrom::End(0)).map_err(&writing)?;
            temporary.write_all(&index.to_bytes()).map_err(&writing)?;
            let new = inner.place(temporary, &inner.folder.xorb_path(&hash), now)?;
            inner.place_bytes(b"", &inner.folder.possession_path(&hash, account), now)?;
            inner.note_xorb(account, &index)?;
            Ok(new)
        })
        .await
    }
}

impl Inner {
    /// Opens a xorb that must be there.
    pub(crate) fn open_xorb(&self, hash: &XetHash) -> Result<OpenXorb, ObjectError> {
        let missing = || ObjectError::Damaged(format!("xorb {hash} is missing"));
        let file = folder::open(&self.folder.xorb_path(hash))?.ok_or_else(missing)?;
        let index = XorbIndex::read(&file)?;
        if index.hash == *hash { Ok(OpenXorb { file, index }) } else { Err(missing()) }
    }

    /// Opens a xorb for an account that wants to make a file of it, and spares it from the next
    /// sweeps.
    pub(crate) fn claim_xorb(
        &self,
        hash: &XetHash,
        account: AccountId,
        now: Timestamp,
    ) -> Result<OpenXorb, ObjectError> {
        {
            let _spared = self.spare();
            let theirs = self.folder.possession_path(hash, account).exists();
            if !theirs || !folder::touch(&self.folder.xorb_path(hash), now)? {
                return Err(ObjectError::UnknownXorb(*hash));
            }
        }
        self.open_xorb(hash)
    }
}
