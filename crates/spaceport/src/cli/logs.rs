//! Server-sent events in a terminal.

use std::collections::VecDeque;

use reqwest::Response;
use serde_json::Value;

use super::client::Client;
use super::error::CliError;
use super::output::{Output, field, print};

/// Longest event: a line of a log has 16 KiB at most, a whole Space is smaller.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// Which lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Of a build: the newest one without a number. Otherwise what the app prints.
    pub(super) build: Option<Option<u32>>,
    pub(super) follow: bool,
    pub(super) tail: Option<u64>,
}

pub(super) async fn show(client: &Client, out: &Output, space: &str, wanted: Wanted) -> Result<(), CliError> {
    let Wanted { build, follow, tail } = wanted;
    let (kind, log) = match build {
        None => ("run", "logs/run".to_owned()),
        Some(None) => ("build", "logs/build".to_owned()),
        Some(Some(number)) => ("build", format!("builds/{number}/log")),
    };
    let tail = tail.map_or_else(String::new, |tail| format!("&tail={tail}"));
    let path = format!("{}/{log}?follow={follow}{tail}", client.space_path(space).await?);
    let mut events = Events::open(client, &path).await?;
    let mut any = false;
    while let Some(event) = events.next().await? {
        any = true;
        if out.is_json() {
            print(&event.to_string());
        } else {
            print(field(&event, "/data").trim_end_matches('\n'));
        }
    }
    if !any && !out.is_json() {
        eprintln!("There is no {kind} log yet.");
    }
    Ok(())
}

/// Events as they come.
pub(super) struct Events<'a> {
    client: &'a Client,
    response: Response,
    bytes: Vec<u8>,
    ready: VecDeque<Value>,
}

impl<'a> Events<'a> {
    pub(super) async fn open(client: &'a Client, path: &str) -> Result<Self, CliError> {
        let response = client.stream(path).await?;
        Ok(Self { client, response, bytes: Vec::new(), ready: VecDeque::new() })
    }

    /// The next one; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, CliError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let chunk = self.response.chunk().await.map_err(|error| self.client.unreachable(&error))?;
            let Some(chunk) = chunk else { return Ok(None) };
            self.take(&chunk)?;
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), CliError> {
        self.bytes.extend_from_slice(chunk);
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            self.ready.extend(event(&line));
        }
        if self.bytes.len() > MAX_EVENT_BYTES {
            return Err(CliError::failed("the server sent an event that is too large"));
        }
        Ok(())
    }
}

/// The event of a line; comments and empty lines are none.
fn event(line: &[u8]) -> Option<Value> {
    serde_json::from_slice(line.strip_prefix(b"data: ")?.trim_ascii_end()).ok()
}

#[cfg(test)]
mod tests {
    use super::event;

    #[test]
    fn only_data_lines_are_events() {
        assert_eq!(event(b"data: {\"a\": 1}\n").unwrap()["a"], 1);
        for line in [&b": keep-alive\n"[..], b"\n", b"event: x\n", b"data: {\n"] {
            assert!(event(line).is_none());
        }
    }
}
