//! What an app printed.
//!
//! The engine's `since` has seconds and is inclusive. Lines are therefore asked for from the
//! second of the position on, and those up to the position itself (nanoseconds, which the engine
//! gives every line) are left out here: nothing is lost and nothing comes twice.

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use spaceport_core::Timestamp;
use spaceport_runtime::{LogLine, LogPosition, RuntimeError};

use crate::app::inspect_raw;
use crate::client::classify;
use crate::clock;

/// Longer lines are cut in pieces of this size.
const LINE_BYTES: usize = 64 << 10;

pub(crate) async fn follow(
    docker: Docker,
    id: &str,
    after: Option<LogPosition>,
) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
    if inspect_raw(&docker, id).await?.is_none() {
        return Err(RuntimeError::NoContainer(id.to_owned()));
    }
    let since = after.map_or(0, |LogPosition(nanos)| i32::try_from(nanos / 1_000_000_000).unwrap_or(i32::MAX));
    let options =
        LogsOptions { follow: true, stdout: true, stderr: true, timestamps: true, since, ..Default::default() };
    let id = id.to_owned();
    Ok(Box::pin(async_stream::stream! {
        let mut frames = docker.logs(&id, Some(options));
        let (mut stdout, mut stderr) = (Joined::default(), Joined::default());
        while let Some(frame) = frames.next().await {
            let line = match frame {
                Ok(LogOutput::StdErr { message }) => stderr.push(&message),
                Ok(LogOutput::StdOut { message } | LogOutput::Console { message }) => stdout.push(&message),
                Ok(LogOutput::StdIn { .. }) => None,
                Err(error) => {
                    yield Err(classify(&format!("read the log of container {id}"), error));
                    return;
                }
            };
            if let Some(line) = line && after.is_none_or(|after| line.position > after) {
                yield Ok(line);
            }
        }
        for rest in [stdout.finish(), stderr.finish()].into_iter().flatten() {
            if after.is_none_or(|after| rest.position > after) {
                yield Ok(rest);
            }
        }
    }))
}

/// Puts the pieces of a long line together. The engine cuts lines at 16 KiB; every piece has the
/// time of the line, and only the last ends in a newline.
#[derive(Debug, Default)]
struct Joined {
    position: Option<LogPosition>,
    text: Vec<u8>,
}

impl Joined {
    fn push(&mut self, frame: &Bytes) -> Option<LogLine> {
        let (stamp, text) = split(frame);
        if self.position.is_none() {
            self.position = Some(stamp?);
        }
        self.text.extend_from_slice(text);
        (text.ends_with(b"\n") || self.text.len() > LINE_BYTES).then(|| self.finish()).flatten()
    }

    fn finish(&mut self) -> Option<LogLine> {
        let position = self.position.take()?;
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.text)).trim_end_matches(['\n', '\r']).to_owned();
        Some(LogLine { position, at: Timestamp::from_millis(position.0 / 1_000_000), text })
    }
}

/// `2026-01-02T03:04:05.123456789Z text`
fn split(frame: &[u8]) -> (Option<LogPosition>, &[u8]) {
    let at = frame.iter().position(|&byte| byte == b' ').unwrap_or(frame.len());
    match std::str::from_utf8(&frame[..at]).ok().and_then(clock::nanos) {
        Some(nanos) => (Some(LogPosition(nanos)), frame.get(at + 1..).unwrap_or_default()),
        None => (None, frame),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_the_pieces_of_a_long_line() {
        let mut joined = Joined::default();
        assert_eq!(joined.push(&Bytes::from_static(b"2026-01-02T03:04:05.000000007Z one ")), None);
        let line = joined.push(&Bytes::from_static(b"2026-01-02T03:04:05.000000007Z two\n")).unwrap();
        assert_eq!((line.text.as_str(), line.position.0 % 1_000_000_000), ("one two", 7));
        assert_eq!(line.at.to_rfc3339(), "2026-01-02T03:04:05.000Z");
        let empty = joined.push(&Bytes::from_static(b"2026-01-02T03:04:06Z \n")).unwrap();
        assert_eq!(empty.text, "");
    }
}
