//! What a Dockerfile makes the engine itself fetch.
//!
//! `RUN` steps are on a network of their own, behind the packet filter. But what `ADD` names by an address is fetched by
//! the engine, on the node's network, where services of the node and of its cloud listen; and a frontend that
//! `# syntax` names may ask the engine for anything. So a site does not allow either unless its admin does.
//!
//! Versions of BuildKit's parser differ in where an instruction ends, and `# syntax` lets the author choose one. So no
//! reading is followed: every line may begin an instruction, and may go on over every line that ends in either escape
//! character. What is found so is more than any version does, and not less.
//! <https://docs.docker.com/reference/dockerfile/>

use std::fmt;

/// Something that the engine would fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// In which line it begins, from 1.
    pub line: usize,
    /// What.
    pub kind: FetchKind,
}

/// See [`Fetch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchKind {
    /// `ADD` of an address.
    Add(String),
    /// `ADD` of something that may become one, since its beginning is a variable.
    Variable(String),
    /// A frontend that is not Docker's; empty for a file that is no Dockerfile.
    Frontend(String),
    /// There are so many ways to read it that they were not all looked at.
    Unclear,
}

impl fmt::Display for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FetchKind::Add(source) | FetchKind::Variable(source) => write!(f, "line {}: ADD {source}", self.line),
            FetchKind::Frontend(image) => write!(f, "line {}: syntax={image}", self.line),
            FetchKind::Unclear => write!(f, "line {}: what goes on over so many lines cannot be told", self.line),
        }
    }
}

impl Fetch {
    /// How its author does without.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self.kind {
            FetchKind::Add(_) => "Fetch it in a step instead: RUN curl -fsSLo FILE ADDRESS, or git clone.",
            FetchKind::Variable(_) => "Use COPY, or begin the source with ./ so that it cannot be an address.",
            FetchKind::Frontend(_) => "Use Docker's own frontend, docker/dockerfile, or name none.",
            FetchKind::Unclear => "Write the instructions in fewer lines.",
        }
    }
}

/// The first thing that the engine would fetch for this Dockerfile.
#[must_use]
pub fn fetches(text: &str) -> Option<Fetch> {
    let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).lines().collect();
    let mut left = MOST_WORK;
    frontend(&lines).or_else(|| {
        (0..lines.len()).find_map(|first| {
            // Versions differ in whether the white space at the beginning of a further line stays.
            let kind = [true, false].into_iter().find_map(|trimmed| {
                let instruction = joined(&lines[first..], trimmed, &mut left);
                if left == 0 { Some(FetchKind::Unclear) } else { added(&instruction?) }
            })?;
            Some(Fetch { line: first + 1, kind })
        })
    })
}

/// Lines and characters that are looked at, all readings together.
const MOST_WORK: usize = 4 << 20;

/// Another frontend than Docker's, as far as the comments at the beginning go, whatever else stands there.
fn frontend(lines: &[&str]) -> Option<Fetch> {
    for (number, line) in (1..).zip(lines) {
        let line = line.trim();
        // A frontend's own file may be JSON that names it.
        let other = if line.starts_with('{') { Some("") } else { syntax(line).filter(|image| !is_dockers(image)) };
        if let Some(image) = other {
            return Some(Fetch { line: number, kind: FetchKind::Frontend(image.to_owned()) });
        }
        if !line.is_empty() && !line.starts_with('#') && !line.starts_with("//") {
            break;
        }
    }
    None
}

/// `# syntax=image`; `//` in newer versions.
fn syntax(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('#').or_else(|| line.strip_prefix("//"))?;
    let (key, value) = rest.split_once('=')?;
    key.trim().eq_ignore_ascii_case("syntax").then(|| value.trim())
}

/// Whether an image is Docker's own frontend.
fn is_dockers(image: &str) -> bool {
    let name = image.split_whitespace().next().unwrap_or_default();
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.split(['@', ':']).next().unwrap_or_default();
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream")
}

