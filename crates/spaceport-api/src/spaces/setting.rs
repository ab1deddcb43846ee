//! What a variable or a secret may be called and hold: the rules of an environment variable,
//! and the names that belong to the platform.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::{ApiError, clip};

/// Longest name.
const MAX_NAME: usize = 256;
/// Longest value in bytes: Linux refuses a longer environment string (`MAX_ARG_STRLEN`, 128 KiB
/// with its name).
const MAX_VALUE: usize = 64 << 10;
/// Longest description.
const MAX_DESCRIPTION: usize = 2000;
/// Most settings of one kind in a Space.
pub(crate) const MAX_SETTINGS: usize = 200;

/// Names the platform sets itself in every container.
/// Hub: "Helper environment variables" of the Spaces overview.
const RESERVED: [&str; 12] = [
    "ACCELERATOR",
    "CPU_CORES",
    "MEMORY",
    "OPENID_PROVIDER_URL",
    "SPACE_AUTHOR_NAME",
    "SPACE_CREATOR_USER_ID",
    "SPACE_HOST",
    "SPACE_ID",
    "SPACE_REPO_NAME",
    "SPACE_TITLE",
    "SPACES_ZERO_GPU",
    "SYSTEM",
];

/// A variable or a secret to be set.
#[derive(Clone, Deserialize, ToSchema)]
pub struct NewSetting {
    /// Its name, of the form of an environment variable.
    pub key: String,
    /// Its value.
    pub value: String,
    /// For people.
    pub description: Option<String>,
}

impl std::fmt::Debug for NewSetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSetting").field("key", &self.key).finish_non_exhaustive()
    }
}

impl NewSetting {
    /// Refuses what cannot become an environment variable. No message repeats a value.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        check_name(&self.key)?;
        let refuse = |what: &str| Err(ApiError::bad_request(format!("{}: {what}", self.key)));
        if RESERVED.contains(&self.key.to_ascii_uppercase().as_str()) {
            return refuse(&format!("the platform sets this name itself; reserved are {}", RESERVED.join(", ")));
        }
        if self.value.len() > MAX_VALUE {
            return refuse(&format!("the value has {} bytes, the most is {MAX_VALUE}", self.value.len()));
        }
        if self.description.as_ref().is_some_and(|text| text.len() > MAX_DESCRIPTION) {
            return refuse(&format!("the description is longer than {MAX_DESCRIPTION} bytes"));
        }
        Ok(())
    }

    /// The description, when it says something.
    pub(crate) fn description(&self) -> Option<String> {
        self.description.clone().filter(|text| !text.trim().is_empty())
    }
}

/// Refuses a name that is not of the form of an environment variable.
pub(crate) fn check_name(key: &str) -> Result<(), ApiError> {
    let first = key.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if first && key.len() <= MAX_NAME && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "{:?} is not a valid name: use 1 to {MAX_NAME} letters, digits and '_', not starting with a digit",
        clip(key)
    )))
}

/// Checks the settings of a new Space, all of them.
pub(crate) fn check_settings(what: &str, settings: &[NewSetting]) -> Result<(), ApiError> {
    check_count(what, settings.len())?;
    let mut names = std::collections::BTreeSet::new();
    for setting in settings {
        setting.check()?;
        if !names.insert(&setting.key) {
            return Err(ApiError::bad_request(format!("{} is among the {what} twice", setting.key)));
        }
    }
    Ok(())
}

/// Refuses one setting too many.
pub(crate) fn check_count(what: &str, count: usize) -> Result<(), ApiError> {
    if count <= MAX_SETTINGS {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("A Space has at most {MAX_SETTINGS} {what}")))
}

/// A setting to be deleted.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SettingKey {
    /// Its name.
    pub key: String,
}
