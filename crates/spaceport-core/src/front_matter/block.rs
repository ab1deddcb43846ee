//! Finds the block between the two `---` lines, and knows where things are in the file.

use super::MAX_BLOCK_BYTES;
use crate::config::ConfigError;

/// What a user without a usable block is shown.
pub const EXAMPLE: &str =
    "a README.md that begins with the lines `---`, `sdk: gradio` (or streamlit, docker, static), `---`";

/// The text between the two `---` lines.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// The YAML.
    pub text: &'a str,
    /// Line in the file of the opening `---`, from 1.
    pub opened_at: u32,
    /// Line in the file of the first line of `text`.
    first_line: u32,
    /// Characters of each line: every event of the parser asks for a place.
    lengths: Vec<usize>,
}

/// A place in the file, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub line: u32,
    pub column: u32,
}

impl Place {
    pub(super) fn error(self, key: &str, message: impl Into<String>, allowed: impl Into<String>) -> ConfigError {
        ConfigError {
            key: key.to_owned(),
            line: self.line,
            column: self.column,
            message: message.into(),
            allowed: allowed.into(),
        }
    }
}

impl Block<'_> {
    /// Where the block begins.
    pub(super) fn opening(&self) -> Place {
        Place { line: self.opened_at, column: 1 }
    }

    /// The place in the file of a line (from 1) and a column (from 0) of the block. It is kept
    /// inside the block: the parser reports an unexpected end one line behind it.
    pub(super) fn place(&self, line: usize, column: usize) -> Place {
        let index = line.max(1).min(self.lengths.len().max(1)) - 1;
        let length = self.lengths.get(index).copied().unwrap_or(0);
        let column = if index + 1 == line.max(1) { column.min(length) } else { length };
        Place { line: self.first_line.saturating_add(to_u32(index)), column: to_u32(column).saturating_add(1) }
    }
}

/// Finds the block. Only the block must be UTF-8: what follows is prose, and not ours to judge.
pub(super) fn find(readme: &[u8]) -> Result<Block<'_>, ConfigError> {
    let start = Place { line: 1, column: 1 };
    if readme.starts_with(&[0xff, 0xfe]) || readme.starts_with(&[0xfe, 0xff]) {
        return Err(start.error("", "README.md is UTF-16 text; save it as UTF-8", EXAMPLE));
    }
    let bytes = readme.strip_prefix(b"\xef\xbb\xbf").unwrap_or(readme);
    let mut lines = Lines { rest: bytes }.enumerate();
    let Some((index, opening)) = lines.find(|(_, line)| !line.content.trim_ascii().is_empty()) else {
        return Err(start.error("sdk", "README.md is empty, and so nothing says which SDK to use", EXAMPLE));
    };
    let opened_at = to_u32(index).saturating_add(1);
    let place = Place { line: opened_at, column: 1 };
    if opening.content.trim_ascii() != b"---" {
        let binary = bytes.iter().take(MAX_BLOCK_BYTES).any(|byte| *byte == 0);
        let message = if binary {
            "README.md is a binary file, not text"
        } else {
            "README.md has no front matter, and so nothing says which SDK to use"
        };
        return Err(place.error("sdk", message, EXAMPLE));
    }
    let body = opening.after;
    let Some((_, closing)) = lines.find(|(_, line)| line.content.trim_ascii_end() == b"---") else {
        let message = "the front matter is not closed: there is no second `---` line";
        return Err(place.error("", message, "a line `---` after the last key"));
    };
    let length = body.len() - closing.from;
    let content = &body[..length];
    if length > MAX_BLOCK_BYTES {
        let message = format!("the front matter has {length} bytes; at most {MAX_BLOCK_BYTES} are read");
        return Err(place.error("", message, ""));
    }
    let block = |text| Block { text, opened_at, first_line: opened_at.saturating_add(1), lengths: lengths(text) };
    let text = match std::str::from_utf8(content) {
        Ok(text) => text,
        Err(error) => {
            let valid = std::str::from_utf8(&content[..error.valid_up_to()]).unwrap_or_default();
            let place = end_of(&block(valid));
            let byte = content.get(error.valid_up_to()).copied().unwrap_or_default();
            let message = format!("the front matter is not UTF-8 text: byte 0x{byte:02x}");
            return Err(place.error("", message, "text saved as UTF-8"));
        }
    };
    match text.find('\0') {
        // To the YAML parser this would be the end, and the keys behind it would be lost in silence.
        Some(at) => Err(end_of(&block(&text[..at])).error("", "the front matter holds a NUL character", "text")),
        None => Ok(block(text)),
    }
}

fn lengths(text: &str) -> Vec<usize> {
    let chars = |line: Line<'_>| String::from_utf8_lossy(line.content).chars().count();
    Lines { rest: text.as_bytes() }.map(chars).collect()
}

fn end_of(block: &Block<'_>) -> Place {
    let lines = Lines { rest: block.text.as_bytes() };
    let ended = block.text.is_empty() || block.text.ends_with(['\n', '\r']);
    let (count, last) = lines.fold((0, 0), |(count, _), line| (count + 1, line.content.len()));
    if ended {
        Place { line: block.first_line.saturating_add(to_u32(count)), column: 1 }
    } else {
        let content = block.text.get(block.text.len() - last..).unwrap_or_default();
        let column = to_u32(content.chars().count()).saturating_add(1);
        Place { line: block.first_line.saturating_add(to_u32(count)).saturating_sub(1), column }
    }
}

/// Lines as YAML counts them: `\n`, `\r\n` and a lone `\r` end one.
struct Lines<'a> {
    rest: &'a [u8],
}

struct Line<'a> {
    content: &'a [u8],
    /// Everything behind the line.
    after: &'a [u8],
    /// How many bytes there are from its beginning to the end of the file.
    from: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let from = self.rest.len();
        let end = self.rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(from);
        let (content, tail) = self.rest.split_at(end);
        let broken = if tail.starts_with(b"\r\n") { 2 } else { tail.len().min(1) };
        self.rest = &tail[broken..];
        Some(Line { content, after: self.rest, from })
    }
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
