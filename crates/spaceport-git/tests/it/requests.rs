//! Branches, tags and pull requests; merges, comparisons, squashes and duplicates; the rules of a repository.

use spaceport_core::CommitSha;
use spaceport_git::*;

use crate::commit::{at, author, committed, delete, fsck, put, spec};
use crate::support::*;

async fn on(hub: &Hub, name: &str, operations: Vec<Operation>) -> CommitSha {
    let made = hub.repositories.commit(hub.repo, name, spec("on a branch", operations)).await.unwrap();
    let CommitOutcome::Committed { commit, .. } = made else { panic!("{made:?}") };
    commit
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_and_tags_come_and_go_with_clear_answers() {
    let hub = Hub::start().await;
    let (repositories, first) = (&hub.repositories, hub.first.clone());
    let branch = async |name: &str, start: &str| repositories.create_branch(hub.repo, name, start).await.unwrap();
    let tag = async |name: &str, start: &str| repositories.create_tag(hub.repo, name, start, None).await.unwrap();
    assert_eq!(branch("dev/x", "main").await, RefCreated::Created(first.clone()));
    assert_eq!(tag("dev/x", "refs/heads/dev/x").await, RefCreated::Created(first.clone()));
    assert_eq!(branch("dev/x", "main").await, RefCreated::Exists(first.clone()));
    assert_eq!(tag("dev/x", "main").await, RefCreated::Exists(first.clone()));
    assert_eq!(branch("other", "none").await, RefCreated::UnknownStart);
    assert_eq!(tag("a bad name", "none").await, RefCreated::UnknownStart);
    let long = "x".repeat(300);
    let bad = [
        "",
        "refs/heads/x",
        "a b",
        "a..b",
        "-x",
        "x.lock",
        "HEAD",
        first.as_str(),
        &long,
        "x/",
        "/x",
        "a\nb",
        "dev",
        "dev/x/y",
    ];
    for name in bad {
        for made in [branch(name, "main").await, tag(name, "main").await] {
            assert!(matches!(made, RefCreated::InvalidName(_)), "{name:?}: {made:?}");
        }
    }
    let shown = hub.ok(&repositories.path(hub.repo), &["for-each-ref", "--format=%(refname)"]).await;
    assert_eq!(shown, "refs/heads/dev/x\nrefs/heads/main\nrefs/tags/dev/x\n");
    // Git's own form of many refs.
    hub.ok(&repositories.path(hub.repo), &["pack-refs", "--all"]).await;
    assert_eq!(repositories.refs(hub.repo).await.unwrap().len(), 3);
    assert_eq!(repositories.delete_branch(hub.repo, "main").await.unwrap(), RefDeleted::Protected);
    assert_eq!(repositories.delete_branch(hub.repo, "dev/x").await.unwrap(), RefDeleted::Deleted(first.clone()));
    assert_eq!(repositories.delete_branch(hub.repo, "dev/x").await.unwrap(), RefDeleted::Unknown);
    assert_eq!(repositories.delete_tag(hub.repo, "dev/x").await.unwrap(), RefDeleted::Deleted(first.clone()));
    assert_eq!(repositories.delete_tag(hub.repo, "../heads/main").await.unwrap(), RefDeleted::Unknown);
    assert_eq!(repositories.create_pull_ref(hub.repo, 1, &first).await.unwrap(), RefCreated::Created(first.clone()));
    assert_eq!(repositories.create_pull_ref(hub.repo, 1, &first).await.unwrap(), RefCreated::Exists(first.clone()));
    let nowhere: CommitSha = "0123456789012345678901234567890123456789".parse().unwrap();
    assert_eq!(repositories.create_pull_ref(hub.repo, 2, &nowhere).await.unwrap(), RefCreated::UnknownStart);
    assert_eq!(hub.main().await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_is_merged_unless_both_changed_the_same() {
    let hub = Hub::start().await;
    let lines = |first: &str, last: &str| format!("{first}\n2\n3\n4\n5\n6\n7\n8\n{last}\n");
    let base = committed(&hub, "base", vec![put("text", &lines("1", "9")), put("other", "x"), put("gone", "x")]).await;
    for number in 1..=3 {
        hub.repositories.create_pull_ref(hub.repo, number, &base).await.unwrap();
    }
    let clean = on(&hub, "refs/pr/1", vec![put("text", &lines("1", "nine")), put("new/file", "x")]).await;
    let bad = on(&hub, "refs/pr/2", vec![put("text", &lines("uno", "9")), put("gone", "y")]).await;
    let merge = async |head: &str| {
        hub.repositories.merge(hub.repo, "main", head, "Merge it\n\nbody", &author("bob"), at(9)).await.unwrap()
    };
    let able = async |head: &CommitSha| hub.repositories.mergeability(hub.repo, &hub.main().await, head).await.unwrap();
    assert_eq!((able(&clean).await, able(&base).await), (Mergeability::Clean, Mergeability::UpToDate));
    let main = committed(&hub, "main", vec![put("text", &lines("one", "9")), delete("gone")]).await;
    assert_eq!(hub.repositories.merge_base(hub.repo, &main, &clean).await.unwrap(), Some(base.clone()));
    assert_eq!(able(&clean).await, Mergeability::Clean);
    let conflicts = vec!["gone".to_owned(), "text".to_owned()];
    assert_eq!(able(&bad).await, Mergeability::Conflicts(conflicts.clone()));
    assert_eq!(merge("refs/pr/2").await, MergeOutcome::Conflicts(conflicts));
    assert_eq!(merge("refs/pr/3").await, MergeOutcome::UpToDate(main.clone()));
    for unknown in ["refs/pr/9", "main", "--all", ""] {
        assert_eq!(merge(unknown).await, MergeOutcome::UnknownRef, "{unknown}");
    }
    assert_eq!(hub.main().await, main);
    let merged = merge("refs/pr/1").await;
    let MergeOutcome::Merged { commit, previous } = merged else { panic!("{merged:?}") };
    assert_eq!((&previous, &commit), (&main, &hub.main().await));
    let parents = hub.ok(&hub.repositories.path(hub.repo), &["log", "-1", "--format=%P|%an|%s|%b", "main"]).await;
    assert_eq!(parents.trim(), format!("{main} {clean}|bob|Merge it|body"));
    let read = hub.repositories.read_file(hub.repo, &commit, "text", 100).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(read).unwrap(), lines("one", "nine"));
    fsck(&hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_shows_what_git_shows() {
    let hub = Hub::start().await;
    let text: String = (0..50).map(|n| format!("line {n}\n")).collect();
    let old = committed(&hub, "old", vec![put("a", "1\n2\n"), put("gone", "x\n"), put("before", &text)]).await;
    let change = vec![
        put("a", "1\nzwei\n"),
        delete("gone"),
        delete("before"),
        put("after", &text),
        put("new", "n\n"),
        put("bin", "\0\u{1}"),
    ];
    let new = committed(&hub, "new", change).await;
    let diff = hub.repositories.diff(hub.repo, Some(&old), &new, 1 << 20).await.unwrap();
    let file = |path: &str, old_path: Option<&str>, status| ChangedFile {
        path: path.to_owned(),
        old_path: old_path.map(str::to_owned),
        status,
    };
    let mut files = diff.files.clone();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let expected = [
        file("a", None, ChangeStatus::Modified),
        file("after", Some("before"), ChangeStatus::Renamed),
        file("bin", None, ChangeStatus::Added),
        file("gone", None, ChangeStatus::Deleted),
        file("new", None, ChangeStatus::Added),
    ];
    assert_eq!((files.as_slice(), diff.truncated), (expected.as_slice(), false));
    assert!(diff.patch.contains("@@ -1,2 +1,2 @@\n 1\n-2\n+zwei\n"), "{}", diff.patch);
    assert!(diff.patch.contains("rename from before\nrename to after"), "{}", diff.patch);
    // What is shown can be applied.
    let work = hub.clone("work").await;
    hub.ok(&work, &["checkout", "-q", old.as_str()]).await;
    let text_only: Vec<&str> = diff.patch.split_inclusive("diff --git").collect();
    assert!(text_only.len() > 4);
    std::fs::write(work.join("p"), diff.patch.split("diff --git a/bin").next().unwrap()).unwrap();
    hub.ok(&work, &["apply", "--check", "p"]).await;
    let cut = hub.repositories.diff(hub.repo, Some(&old), &new, 100).await.unwrap();
    assert!(cut.truncated && cut.patch.len() <= 100 && cut.files.len() == 5, "{cut:?}");
    let whole = hub.repositories.diff(hub.repo, None, &hub.first, 1 << 20).await.unwrap();
    assert!(whole.files.iter().all(|file| file.status == ChangeStatus::Added) && whole.files.len() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_squashed_branch_has_its_files_and_no_history() {
    let hub = Hub::start().await;
    let before = committed(&hub, "two", vec![put("a/b", "x")]).await;
    let squash = async |branch: &str| {
        hub.repositories.squash(hub.repo, branch, "Super-squash", &author("bob"), at(3)).await.unwrap()
    };
    let squashed = squash("main").await.unwrap();
    assert_eq!(squash("none").await, None);
    assert_eq!(hub.main().await, squashed);
    let log = hub.repositories.log(hub.repo, &squashed, 0, 10).await.unwrap();
    assert_eq!((log.len(), log[0].title.as_str(), log[0].author.as_str()), (1, "Super-squash", "bob"));
    let tree = hub.ok(&hub.repositories.path(hub.repo), &["rev-parse", "main:", &format!("{before}:")]).await;
    let trees: Vec<_> = tree.lines().collect();
    assert_eq!(trees[0], trees[1]);
    fsck(&hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_stands_on_its_own() {
    let hub = Hub::start().await;
    let first = committed(&hub, "first", vec![put("old", "text")]).await;
    let files = (0..200).map(|n| put(&format!("d/{n}"), &n.to_string())).chain([delete("old")]).collect();
    committed(&hub, "files", files).await;
    // Some of it packed, some not.
    hub.repositories.maintain(hub.repo).await.unwrap();
    hub.repositories.create_branch(hub.repo, "side/a", first.as_str()).await.unwrap();
    hub.repositories.create_tag(hub.repo, "v1", first.as_str(), None).await.unwrap();
    hub.repositories.create_pull_ref(hub.repo, 1, &first).await.unwrap();
    let last = committed(&hub, "last", vec![put("new", "text")]).await;
    let to = repo_id(8);
    let copy = async |to| hub.repositories.duplicate(hub.repo, to).await;
    assert_eq!(copy(to).await.unwrap(), Some(last.clone()));
    assert!(matches!(copy(to).await, Err(GitError::AlreadyExists(_))));
    let original = hub.repositories.log(hub.repo, &last, 0, 100).await.unwrap();
    let folder = hub.repositories.path(to);
    let refs = async || hub.ok(&folder, &["for-each-ref", "--format=%(refname)"]).await;
    assert_eq!(refs().await.lines().collect::<Vec<_>>(), ["refs/heads/main", "refs/heads/side/a", "refs/tags/v1"]);
    // No byte was copied: both have the same files.
    let packs = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder.join("objects/pack")).unwrap();
        let of = |entry: std::fs::DirEntry| std::os::unix::fs::MetadataExt::ino(&entry.metadata().unwrap());
        entries.map(|entry| of(entry.unwrap())).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(!packs(&folder).is_empty() && packs(&folder) == packs(&hub.repositories.path(hub.repo)));
    // What becomes of one does nothing to the other.
    hub.repositories.squash(hub.repo, "main", "Squash", &author("bob"), at(3)).await.unwrap();
    hub.ok(&hub.repositories.path(hub.repo), &["gc", "--quiet", "--prune=now"]).await;
    hub.repositories.delete(hub.repo).await.unwrap();
    assert_eq!(hub.repositories.log(to, &last, 0, 100).await.unwrap(), original);
    hub.repositories.maintain(to).await.unwrap();
    assert_eq!(hub.ok(&folder, &["fsck", "--strict", "--full"]).await.trim(), "");
    assert!(!folder.join("objects/info/alternates").exists());
    assert!(matches!(copy(repo_id(9)).await, Err(GitError::NoRepository(_))));
    assert!(!hub.repositories.exists(repo_id(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_and_ignore_rules_are_those_of_git() {
    let hub = Hub::start().await;
    let attributes = "[attr]big filter=lfs diff=lfs\n*.bin big\n*.safetensors filter=lfs -text\nsmall/** -filter\n/only.here filter=lfs\n";
    let commit = committed(
        &hub,
        "rules",
        vec![
            put(".gitattributes", attributes),
            put("deep/.gitattributes", "*.txt filter=lfs\nx.bin -filter\n"),
            put(".gitignore", "*.log\n!keep.log\nbuild/\n/top\n"),
        ],
    )
    .await;
    let paths = [
        "a.bin",
        "x/y/a.bin",
        "m.safetensors",
        "small/a.bin",
        "only.here",
        "x/only.here",
        "deep/a.txt",
        "deep/x.bin",
        "a.txt",
        "x.log",
        "d/keep.log",
        "build/x",
        "d/build/y/keep.log",
        "build",
        "top",
        "d/top",
        "extra.tmp",
        "../a.bin",
        "",
    ];
    let owned = paths.map(str::to_owned).to_vec();
    let rules = hub.repositories.rules(hub.repo, Some(&commit), Some("*.tmp".to_owned()), owned.clone()).await.unwrap();
    let having = |wanted: fn(&PathRules) -> bool| -> Vec<&str> {
        paths.into_iter().zip(&rules).filter(|(_, rules)| wanted(rules)).map(|(path, _)| path).collect()
    };
    assert_eq!(
        having(|rules| rules.lfs),
        ["a.bin", "x/y/a.bin", "m.safetensors", "only.here", "deep/a.txt"],
        "{rules:?}"
    );
    assert_eq!(having(|rules| rules.ignored), ["x.log", "build/x", "d/build/y/keep.log", "top", "extra.tmp"]);
    let none = hub.repositories.rules(hub.repo, None, None, owned).await.unwrap();
    assert!(none.iter().all(|rules| *rules == PathRules::default()));
}
