//! Runs `git` with a known environment, a time limit, and nothing left behind.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};

use crate::GitError;

/// How long a command on one object or ref may take.
pub(crate) const SHORT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a command over a whole commit or repository may take.
pub(crate) const LONG_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Between the request to end and the order to.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);
/// How much of standard error is kept: the end.
const STDERR_KEPT: usize = 4096;
/// Where programs are looked for. The environment of the server is not passed on, since `GIT_*`
/// variables of whoever started it would redirect repositories.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Settings of every command, given on the command line and not stored per repository: a change
/// applies to all repositories at once.
const SETTINGS: &[&str] = &[
    // The folder may belong to another user id than the server's, as in a container's volume.
    "safe.directory=*",
    "gc.auto=0",
    "receive.autogc=false",
    "maintenance.auto=false",
    // Malformed objects and names such as `.git` or `..` in trees are refused at the door. What old
    // tools wrote into honest histories is let through.
    "transfer.fsckObjects=true",
    "receive.fsck.zeroPaddedFilemode=ignore",
    "receive.fsck.missingSpaceBeforeDate=ignore",
    "receive.fsck.missingSpaceBeforeEmail=ignore",
    "receive.fsck.badTimezone=ignore",
    // Ours alone: not shown, not fetched, not pushed.
    "transfer.hideRefs=refs/convert",
    "transfer.hideRefs=refs/spaceport",
    "receive.denyCurrentBranch=ignore",
    // Deleting `main` is refused by the hook, which explains it.
    "receive.denyDeleteCurrent=ignore",
    "receive.advertisePushOptions=false",
    "uploadpack.allowFilter=true",
    "uploadpack.allowReachableSHA1InWant=true",
    // Memory: large blobs are streamed, and packing has a bound per thread.
    "core.bigFileThreshold=16m",
    "pack.windowMemory=64m",
    "pack.deltaCacheSize=32m",
    "pack.threads=2",
    "core.logAllRefUpdates=false",
    // A crash of the machine must not lose what a client was told is stored.
    "core.fsync=committed",
];

/// A `git` command on a repository.
pub(crate) fn git(home: &Path, git_dir: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", home)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        // Objects that are missing must not be fetched from anywhere.
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command.arg("--git-dir").arg(git_dir);
    command
}

/// A started command; its whole process group ends when this is dropped.
pub(crate) struct Running {
    pub child: Child,
    group: Option<Pid>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Result<Self, GitError> {
        let child = command.spawn().map_err(GitError::io("start git; is it installed?"))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    /// Waits for the end.
    pub(crate) async fn wait(&mut self, limit: Duration, operation: &'static str) -> Result<ExitStatus, GitError> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => {
                self.group = None;
                status.map_err(GitError::io("wait for git"))
            }
            Err(_) => {
                self.terminate().await;
                Err(GitError::Timeout(operation))
            }
        }
    }

    /// Ends the command and what it started. First with a request, on which git removes its
    /// temporary files.
    pub(crate) async fn terminate(&mut self) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(TERMINATE_GRACE, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            // After SIGKILL only the kernel can delay the end.
            let _ = tokio::time::timeout(TERMINATE_GRACE, self.child.wait()).await;
        }
        self.group = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Fails only when the group has ended by itself.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
    }
}

/// Runs a command to its end, with `input` on standard input and at most `max_output` bytes of
/// output.
pub(crate) async fn run(
    mut command: Command,
    operation: &'static str,
    input: &[u8],
    max_output: u64,
    limit: Duration,
) -> Result<Vec<u8>, GitError> {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut running = Running::start(command)?;
    let (stdin, stdout, stderr) =
        (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A broken pipe shows in the exit status, with git's own words.
            let _ = stdin.write_all(input).await;
        }
    };
    let read = async move {
        let mut output = Vec::new();
        match stdout {
            Some(stdout) => stdout.take(max_output.saturating_add(1)).read_to_end(&mut output).await.map(|_| output),
            None => Ok(output),
        }
    };
    let io = async { tokio::join!(feed, read, stderr_end(stderr)) };
    let Ok(((), output, message)) = tokio::time::timeout(limit, io).await else {
        running.terminate().await;
        return Err(GitError::Timeout(operation));
    };
    let output = output.map_err(GitError::io("read from git"))?;
    let status = running.wait(limit, operation).await?;
    if u64::try_from(output.len()).unwrap_or(u64::MAX) > max_output {
        return Err(GitError::Failed { operation, message: format!("more than {max_output} bytes of output") });
    }
    if status.success() { Ok(output) } else { Err(failed(operation, status, message)) }
}

pub(crate) fn failed(operation: &'static str, status: ExitStatus, message: String) -> GitError {
    let message = if message.is_empty() { status.to_string() } else { message };
    GitError::Failed { operation, message }
}

/// Reads standard error to its end and keeps the last of it.
pub(crate) async fn stderr_end(stderr: Option<ChildStderr>) -> String {
    match stderr {
        Some(stderr) => end_of(stderr).await,
        None => String::new(),
    }
}

async fn end_of(mut from: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        if kept.len() > 2 * STDERR_KEPT {
            kept.drain(..kept.len() - STDERR_KEPT);
        }
    }
    String::from_utf8_lossy(&kept[kept.len().saturating_sub(STDERR_KEPT)..]).trim().to_owned()
}

/// Adds arguments of different kinds to a command.
pub(crate) fn with_args<S: AsRef<OsStr>>(mut command: Command, args: impl IntoIterator<Item = S>) -> Command {
    command.args(args);
    command
}
