//! The front matter of a Space's `README.md`: bytes in, [`SpaceConfig`] or all mistakes out.
//!
//! A user fixes a README once, not once per mistake, so parsing does not stop at the first one:
//! every [`ConfigError`] names key, line, column and what is allowed. Keys that we do not know are
//! accepted in silence, since files written for the hosted service must work here.
//!
//! YAML is read as events with positions (`saphyr-parser`) and not through serde: serde reports one
//! error, without a place for wrong values, and turns `python_version: 3.10` into the number 3.1.
//! Here a scalar is always the text in the file.
//! Hub: <https://huggingface.co/docs/hub/spaces-config-reference>

mod block;
pub mod duration;
mod fields;
mod read;
mod values;
mod write;
mod yaml;

#[cfg(test)]
mod tests;

pub use block::EXAMPLE as README_FORM;
pub use write::InitialReadme;

use crate::config::{ConfigError, SpaceConfig};

/// The longest front matter that is read, in bytes.
pub const MAX_BLOCK_BYTES: usize = 64 * 1024;
/// The most mistakes that are reported at once.
pub const MAX_ERRORS: usize = 100;

/// Reads the configuration out of `README.md`.
///
/// # Errors
/// Every mistake found, up to [`MAX_ERRORS`], in the order of the file; never an empty list.
pub fn parse(readme: &[u8]) -> Result<SpaceConfig, Vec<ConfigError>> {
    let block = block::find(readme).map_err(|error| vec![error])?;
    let root = yaml::read(&block).map_err(|error| vec![error])?;
    fields::space_config(&block, &root)
}

/// The front matter of any repository's README as JSON, whatever its keys; `None` when there is none,
/// or none that is a map.
#[must_use]
pub fn card(readme: &[u8]) -> Option<serde_json::Value> {
    let block = block::find(readme).ok()?;
    let root = yaml::read(&block).ok()?;
    Some(root.to_json()).filter(serde_json::Value::is_object)
}

/// What is wrong with the front matter of a README that is not a Space's: it must be YAML, and a map.
///
/// # Errors
/// The mistake. A README without front matter is fine.
pub fn check_card(readme: &[u8]) -> Result<(), ConfigError> {
    if !readme.starts_with(b"---") {
        return Ok(());
    }
    let block = block::find(readme)?;
    let root = yaml::read(&block)?;
    if root.to_json().is_object() || root.to_json().is_null() {
        return Ok(());
    }
    Err(root.place.error("", "the front matter must be a map of keys and values", "key: value"))
}

/// The error of a commit that has no `README.md` at all.
#[must_use]
pub fn no_readme() -> ConfigError {
    ConfigError {
        key: "sdk".to_owned(),
        line: 1,
        column: 1,
        message: "the repository has no README.md, and so nothing says which SDK to use".to_owned(),
        allowed: block::EXAMPLE.to_owned(),
    }
}
