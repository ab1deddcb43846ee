//! Commits: what they say, in which order they came, and which of them touched a file last.

use std::cmp::Ordering;
use std::collections::hash_map::Entry as Slot;
use std::collections::{BinaryHeap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use git2::{Commit, Oid, Repository, Tree};
use spaceport_core::{CommitSha, RepoId, Timestamp};

use crate::opened::{failed, oid, optional, sha};
use crate::tree::check_path;
use crate::{GitError, Repositories};

const OPERATION: &str = "read the history";
/// How many commits are looked at for the last change of files, and for how long. Files that have not changed
/// since then are said to come from the newest commit.
const MAX_WALK: usize = 20_000;
const MAX_WALK_TIME: Duration = Duration::from_secs(2);
/// How many co-authors of a commit are named.
const MAX_CO_AUTHORS: usize = 20;

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
    /// Names of others who wrote it: the trailers `Co-authored-by`.
    pub co_authors: Vec<String>,
    /// When it was written, by the author's clock.
    pub at: Timestamp,
}

impl Repositories {
    /// What a commit says about itself.
    ///
    /// # Errors
    /// When the repository cannot be read; an unknown commit is `None`.
    pub async fn commit_info(&self, repo: RepoId, commit: &CommitSha) -> Result<Option<CommitInfo>, GitError> {
        let commit = oid(commit);
        self.reading(repo, move |opened| {
            let commit = optional(opened.find_commit(commit)).map_err(failed(OPERATION))?;
            Ok(commit.map(|commit| info(&commit)))
        })
        .await
    }

