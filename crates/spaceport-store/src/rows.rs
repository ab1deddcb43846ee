//! From columns to core values: the one place that decides what an unreadable column means.

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;

/// Reads a column that is text with a form.
pub(crate) fn text<T: FromStr>(what: &'static str, column: &str) -> Result<T, StoreError> {
    column.parse().map_err(|_| corrupt(what, column))
}

/// Reads a column that is JSON.
pub(crate) fn json<T: DeserializeOwned>(what: &'static str, column: &str) -> Result<T, StoreError> {
    serde_json::from_str(column).map_err(|_| corrupt(what, column))
}

/// Reads a column that is JSON or NULL.
pub(crate) fn json_opt<T: DeserializeOwned>(
    what: &'static str,
    column: Option<&String>,
) -> Result<Option<T>, StoreError> {
    column.map(|text| json(what, text)).transpose()
}

/// Writes JSON. Our own values always serialise: their maps have string keys.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("core values serialise to JSON")
}

/// A literal for `LIKE … ESCAPE '\'`, in lower case as `name_key` is.
pub(crate) fn like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// As [`like`], with one character of any kind for each that is not ASCII: only of those do both engines know the
/// other case.
pub(crate) fn like_ascii(text: &str) -> String {
    like(text).chars().map(|c| if c.is_ascii() { c } else { '_' }).collect()
}

/// 128 random bits, for the id of a row that only this crate names.
pub(crate) fn random() -> u128 {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    u128::from_le_bytes(bytes)
}

fn corrupt(what: &'static str, column: &str) -> StoreError {
    StoreError::Corrupt { what, text: column.chars().take(60).collect() }
}
