//! Decides whether a push is accepted, while git waits in its hook.
//!
//! The objects of the push are in git's quarantine then: this process reads them there, beside those of the
//! repository. A shell hook could check sizes, too slowly; it could not ask which large files the server has. Checking
//! after the push would be too late: refs would have moved.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use git2::{Oid, Repository};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use spaceport_core::RepoId;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;

use crate::hooks::{ACCEPTED, ANSWER, ASK, MESSAGES, PUSHED};
use crate::introduced::{introduced, tips, too_many_files};
use crate::lfs::look;
use crate::opened::failed;
use crate::references::MAIN;
use crate::{GitError, LfsObject, PushMessages, Repositories};

const OPERATION: &str = "look through the push";
/// How many problems of one kind are named.
const MOST_NAMED: usize = 20;
/// More files than a commit can have: folders counted as often as they occur.
const MOST_FILES: u64 = 2_000_000;
/// How long the server may look for large files.
const CHECK_TIMEOUT: Duration = Duration::from_secs(120);

/// Looks up large files: gives those that are not there, or a text for the user.
pub type LfsCheck = Box<dyn FnOnce(Vec<LfsObject>) -> BoxFuture<'static, Result<Vec<LfsObject>, String>> + Send>;

/// Which refs a push may touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PushAccess {
    /// Branches, tags, and every pull request that exists.
    #[default]
    Write,
    /// These refs only, such as `refs/pr/3`, as long as they exist. They cannot be deleted.
    Only(Vec<String>),
}

/// What a push may do, and what its user reads.
#[derive(Default)]
pub struct PushPolicy {
    /// What the user reads after a push.
    pub messages: PushMessages,
    /// Which refs it may touch.
    pub access: PushAccess,
    /// Knows which large files are there; without it, none is looked for.
    pub lfs: Option<LfsCheck>,
}

/// A line of the hook's input: a ref, where it is and where it shall be.
struct Wish {
    old: Option<Oid>,
    new: Option<Oid>,
    name: String,
}

/// What a push brings.
enum Contents {
    /// Nothing wrong: its LFS files, each with a path.
    Fine(Vec<(LfsObject, String)>),
    /// What the user is told.
    Wrong(Vec<String>),
}

/// Where a hook asks and is answered.
pub(crate) struct Gate {
    folder: PathBuf,
    ask: BufReader<pipe::Receiver>,
    answer: pipe::Sender,
}

impl Gate {
    /// Makes the gate in a new folder, which is removed with it.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, GitError> {
        let make = || {
            std::fs::create_dir(&folder)?;
            for name in [ASK, ANSWER] {
                mknodat(CWD, folder.join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            }
            // Both ends are held, so that nothing waits for the other side to open its own.
            let both = || {
                let mut options = pipe::OpenOptions::new();
                options.read_write(true);
                options
            };
            let ask = BufReader::new(both().open_receiver(folder.join(ASK))?);
            Ok((ask, both().open_sender(folder.join(ANSWER))?))
        };
        match make() {
            Ok((ask, answer)) => Ok(Self { folder, ask, answer }),
            Err(source) => {
                remove(&folder);
                Err(GitError::Io { operation: "prepare the push", source })
            }
        }
    }

    /// Waits for the question, and answers it. The gate must be kept until git has ended: what is in a pipe is
    /// lost when nobody holds it. Dropping it refuses the push.
    pub(crate) async fn attend(
        mut self,
        repositories: &Repositories,
        repo: RepoId,
        access: &PushAccess,
        lfs: Option<LfsCheck>,
    ) -> Result<Self, GitError> {
        let io = GitError::io;
        let mut line = String::new();
        self.ask.read_line(&mut line).await.map_err(io("wait for the push"))?;
        let pushed = tokio::fs::read(self.folder.join(PUSHED)).await.map_err(io("read the push"))?;
        let pushed = String::from_utf8_lossy(&pushed);
        let problems = match repositories.judge(repo, &pushed, access, lfs).await {
            Ok(problems) => problems,
            Err(error) => {
                tracing::error!(repo.id = %repo, %error, "a push to {repo} could not be checked: {error}");
                vec!["The push could not be checked. Try again.".to_owned()]
            }
        };
        let answer = if problems.is_empty() { ACCEPTED } else { "refused" };
        let told: String = problems.iter().map(|problem| plain(problem) + "\n").collect();
        tokio::fs::write(self.folder.join(MESSAGES), told).await.map_err(io("answer the push"))?;
        self.answer.write_all(format!("{answer}\n").as_bytes()).await.map_err(io("answer the push"))?;
        Ok(self)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %folder.display(), %error, "a temporary folder could not be removed");
    }
}

