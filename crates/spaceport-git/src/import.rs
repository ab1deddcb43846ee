//! Writes commits, through `git fast-import`.
//!
//! It takes a stream and is one process, whatever the number of files; and unlike `git add` it has no
//! opinion about ignored files, line endings or filters.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use spaceport_core::{CommitSha, RepoId, Timestamp};
use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::process::Command;

use crate::command::{LONG_TIMEOUT, Running, SHORT_TIMEOUT, failed, run, stderr_end, with_args};
use crate::tree::check_link;
use crate::{Author, GitError, InitialCommit, Repositories, SourceLimits, SourceProblem};

const OPERATION: &str = "fast-import";

impl Repositories {
    /// Stores a folder as the only commit of a hidden ref, such as `refs/convert/build`.
    ///
    /// # Errors
    /// [`GitError::Source`] when a link leaves the folder or a limit is passed.
    pub async fn write_tree_as_ref(
        &self,
        repo: RepoId,
        reference: &str,
        folder: &Path,
        message: &str,
        at: Timestamp,
        limits: SourceLimits,
    ) -> Result<CommitSha, GitError> {
        let fits = reference.starts_with("refs/convert/") || reference.starts_with("refs/spaceport/");
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_');
        if !fits || !reference.bytes().all(plain) || reference.ends_with('/') || reference.contains("//") {
            return Err(GitError::Request(format!("`{reference}` is not a ref of the platform")));
        }
        let mut entries = walk(folder, limits).await?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let head = header(reference, &platform(), message, at);
        let command = self.git(repo)?;
        import(command, async |to| {
            to.write_all(&head).await?;
            for entry in &entries {
                write_entry(to, folder, entry).await?;
            }
            to.write_all(b"\ndone\n").await
        })
        .await?;
        let rev = with_args(self.git(repo)?, ["rev-parse", "--verify", "--end-of-options", reference]);
        commit_sha(&run(rev, "rev-parse", b"", 4096, SHORT_TIMEOUT).await?)
    }
}

/// Writes the first commit on `main`.
pub(crate) async fn initial(command: Command, commit: &InitialCommit) -> Result<(), GitError> {
    let InitialCommit { author, at, title, files } = commit;
    let mut stream = header("refs/heads/main", author, title, *at);
    for file in files {
        stream.extend_from_slice(b"M 100644 inline ");
        stream.extend_from_slice(&quoted(file.path.as_bytes()));
        stream.extend_from_slice(format!("\ndata {}\n", file.content.len()).as_bytes());
        stream.extend_from_slice(&file.content);
        stream.push(b'\n');
    }
    stream.extend_from_slice(b"\ndone\n");
    import(command, async |to| to.write_all(&stream).await).await
}

/// The only line of an answer, as a commit id.
pub(crate) fn commit_sha(text: &[u8]) -> Result<CommitSha, GitError> {
    let text = String::from_utf8_lossy(text);
    let wrong =
        || GitError::Failed { operation: "rev-parse", message: format!("`{}` is not a commit id", text.trim()) };
    text.trim().parse().map_err(|_| wrong())
}

async fn import<W>(command: Command, write: W) -> Result<(), GitError>
where
    W: AsyncFnOnce(&mut BufWriter<tokio::process::ChildStdin>) -> std::io::Result<()>,
{
    let args = ["fast-import", "--quiet", "--done", "--force", "--date-format=raw"];
    let mut command = with_args(command, args);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut running = Running::start(command)?;
    let stderr = running.child.stderr.take();
    let stdin = running.child.stdin.take();
    let feed = async move {
        let Some(stdin) = stdin else { return Ok(()) };
        let mut stdin = BufWriter::with_capacity(64 * 1024, stdin);
        write(&mut stdin).await?;
        stdin.flush().await
    };
    let io = async { tokio::join!(feed, stderr_end(stderr)) };
    let Ok((fed, message)) = tokio::time::timeout(LONG_TIMEOUT, io).await else {
        running.terminate().await;
        return Err(GitError::Timeout(OPERATION));
    };
    let status = running.wait(SHORT_TIMEOUT, OPERATION).await?;
    if !status.success() {
        return Err(failed(OPERATION, status, message));
    }
    fed.map_err(GitError::io("write to git"))
}

