//! Where repositories are, and how they come and go.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use spaceport_core::{CommitSha, RepoId};
use tokio::process::Command;

use crate::command::{LONG_TIMEOUT, SHORT_TIMEOUT, git, run, with_args};
use crate::opened::SETTINGS;
use crate::readers::Readers;
use crate::tree::check_new_path;
use crate::turns::Turns;
use crate::{GitError, InitialCommit, hooks, import};

/// Limits on what clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest pack of one push, in bytes.
    pub max_pack_bytes: u64,
    /// The largest file of a commit that is not in Git LFS, in bytes. Hub: 10 MiB.
    pub max_file_bytes: u64,
    /// The largest body of a fetch (wants and haves), in bytes after decoding.
    pub max_fetch_request_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pack_bytes: 5 << 30, max_file_bytes: 10 << 20, max_fetch_request_bytes: 64 << 20 }
    }
}

/// All repositories of a site: one bare repository each, named by its id.
#[derive(Debug, Clone)]
pub struct Repositories {
    root: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) turns: Arc<Turns>,
    pub(crate) readers: Arc<Readers>,
}

/// Makes the names of temporary folders differ within this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Repositories {
    /// Opens the folder of the repositories, makes it when missing, and writes the hooks.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(root: PathBuf, limits: Limits) -> Result<Self, GitError> {
        std::fs::create_dir_all(&root).map_err(GitError::io("create the folder of the repositories"))?;
        // Hooks are named by an absolute path: git runs elsewhere.
        let root = root.canonicalize().map_err(GitError::io("find the folder of the repositories"))?;
        hooks::install(&root.join("hooks"))?;
        let made = Self { root, limits, turns: Arc::default(), readers: Arc::default() };
        // What was written was checked when it came; git itself does not compute every object's hash again to read it.
        git2::opts::strict_hash_verification(false);
        hooks::place(&made.settings(), SETTINGS, 0o644).map_err(GitError::io("write the settings"))?;
        Ok(made)
    }

    /// The file with settings of repositories that are opened for writing.
    pub(crate) fn settings(&self) -> PathBuf {
        self.root.join("hooks/settings")
    }

    /// The folder of a repository, whether it exists or not.
    #[must_use]
    pub fn path(&self, repo: RepoId) -> PathBuf {
        self.root.join(format!("{repo}.git"))
    }

    /// Whether there is such a repository.
    #[must_use]
    pub fn exists(&self, repo: RepoId) -> bool {
        self.path(repo).join("HEAD").is_file()
    }

    /// Makes a repository with one commit on `main`. It is there completely or not at all.
    ///
    /// # Errors
    /// [`GitError::AlreadyExists`] when there is one.
    pub async fn create(&self, repo: RepoId, initial: &InitialCommit) -> Result<CommitSha, GitError> {
        if self.exists(repo) {
            return Err(GitError::AlreadyExists(repo));
        }
        let temporary = self.temporary(repo);
        let made = self.make(&temporary, initial).await;
        self.place(repo, &temporary, made).await
    }

    /// Moves a new repository to where it is found, or removes what there is of it.
    pub(crate) async fn place<T>(
        &self,
        repo: RepoId,
        temporary: &Path,
        made: Result<T, GitError>,
    ) -> Result<T, GitError> {
        let placed = match made {
            // Fails when somebody else made it in the meantime: the target is not an empty folder.
            Ok(value) => match tokio::fs::rename(temporary, self.path(repo)).await {
                Ok(()) => Ok(value),
                Err(_) if self.exists(repo) => Err(GitError::AlreadyExists(repo)),
                Err(source) => Err(GitError::Io { operation: "put the repository in its place", source }),
            },
            Err(error) => Err(error),
        };
        if placed.is_err() {
            remove(temporary).await;
        }
        placed
    }

    async fn make(&self, folder: &Path, initial: &InitialCommit) -> Result<CommitSha, GitError> {
        // What fast-import writes is looked at by nobody afterwards.
        if let Some((path, why)) =
            initial.files.iter().find_map(|file| Some((&file.path, check_new_path(&file.path).err()?)))
        {
            return Err(GitError::Request(format!("{path:?} cannot be in a commit: {why}")));
        }
        self.init(folder).await?;
        import::initial(git(&self.root, folder), initial).await?;
        let head = with_args(git(&self.root, folder), ["rev-parse", "--verify", "refs/heads/main"]);
        let text = run(head, "rev-parse", b"", 4096, SHORT_TIMEOUT).await?;
        import::commit_sha(&text)
    }

    /// Makes an empty repository in a folder.
    pub(crate) async fn init(&self, folder: &Path) -> Result<(), GitError> {
        let init = ["init", "--quiet", "--bare", "--initial-branch=main", "--object-format=sha1", "--template="];
        run(with_args(git(&self.root, folder), init), "init", b"", 4096, SHORT_TIMEOUT).await.map(drop)
    }

    /// Deletes a repository. Deleting what is not there succeeds.
    ///
    /// # Errors
    /// When its folder cannot be removed.
    pub async fn delete(&self, repo: RepoId) -> Result<(), GitError> {
        // Renamed first, so that no reader meets half of it.
        let temporary = self.temporary(repo);
        let renamed = tokio::fs::rename(self.path(repo), &temporary).await;
        self.readers.close(repo);
        match renamed {
            Ok(()) => tokio::fs::remove_dir_all(&temporary).await.map_err(GitError::io("delete the repository")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(GitError::Io { operation: "delete the repository", source }),
        }
    }

    /// Removes what a crash left half-made. Call it once, before anything else is asked.
    ///
    /// # Errors
    /// When the folder of the repositories cannot be read.
    pub async fn sweep(&self) -> Result<(), GitError> {
        let mut entries = tokio::fs::read_dir(&self.root).await.map_err(GitError::io("read the repositories"))?;
        while let Some(entry) = entries.next_entry().await.map_err(GitError::io("read the repositories"))? {
            if !entry.file_name().to_string_lossy().starts_with(".new-") {
                continue;
            }
            // A file is the report of a push; whoever compares heads with records sees what it said.
            if entry.file_type().await.is_ok_and(|kind| kind.is_file()) {
                tokio::fs::remove_file(entry.path()).await.map_err(GitError::io("remove a temporary file"))?;
            } else {
                remove(&entry.path()).await;
            }
        }
        Ok(())
    }

    /// Packs a repository and drops what nothing refers to any more. Safe beside pushes: objects
    /// younger than two weeks stay.
    ///
    /// # Errors
    /// When git fails or takes too long.
    pub async fn maintain(&self, repo: RepoId) -> Result<(), GitError> {
        let gc = with_args(self.git(repo)?, ["gc", "--quiet", "--no-detach"]);
        let packed = run(gc, "gc", b"", 4096, LONG_TIMEOUT).await;
        self.readers.close(repo);
        packed.map(drop)
    }

    /// A command on a repository.
    pub(crate) fn git(&self, repo: RepoId) -> Result<Command, GitError> {
        if !self.exists(repo) {
            return Err(GitError::NoRepository(repo));
        }
        let mut command = git(&self.root, &self.path(repo));
        command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "core.hooksPath");
        command.env("GIT_CONFIG_VALUE_0", self.root.join("hooks"));
        Ok(command)
    }

    /// A name below the root that is free.
    pub(crate) fn temporary(&self, repo: RepoId) -> PathBuf {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.root.join(format!(".new-{repo}-{}-{number}", std::process::id()))
    }
}

async fn remove(folder: &Path) {
    if let Err(error) = tokio::fs::remove_dir_all(folder).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %folder.display(), %error, "a temporary folder could not be removed");
    }
}
