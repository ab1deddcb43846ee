//! Reads commits and files.

use std::process::Stdio;

use spaceport_core::{CommitSha, RepoId, Timestamp};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::command::{LONG_TIMEOUT, Running, SHORT_TIMEOUT, failed, run, stderr_end, with_args};
use crate::tree::{check_path, parse_entry};
use crate::{GitError, Repositories, SourceProblem, TreeEntry};

/// The most files of a commit that are ever listed.
pub const MAX_FILES: usize = 100_000;
/// An abbreviated commit id has at least this many digits. Hub: the same.
const MIN_ABBREVIATION: usize = 7;

/// A commit, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub sha: CommitSha,
    /// The first line of its message.
    pub title: String,
    /// The rest of its message.
    pub message: String,
    /// The author's name.
    pub author: String,
    /// The author's address.
    pub email: String,
    /// When it was written, by the author's clock.
    pub at: Timestamp,
}

impl Repositories {
    /// The commit a branch points to.
    ///
    /// # Errors
    /// When git fails; an unknown branch is `None`.
    pub async fn head(&self, repo: RepoId, branch: &str) -> Result<Option<CommitSha>, GitError> {
        if !plain_revision(branch) {
            return Ok(None);
        }
        self.first_commit(repo, &[format!("refs/heads/{branch}")]).await
    }

    /// The commit a revision means: a branch, a tag, a full ref, or a commit id of at least seven
    /// digits, tried in this order.
    ///
    /// # Errors
    /// When git fails; an unknown revision is `None`.
    pub async fn resolve(&self, repo: RepoId, revision: &str) -> Result<Option<CommitSha>, GitError> {
        if !plain_revision(revision) {
            return Ok(None);
        }
        let mut names = vec![format!("refs/heads/{revision}"), format!("refs/tags/{revision}")];
        if revision.starts_with("refs/") {
            names.push(revision.to_owned());
        }
        let hex = revision.bytes().all(|b| b.is_ascii_hexdigit());
        if hex && (MIN_ABBREVIATION..=40).contains(&revision.len()) {
            names.push(revision.to_ascii_lowercase());
        }
        self.first_commit(repo, &names).await
    }

    async fn first_commit(&self, repo: RepoId, names: &[String]) -> Result<Option<CommitSha>, GitError> {
        let input: String = names.iter().map(|name| format!("{name}^{{commit}}\n")).collect();
        let command = with_args(self.git(repo)?, ["cat-file", "--batch-check=%(objectname) %(objecttype)"]);
        let answer = run(command, "cat-file", input.as_bytes(), 64 * 1024, SHORT_TIMEOUT).await?;
        let answer = String::from_utf8_lossy(&answer);
        Ok(answer.lines().find_map(|line| line.strip_suffix(" commit").and_then(|sha| sha.parse().ok())))
    }

    /// What a commit says about itself.
    ///
    /// # Errors
    /// When git fails; an unknown commit is `None`.
    pub async fn commit_info(&self, repo: RepoId, sha: &CommitSha) -> Result<Option<CommitInfo>, GitError> {
        let known = self.first_commit(repo, &[sha.as_str().to_owned()]).await?;
        if known.is_none() {
            return Ok(None);
        }
        let format = "--format=%an%x00%ae%x00%at%x00%s%x00%b";
        let args = ["log", "-1", "--no-show-signature", "--encoding=UTF-8", format, sha.as_str()];
        let text = run(with_args(self.git(repo)?, args), "log", b"", 1 << 20, SHORT_TIMEOUT).await?;
        let text = String::from_utf8_lossy(&text);
        let mut parts = text.splitn(5, '\0').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        let (author, email, at, title, message) = (part(), part(), part(), part(), part());
        let at = Timestamp::from_millis(at.parse::<i64>().unwrap_or(0).saturating_mul(1000));
        Ok(Some(CommitInfo { sha: sha.clone(), title, message: message.trim_end().to_owned(), author, email, at }))
    }