/// The longest instruction that may begin with the first of these lines; `None` when it is another than `ADD`.
fn joined(lines: &[&str], trimmed: bool, left: &mut usize) -> Option<String> {
    let mut all = String::new();
    for (number, line) in lines.iter().enumerate() {
        *left = left.saturating_sub(1 + line.len());
        let is_further = number > 0;
        if is_further && (line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        let line = if is_further && !trimmed { line } else { line.trim_start() };
        let begun = line.trim_end().strip_suffix(['\\', '`']);
        all.push_str(begun.unwrap_or(line));
        // What begins with nothing begins with the next line.
        if *left == 0 || all.is_empty() || !begins_added(&all) {
            return None;
        }
        if begun.is_none() {
            break;
        }
    }
    Some(all)
}

/// Whether this is the beginning of an `ADD`, as far as it goes.
fn begins_added(text: &str) -> bool {
    let word: String = text.chars().take_while(|c| !c.is_whitespace()).take(8).map(lower).collect();
    let is_whole = text.chars().any(char::is_whitespace);
    ["add", "onbuild"].into_iter().any(|name| if is_whole { word == name } else { name.starts_with(&word) })
}

/// What an `ADD` has the engine fetch.
fn added(instruction: &str) -> Option<FetchKind> {
    let mut rest = instruction;
    loop {
        let (word, after) = rest.split_once(char::is_whitespace)?;
        rest = after.trim_start();
        match word.chars().map(lower).collect::<String>().as_str() {
            "add" => break,
            "onbuild" => {}
            _ => return None,
        }
    }
    // JSON may write any character by its number.
    if rest.contains('[') && rest.contains('\\') {
        return Some(FetchKind::Add(rest.chars().take(200).collect()));
    }
    // Quotes and escapes go before a source is looked at.
    let plain: String = rest.chars().filter(|c| !matches!(c, '"' | '\'' | '\\' | '`')).collect();
    let words = plain.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']'));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).skip_while(|word| word.starts_with("--")).collect();
    // The last one is where it goes to.
    let (_, sources) = words.split_last()?;
    let source = (*sources.iter().find(|source| !is_of_the_repository(source))?).to_owned();
    Some(if source.contains('$') { FetchKind::Variable(source) } else { FetchKind::Add(source) })
}

/// As Go lowers letters, in which BuildKit is written.
fn lower(letter: char) -> char {
    if letter == '\u{130}' { 'i' } else { letter.to_ascii_lowercase() }
}

