//! Takes the files of a commit out: as a tar archive for builds, or into a folder for static Spaces.
//!
//! Not with `git archive`: that obeys `export-ignore` and `export-subst` in the user's
//! `.gitattributes`, and does not look where links lead.

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use spaceport_core::{CommitSha, RepoId};

use crate::command::{LONG_TIMEOUT, Running, with_args};
use crate::lfs::{MAX_POINTER_BYTES, is_lfs_pointer};
use crate::tree::{check_link, check_path};
use crate::{EntryKind, GitError, MAX_FILES, Repositories, SourceProblem, TreeEntry};

/// How many LFS pointers are named; more are only counted.
const POINTERS_NAMED: usize = 20;
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
    /// Put in front of every path, such as `app/`; may be empty.
    pub prefix: String,
    /// Only what is in this folder of the commit, with paths from there on.
    pub below: Option<String>,
    /// What the commit may hold.
    pub limits: SourceLimits,
}

impl Default for ArchiveOptions {
    /// For the user every Space runs as.
    fn default() -> Self {
        Self { uid: 1000, gid: 1000, prefix: String::new(), below: None, limits: SourceLimits::default() }
    }
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
    ) -> Result<SourceSummary, GitError> {
        let mut entries = self.checked_files(repo, sha, options.limits).await?;
        if let Some(below) = &options.below {
            entries = only_below(entries, below)?;
        }
        let (target, options) = (dest.to_owned(), options.clone());
        let result = self
            .with_blobs(repo, move |blobs| {
                let file = fs::File::create(&target).map_err(GitError::io("create the archive"))?;
                let mut sink = TarSink::new(io::BufWriter::with_capacity(1 << 20, file), options);
                let summary = copy_all(&entries, blobs, &mut sink)?;
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
                copy_all(&entries, blobs, &mut FolderSink { root })
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

    /// Runs blocking work with a reader of contents, under the time limit.
    async fn with_blobs<T: Send + 'static>(
        &self,
        repo: RepoId,
        work: impl FnOnce(&mut Blobs) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let mut command = with_args(self.git(repo)?, ["cat-file", "--batch"]);
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        let mut running = Running::start(command)?;
        let (Some(stdin), Some(stdout)) = (running.child.stdin.take(), running.child.stdout.take()) else {
            return Err(GitError::Failed { operation: "cat-file", message: "no pipes".to_owned() });
        };
        let stdin = stdin.into_owned_fd().map_err(GitError::io("write to git"))?;
        let stdout = stdout.into_owned_fd().map_err(GitError::io("read from git"))?;
        let mut blobs = Blobs { ask: stdin.into(), answers: BufReader::with_capacity(1 << 16, stdout.into()) };
        let work = tokio::task::spawn_blocking(move || work(&mut blobs));
        let Ok(joined) = tokio::time::timeout(LONG_TIMEOUT, work).await else {
            // Ending git ends the blocking work as well: its pipe is closed.
            running.terminate().await;
            return Err(GitError::Timeout("cat-file"));
        };
        running.terminate().await;
        joined.map_err(|error| GitError::Io { operation: "finish the work", source: io::Error::other(error) })?
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

fn temporary_beside(dest: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".new-");
    name.push(dest.file_name().unwrap_or_default());
    dest.with_file_name(name)
}

/// `git cat-file --batch`: one question, one answer.
struct Blobs {
    ask: fs::File,
    answers: BufReader<fs::File>,
}

impl Blobs {
    /// Calls `with` with the content of one object.
    fn read<T>(&mut self, entry: &TreeEntry, with: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> io::Result<T> {
        writeln!(self.ask, "{}", entry.oid)?;
        let mut head = String::new();
        self.answers.read_line(&mut head)?;
        let size = blob_size(&head).filter(|size| *size == entry.bytes);
        let size = size.ok_or_else(|| io::Error::other(format!("the content of `{}` is missing", entry.path)))?;
        let mut content = (&mut self.answers).take(size);
        let value = with(&mut content)?;
        if content.limit() != 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut end = [0];
        self.answers.read_exact(&mut end)?;
        Ok(value)
    }
}

/// The size in the answer `<oid> blob <size>`.
fn blob_size(head: &str) -> Option<u64> {
    let mut words = head.trim_end().rsplit(' ');
    let (size, kind) = (words.next()?, words.next()?);
    if kind == "blob" { size.parse().ok() } else { None }
}

trait Sink {
    fn file(&mut self, entry: &TreeEntry, executable: bool, content: &mut dyn Read) -> io::Result<()>;
    fn link(&mut self, path: &str, target: &str) -> io::Result<()>;
    fn folder(&mut self, path: &str) -> io::Result<()>;
}

fn copy_all(entries: &[TreeEntry], blobs: &mut Blobs, sink: &mut impl Sink) -> Result<SourceSummary, GitError> {
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
                if is_lfs_pointer(&small) {
                    summary.lfs_pointers += 1;
                    if summary.lfs_paths.len() < POINTERS_NAMED {
                        summary.lfs_paths.push(entry.path.clone());
                    }
                }
                sink.file(entry, executable, &mut small.as_slice()).map_err(error("write a file"))?;
            }
            EntryKind::File { executable } => {
                blobs.read(entry, |content| sink.file(entry, executable, content)).map_err(error("copy a file"))?;
            }
        }
    }
    for (path, target) in targets {
        sink.link(path, &target).map_err(error("write a link"))?;
    }
    Ok(summary)
}

