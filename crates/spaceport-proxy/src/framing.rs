//! What hyper does not tell: whether a request of HTTP/1.1 came with two framings.
//!
//! Of a `Content-Length` beside `Transfer-Encoding`, and of equal lengths, hyper keeps one and goes
//! on. What it passes on is then framed anew and safe for the app; but whoever stands before this
//! proxy may have read the message by the other field, and takes what follows for something else
//! (RFC 9112 §6.1). So the bytes of a connection are looked at on their way in, and the request is
//! refused. Only where heads begin and end is followed here, in the same steps as hyper's decoder;
//! whatever hyper refuses by itself ends the looking.

use memchr::{memchr, memchr_iter};

/// Follows the requests of one connection.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    heads: u32,
    max_head: usize,
}

#[derive(Debug)]
enum State {
    /// In a head, of which so much came before.
    Head(Vec<u8>),
    /// In a body with so much left.
    Body(u64),
    /// In a chunked body.
    Chunked(Chunk),
    /// Nothing more is looked at.
    Off,
}

/// Where in a chunked body (RFC 9112 §7.1).
#[derive(Debug, Clone, Copy)]
enum Chunk {
    Size(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
}

impl Framing {
    /// From the first byte of a connection; heads may have `max_head` bytes.
    pub(crate) fn new(max_head: usize) -> Self {
        Self { state: State::Head(Vec::new()), heads: 0, max_head }
    }

    /// Looks at bytes as they arrive. Tells the number of the request, from 1, that has two
    /// framings; nothing after it is looked at.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) -> Option<u32> {
        while !bytes.is_empty() {
            let used = match &mut self.state {
                State::Off => return None,
                State::Head(before) => {
                    if before.is_empty() && matches!(bytes[0], b'\r' | b'\n') {
                        // Empty lines before a request are allowed (RFC 9112 §2.2).
                        bytes = &bytes[1..];
                        continue;
                    }
                    let (used, next) = head(before, bytes);
                    match next {
                        None if before.len() > self.max_head => self.state = State::Off,
                        None => {}
                        Some(Head { two: true, .. }) => {
                            self.state = State::Off;
                            return Some(self.heads + 1);
                        }
                        Some(Head { body, .. }) => {
                            self.heads += 1;
                            self.state = body;
                        }
                    }
                    used
                }
                State::Body(left) => {
                    let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= used as u64;
                    if *left == 0 {
                        self.state = State::Head(Vec::new());
                    }
                    used
                }
                State::Chunked(Chunk::Data(left)) => {
                    let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= used as u64;
                    if *left == 0 {
                        self.state = State::Chunked(Chunk::DataCr);
                    }
                    used
                }
                State::Chunked(chunk) => {
                    self.state = chunk.step(bytes[0]);
                    1
                }
            };
            bytes = &bytes[used..];
        }
        None
    }
}

