//! Commits made by the platform, beside those that git makes.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use bytes::Bytes;
use spaceport_core::{CommitSha, Timestamp};
use spaceport_git::*;

use crate::support::*;

pub fn author(name: &str) -> Author {
    Author { name: name.to_owned(), email: format!("{name}@localhost") }
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_767_400_000_000 + second * 1000)
}

pub fn put(path: &str, text: &str) -> Operation {
    Operation::Put { path: path.to_owned(), content: FileContent::Bytes(Bytes::copy_from_slice(text.as_bytes())) }
}

pub fn delete(path: &str) -> Operation {
    Operation::DeleteFile { path: path.to_owned() }
}

pub fn spec(summary: &str, operations: Vec<Operation>) -> CommitSpec {
    CommitSpec {
        author: author("alice"),
        committer: author("alice"),
        at: at(0),
        summary: summary.to_owned(),
        description: String::new(),
        parent: None,
        operations,
    }
}

/// Commits to `main`, and it must succeed.
pub async fn committed(hub: &Hub, summary: &str, operations: Vec<Operation>) -> CommitSha {
    let outcome = hub.repositories.commit(hub.repo, "refs/heads/main", spec(summary, operations)).await.unwrap();
    let CommitOutcome::Committed { commit, .. } = outcome else { panic!("{outcome:?}") };
    commit
}

async fn outcome(hub: &Hub, operations: Vec<Operation>) -> CommitOutcome {
    hub.repositories.commit(hub.repo, "refs/heads/main", spec("change", operations)).await.unwrap()
}

