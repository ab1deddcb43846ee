//! Reading repositories as the Hub's API does: revisions, listings, history, contents.

use std::os::unix::fs::symlink;

use futures::TryStreamExt as _;
use spaceport_core::CommitSha;
use spaceport_git::*;

use crate::commit::{committed, delete, put};
use crate::support::*;

fn listing(folder: &str, recursive: bool) -> Listing {
    Listing { folder: folder.to_owned(), recursive, after: None, limit: 1000, only_files: false }
}

async fn listed(hub: &Hub, commit: &CommitSha, listing: Listing) -> Vec<String> {
    let page = hub.repositories.list(hub.repo, commit, listing).await.unwrap().unwrap();
    assert_eq!(page.next, None);
    page.entries.into_iter().map(|entry| entry.path).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_means_branch_tag_ref_and_commit_in_this_order() {
    let hub = Hub::start().await;
    let second = committed(&hub, "two", vec![put("a", "2")]).await;
    let third = committed(&hub, "three", vec![put("a", "3")]).await;
    let repositories = &hub.repositories;
    let tag = TagMessage {
        text: "One\n\nfor all".to_owned(),
        author: crate::commit::author("bob"),
        at: crate::commit::at(1),
    };
    let made = RefCreated::Created(second.clone());
    assert_eq!(repositories.create_tag(hub.repo, "both", &second.as_str()[..8], Some(tag)).await.unwrap(), made);
    let at_first = RefCreated::Created(hub.first.clone());
    assert_eq!(repositories.create_branch(hub.repo, "both", hub.first.as_str()).await.unwrap(), at_first);
    assert_eq!(repositories.create_pull_ref(hub.repo, 3, &second).await.unwrap(), made);
    let folder = hub.repositories.path(hub.repo);
    let of = async |text: &str| repositories.resolve(hub.repo, text).await.unwrap();
    let found = |commit: &CommitSha, kind, name: Option<&str>| {
        Some(Revision { commit: commit.clone(), kind, reference: name.map(str::to_owned) })
    };
    assert_eq!(of("both").await, found(&hub.first, RevisionKind::Branch, Some("refs/heads/both")));
    assert_eq!(of("refs/tags/both").await, found(&second, RevisionKind::Tag, Some("refs/tags/both")));
    assert_eq!(of("refs/pr/3").await, found(&second, RevisionKind::Pull, Some("refs/pr/3")));
    assert_eq!(of(&third.as_str()[..7].to_uppercase()).await, found(&third, RevisionKind::Commit, None));
    assert_eq!(of(third.as_str()).await, found(&third, RevisionKind::Commit, None));
    // A branch that looks like a commit never passes for it.
    plumbing(&folder, &["update-ref", &format!("refs/heads/{third}"), hub.first.as_str()], b"");
    assert_eq!(of(third.as_str()).await, found(&third, RevisionKind::Commit, None));
    plumbing(&folder, &["update-ref", "-d", &format!("refs/heads/{third}")], b"");
    let blob = repositories.entries(hub.repo, &third, vec!["a".to_owned()]).await.unwrap()[0].oid.to_string();
    for text in
        ["pr/3", "heads/main", "refs/heads", "refs/pr/", "HEAD", "-f", "main^{tree}", "a b", &blob, "\0", "refs/pr/3/"]
    {
        assert_eq!(of(text).await, None, "{text:?}");
    }
    let refs = repositories.refs(hub.repo).await.unwrap();
    let refs: Vec<_> = refs.iter().map(|r| (r.kind, r.name.as_str(), r.commit == second)).collect();
    let both =
        [(RevisionKind::Branch, "both", false), (RevisionKind::Tag, "both", true), (RevisionKind::Pull, "3", true)];
    assert!(both.iter().all(|expected| refs.contains(expected)), "{refs:?}");
    let shown =
        hub.ok(&folder, &["for-each-ref", "--format=%(objecttype) %(taggername) %(contents:subject)", "refs/tags"]);
    assert_eq!(shown.await.trim(), "tag bob One");
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_have_folders_sizes_and_pages() {
    let hub = Hub::start().await;
    let object = LfsObject { sha256: "ab".repeat(32), size: 5_000_000_000 };
    let commit = committed(
        &hub,
        "files",
        vec![
            put("a.txt", "12345"),
            put("a/b/c.txt", "1"),
            put("a/b/d.txt", "2"),
            put("a/e", "3"),
            put("a0", "4"),
            Operation::PutLfs { path: "m.bin".to_owned(), object: object.clone() },
        ],
    )
    .await;
    let all = [".gitattributes", "README.md", "a.txt", "a", "a/b", "a/b/c.txt", "a/b/d.txt", "a/e", "a0", "m.bin"];
    assert_eq!(listed(&hub, &commit, listing("", true)).await, all);
    assert_eq!(listed(&hub, &commit, listing("", false)).await, [all[0], all[1], "a.txt", "a", "a0", "m.bin"]);
    assert_eq!(listed(&hub, &commit, listing("a", false)).await, ["a/b", "a/e"]);
    assert_eq!(listed(&hub, &commit, listing("a/b", true)).await, ["a/b/c.txt", "a/b/d.txt"]);
    for folder in ["none", "a.txt", "../a", "a/"] {
        assert_eq!(hub.repositories.list(hub.repo, &commit, listing(folder, true)).await.unwrap(), None, "{folder}");
    }
    // Page by page, of every size, nothing is left out and nothing comes twice.
    for (folder, recursive, limit) in [("", true, 1), ("", true, 3), ("", false, 2), ("a", true, 1), ("a/b", true, 1)] {
        let (mut paths, mut after) = (Vec::new(), None);
        loop {
            let part = Listing { after, limit, ..listing(folder, recursive) };
            let page = hub.repositories.list(hub.repo, &commit, part).await.unwrap().unwrap();
            paths.extend(page.entries.into_iter().map(|entry| entry.path));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(paths, listed(&hub, &commit, listing(folder, recursive)).await, "{folder} {recursive} {limit}");
    }
    for after in ["zzz", "a/b/x", "none/x", ""] {
        let part = Listing { after: Some(after.to_owned()), ..listing("", true) };
        assert!(hub.repositories.list(hub.repo, &commit, part).await.unwrap().is_some(), "{after}");
    }
    let paths = ["m.bin", "none", "a", "a.txt", "../a.txt", "a/b/"].map(str::to_owned).to_vec();
    let entries = hub.repositories.entries(hub.repo, &commit, paths).await.unwrap();
    let shown: Vec<_> = entries.iter().map(|entry| (entry.path.as_str(), entry.kind, entry.size)).collect();
    let (file, folder) = (NodeKind::File, NodeKind::Directory);
    assert_eq!(shown, [("m.bin", file, 5_000_000_000), ("a", folder, 0), ("a.txt", file, 5), ("a/b", folder, 0)]);
    let pointer_size = u64::try_from(object.pointer().len()).unwrap();
    assert_eq!(entries[0].lfs, Some(LfsPointer { object, pointer_size }));
    let tree = hub.ok(&hub.repositories.path(hub.repo), &["rev-parse", "main:a", "main:m.bin"]).await;
    assert_eq!(tree, format!("{}\n{}\n", entries[1].oid, entries[0].oid));
    let found = hub.repositories.find(hub.repo, "main", "a.txt").await.unwrap().unwrap();
    assert_eq!((found.revision.commit, found.entry.unwrap().size), (commit, 5));
    assert_eq!(hub.repositories.find(hub.repo, "main", "b.txt").await.unwrap().unwrap().entry, None);
    assert_eq!(hub.repositories.find(hub.repo, "none", "a.txt").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_files_and_submodules_are_left_out() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    symlink("README.md", work.join("link")).unwrap();
    hub.ok(&work, &["add", "-A"]).await;
    hub.ok(&work, &["update-index", "--add", "--cacheinfo", &format!("160000,{},sub/module", hub.first)]).await;
    hub.ok(&work, &["commit", "-q", "-m", "x"]).await;
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
    let main = hub.main().await;
    assert_eq!(listed(&hub, &main, listing("", true)).await, [".gitattributes", "README.md", "link", "sub"]);
    assert_eq!(hub.repositories.entries(hub.repo, &main, vec!["sub/module".to_owned()]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_knows_the_commit_that_touched_it_last() {
    let hub = Hub::start().await;
    let one = committed(&hub, "one", vec![put("dir/a", "1"), put("dir/b", "1"), put("same", "1")]).await;
    let two = committed(&hub, "two", vec![put("dir/a", "2"), put("top", "1")]).await;
    hub.repositories.create_branch(hub.repo, "side", "main").await.unwrap();
    let moved = committed(&hub, "moved", vec![delete("dir/b"), put("dir/renamed", "1")]).await;
    let side = crate::commit::spec("side", vec![put("dir/sub/c", "1")]);
    let side = hub.repositories.commit(hub.repo, "refs/heads/side", side).await.unwrap();
    let CommitOutcome::Committed { commit: side, .. } = side else { panic!("{side:?}") };
    let (bob, at) = (crate::commit::author("bob"), crate::commit::at(5));
    let merged = hub.repositories.merge(hub.repo, "main", "refs/heads/side", "merge", &bob, at).await.unwrap();
    let MergeOutcome::Merged { commit: head, .. } = merged else { panic!("{merged:?}") };
    let expected = [
        ("dir/a", Some(&two)),
        ("dir/renamed", Some(&moved)),
        ("dir/b", None),
        ("same", Some(&one)),
        ("top", Some(&two)),
        ("dir/sub/c", Some(&side)),
        ("dir/sub", Some(&side)),
        ("dir", Some(&head)),
        ("README.md", Some(&hub.first)),
        ("../x", None),
    ];
    let paths = expected.iter().map(|(path, _)| (*path).to_owned()).collect();
    let last = hub.repositories.last_commits(hub.repo, &head, paths).await.unwrap();
    for ((path, commit), found) in expected.iter().zip(&last) {
        assert_eq!(found.as_ref().map(|info| &info.sha), *commit, "{path}");
        if let Some(commit) = commit {
            let said =
                hub.ok(&hub.repositories.path(hub.repo), &["log", "-1", "--format=%H", "main", "--", path]).await;
            assert_eq!(said.trim(), commit.as_str(), "{path}");
        }
    }
    let log = hub.repositories.log(hub.repo, &head, 0, 2).await.unwrap();
    assert_eq!((log.len(), log[0].title.as_str(), log[0].author.as_str()), (2, "merge", "bob"));
    let rest = hub.repositories.log(hub.repo, &head, 5, 10).await.unwrap();
    assert_eq!(rest.iter().map(|info| info.title.as_str()).collect::<Vec<_>>(), ["initial commit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_come_whole_or_as_a_stream_and_in_parts() {
    let hub = Hub::with(Limits { max_file_bytes: 64 << 20, ..Limits::default() }).await;
    let large: Vec<u8> = (0..12_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let spooled = hub.folder.path().join("large");
    std::fs::write(&spooled, &large).unwrap();
    let content = FileContent::Spooled(spooled);
    let commit =
        committed(&hub, "x", vec![put("small", "0123456789"), Operation::Put { path: "large".to_owned(), content }])
            .await;
    let paths = vec!["small".to_owned(), "large".to_owned(), "large/".to_owned()];
    let entries = hub.repositories.entries(hub.repo, &commit, paths).await.unwrap();
    let read = async |id: ObjectId, range| {
        let blob = hub.repositories.blob(hub.repo, id, range).await.unwrap().unwrap();
        let streamed = matches!(blob.content, Content::Stream(_));
        let bytes = match blob.content {
            Content::Whole(bytes) => bytes.to_vec(),
            Content::Stream(pieces) => pieces.try_collect::<Vec<_>>().await.unwrap().concat(),
        };
        (blob.size, streamed, bytes)
    };
    let (small, big) = (entries[0].oid, entries[1].oid);
    assert_eq!(read(small, None).await, (10, false, b"0123456789".to_vec()));
    assert_eq!(read(small, Some(2..5)).await, (10, false, b"234".to_vec()));
    assert_eq!(read(small, Some(8..500)).await, (10, false, b"89".to_vec()));
    assert_eq!(read(small, Some(50..60)).await.2, b"");
    assert!(read(big, None).await == (12_000_000, true, large.clone()));
    assert!(read(big, Some(5_000_000..5_000_100)).await.2 == large[5_000_000..5_000_100]);
    assert!(read(big, Some(11_999_999..20_000_000)).await.2 == large[11_999_999..]);
    let none: ObjectId = "0123456789012345678901234567890123456789".parse().unwrap();
    let tree: ObjectId =
        hub.ok(&hub.repositories.path(hub.repo), &["rev-parse", "main:"]).await.trim().parse().unwrap();
    for id in [none, tree] {
        assert!(hub.repositories.blob(hub.repo, id, None).await.unwrap().is_none());
    }
    for text in ["main", "", "0123456", "0123456789012345678901234567890123456789x"] {
        assert!(text.parse::<ObjectId>().is_err());
    }
}
