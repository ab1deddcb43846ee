use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::*;

fn store() -> (tempfile::TempDir, LogStore, LogId) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::from_fn(|| Timestamp::from_millis(5));
    let store = LogStore::new(dir.path().to_owned(), clock);
    let at = Timestamp::from_millis(1);
    (dir, store, LogId::Build(SpaceId::new(at, 1), BuildId::new(at, 2)))
}

#[tokio::test]
async fn follows_from_the_first_line_to_the_end() {
    let (_dir, store, log) = store();
    let writer = store.writer(log).unwrap();
    writer.line("one");
    let mut lines = Box::pin(store.stream(log, None, true));
    assert_eq!(lines.next().await.unwrap().text, "one");
    writer.line("two");
    assert_eq!(lines.next().await.unwrap().text, "two");
    writer.line("three");
    drop(writer);
    assert_eq!(lines.next().await.unwrap().text, "three");
    assert_eq!(lines.next().await, None);
}

#[tokio::test]
async fn replays_the_tail_and_stops_without_a_writer() {
    let (_dir, store, log) = store();
    let writer = store.writer(log).unwrap();
    for n in 0..1000 {
        writer.line(&format!("line {n}"));
    }
    drop(writer);
    let lines: Vec<_> = store.stream(log, Some(2), true).map(|record| record.text).collect().await;
    assert_eq!(lines, ["line 998", "line 999"]);
    assert_eq!(store.stream(log, None, false).count().await, 1000);
    assert_eq!(store.tail(log, 5000).len(), 1000);
}

#[test]
fn cuts_long_lines_and_survives_torn_ones() {
    let (dir, store, log) = store();
    store.writer(log).unwrap().line(&"ü".repeat(MAX_LINE_BYTES));
    let path = walk(dir.path());
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\": 1, \"te\n").unwrap();
    store.writer(log).unwrap().line("after");
    let lines = store.tail(log, 10);
    assert!(lines[0].text.len() < MAX_LINE_BYTES + 100 && lines[0].text.contains("bytes cut"));
    assert_eq!(lines[1].text, "after");
}

/// A log of which little is kept.
fn short() -> (tempfile::TempDir, LogStore, LogId) {
    let (dir, mut store, log) = store();
    store.limits = Limits { first_bytes: 200, later_bytes: 400 };
    (dir, store, log)
}

#[tokio::test]
async fn of_a_long_log_the_beginning_and_the_newest_lines_are_kept() {
    let (dir, store, log) = short();
    let mut writer = store.writer(log).unwrap();
    for n in 0..1000 {
        // What another process would do after a restart.
        if n % 7 == 0 {
            drop(writer);
            writer = store.writer(log).unwrap();
        }
        let line = LogLine { at: Timestamp::from_millis(n), text: format!("line {n}"), position: LogPosition(n) };
        writer.app_line(&line);
        assert_eq!(store.last_position(log), Some(LogPosition(n)));
    }
    let texts: Vec<_> = store.stream(log, None, false).map(|record| record.text).collect().await;
    let gap = texts.iter().position(|text| text.contains("left out")).expect("a line says so");
    let number = |text: &String| text.strip_prefix("line ").and_then(|n| n.parse::<usize>().ok()).expect("a line");
    let (before, after): (Vec<_>, Vec<_>) =
        (texts[..gap].iter().map(number).collect(), texts[gap + 1..].iter().map(number).collect());
    assert!(before.len() > 2 && before.iter().copied().eq(0..before.len()), "{texts:?}");
    assert!(after.len() > 8 && after.iter().copied().eq(1000 - after.len()..1000), "{texts:?}");

    let every: usize =
        (0..1000).map(|n| format!("{{\"at\":{n},\"text\":\"line {n}\",\"position\":{n}}}\n").len()).sum();
    let told: usize = texts[gap].split(' ').find_map(|word| word.parse().ok()).expect("a number of bytes");
    let on_disk: u64 = std::fs::read_dir(walk(dir.path()).parent().unwrap())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk <= 1000 && told > every - 1000 && told < every * 2, "{told} of {every}, {on_disk} kept");

    assert_eq!(store.tail(log, 2).into_iter().map(|record| record.text).collect::<Vec<_>>(), ["line 998", "line 999"]);
    assert_eq!(store.tail(log, after.len()).len(), after.len());
    assert_eq!(
        store.tail(log, after.len() + 1).len(),
        after.len() + 2,
        "a line of the beginning, and that some are left out"
    );
    drop(writer);
    assert_eq!(store.prune(SpaceId::new(Timestamp::from_millis(1), 1), 0, 0).unwrap(), 1);
    assert_eq!(std::fs::read_dir(dir.path().read_dir().unwrap().next().unwrap().unwrap().path()).unwrap().count(), 0);
}

