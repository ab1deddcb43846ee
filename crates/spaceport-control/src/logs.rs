//! Logs of builds and runs: a file from the first line, streamed from there.
//!
//! One JSON object per line, `{"at": millis, "text": "…"}`. The file is the log: readers follow
//! it by offset and are woken by a counter, so a stream can be replayed exactly, survives a
//! restart of the server, and a slow reader costs nobody anything.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use spaceport_core::{BuildId, InstanceId, SpaceId, Timestamp};
use spaceport_runtime::{LogLine, LogPosition};

use crate::clock::Clock;

/// A log ends here; what an app prints beyond is dropped, with a last line that says so.
const MAX_LOG_BYTES: u64 = 64 << 20;
/// A line ends here; longer ones are cut.
const MAX_LINE_BYTES: usize = 16 << 10;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When it was written.
    pub at: Timestamp,
    /// Without the newline.
    pub text: String,
    /// Where the line stands in the engine's own log, to go on after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
}

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogId {
    /// Of a build.
    Build(SpaceId, BuildId),
    /// Of one attempt to run.
    Run(SpaceId, InstanceId),
}

/// The logs below one folder.
#[derive(Debug, Clone)]
pub struct LogStore {
    root: PathBuf,
    clock: Clock,
    open: Arc<Mutex<HashMap<LogId, Weak<Shared>>>>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes written, and whether the log has ended.
    state: watch::Sender<(u64, bool)>,
}

/// Appends to a log. Dropping it ends the log for its followers.
#[derive(Debug)]
pub struct LogWriter {
    file: Mutex<(std::fs::File, u64)>,
    shared: Arc<Shared>,
    clock: Clock,
}

impl LogWriter {
    /// Appends one line, stamped now.
    pub fn line(&self, text: &str) {
        self.append(self.clock.now(), text, None);
    }

    /// Appends a line of an app.
    pub fn app_line(&self, line: &LogLine) {
        self.append(line.at, &line.text, Some(line.position.0));
    }

    /// A full disk must not stop a build or an app, so a failed write only loses the line.
    fn append(&self, at: Timestamp, text: &str, position: Option<i64>) {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, written) = &mut *guard;
        if *written > MAX_LOG_BYTES {
            return;
        }
        let mut record = LogRecord { at, text: cut(text), position };
        let mut line = serde_json::to_vec(&record).expect("a record is JSON");
        if *written + line.len() as u64 > MAX_LOG_BYTES {
            record.text = format!("(the log reached {} MiB; later lines are not kept)", MAX_LOG_BYTES >> 20);
            line = serde_json::to_vec(&record).expect("a record is JSON");
            *written = MAX_LOG_BYTES;
        }
        line.push(b'\n');
        if file.write_all(&line).is_ok() {
            *written += line.len() as u64;
            let end = *written;
            self.shared.state.send_modify(|state| state.0 = end);
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.state.send_modify(|state| state.1 = true);
    }
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_LINE_BYTES {
        return text.to_owned();
    }
    let end = (0..=MAX_LINE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{} … ({} bytes cut)", &text[..end], text.len() - end)
}

impl LogStore {
    /// Logs below this folder.
    #[must_use]
    pub fn new(root: PathBuf, clock: Clock) -> Self {
        Self { root, clock, open: Arc::default() }
    }

    fn path(&self, log: LogId) -> PathBuf {
        match log {
            LogId::Build(space, build) => self.root.join(space.to_string()).join(format!("build-{build}.log")),
            LogId::Run(space, instance) => self.root.join(space.to_string()).join(format!("run-{instance}.log")),
        }
    }

