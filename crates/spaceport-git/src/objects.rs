//! Stores new objects so that a crash of the machine cannot lose them: all of them or, as far as anyone can see,
//! none.
//!
//! A few become a file each, as in git. Many become one pack, which costs two flushes of the disk however many
//! they are. Contents are read when they are written, one at a time, so that a large upload takes no memory.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use git2::{Indexer, ObjectType, Oid, Repository};
use sha1::{Digest as _, Sha1};

use crate::GitError;
use crate::opened::failed;

/// Up to so many objects are files of their own.
const MOST_LOOSE: usize = 32;
const OPERATION: &str = "store the commit";

/// The content of a file.
#[derive(Debug, Clone)]
pub enum FileContent {
    /// In memory.
    Bytes(Bytes),
    /// In a file, which stays where it is and must not change until the call returns.
    Spooled(PathBuf),
}

/// An object that is to be stored.
pub(crate) struct NewObject {
    pub oid: Oid,
    kind: ObjectType,
    size: u64,
    content: FileContent,
}

impl NewObject {
    /// From bytes.
    pub(crate) fn of(kind: ObjectType, bytes: Bytes) -> Result<Self, git2::Error> {
        let oid = Oid::hash_object(kind, &bytes)?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Self { oid, kind, size, content: FileContent::Bytes(bytes) })
    }

    /// The content of a file of the commit.
    pub(crate) fn blob(content: FileContent) -> Result<Self, GitError> {
        let path = match content {
            FileContent::Bytes(bytes) => return Self::of(ObjectType::Blob, bytes).map_err(failed(OPERATION)),
            FileContent::Spooled(path) => path,
        };
        let oid = Oid::hash_file(ObjectType::Blob, &path).map_err(failed("read the uploaded file"))?;
        let size = fs::metadata(&path).map_err(GitError::io("read the uploaded file"))?.len();
        Ok(Self { oid, kind: ObjectType::Blob, size, content: FileContent::Spooled(path) })
    }

    /// Bytes of the content.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Copies the content, and makes sure that it is still what it was when its id was computed.
    fn copy(&self, to: &mut dyn Write) -> io::Result<()> {
        let path = match &self.content {
            FileContent::Bytes(bytes) => return to.write_all(bytes),
            FileContent::Spooled(path) => path,
        };
        let mut hash = Sha1::new();
        hash.update(format!("blob {}\0", self.size));
        let mut file = File::open(path)?.take(self.size);
        let mut piece = vec![0; 64 * 1024];
        loop {
            let count = file.read(&mut piece)?;
            if count == 0 {
                break;
            }
            hash.update(&piece[..count]);
            to.write_all(&piece[..count])?;
        }
        if hash.finalize().as_slice() == self.oid.as_bytes() {
            Ok(())
        } else {
            Err(io::Error::other("an uploaded file changed while it was read"))
        }
    }
}

/// Stores objects, each once. `scratch` is a name that is free, on the file system of the repository.
pub(crate) fn store(opened: &Repository, scratch: &Path, mut objects: Vec<NewObject>) -> Result<(), GitError> {
    let mut known = HashSet::new();
    objects.retain(|object| known.insert(object.oid));
    if objects.len() <= MOST_LOOSE {
        return loose(opened, &objects);
    }
    fs::create_dir(scratch).map_err(GitError::io("store the commit"))?;
    let stored = pack(scratch, &objects).and_then(|name| place(scratch, &opened.path().join("objects/pack"), &name));
    if let Err(error) = fs::remove_dir_all(scratch) {
        tracing::warn!(path = %scratch.display(), %error, "a temporary folder could not be removed");
    }
    stored
}

fn loose(opened: &Repository, objects: &[NewObject]) -> Result<(), GitError> {
    let failed = failed(OPERATION);
    let odb = opened.odb().map_err(failed)?;
    for object in objects {
        match &object.content {
            FileContent::Bytes(bytes) => {
                odb.write(object.kind, bytes).map_err(failed)?;
            }
            FileContent::Spooled(_) => {
                let size = usize::try_from(object.size).unwrap_or(usize::MAX);
                let mut writer = odb.writer(size, object.kind).map_err(failed)?;
                object.copy(&mut writer).map_err(GitError::io("store an uploaded file"))?;
                writer.finalize().map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Writes a pack and its index into `folder`; gives their name. Format: git, `Documentation/gitformat-pack`.
/// libgit2 reads the pack as it is written, and would find any mistake in it.
fn pack(folder: &Path, objects: &[NewObject]) -> Result<String, GitError> {
    let io = GitError::io;
    let indexer = Indexer::new(None, folder, 0, false).map_err(failed(OPERATION))?;
    let mut pack = Hashed { to: indexer, hash: Sha1::new() };
    let count = u32::try_from(objects.len())
        .map_err(|_| GitError::Failed { operation: OPERATION, message: "too many objects".to_owned() })?;
    pack.write_all(b"PACK\0\0\0\x02").map_err(io(OPERATION))?;
    pack.write_all(&count.to_be_bytes()).map_err(io(OPERATION))?;
    for object in objects {
        pack.write_all(&entry_head(object.kind, object.size)).map_err(io(OPERATION))?;
        // Fast, as git stores single objects; packing the repository later compresses for good.
        let mut deflate = ZlibEncoder::new(&mut pack, Compression::fast());
        object.copy(&mut deflate).map_err(io(OPERATION))?;
        deflate.finish().map_err(io(OPERATION))?;
    }
    let Hashed { to: mut indexer, hash } = pack;
    indexer.write_all(&hash.finalize()).map_err(io(OPERATION))?;
    indexer.commit().map_err(failed(OPERATION))
}

/// Kind and size in front of an object: four bits of the size, then seven per byte.
fn entry_head(kind: ObjectType, size: u64) -> Vec<u8> {
    let number: u8 = match kind {
        ObjectType::Commit => 1,
        ObjectType::Tree => 2,
        ObjectType::Tag => 4,
        _ => 3,
    };
    let low = |bits: u64, mask: u64| u8::try_from(bits & mask).unwrap_or_default();
    let mut head = vec![number << 4 | low(size, 0x0f)];
    let mut rest = size >> 4;
    while rest > 0 {
        if let Some(last) = head.last_mut() {
            *last |= 0x80;
        }
        head.push(low(rest, 0x7f));
        rest >>= 7;
    }
    head
}

/// Moves a pack to where git finds it: the pack first, since its index is what makes it count.
fn place(from: &Path, to: &Path, name: &str) -> Result<(), GitError> {
    let put = || {
        let names = ["pack", "idx"].map(|kind| format!("pack-{name}.{kind}"));
        for name in &names {
            File::open(from.join(name))?.sync_all()?;
        }
        for name in &names {
            fs::rename(from.join(name), to.join(name))?;
        }
        File::open(to)?.sync_all()
    };
    put().map_err(GitError::io("put the objects in their place"))
}

struct Hashed<W> {
    to: W,
    hash: Sha1,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_entries_are_as_git_writes_them() {
        assert_eq!(entry_head(ObjectType::Blob, 0), [0x30]);
        assert_eq!(entry_head(ObjectType::Commit, 15), [0x1f]);
        assert_eq!(entry_head(ObjectType::Tree, 16), [0xa0, 0x01]);
        assert_eq!(entry_head(ObjectType::Blob, 5000), [0xb8, 0xb8, 0x02]);
    }
}
