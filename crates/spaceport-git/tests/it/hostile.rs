//! What a broken or hostile client sends: an error, never a hang, and nothing half-written.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use spaceport_git::*;

use crate::support::*;

type Item = Result<Bytes, std::io::Error>;

fn request(items: Vec<Item>) -> Request<impl futures::Stream<Item = Item> + Send + Unpin> {
    Request { body: futures::stream::iter(items), encoding: BodyEncoding::Identity, protocol: None }
}

async fn push(hub: &Hub, items: Vec<Item>) -> Result<PushReport, GitError> {
    let push = hub.repositories.receive_pack(hub.repo, request(items), PushPolicy::default()).unwrap();
    let output = push.output.for_each(|_| std::future::ready(()));
    let both = async { tokio::join!(push.done, output).0 };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("an answer")
}

/// The body of a real push of one commit to `main`.
async fn real_push(hub: &Hub) -> Vec<u8> {
    let work = hub.clone("real").await;
    let new = hub.commit(&work, "app.py", b"print(1)").await;
    let range = format!("{new}\n^{}\n", hub.first);
    let pack = plumbing(&work, &["pack-objects", "--revs", "--stdout", "-q"], range.as_bytes());
    let command = format!("{} {new} refs/heads/main\0 report-status", hub.first);
    let mut body = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
    body.extend_from_slice(&pack);
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_errors() {
    let hub = Hub::start().await;
    for body in [&b"zzzz"[..], b"0001", b"ffff", b"0010hello", b"\0\0\0\0", b"0009done\n"] {
        let item = || vec![Ok(Bytes::copy_from_slice(body))];
        let fetch = hub.repositories.upload_pack(hub.repo, request(item()));
        let fetched = tokio::time::timeout(Duration::from_secs(30), fetch).await.expect("an answer");
        // `0001` asks for nothing, and git answers with nothing; whatever else it is, it ends.
        if let Ok(output) = fetched {
            let rest = output.collect::<Vec<_>>();
            tokio::time::timeout(Duration::from_secs(30), rest).await.expect("an end");
        }
        let pushed = push(&hub, item()).await;
        assert!(!matches!(pushed, Ok(PushReport { ref moved }) if !moved.is_empty()), "{body:?}: {pushed:?}");
    }
    assert_eq!(hub.main().await, hub.first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_cut_off_changes_nothing() {
    let hub = Hub::start().await;
    let body = real_push(&hub).await;
    for length in [10, 60, body.len() / 2, body.len() - 1] {
        // The client ends its request early.
        let piece = Bytes::copy_from_slice(&body[..length]);
        let report = push(&hub, vec![Ok(piece.clone())]).await;
        assert!(!matches!(report, Ok(PushReport { ref moved }) if !moved.is_empty()), "{length}: {report:?}");
        // The connection breaks.
        let report = push(&hub, vec![Ok(piece), Err(std::io::ErrorKind::ConnectionReset.into())]).await;
        assert!(matches!(report, Err(GitError::ClientGone)), "{length}: {report:?}");
        assert_eq!(hub.main().await, hub.first);
    }
    let report = push(&hub, vec![Ok(body.into())]).await.unwrap();
    assert_eq!(report.main(), Some(&hub.main().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_reported_when_the_client_leaves_after_its_last_byte() {
    let hub = Hub::start().await;
    let body = real_push(&hub).await;
    let Push { output, done } =
        hub.repositories.receive_pack(hub.repo, request(vec![Ok(body.into())]), PushPolicy::default()).unwrap();
    drop(output);
    let report = tokio::time::timeout(Duration::from_secs(30), done).await.expect("an answer").unwrap();
    assert_eq!(report.main(), Some(&hub.main().await));
    assert_ne!(hub.main().await, hub.first);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_have_a_bound() {
    let hub = Hub::with(Limits { max_fetch_request_bytes: 1 << 20, ..Limits::default() }).await;
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        bomb.write_all(&vec![b'0'; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    for (body, expected) in [(bomb.as_slice(), "more than 1048576 bytes"), (&bomb[..200], "gzip"), (b"plain", "gzip")] {
        let body = futures::stream::iter(vec![Ok::<_, std::io::Error>(Bytes::copy_from_slice(body))]);
        let request = Request { body, encoding: BodyEncoding::Gzip, protocol: Some("version=2".to_owned()) };
        let result = hub.repositories.upload_pack(hub.repo, request).await;
        let Err(GitError::Request(message)) = result else { panic!("{expected}") };
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_with_hostile_names_are_refused() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    let blob = plumbing(&work, &["hash-object", "-w", "--stdin"], b"[core]\n");
    let blob = String::from_utf8(blob).unwrap();
    for name in [".git", "..", "a/b"] {
        // git's own commands refuse to make such a tree, so it is written by hand.
        let mut tree = format!("100644 {name}\0").into_bytes();
        let hex = blob.trim();
        tree.extend((0..20).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()));
        let args = ["hash-object", "-w", "--literally", "-t", "tree", "--stdin"];
        let tree = String::from_utf8(plumbing(&work, &args, &tree)).unwrap();
        let commit = plumbing(&work, &["commit-tree", tree.trim(), "-m", "bad"], b"");
        let commit = String::from_utf8(commit).unwrap();
        let said = hub.fails(&work, &["push", "origin", &format!("{}:refs/heads/bad", commit.trim())]).await;
        assert!(
            said.contains("fsck error") || said.contains("hasDotgit") || said.contains("remote rejected"),
            "{said}"
        );
    }
    assert_eq!(hub.repositories.head(hub.repo, "bad").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_ids_have_no_repository() {
    let hub = Hub::start().await;
    let said = hub
        .fails(hub.folder.path(), &["clone", &hub.url.replace(&hub.repo.to_string(), &repo_id(9).to_string()), "x"])
        .await;
    assert!(said.contains("not found"), "{said}");
}

#[tokio::test]
async fn a_client_that_falls_silent_is_given_up() {
    let hub = Hub::start().await;
    let body = || {
        let start = futures::stream::iter(vec![Ok::<_, std::io::Error>(Bytes::from_static(b"00"))]);
        let body = start.chain(futures::stream::pending());
        Request { body, encoding: BodyEncoding::Identity, protocol: None }
    };
    let Push { output, done } = hub.repositories.receive_pack(hub.repo, body(), PushPolicy::default()).unwrap();
    // The clock now jumps to the next deadline whenever nothing else happens.
    tokio::time::pause();
    let (pushed, ()) = tokio::join!(done, output.for_each(|_| std::future::ready(())));
    assert!(matches!(pushed, Err(GitError::ClientGone)), "{pushed:?}");
    let fetched = hub.repositories.upload_pack(hub.repo, body()).await;
    assert!(matches!(fetched, Err(GitError::ClientGone)));
}
