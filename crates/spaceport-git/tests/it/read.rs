//! Repositories as the platform reads and writes them.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::sync::{Arc, mpsc};

use spaceport_core::{Reason, Timestamp};
use spaceport_git::*;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn repositories_come_and_go() {
    let hub = Hub::start().await;
    assert!(matches!(hub.repositories.create(hub.repo, &initial()).await, Err(GitError::AlreadyExists(_))));
    let info = hub.repositories.commit_info(hub.repo, &hub.first).await.unwrap().unwrap();
    assert_eq!((info.title.as_str(), info.author.as_str()), ("initial commit", "alice"));
    assert_eq!(info.at, Timestamp::from_millis(1_767_323_045_000));
    hub.repositories.maintain(hub.repo).await.unwrap();
    hub.repositories.delete(hub.repo).await.unwrap();
    hub.repositories.delete(hub.repo).await.unwrap();
    assert!(!hub.repositories.exists(hub.repo));
    assert!(matches!(hub.repositories.head(hub.repo, "main").await, Err(GitError::NoRepository(_))));
    std::fs::create_dir(hub.folder.path().join("repos/.new-left-behind")).unwrap();
    hub.repositories.sweep().await.unwrap();
    assert!(!hub.folder.path().join("repos/.new-left-behind").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_are_found_as_on_the_hub() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    let new = hub.commit(&work, "app.py", b"print(1)").await;
    hub.ok(&work, &["tag", "-a", "v1", "-m", "one"]).await;
    hub.ok(&work, &["push", "-q", "origin", "HEAD:feature/x", "v1"]).await;
    let resolve = async |text: &str| hub.repositories.resolve(hub.repo, text).await.unwrap().map(|found| found.commit);
    assert_eq!(resolve("main").await, Some(hub.first.clone()));
    for name in ["feature/x", "v1", "refs/heads/feature/x", new.as_str(), &new.as_str()[..7]] {
        assert_eq!(resolve(name).await, Some(new.clone()), "{name}");
    }
    for name in
        ["", "nothing", "main~0", "HEAD^", "@{-1}", "--all", ":/change", "main:app.py", "../x", &new.as_str()[..6]]
    {
        assert_eq!(resolve(name).await, None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_listed_and_read() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    std::fs::write(work.join("line\nbreak"), "x").unwrap();
    symlink("app/main.py", work.join("link")).unwrap();
    let sha = hub.commit(&work, "app/main.py", b"print('hello')").await;
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
    let files = hub.repositories.files(hub.repo, &sha, 100).await.unwrap();
    let names: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, [".gitattributes", "README.md", "app/main.py", "line\nbreak", "link"]);
    assert_eq!((files[4].kind, files[2].bytes), (EntryKind::Link, 14));
    let read = async |path: &str, most: u64| hub.repositories.read_file(hub.repo, &sha, path, most).await;
    assert_eq!(read("app/main.py", 14).await.unwrap().as_deref(), Some(&b"print('hello')"[..]));
    assert!(matches!(read("app/main.py", 13).await, Err(GitError::FileTooLarge { bytes: 14, .. })));
    for path in ["app", "none", "", "../x", "app/", "/app/main.py", "a\nb"] {
        assert_eq!(read(path, 100).await.unwrap(), None, "{path}");
    }
    let few = hub.repositories.files(hub.repo, &sha, 3).await;
    assert!(matches!(few, Err(GitError::Source(SourceProblem::TooManyFiles { limit: 3 }))), "{few:?}");
}

fn entries(tar: &[u8]) -> BTreeMap<String, (u32, u64, u64, Option<String>)> {
    let mut archive = tar::Archive::new(tar);
    let describe = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let entry = entry.unwrap();
        let header = entry.header();
        let link = entry.link_name().unwrap().map(|path| path.to_string_lossy().into_owned());
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        (path, (header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap(), link))
    };
    archive.entries().unwrap().map(describe).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_are_complete_owned_by_the_user_and_always_the_same() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    let long = format!("{}/{}.txt", "d".repeat(120), "f".repeat(120));
    std::fs::write(work.join(".gitattributes"), "secret.txt export-ignore\n").unwrap();
    std::fs::write(work.join("secret.txt"), "x").unwrap();
    std::fs::write(work.join("model.bin"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        .unwrap();
    std::fs::write(work.join("run.sh"), "#!/bin/sh\n").unwrap();
    hub.ok(&work, &["add", "-A"]).await;
    hub.ok(&work, &["update-index", "--chmod=+x", "run.sh"]).await;
    symlink("run.sh", work.join("start")).unwrap();
    std::fs::create_dir(work.join(&long[..120])).unwrap();
    std::fs::write(work.join(&long), vec![b'y'; 5000]).unwrap();
    hub.ok(&work, &["update-index", "--add", "--cacheinfo", &format!("160000,{},sub/module", hub.first)]).await;
    hub.ok(&work, &["add", &long, "start"]).await;
    hub.ok(&work, &["commit", "-q", "-m", "all"]).await;
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
    let sha = hub.main().await;
    let options = ArchiveOptions { prefix: "app/".to_owned(), ..ArchiveOptions::default() };
    let (one, two) = (hub.folder.path().join("1.tar"), hub.folder.path().join("2.tar"));
    let summary = hub.repositories.archive(hub.repo, &sha, &one, &options, None).await.unwrap();
    hub.repositories.archive(hub.repo, &sha, &two, &options, None).await.unwrap();
    let bytes = std::fs::read(&one).unwrap();
    assert_eq!(bytes, std::fs::read(&two).unwrap());
    assert_eq!((summary.files, summary.lfs_pointers, summary.lfs_paths), (8, 1, vec!["model.bin".to_owned()]));
    assert_eq!(summary.submodules, ["sub/module"]);
    let found = entries(&bytes);
    assert!(found.values().all(|(_, uid, mtime, _)| (*uid, *mtime) == (1000, 0)), "{found:?}");
    assert_eq!(found["app/run.sh"].0, 0o755);
    assert_eq!(found["app/secret.txt"].0, 0o644);
    assert_eq!(found["app/start"].3.as_deref(), Some("run.sh"));
    for path in ["app/", "app/sub/", "app/sub/module/", &format!("app/{}/", "d".repeat(120)), &format!("app/{long}")] {
        assert!(found.contains_key(path), "{path} in {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_takes_more_than_one_commit() {
    let hub = Hub::start().await;
    let sha = hub.main().await;
    let to = hub.folder.path().join("both.tar");
    for (prefix, append) in [("one/", false), ("two/", true)] {
        let options = ArchiveOptions { prefix: prefix.to_owned(), append, ..ArchiveOptions::default() };
        hub.repositories.archive(hub.repo, &sha, &to, &options, None).await.unwrap();
    }
    let found = entries(&std::fs::read(&to).unwrap());
    for path in ["one/README.md", "two/README.md"] {
        assert!(found.contains_key(path), "{path} in {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_out_of_the_repository_are_refused_by_name() {
    let hub = Hub::start().await;
    for (number, target) in ["/etc/passwd", "../../x", "sub/../../x"].into_iter().enumerate() {
        let work = hub.clone(&format!("work{number}")).await;
        std::fs::create_dir(work.join("dir")).unwrap();
        symlink(target, work.join("dir/bad")).unwrap();
        hub.commit_all(&work).await;
        hub.ok(&work, &["push", "-q", "--force", "origin", "main"]).await;
        let sha = hub.main().await;
        let dest = hub.folder.path().join("out");
        let archive = hub.repositories.archive(hub.repo, &sha, &dest, &ArchiveOptions::default(), None).await;
        let extract = hub.repositories.extract(hub.repo, &sha, &dest, SourceLimits::default(), None).await;
        for result in [archive, extract] {
            let Err(GitError::Source(problem)) = result else { panic!("{target}: {result:?}") };
            assert_eq!(problem.reason(), Reason::SourceUnsafe);
            assert!(problem.to_string().contains("`dir/bad`"), "{problem}");
        }
        assert!(!dest.exists());
        hub.ok(&work, &["push", "-q", "--force", "origin", &format!("{}:main", hub.first)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_files_are_no_problem_and_a_limit_is() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    for number in 0..10_000 {
        let file = work.join(format!("data/{}/{number}.txt", number % 100));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, number.to_string()).unwrap();
    }
    let sha = hub.commit_all(&work).await;
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
    let dest = hub.folder.path().join("site");
    let summary = hub.repositories.extract(hub.repo, &sha, &dest, SourceLimits::default(), None).await.unwrap();
    assert_eq!(summary.files, 10_002);
    assert_eq!(std::fs::read_to_string(dest.join("data/42/9942.txt")).unwrap(), "9942");
    let limits = SourceLimits { max_files: 9_999, ..SourceLimits::default() };
    let other = hub.folder.path().join("other");
    let refused = hub.repositories.extract(hub.repo, &sha, &other, limits, None).await.unwrap_err();
    let GitError::Source(problem) = refused else { panic!("{refused}") };
    assert_eq!(
        (problem.reason(), problem.to_string().as_str()),
        (Reason::SourceTooLarge, "the commit has more than 9999 files")
    );
    for limits in [
        SourceLimits { max_file_bytes: 3, ..SourceLimits::default() },
        SourceLimits { max_total_bytes: 1000, ..SourceLimits::default() },
    ] {
        let refused = hub.repositories.extract(hub.repo, &sha, &other, limits, None).await;
        assert!(matches!(refused, Err(GitError::Source(_))), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_a_build_is_kept_on_a_hidden_ref() {
    let hub = Hub::start().await;
    let built = hub.folder.path().join("dist");
    std::fs::create_dir_all(built.join("assets")).unwrap();
    std::fs::write(built.join("index.html"), "<h1>").unwrap();
    std::fs::write(built.join("assets/ü \"x\".js"), vec![0_u8, 255, 10]).unwrap();
    symlink("index.html", built.join("start.html")).unwrap();
    let at = Timestamp::from_millis(1_767_323_045_000);
    let write = async |name: &str| {
        hub.repositories.write_tree_as_ref(hub.repo, name, &built, "build", at, SourceLimits::default()).await
    };
    let sha = write("refs/convert/build").await.unwrap();
    assert_eq!(write("refs/convert/build").await.unwrap(), sha);
    let dest = hub.folder.path().join("release/1");
    hub.repositories.extract(hub.repo, &sha, &dest, SourceLimits::default(), None).await.unwrap();
    assert_eq!(std::fs::read(dest.join("assets/ü \"x\".js")).unwrap(), [0, 255, 10]);
    assert_eq!(std::fs::read_to_string(dest.join("start.html")).unwrap(), "<h1>");
    assert!(!hub.ok(hub.folder.path(), &["ls-remote", &hub.url]).await.contains("convert"));
    assert!(matches!(write("refs/heads/main").await, Err(GitError::Request(_))));
    symlink("../secret", built.join("bad")).unwrap();
    assert!(matches!(write("refs/convert/build").await, Err(GitError::Source(_))));
}

/// Knows one object.
struct OneObject(Vec<u8>);

impl LargeFiles for OneObject {
    fn open(&self, object: &LfsObject) -> std::io::Result<Option<Box<dyn std::io::Read + '_>>> {
        let known = object.sha256 == "ab".repeat(32);
        Ok(known.then(|| Box::new(self.0.as_slice()) as Box<dyn std::io::Read>))
    }
}

/// Never ends, and says so while it is read.
struct Endless(mpsc::SyncSender<()>);

impl LargeFiles for Endless {
    fn open(&self, _: &LfsObject) -> std::io::Result<Option<Box<dyn std::io::Read + '_>>> {
        Ok(Some(Box::new(self)))
    }
}

impl std::io::Read for &Endless {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        // Nobody listens any more in the end.
        let _ = self.0.send(());
        to[0] = 0;
        Ok(1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_nobody_waits_for_is_written_no_further() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    std::fs::write(work.join("endless.bin"), LfsObject { sha256: "ab".repeat(32), size: 1 << 40 }.pointer()).unwrap();
    let sha = hub.commit_all(&work).await;
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
    let (reads, read) = mpsc::sync_channel(0);
    let limits = SourceLimits { max_file_bytes: u64::MAX, max_total_bytes: u64::MAX, ..SourceLimits::default() };
    let options = ArchiveOptions { limits, ..ArchiveOptions::default() };
    let to = hub.folder.path().join("endless.tar");
    let archiving = hub.repositories.archive(hub.repo, &sha, &to, &options, Some(Arc::new(Endless(reads))));
    let (read, begun) = tokio::select! {
        ended = archiving => panic!("{ended:?}"),
        begun = tokio::task::spawn_blocking(move || { let begun = read.recv(); (read, begun) }) => begun.unwrap(),
    };
    begun.unwrap();
    // The sender is dropped with the work.
    tokio::task::spawn_blocking(move || while read.recv().is_ok() {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_stand_in_place_of_their_pointers() {
    let hub = Hub::start().await;
    let work = hub.clone("work").await;
    let pointer = |sha: &str, size| LfsObject { sha256: sha.repeat(32), size }.pointer();
    std::fs::write(work.join("known.bin"), pointer("ab", 5)).unwrap();
    std::fs::write(work.join("gone.bin"), pointer("cd", 5)).unwrap();
    let sha = hub.commit_all(&work).await;
    hub.ok(&work, &["push", "-q", "origin", "main"]).await;
    let folder = &hub.folder;
    let known = || Some(Arc::new(OneObject(b"large".to_vec())) as Arc<dyn LargeFiles>);
    let dest = folder.path().join("files");
    let summary = hub.repositories.extract(hub.repo, &sha, &dest, SourceLimits::default(), known()).await.unwrap();
    assert_eq!(std::fs::read(dest.join("known.bin")).unwrap(), b"large");
    assert_eq!(std::fs::read_to_string(dest.join("gone.bin")).unwrap(), pointer("cd", 5));
    assert_eq!((summary.lfs_pointers, summary.lfs_paths), (1, vec!["gone.bin".to_owned()]));
    let tar = folder.path().join("files.tar");
    hub.repositories.archive(hub.repo, &sha, &tar, &ArchiveOptions::default(), known()).await.unwrap();
    let mut archive = tar::Archive::new(std::fs::File::open(&tar).unwrap());
    let sizes: Vec<u64> = archive.entries().unwrap().map(|entry| entry.unwrap().size()).collect();
    assert!(sizes.contains(&5), "{sizes:?}");
    // One that is not as long as its pointer says is no file at all.
    let short = Some(Arc::new(OneObject(b"lar".to_vec())) as Arc<dyn LargeFiles>);
    let other = folder.path().join("other");
    assert!(hub.repositories.extract(hub.repo, &sha, &other, SourceLimits::default(), short).await.is_err());
    assert!(!other.exists());
}
