//! Markdown of strangers as HTML that is safe to show.
//!
//! Nothing that people type becomes markup: raw HTML is shown as it was typed, and links and images go
//! only where a list says they may. So there is nothing for a sanitiser to clean, and no parser of HTML
//! in the server. Whoever shows it still sends a strict content security policy.

use std::mem;

use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, TextMergeStream, html};
use pulldown_cmark_escape::escape_href;

/// Renders Markdown with the tables, strikethrough and task lists of GitHub's; addresses become links.
#[must_use]
pub fn render(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut safe = Safe::default();
    let mut events: Vec<Event<'_>> = Vec::new();
    for event in TextMergeStream::new(Parser::new_ext(text, options)) {
        safe.pass(event, &mut events);
    }
    let mut html = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut html, events.into_iter());
    html
}

/// Where the pass is: links are not made inside of links and images, nor in code.
#[derive(Default)]
struct Safe {
    /// Links and images around; each says whether it was let through.
    around: Vec<bool>,
    images: usize,
    code: bool,
}

impl Safe {
    fn pass<'a>(&mut self, event: Event<'a>, out: &mut Vec<Event<'a>>) {
        match event {
            Event::Html(text) | Event::InlineHtml(text) => out.push(Event::Text(text)),
            // Blocks of HTML are text as any other.
            Event::Start(Tag::HtmlBlock) => out.push(Event::Start(Tag::Paragraph)),
            Event::End(TagEnd::HtmlBlock) => out.push(Event::End(TagEnd::Paragraph)),
            Event::Start(Tag::Link { link_type, dest_url, .. }) => {
                let to = if link_type == LinkType::Email { format!("mailto:{dest_url}").into() } else { dest_url };
                // What stands inside of an image is its text.
                let allowed = may_link(&to) && self.images == 0;
                self.around.push(allowed);
                if allowed {
                    out.push(open_link(&to));
                }
            }
            Event::End(TagEnd::Link) => {
                if self.around.pop() == Some(true) {
                    out.push(Event::InlineHtml("</a>".into()));
                }
            }
            Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                let allowed = may_show(&dest_url);
                self.around.push(allowed);
                if allowed {
                    self.images += 1;
                    out.push(Event::Start(Tag::Image { link_type, dest_url, title, id }));
                }
            }
            Event::End(TagEnd::Image) => {
                if self.around.pop() == Some(true) {
                    self.images -= 1;
                    out.push(Event::End(TagEnd::Image));
                }
            }
            Event::Text(text) if self.around.is_empty() && !self.code => link_addresses(&text, out),
            other => {
                match &other {
                    Event::Start(Tag::CodeBlock(_)) => self.code = true,
                    Event::End(TagEnd::CodeBlock) => self.code = false,
                    _ => {}
                }
                out.push(other);
            }
        }
    }
}

/// Strangers' links say so to search engines, and their pages cannot reach back.
fn open_link<'a>(to: &str) -> Event<'a> {
    let mut href = String::new();
    // Writing to a String cannot fail.
    let _ = escape_href(&mut href, to);
    Event::InlineHtml(format!("<a href=\"{href}\" rel=\"nofollow ugc noopener noreferrer\">").into())
}

/// The scheme of an address; `None` when it is relative.
fn scheme(to: &str) -> Option<&str> {
    let (before, _) = to.split_once(':')?;
    // A colon after these belongs to a path.
    (!before.contains(['/', '?', '#'])).then_some(before)
}

/// Browsers drop tabs, line ends and control characters from an address before they read it.
fn is_plain(to: &str) -> bool {
    !to.chars().any(char::is_control)
}

