//! Parts of files: `Range`, `If-Range` and `If-None-Match`.
//! Specification: RFC 9110 §13 and §14.

use std::ops::Range;

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE};

/// What of a file is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes it does not have.
    Nothing,
}

/// What of a file of `size` bytes, known by `tag`, a request asks for. A header that cannot be read
/// counts as none, and so do several ranges at once: whoever sends them copes with the whole file.
pub(crate) fn wanted(headers: &HeaderMap, size: u64, tag: &str) -> Wanted {
    let Some(range) = text(headers, &RANGE) else { return Wanted::Whole };
    // A date would be as good as none: files of a commit have no time of their own.
    if text(headers, &IF_RANGE).is_some_and(|known| known != tag) {
        return Wanted::Whole;
    }
    let Some((first, last)) = range.trim().strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
        return Wanted::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    let part = match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            Ok(count) => size.saturating_sub(count)..size,
            Err(_) => return Wanted::Whole,
        },
        (first, "") => match number(first) {
            Ok(first) => first..size,
            Err(_) => return Wanted::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Ok(first), Ok(last)) if first <= last => first..size.min(last.saturating_add(1)),
            _ => return Wanted::Whole,
        },
    };
    if part.start < part.end { Wanted::Part(part) } else { Wanted::Nothing }
}

/// Whether the caller has the file already.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    let mut known = lists.flat_map(|list| list.split(',')).map(str::trim);
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn ranges_are_cut_to_the_file() {
        for (range, part) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-", Wanted::Part(2..10)),
            ("bytes=2-99", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-99", Wanted::Part(0..10)),
            ("bytes=9-18446744073709551615", Wanted::Part(9..10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=0-1,4-5", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=18446744073709551616-", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
        ] {
            assert_eq!(wanted(&with(&[(RANGE, range)]), 10, "\"x\""), part, "{range}");
        }
        assert_eq!(wanted(&with(&[(RANGE, "bytes=0-")]), 0, "\"x\""), Wanted::Nothing);
        assert_eq!(wanted(&HeaderMap::new(), 10, "\"x\""), Wanted::Whole);
    }

    #[test]
    fn a_part_of_another_version_is_never_sent() {
        let asked = |known| with(&[(RANGE, "bytes=1-1"), (IF_RANGE, known)]);
        assert_eq!(wanted(&asked("\"x\""), 10, "\"x\""), Wanted::Part(1..2));
        assert_eq!(wanted(&asked("\"y\""), 10, "\"x\""), Wanted::Whole);
    }

    #[test]
    fn tags_match_whatever_their_strength() {
        for (list, known) in [("\"x\"", true), ("W/\"x\"", true), ("\"a\", \"x\"", true), ("*", true), ("\"a\"", false)]
        {
            assert_eq!(is_known(&with(&[(IF_NONE_MATCH, list)]), "\"x\""), known, "{list}");
        }
    }
}
