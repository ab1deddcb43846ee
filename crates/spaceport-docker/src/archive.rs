//! Tar archives to and from the engine, streamed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bollard::Docker;
use bollard::query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions};
use bytes::Bytes;
use futures::StreamExt;
use spaceport_runtime::RuntimeError;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use crate::client::{START_TIMEOUT, classify, engine_error, while_it_moves, within};

/// Size of the pieces a file is read in.
const CHUNK_BYTES: usize = 256 << 10;

/// One entry of a small archive made here.
pub(crate) enum Entry<'a> {
    File { path: &'a str, content: &'a [u8], mode: u32 },
    Directory { path: &'a str, owner: u64 },
}

/// An archive of a few entries, in memory.
pub(crate) fn small(entries: &[Entry<'_>]) -> Result<Bytes, RuntimeError> {
    let broken = |error| engine_error("make an archive", error);
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        let (path, content) = match entry {
            Entry::File { path, content, mode } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                (path, *content)
            }
            Entry::Directory { path, owner } => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_uid(*owner);
                header.set_gid(*owner);
                header.set_size(0);
                (path, &[][..])
            }
        };
        tar.append_data(&mut header, path, content).map_err(broken)?;
    }
    Ok(tar.into_inner().map_err(broken)?.into())
}

/// A file of this host as the body of a request, never whole in memory.
pub(crate) async fn file_body(
    path: &Path,
) -> Result<impl futures::Stream<Item = Result<Bytes, std::io::Error>> + use<>, RuntimeError> {
    let file = File::open(path).await.map_err(|error| engine_error(format!("read {}", path.display()), error))?;
    Ok(ReaderStream::with_capacity(file, CHUNK_BYTES))
}

/// Unpacks a small archive in a container.
pub(crate) async fn upload(docker: &Docker, container: &str, path: &str, tar: Bytes) -> Result<(), RuntimeError> {
    let call = docker.upload_to_container(container, Some(to(path)), bollard::body_full(tar));
    within(START_TIMEOUT, &format!("unpack an archive at {path}"), call).await
}

/// Unpacks an archive file of this host in a container.
pub(crate) async fn upload_file(docker: &Docker, container: &str, path: &str, tar: &Path) -> Result<(), RuntimeError> {
    let operation = format!("unpack {} at {path}", tar.display());
    let moved = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&moved);
    let body = file_body(tar).await?.inspect(move |_| _ = counted.fetch_add(1, Ordering::Relaxed));
    let call = docker.upload_to_container(container, Some(to(path)), bollard::body_try_stream(body));
    let call = async { call.await.map_err(|error| classify(&operation, error)) };
    while_it_moves(&operation, &moved, call).await
}

fn to(path: &str) -> UploadToContainerOptions {
    UploadToContainerOptions { path: path.to_owned(), ..Default::default() }
}

/// Writes a path of a container to a tar file on this host; `false` when it is larger than it may be.
pub(crate) async fn download(
    docker: &Docker,
    container: &str,
    path: &str,
    to: &Path,
    max_bytes: u64,
) -> Result<bool, RuntimeError> {
    let operation = format!("read {path} of a build step");
    let writing = |error| engine_error(format!("write {}", to.display()), error);
    let moved = AtomicU64::new(0);
    let copy = async {
        let mut file = File::create(to).await.map_err(writing)?;
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let mut stream = docker.download_from_container(container, Some(options));
        let mut left = max_bytes;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| classify(&operation, error))?;
            moved.fetch_add(1, Ordering::Relaxed);
            match left.checked_sub(chunk.len() as u64) {
                Some(rest) => left = rest,
                None => return Ok(false),
            }
            file.write_all(&chunk).await.map_err(writing)?;
        }
        file.flush().await.map_err(writing)?;
        Ok(true)
    };
    while_it_moves(&operation, &moved, copy).await
}
