//! Contents of files that are being uploaded, on disk until the commit is made.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt as _, BufWriter};

use crate::error::ApiError;

/// Bytes written at once.
const PIECE: usize = 256 << 10;

/// Padding may be missing: not every client writes it.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The folder in which uploads wait until they are stored.
#[derive(Debug, Clone)]
pub struct Uploads(Arc<Path>);

impl Uploads {
    /// Makes the folder, and empties it: what is there was left by a crash.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(folder: PathBuf) -> std::io::Result<Self> {
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder.into()))
    }
}

/// The files of one upload; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Spool {
    parent: Uploads,
    /// Made for the first file: most commits have none that is large.
    folder: OnceLock<TempDir>,
    next: AtomicU64,
}

impl Spool {
    pub(super) fn new(parent: &Uploads) -> Self {
        Self { parent: parent.clone(), folder: OnceLock::new(), next: AtomicU64::new(0) }
    }

    /// A new file that takes base64.
    pub(super) async fn decoder(&self) -> Result<Decoder, ApiError> {
        let folder = match self.folder.get() {
            Some(folder) => folder,
            None => {
                let made = TempDir::new_in(&self.parent.0).map_err(failed)?;
                self.folder.get_or_init(|| made)
            }
        };
        let path = folder.path().join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = BufWriter::with_capacity(PIECE, File::create(&path).await.map_err(failed)?);
        Ok(Decoder { path, file, pending: Vec::new(), padded: false, broken: false })
    }

    /// Removes the files without holding up anybody.
    pub(super) async fn remove(self) {
        // That a file is left is no reason to fail a commit; the next start removes it.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

/// A text that went to disk.
#[derive(Debug)]
pub(super) enum Long {
    /// As bytes, in this file.
    Decoded(PathBuf),
    /// It was not base64.
    NotBase64,
}

/// Writes base64 to a file as bytes.
pub(super) struct Decoder {
    path: PathBuf,
    file: BufWriter<File>,
    /// Less than four characters, which wait for the others of their group.
    pending: Vec<u8>,
    /// The last group had padding: nothing may follow.
    padded: bool,
    broken: bool,
}

impl Decoder {
    pub(super) async fn push(&mut self, text: &[u8]) -> Result<(), ApiError> {
        if self.broken || text.is_empty() {
            return Ok(());
        }
        self.pending.extend_from_slice(text);
        self.decode(self.pending.len() / 4 * 4).await
    }

    async fn decode(&mut self, count: usize) -> Result<(), ApiError> {
        if count == 0 {
            return Ok(());
        }
        let (text, rest) = self.pending.split_at(count);
        let decoded = if self.padded { None } else { BASE64.decode(text).ok() };
        self.padded = text.ends_with(b"=");
        self.pending = rest.to_vec();
        match decoded {
            Some(bytes) => self.file.write_all(&bytes).await.map_err(failed),
            None => {
                self.broken = true;
                Ok(())
            }
        }
    }

    pub(super) async fn finish(mut self) -> Result<Long, ApiError> {
        self.decode(self.pending.len()).await?;
        if self.broken {
            return Ok(Long::NotBase64);
        }
        self.file.flush().await.map_err(failed)?;
        Ok(Long::Decoded(self.path))
    }
}

fn failed(error: std::io::Error) -> ApiError {
    ApiError::unavailable(
        "The upload could not be kept on disk; try again, or tell the operator that it is full",
        error,
    )
}
