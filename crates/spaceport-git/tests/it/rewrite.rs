//! Large files taken out of a history.

use std::collections::{HashMap, HashSet};

use spaceport_core::{CommitSha, Sha256};
use spaceport_git::*;

use crate::commit::{at, author, committed, fsck, put, spec};
use crate::policy::object;
use crate::support::*;

fn large(path: &str, number: u8) -> Operation {
    Operation::PutLfs { path: path.to_owned(), object: object(number) }
}

fn names(numbers: &[u8]) -> HashSet<Sha256> {
    numbers.iter().map(|number| object(*number).sha256.parse().unwrap()).collect()
}

async fn forget(hub: &Hub, numbers: &[u8]) -> HashMap<String, (CommitSha, CommitSha)> {
    let changes = hub.repositories.forget_lfs_files(hub.repo, names(numbers)).await.unwrap();
    changes.into_iter().map(|change| (change.name, (change.old.unwrap(), change.new.unwrap()))).collect()
}

/// The large files that any ref leads to, by their numbers.
async fn left(hub: &Hub) -> Vec<u64> {
    let mut left: Vec<_> =
        hub.repositories.all_lfs_files(hub.repo).await.unwrap().into_iter().map(|file| file.object.size).collect();
    left.sort_unstable();
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ref_forgets_a_file_and_keeps_the_rest() {
    let hub = Hub::start().await;
    let (git, repo) = (&hub.repositories, hub.repo);
    let one = committed(&hub, "one", vec![large("deep/only/a.bin", 1), large("kept.bin", 2), put("text", "x")]).await;
    let annotation = TagMessage { text: "The first".to_owned(), author: author("alice"), at: at(1) };
    git.create_tag(repo, "v1", "main", Some(annotation)).await.unwrap();
    git.create_tag(repo, "before", hub.first.as_str(), None).await.unwrap();
    git.create_branch(repo, "side", "main").await.unwrap();
    git.create_pull_ref(repo, 3, &one).await.unwrap();
    git.commit(repo, "refs/pr/3", spec("request", vec![large("copy.bin", 1)])).await.unwrap();
    let two = committed(&hub, "two", vec![put("text", "y")]).await;

    let moved = forget(&hub, &[1]).await;
    let mut refs: Vec<_> = moved.keys().map(String::as_str).collect();
    refs.sort_unstable();
    assert_eq!(refs, ["refs/heads/main", "refs/heads/side", "refs/pr/3", "refs/tags/v1"]);
    assert_eq!(moved["refs/heads/main"].0, two);
    assert_eq!(moved["refs/heads/side"].1, moved["refs/tags/v1"].1, "the same commit stays the same");
    assert_eq!(hub.main().await, moved["refs/heads/main"].1);
    assert_eq!(left(&hub).await, [2]);

    let log = git.log(repo, &hub.main().await, 0, 10).await.unwrap();
    let titles: Vec<_> = log.iter().map(|commit| (commit.title.as_str(), commit.author.as_str(), commit.at)).collect();
    assert_eq!(titles[..2], [("two", "alice", at(0)), ("one", "alice", at(0))]);
    assert_eq!(log[2].sha, hub.first, "what is older is not touched");
    let work = hub.clone("work").await;
    assert_eq!(
        hub.ok(&work, &["ls-tree", "-r", "--name-only", "HEAD"]).await,
        ".gitattributes\nREADME.md\nkept.bin\ntext\n"
    );
    assert_eq!(hub.ok(&work, &["tag", "-l", "--format=%(contents:subject)", "v1"]).await.trim(), "The first");
    fsck(&hub).await;
    assert!(forget(&hub, &[1]).await.is_empty(), "there is nothing more to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_and_commits_that_become_empty_stay() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    hub.ok(&work, &["checkout", "-q", "-b", "side"]).await;
    hub.commit(&work, "big.bin", object(1).pointer().as_bytes()).await;
    hub.ok(&work, &["checkout", "-q", "main"]).await;
    hub.commit(&work, "small", b"x").await;
    hub.ok(&work, &["merge", "-q", "--no-ff", "-m", "join", "side"]).await;
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;

    forget(&hub, &[1, 9]).await;
    let again = hub.clone("again").await;
    let graph = hub.ok(&again, &["log", "--topo-order", "--format=%s:%p"]).await;
    let parents: Vec<_> = graph.lines().map(|line| line.split_once(':').unwrap()).collect();
    assert_eq!(parents[0].0, "join");
    assert_eq!(parents[0].1.split(' ').count(), 2);
    assert_eq!(parents.len(), 4);
    assert_eq!(left(&hub).await, [0; 0]);
    fsck(&hub).await;

    // Whoever has the old history cannot bring it back by an ordinary push.
    hub.commit(&work, "more", b"x").await;
    let said = hub.fails(&work, &["push", "origin", "main"]).await;
    assert!(said.contains("rejected"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_meanwhile_are_rewritten_and_none_is_lost() {
    let hub = Hub::start().await;
    for number in 0..40 {
        committed(&hub, "more", vec![large("a.bin", 1), put("n", &number.to_string())]).await;
    }
    let work = hub.clone("work").await;
    let pushes = async {
        for number in 0..10 {
            loop {
                hub.ok(&work, &["fetch", "-q", "origin"]).await;
                hub.ok(&work, &["reset", "-q", "--hard", "origin/main"]).await;
                hub.commit(&work, &format!("pushed-{number}"), b"x").await;
                if hub.git(&work, &["push", "-q", "origin", "main"]).await.status.success() {
                    break;
                }
            }
        }
    };
    let rewrites = async {
        for _ in 0..10 {
            forget(&hub, &[1]).await;
            committed(&hub, "again", vec![large("a.bin", 1)]).await;
        }
        forget(&hub, &[1]).await
    };
    futures::join!(pushes, rewrites);
    let files = hub.clone("end").await;
    let listed = hub.ok(&files, &["ls-tree", "--name-only", "HEAD"]).await;
    assert_eq!(listed.lines().filter(|name| name.starts_with("pushed-")).count(), 10, "{listed}");
    assert_eq!(left(&hub).await, [0; 0]);
    fsck(&hub).await;
}