impl Repositories {
    /// What is wrong with a push; nothing when it is accepted.
    async fn judge(
        &self,
        repo: RepoId,
        pushed: &str,
        access: &PushAccess,
        lfs: Option<LfsCheck>,
    ) -> Result<Vec<String>, GitError> {
        let (quarantine, wishes) = pushed.split_once('\n').unwrap_or((pushed, ""));
        let Some(wishes) = wishes.lines().map(Wish::parse).collect::<Option<Vec<_>>>() else {
            return Ok(vec!["The push names refs that make no sense.".to_owned()]);
        };
        let problems: Vec<String> = wishes.iter().filter_map(|wish| wish.problem(access)).take(MOST_NAMED).collect();
        if !problems.is_empty() {
            return Ok(problems);
        }
        let new: Vec<(Oid, String)> = wishes.into_iter().filter_map(|wish| Some((wish.new?, wish.name))).collect();
        let (quarantine, limit) = (quarantine.to_owned(), self.limits.max_file_bytes);
        let contents = self.reading_alone(repo, move |opened| contents(opened, &quarantine, &new, limit)).await?;
        let pointers = match contents {
            Contents::Fine(pointers) => pointers,
            Contents::Wrong(problems) => return Ok(problems),
        };
        let Some(check) = lfs.filter(|_| !pointers.is_empty()) else { return Ok(Vec::new()) };
        let asked = pointers.iter().map(|(object, _)| object.clone()).collect();
        let missing = match tokio::time::timeout(CHECK_TIMEOUT, check(asked)).await {
            Ok(Ok(missing)) => missing,
            Ok(Err(text)) => return Ok(vec![text]),
            Err(_) => return Err(GitError::Timeout("looking for large files")),
        };
        Ok(missing_files(&pointers, &missing))
    }
}

/// A line for a terminal: paths and names may hold what would control it.
fn plain(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn missing_files(pointers: &[(LfsObject, String)], missing: &[LfsObject]) -> Vec<String> {
    let named = pointers.iter().filter(|(object, _)| missing.contains(object)).take(MOST_NAMED);
    let mut lines: Vec<String> = named
        .map(|(object, path)| format!("The content of {path} ({}) is not on the server.", object.sha256))
        .collect();
    if !lines.is_empty() {
        lines.push(
            "These files are Git LFS pointers. Upload what they point to first: git lfs push --all origin".to_owned(),
        );
    }
    lines
}

impl Wish {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let mut id = || Oid::from_str(words.next()?).ok().map(|id| Some(id).filter(|id| !id.is_zero()));
        let (old, new) = (id()?, id()?);
        Some(Self { old, new, name: words.next()?.to_owned() })
    }

    /// Why the ref may not be touched like this.
    fn problem(&self, access: &PushAccess) -> Option<String> {
        let Self { old, new, name } = self;
        let pull = name.starts_with("refs/pr/");
        let branch = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
        let hex = |name: &str| name.len() == 40 && name.bytes().all(|b| b.is_ascii_hexdigit());
        if let PushAccess::Only(allowed) = access
            && (!allowed.contains(name) || old.is_none() || new.is_none())
        {
            return Some(format!("You may not push to {name}, make it or delete it."));
        }
        if pull && (old.is_none() || new.is_none()) {
            return Some(format!(
                "The ref {name} cannot be pushed: pull requests are opened and closed on the website, and then pushed to."
            ));
        }
        if !pull && branch.is_none() {
            return Some(format!(
                "The ref {name} cannot be pushed: only branches (refs/heads/) and tags (refs/tags/) can."
            ));
        }
        if name == MAIN && new.is_none() {
            return Some("The branch main cannot be deleted: it is what the repository shows.".to_owned());
        }
        if new.is_some() && branch.is_some_and(hex) {
            return Some(format!("The name {name} cannot be used: it looks like the id of a commit."));
        }
        None
    }
}

/// Looks at what a push brings, in git's quarantine.
fn contents(opened: &Repository, quarantine: &str, new: &[(Oid, String)], limit: u64) -> Result<Contents, GitError> {
    let failed = failed(OPERATION);
    let odb = opened.odb().map_err(failed)?;
    if !quarantine.is_empty() {
        odb.add_disk_alternate(quarantine).map_err(failed)?;
    }
    let mut commits = Vec::new();
    for (id, name) in new {
        match opened.find_object(*id, None).and_then(|object| object.peel_to_commit()) {
            Ok(commit) => commits.push(commit.id()),
            Err(_) => {
                return Ok(Contents::Wrong(vec![format!(
                    "The ref {name} cannot be pushed: it does not lead to a commit."
                )]));
            }
        }
    }
    let known = tips(opened).map_err(failed)?;
    if too_many_files(opened, &commits, &known, MOST_FILES).map_err(failed)? {
        return Ok(Contents::Wrong(vec![format!("A commit has more than {MOST_FILES} files and folders.")]));
    }
    let (mut pointers, mut large) = (Vec::new(), Vec::new());
    introduced(opened, &commits, &known, |blob, path| {
        let (size, pointer) = look(&odb, blob)?;
        if size > limit && large.len() < MOST_NAMED {
            large.push(format!("The file {} has {size} bytes; at most {limit} are allowed.", path()));
        }
        pointers.extend(pointer.map(|pointer| (pointer, path())));
        Ok(())
    })
    .map_err(failed)?;
    if large.is_empty() {
        return Ok(Contents::Fine(pointers));
    }
    large.push("Keep large files in Git LFS (https://git-lfs.com): git lfs install, then".to_owned());
    large.push(format!("  git lfs migrate import --above={limit}b"));
    large.push("which also takes them out of earlier commits, and push again.".to_owned());
    Ok(Contents::Wrong(large))
}
