//! Takes the files of a commit out: as a tar archive for builds, or into a folder for static Spaces.
//!
//! Not with `git archive`: that obeys `export-ignore` and `export-subst` in the user's
//! `.gitattributes`, and does not look where links lead.

mod blobs;
mod sinks;

use std::fs;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spaceport_core::{CommitSha, RepoId};

use crate::lfs::{LfsObject, MAX_POINTER_BYTES, is_lfs_pointer};
use crate::tree::{check_link, check_path};
use crate::{EntryKind, GitError, MAX_FILES, Repositories, SourceProblem, TreeEntry};
use blobs::Blobs;
use sinks::{FolderSink, Sink, TarSink};

/// How many LFS pointers are named; more are only counted.
const POINTERS_NAMED: usize = 20;
/// Two blocks of zeros end an archive.
const TAR_END_BYTES: i64 = 1024;
/// A link's target is a path.
const MAX_LINK_BYTES: u64 = 4096;

/// What a commit may hold to be used as a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLimits {
    /// Files and links together, at most [`MAX_FILES`].
    pub max_files: usize,
    /// One file, in bytes.
    pub max_file_bytes: u64,
    /// All files, in bytes.
    pub max_total_bytes: u64,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self { max_files: MAX_FILES, max_file_bytes: 1 << 30, max_total_bytes: 4 << 30 }
    }
}

impl SourceLimits {
    pub(crate) fn check_file(&self, path: &str, bytes: u64) -> Result<(), SourceProblem> {
        let limit = self.max_file_bytes;
        if bytes > limit { Err(SourceProblem::FileTooLarge { path: path.to_owned(), bytes, limit }) } else { Ok(()) }
    }

    pub(crate) fn check_total(&self, files: usize, bytes: u64) -> Result<(), SourceProblem> {
        if files > self.max_files {
            return Err(SourceProblem::TooManyFiles { limit: self.max_files });
        }
        let limit = self.max_total_bytes;
        if bytes > limit { Err(SourceProblem::TooLarge { bytes, limit }) } else { Ok(()) }
    }
}

/// How an archive is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Owner of every entry.
    pub uid: u64,
    /// Group of every entry.
    pub gid: u64,
    /// Put in front of every path of the commit, such as `app/`; may be empty.
    pub prefix: String,
    /// Only what is in this folder of the commit, with paths from there on.
    pub below: Option<String>,
    /// Only the files that one of these patterns names, as in a shell but with `*` for `/`, too; all
    /// when empty. Each has to name one.
    pub only: Vec<String>,
    /// Added to an archive that [`Repositories::archive`] wrote, instead of replacing it.
    pub append: bool,
    /// Small files besides those of the commit, by their paths in the archive.
    pub extra: Vec<(String, Vec<u8>)>,
    /// What the commit may hold.
    pub limits: SourceLimits,
}

impl Default for ArchiveOptions {
    /// For the user every Space runs as.
    fn default() -> Self {
        Self {
            uid: 1000,
            gid: 1000,
            prefix: String::new(),
            below: None,
            only: Vec::new(),
            append: false,
            extra: Vec::new(),
            limits: SourceLimits::default(),
        }
    }
}

/// Where the content of LFS pointers is.
pub trait LargeFiles: Send + Sync {
    /// The content of an object; `None` when it is not here, and the pointer stays.
    ///
    /// # Errors
    /// When it is here and cannot be read.
    fn open(&self, object: &LfsObject) -> io::Result<Option<Box<dyn Read + '_>>>;
}

/// What was taken out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSummary {
    /// Files and links.
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// How many files are LFS pointers, whose content is not here.
    pub lfs_pointers: usize,
    /// The first of their paths.
    pub lfs_paths: Vec<String>,
    /// Folders of submodules, which stay empty.
    pub submodules: Vec<String>,
}

