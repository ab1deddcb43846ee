//! Reading: a file, or a range of it, as a stream of bytes.
//!
//! A Xet file is unpacked on the way out, about a megabyte at a time and two pieces ahead of the
//! reader. Pieces are made on threads for blocking work, and only when the reader has taken the
//! ones before: a slow reader holds neither a thread nor more than a few megabytes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use crate::folder;
use crate::incoming::blocking;
use crate::store::Inner;
use crate::xet::{FileRecord, OpenXorb, XorbIndex, usable};
use crate::{ObjectError, ObjectStore, Sha256, XetHash};

/// Bytes made at once.
const PIECE: u64 = 1 << 20;
/// Pieces made before the reader asks for them.
const AHEAD: usize = 2;

/// Bytes in order; after an error, nothing.
pub type ByteStream = BoxStream<'static, Result<Bytes, ObjectError>>;

/// A stored file, open for reading.
#[derive(Debug)]
pub struct Object {
    inner: Arc<Inner>,
    size: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Plain(Arc<File>),
    Xet(Arc<FileRecord>),
}

impl ObjectStore {
    /// Opens a file.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn open_object(&self, sha256: Sha256) -> Result<Option<Object>, ObjectError> {
        let store = self.clone();
        blocking(move || store.open_object_blocking(sha256)).await
    }

    /// As [`Self::open_object`], for threads that may wait.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn open_object_blocking(&self, sha256: Sha256) -> Result<Option<Object>, ObjectError> {
        let inner = Arc::clone(&self.inner);
        // Plain bytes are read with less work, if the file is kept both ways.
        if let Some(file) = folder::open(&inner.folder.plain_path(&sha256))? {
            let size = file.metadata().map_err(ObjectError::io("look at a large file"))?.len();
            return Ok(Some(Object { inner, size, content: Content::Plain(Arc::new(file)) }));
        }
        let record = FileRecord::load(&inner.folder, &sha256)?;
        Ok(record.map(|record| Object { inner, size: record.size, content: Content::Xet(Arc::new(record)) }))
    }

    /// A range of a xorb as it is stored; a range that ends behind it ends with it. `None` when
    /// there is no such xorb.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn read_xorb(&self, xorb: XetHash, range: Range<u64>) -> Result<Option<ByteStream>, ObjectError> {
        let inner = Arc::clone(&self.inner);
        let file = blocking(move || folder::open(&inner.folder.xorb_path(&xorb))).await?;
        let Some(file) = file else { return Ok(None) };
        let size = file.metadata().map_err(ObjectError::io("look at a xorb"))?.len();
        Ok(Some(plain(Arc::new(file), range.start..range.end.min(size))))
    }
}

impl Object {
    /// Its length, in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Its Xet hash, when it is read from chunks.
    #[must_use]
    pub fn xet(&self) -> Option<XetHash> {
        match &self.content {
            Content::Plain(_) => None,
            Content::Xet(record) => Some(record.file),
        }
    }

    /// A range of its bytes; a range that ends behind it ends with it.
    #[must_use]
    pub fn stream(&self, range: Range<u64>) -> ByteStream {
        let range = range.start..range.end.min(self.size);
        match &self.content {
            Content::Plain(file) => plain(Arc::clone(file), range),
            Content::Xet(record) => chunked(Arc::clone(&self.inner), Arc::clone(record), range),
        }
    }
}

impl Object {
    /// All of it, for threads that may wait.
    #[must_use]
    pub fn into_reader(self) -> ObjectReader {
        let pieces = match self.content {
            Content::Plain(file) => Pieces::Plain { file, range: 0..self.size },
            Content::Xet(record) => Pieces::Xet(Walk::new(self.inner, record, 0..self.size)),
        };
        ObjectReader { pieces, current: Bytes::new() }
    }
}

/// Reads a file from its beginning to its end.
pub struct ObjectReader {
    pieces: Pieces,
    current: Bytes,
}

enum Pieces {
    Plain { file: Arc<File>, range: Range<u64> },
    Xet(Walk),
}

impl Pieces {
    fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        match self {
            Self::Plain { range, .. } if range.is_empty() => Ok(None),
            Self::Plain { file, range } => {
                let piece = range.start..range.end.min(range.start + PIECE);
                range.start = piece.end;
                read_at(file, &piece).map(Some)
            }
            Self::Xet(walk) => walk.step()?.map(Piece::unpack).transpose(),
        }
    }
}

impl io::Read for ObjectReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            self.current = self.pieces.next().map_err(io::Error::other)?.unwrap_or_default();
        }
        let length = self.current.len().min(to.len());
        to[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

fn read_at(file: &File, range: &Range<u64>) -> Result<Bytes, ObjectError> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
    file.read_exact_at(&mut bytes, range.start).map_err(ObjectError::io("read a large file"))?;
    Ok(Bytes::from(bytes))
}

