//! A new repository with the branches, the tags and the whole history of another.
//!
//! Git never changes a file of objects once it is written, so the copy gets hard links to them: no byte is copied,
//! whatever the size, and neither repository needs the other. Packing and deleting replace files and leave the
//! other's alone. What `git clone --local` does as well; here nothing of the source but its objects comes along: no
//! pull requests, no refs of the platform, no settings.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use git2::Oid;
use spaceport_core::{CommitSha, RepoId};

use crate::opened::{blocking, failed, open_for_writing, sha};
use crate::references::MAIN;
use crate::{GitError, Repositories};

const OPERATION: &str = "duplicate";
/// The folder of packs changes only while git packs; whoever packs so often is not waited for.
const MAX_ROUNDS: usize = 8;

impl Repositories {
    /// Makes the repository `to` with every branch and tag of `from`. It is there completely or not at all. Says
    /// where its `main` is.
    ///
    /// # Errors
    /// [`GitError::AlreadyExists`] when there is a repository `to`.
    pub async fn duplicate(&self, from: RepoId, to: RepoId) -> Result<Option<CommitSha>, GitError> {
        if self.exists(to) {
            return Err(GitError::AlreadyExists(to));
        }
        // Refs before objects: what they name is there, and stays while it is linked.
        let refs = self.reading(from, |opened| branches_and_tags(opened).map_err(failed(OPERATION))).await?;
        let temporary = self.temporary(to);
        let made = async {
            self.init(&temporary).await?;
            let (source, folder, settings) = (self.path(from), temporary.clone(), self.settings());
            blocking(move || {
                link_objects(&source.join("objects"), &folder.join("objects"))
                    .and_then(|()| write_refs(&folder, &refs))
                    .map_err(GitError::io("copy the repository"))?;
                let opened = open_for_writing(&folder, &settings, to)?;
                let odb = opened.odb().map_err(failed(OPERATION))?;
                if let Some((name, _)) = refs.iter().find(|(_, oid)| !odb.exists(**oid)) {
                    let message = format!("the object of {name} did not come along");
                    return Err(GitError::Failed { operation: OPERATION, message });
                }
                Ok(refs.get(MAIN).copied().map(sha))
            })
            .await
        };
        let made = made.await;
        self.place(to, &temporary, made).await
    }
}

fn branches_and_tags(opened: &git2::Repository) -> Result<BTreeMap<String, Oid>, git2::Error> {
    let mut refs = BTreeMap::new();
    for pattern in ["refs/heads/*", "refs/tags/*"] {
        for reference in opened.references_glob(pattern)? {
            let reference = reference?;
            if let (Ok(name), Some(oid)) = (reference.name(), reference.target()) {
                refs.insert(name.to_owned(), oid);
            }
        }
    }
    Ok(refs)
}

/// Links loose objects first and packs after them: git puts a pack in its place before it removes what is in it.
fn link_objects(from: &Path, to: &Path) -> std::io::Result<()> {
    for found in std::fs::read_dir(from)? {
        let found = found?;
        let name = found.file_name();
        let is_fan = name.len() == 2 && name.to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_hexdigit()));
        if is_fan && found.file_type()?.is_dir() {
            let below = to.join(&name);
            link_folder(&found.path(), &below, |name| name.len() == 38)?;
        }
    }
    let packs = to.join("pack");
    for _ in 0..MAX_ROUNDS {
        let is_pack = |name: &str| {
            let end = name.rsplit_once('.').map(|(_, end)| end);
            name.starts_with("pack-") && matches!(end, Some("pack" | "idx" | "rev" | "bitmap" | "mtimes"))
        };
        if link_folder(&from.join("pack"), &packs, is_pack)? == 0 {
            return sync(to);
        }
    }
    Err(std::io::Error::other("the repository is being packed all the time"))
}

/// Links the files of a folder that are not there yet; says how many were gone before they could be linked.
fn link_folder(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> std::io::Result<usize> {
    std::fs::create_dir_all(to)?;
    let entries = match std::fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut gone = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(&wanted) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        match std::fs::hard_link(&source, &target) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == ErrorKind::NotFound => gone += 1,
            // A file system without links, or too many of them to one file.
            Err(_) => match std::fs::copy(&source, &target) {
                Ok(_) => File::open(&target)?.sync_all()?,
                Err(error) if error.kind() == ErrorKind::NotFound => gone += 1,
                Err(error) => return Err(error),
            },
        }
    }
    sync(to)?;
    Ok(gone)
}

/// All refs in one file, in the order git wants.
fn write_refs(folder: &Path, refs: &BTreeMap<String, Oid>) -> std::io::Result<()> {
    let mut file = File::create(folder.join("packed-refs"))?;
    let text: String = refs.iter().map(|(name, oid)| format!("{oid} {name}\n")).collect();
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    sync(folder)
}

fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
