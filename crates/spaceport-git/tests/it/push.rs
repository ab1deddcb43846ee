//! What a user does: clone, fetch and push.

use std::io::Write as _;
use std::path::Path;

use spaceport_git::*;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_push_moves_main_and_tells_where_to_look() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    assert_eq!(hub.ok(&work, &["log", "--format=%an: %s"]).await, "alice: initial commit\n");
    let pushed = hub.commit(&work, "app.py", b"print(1)").await;
    let said = hub.ok(&work, &["push", "origin", "main"]).await;
    assert!(said.contains("remote: Space: http://alice-demo.localhost:8080"), "{said}");
    assert!(said.contains("remote: Build: see the logs"), "{said}");
    let report = hub.reported(1).await.remove(0).unwrap();
    let moved =
        RefChange { name: "refs/heads/main".to_owned(), old: Some(hub.first.clone()), new: Some(pushed.clone()) };
    assert_eq!((report.main(), &report.moved), (Some(&pushed), &vec![moved]));
    assert_eq!(hub.main().await, pushed);

    let said = hub.ok(&work, &["push", "origin", "main:feature", "HEAD:refs/tags/v1"]).await;
    assert!(said.contains("remote: Only main is built.") && !said.contains("Space:"), "{said}");
    let report = hub.reported(2).await.remove(1).unwrap();
    assert_eq!((report.main(), report.moved.len()), (None, 2));
    let leftovers = std::fs::read_dir(hub.folder.path().join("repos")).unwrap();
    assert!(leftovers.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with(".new-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_are_shallow_and_partial_in_both_protocols() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    for number in 0..3 {
        hub.commit(&work, "app.py", format!("print({number})").as_bytes()).await;
    }
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
    let root = hub.folder.path();
    for version in ["0", "2"] {
        let protocol = format!("protocol.version={version}");
        let shallow = format!("shallow{version}");
        hub.ok(root, &["-c", &protocol, "clone", "-q", "--depth=1", &hub.url, &shallow]).await;
        let shallow = root.join(shallow);
        assert_eq!(hub.ok(&shallow, &["rev-list", "--count", "HEAD"]).await, "1\n");
        hub.ok(&shallow, &["-c", &protocol, "fetch", "-q", "--unshallow"]).await;
        assert_eq!(hub.ok(&shallow, &["rev-list", "--count", "HEAD"]).await, "4\n");
        let partial = format!("partial{version}");
        hub.ok(root, &["-c", &protocol, "clone", "-q", "--filter=blob:none", &hub.url, &partial]).await;
        assert_eq!(std::fs::read(root.join(partial).join("app.py")).unwrap(), b"print(2)");
    }
    let trace = hub.ok(root, &["-c", "protocol.version=2", "ls-remote", &hub.url]).await;
    assert!(trace.contains("refs/heads/main"), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_negotiations_arrive_compressed() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    let other = hub.clone("other").await;
    // More than a kilobyte of haves: git compresses such a request.
    for number in 0..60 {
        hub.ok(&work, &["commit", "-q", "--allow-empty", "-m", &number.to_string()]).await;
    }
    hub.commit(&other, "app.py", b"print(1)").await;
    hub.ok(&other, &["push", "-q", "origin", "main"]).await;
    let mut fetch = client(&work, &["fetch", "origin"]);
    let output = fetch.env("GIT_TRACE_CURL", "1").env("GIT_TRACE_CURL_NO_DATA", "1").output().unwrap();
    let said = text(&output);
    assert!(output.status.success() && said.to_lowercase().contains("content-encoding: gzip"), "{said}");
    assert_eq!(hub.ok(&work, &["rev-parse", "FETCH_HEAD"]).await.trim(), hub.main().await.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_pushes_do_not_fill_memory() {
    let hub = Hub::with(Limits { max_file_bytes: 200 << 20, ..Limits::default() }).await;
    let work = hub.clone("work").await;
    hub.ok(&work, &["config", "core.compression", "0"]).await;
    write_noise(&work.join("model.dat"), 120);
    std::fs::write(work.join(".gitattributes"), "").unwrap();
    let pushed = hub.commit_all(&work).await;
    let before = peak_kib();
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
    assert_eq!(hub.main().await, pushed);
    hub.ok(hub.folder.path(), &["clone", "-q", &hub.url, "again"]).await;
    let grown = peak_kib().saturating_sub(before);
    assert!(grown < 20 * 1024, "the server grew by {grown} KiB");
    assert_eq!(std::fs::metadata(hub.folder.path().join("again/model.dat")).unwrap().len(), 120 << 20);
}

/// Writes `mib` MiB that do not compress, piece by piece: this process is the server as well.
fn write_noise(path: &Path, mib: usize) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..mib * 128 {
        let mut piece = Vec::with_capacity(8192);
        while piece.len() < 8192 {
            // xorshift64: the next of many different numbers.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece.extend_from_slice(&state.to_le_bytes());
        }
        file.write_all(&piece).unwrap();
    }
}

/// The most memory this process ever held, in KiB. The clients are other processes.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn history_may_be_rewritten_but_main_not_deleted() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    hub.commit(&work, "app.py", b"print(1)").await;
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
    hub.ok(&work, &["commit", "-q", "--amend", "-m", "other"]).await;
    hub.fails(&work, &["push", "origin", "main"]).await;
    hub.ok(&work, &["push", "-q", "--force", "origin", "main"]).await;
    let forced = hub.main().await;
    assert_eq!(hub.ok(&work, &["rev-parse", "HEAD"]).await.trim(), forced.as_str());
    let said = hub.fails(&work, &["push", "origin", ":main"]).await;
    assert!(said.contains("remote: The branch main cannot be deleted"), "{said}");
    for name in ["refs/pr/1", "refs/other/x"] {
        let said = hub.fails(&work, &["push", "origin", &format!("HEAD:{name}")]).await;
        assert!(said.contains(&format!("remote: The ref {name} cannot be pushed")), "{said}");
    }
    hub.fails(&work, &["push", "origin", "HEAD:refs/convert/build"]).await;
    hub.ok(&work, &["push", "-q", "origin", "HEAD:gone"]).await;
    hub.ok(&work, &["push", "-q", "origin", ":gone"]).await;
    assert_eq!(hub.repositories.head(hub.repo, "gone").await.unwrap(), None);
    assert_eq!(hub.main().await, forced);
    let moved: usize = hub.reports.lock().unwrap().iter().flatten().map(|report| report.moved.len()).sum();
    assert_eq!(moved, 4, "refused pushes move nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_packs_over_the_limit_are_refused_in_words() {
    let limits = Limits { max_file_bytes: 100_000, max_pack_bytes: 400_000, ..Limits::default() };
    let hub = Hub::with(limits).await;
    let work = hub.clone("work").await;
    hub.commit(&work, "data/big file.txt", &vec![b'x'; 100_001]).await;
    let said = hub.fails(&work, &["push", "origin", "main"]).await;
    assert!(said.contains("remote: The file data/big file.txt has 100001 bytes; at most 100000"), "{said}");
    assert!(said.contains("git lfs migrate import --above=100000b"), "{said}");
    // Removed in a later commit, but still in the history.
    hub.ok(&work, &["rm", "-q", "data/big file.txt"]).await;
    hub.commit_all(&work).await;
    hub.fails(&work, &["push", "origin", "main"]).await;
    hub.ok(&work, &["reset", "-q", "--hard", "origin/main"]).await;
    let noise: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for (number, piece) in noise.chunks(90_000).enumerate() {
        std::fs::write(work.join(format!("{number}.txt")), piece).unwrap();
    }
    hub.commit_all(&work).await;
    let said = hub.fails(&work, &["push", "origin", "main"]).await;
    assert!(said.contains("pack exceeds maximum allowed size"), "{said}");
    assert_eq!(hub.main().await, hub.first);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pushes_at_once_one_wins_and_the_other_is_told() {
    let hub = Hub::start().await;
    let mut works = Vec::new();
    for name in ["one", "two", "three", "four"] {
        let work = hub.clone(name).await;
        hub.commit(&work, "app.py", name.as_bytes()).await;
        works.push(work);
    }
    let push = async |work: &Path| hub.git(work, &["push", "origin", "main"]).await;
    let results = tokio::join!(push(&works[0]), push(&works[1]), push(&works[2]), push(&works[3]));
    let results = [results.0, results.1, results.2, results.3];
    let winners: Vec<_> = (0..4).filter(|index| results[*index].status.success()).collect();
    assert_eq!(winners.len(), 1, "{:?}", results.iter().map(text).collect::<Vec<_>>());
    let winner = hub.ok(&works[winners[0]], &["rev-parse", "HEAD"]).await;
    assert_eq!(winner.trim(), hub.main().await.as_str());
    let moved: usize = hub.reports.lock().unwrap().iter().flatten().map(|report| report.moved.len()).sum();
    assert_eq!(moved, 1);
}