fn header(reference: &str, author: &Author, message: &str, at: Timestamp) -> Vec<u8> {
    let (name, email) = (identity(&author.name), identity(&author.email));
    let seconds = at.as_millis().div_euclid(1000);
    let length = message.len();
    format!("commit {reference}\ncommitter {name} <{email}> {seconds} +0000\ndata {length}\n{message}\ndeleteall\n")
        .into_bytes()
}

/// What may stand in the line of an author.
pub(crate) fn identity(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).collect();
    let plain = plain.trim();
    if plain.is_empty() { "unknown".to_owned() } else { plain.to_owned() }
}

fn platform() -> Author {
    Author { name: "Spaceport".to_owned(), email: "spaceport@localhost".to_owned() }
}

/// A path as fast-import reads it back, whatever is in it.
fn quoted(path: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for byte in path {
        match byte {
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', *byte]),
            0x20..=0x7e => text.push(*byte),
            other => text.extend_from_slice(format!("\\{other:03o}").as_bytes()),
        }
    }
    text.push(b'"');
    text
}

struct Entry {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    File { executable: bool, bytes: u64 },
    Link(PathBuf),
}

/// Every file and link below `folder`, checked against the limits.
async fn walk(folder: &Path, limits: SourceLimits) -> Result<Vec<Entry>, GitError> {
    use std::os::unix::fs::PermissionsExt as _;
    let error = GitError::io;
    let mut entries = Vec::new();
    let mut total: u64 = 0;
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let mut names = tokio::fs::read_dir(folder.join(&below)).await.map_err(error("read the folder"))?;
        while let Some(found) = names.next_entry().await.map_err(error("read the folder"))? {
            let path = below.join(found.file_name());
            let meta = found.metadata().await.map_err(error("read the folder"))?;
            let shown = path.to_string_lossy();
            if found.file_name().eq_ignore_ascii_case(".git") {
                continue;
            }
            let kind = if meta.is_dir() {
                folders.push(path);
                continue;
            } else if meta.is_symlink() {
                let target = tokio::fs::read_link(found.path()).await.map_err(error("read a link"))?;
                check_link(&shown, &target.to_string_lossy())?;
                Kind::Link(target)
            } else if meta.is_file() {
                limits.check_file(&shown, meta.len())?;
                total = total.saturating_add(meta.len());
                Kind::File { executable: meta.permissions().mode() & 0o111 != 0, bytes: meta.len() }
            } else {
                return Err(SourceProblem::UnsafePath(shown.into_owned()).into());
            };
            entries.push(Entry { path, kind });
            limits.check_total(entries.len(), total)?;
        }
    }
    Ok(entries)
}

async fn write_entry(to: &mut (impl AsyncWrite + Unpin), folder: &Path, entry: &Entry) -> std::io::Result<()> {
    let path = quoted(entry.path.as_os_str().as_bytes());
    let head = |mode: &str, length: u64| {
        let mut head = format!("M {mode} inline ").into_bytes();
        head.extend_from_slice(&path);
        head.extend_from_slice(format!("\ndata {length}\n").as_bytes());
        head
    };
    match &entry.kind {
        Kind::File { executable, bytes } => {
            to.write_all(&head(if *executable { "100755" } else { "100644" }, *bytes)).await?;
            let file = tokio::fs::File::open(folder.join(&entry.path)).await?;
            let copied = tokio::io::copy(&mut tokio::io::AsyncReadExt::take(file, *bytes), to).await?;
            if copied != *bytes {
                return Err(std::io::Error::other("a file became shorter while it was read"));
            }
        }
        Kind::Link(target) => {
            let target = target.as_os_str().as_bytes();
            to.write_all(&head("120000", target.len().try_into().unwrap_or(u64::MAX))).await?;
            to.write_all(target).await?;
        }
    }
    to.write_all(b"\n").await
}
