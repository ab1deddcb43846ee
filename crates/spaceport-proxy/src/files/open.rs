//! Which file a path names. The kernel keeps the look-up below the folder (`openat2` with
//! `RESOLVE_BENEATH`, Linux 5.6), so neither `..` nor a link leads out, also while files change.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

/// What a path names.
pub(super) enum Found {
    File(Opened),
    /// A folder without a slash at the end of the path.
    Folder,
    Nothing,
}

/// An open file.
pub(super) struct Opened {
    pub(super) file: Arc<File>,
    /// Its path below the folder.
    pub(super) name: String,
    pub(super) len: u64,
    pub(super) modified_ns: i128,
}

/// Finds the file of a request's path.
pub(super) async fn find(root: &Path, path: &str, index: &str) -> io::Result<Found> {
    let Some(name) = file_name(path) else { return Ok(Found::Nothing) };
    let (root, index) = (root.to_owned(), index.to_owned());
    tokio::task::spawn_blocking(move || look_up(&root, name, &index)).await.map_err(io::Error::other)?
}

/// The path below the folder, with a slash at the end if it names a folder. `None` for what is
/// never served: hidden files, `..`, and what is no name on any system.
fn file_name(path: &str) -> Option<String> {
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    if decoded.bytes().any(|b| b < 0x20 || b == 0x7f || b == b'\\') {
        return None;
    }
    let is_folder = decoded.ends_with('/');
    let mut name = String::with_capacity(decoded.len());
    for (at, part) in decoded.split('/').filter(|part| !part.is_empty()).enumerate() {
        if part.starts_with('.') && !(at == 0 && part == ".well-known") {
            return None;
        }
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str(part);
    }
    if is_folder && !name.is_empty() {
        name.push('/');
    }
    Some(name)
}

fn look_up(root: &Path, name: String, index: &str) -> io::Result<Found> {
    let folder = open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let names_folder = name.is_empty() || name.ends_with('/');
    let name = if names_folder { name + index } else { name };
    // NONBLOCK: opening a pipe must not wait for its other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let limits = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(&folder, name.as_str(), flags, Mode::empty(), limits) {
        Ok(file) => File::from(file),
        Err(Errno::NOSYS) => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "static Spaces need openat2, Linux 5.6 or newer"));
        }
        // EXDEV is a link that leads out; ELOOP a link to itself.
        Err(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::ACCESS
            | Errno::NXIO
            | Errno::INVAL,
        ) => return Ok(Found::Nothing),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Ok(if names_folder { Found::Nothing } else { Found::Folder });
    }
    if !metadata.is_file() {
        return Ok(Found::Nothing);
    }
    use std::os::unix::fs::MetadataExt;
    let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    Ok(Found::File(Opened { file: Arc::new(file), name, len: metadata.len(), modified_ns }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_or_leads_out_has_no_name() {
        for (path, name) in [
            ("/", Some("")),
            ("/a/b.html", Some("a/b.html")),
            ("//a///b", Some("a/b")),
            ("/a/", Some("a/")),
            ("/a%20b", Some("a b")),
            ("/.well-known/x", Some(".well-known/x")),
            ("/.git/config", None),
            ("/a/.env", None),
            ("/../etc/passwd", None),
            ("/a/%2e%2e/%2e%2e/etc/passwd", None),
            ("/a%2f..%2f..%2fetc/passwd", None),
            ("/a%00", None),
            ("/a%5c..%5cb", None),
            ("/%ff", None),
        ] {
            assert_eq!(file_name(path).as_deref(), name, "{path}");
        }
    }
}