impl Repositories {
    /// Writes the files of a commit as a tar archive. The same commit and options give the same
    /// bytes: entries are sorted and carry the time of the epoch.
    ///
    /// # Errors
    /// [`GitError::Source`] when the commit breaks a limit or a link leaves it; `dest` does not exist
    /// then.
    pub async fn archive(
        &self,
        repo: RepoId,
        sha: &CommitSha,
        dest: &Path,
        options: &ArchiveOptions,
        large: Option<Arc<dyn LargeFiles>>,
    ) -> Result<SourceSummary, GitError> {
        let mut entries = self.checked_files(repo, sha, options.limits).await?;
        if let Some(below) = &options.below {
            entries = only_below(entries, below)?;
        }
        if !options.only.is_empty() {
            entries = only_named(entries, &options.only)?;
        }
        let (target, options) = (dest.to_owned(), options.clone());
        let result = self
            .with_blobs(repo, move |blobs| {
                let file = open_archive(&target, options.append).map_err(GitError::io("create the archive"))?;
                let limits = options.limits;
                let mut sink = TarSink::new(io::BufWriter::with_capacity(1 << 20, file), options);
                sink.extra().map_err(GitError::io("write the archive"))?;
                let summary = copy_all(&entries, blobs, &mut sink, large.as_deref(), limits)?;
                sink.finish().map_err(GitError::io("write the archive"))?;
                Ok(summary)
            })
            .await;
        if result.is_err() {
            // Half an archive helps nobody; that it cannot be removed is the smaller problem.
            let _ = tokio::fs::remove_file(dest).await;
        }
        result
    }

    /// Puts the files of a commit into the new folder `dest`, which appears complete or not at all.
    ///
    /// # Errors
    /// [`GitError::Source`] as for [`Repositories::archive`]; also when `dest` exists.
    pub async fn extract(
        &self,
        repo: RepoId,
        sha: &CommitSha,
        dest: &Path,
        limits: SourceLimits,
        large: Option<Arc<dyn LargeFiles>>,
    ) -> Result<SourceSummary, GitError> {
        if tokio::fs::try_exists(dest).await.map_err(GitError::io("look at the folder"))? {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(GitError::Io { operation: "extract into a folder that exists", source });
        }
        let entries = self.checked_files(repo, sha, limits).await?;
        let temporary = temporary_beside(dest);
        let root = temporary.clone();
        let result = self
            .with_blobs(repo, move |blobs| {
                fs::create_dir_all(&root).map_err(GitError::io("create the folder"))?;
                copy_all(&entries, blobs, &mut FolderSink { root }, large.as_deref(), limits)
            })
            .await;
        let result = match result {
            Ok(summary) => {
                let renamed = tokio::fs::rename(&temporary, dest).await;
                renamed.map(|()| summary).map_err(GitError::io("put the folder in its place"))
            }
            Err(error) => Err(error),
        };
        if result.is_err() {
            let _ = tokio::fs::remove_dir_all(&temporary).await;
        }
        result
    }

    /// Lists a commit and checks paths, sizes and numbers. Links are checked when they are read.
    async fn checked_files(
        &self,
        repo: RepoId,
        sha: &CommitSha,
        limits: SourceLimits,
    ) -> Result<Vec<TreeEntry>, GitError> {
        let mut entries = self.files(repo, sha, limits.max_files).await?;
        let mut total: u64 = 0;
        for entry in &entries {
            check_path(&entry.path)?;
            // The name was not UTF-8: as text it would be another file.
            if entry.path.contains('\u{fffd}') {
                return Err(SourceProblem::UnsafePath(entry.path.clone()).into());
            }
            limits.check_file(&entry.path, entry.bytes)?;
            total = total.saturating_add(entry.bytes);
        }
        limits.check_total(entries.len(), total)?;
        // Links come last: nothing is ever written through one. They are also read before anything
        // else is, see `copy_all`.
        entries.sort_by(|a, b| {
            (a.kind == EntryKind::Link).cmp(&(b.kind == EntryKind::Link)).then_with(|| a.path.cmp(&b.path))
        });
        Ok(entries)
    }
}

/// The entries of one folder, with paths from there on.
fn only_below(entries: Vec<TreeEntry>, below: &str) -> Result<Vec<TreeEntry>, SourceProblem> {
    let folder = format!("{}/", below.trim_matches('/'));
    let mut inside = Vec::new();
    for mut entry in entries {
        if let Some(rest) = entry.path.strip_prefix(&folder) {
            entry.path = rest.to_owned();
            inside.push(entry);
        }
    }
    if inside.is_empty() { Err(SourceProblem::NoFolder(below.chars().take(200).collect())) } else { Ok(inside) }
}