/// What git finds wrong with the repository: nothing.
pub async fn fsck(hub: &Hub) {
    let folder = hub.repositories.path(hub.repo);
    let said = hub.ok(&folder, &["fsck", "--strict", "--full", "--no-dangling"]).await;
    assert_eq!(said.trim(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_what_git_clones() {
    let hub = Hub::start().await;
    let spooled = hub.folder.path().join("spooled");
    std::fs::write(&spooled, vec![b'z'; 300_000]).unwrap();
    let object = LfsObject { sha256: "0123456789abcdef".repeat(4), size: 5_000_000_000 };
    let mut change = spec(
        "Add files",
        vec![
            put("app.py", "print(1)"),
            put("data/ü \"x\"/a.txt", "a"),
            Operation::Put { path: "data/large.txt".to_owned(), content: FileContent::Spooled(spooled) },
            Operation::PutLfs { path: "model.safetensors".to_owned(), object: object.clone() },
            delete("README.md"),
        ],
    );
    change.author = author("bob <b>\n");
    change.description = "Why.\r\n\r\nCo-authored-by: carol <c@localhost>\r\n".to_owned();
    let made = hub.repositories.commit(hub.repo, "refs/heads/main", change).await.unwrap();
    let CommitOutcome::Committed { commit, previous } = made else { panic!("{made:?}") };
    assert_eq!((Some(&hub.first), &commit), (previous.as_ref(), &hub.main().await));
    let work = hub.clone("work").await;
    let log = hub.ok(&work, &["log", "-1", "--format=%an|%ae|%cn|%at|%s|%b"]).await;
    let body = "Why.\n\nCo-authored-by: carol <c@localhost>\n";
    assert_eq!(log.trim_end(), format!("bob b|bob b@localhost|alice|1767400000|Add files|{body}").trim_end());
    assert_eq!(std::fs::read(work.join("data/large.txt")).unwrap(), vec![b'z'; 300_000]);
    assert_eq!(std::fs::read_to_string(work.join("data/ü \"x\"/a.txt")).unwrap(), "a");
    assert_eq!(std::fs::read_to_string(work.join("model.safetensors")).unwrap(), object.pointer());
    assert!(!work.join("README.md").exists() && work.join(".gitattributes").exists());
    fsck(&hub).await;
    let info = hub.repositories.commit_info(hub.repo, &commit).await.unwrap().unwrap();
    assert_eq!((info.title.as_str(), info.co_authors), ("Add files", vec!["carol".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_count_in_their_order_and_leave_other_files_alone() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    std::fs::create_dir_all(work.join("a/b")).unwrap();
    for path in ["run.sh", "a/b/one", "a/b/two", "a.txt", "a-b"] {
        std::fs::write(work.join(path), path).unwrap();
    }
    symlink("run.sh", work.join("start")).unwrap();
    std::fs::set_permissions(work.join("run.sh"), Permissions::from_mode(0o755)).unwrap();
    hub.commit_all(&work).await;
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
    committed(
        &hub,
        "change",
        vec![
            put("run.sh", "#!/bin/sh"),
            delete("a/b"),
            put("a/b/three", "3"),
            put("a/c", "1"),
            put("a/c", "2"),
            delete("a-b"),
            put("a-b/now/a/folder", "x"),
            put("x/gone", ""),
            Operation::DeleteFolder { path: "x/".to_owned() },
            put("x", "a file"),
        ],
    )
    .await;
    let folder = hub.repositories.path(hub.repo);
    let tree = hub.ok(&folder, &["ls-tree", "-r", "--format=%(objectmode) %(path)", "main"]).await;
    let expected = "100644 .gitattributes\n100644 README.md\n100644 a-b/now/a/folder\n100644 a.txt\n100644 a/b/three\n\
                    100644 a/c\n100755 run.sh\n120000 start\n100644 x\n";
    assert_eq!(tree, expected);
    assert_eq!(hub.repositories.read_file(hub.repo, &hub.main().await, "a/c", 9).await.unwrap().unwrap(), b"2");
    fsck(&hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_committed_changes_nothing() {
    let hub = Hub::with(Limits { max_file_bytes: 100, ..Limits::default() }).await;
    let before = committed(&hub, "base", vec![put("a/file", "x"), put("b", "x")]).await;
    let missing = |path: &str| CommitOutcome::MissingPath(path.to_owned());
    let clash = |path: &str, with: &str| CommitOutcome::Clash { path: path.to_owned(), with: with.to_owned() };
    let cases = [
        (vec![put("new", "x"), delete("none")], missing("none")),
        (vec![delete("b/x")], missing("b/x")),
        (vec![Operation::DeleteFolder { path: "b".to_owned() }], missing("b")),
        (vec![delete("a"), delete("a/file")], missing("a/file")),
        (vec![put("new", "x"), put("b/c", "x")], clash("b/c", "b")),
        (vec![put("a", "x")], clash("a", "a")),
        (
            vec![put("new", &"x".repeat(101))],
            CommitOutcome::TooLarge { path: "new".to_owned(), bytes: 101, limit: 100 },
        ),
        (
            vec![Operation::PutLfs {
                path: "m".to_owned(),
                object: LfsObject { sha256: "../../x".to_owned(), size: 1 },
            }],
            CommitOutcome::InvalidLfsObject { path: "m".to_owned() },
        ),
        (vec![put("a/file", "x"), put("b", "x")], CommitOutcome::Unchanged(Some(before.clone()))),
        (vec![put("c", "x"), delete("c")], CommitOutcome::Unchanged(Some(before.clone()))),
        (vec![], CommitOutcome::Unchanged(Some(before.clone()))),
    ];
    for (operations, expected) in cases {
        let shown = format!("{operations:?}");
        assert_eq!(outcome(&hub, operations).await, expected, "{shown}");
    }
    for path in ["", "/etc/passwd", "../x", "a/../../x", ".git/hooks/pre-receive", "a\\b", "a\nb", "x/", "a\0b"] {
        let refused = outcome(&hub, vec![put("fine", "x"), put(path, "x")]).await;
        assert!(matches!(refused, CommitOutcome::InvalidPath { .. }), "{path:?}: {refused:?}");
    }
    for name in ["refs/heads/none", "refs/heads/../main", "refs/pr/7", "refs/tags/x", "refs/convert/x", "main", "HEAD"]
    {
        let refused = hub.repositories.commit(hub.repo, name, spec("x", vec![put("x", "x")])).await.unwrap();
        assert_eq!(refused, CommitOutcome::UnknownRef, "{name}");
    }
    let stale = CommitSpec { parent: Some(hub.first.clone()), ..spec("x", vec![put("x", "x")]) };
    let moved = hub.repositories.commit(hub.repo, "refs/heads/main", stale).await.unwrap();
    assert_eq!(moved, CommitOutcome::ParentMoved(Some(before.clone())));
    let spooled = FileContent::Spooled(hub.folder.path().join("missing"));
    let gone = spec("x", vec![Operation::Put { path: "x".to_owned(), content: spooled }]);
    assert!(hub.repositories.commit(hub.repo, "refs/heads/main", gone).await.is_err());
    assert_eq!(hub.main().await, before);
    fsck(&hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_commits_gets_its_first() {
    let hub = Hub::start().await;
    let folder = hub.repositories.path(hub.repo);
    plumbing(&folder, &["update-ref", "-d", "refs/heads/main"], b"");
    let main = async || hub.repositories.head(hub.repo, "main").await.unwrap();
    let insisting = CommitSpec { parent: Some(hub.first.clone()), ..spec("x", vec![put("x", "x")]) };
    let refused = hub.repositories.commit(hub.repo, "refs/heads/main", insisting).await.unwrap();
    assert_eq!((refused, main().await), (CommitOutcome::ParentMoved(None), None));
    assert_eq!(outcome(&hub, vec![]).await, CommitOutcome::Unchanged(None));
    let made = outcome(&hub, vec![put("a/b", "x")]).await;
    assert!(matches!(made, CommitOutcome::Committed { previous: None, .. }), "{made:?}");
    // Deleting the last file leaves a commit without files.
    committed(&hub, "empty", vec![delete("a/b")]).await;
    let listing = Listing { folder: String::new(), recursive: true, after: None, limit: 10, only_files: false };
    let page = hub.repositories.list(hub.repo, &main().await.unwrap(), listing).await.unwrap().unwrap();
    assert_eq!(page, Page { entries: vec![], next: None });
    fsck(&hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_files_are_one_commit() {
    let hub = Hub::start().await;
    let files = |from: usize, text: &str| -> Vec<Operation> {
        (from..from + 10_000).map(|n| put(&format!("data/{}/{n}.txt", n % 100), &format!("{text} {n}"))).collect()
    };
    committed(&hub, "many", files(0, "one")).await;
    let changed = committed(&hub, "more", files(5_000, "two")).await;
    let listed = hub.repositories.files(hub.repo, &changed, MAX_FILES).await.unwrap();
    assert_eq!(listed.len(), 15_002);
    let read = async |path| hub.repositories.read_file(hub.repo, &changed, path, 100).await.unwrap().unwrap();
    assert_eq!((read("data/42/42.txt").await, read("data/42/9942.txt").await), (b"one 42".into(), b"two 9942".into()));
    let leftovers = std::fs::read_dir(hub.folder.path().join("repos")).unwrap();
    assert!(leftovers.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with(".new-")));
    hub.clone("work").await;
    fsck(&hub).await;
    hub.repositories.maintain(hub.repo).await.unwrap();
    assert_eq!(read("data/0/9900.txt").await, b"two 9900");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_commits_made_at_once_none_is_lost() {
    let hub = Hub::start().await;
    let (first, repositories, repo) = (hub.first.clone(), &hub.repositories, hub.repo);
    let free = futures::future::join_all((0..20).map(|n| async move {
        repositories.commit(repo, "refs/heads/main", spec(&n.to_string(), vec![put(&format!("{n}"), "x")])).await
    }));
    for made in free.await {
        assert!(matches!(made, Ok(CommitOutcome::Committed { .. })), "{made:?}");
    }
    let head = hub.main().await;
    assert_eq!(hub.repositories.count_commits(hub.repo, &head, 1000).await.unwrap(), 21);
    assert_eq!(hub.repositories.count_commits(hub.repo, &head, 5).await.unwrap(), 5);
    assert_eq!(hub.repositories.files(hub.repo, &head, 100).await.unwrap().len(), 22);
    // Those who insist on a parent: one wins, the others are told where the branch is.
    let head = &head;
    let strict = futures::future::join_all((0..8).map(|n| async move {
        let change = CommitSpec { parent: Some(head.clone()), ..spec("x", vec![put("same", &n.to_string())]) };
        repositories.commit(repo, "refs/heads/main", change).await.unwrap()
    }));
    let results = strict.await;
    let won = results.iter().filter(|made| matches!(made, CommitOutcome::Committed { .. })).count();
    let now = Some(hub.main().await);
    let told = results.iter().filter(|made| **made == CommitOutcome::ParentMoved(now.clone())).count();
    assert_eq!((won, told), (1, 7), "{results:?}");
    assert_ne!(hub.main().await, first);
    fsck(&hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_never_overwrites_a_push() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    let push = async |work: &Path| {
        let mut pushed = Vec::new();
        for n in 0..6 {
            // As a person does: take what is there, and push again.
            loop {
                let commit = hub.commit(work, &format!("pushed/{n}"), b"x").await;
                if hub.git(work, &["push", "-q", "origin", "main"]).await.status.success() {
                    pushed.push(commit);
                    break;
                }
                hub.ok(work, &["fetch", "-q"]).await;
                hub.ok(work, &["reset", "-q", "--hard", "origin/main"]).await;
            }
        }
        pushed
    };
    let commit = async || {
        let mut made = Vec::new();
        for n in 0..40 {
            made.push(committed(&hub, "change", vec![put(&format!("made/{n}"), "x")]).await);
        }
        made
    };
    let (pushed, made) = tokio::join!(push(&work), commit());
    let head = hub.main().await;
    let log = hub.repositories.log(hub.repo, &head, 0, 1000).await.unwrap();
    for commit in pushed.iter().chain(&made) {
        assert!(log.iter().any(|info| info.sha == *commit), "{commit} is lost");
    }
    assert_eq!(hub.repositories.files(hub.repo, &head, 100).await.unwrap().len(), 48);
    fsck(&hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_tracked_for_git_lfs() {
    let hub = Hub::start().await;
    let object = LfsObject { sha256: "0123456789abcdef".repeat(4), size: 5_000_000_000 };
    let lfs = |path: &str| Operation::PutLfs { path: path.to_owned(), object: object.clone() };
    let attributes = "*.dat filter=lfs diff=lfs merge=lfs -text";
    let paths = ["a.dat", "deep/a b [1].bin", "model.bin", "ü.bin", "nested/x.foo"];
    let mut operations = vec![put(".gitattributes", attributes), put("nested/.gitattributes", "*.foo filter=lfs\n")];
    operations.extend(paths.map(lfs));
    committed(&hub, "large files", operations).await;
    let work = hub.clone("work").await;
    let said = hub.ok(&work, &[["check-attr", "-z", "filter"].as_slice(), &paths].concat()).await;
    let filters: Vec<&str> = said.split('\0').skip(2).step_by(3).collect();
    assert_eq!(filters, ["lfs"; 5], "{said}");
    let text = std::fs::read_to_string(work.join(".gitattributes")).unwrap();
    assert!(text.starts_with(&format!("{attributes}\n/deep/")), "{text}");
    assert!(!text.contains("a.dat") && !text.contains("x.foo"), "{text}");
    // Committed again, there is nothing to add.
    let again = committed(&hub, "again", vec![lfs("model.bin"), put("x", "x")]).await;
    let rules = hub.repositories.rules(hub.repo, Some(&again), None, vec!["model.bin".to_owned()]).await.unwrap();
    assert!(rules[0].lfs);
    fsck(&hub).await;
}
