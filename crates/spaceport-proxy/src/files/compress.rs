//! Content codings: which one, and keeping what was compressed.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};

use bytes::Bytes;
use http::HeaderValue;

/// What a thread keeps of prepared content, in bytes.
const KEPT_BYTES: usize = 32 << 20;
/// Brotli's quality: near the best ratio that compresses as fast as gzip does.
const BROTLI_QUALITY: u32 = 5;
const BROTLI_WINDOW: u32 = 22;
const BROTLI_BUFFER: usize = 64 * 1024;

/// How content is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Brotli,
}

impl Coding {
    /// The name in `Content-Encoding`.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }

    /// The best coding a client accepts (RFC 9110 §12.5.3).
    pub(super) fn negotiate<'a>(accepted: impl Iterator<Item = &'a HeaderValue>) -> Self {
        let mut best = (0.0, Self::Identity);
        let (mut named_gzip, mut named_brotli, mut others) = (false, false, 0.0);
        for item in accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0));
            let coding = if name.eq_ignore_ascii_case("br") {
                named_brotli = true;
                Self::Brotli
            } else if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                named_gzip = true;
                Self::Gzip
            } else {
                if name == "*" {
                    others = weight;
                }
                continue;
            };
            // With equal weights brotli wins: it is smaller.
            if weight > best.0 || (weight == best.0 && weight > 0.0 && coding == Self::Brotli) {
                best = (weight, coding);
            }
        }
        for (named, coding) in [(named_brotli, Self::Brotli), (named_gzip, Self::Gzip)] {
            if !named && others > best.0 {
                best = (others, coding);
            }
        }
        best.1
    }

    pub(super) fn encode(self, content: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(content),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&content)?;
                encoder.finish()
            }
            Self::Brotli => {
                let mut encoder =
                    brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
                encoder.write_all(&content)?;
                Ok(encoder.into_inner())
            }
        }
    }
}

/// Whether content of a type gets smaller.
pub(super) fn is_compressible(mime: &[u8]) -> bool {
    let Ok(mime) = std::str::from_utf8(mime) else { return false };
    let essence = mime.split(';').next().unwrap_or_default();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence,
            "application/javascript"
                | "application/json"
                | "application/wasm"
                | "application/xml"
                | "application/vnd.ms-fontobject"
                | "font/ttf"
                | "font/otf"
                | "image/bmp"
        )
}

/// Prepared content by entity tag; the oldest goes first.
#[derive(Default)]
pub(crate) struct Compressed(RefCell<Kept>);

#[derive(Default)]
struct Kept {
    by_tag: HashMap<HeaderValue, Bytes>,
    order: VecDeque<HeaderValue>,
    size: usize,
}

impl Compressed {
    pub(super) fn get(&self, tag: &HeaderValue) -> Option<Bytes> {
        self.0.borrow().by_tag.get(tag).cloned()
    }

    pub(super) fn put(&self, tag: HeaderValue, content: Bytes) {
        let mut kept = self.0.borrow_mut();
        if content.len() > KEPT_BYTES / 4 || kept.by_tag.contains_key(&tag) {
            return;
        }
        kept.size += content.len();
        kept.order.push_back(tag.clone());
        kept.by_tag.insert(tag, content);
        while kept.size > KEPT_BYTES {
            let Some(oldest) = kept.order.pop_front() else { return };
            if let Some(content) = kept.by_tag.remove(&oldest) {
                kept.size -= content.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coding_is_what_the_client_prefers() {
        for (accepted, coding) in [
            ("gzip, deflate, br", Coding::Brotli),
            ("gzip", Coding::Gzip),
            ("br;q=0.1, gzip;q=0.9", Coding::Gzip),
            ("br;q=0, gzip;q=0", Coding::Identity),
            ("*", Coding::Brotli),
            ("br;q=0, *;q=0.5", Coding::Gzip),
            ("identity", Coding::Identity),
            ("", Coding::Identity),
        ] {
            let value = HeaderValue::from_static(accepted);
            assert_eq!(Coding::negotiate(std::iter::once(&value)), coding, "{accepted}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let kept = Compressed::default();
        let tag = |n: usize| HeaderValue::from(n);
        for n in 0..10 {
            kept.put(tag(n), Bytes::from(vec![0; KEPT_BYTES / 5]));
        }
        assert!(kept.get(&tag(0)).is_none());
        assert!(kept.get(&tag(9)).is_some());
        kept.put(tag(99), Bytes::from(vec![0; KEPT_BYTES]));
        assert!(kept.get(&tag(99)).is_none());
    }
}
