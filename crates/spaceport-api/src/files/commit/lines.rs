//! The body of a commit, cut into lines as it comes: one JSON value each, some with files of
//! hundreds of megabytes in them.
//!
//! A line is kept in memory without its long text. That one, which can only be the content of a file,
//! is written to disk while it arrives, and a marker stands for it in the line. So the memory a commit
//! takes does not depend on the sizes of its files.

use memchr::{memchr2, memchr3};

use crate::error::ApiError;
use crate::files::commit::spool::{Decoder, Long, Spool};

/// Stands in a line for a text that went to disk. No base64 looks like it.
pub(super) const MARKER: &str = "(on disk)";
/// Longest line without its long text.
const MAX_LINE: usize = 1 << 20;
/// Texts are held in memory up to this length,
const LONG: usize = 256 << 10;
/// and when all lines together have reached this size, only up to the length below, which paths do
/// not have.
const MEMORY: usize = 16 << 20;
const SHORT: usize = 8 << 10;

/// A line, and the text that was taken out of it.
#[derive(Debug)]
pub(super) struct Line {
    /// JSON.
    pub json: Vec<u8>,
    /// What [`MARKER`] stands for.
    pub long: Option<Long>,
}

/// Cuts a body into lines.
pub(super) struct Lines<'a> {
    spool: &'a Spool,
    line: Vec<u8>,
    /// Where in the line the text begins that is being read.
    text: Option<usize>,
    /// The byte before was a backslash in a text.
    escaped: bool,
    /// The text that is being read goes here.
    decoder: Option<Decoder>,
    /// The long text of this line, once it was read.
    long: Option<Long>,
    /// Bytes of all lines so far.
    held: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(spool: &'a Spool) -> Self {
        Self { spool, line: Vec::new(), text: None, escaped: false, decoder: None, long: None, held: 0 }
    }

    /// Takes bytes up to the end of a line; gives the line when it is complete, and how many bytes
    /// were taken.
    pub(super) async fn take(&mut self, bytes: &[u8]) -> Result<(Option<Line>, usize), ApiError> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if rest[0] == b'\n' {
                return Ok((Some(self.end()?), at + 1));
            }
            at += if self.text.is_some() { self.take_text(rest).await? } else { self.take_plain(rest) };
            if self.line.len() > MAX_LINE {
                return Err(ApiError::bad_request("A line of the commit is too long; only a file's content may be"));
            }
        }
        Ok((None, at))
    }

    /// The last line, if it did not end in a line break.
    pub(super) fn finish(&mut self) -> Result<Option<Line>, ApiError> {
        if self.line.is_empty() { Ok(None) } else { self.end().map(Some) }
    }

    fn end(&mut self) -> Result<Line, ApiError> {
        if self.text.take().is_some() {
            return Err(ApiError::bad_request("A line of the commit ends in the middle of a text: it was cut off"));
        }
        self.held += self.line.len();
        Ok(Line { json: std::mem::take(&mut self.line), long: self.long.take() })
    }

    /// What is outside of texts: up to the next quotation mark.
    fn take_plain(&mut self, bytes: &[u8]) -> usize {
        let end = memchr2(b'"', b'\n', bytes).unwrap_or(bytes.len());
        self.line.extend_from_slice(&bytes[..end]);
        if bytes.get(end) != Some(&b'"') {
            return end;
        }
        self.line.push(b'"');
        self.text = Some(self.line.len());
        end + 1
    }

    /// What is inside of a text, its closing quotation mark included.
    async fn take_text(&mut self, bytes: &[u8]) -> Result<usize, ApiError> {
        if std::mem::take(&mut self.escaped) {
            match &mut self.decoder {
                // In base64 a slash may be escaped, and nothing else.
                Some(decoder) => decoder.push(if bytes[0] == b'/' { b"/" } else { b"\\" }).await?,
                None => self.line.push(bytes[0]),
            }
            return Ok(1);
        }
        let end = memchr3(b'"', b'\\', b'\n', bytes).unwrap_or(bytes.len());
        match &mut self.decoder {
            Some(decoder) => decoder.push(&bytes[..end]).await?,
            None => {
                self.line.extend_from_slice(&bytes[..end]);
                self.divert().await?;
            }
        }
        match bytes.get(end) {
            Some(b'\\') => {
                self.escaped = true;
                if self.decoder.is_none() {
                    self.line.push(b'\\');
                }
                Ok(end + 1)
            }
            Some(b'"') => {
                if let Some(decoder) = self.decoder.take() {
                    self.long = Some(decoder.finish().await?);
                }
                self.line.push(b'"');
                self.text = None;
                Ok(end + 1)
            }
            _ => Ok(end),
        }
    }

    /// Sends a text to disk when it has become long.
    async fn divert(&mut self) -> Result<(), ApiError> {
        let most = if self.held < MEMORY { LONG } else { SHORT };
        let Some(start) = self.text.filter(|start| self.line.len() - start > most) else { return Ok(()) };
        if self.long.is_some() {
            return Err(ApiError::bad_request(
                "A line of the commit has two long texts; only a file's content may be long",
            ));
        }
        let mut decoder = self.spool.decoder().await?;
        let begun = String::from_utf8_lossy(&self.line[start..]).replace("\\/", "/");
        decoder.push(begun.as_bytes()).await?;
        self.line.truncate(start);
        self.line.extend_from_slice(MARKER.as_bytes());
        self.decoder = Some(decoder);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::files::commit::spool::Uploads;

    /// The lines of a body that arrives in pieces of some size, with the contents that went to disk.
    async fn cut(body: &str, piece: usize) -> Result<Vec<(String, Option<Vec<u8>>)>, ApiError> {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(&Uploads::open(folder.path().join("uploads")).unwrap());
        let mut lines = Lines::new(&spool);
        let mut found = Vec::new();
        let mut add = |line: Line| {
            let content = match line.long {
                Some(Long::Decoded(path)) => Some(std::fs::read(path).unwrap()),
                Some(Long::NotBase64) => Some(b"not base64".to_vec()),
                None => None,
            };
            found.push((String::from_utf8(line.json).unwrap(), content));
        };
        for mut bytes in body.as_bytes().chunks(piece) {
            while !bytes.is_empty() {
                let (line, taken) = lines.take(bytes).await?;
                bytes = &bytes[taken..];
                line.into_iter().for_each(&mut add);
            }
        }
        lines.finish()?.into_iter().for_each(&mut add);
        Ok(found)
    }

    #[tokio::test]
    async fn short_texts_stay_and_long_ones_go_to_disk() {
        let content: Vec<u8> = (0..300_001u32).flat_map(u32::to_le_bytes).collect();
        let base64 = STANDARD.encode(&content).replace('/', "\\/");
        let body = format!("{{\"a\": \"x\\\"y\\\\\"}}\n\n{{\"c\": \"{base64}\", \"p\": \"q\"}}\n{{\"a\": 1}}");
        for piece in [1 << 20, 70_001] {
            let lines = cut(&body, piece).await.unwrap();
            assert_eq!(lines[0], ("{\"a\": \"x\\\"y\\\\\"}".to_owned(), None));
            assert_eq!(lines[1], (String::new(), None));
            assert_eq!(lines[2].0, "{\"c\": \"(on disk)\", \"p\": \"q\"}");
            assert!(lines[2].1.as_ref() == Some(&content), "the content went through base64 and back");
            assert_eq!(lines[3].0, "{\"a\": 1}");
        }
        assert_eq!(cut("{\"a\": \"\\u00fc\\n\"}\n", 1).await.unwrap()[0].0, "{\"a\": \"\\u00fc\\n\"}");
    }

    #[tokio::test]
    async fn what_is_no_base64_is_noticed() {
        let long = "A".repeat(600_000);
        for bad in [
            format!("{long}!"),
            format!("{long}=="),
            format!("{long}Q=AA{long}"),
            format!("\\n{long}"),
            format!("{long}\\u0041"),
        ] {
            let lines = cut(&format!("{{\"c\": \"{bad}\"}}"), 65_536).await.unwrap();
            assert_eq!(lines[0].1.as_deref(), Some(&b"not base64"[..]), "{}", &bad[bad.len() - 5..]);
        }
        let padded = format!("{{\"c\": \"{long}QQ==\"}}");
        assert_eq!(cut(&padded, 4096).await.unwrap()[0].1.as_ref().unwrap().len(), 450_001);
    }

    #[tokio::test]
    async fn lines_that_are_cut_off_or_endless_are_refused() {
        let long = "A".repeat(600_000);
        for body in [
            "{\"a\": \"b".to_owned(),
            "{\"a\": \"b\n\"}".to_owned(),
            format!("{{\"a\": \"{long}"),
            format!("{{\"a\": \"{long}\", \"b\": \"{long}\"}}"),
            "[".repeat(2 << 20),
        ] {
            assert!(cut(&body, 10_000).await.is_err(), "{}", &body[..10.min(body.len())]);
        }
    }

    #[tokio::test]
    async fn many_contents_take_no_memory() {
        let line = format!("{{\"c\": \"{}\"}}\n", "A".repeat(200_000));
        let lines = cut(&line.repeat(100), 1 << 16).await.unwrap();
        let in_memory = lines.iter().filter(|(_, content)| content.is_none()).count();
        assert!((80..=86).contains(&in_memory), "{in_memory}");
        assert!(lines.iter().flat_map(|(_, content)| content).all(|content| content.len() == 150_000));
    }
}