/// The entries that patterns name.
fn only_named(mut entries: Vec<TreeEntry>, patterns: &[String]) -> Result<Vec<TreeEntry>, SourceProblem> {
    if let Some(nothing) = patterns.iter().find(|pattern| !entries.iter().any(|entry| names(pattern, &entry.path))) {
        return Err(SourceProblem::NoFile(nothing.chars().take(200).collect()));
    }
    entries.retain(|entry| patterns.iter().any(|pattern| names(pattern, &entry.path)));
    Ok(entries)
}

/// Whether a pattern with `*` and `?` is a path.
fn names(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<char>, Vec<char>) = (pattern.chars().collect(), path.chars().collect());
    let (mut at, mut of) = (0, 0);
    // Where the last star is, and what it stands for the end of; it takes one more when the rest does not fit.
    let mut star = None;
    while of < path.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == path[of] => {
                at += 1;
                of += 1;
            }
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, of) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

fn temporary_beside(dest: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".new-");
    name.push(dest.file_name().unwrap_or_default());
    dest.with_file_name(name)
}

/// The file to write an archive to: a new one, or what is there, from its end mark on.
fn open_archive(path: &Path, append: bool) -> io::Result<fs::File> {
    if !append {
        return fs::File::create(path);
    }
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.seek(io::SeekFrom::End(-TAR_END_BYTES))?;
    Ok(file)
}

fn copy_all(
    entries: &[TreeEntry],
    blobs: &mut Blobs,
    sink: &mut impl Sink,
    large: Option<&dyn LargeFiles>,
    limits: SourceLimits,
) -> Result<SourceSummary, GitError> {
    let error = GitError::io;
    let mut targets = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Link) {
        if entry.bytes > MAX_LINK_BYTES {
            let limit = MAX_LINK_BYTES;
            return Err(SourceProblem::FileTooLarge { path: entry.path.clone(), bytes: entry.bytes, limit }.into());
        }
        let mut target = Vec::new();
        blobs.read(entry, |content| content.read_to_end(&mut target)).map_err(error("read a link"))?;
        let target = String::from_utf8(target).map_err(|_| SourceProblem::UnsafePath(entry.path.clone()))?;
        check_link(&entry.path, &target)?;
        targets.push((entry.path.as_str(), target));
    }
    let mut summary = SourceSummary { files: entries.len(), ..SourceSummary::default() };
    for entry in entries {
        summary.bytes += entry.bytes;
        match entry.kind {
            EntryKind::Link => {}
            EntryKind::Submodule => {
                sink.folder(&entry.path).map_err(error("write a folder"))?;
                summary.submodules.push(entry.path.clone());
            }
            EntryKind::File { executable } if entry.bytes < MAX_POINTER_BYTES => {
                let mut small = Vec::new();
                blobs.read(entry, |content| content.read_to_end(&mut small)).map_err(error("read a file"))?;
                let path = &entry.path;
                if let (Some(object), Some(large)) = (LfsObject::from_pointer(&small), large)
                    && let Some(content) = large.open(&object).map_err(error("open a large file"))?
                {
                    let mut content = blobs.watched(content);
                    limits.check_file(path, object.size)?;
                    summary.bytes = summary.bytes.saturating_add(object.size);
                    limits.check_total(entries.len(), summary.bytes)?;
                    sink.file(path, executable, object.size, &mut content).map_err(error("copy a large file"))?;
                    continue;
                }
                if is_lfs_pointer(&small) {
                    summary.lfs_pointers += 1;
                    if summary.lfs_paths.len() < POINTERS_NAMED {
                        summary.lfs_paths.push(path.clone());
                    }
                }
                sink.file(path, executable, entry.bytes, &mut small.as_slice()).map_err(error("write a file"))?;
            }
            EntryKind::File { executable } => {
                let copy = |content: &mut dyn Read| sink.file(&entry.path, executable, entry.bytes, content);
                blobs.read(entry, copy).map_err(error("copy a file"))?;
            }
        }
    }
    for (path, target) in targets {
        sink.link(path, &target).map_err(error("write a link"))?;
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_paths() {
        for (pattern, path, is) in [
            ("config.json", "config.json", true),
            ("config.json", "a/config.json", false),
            ("*.json", "a/config.json", true),
            ("onnx/*", "onnx/a/b", true),
            ("m?del-*.bin", "model-00001-of-2.bin", true),
            ("*a*b", "xaab", true),
            ("*a*b", "xaba", false),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(names(pattern, path), is, "{pattern} {path}");
        }
    }
}
