//! Files, refs and commits of a repository, the way the Hub's clients read them.

use serde::Serialize;
use utoipa::ToSchema;

use spaceport_git::{CommitInfo, Entry, LfsPointer, NodeKind, Ref, RevisionKind};

/// A file or a folder.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TreeEntry)]
pub struct EntryView {
    /// `file` or `directory`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// From the root.
    pub path: String,
    /// Git's id of the content, of an LFS file that of its pointer.
    pub oid: String,
    /// Bytes, of an LFS file those of its content; 0 for a folder.
    pub size: u64,
    /// Of a large file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lfs: Option<LfsView>,
    /// Of a large file that Xet clients can fetch in parts and at once.
    #[serde(rename = "xetHash", skip_serializing_if = "Option::is_none")]
    pub xet_hash: Option<String>,
    /// With `expand`: the commit that last changed it.
    #[serde(rename = "lastCommit", skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<LastCommitView>,
}

impl EntryView {
    /// An entry, and the commit that last changed it where that was asked for.
    #[must_use]
    pub fn of(entry: Entry, last: Option<CommitInfo>) -> Self {
        let Entry { path, kind, oid, size, lfs } = entry;
        let kind = match kind {
            NodeKind::File => "file",
            NodeKind::Directory => "directory",
        };
        let last_commit = last.map(|commit| LastCommitView {
            id: commit.sha.into(),
            title: commit.title,
            date: commit.at.to_rfc3339(),
        });
        Self { kind, path, oid: oid.to_string(), size, lfs: lfs.map(LfsView::of), xet_hash: None, last_commit }
    }
}

/// What the pointer of a large file says.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = LfsInfo)]
#[serde(rename_all = "camelCase")]
pub struct LfsView {
    /// SHA-256 of the content.
    #[serde(rename = "oid")]
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// Bytes of the pointer.
    pub pointer_size: u64,
}

impl LfsView {
    /// Of a pointer.
    #[must_use]
    pub fn of(pointer: LfsPointer) -> Self {
        let LfsPointer { object, pointer_size } = pointer;
        Self { sha256: object.sha256, size: object.size, pointer_size }
    }
}

/// The commit that last changed something.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LastCommit)]
pub struct LastCommitView {
    /// Its id.
    pub id: String,
    /// The first line of its message.
    pub title: String,
    /// When it was written.
    pub date: String,
}

/// A branch, a tag or the like.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GitRef)]
#[serde(rename_all = "camelCase")]
pub struct RefView {
    /// Without `refs/heads/` and the like.
    pub name: String,
    /// In full.
    #[serde(rename = "ref")]
    pub full_name: String,
    /// The commit it leads to.
    pub target_commit: String,
}

/// The refs of a repository.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = GitRefs)]
#[serde(rename_all = "camelCase")]
pub struct RefsView {
    /// `refs/heads/…`.
    pub branches: Vec<RefView>,
    /// `refs/convert/…`.
    pub converts: Vec<RefView>,
    /// `refs/tags/…`.
    pub tags: Vec<RefView>,
    /// `refs/pr/…`, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_requests: Option<Vec<RefView>>,
}

impl RefsView {
    /// Sorted by kind; pull requests only when `pulls`.
    #[must_use]
    pub fn of(refs: Vec<Ref>, pulls: bool) -> Self {
        let mut view = Self { pull_requests: pulls.then(Vec::new), ..Self::default() };
        for Ref { kind, name, full_name, commit } in refs {
            let list = match kind {
                RevisionKind::Branch => &mut view.branches,
                RevisionKind::Tag => &mut view.tags,
                RevisionKind::Convert => &mut view.converts,
                RevisionKind::Pull => match &mut view.pull_requests {
                    Some(pulls) => pulls,
                    None => continue,
                },
                RevisionKind::Commit => continue,
            };
            list.push(RefView { name, full_name, target_commit: commit.into() });
        }
        view
    }
}

/// A commit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GitCommit)]
pub struct CommitView {
    /// Its id.
    pub id: String,
    /// The first line of its message.
    pub title: String,
    /// The rest of its message.
    pub message: String,
    /// When it was written.
    pub date: String,
    /// Who wrote it: the author first, then the co-authors.
    pub authors: Vec<AuthorView>,
    /// Title and message as HTML, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formatted: Option<FormattedView>,
}

/// Somebody who wrote a commit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CommitAuthor)]
pub struct AuthorView {
    /// The account's name, or what git has.
    pub user: String,
}

/// Texts of a commit as HTML.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FormattedCommit)]
pub struct FormattedView {
    /// The title.
    pub title: String,
    /// The message.
    pub message: String,
}

impl CommitView {
    /// Of a commit; its texts also as HTML when `formatted`.
    #[must_use]
    pub fn of(commit: CommitInfo, formatted: bool) -> Self {
        let CommitInfo { sha, title, message, author, co_authors, at, .. } = commit;
        let formatted = formatted.then(|| FormattedView { title: html(&title), message: html(&message) });
        let mut authors: Vec<AuthorView> = Vec::with_capacity(1 + co_authors.len());
        for user in std::iter::once(author).chain(co_authors) {
            if !authors.iter().any(|known| known.user == user) {
                authors.push(AuthorView { user });
            }
        }
        Self { id: sha.into(), title, message, date: at.to_rfc3339(), authors, formatted }
    }
}

/// A text as HTML that shows it: commit messages are strangers' text.
fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '\n' => html.push_str("<br>"),
            c => html.push(c),
        }
    }
    html
}
