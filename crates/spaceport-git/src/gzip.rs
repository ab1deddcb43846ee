//! Request bodies as the client encoded them: plain or gzip, decoded piece by piece.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::write::GzDecoder;

/// The `Content-Encoding` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEncoding {
    /// Plain bytes.
    Identity,
    /// gzip; git compresses long negotiations.
    Gzip,
}

impl BodyEncoding {
    /// From the header's value; `None` is another encoding, to be answered with 415.
    #[must_use]
    pub fn from_header(value: Option<&str>) -> Option<Self> {
        match value.map(|value| value.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Some(Self::Identity),
            Some("gzip" | "x-gzip") => Some(Self::Gzip),
            Some(_) => None,
        }
    }
}

/// How much is given to the decoder at once: gzip expands at most some thousandfold, so at most a
/// few megabytes come out.
const PIECE: usize = 4096;

pub(crate) enum Decoder {
    Identity,
    Gzip(Box<GzDecoder<Vec<u8>>>),
}

impl Decoder {
    pub(crate) fn new(encoding: BodyEncoding) -> Self {
        match encoding {
            BodyEncoding::Identity => Self::Identity,
            BodyEncoding::Gzip => Self::Gzip(Box::new(GzDecoder::new(Vec::new()))),
        }
    }

    /// Takes one piece off the front of `input` and decodes it.
    pub(crate) fn decode(&mut self, input: &mut Bytes) -> io::Result<Bytes> {
        match self {
            Self::Identity => Ok(std::mem::take(input)),
            Self::Gzip(decoder) => {
                let piece = input.split_to(input.len().min(PIECE));
                decoder.write_all(&piece)?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }

    /// The rest, or an error when the encoded text is cut off.
    pub(crate) fn finish(self) -> io::Result<Bytes> {
        match self {
            Self::Identity => Ok(Bytes::new()),
            Self::Gzip(decoder) => decoder.finish().map(Bytes::from),
        }
    }
}
