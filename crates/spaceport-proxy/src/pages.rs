//! The pages people see when no app answers. Plain HTML without JavaScript, complete in one answer:
//! they must work when everything else does not.

use std::fmt::Write;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("pages.css");

/// Nothing may run or load on these pages but their own style.
pub(crate) static CONTENT_SECURITY_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'");
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// How a page looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// On its way.
    Going,
    /// Something is wrong.
    Wrong,
    /// Neither.
    Calm,
}

/// What a page says. Everything is escaped when it is written.
#[derive(Debug, Clone)]
pub(crate) struct Page<'a> {
    pub(crate) mood: Mood,
    /// The Space, or the name of the product.
    pub(crate) label: &'a str,
    pub(crate) heading: &'a str,
    pub(crate) text: &'a str,
    pub(crate) facts: &'a [(&'a str, String)],
    /// What one can do, and where.
    pub(crate) way: Option<(&'a str, &'a str)>,
    /// The page of the Space on the hub.
    pub(crate) link: Option<&'a str>,
    /// After how many seconds the page loads itself again.
    pub(crate) refresh: Option<u32>,
}

impl Page<'_> {
    pub(crate) fn render(&self) -> String {
        let Self { mood, label, heading, text, facts, way, link, refresh } = self;
        let class = match mood {
            Mood::Going => "going",
            Mood::Wrong => "wrong",
            Mood::Calm => "calm",
        };
        let mut out = String::with_capacity(STYLE.len() + 1024);
        out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        out.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n");
        out.push_str("<meta name=\"robots\" content=\"noindex\">\n");
        if let Some(seconds) = refresh {
            let _ = writeln!(out, "<meta http-equiv=\"refresh\" content=\"{seconds}\">");
        }
        let _ = write!(
            out,
            "<title>{heading} · {label}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main class=\"{class}\">\n\
             <header><span class=\"mark\" aria-hidden=\"true\"></span><span>{label}</span></header>\n\
             <h1>{heading}</h1>\n<p>{text}</p>\n",
            heading = escape(heading),
            label = escape(label),
            text = escape(text),
        );
        if !facts.is_empty() {
            out.push_str("<dl>\n");
            for (name, value) in *facts {
                let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
            }
            out.push_str("</dl>\n");
        }
        let is_web = |link: &str| link.starts_with("https://") || link.starts_with("http://");
        if let Some((what, link)) = way.filter(|(_, link)| is_web(link)) {
            let (what, link) = (escape(what), escape(link));
            let _ = writeln!(out, "<p><a class=\"way\" href=\"{link}\" target=\"_top\">{what}</a></p>");
        }
        if let Some(link) = link.filter(|link| is_web(link)) {
            let _ = writeln!(
                out,
                "<footer>Is it yours? <a href=\"{}\" target=\"_top\">The hub has the details</a>.</footer>",
                escape(link)
            );
        }
        out.push_str("</main>\n</body>\n</html>\n");
        out
    }
}

/// Text for HTML, in elements and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A duration for people: its two largest units.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (1, _, _) => format!("1 day {hours} h"),
        _ => format!("{days} days {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units() {
        for (seconds, text) in
            [(0, "0 s"), (72, "1 min 12 s"), (3_720, "1 h 2 min"), (90_000, "1 day 1 h"), (200_000, "2 days 7 h")]
        {
            assert_eq!(elapsed(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn nothing_a_person_typed_becomes_markup() {
        let page = Page {
            mood: Mood::Wrong,
            label: "<b>",
            heading: "\"'&",
            text: "</p><script>",
            facts: &[("<i>", "<u>".to_owned())],
            way: Some(("<s>", "javascript:alert(2)")),
            link: Some("javascript:alert(1)"),
            refresh: None,
        };
        let html = page.render();
        for markup in ["<b>", "<script>", "<i>", "<u>", "javascript:"] {
            assert!(!html.contains(markup), "{markup}");
        }
    }
}
