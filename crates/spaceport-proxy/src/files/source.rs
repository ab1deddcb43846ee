//! The bytes of a file, in pieces and off the thread that serves connections.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::Stream;
use futures::stream;
use http::{HeaderMap, HeaderValue};

use super::open::Opened;
use crate::body::BoxError;

/// Bytes read at once.
const PIECE: u64 = 128 * 1024;

/// One representation of a file: as it lies on disk, or prepared in memory.
pub(super) struct Representation {
    file: Arc<File>,
    content: Option<Bytes>,
    len: u64,
    tag: HeaderValue,
    headers: HeaderMap,
    modified: Option<SystemTime>,
}

impl Representation {
    pub(super) fn new(opened: Opened, content: Option<Bytes>, tag: HeaderValue, headers: HeaderMap) -> Self {
        let seconds = u64::try_from(opened.modified_ns / 1_000_000_000).unwrap_or(0);
        Self {
            file: opened.file,
            len: content.as_ref().map_or(opened.len, |content| content.len() as u64),
            content,
            tag,
            headers,
            modified: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
        }
    }
}

impl http_serve::Entity for Representation {
    type Error = BoxError;
    type Data = Bytes;

    fn len(&self) -> u64 {
        self.len
    }

    fn get_range(&self, range: Range<u64>) -> Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + Sync>> {
        if let Some(content) = &self.content {
            let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(content.len());
            let piece = content.slice(index(range.start)..index(range.end));
            return Box::pin(stream::iter([Ok(piece)]));
        }
        let file = self.file.clone();
        Box::pin(stream::try_unfold(range, move |range| {
            let file = file.clone();
            async move {
                if range.is_empty() {
                    return Ok(None);
                }
                let end = range.end.min(range.start + PIECE);
                let piece = tokio::task::spawn_blocking(move || read(&file, range.start..end)).await??;
                Ok(Some((piece, end..range.end)))
            }
        }))
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.extend(self.headers.clone());
    }

    fn etag(&self) -> Option<HeaderValue> {
        Some(self.tag.clone())
    }

    fn last_modified(&self) -> Option<SystemTime> {
        self.modified
    }
}

/// The whole file.
pub(super) fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut content = vec![0; len];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

fn read(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let mut piece = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
    file.read_exact_at(&mut piece, range.start)?;
    Ok(piece.into())
}