#[tokio::test]
async fn who_follows_a_long_log_misses_nothing() {
    let (_dir, store, log) = short();
    let writer = store.writer(log).unwrap();
    let mut lines = Box::pin(store.stream_from(log, 0, true));
    let mut position = 0;
    for n in 0..200 {
        writer.line(&format!("line {n}"));
        let (record, after) = lines.next().await.unwrap();
        assert_eq!(record.text, format!("line {n}"));
        if n % 10 == 0 {
            // Where it was left is where it goes on.
            lines = Box::pin(store.stream_from(log, after, true));
        }
        assert!(after > position);
        position = after;
    }
    drop(writer);
    assert_eq!(lines.next().await, None);
}

#[test]
fn a_part_that_was_never_begun_costs_no_lines() {
    let (dir, store, log) = short();
    let fill = |from: usize| {
        let writer = store.writer(log).unwrap();
        (from..from + 30).for_each(|n| writer.line(&format!("line {n}")));
    };
    fill(0);
    let path = |part: &str| {
        walk(dir.path()).with_file_name(format!("build-{}.log{part}", BuildId::new(Timestamp::from_millis(1), 2)))
    };
    std::fs::rename(path(".newer"), path(".older")).unwrap();
    let before = store.tail(log, 3);
    std::fs::write(path(".newer"), "{\"at\":").unwrap();
    assert_eq!(store.tail(log, 3), before);
    fill(30);
    assert_eq!(store.tail(log, 1)[0].text, "line 59");
}

#[test]
fn the_newest_logs_are_kept() {
    let (_dir, store, _) = store();
    let space = SpaceId::new(Timestamp::from_millis(1), 1);
    let build = |n: u32| LogId::Build(space, BuildId::new(Timestamp::from_millis(i64::from(n)), 7));
    let run = |n: u32| LogId::Run(space, InstanceId::new(Timestamp::from_millis(i64::from(n)), 7));
    let text = "x".repeat(1000);
    for n in 1..=6 {
        store.writer(build(n)).unwrap().line(&text);
        store.writer(run(n)).unwrap().line(&text);
    }
    let live = store.writer(run(1)).unwrap();
    let there = |log| !store.tail(log, 1).is_empty();
    assert_eq!(store.prune(space, 3, 1 << 20).unwrap(), 5);
    for n in 1..=6 {
        assert_eq!(there(build(n)), n > 3, "{n}");
        assert_eq!(there(run(n)), n > 3 || n == 1, "{n}");
    }
    assert_eq!(store.prune(space, 3, 1 << 20).unwrap(), 0);
    // Together they may have so many bytes: the oldest go.
    assert_eq!(store.prune(space, 3, 3 * 1100).unwrap(), 3);
    assert!(there(build(6)) && there(run(6)) && !there(build(4)) && there(run(1)));
    live.line("still here");
    assert_eq!(store.tail(run(1), 1)[0].text, "still here");
}

fn walk(dir: &Path) -> PathBuf {
    let space = std::fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    std::fs::read_dir(space).unwrap().next().unwrap().unwrap().path()
}
