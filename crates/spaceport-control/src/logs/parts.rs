//! The files of one log: the first megabytes, and the newest ones in two parts.
//!
//! When the newer part is full it takes the place of the older one. So how an app began stays, its newest lines are
//! always there, and nothing is ever copied. Positions count the bytes of the whole log with what was dropped; a later
//! part says in its first line where it begins.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spaceport_core::Timestamp;

use super::LogRecord;

/// Bytes read at once, so that a large log does not fill the memory of a slow reader.
const READ_BYTES: u64 = 256 << 10;

/// How much of a log is kept: the first part, and each of two later ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) first_bytes: u64,
    pub(super) later_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { first_bytes: 4 << 20, later_bytes: 30 << 20 }
    }
}

/// Where the parts of a log lie.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) first: PathBuf,
    older: PathBuf,
    newer: PathBuf,
}

/// The first line of a later part.
#[derive(Debug, Serialize, Deserialize)]
struct Heading {
    at: Timestamp,
    from: u64,
}

impl Paths {
    pub(super) fn new(first: PathBuf) -> Self {
        let beside = |name: &str| first.with_added_extension(name);
        Self { older: beside("older"), newer: beside("newer"), first }
    }

    /// Bytes on the disk.
    pub(super) fn length(&self) -> u64 {
        let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
        [&self.first, &self.older, &self.newer].into_iter().map(length).sum()
    }

    /// The first part goes last: while it is there the log is found again.
    pub(super) fn remove(&self) -> Result<()> {
        [&self.newer, &self.older, &self.first].into_iter().try_for_each(|path| absent(std::fs::remove_file(path)))
    }

    /// Whole records from a position with the position after each, and the position after them. A line that is not
    /// whole yet stays.
    pub(super) fn read(&self, position: u64) -> Result<(Vec<(LogRecord, u64)>, u64)> {
        let mut parts = self.open()?;
        let here = parts.iter().rposition(|part| part.from <= position);
        let mut read_until = position;
        if let Some(part) = here.and_then(|here| parts.get_mut(here)) {
            let (records, end) = part.read(position)?;
            if end > position {
                return Ok((records, end));
            }
            read_until = position.max(part.from + part.length);
        }
        let Some(next) = parts.get_mut(here.map_or(0, |here| here + 1)) else { return Ok((Vec::new(), position)) };
        let (mut records, end) = next.read(next.from)?;
        if next.from > read_until {
            let text = left_out(next.from - read_until);
            records.insert(0, (LogRecord { at: next.at, text, position: None }, next.from));
        }
        Ok((records, end))
    }

    /// Where the last `lines` lines begin.
    pub(super) fn tail(&self, lines: usize) -> Result<u64> {
        let mut parts = self.open()?;
        let mut position = parts.last().map_or(0, |part| part.from + part.length);
        let mut left = lines;
        for part in parts.iter_mut().rev() {
            if left == 0 {
                break;
            }
            let (start, found) = part.tail(left)?;
            position = part.from + start;
            left -= found;
        }
        Ok(position)
    }

    /// What is there, by position.
    fn open(&self) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        // The newest first: when it becomes the older one meanwhile, it is seen twice and not missed.
        for path in [&self.newer, &self.older] {
            parts.extend(Part::later(path)?);
        }
        if let Some(file) = existing(File::open(&self.first))? {
            let length = file.metadata()?.len();
            parts.push(Part { file, at: Timestamp::from_millis(0), from: 0, begin: 0, length });
        }
        parts.sort_by_key(|part| part.from);
        parts.dedup_by_key(|part| part.from);
        Ok(parts)
    }
}

fn left_out(bytes: u64) -> String {
    let size = if bytes < 1 << 20 { format!("{bytes} bytes") } else { format!("{} MiB", bytes >> 20) };
    format!("===== {size} are left out here: of a long log, the beginning and the newest lines are kept =====")
}

/// One file that is open for reading.
#[derive(Debug)]
struct Part {
    file: File,
    /// When it was begun.
    at: Timestamp,
    /// The position of its first byte.
    from: u64,
    /// Where in it the lines of the log begin.
    begin: u64,
    length: u64,
}

