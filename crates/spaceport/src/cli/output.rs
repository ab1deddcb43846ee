//! Tables that fit a terminal, colours only where a person sees them, JSON for programs.

use std::io::IsTerminal;

use serde_json::Value;
use spaceport_core::card::base_path;

/// Width tables are made for.
const WIDTH: usize = 80;

/// How a command answers.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    colour: bool,
}

impl Output {
    pub(super) fn new(json: bool, no_color: Option<&str>) -> Self {
        // https://no-color.org: any value that is not empty.
        let wanted = no_color.is_none_or(str::is_empty);
        Self { json, colour: wanted && !json && std::io::stdout().is_terminal() }
    }

    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// The value for programs, or what `text` makes of it for people.
    pub(super) fn show(self, value: &Value, text: impl FnOnce(&Value) -> String) {
        let text = if self.json { format!("{value:#}") } else { text(value) };
        if !text.is_empty() {
            print(&text);
        }
    }

    /// A stage in the colour of its kind.
    pub(super) fn stage(self, stage: &str) -> String {
        let colour = match stage {
            "RUNNING" => "32",
            "NO_APP_FILE" | "CONFIG_ERROR" | "BUILD_ERROR" | "RUNTIME_ERROR" => "31",
            "PAUSED" | "STOPPED" | "SLEEPING" => "2",
            _ => "33",
        };
        if self.colour { format!("\x1b[{colour}m{stage}\x1b[0m") } else { stage.to_owned() }
    }
}

/// One line or several on standard output. A closed pipe (`| head`) is no failure.
pub(super) fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A field as text; empty when it is null.
pub(super) fn field(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Where a Space is opened: its host, and the path its author named.
pub(super) fn address(space: &Value) -> String {
    field(space, "/host") + base_path(space.get("cardData"))
}

/// `2026-01-02 03:04:05` of a timestamp.
pub(super) fn moment(value: &Value, path: &str) -> String {
    let text = field(value, path);
    text.get(..19).map_or(text.clone(), |text| text.replace('T', " "))
}

/// Columns as wide as their content; the last one is cut to fit, unless it is an address, which would lead nowhere. Colours are for `paint`, after
/// the widths are known.
pub(super) fn table(head: &[&str], rows: &[Vec<String>], paint: impl Fn(usize, &str) -> String) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let last = widths.len().saturating_sub(1);
    let before: usize = widths[..last].iter().map(|width| width + 2).sum();
    if let Some(width) = widths.get_mut(last) {
        *width = (*width).min(WIDTH.saturating_sub(before).max(10));
    }
    let line = |cells: &[String], painted: bool| {
        let mut text = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let cell = cut(cell, *width);
            let gap = if column == last { 0 } else { width + 2 - cell.chars().count() };
            text += &if painted { paint(column, &cell) } else { cell };
            text += &" ".repeat(gap);
        }
        text.trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut lines = vec![line(&head, false)];
    lines.extend(rows.iter().map(|row| line(row, true)));
    lines.join("\n")
}

/// A table without colours.
pub(super) fn plain_table(head: &[&str], rows: &[Vec<String>]) -> String {
    table(head, rows, |_, cell| cell.to_owned())
}

fn cut(text: &str, width: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() <= width || text.starts_with("http://") || text.starts_with("https://") {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_is_opened_at_the_path_its_author_named() {
        let host = "http://alice-demo.localhost:8080";
        for (card, path) in [
            (serde_json::json!({"base_path": "/docs?x=1"}), "/docs?x=1"),
            (serde_json::json!({"base_path": "/"}), ""),
            (serde_json::json!({"base_path": ".evil.example"}), ""),
            (serde_json::json!({"base_path": "/\u{1b}[2J"}), ""),
            (serde_json::json!({"base_path": 7}), ""),
            (Value::Null, ""),
        ] {
            let space = serde_json::json!({"host": host, "cardData": card});
            assert_eq!(address(&space), format!("{host}{path}"));
        }
    }

    #[test]
    fn tables_fit_eighty_columns_and_never_break_lines() {
        let row = vec!["alice/demo".to_owned(), "RUNNING".to_owned(), format!("a\nb{}", "x".repeat(200))];
        let text = plain_table(&["SPACE", "STAGE", "MESSAGE"], &[row]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("alice/demo  RUNNING  a b"), "{text}");
    }
}