fn plain(file: Arc<File>, range: Range<u64>) -> ByteStream {
    let starts = range.clone().step_by(usize::try_from(PIECE).unwrap_or(usize::MAX));
    let read = move |start: u64| {
        let (file, end) = (Arc::clone(&file), range.end.min(start.saturating_add(PIECE)));
        blocking(move || read_at(&file, &(start..end)))
    };
    stream::iter(starts).map(read).buffered(AHEAD).boxed()
}

fn chunked(inner: Arc<Inner>, record: Arc<FileRecord>, range: Range<u64>) -> ByteStream {
    stream::try_unfold(Walk::new(inner, record, range), Walk::next)
        .map(|piece| async {
            let piece = piece?;
            blocking(move || piece.unpack()).await
        })
        .buffered(AHEAD)
        .boxed()
}

/// Goes over the terms of a file and finds the pieces of each.
struct Walk {
    inner: Arc<Inner>,
    record: Arc<FileRecord>,
    /// What is still wanted of the file.
    range: Range<u64>,
    /// The next term, and where it begins in the file.
    term: usize,
    term_start: u64,
    /// What is left of the term before.
    pieces: std::vec::IntoIter<Piece>,
}

/// Chunks of a xorb, and the part of their bytes that is wanted.
struct Piece {
    xorb: Arc<OpenXorb>,
    chunks: Range<usize>,
    wanted: Range<usize>,
}

impl Walk {
    fn new(inner: Arc<Inner>, record: Arc<FileRecord>, range: Range<u64>) -> Self {
        Self { inner, record, range, term: 0, term_start: 0, pieces: Vec::new().into_iter() }
    }

    async fn next(mut self) -> Result<Option<(Piece, Self)>, ObjectError> {
        if let Some(piece) = self.pieces.next() {
            return Ok(Some((piece, self)));
        }
        blocking(move || Ok(self.step()?.map(|piece| (piece, self)))).await
    }

    /// The next piece; opens the xorb of the next term when the last one's pieces are through.
    fn step(&mut self) -> Result<Option<Piece>, ObjectError> {
        loop {
            if let Some(piece) = self.pieces.next() {
                return Ok(Some(piece));
            }
            let Some(term) = self.record.terms.get(self.term).copied() else { return Ok(None) };
            let span = self.term_start..self.term_start + u64::from(term.length);
            if span.start >= self.range.end {
                return Ok(None);
            }
            self.term += 1;
            self.term_start = span.end;
            if span.end <= self.range.start {
                continue;
            }
            let wanted = self.range.start.max(span.start) - span.start..self.range.end.min(span.end) - span.start;
            let xorb = Arc::new(self.inner.open_xorb(&term.xorb)?);
            let chunks = usable(&term, xorb.index.chunks.len())?;
            self.pieces = wanted_pieces(&xorb, chunks, &wanted).into_iter();
        }
    }
}

/// The pieces that hold the wanted range of the bytes of these chunks.
fn wanted_pieces(xorb: &Arc<OpenXorb>, chunks: Range<usize>, wanted: &Range<u64>) -> Vec<Piece> {
    let base = u64::from(xorb.index.unpacked_start(chunks.start));
    let place = |piece: Range<usize>| {
        let start = u64::from(xorb.index.unpacked_start(piece.start)) - base;
        let end = start + xorb.index.unpacked_length(&piece);
        let from = wanted.start.max(start);
        let to = wanted.end.min(end);
        let within = |position: u64| usize::try_from(position - start).ok();
        let wanted = if from < to { within(from)?..within(to)? } else { return None };
        Some(Piece { xorb: Arc::clone(xorb), chunks: piece, wanted })
    };
    // Chunks before and behind the range are not read: a small range costs one piece.
    let index = &xorb.index.chunks;
    let first = index.partition_point(|chunk| u64::from(chunk.unpacked_end) <= base + wanted.start);
    let last = index.partition_point(|chunk| u64::from(chunk.unpacked_end) < base + wanted.end);
    pieces(&xorb.index, first.max(chunks.start)..(last + 1).min(chunks.end)).filter_map(place).collect()
}

impl Piece {
    fn unpack(self) -> Result<Bytes, ObjectError> {
        let bytes = Bytes::from(self.xorb.index.unpack(&self.xorb.file, &self.chunks)?);
        Ok(bytes.slice(self.wanted))
    }
}

/// Cuts chunks into runs of about [`PIECE`] unpacked bytes.
pub(crate) fn pieces(index: &XorbIndex, chunks: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut next = chunks.start;
    std::iter::from_fn(move || {
        let start = next;
        if start >= chunks.end {
            return None;
        }
        next += 1;
        while next < chunks.end && index.unpacked_length(&(start..next + 1)) <= PIECE {
            next += 1;
        }
        Some(start..next)
    })
}
