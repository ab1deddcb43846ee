//! What a push may do: which refs, how large, and with which LFS objects.

use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use spaceport_git::*;

use crate::commit::{committed, put};
use crate::support::*;

fn only(names: &[&str]) -> PushPolicy {
    PushPolicy {
        access: PushAccess::Only(names.iter().map(|name| (*name).to_owned()).collect()),
        ..PushPolicy::default()
    }
}

/// A policy whose server has the given objects; and what it was asked for.
fn having(there: Vec<LfsObject>) -> (PushPolicy, Arc<Mutex<Vec<LfsObject>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let lfs: LfsCheck = Box::new(move |objects| {
        seen.lock().unwrap().extend(objects.clone());
        async move { Ok(objects.into_iter().filter(|object| !there.contains(object)).collect()) }.boxed()
    });
    (PushPolicy { lfs: Some(lfs), ..PushPolicy::default() }, asked)
}

pub fn object(number: u8) -> LfsObject {
    LfsObject { sha256: format!("{number:02x}").repeat(32), size: u64::from(number) }
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_requests_take_pushes_from_those_who_may() {
    let hub = Hub::start().await;
    hub.repositories.create_pull_ref(hub.repo, 1, &hub.first).await.unwrap();
    hub.repositories.create_pull_ref(hub.repo, 2, &hub.first).await.unwrap();
    let work = hub.clone("work").await;
    let new = hub.commit(&work, "app.py", b"print(1)").await;
    let push = |refspec: &str| ["push", "origin", refspec].map(str::to_owned);
    let fails = async |refspec: &str, expected: &str| {
        let said = hub.fails(&work, &push(refspec).each_ref().map(String::as_str)).await;
        assert!(said.contains(&format!("remote: {expected}")), "{said}");
    };
    for (refspec, expected) in [
        ("HEAD:main", "You may not push to refs/heads/main,"),
        ("HEAD:refs/pr/2", "You may not push to refs/pr/2,"),
        ("HEAD:refs/pr/3", "You may not push to refs/pr/3,"),
        (":refs/pr/1", "You may not push to refs/pr/1,"),
    ] {
        hub.next_push(only(&["refs/pr/1", "refs/pr/3"]));
        fails(refspec, expected).await;
    }
    hub.next_push(only(&["refs/pr/1"]));
    hub.ok(&work, &["push", "-q", "origin", "HEAD:refs/pr/1"]).await;
    // Whoever may write pushes to every request, and still makes none.
    hub.ok(&work, &["push", "-q", "origin", "HEAD:refs/pr/2", "HEAD:feature"]).await;
    fails("HEAD:refs/pr/3", "The ref refs/pr/3 cannot be pushed").await;
    let found = hub.repositories.resolve(hub.repo, "refs/pr/1").await.unwrap().unwrap();
    assert_eq!((found.commit, hub.main().await), (new, hub.first.clone()));
    assert_eq!(hub.repositories.resolve(hub.repo, "refs/pr/3").await.unwrap(), None);
    // A request can be fetched.
    hub.ok(&work, &["fetch", "-q", "origin", "refs/pr/1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_like_commits_and_tags_of_files_are_refused() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    let said = hub.fails(&work, &["push", "origin", &format!("HEAD:refs/heads/{}", hub.first)]).await;
    assert!(said.contains("looks like the id of a commit"), "{said}");
    std::fs::write(work.join("big"), "a tag may lead to a file").unwrap();
    let blob = hub.ok(&work, &["hash-object", "-w", "big"]).await;
    let said = hub.fails(&work, &["push", "origin", &format!("{}:refs/tags/blob", blob.trim())]).await;
    assert!(said.contains("does not lead to a commit"), "{said}");
    assert_eq!(hub.repositories.refs(hub.repo).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_named_with_what_to_do() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    hub.commit(&work, "data/big.bin", &vec![0; (10 << 20) + 1]).await;
    let said = hub.fails(&work, &["push", "origin", "main"]).await;
    assert!(said.contains("remote: The file data/big.bin has 10485761 bytes; at most 10485760"), "{said}");
    assert!(said.contains("git lfs migrate import"), "{said}");
    hub.ok(&work, &["reset", "-q", "--hard", "origin/main"]).await;
    hub.commit(&work, "data/fits.bin", &vec![0; 10 << 20]).await;
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_need_the_content_of_their_lfs_files() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    hub.commit(&work, "models/one.bin", object(1).pointer().as_bytes()).await;
    hub.commit(&work, "models/two.bin", object(2).pointer().as_bytes()).await;
    // Not in the last commit, but in the history.
    let new = hub.commit(&work, "models/one.bin", object(3).pointer().as_bytes()).await;
    let (policy, asked) = having(vec![object(1), object(3)]);
    hub.next_push(policy);
    let said = hub.fails(&work, &["push", "origin", "main"]).await;
    assert!(said.contains("remote: The content of models/two.bin"), "{said}");
    assert!(said.contains("git lfs push --all origin") && !said.contains("one.bin"), "{said}");
    let mut all = asked.lock().unwrap().clone();
    all.sort();
    assert_eq!(all, [object(1), object(2), object(3)]);
    assert_eq!(hub.main().await, hub.first);
    hub.next_push(having(vec![object(1), object(2), object(3)]).0);
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
    assert_eq!(hub.main().await, new);
    // Only what is new is asked for.
    hub.commit(&work, "app.py", b"print(1)").await;
    let (policy, asked) = having(vec![]);
    hub.next_push(policy);
    hub.ok(&work, &["push", "-q", "origin", "main", "HEAD:other"]).await;
    assert_eq!(*asked.lock().unwrap(), []);
    hub.commit(&work, "three.bin", object(4).pointer().as_bytes()).await;
    let lfs: LfsCheck = Box::new(|_| async { Err("The store is away. Try again later.".to_owned()) }.boxed());
    hub.next_push(PushPolicy { lfs: Some(lfs), ..PushPolicy::default() });
    let said = hub.fails(&work, &["push", "origin", "main"]).await;
    assert!(said.contains("remote: The store is away."), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lfs_files_are_found_between_commits_and_in_the_whole_repository() {
    let hub = Hub::start().await;
    let lfs = |path: &str, number| Operation::PutLfs { path: path.to_owned(), object: object(number) };
    let one = committed(&hub, "one", vec![lfs("a/one", 1), put("small", "x"), put("text", &"x".repeat(500))]).await;
    let two = committed(&hub, "two", vec![lfs("a/one", 2), lfs("copy", 1)]).await;
    let three = committed(&hub, "three", vec![lfs("a/one", 3)]).await;
    hub.repositories.create_pull_ref(hub.repo, 1, &one).await.unwrap();
    let request = crate::commit::spec("x", vec![lfs("four", 4)]);
    hub.repositories.commit(hub.repo, "refs/pr/1", request).await.unwrap();
    let files = async |old, new| {
        let mut files = hub.repositories.lfs_files_between(hub.repo, old, new).await.unwrap();
        files.sort_by(|a, b| a.object.cmp(&b.object));
        files.into_iter().map(|file| (file.object, file.path)).collect::<Vec<_>>()
    };
    let file = |number, path: &str| (object(number), path.to_owned());
    assert_eq!(files(Some(&two), &three).await, [file(3, "a/one")]);
    assert_eq!(files(Some(&three), &three).await, []);
    let all: Vec<u64> = files(None, &three).await.into_iter().map(|(object, _)| object.size).collect();
    assert_eq!(all, [1, 2, 3]);
    let mut all = hub.repositories.all_lfs_files(hub.repo).await.unwrap();
    all.sort_by(|a, b| a.object.cmp(&b.object));
    assert_eq!(all.iter().map(|file| file.object.size).collect::<Vec<_>>(), [1, 2, 3, 4]);
    // What no ref leads to any more is not counted.
    hub.repositories
        .squash(hub.repo, "main", "squash", &crate::commit::author("a"), crate::commit::at(0))
        .await
        .unwrap();
    let left = hub.repositories.all_lfs_files(hub.repo).await.unwrap();
    assert_eq!(left.iter().map(|file| file.object.size).filter(|size| *size == 2).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_that_hold_themselves_many_times_over_are_refused() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    let blob = plumbing(&work, &["hash-object", "-w", "--stdin"], b"x");
    let mut inner = format!("100644 blob {}\tf\n", String::from_utf8(blob).unwrap().trim());
    for _ in 0..12 {
        let tree = String::from_utf8(plumbing(&work, &["mktree"], inner.as_bytes())).unwrap();
        inner = (0..10).map(|n| format!("040000 tree {}\t{n}\n", tree.trim())).collect();
    }
    let tree = String::from_utf8(plumbing(&work, &["mktree"], inner.as_bytes())).unwrap();
    let commit = plumbing(&work, &["commit-tree", tree.trim(), "-m", "bomb"], b"");
    let commit = String::from_utf8(commit).unwrap();
    let said = hub.fails(&work, &["push", "origin", &format!("{}:refs/heads/bomb", commit.trim())]).await;
    assert!(said.contains("more than 2000000 files"), "{said}");
}
