//! What a client must fetch, and how it puts a file together from it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::files::FileRecord;
use super::shard::Term;
use crate::incoming::blocking;
use crate::store::Inner;
use crate::{ObjectError, ObjectStore, Sha256, XetHash};

/// The pieces of a file, or of a range of it.
/// Specification: <https://huggingface.co/docs/xet/api>, "Get File Reconstruction".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconstruction {
    /// Bytes of the first piece that lie before the range.
    pub offset_into_first_range: u64,
    /// The pieces, in order, cut to the chunks that are needed.
    pub terms: Vec<Term>,
    /// What to fetch of each xorb.
    pub xorbs: Vec<XorbSpans>,
}

/// Parts of one xorb, in order and apart from each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XorbSpans {
    /// The xorb.
    pub xorb: XetHash,
    /// The parts.
    pub spans: Vec<XorbSpan>,
}

/// Consecutive chunks of a xorb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XorbSpan {
    /// Their numbers.
    pub chunks: Range<u32>,
    /// Where they lie in the xorb.
    pub bytes: Range<u64>,
}

impl ObjectStore {
    /// How a Xet file, or a range of it, is put together. A range that ends behind the file ends
    /// with it. `None` when there is no such file, or the range begins behind it.
    ///
    /// # Errors
    /// When the disk cannot be read, or has lost a xorb.
    pub async fn reconstruction(
        &self,
        sha256: Sha256,
        range: Option<Range<u64>>,
    ) -> Result<Option<Reconstruction>, ObjectError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.reconstruction(&sha256, range)).await
    }
}

impl Inner {
    fn reconstruction(
        &self,
        sha256: &Sha256,
        range: Option<Range<u64>>,
    ) -> Result<Option<Reconstruction>, ObjectError> {
        let Some(record) = FileRecord::load(&self.folder, sha256)? else { return Ok(None) };
        let range = range.unwrap_or(0..record.size);
        let range = range.start..range.end.min(record.size);
        if range.start > range.end || (range.start == record.size && record.size > 0) {
            return Ok(None);
        }
        let (mut offset, mut terms, mut position) = (0, Vec::new(), 0u64);
        let mut wanted: HashMap<XetHash, Vec<XorbSpan>> = HashMap::new();
        for term in &record.terms {
            let (start, end) = (position, position + u64::from(term.length));
            position = end;
            if end <= range.start || start >= range.end {
                continue;
            }
            let xorb = self.open_xorb(&term.xorb)?;
            let index = &xorb.index;
            let all = usable(term, index.chunks.len())?;
            // Positions among the unpacked bytes of the xorb.
            let base = u64::from(index.unpacked_start(all.start));
            let from = base + range.start.saturating_sub(start);
            let to = base + (range.end.min(end) - start);
            let first = index.chunks.partition_point(|chunk| u64::from(chunk.unpacked_end) <= from);
            let last = index.chunks.partition_point(|chunk| u64::from(chunk.unpacked_end) < to);
            let chunks = first.max(all.start)..(last + 1).min(all.end);
            if terms.is_empty() {
                offset = from - u64::from(index.unpacked_start(chunks.start));
            }
            let length = index.unpacked_length(&chunks);
            let bytes = index.packed_range(&chunks);
            let chunks = number(chunks.start)?..number(chunks.end)?;
            let length = u32::try_from(length).map_err(|_| out_of_range())?;
            terms.push(Term { xorb: term.xorb, length, start: chunks.start, end: chunks.end });
            wanted.entry(term.xorb).or_default().push(XorbSpan { chunks, bytes });
        }
        let mut xorbs: Vec<_> =
            wanted.into_iter().map(|(xorb, spans)| XorbSpans { xorb, spans: joined(spans) }).collect();
        xorbs.sort_by_key(|spans| spans.xorb);
        Ok(Some(Reconstruction { offset_into_first_range: offset, terms, xorbs }))
    }
}

/// The chunks of a term that its xorb has; all of them, unless the record is damaged.
pub(crate) fn usable(term: &Term, chunks: usize) -> Result<Range<usize>, ObjectError> {
    let range = usize::try_from(term.start).ok().zip(usize::try_from(term.end).ok());
    match range {
        Some((start, end)) if start < end && end <= chunks => Ok(start..end),
        _ => Err(out_of_range()),
    }
}

/// Spans that touch become one.
fn joined(mut spans: Vec<XorbSpan>) -> Vec<XorbSpan> {
    spans.sort_by_key(|span| (span.chunks.start, span.chunks.end));
    let mut joined: Vec<XorbSpan> = Vec::with_capacity(spans.len());
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.chunks.start <= last.chunks.end => {
                last.chunks.end = last.chunks.end.max(span.chunks.end);
                last.bytes.end = last.bytes.end.max(span.bytes.end);
            }
            _ => joined.push(span),
        }
    }
    joined
}

fn number(chunk: usize) -> Result<u32, ObjectError> {
    u32::try_from(chunk).map_err(|_| out_of_range())
}

fn out_of_range() -> ObjectError {
    ObjectError::Damaged("the record of a file names chunks that its xorb does not have".to_owned())
}
