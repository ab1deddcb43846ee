//! The real git client.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::Files;

/// One git command may take so long.
const LIMIT: Duration = Duration::from_secs(300);

/// What a git command did.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whether it succeeded.
    pub ok: bool,
    /// Both outputs.
    pub text: String,
}

/// A working copy.
#[derive(Debug)]
pub struct Checkout {
    folder: TempDir,
}

impl Checkout {
    /// A new repository with one commit of `files`.
    pub async fn of(files: &Files) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let submodules = files.write(folder.path());
        let this = Self { folder };
        this.git(&["init", "-q", "-b", "main"]).await;
        this.git(&["add", "-A", "-f"]).await;
        for (path, commit) in submodules {
            this.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]).await;
        }
        this.git(&["commit", "-q", "--allow-empty", "-m", "A commit"]).await;
        this
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Runs git in it.
    ///
    /// # Panics
    /// When it fails.
    pub async fn git(&self, arguments: &[&str]) -> String {
        let outcome = git(self.folder.path(), arguments).await;
        assert!(outcome.ok, "git {arguments:?} failed: {}", outcome.text);
        outcome.text
    }

    /// Pushes `main`, whatever stands there now.
    pub async fn push(&self, url: &str) -> Outcome {
        git(self.folder.path(), &["push", "--force", url, "HEAD:refs/heads/main"]).await
    }

    /// The commit.
    pub async fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).await.trim().to_owned()
    }
}

/// Runs git, without the settings of whoever runs the tests.
///
/// # Panics
/// When git is not there, or does not end.
pub async fn git(folder: &Path, arguments: &[&str]) -> Outcome {
    let mut command = tokio::process::Command::new("git");
    command
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"])
        .args(["-c", "protocol.file.allow=always", "-c", "gc.auto=0"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .unwrap_or_else(|_| panic!("git {arguments:?} did not end within {} s", LIMIT.as_secs()))
        .expect("git can be run");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Outcome { ok: output.status.success(), text }
}
