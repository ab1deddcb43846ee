//! Writes the `README.md` of a new Space.

use std::fmt::Write as _;

use crate::Sdk;

/// What the first `README.md` of a Space says.
/// Hub: the keys and their order are those of the hosted service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialReadme {
    /// Title on the card.
    pub title: String,
    /// One emoji.
    pub emoji: String,
    /// First colour of the card.
    pub color_from: String,
    /// Second colour of the card.
    pub color_to: String,
    /// The SDK.
    pub sdk: Sdk,
    /// Version of the SDK's package.
    pub sdk_version: Option<String>,
    /// The entry file; left out for `docker`, which has none.
    pub app_file: Option<String>,
    /// Stays on top of the profile.
    pub pinned: bool,
}

impl InitialReadme {
    /// The file.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let Self { title, emoji, color_from, color_to, sdk, sdk_version, app_file, pinned } = self;
        let mut text = String::from("---\n");
        let mut line = |key: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key}: {value}");
        };
        line("title", &scalar(title));
        line("emoji", &scalar(emoji));
        line("colorFrom", &scalar(color_from));
        line("colorTo", &scalar(color_to));
        line("sdk", sdk.as_str());
        if let Some(version) = sdk_version {
            // Quoted always: other tools read 6.0 as a number.
            line("sdk_version", &quoted(version));
        }
        if let Some(file) = app_file {
            line("app_file", &scalar(file));
        }
        line("pinned", if *pinned { "true" } else { "false" });
        text.push_str("---\n");
        text
    }
}

/// A scalar that YAML reads back as the same text, without quotes where that is plainly safe.
fn scalar(text: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.' | '/') || c >= '\u{2600}';
    let safe = text.chars().all(word)
        && text.chars().any(|c| c.is_alphabetic() || c >= '\u{2600}')
        && text.starts_with(|c: char| c.is_alphabetic() || c >= '\u{2600}')
        && !text.ends_with(' ')
        && !text.contains('\u{feff}')
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if safe { text.to_owned() } else { quoted(text) }
}

/// A JSON string, which is also a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