fn is_web(scheme: Option<&str>) -> bool {
    scheme.is_none_or(|scheme| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
}

fn may_show(to: &str) -> bool {
    is_plain(to) && is_web(scheme(to))
}

fn may_link(to: &str) -> bool {
    is_plain(to) && (is_web(scheme(to)) || scheme(to).is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto")))
}

/// Makes links of the addresses in a text.
fn link_addresses<'a>(text: &CowStr<'a>, out: &mut Vec<Event<'a>>) {
    let mut rest: &str = text;
    let mut plain = String::new();
    while let Some(at) = next_address(rest) {
        let (before, from) = rest.split_at(at);
        let length = address_length(from);
        let (address, after) = from.split_at(length);
        plain.push_str(before);
        rest = after;
        let starts_a_word = plain.chars().next_back().is_none_or(|c| !c.is_alphanumeric());
        if !starts_a_word || !may_link(address) || address.ends_with("//") {
            plain.push_str(address);
            continue;
        }
        out.push(Event::Text(mem::take(&mut plain).into()));
        out.push(open_link(address));
        out.push(Event::Text(address.to_owned().into()));
        out.push(Event::InlineHtml("</a>".into()));
    }
    if plain.is_empty() && rest.len() == text.len() {
        out.push(Event::Text(text.clone()));
    } else {
        plain.push_str(rest);
        out.push(Event::Text(plain.into()));
    }
}

fn next_address(text: &str) -> Option<usize> {
    text.match_indices("http").map(|(at, _)| at).find(|at| {
        let from = &text[*at..];
        from.starts_with("http://") || from.starts_with("https://")
    })
}

/// How far an address goes: to white space or a bracket, without the punctuation of the sentence around it.
fn address_length(from: &str) -> usize {
    let end = from.find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '`')).unwrap_or(from.len());
    let mut address = &from[..end];
    loop {
        let trimmed = address.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '*', '_', '~']);
        // A closing bracket belongs to the address if it was opened in it.
        let closes = trimmed.ends_with(')') && trimmed.matches(')').count() > trimmed.matches('(').count();
        let trimmed = if closes { &trimmed[..trimmed.len() - 1] } else { trimmed };
        if trimmed.len() == address.len() {
            return address.len();
        }
        address = trimmed;
    }
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn what_people_write_looks_as_they_mean_it() {
        for (text, html) in [
            ("**bold** and `code`", "<p><strong>bold</strong> and <code>code</code></p>\n"),
            ("~~no~~", "<p><del>no</del></p>\n"),
            ("- [x] done", "<ul>\n<li><input disabled=\"\" type=\"checkbox\" checked=\"\"/>\ndone</li>\n</ul>\n"),
            ("![a cat](/cat.png)", "<p><img src=\"/cat.png\" alt=\"a cat\" /></p>\n"),
            ("1 < 2 & <3", "<p>1 &lt; 2 &amp; &lt;3</p>\n"),
        ] {
            assert_eq!(render(text), html, "{text}");
        }
        assert!(render("a | b\n--|--\n1 | 2").starts_with("<table>"));
        assert!(render("<me@example.org>").contains("href=\"mailto:me@example.org\""));
    }

    #[test]
    fn addresses_become_links() {
        let link = |to: &str| format!("<a href=\"{to}\" rel=\"nofollow ugc noopener noreferrer\">{to}</a>");
        for (text, expected) in [
            ("see https://a.example/b_c_d.", format!("<p>see {}.</p>\n", link("https://a.example/b_c_d"))),
            ("(http://a.example/x(y))", format!("<p>({})</p>\n", link("http://a.example/x(y)"))),
            ("xhttp://a.example", "<p>xhttp://a.example</p>\n".to_owned()),
            ("`https://a.example`", "<p><code>https://a.example</code></p>\n".to_owned()),
            ("http:// and https", "<p>http:// and https</p>\n".to_owned()),
        ] {
            assert_eq!(render(text), expected, "{text}");
        }
        let named = render("[https://a.example](https://b.example)");
        assert_eq!(named.matches("<a ").count(), 1, "{named}");
    }

    #[test]
    fn nothing_typed_becomes_markup_or_a_script() {
        for hostile in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "<svg><script>alert(1)</script></svg>",
            "<div\nonclick=alert(1)>\n\n# x",
            "<!-- --><iframe src=//evil.example>",
            "<![CDATA[<script>]]>",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](java&#115;cript:alert(1))",
            "[x](java&Tab;script:alert(1))",
            "[x](&#1;javascript:alert(1))",
            "[x](<javascript:alert(1)>)",
            "[x]: javascript:alert(1)\n\n[x]",
            "<javascript:alert(1)>",
            "[x](vbscript:x)",
            "[x](data:text/html;base64,PHNjcmlwdD4=)",
            "![x](data:image/svg+xml;base64,PHN2Zz4=)",
            "![x](javascript:alert(1))",
            "[x](/a\" onmouseover=\"alert(1))",
            "![x\" onerror=\"alert(1)](/a)",
            "![x](/a \"t\\\" onerror=alert(1)\")",
            "```x\" onclick=\"alert(1)\n```",
            "https://a.example/\"onmouseover=alert(1)",
            "[x](https://a.example/'><script>alert(1)</script>)",
            "![<script>alert(1)</script>](/a)",
        ] {
            let html = render(hostile);
            let tags: Vec<&str> = html.split('<').skip(1).map(|tag| tag.split('>').next().unwrap()).collect();
            for tag in tags {
                let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap_or("");
                assert!(["p", "a", "img", "h1", "pre", "code"].contains(&name), "{hostile}: {html}");
                // What is inside of quotes is a value.
                let outside: String = tag.split('"').step_by(2).collect();
                assert!(!outside.contains(" on"), "{hostile}: {html}");
                let target = tag.split('"').nth(1).unwrap_or("").to_ascii_lowercase();
                assert!(
                    !["java", "vbscript", "data:"].iter().any(|scheme| target.contains(scheme)),
                    "{hostile}: {html}"
                );
            }
        }
    }

    #[test]
    fn deep_and_long_texts_do_not_hurt() {
        for text in ["> ".repeat(20_000), "[".repeat(50_000), "*a ".repeat(20_000), "http://".repeat(9_000)] {
            let _ = render(&text);
        }
    }
}
