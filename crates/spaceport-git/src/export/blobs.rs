//! The contents of a commit's files, read by blocking work that nobody can drop: it is told when nobody waits for it any more,
//! and may take as long as it moves.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use spaceport_core::RepoId;

use crate::command::{Running, with_args};
use crate::{GitError, Repositories, TreeEntry};

/// Copying may take as long as it wants, but not stand still for so long.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);

impl Repositories {
    /// Runs blocking work with a reader of contents, as long as something is read. Dropped, it ends the work.
    pub(super) async fn with_blobs<T: Send + 'static>(
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
        let waiting = Waiting(Arc::default());
        let answers = BufReader::with_capacity(1 << 16, stdout.into());
        let mut blobs = Blobs { ask: stdin.into(), answers, reading: Arc::clone(&waiting.0) };
        let work = tokio::task::spawn_blocking(move || work(&mut blobs));
        let joined = tokio::select! {
            joined = work => Some(joined),
            () = waiting.0.standstill() => None,
        };
        // This ends the blocking work as well: git's pipe is closed, and nobody waits for the rest.
        running.terminate().await;
        let joined = joined.ok_or(GitError::Timeout("cat-file"))?;
        joined.map_err(|error| GitError::Io { operation: "finish the work", source: io::Error::other(error) })?
    }
}

/// `git cat-file --batch`: one question, one answer.
pub(super) struct Blobs {
    ask: fs::File,
    answers: BufReader<fs::File>,
    reading: Arc<Reading>,
}

/// What the blocking work and those who wait for it tell each other.
#[derive(Default)]
struct Reading {
    /// Pieces read so far.
    pieces: AtomicU64,
    nobody_waits: AtomicBool,
}

impl Reading {
    /// Ends when nothing was read for a while.
    async fn standstill(&self) {
        loop {
            let before = self.pieces.load(Ordering::Relaxed);
            tokio::time::sleep(STALL_TIMEOUT).await;
            if self.pieces.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// Says at its end that nobody waits for the blocking work any more: that cannot be dropped itself.
struct Waiting(Arc<Reading>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.nobody_waits.store(true, Ordering::Relaxed);
    }
}

/// A reader that counts, and fails when nobody waits for what is read.
struct Watched<'a, R> {
    content: R,
    reading: &'a Reading,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        // Not `Interrupted`, which readers try again.
        if self.reading.nobody_waits.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody waits for it"));
        }
        self.reading.pieces.fetch_add(1, Ordering::Relaxed);
        self.content.read(to)
    }
}

impl Blobs {
    /// A reader of another content, for the same who wait.
    pub(super) fn watched<R: Read>(&self, content: R) -> impl Read {
        Watched { content, reading: &self.reading }
    }

    /// Calls `with` with the content of one object.
    pub(super) fn read<T>(
        &mut self,
        entry: &TreeEntry,
        with: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> io::Result<T> {
        writeln!(self.ask, "{}", entry.oid)?;
        let mut head = String::new();
        self.answers.read_line(&mut head)?;
        let size = blob_size(&head).filter(|size| *size == entry.bytes);
        let size = size.ok_or_else(|| io::Error::other(format!("the content of `{}` is missing", entry.path)))?;
        let mut content = Watched { content: (&mut self.answers).take(size), reading: &self.reading };
        let value = with(&mut content)?;
        if content.content.limit() != 0 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn copying_lasts_as_long_as_something_is_read() {
        let reading = Reading::default();
        let slow = async {
            for _ in 0..100 {
                tokio::time::sleep(STALL_TIMEOUT * 2 / 3).await;
                Watched { content: &b"x"[..], reading: &reading }.read_exact(&mut [0]).unwrap();
            }
        };
        tokio::select! {
            () = slow => {}
            () = reading.standstill() => panic!("it was read all the time"),
        }
        reading.standstill().await;
    }
}