struct TarSink<W: Write> {
    tar: tar::Builder<W>,
    options: ArchiveOptions,
    /// Every folder has an entry, before what is in it: an engine that unpacks the archive would
    /// make missing ones for root, and the app could not write there.
    folders: HashSet<String>,
}

impl<W: Write> TarSink<W> {
    fn new(to: W, options: ArchiveOptions) -> Self {
        Self { tar: tar::Builder::new(to), options, folders: HashSet::new() }
    }

    fn header(&self, kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(self.options.uid);
        header.set_gid(self.options.gid);
        header.set_mtime(0);
        header
    }

    fn finish(self) -> io::Result<()> {
        self.tar.into_inner()?.flush()
    }

    fn name(&self, path: &str) -> String {
        format!("{}{path}", self.options.prefix)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        // The prefix's own parents belong to whoever unpacks.
        let root = if self.options.prefix.ends_with('/') { Some("") } else { None };
        let below = path.match_indices('/').map(|(at, _)| &path[..=at]);
        for folder in root.into_iter().chain(below) {
            if self.folders.insert(folder.to_owned()) {
                let mut header = self.header(tar::EntryType::Directory, 0o755, 0);
                self.tar.append_data(&mut header, self.name(folder), io::empty())?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Sink for TarSink<W> {
    fn file(&mut self, entry: &TreeEntry, executable: bool, content: &mut dyn Read) -> io::Result<()> {
        let mode = if executable { 0o755 } else { 0o644 };
        self.parents(&entry.path)?;
        let mut header = self.header(tar::EntryType::Regular, mode, entry.bytes);
        self.tar.append_data(&mut header, self.name(&entry.path), content)
    }

    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.parents(path)?;
        let mut header = self.header(tar::EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, self.name(path), target)
    }

    fn folder(&mut self, path: &str) -> io::Result<()> {
        self.parents(&format!("{path}/"))
    }
}

struct FolderSink {
    root: PathBuf,
}

impl FolderSink {
    fn place(&self, path: &str) -> io::Result<PathBuf> {
        let place = self.root.join(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(place)
    }
}

impl Sink for FolderSink {
    fn file(&mut self, entry: &TreeEntry, executable: bool, content: &mut dyn Read) -> io::Result<()> {
        let mode = if executable { 0o755 } else { 0o644 };
        let place = self.place(&entry.path)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(place)?;
        io::copy(content, &mut file).map(|_| ())
    }

    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        symlink(target, self.place(path)?)
    }

    fn folder(&mut self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.place(path)?)
    }
}
