//! Where the files of a commit go: into a tar archive, or into a folder.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::PathBuf;

use super::ArchiveOptions;

/// As many bytes as were promised: a tar entry of another length would shift all that follow.
struct Exact<'a> {
    content: &'a mut dyn Read,
    left: u64,
}

impl Read for Exact<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(to.len());
        let read = self.content.read(&mut to[..most])?;
        self.left -= u64::try_from(read).unwrap_or(0);
        Ok(read)
    }
}

impl Exact<'_> {
    fn finish(self) -> io::Result<()> {
        if self.left == 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Where files go.
pub(super) trait Sink {
    fn file(&mut self, path: &str, executable: bool, bytes: u64, content: &mut dyn Read) -> io::Result<()>;
    fn link(&mut self, path: &str, target: &str) -> io::Result<()>;
    fn folder(&mut self, path: &str) -> io::Result<()>;
}

/// Into an archive.
pub(super) struct TarSink<W: Write> {
    tar: tar::Builder<W>,
    options: ArchiveOptions,
    /// Every folder has an entry, before what is in it: an engine that unpacks the archive would
    /// make missing ones for root, and the app could not write there.
    folders: HashSet<String>,
}

impl<W: Write> TarSink<W> {
    pub(super) fn new(to: W, options: ArchiveOptions) -> Self {
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

    pub(super) fn finish(self) -> io::Result<()> {
        self.tar.into_inner()?.flush()
    }

    fn name(&self, path: &str) -> String {
        format!("{}{path}", self.options.prefix)
    }

    /// What is not of the commit.
    pub(super) fn extra(&mut self) -> io::Result<()> {
        for (name, content) in std::mem::take(&mut self.options.extra) {
            self.parents(&name)?;
            let mut header = self.header(tar::EntryType::Regular, 0o644, content.len() as u64);
            self.tar.append_data(&mut header, &name, content.as_slice())?;
        }
        Ok(())
    }

    /// The folders above a name of the archive.
    fn parents(&mut self, name: &str) -> io::Result<()> {
        for folder in name.match_indices('/').map(|(at, _)| &name[..=at]) {
            if self.folders.insert(folder.to_owned()) {
                let mut header = self.header(tar::EntryType::Directory, 0o755, 0);
                self.tar.append_data(&mut header, folder, io::empty())?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Sink for TarSink<W> {
    fn file(&mut self, path: &str, executable: bool, bytes: u64, content: &mut dyn Read) -> io::Result<()> {
        let mode = if executable { 0o755 } else { 0o644 };
        self.parents(&self.name(path))?;
        let mut header = self.header(tar::EntryType::Regular, mode, bytes);
        let mut content = Exact { content, left: bytes };
        self.tar.append_data(&mut header, self.name(path), &mut content)?;
        content.finish()
    }

    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.parents(&self.name(path))?;
        let mut header = self.header(tar::EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, self.name(path), target)
    }

    fn folder(&mut self, path: &str) -> io::Result<()> {
        self.parents(&self.name(&format!("{path}/")))
    }
}

/// Into a folder.
pub(super) struct FolderSink {
    pub root: PathBuf,
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
    fn file(&mut self, path: &str, executable: bool, bytes: u64, content: &mut dyn Read) -> io::Result<()> {
        let mode = if executable { 0o755 } else { 0o644 };
        let place = self.place(path)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(place)?;
        let mut content = Exact { content, left: bytes };
        io::copy(&mut content, &mut file)?;
        content.finish()
    }

    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        symlink(target, self.place(path)?)
    }

    fn folder(&mut self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.place(path)?)
    }
}