    /// All files of a commit, links and submodules among them, in the order of their paths.
    ///
    /// # Errors
    /// [`SourceProblem::TooManyFiles`] when there are more than `most` (at most [`MAX_FILES`]).
    pub async fn files(&self, repo: RepoId, sha: &CommitSha, most: usize) -> Result<Vec<TreeEntry>, GitError> {
        let limit = most.min(MAX_FILES);
        let args = ["ls-tree", "-r", "-l", "-z", "--full-tree", sha.as_str()];
        let mut running = Running::start(with_args(self.git(repo)?, args))?;
        let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
        let list = async {
            let Some(stdout) = stdout else { return Ok(Vec::new()) };
            let mut records = BufReader::new(stdout).split(0);
            let mut entries = Vec::new();
            while let Some(record) = records.next_segment().await.map_err(GitError::io("read from git"))? {
                if entries.len() == limit {
                    return Err(SourceProblem::TooManyFiles { limit }.into());
                }
                entries.extend(parse_entry(&record));
            }
            Ok::<_, GitError>(entries)
        };
        let both = async { tokio::try_join!(list, async { Ok(stderr_end(stderr).await) }) };
        match tokio::time::timeout(LONG_TIMEOUT, both).await {
            Ok(Ok((entries, message))) => {
                let status = running.wait(SHORT_TIMEOUT, "ls-tree").await?;
                if status.success() { Ok(entries) } else { Err(failed("ls-tree", status, message)) }
            }
            Ok(Err(error)) => {
                running.terminate().await;
                Err(error)
            }
            Err(_) => {
                running.terminate().await;
                Err(GitError::Timeout("ls-tree"))
            }
        }
    }

    /// The content of a file; `None` when the commit has no such file.
    ///
    /// # Errors
    /// [`GitError::FileTooLarge`] when it has more than `max_bytes`.
    pub async fn read_file(
        &self,
        repo: RepoId,
        sha: &CommitSha,
        path: &str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, GitError> {
        // A line break would be a second question.
        if check_path(path).is_err() || path.contains(['\n', '\r']) {
            return Ok(None);
        }
        let mut command = with_args(self.git(repo)?, ["cat-file", "--batch"]);
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        let mut running = Running::start(command)?;
        let (stdin, stdout) = (running.child.stdin.take(), running.child.stdout.take());
        let read = async {
            let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else { return Ok(None) };
            let io = GitError::io;
            stdin.write_all(format!("{sha}:{path}\n").as_bytes()).await.map_err(io("write to git"))?;
            drop(stdin);
            let mut stdout = BufReader::new(stdout);
            let mut head = String::new();
            stdout.read_line(&mut head).await.map_err(io("read from git"))?;
            let Some(bytes) = blob_size(&head) else { return Ok(None) };
            if bytes > max_bytes {
                return Err(GitError::FileTooLarge { path: path.to_owned(), bytes, limit: max_bytes });
            }
            let mut content = Vec::new();
            stdout.take(bytes).read_to_end(&mut content).await.map_err(io("read from git"))?;
            match u64::try_from(content.len()) {
                Ok(length) if length == bytes => Ok(Some(content)),
                _ => Err(GitError::Failed { operation: "cat-file", message: format!("{path} was cut off") }),
            }
        };
        let result = tokio::time::timeout(SHORT_TIMEOUT, read).await.unwrap_or(Err(GitError::Timeout("cat-file")));
        running.terminate().await;
        result
    }
}

/// The size in the answer `<oid> blob <size>`.
pub(crate) fn blob_size(head: &str) -> Option<u64> {
    let mut words = head.trim_end().rsplit(' ');
    let (size, kind) = (words.next()?, words.next()?);
    if kind == "blob" { size.parse().ok() } else { None }
}

/// Whether a text can be the name of a branch, a tag or a commit, and nothing else git would
/// understand, such as `main~3`, `:path` or an option.
fn plain_revision(text: &str) -> bool {
    let bad = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    !text.is_empty()
        && text.len() <= 255
        && !text.contains(bad)
        && !text.contains("..")
        && !text.contains("@{")
        && !text.starts_with(['-', '/'])
        && !text.ends_with(['/', '.'])
}