impl Part {
    /// `None` where there is none, or one that was never begun.
    fn later(path: &Path) -> Result<Option<Self>> {
        let Some(file) = existing(File::open(path))? else { return Ok(None) };
        let length = file.metadata()?.len();
        let mut line = Vec::new();
        BufReader::new((&file).take(READ_BYTES)).read_until(b'\n', &mut line)?;
        let heading: Option<Heading> = serde_json::from_slice(&line).ok();
        Ok(heading.map(|Heading { at, from }| Self { file, at, from, begin: line.len() as u64, length }))
    }

    fn read(&mut self, position: u64) -> Result<(Vec<(LogRecord, u64)>, u64)> {
        let start = (position - self.from).max(self.begin);
        self.file.seek(SeekFrom::Start(start))?;
        let mut reader = BufReader::new((&self.file).take(READ_BYTES));
        let (mut records, mut end, mut line) = (Vec::new(), position, Vec::new());
        let mut after = self.from + start;
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            after += line.len() as u64;
            end = after;
            // A torn line of a crashed server is skipped.
            records.extend(serde_json::from_slice(&line).ok().map(|record: LogRecord| (record, end)));
            line.clear();
        }
        Ok((records, end))
    }

    /// Where in the file its last lines begin, no more than `lines`, and how many they are.
    fn tail(&mut self, lines: usize) -> Result<(u64, usize)> {
        let (mut at, mut found, mut block) = (self.length, 0, vec![0u8; 64 << 10]);
        while at > self.begin {
            let size = usize::try_from((at - self.begin).min(block.len() as u64)).unwrap_or(block.len());
            at -= size as u64;
            self.file.seek(SeekFrom::Start(at))?;
            self.file.read_exact(&mut block[..size])?;
            for index in (0..size).rev() {
                let start = at + index as u64 + 1;
                if block[index] == b'\n' && start < self.length {
                    found += 1;
                    if found == lines {
                        return Ok((start, found));
                    }
                }
            }
        }
        Ok((self.begin, found + usize::from(self.length > self.begin)))
    }
}

/// The part that is written.
#[derive(Debug)]
pub(super) struct Appender {
    paths: Paths,
    limits: Limits,
    file: File,
    from: u64,
    written: u64,
    later: bool,
}

impl Appender {
    /// Goes on after what is there.
    pub(super) fn open(paths: Paths, limits: Limits) -> Result<Self> {
        let append = |path: &Path| std::fs::OpenOptions::new().create(true).append(true).open(path);
        let mut newer = Part::later(&paths.newer)?;
        if newer.is_none() && Part::later(&paths.older)?.is_some() {
            // Between the two steps of beginning a part the server or the disk came to an end.
            std::fs::rename(&paths.older, &paths.newer)?;
            newer = Part::later(&paths.newer)?;
        }
        let (file, from, later) = match newer {
            Some(part) => (append(&paths.newer)?, part.from, true),
            None => (append(&paths.first)?, 0, false),
        };
        let written = file.metadata()?.len();
        Ok(Self { paths, limits, file, from, written, later })
    }

    /// One line with its end.
    pub(super) fn append(&mut self, line: &[u8], now: Timestamp) -> Result<()> {
        let limit = if self.later { self.limits.later_bytes } else { self.limits.first_bytes };
        if self.written > 0 && self.written + line.len() as u64 > limit {
            self.begin_part(now)?;
        }
        self.file.write_all(line)?;
        self.written += line.len() as u64;
        Ok(())
    }

    fn begin_part(&mut self, now: Timestamp) -> Result<()> {
        // From the file: a full disk may have kept a piece of a line.
        let from = self.from + self.file.metadata()?.len();
        // One whose heading a full disk did not take is made anew, and takes no part's place.
        if self.later && Part::later(&self.paths.newer)?.is_some() {
            absent(std::fs::rename(&self.paths.newer, &self.paths.older))?;
        }
        let mut heading = serde_json::to_vec(&Heading { at: now, from }).expect("a heading is JSON");
        heading.push(b'\n');
        let mut file = File::create(&self.paths.newer)?;
        file.write_all(&heading)?;
        (self.file, self.from, self.written, self.later) = (file, from, heading.len() as u64, true);
        Ok(())
    }
}

fn existing<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn absent(result: Result<()>) -> Result<()> {
    existing(result).map(|_| ())
}
