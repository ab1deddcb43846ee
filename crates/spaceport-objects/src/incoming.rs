//! Receives a stream into a file.
//!
//! Bytes are gathered into pieces of a megabyte; a thread for blocking work hashes and writes one
//! piece while the next arrives. Memory stays flat whatever is sent, and a slow client holds no
//! thread.

use std::fs::File;
use std::io::Write;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::Digest;
use tokio::task::JoinHandle;

use crate::{ObjectError, Sha256};

/// Bytes handed to the writing thread at once.
const PIECE: usize = 1 << 20;

/// What was received.
pub(crate) struct Received {
    /// How many bytes.
    pub bytes: u64,
    /// Their SHA-256, when it was asked for.
    pub sha256: Option<Sha256>,
}

/// Writes the stream to the file, from where the file stands, at most `limit` bytes of it.
pub(crate) async fn receive<S, E>(file: File, body: S, limit: u64, hashed: bool) -> Result<Received, ObjectError>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = std::pin::pin!(body);
    let mut writing = Writing::Idle(Writer { file, sha256: hashed.then(sha2::Sha256::new) });
    let (mut pieces, mut gathered, mut total) = (Vec::new(), 0, 0u64);
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| ObjectError::Body(error.into()))?;
        gathered += piece.len();
        total = total.saturating_add(piece.len() as u64);
        if total > limit {
            return Err(ObjectError::TooLarge { limit });
        }
        pieces.push(piece);
        if gathered >= PIECE {
            writing = writing.write(std::mem::take(&mut pieces)).await?;
            gathered = 0;
        }
    }
    let Writer { file: _, sha256 } = writing.write(pieces).await?.idle().await?;
    let sha256 = sha256.map(|hasher| Sha256::from_bytes(hasher.finalize().into()));
    Ok(Received { bytes: total, sha256 })
}

struct Writer {
    file: File,
    sha256: Option<sha2::Sha256>,
}

enum Writing {
    Idle(Writer),
    Busy(JoinHandle<Result<Writer, ObjectError>>),
}

impl Writing {
    /// Waits for the pieces before, and begins with these.
    async fn write(self, pieces: Vec<Bytes>) -> Result<Self, ObjectError> {
        let mut writer = self.idle().await?;
        Ok(Self::Busy(tokio::task::spawn_blocking(move || {
            for piece in pieces {
                if let Some(hasher) = &mut writer.sha256 {
                    hasher.update(&piece);
                }
                writer.file.write_all(&piece).map_err(ObjectError::io("write an upload"))?;
            }
            Ok(writer)
        })))
    }

    async fn idle(self) -> Result<Writer, ObjectError> {
        match self {
            Self::Idle(writer) => Ok(writer),
            Self::Busy(writing) => writing.await.map_err(panicked)?,
        }
    }
}

/// Runs blocking work to its end.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
) -> Result<T, ObjectError> {
    tokio::task::spawn_blocking(work).await.map_err(panicked)?
}

/// A panic of a thread goes on in the task that waits for it; a runtime that stops ends the call.
fn panicked(error: tokio::task::JoinError) -> ObjectError {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => ObjectError::Body("the server is stopping".into()),
    }
}
