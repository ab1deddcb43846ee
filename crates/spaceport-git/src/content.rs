//! The content of files. Small ones come out of memory, large ones as a stream.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use futures::StreamExt as _;
use git2::{ObjectType, Oid, Repository};
use spaceport_core::{CommitSha, RepoId};

use crate::command::with_args;
use crate::lfs::look;
use crate::listing::LfsPointer;
use crate::opened::{ObjectId, failed, oid, optional};
use crate::revision::tree_of;
use crate::rpc::{Output, stream_of};
use crate::tree::check_path;
use crate::{GitError, Repositories};

const OPERATION: &str = "read a file";
/// Larger contents are not held in memory: git streams them out of its own process.
const MAX_IN_MEMORY: u64 = 8 << 20;

/// The content of a file as it is stored: for an LFS file the pointer.
pub struct Blob {
    /// Its id.
    pub oid: ObjectId,
    /// All of its bytes, whatever part was asked for.
    pub size: u64,
    /// What it points to.
    pub lfs: Option<LfsPointer>,
    /// The part that was asked for.
    pub content: Content,
}

/// Bytes, now or as they come.
pub enum Content {
    /// All of them.
    Whole(Bytes),
    /// As git reads them. Dropping it ends git.
    Stream(Output),
}

impl Repositories {
    /// A content by its id, or the part of it that lies within `range` (in bytes); `None` when there is none.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn blob(&self, repo: RepoId, id: ObjectId, range: Option<Range<u64>>) -> Result<Option<Blob>, GitError> {
        let wanted = range.clone();
        let stored = self.reading(repo, move |opened| stored(opened, id.into(), wanted).map_err(failed(OPERATION)));
        let Some(Stored { size, lfs, content }) = stored.await? else { return Ok(None) };
        let content = match content {
            Some(content) => Content::Whole(content),
            None => Content::Stream(self.stream(repo, id, part(range, size))?),
        };
        Ok(Some(Blob { oid: id, size, lfs, content }))
    }

    /// The content of a file; `None` when the commit has no such file.
    ///
    /// # Errors
    /// [`GitError::FileTooLarge`] when it has more than `max_bytes`.
    pub async fn read_file(
        &self,
        repo: RepoId,
        commit: &CommitSha,
        path: &str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, GitError> {
        if check_path(path).is_err() {
            return Ok(None);
        }
        let (commit, path) = (oid(commit), path.to_owned());
        self.reading(repo, move |opened| {
            let failed = failed(OPERATION);
            let Some(root) = tree_of(opened, commit)? else { return Ok(None) };
            let Some(item) = optional(root.get_path(Path::new(&path))).map_err(failed)? else { return Ok(None) };
            if item.kind() != Some(ObjectType::Blob) {
                return Ok(None);
            }
            let odb = opened.odb().map_err(failed)?;
            let (bytes, _) = odb.read_header(item.id()).map_err(failed)?;
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            if bytes > max_bytes {
                return Err(GitError::FileTooLarge { path, bytes, limit: max_bytes });
            }
            let content = odb.read(item.id()).map_err(failed)?;
            Ok(Some(content.data().to_vec()))
        })
        .await
    }

    /// A part of a large content, piece by piece.
    fn stream(&self, repo: RepoId, id: ObjectId, part: Range<u64>) -> Result<Output, GitError> {
        let command = with_args(self.git(repo)?, ["cat-file", "blob", &id.to_string()]);
        let pieces = stream_of(command, "cat-file")?;
        let (mut skip, mut left) = (part.start, part.end.saturating_sub(part.start));
        let pieces = pieces.map(move |piece| {
            let mut piece = piece?;
            let cut = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            let _ = piece.split_to(cut);
            skip -= u64::try_from(cut).unwrap_or(skip);
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(left));
            Ok((piece, left == 0))
        });
        // Ends with the last wanted byte, and git with it.
        let mut ended = false;
        let pieces = pieces.take_while(move |piece| {
            let go_on = !ended;
            ended = matches!(piece, Ok((_, true)) | Err(_));
            std::future::ready(go_on)
        });
        let pieces = pieces.map(|piece| piece.map(|(piece, _)| piece));
        Ok(Output::new(pieces.filter(|piece| std::future::ready(!matches!(piece, Ok(piece) if piece.is_empty())))))
    }
}

/// A content, or what is known of one that is too large for memory.
struct Stored {
    size: u64,
    lfs: Option<LfsPointer>,
    content: Option<Bytes>,
}

fn stored(opened: &Repository, id: Oid, range: Option<Range<u64>>) -> Result<Option<Stored>, git2::Error> {
    let odb = opened.odb()?;
    if optional(odb.read_header(id))?.is_none_or(|(_, kind)| kind != ObjectType::Blob) {
        return Ok(None);
    }
    let (size, object) = look(&odb, id)?;
    let lfs = object.map(|object| LfsPointer { object, pointer_size: size });
    if size > MAX_IN_MEMORY {
        return Ok(Some(Stored { size, lfs, content: None }));
    }
    let object = odb.read(id)?;
    let part = part(range, size);
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    let content = object.data().get(at(part.start)..at(part.end)).unwrap_or_default();
    Ok(Some(Stored { size, lfs, content: Some(Bytes::copy_from_slice(content)) }))
}

/// A range within a content of some size.
fn part(range: Option<Range<u64>>, size: u64) -> Range<u64> {
    let range = range.unwrap_or(0..size);
    let end = range.end.min(size);
    range.start.min(end)..end
}
