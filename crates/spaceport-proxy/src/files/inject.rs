//! `window.huggingface.variables` in HTML documents: how a static Space gets its variables.
//! Hub: <https://huggingface.co/docs/hub/spaces-sdks-static>

use std::collections::BTreeMap;

/// The element that defines the variables.
pub(super) fn script(variables: &BTreeMap<String, String>) -> String {
    let json = serde_json::json!({ "variables": variables }).to_string();
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // `</script>` and `<!--` would end or change the element, whatever JavaScript says.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => safe.push(c),
        }
    }
    format!("<script>window.huggingface={safe};</script>")
}

/// The document with `script` before everything else in its head. A document in UTF-16 stays as
/// it is: our bytes would break it.
pub(super) fn into_document(document: Vec<u8>, script: &str) -> Vec<u8> {
    if document.starts_with(&[0xff, 0xfe]) || document.starts_with(&[0xfe, 0xff]) {
        return document;
    }
    let at = place(&document);
    let mut out = Vec::with_capacity(document.len() + script.len());
    out.extend_from_slice(&document[..at]);
    out.extend_from_slice(script.as_bytes());
    out.extend_from_slice(&document[at..]);
    out
}

/// Behind `<head>`, else behind `<html>`, else behind the doctype; before any other element.
fn place(document: &[u8]) -> usize {
    let mut at = if document.starts_with(&[0xef, 0xbb, 0xbf]) { 3 } else { 0 };
    let mut best = at;
    loop {
        while document.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        let rest = &document[at..];
        if rest.starts_with(b"<!--") {
            let Some(end) = find(rest, b"-->") else { return best };
            at += end + 3;
            continue;
        }
        let is_doctype = starts_with(rest, b"<!doctype");
        let is_html = is_element(rest, b"<html");
        let is_head = is_element(rest, b"<head");
        if !(is_doctype || is_html || is_head) {
            return best;
        }
        let Some(end) = tag_end(rest) else { return best };
        at += end;
        best = at;
        if is_head {
            return best;
        }
    }
}

fn is_element(rest: &[u8], tag: &[u8]) -> bool {
    starts_with(rest, tag) && rest.get(tag.len()).is_some_and(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/'))
}

fn starts_with(rest: &[u8], prefix: &[u8]) -> bool {
    rest.len() >= prefix.len() && rest[..prefix.len()].eq_ignore_ascii_case(prefix)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The position behind the `>` of a tag; one within quotes does not end it.
fn tag_end(rest: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in rest.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), close) if open == *close => quote = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_comes_first_in_the_head() {
        for (document, expected) in [
            ("<!doctype html><html><head><title>x</title>", "<!doctype html><html><head>@<title>x</title>"),
            (
                "<!DOCTYPE html>\n<HTML lang='a>b'>\n<HEAD data-x>\n<p>",
                "<!DOCTYPE html>\n<HTML lang='a>b'>\n<HEAD data-x>@\n<p>",
            ),
            ("<!-- <head> --><html><body>", "<!-- <head> --><html>@<body>"),
            ("<header>x</header>", "@<header>x</header>"),
            ("plain", "@plain"),
            ("", "@"),
            ("<!-- never closed <head>", "@<!-- never closed <head>"),
        ] {
            let out = into_document(document.as_bytes().to_vec(), "@");
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        assert_eq!(into_document(vec![0xff, 0xfe, 0], "@"), [0xff, 0xfe, 0]);
    }

    #[test]
    fn no_value_ends_the_script() {
        let script = script(&BTreeMap::from([("A".to_owned(), "</script><!--\u{2028}\"".to_owned())]));
        assert_eq!(
            script,
            r#"<script>window.huggingface={"variables":{"A":"\u003c/script\u003e\u003c!--\u2028\""}};</script>"#
        );
    }
}