    /// Opens a log for appending; made when missing.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn writer(&self, log: LogId) -> std::io::Result<LogWriter> {
        let path = self.path(log);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
        let written = file.metadata()?.len();
        let shared = Arc::new(Shared { state: watch::Sender::new((written, false)) });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, shared| shared.strong_count() > 0);
        open.insert(log, Arc::downgrade(&shared));
        Ok(LogWriter { file: Mutex::new((file, written)), shared, clock: self.clock.clone() })
    }

    /// Where the last line stands in the engine's log, to take up an app's output after a restart.
    #[must_use]
    pub fn last_position(&self, log: LogId) -> Option<LogPosition> {
        self.tail(log, 1).pop().and_then(|record| record.position).map(LogPosition)
    }

    /// The last lines, oldest first; all of them when `lines` is larger than the log.
    #[must_use]
    pub fn tail(&self, log: LogId, lines: usize) -> Vec<LogRecord> {
        let path = self.path(log);
        let start = tail_offset(&path, lines).unwrap_or(0);
        read_from(&path, start).map(|(records, _)| records).unwrap_or_default()
    }

    /// What is kept, oldest first (only the last `tail` lines when given), and then, while
    /// `follow`, what comes until the log ends. Without a writer the log has ended.
    pub fn stream(
        &self,
        log: LogId,
        tail: Option<usize>,
        follow: bool,
    ) -> impl Stream<Item = LogRecord> + Send + use<> {
        let path = self.path(log);
        // Taken before the first read: a line written in between wakes the reader.
        let shared = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&log).and_then(Weak::upgrade);
        let mut changes = shared.map(|shared| shared.state.subscribe());
        async_stream::stream! {
            let mut offset = match tail {
                Some(lines) => {
                    let path = path.clone();
                    tokio::task::spawn_blocking(move || tail_offset(&path, lines).unwrap_or(0)).await.unwrap_or(0)
                }
                None => 0,
            };
            loop {
                let ended = changes.as_mut().is_none_or(|changes| changes.borrow_and_update().1);
                let file = path.clone();
                let read = tokio::task::spawn_blocking(move || read_from(&file, offset)).await;
                let (records, end) = read.ok().and_then(Result::ok).unwrap_or((Vec::new(), offset));
                let more = end > offset;
                offset = end;
                for record in records {
                    yield record;
                }
                if more {
                    continue;
                }
                match changes.as_mut() {
                    Some(changes) if follow && !ended => {
                        if changes.changed().await.is_err() {
                            // The writer is gone: one more read for what it wrote last.
                            let file = path.clone();
                            let read = tokio::task::spawn_blocking(move || read_from(&file, offset)).await;
                            for record in read.ok().and_then(Result::ok).unwrap_or_default().0 {
                                yield record;
                            }
                            break;
                        }
                    }
                    _ => break,
                }
            }
        }
    }

    /// Whether somebody writes this log.
    #[must_use]
    pub fn is_live(&self, log: LogId) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&log).and_then(Weak::upgrade).is_some_and(|shared| !shared.state.borrow().1)
    }

    /// Keeps the newest logs of a Space: of its builds and of its runs no more than `count` each, and
    /// all together no more than `bytes`. What is being written stays. The number of those removed.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn prune(&self, space: SpaceId, count: usize, bytes: u64) -> std::io::Result<usize> {
        let mut logs = Vec::new();
        for entry in std::fs::read_dir(self.root.join(space.to_string())).into_iter().flatten() {
            let entry = entry?;
            let name = entry.file_name();
            let Some((kind, id)) = name.to_str().and_then(|name| name.strip_suffix(".log")?.split_once('-')) else {
                continue;
            };
            let log = match kind {
                "build" => id.parse().ok().map(|build| LogId::Build(space, build)),
                "run" => id.parse().ok().map(|instance| LogId::Run(space, instance)),
                _ => None,
            };
            // Ids begin with the time, so their order is that of the attempts.
            logs.extend(log.map(|log| (id.to_owned(), log, entry.path())));
        }
        logs.sort_by(|one, other| other.0.cmp(&one.0));
        let (mut builds, mut runs, mut left, mut removed) = (0, 0, bytes, 0);
        for (_, log, path) in logs {
            let of_kind = if matches!(log, LogId::Build(..)) { &mut builds } else { &mut runs };
            *of_kind += 1;
            let length = std::fs::metadata(&path).map_or(0, |data| data.len());
            let fits = left.checked_sub(length).filter(|_| *of_kind <= count);
            match fits {
                Some(rest) => left = rest,
                None if self.is_live(log) => {}
                None => match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                    _ => removed += 1,
                },
            }
        }
        Ok(removed)
    }

    /// Removes the logs of a Space.
    ///
    /// # Errors
    /// When files cannot be removed; absent is success.
    pub fn remove_space(&self, space: SpaceId) -> std::io::Result<()> {
        match std::fs::remove_dir_all(self.root.join(space.to_string())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Bytes read at once, so that a large log does not fill the memory of a slow reader.
const READ_BYTES: u64 = 256 << 10;

/// Whole records from an offset, and the offset after them. A line that is not whole yet stays.
fn read_from(path: &Path, offset: u64) -> std::io::Result<(Vec<LogRecord>, u64)> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::new(file.take(READ_BYTES));
    let (mut records, mut end, mut line) = (Vec::new(), offset, Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        end += line.len() as u64;
        // A torn line of a crashed server is skipped.
        records.extend(serde_json::from_slice(&line).ok() as Option<LogRecord>);
        line.clear();
    }
    Ok((records, end))
}

/// Where the last `lines` lines begin.
fn tail_offset(path: &Path, lines: usize) -> std::io::Result<u64> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let (mut at, mut found, mut block) = (length, 0usize, vec![0u8; 64 << 10]);
    while at > 0 {
        let size = usize::try_from(at.min(block.len() as u64)).unwrap_or(block.len());
        at -= size as u64;
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut block[..size])?;
        for index in (0..size).rev() {
            if block[index] == b'\n' && at + index as u64 + 1 < length {
                found += 1;
                if found == lines {
                    return Ok(at + index as u64 + 1);
                }
            }
        }
    }
    Ok(if lines == 0 { length } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

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
}