/// Whether a source is certainly a path below the repository, whatever its variables are.
fn is_of_the_repository(source: &str) -> bool {
    if source.starts_with(['.', '/']) || source.starts_with("<<") {
        return true;
    }
    !source.contains([':', '@', '$']) && !source.to_ascii_lowercase().starts_with("github.com/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Option<String> {
        fetches(text).map(|fetch| fetch.to_string())
    }

    #[test]
    fn addresses_are_found_however_they_are_written() {
        for (text, told) in [
            ("FROM a\nADD http://127.0.0.1/x /y\n", "line 2: ADD http://127.0.0.1/x"),
            ("FROM a\nadd --chown=1000 https://example.org/x /y", "line 2: ADD https://example.org/x"),
            ("FROM a\nADD [\"./a\", \"http://a/x\", \"/y\"]", "line 2: ADD http://a/x"),
            ("FROM a\nADD \\\n  # a comment\n\n  ./a http://a/x /y", "line 2: ADD http://a/x"),
            ("FROM a\nA\\\nDD h\"tt\"p:\"//\"a/x /y", "line 2: ADD http://a/x"),
            ("FROM a\nA\\\n  DD http://a/x /y", "line 2: ADD http://a/x"),
            ("# escape=`\nFROM a\nADD `\nhttp://a/x /y", "line 3: ADD http://a/x"),
            ("FROM a\nONBUILD ADD git@example.org:a/b.git /y", "line 2: ADD git@example.org:a/b.git"),
            ("FROM a\nONBU\u{130}LD ADD http://a/x /y", "line 2: ADD http://a/x"),
            ("FROM a\nADD github.com/a/b /y", "line 2: ADD github.com/a/b"),
        ] {
            assert_eq!(found(text).as_deref(), Some(told), "{text}");
        }
        // By its number, whatever follows the JSON.
        for text in ["ADD [\"http\\u003a//a/x\",\"/y\"]", "ADD --a=\"b c\" [\"http\\u003a//a/x\",\"/y\"] z"] {
            assert!(matches!(fetches(text), Some(Fetch { line: 1, kind: FetchKind::Add(_) })), "{text}");
        }
    }

    #[test]
    fn what_one_version_joins_and_another_does_not_is_found() {
        for before in [
            "RUN true \\\\",
            "RUN true \\\u{a0}",
            "RUN true \\\u{c}",
            "RUN <<#E\nx \\\n#E",
            "RUN <<'E\\'\nx\nE\\",
            "# foo=bar\n# escape=`\nFROM a\nRUN true # `",
        ] {
            let text = format!("FROM a\n{before}\nADD http://169.254.169.254/x /y\n");
            assert!(found(&text).is_some_and(|told| told.ends_with("ADD http://169.254.169.254/x")), "{text}");
        }
    }

    #[test]
    fn other_frontends_are_found_however_they_are_named() {
        for (text, told) in [
            ("#syntax = evil/frontend\nFROM a", "line 1: syntax=evil/frontend"),
            ("# check=skip=all\n# SYNTAX=evil/frontend:1\nFROM a", "line 2: syntax=evil/frontend:1"),
            ("#!/bin/x\n\n# foo=\n// syntax=evil/frontend\nFROM a", "line 4: syntax=evil/frontend"),
            ("#!/x\n{\"a\": \"\\ud800\", \"syntax\": \"evil/frontend\"}", "line 2: syntax="),
            ("\u{feff}{\"syntax\": \"evil/frontend\"}", "line 1: syntax="),
        ] {
            assert_eq!(found(text).as_deref(), Some(told), "{text}");
        }
    }

    #[test]
    fn a_tangle_is_not_followed_for_long() {
        for line in ["add \\\n", "\\\n", "onbuild \\\n", "a\\\n\n\n\n"] {
            let text = line.repeat((1 << 20) / line.len());
            assert!(fetches(&text).is_none_or(|fetch| fetch.kind == FetchKind::Unclear), "{line:?}");
        }
    }

    #[test]
    fn a_variable_is_told_from_an_address() {
        let variable = fetches("ARG JAR\nADD ${JAR} app.jar").map(|fetch| (fetch.line, fetch.remedy()));
        assert!(matches!(variable, Some((2, remedy)) if remedy.starts_with("Use COPY")), "{variable:?}");
    }

    #[test]
    fn files_of_the_repository_and_dockers_frontend_are_not() {
        for text in [
            "",
            "FROM a\nADD app.tar.gz /app\nADD . /app\nADD ./$DIR/x /y\nADD [\"a b\", \"/y\"]\nCOPY --from=b:1 /x /y",
            "# syntax=docker/dockerfile:1.7-labs\nFROM a",
            "# syntax=docker.io/docker/dockerfile@sha256:aa\nFROM a",
            "FROM a\nRUN curl -fsSL https://example.org/x -o /y && echo ADD http://a /b",
            "FROM a\nRUN apk update && apk \\\n    add --no-cache \\\n    curl ca-certificates",
            "FROM a\nENV A=b \\\n    C=http://d\nEXPOSE 7860",
            "FROM a\n# ADD http://a/x /y\n# syntax=evil/frontend",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = fetches(&text);
        }

        #[test]
        fn an_address_in_a_line_of_its_own_is_found_whatever_stands_before(before in "[RUN<'E#`{} \\\\\n\t\u{a0}]{0,40}") {
            let text = format!("FROM a\n{before}\nADD http://a/x /y\n");
            prop_assert!(fetches(&text).is_some(), "{text}");
        }
    }
}
