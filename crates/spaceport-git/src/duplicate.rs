//! A new repository with the files of another.

use spaceport_core::{CommitSha, RepoId, Timestamp};

use crate::command::{LONG_TIMEOUT, run, with_args};
use crate::commit::{commit_object, message, signature};
use crate::objects::store;
use crate::opened::{blocking, failed, oid, open_for_writing, sha};
use crate::references::{MAIN, move_ref};
use crate::{Author, GitError, Repositories};

const OPERATION: &str = "duplicate";

impl Repositories {
    /// Makes the repository `to` with one commit on `main`: the files of the `main` of `from`. Its objects are
    /// copied, so that neither repository needs the other. It is there completely or not at all; `None` when
    /// `from` has no commits.
    ///
    /// # Errors
    /// [`GitError::AlreadyExists`] when there is a repository `to`.
    pub async fn duplicate(
        &self,
        from: RepoId,
        to: RepoId,
        title: &str,
        author: &Author,
        at: Timestamp,
    ) -> Result<Option<CommitSha>, GitError> {
        if self.exists(to) {
            return Err(GitError::AlreadyExists(to));
        }
        let Some(head) = self.head(from, "main").await? else { return Ok(None) };
        let temporary = self.temporary(to);
        let made = async {
            let commit = oid(&head);
            let read = move |opened: &git2::Repository| opened.find_commit(commit).map(|commit| commit.tree_id());
            let tree = self.reading(from, move |opened| read(opened).map_err(failed(OPERATION))).await?;
            self.init(&temporary).await?;
            // A folder as the start of the walk: what is in it, and nothing of the history.
            let mut pack = with_args(self.git(from)?, ["pack-objects", "--quiet", "--revs"]);
            pack.arg(temporary.join("objects/pack/pack"));
            run(pack, OPERATION, format!("{tree}\n").as_bytes(), 4096, LONG_TIMEOUT).await?;
            let (author, text) = (signature(author, at), message(title, ""));
            let (folder, settings, scratch) = (temporary.clone(), self.settings(), temporary.join("new"));
            blocking(move || {
                let opened = open_for_writing(&folder, &settings, to)?;
                let commit = commit_object(tree, &[], &author, &author, &text)?;
                let id = commit.oid;
                store(&opened, &scratch, vec![commit])?;
                move_ref(&opened, MAIN, id, None)?;
                Ok(sha(id))
            })
            .await
        };
        let made = made.await;
        self.place(to, &temporary, made).await.map(Some)
    }
}