    /// Commits that lead to a commit, itself among them, newest first.
    ///
    /// # Errors
    /// When the repository cannot be read, or has no such commit.
    pub async fn log(
        &self,
        repo: RepoId,
        commit: &CommitSha,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<CommitInfo>, GitError> {
        let commit = oid(commit);
        self.reading(repo, move |opened| {
            let read = || -> Result<Vec<CommitInfo>, git2::Error> {
                // Not sorted by libgit2: that would read the whole history first. The order is git's.
                let mut walk = opened.revwalk()?;
                walk.push(commit)?;
                walk.skip(skip).take(limit).map(|next| Ok(info(&opened.find_commit(next?)?))).collect()
            };
            read().map_err(failed(OPERATION))
        })
        .await
    }

    /// How many commits lead to a commit, itself among them, counted up to `most`. It costs some microseconds
    /// for each.
    ///
    /// # Errors
    /// When the repository cannot be read, or has no such commit.
    pub async fn count_commits(&self, repo: RepoId, commit: &CommitSha, most: usize) -> Result<usize, GitError> {
        let commit = oid(commit);
        self.reading(repo, move |opened| {
            let count = || -> Result<usize, git2::Error> {
                let mut walk = opened.revwalk()?;
                walk.push(commit)?;
                Ok(walk.take(most).count())
            };
            count().map_err(failed(OPERATION))
        })
        .await
    }

    /// The last commit that touched each path, in the given order; `None` for what is not there. All paths share
    /// one walk, which has a bound: beyond it, the newest commit is named.
    ///
    /// # Errors
    /// When the repository cannot be read, or has no such commit.
    pub async fn last_commits(
        &self,
        repo: RepoId,
        commit: &CommitSha,
        paths: Vec<String>,
    ) -> Result<Vec<Option<CommitInfo>>, GitError> {
        let commit = oid(commit);
        self.reading(repo, move |opened| last_commits(opened, commit, &paths).map_err(failed(OPERATION))).await
    }
}

fn info(commit: &Commit<'_>) -> CommitInfo {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let author = commit.author();
    let message = text(commit.body_bytes().unwrap_or_default()).trim_end().to_owned();
    let co_authors = message.lines().filter_map(co_author).take(MAX_CO_AUTHORS).collect();
    CommitInfo {
        sha: sha(commit.id()),
        title: text(commit.summary_bytes().unwrap_or_default()),
        message,
        author: text(author.name_bytes()),
        email: text(author.email_bytes()),
        co_authors,
        at: Timestamp::from_millis(author.when().seconds().saturating_mul(1000)),
    }
}

/// The name in `Co-authored-by: Name <address>`.
fn co_author(line: &str) -> Option<String> {
    const KEY: &str = "co-authored-by:";
    let (key, value) = (line.get(..KEY.len())?, line.get(KEY.len()..)?);
    let name = value.split('<').next()?.trim();
    (key.eq_ignore_ascii_case(KEY) && !name.is_empty()).then(|| name.to_owned())
}

/// A commit some paths have been followed to: there they are as they are in the newest commit.
#[derive(PartialEq, Eq)]
struct Reached {
    seconds: i64,
    commit: Oid,
}

impl Ord for Reached {
    /// The newest is the greatest. The order only makes paths meet; the answer does not depend on it.
    fn cmp(&self, other: &Self) -> Ordering {
        self.seconds.cmp(&other.seconds).then_with(|| self.commit.cmp(&other.commit))
    }
}

impl PartialOrd for Reached {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Follows every path to the commit where it was made what it is: from a commit to the first parent that has the
/// same there. `git log -1 -- path` does the same for one path.
fn last_commits(opened: &Repository, head: Oid, paths: &[String]) -> Result<Vec<Option<CommitInfo>>, git2::Error> {
    let newest = opened.find_commit(head)?;
    let deadline = Instant::now() + MAX_WALK_TIME;
    let mut found: Vec<Option<Oid>> = vec![None; paths.len()];
    let mut present = Vec::new();
    let tree = newest.tree()?;
    for (at, path) in paths.iter().enumerate() {
        if check_path(path).is_ok() && optional(tree.get_path(Path::new(path)))?.is_some() {
            found[at] = Some(head);
            present.push(at);
        }
    }
    let mut queue = BinaryHeap::new();
    let mut waiting: HashMap<Oid, Vec<usize>> = HashMap::new();
    queue.push(Reached { seconds: newest.time().seconds(), commit: head });
    waiting.insert(head, present);
    let mut walked = 0;
    while let Some(Reached { commit, .. }) = queue.pop() {
        let Some(here) = waiting.remove(&commit).filter(|here| !here.is_empty()) else { continue };
        walked += 1;
        if walked > MAX_WALK || Instant::now() > deadline {
            // What was not followed to its end keeps the newest commit.
            break;
        }
        let commit = opened.find_commit(commit)?;
        let tree = commit.tree()?;
        let mut rest = here;
        for parent in commit.parents() {
            let before = parent.tree()?;
            let (same, other) = split(opened, &tree, &before, rest, paths)?;
            rest = other;
            if same.is_empty() {
                continue;
            }
            match waiting.entry(parent.id()) {
                Slot::Occupied(mut waiting) => waiting.get_mut().extend(same),
                Slot::Vacant(place) => {
                    place.insert(same);
                    queue.push(Reached { seconds: parent.time().seconds(), commit: parent.id() });
                }
            }
        }
        for at in rest {
            found[at] = Some(commit.id());
        }
    }
    let mut infos: HashMap<Oid, CommitInfo> = HashMap::new();
    let mut named = Vec::with_capacity(found.len());
    for commit in found {
        named.push(match commit {
            None => None,
            Some(commit) => Some(match infos.entry(commit) {
                Slot::Occupied(info) => info.get().clone(),
                Slot::Vacant(place) => place.insert(info(&opened.find_commit(commit)?)).clone(),
            }),
        });
    }
    Ok(named)
}

/// Divides paths into those that are the same in two trees, and the others.
fn split(
    opened: &Repository,
    now: &Tree<'_>,
    before: &Tree<'_>,
    here: Vec<usize>,
    paths: &[String],
) -> Result<(Vec<usize>, Vec<usize>), git2::Error> {
    if now.id() == before.id() {
        return Ok((here, Vec::new()));
    }
    let (mut same, mut other) = (Vec::new(), Vec::new());
    let mut pairs: HashMap<&str, Pair<'_>> = HashMap::new();
    for at in here {
        let (folder, name) = paths[at].rsplit_once('/').unwrap_or(("", &paths[at]));
        let pair = match pairs.entry(folder) {
            Slot::Occupied(pair) => pair.into_mut(),
            Slot::Vacant(place) => place.insert(Pair::open(opened, now, before, folder)?),
        };
        if pair.same(name) { same.push(at) } else { other.push(at) }
    }
    Ok((same, other))
}

/// One folder in two commits. Of most commits a folder is the same as in their parent.
enum Pair<'r> {
    Same,
    Differs(Option<Tree<'r>>, Option<Tree<'r>>),
}

impl<'r> Pair<'r> {
    fn open(opened: &'r Repository, now: &Tree<'_>, before: &Tree<'_>, folder: &str) -> Result<Self, git2::Error> {
        let id = |root: &Tree<'_>| -> Result<Option<Oid>, git2::Error> {
            if folder.is_empty() {
                return Ok(Some(root.id()));
            }
            Ok(optional(root.get_path(Path::new(folder)))?.map(|item| item.id()))
        };
        let (now, before) = (id(now)?, id(before)?);
        if now == before {
            return Ok(Self::Same);
        }
        // Before, there may have been a file in place of the folder.
        let tree = |id: Option<Oid>| id.and_then(|id| opened.find_tree(id).ok());
        Ok(Self::Differs(tree(now), tree(before)))
    }

    fn same(&self, name: &str) -> bool {
        let Self::Differs(now, before) = self else { return true };
        let item = |tree: &Option<Tree<'_>>| tree.as_ref()?.get_name(name).map(|item| (item.filemode_raw(), item.id()));
        item(now) == item(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn co_authors_are_read_from_trailers() {
        assert_eq!(co_author("Co-authored-by: Bob B <b@localhost>"), Some("Bob B".to_owned()));
        assert_eq!(co_author("co-authored-by:bob"), Some("bob".to_owned()));
        for line in ["Co-authored-by: <b@localhost>", "Signed-off-by: Bob <b>", "ü", ""] {
            assert_eq!(co_author(line), None, "{line}");
        }
    }
}