impl Chunk {
    fn step(self, byte: u8) -> State {
        let next = match (self, byte) {
            (Self::Size(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                match size.checked_mul(16) {
                    Some(size) => Self::Size(size | digit),
                    None => return State::Off,
                }
            }
            (Self::Size(size) | Self::Extension(size), b'\r') => Self::SizeLf(size),
            (Self::Size(size), b' ' | b'\t' | b';') => Self::Extension(size),
            (Self::Extension(size), byte) if byte != b'\n' => Self::Extension(size),
            (Self::SizeLf(0), b'\n') => Self::TrailerStart,
            (Self::SizeLf(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size(0),
            (Self::TrailerStart, b'\r') => Self::EndLf,
            (Self::Trailer, b'\r') => Self::TrailerLf,
            (Self::TrailerStart | Self::Trailer, _) => Self::Trailer,
            (Self::TrailerLf, b'\n') => Self::TrailerStart,
            (Self::EndLf, b'\n') => return State::Head(Vec::new()),
            _ => return State::Off,
        };
        State::Chunked(next)
    }
}

/// What a complete head says of its body.
struct Head {
    body: State,
    /// Whether there is more than one framing.
    two: bool,
}

/// How many of `bytes` belong to the head of which `before` came before, and what it says if it
/// is complete with them.
fn head(before: &mut Vec<u8>, bytes: &[u8]) -> (usize, Option<Head>) {
    if before.is_empty() {
        return match end_of_head(bytes, 0) {
            Some(end) => (end, Some(read(&bytes[..end]))),
            None => {
                before.extend_from_slice(bytes);
                (bytes.len(), None)
            }
        };
    }
    let old = before.len();
    before.extend_from_slice(bytes);
    match end_of_head(before, old.saturating_sub(2)) {
        Some(end) => (end - old, Some(read(&before[..end]))),
        None => (bytes.len(), None),
    }
}

/// Behind the empty line, if it comes; line ends before `from` have been looked at.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    memchr_iter(b'\n', &bytes[from..]).map(|at| from + at + 1).find_map(|next| match &bytes[next..] {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

fn read(head: &[u8]) -> Head {
    let (mut length, mut lengths, mut encodings) = (None, 0, 0);
    let mut rest = head;
    while let Some(end) = memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        // No other name begins so, usually.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            continue;
        }
        let Some((name, value)) = memchr(b':', line).map(|colon| (&line[..colon], &line[colon + 1..])) else {
            continue;
        };
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            length = std::str::from_utf8(value.trim_ascii()).ok().and_then(|text| text.parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            encodings += 1;
        }
    }
    let body = match (encodings, lengths, length) {
        (0, 0, _) | (0, _, Some(0)) => State::Head(Vec::new()),
        (0, _, Some(length)) => State::Body(length),
        (0, _, None) => State::Off,
        _ => State::Chunked(Chunk::Size(0)),
    };
    Head { body, two: lengths > 1 || (lengths > 0 && encodings > 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    const BOTH: &str = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nContent-Length: 1\r\n\r\n";

    fn first_with_two(text: &str, piece: usize) -> Option<u32> {
        let mut framing = Framing::new(8192);
        text.as_bytes().chunks(piece).find_map(|piece| framing.pass(piece))
    }

    #[test]
    fn requests_are_told_apart_whatever_is_in_their_bodies() {
        for (before, number) in [
            (String::new(), 1),
            ("\r\n\nGET / HTTP/1.1\r\nContent-Lengthy: 1\r\n\r\n".to_owned(), 2),
            ("GET / HTTP/1.0\nHost: a\n\n".to_owned(), 2),
            (format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{BOTH}", BOTH.len()), 2),
            (format!("{CHUNKED}{:X};a=\"b\"\r\n{BOTH}\r\n0\r\n\r\n", BOTH.len()), 2),
            (format!("{CHUNKED}00{:x} \t\r\n{BOTH}\r\n0\r\nA: b\r\nC:\r\n\r\n", BOTH.len()), 2),
            (format!("{CHUNKED}0\r\n\r\n{CHUNKED}1\r\nx\r\n0\r\n\r\n"), 3),
        ] {
            let text = format!("{before}{BOTH}");
            for piece in [1, 2, 3, 5, 64, text.len()] {
                assert_eq!(first_with_two(&text, piece), Some(number), "{text:?} in pieces of {piece}");
                assert_eq!(first_with_two(&before, piece), None, "{before:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn equal_lengths_are_two_framings() {
        let text = "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na";
        assert_eq!(first_with_two(text, text.len()), Some(1));
    }

    #[test]
    fn what_hyper_refuses_ends_the_looking() {
        for broken in [
            format!("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n{BOTH}"),
            format!("{CHUNKED}g\r\n{BOTH}"),
            format!("{CHUNKED}1;\n{BOTH}"),
            format!("{CHUNKED}1\r\nxy{BOTH}"),
            format!("{CHUNKED}fffffffffffffffff\r\n{BOTH}"),
            format!("GET /{} HTTP/1.1\r\n{BOTH}", "x".repeat(10_000)),
        ] {
            for piece in [1, 100] {
                assert_eq!(first_with_two(&broken, piece), None, "{broken:?}");
            }
        }
    }
}
