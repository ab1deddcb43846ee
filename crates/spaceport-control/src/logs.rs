//! Logs of builds and runs: a file from the first line, streamed from there.
//!
//! One JSON object per line, `{"at": millis, "text": "…"}`. The file is the log: readers follow
//! it by position and are woken by each line, so a stream can be replayed exactly, survives a
//! restart of the server, and a slow reader costs nobody anything. Of a long log the beginning
//! and the newest lines are kept; a reader is told how much is missing between them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use spaceport_core::{BuildId, InstanceId, SpaceId, Timestamp};
use spaceport_runtime::{LogLine, LogPosition};

use crate::clock::Clock;
use parts::{Appender, Limits, Paths};

mod parts;

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
    limits: Limits,
    open: Arc<Mutex<HashMap<LogId, Weak<Shared>>>>,
}

#[derive(Debug)]
struct Shared {
    /// Whether the log has ended; told at each line.
    ended: watch::Sender<bool>,
}

/// Appends to a log. Dropping it ends the log for its followers.
#[derive(Debug)]
pub struct LogWriter {
    file: Mutex<Appender>,
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
        let record = LogRecord { at, text: cut(text), position };
        let mut line = serde_json::to_vec(&record).expect("a record is JSON");
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.append(&line, self.clock.now()).is_ok() {
            self.shared.ended.send_modify(|_| ());
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.ended.send_replace(true);
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
        Self { root, clock, limits: Limits::default(), open: Arc::default() }
    }

    fn paths(&self, log: LogId) -> Paths {
        Paths::new(match log {
            LogId::Build(space, build) => self.root.join(space.to_string()).join(format!("build-{build}.log")),
            LogId::Run(space, instance) => self.root.join(space.to_string()).join(format!("run-{instance}.log")),
        })
    }

    /// Opens a log for appending; made when missing.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn writer(&self, log: LogId) -> std::io::Result<LogWriter> {
        let paths = self.paths(log);
        if let Some(folder) = paths.first.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = Appender::open(paths, self.limits)?;
        let shared = Arc::new(Shared { ended: watch::Sender::new(false) });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, shared| shared.strong_count() > 0);
        open.insert(log, Arc::downgrade(&shared));
        Ok(LogWriter { file: Mutex::new(file), shared, clock: self.clock.clone() })
    }

    /// Where the last line stands in the engine's log, to take up an app's output after a restart.
    #[must_use]
    pub fn last_position(&self, log: LogId) -> Option<LogPosition> {
        self.tail(log, 1).pop().and_then(|record| record.position).map(LogPosition)
    }

    /// The last lines, oldest first; all of them when `lines` is larger than the log.
    #[must_use]
    pub fn tail(&self, log: LogId, lines: usize) -> Vec<LogRecord> {
        let paths = self.paths(log);
        let mut position = paths.tail(lines).unwrap_or(0);
        let mut kept = Vec::new();
        while let Ok((records, end)) = paths.read(position)
            && end > position
        {
            kept.extend(records.into_iter().map(|(record, _)| record));
            position = end;
        }
        kept
    }

    /// Where the last lines begin; 0 when there are none yet.
    pub async fn tail_position(&self, log: LogId, lines: usize) -> u64 {
        let paths = self.paths(log);
        tokio::task::spawn_blocking(move || paths.tail(lines).unwrap_or(0)).await.unwrap_or(0)
    }

    /// What is kept, oldest first (only the last `tail` lines when given), and then, while
    /// `follow`, what comes until the log ends. Without a writer the log has ended.
    pub fn stream(
        &self,
        log: LogId,
        tail: Option<usize>,
        follow: bool,
    ) -> impl Stream<Item = LogRecord> + Send + use<> {
        let this = self.clone();
        async_stream::stream! {
            let position = match tail {
                Some(lines) => this.tail_position(log, lines).await,
                None => 0,
            };
            let mut lines = std::pin::pin!(this.stream_from(log, position, follow));
            while let Some((record, _)) = lines.next().await {
                yield record;
            }
        }
    }

    /// As [`LogStore::stream`] from a position, with the position after each line.
    pub fn stream_from(
        &self,
        log: LogId,
        mut position: u64,
        follow: bool,
    ) -> impl Stream<Item = (LogRecord, u64)> + Send + use<> {
        let paths = self.paths(log);
        // Taken before the first read: a line written in between wakes the reader.
        let shared = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&log).and_then(Weak::upgrade);
        let mut changes = shared.map(|shared| shared.ended.subscribe());
        async_stream::stream! {
            // Once the writer is gone: one more read for what it wrote last.
            let mut last = false;
            loop {
                let ended = changes.as_mut().is_none_or(|changes| *changes.borrow_and_update());
                let from = (paths.clone(), position);
                let read = tokio::task::spawn_blocking(move || from.0.read(from.1)).await;
                let (records, end) = read.ok().and_then(Result::ok).unwrap_or((Vec::new(), position));
                let more = end > position;
                position = end;
                for record in records {
                    yield record;
                }
                if more {
                    continue;
                }
                match changes.as_mut() {
                    Some(changes) if follow && !ended && !last => last = changes.changed().await.is_err(),
                    _ => break,
                }
            }
        }
    }

    /// Whether somebody writes this log.
    #[must_use]
    pub fn is_live(&self, log: LogId) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&log).and_then(Weak::upgrade).is_some_and(|shared| !*shared.ended.borrow())
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
            logs.extend(log.map(|log| (id.to_owned(), log)));
        }
        logs.sort_by(|one, other| other.0.cmp(&one.0));
        let (mut builds, mut runs, mut left, mut removed) = (0, 0, bytes, 0);
        for (_, log) in logs {
            let paths = self.paths(log);
            let of_kind = if matches!(log, LogId::Build(..)) { &mut builds } else { &mut runs };
            *of_kind += 1;
            let fits = left.checked_sub(paths.length()).filter(|_| *of_kind <= count);
            match fits {
                Some(rest) => left = rest,
                None if self.is_live(log) => {}
                None => {
                    paths.remove()?;
                    removed += 1;
                }
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

#[cfg(test)]
mod tests;
