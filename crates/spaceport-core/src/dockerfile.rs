//! What a Dockerfile makes the engine itself fetch.
//!
//! `RUN` steps are on a network of their own, behind the packet filter. But what `ADD` names by an address is fetched by
//! the engine, on the node's network, where services of the node and of its cloud listen; and a frontend that
//! `# syntax` names may ask the engine for anything. So a site does not allow either unless its admin does.
//!
//! This reads Dockerfiles as BuildKit's parser does, as far as that matters here, and takes what it cannot tell for the
//! worse. <https://docs.docker.com/reference/dockerfile/>

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
    /// `ADD` of an address, or of something that may become one.
    Add(String),
    /// A frontend that is not Docker's.
    Frontend(String),
}

impl fmt::Display for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FetchKind::Add(source) => write!(f, "line {}: ADD {source}", self.line),
            FetchKind::Frontend(image) => write!(f, "line {}: # syntax={image}", self.line),
        }
    }
}

/// The first thing that the engine would fetch for this Dockerfile.
#[must_use]
pub fn fetches(text: &str) -> Option<Fetch> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Another frontend's file may be JSON that names it.
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(text) {
        let image = json.get("syntax").map_or("in JSON", |image| image.as_str().unwrap_or("in JSON"));
        return Some(Fetch { line: 1, kind: FetchKind::Frontend(image.to_owned()) });
    }
    let mut escape = '\\';
    for (number, line) in (1..).zip(text.lines()) {
        if number == 1 && line.starts_with("#!") {
            continue;
        }
        // Directives come first, each once, before anything else.
        let Some((key, value)) = directive(line) else { break };
        match key.as_str() {
            "syntax" if !is_dockers(value) => {
                return Some(Fetch { line: number, kind: FetchKind::Frontend(value.to_owned()) });
            }
            "escape" => escape = value.chars().next().unwrap_or(escape),
            _ => {}
        }
    }
    instructions(text, escape).into_iter().find_map(|(line, instruction)| {
        let source = added(&instruction)?;
        Some(Fetch { line, kind: FetchKind::Add(source) })
    })
}

/// `# key=value`; `//` in newer frontends.
fn directive(line: &str) -> Option<(String, &str)> {
    let line = line.trim();
    let rest = line.strip_prefix('#').or_else(|| line.strip_prefix("//"))?;
    let (key, value) = rest.split_once('=')?;
    let key = key.trim().to_ascii_lowercase();
    let is_name = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then(|| (key, value.trim()))
}

/// Whether an image is Docker's own frontend.
fn is_dockers(image: &str) -> bool {
    let name = image.split_whitespace().next().unwrap_or_default();
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.split(['@', ':']).next().unwrap_or_default();
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream")
}

/// Instructions with the lines they begin in, those over several lines joined. The text of a here-document is taken for
/// instructions, too: that finds more, and not less.
fn instructions(text: &str, escape: char) -> Vec<(usize, String)> {
    let mut all = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let is_comment = line.trim_start().starts_with('#');
        if is_comment || (open.is_some() && line.trim().is_empty()) {
            continue;
        }
        let (first, mut joined) = open.take().unwrap_or((number, String::new()));
        match line.trim_end().strip_suffix(escape) {
            Some(begun) => {
                joined.push_str(begun);
                open = Some((first, joined));
            }
            None => {
                joined.push_str(line);
                all.push((first, joined));
            }
        }
    }
    all.extend(open);
    all
}

/// The source of an `ADD` that is, or may become, an address.
fn added(instruction: &str) -> Option<String> {
    let mut rest = instruction.trim();
    loop {
        let (word, after) = rest.split_once(char::is_whitespace)?;
        rest = after.trim_start();
        if word.eq_ignore_ascii_case("add") {
            break;
        }
        if !word.eq_ignore_ascii_case("onbuild") {
            return None;
        }
    }
    while rest.starts_with("--") {
        rest = rest.split_once(char::is_whitespace)?.1.trim_start();
    }
    let words = match serde_json::from_str::<Vec<String>>(rest) {
        Ok(words) => words,
        Err(_) => rest.split_whitespace().map(str::to_owned).collect(),
    };
    // The last one is where it goes to.
    let (_, sources) = words.split_last()?;
    sources.iter().find(|source| !is_of_the_repository(source)).cloned()
}

/// Whether a source is certainly a path below the repository, whatever its variables are.
fn is_of_the_repository(source: &str) -> bool {
    // Quotes and escapes go before the source is looked at.
    let plain: String = source.chars().filter(|c| !matches!(c, '"' | '\'' | '\\' | '`')).collect();
    if plain.starts_with(['.', '/']) || plain.starts_with("<<") {
        return true;
    }
    !plain.contains([':', '@', '$']) && !plain.to_ascii_lowercase().starts_with("github.com/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<String> {
        fetches(text).map(|fetch| fetch.to_string())
    }

    #[test]
    fn addresses_are_found_however_they_are_written() {
        for (text, told) in [
            ("FROM a\nADD http://127.0.0.1/x /y\n", "line 2: ADD http://127.0.0.1/x"),
            ("FROM a\nadd --chown=1000 https://example.org/x /y", "line 2: ADD https://example.org/x"),
            ("FROM a\nADD [\"\\u0068ttp://a/x\", \"/y\"]", "line 2: ADD http://a/x"),
            ("FROM a\nADD \\\n  # a comment\n\n  ./a http://a/x /y", "line 2: ADD http://a/x"),
            ("FROM a\nA\\\nDD h\"tt\"p:\"//\"a/x /y", "line 2: ADD h\"tt\"p:\"//\"a/x"),
            ("# escape=`\nFROM a\nADD `\nhttp://a/x /y", "line 3: ADD http://a/x"),
            ("FROM a\nARG U\nADD ${U} /y", "line 3: ADD ${U}"),
            ("FROM a\nONBUILD ADD git@example.org:a/b.git /y", "line 2: ADD git@example.org:a/b.git"),
            ("FROM a\nADD github.com/a/b /y", "line 2: ADD github.com/a/b"),
            ("#syntax = evil/frontend\nFROM a", "line 1: # syntax=evil/frontend"),
            ("#!/bin/x\n# syntax=evil/frontend\nFROM a", "line 2: # syntax=evil/frontend"),
            ("{\n\"syntax\": \"evil/frontend\"}", "line 1: # syntax=evil/frontend"),
            ("# check=skip=all\n# SYNTAX=evil/frontend:1\nFROM a", "line 2: # syntax=evil/frontend:1"),
        ] {
            assert_eq!(found(text).as_deref(), Some(told), "{text}");
        }
    }

    #[test]
    fn files_of_the_repository_and_dockers_frontend_are_not() {
        for text in [
            "",
            "FROM a\nADD app.tar.gz /app\nADD . /app\nADD ./$DIR/x /y\nADD [\"a b\", \"/y\"]\nCOPY --from=b:1 /x /y",
            "# syntax=docker/dockerfile:1.7-labs\nFROM a",
            "# syntax=docker.io/docker/dockerfile@sha256:aa\nFROM a",
            "FROM a\nRUN curl -fsSL https://example.org/x -o /y && echo ADD http://a /b",
            "FROM a\n# ADD http://a/x /y\n# syntax=evil/frontend",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = fetches(&text);
        }
    }
}
