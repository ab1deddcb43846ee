//! The configuration of a Space: what its front matter says, as typed values.
//!
//! Parsing lives in the module `front_matter`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Sdk;

/// The port apps listen on unless `app_port` says otherwise.
pub const DEFAULT_APP_PORT: u16 = 7860;
/// How long an app may take to answer unless `startup_duration_timeout` says otherwise.
pub const DEFAULT_STARTUP_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The longest `startup_duration_timeout` that is accepted.
pub const MAX_STARTUP_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Every key of the front matter, with defaults filled in where the Hub has one.
/// Hub: <https://huggingface.co/docs/hub/spaces-config-reference>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceConfig {
    /// Title; the repository's name when absent.
    pub title: Option<String>,
    /// One emoji.
    pub emoji: Option<String>,
    /// First colour of the card.
    pub color_from: Option<String>,
    /// Second colour of the card.
    pub color_to: Option<String>,
    /// The SDK.
    pub sdk: Sdk,
    /// Version of the SDK's package; the newest when absent.
    pub sdk_version: Option<String>,
    /// `3.x` or `3.x.y`; the site's default when absent.
    pub python_version: Option<String>,
    /// Entry file, relative to the repository's root; the SDK's default when absent.
    pub app_file: Option<String>,
    /// `static` only: shell command that makes the files.
    pub app_build_command: Option<String>,
    /// `docker` only: the port the app listens on.
    pub app_port: u16,
    /// First URL shown.
    pub base_path: String,
    /// Iframe over the full width.
    pub full_width: bool,
    /// `mini` or `default`.
    pub header: String,
    /// Card text.
    pub short_description: Option<String>,
    /// Models the Space uses.
    pub models: Vec<String>,
    /// Datasets the Space uses.
    pub datasets: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Social preview.
    pub thumbnail: Option<String>,
    /// Stays on top of the profile.
    pub pinned: bool,
    /// Licence id.
    pub license: Option<String>,
    /// Only a hint when duplicating.
    pub suggested_hardware: Option<String>,
    /// Accepted and ignored, as on the Hub.
    pub suggested_storage: Option<String>,
    /// Not healthy by then is a runtime error.
    pub startup_timeout: Duration,
    /// Downloaded at build time.
    pub preload_from_hub: Vec<Preload>,
    /// Lower-case names; only the three cross-origin policies.
    pub custom_headers: BTreeMap<String, String>,
    /// Forbids iframes of other sites.
    pub disable_embedding: bool,
    /// Creates an OAuth app on the Hub; here the build's log says that there is none.
    pub hf_oauth: bool,
    /// Scopes besides `openid profile`.
    pub hf_oauth_scopes: Vec<String>,
    /// Life of its tokens.
    pub hf_oauth_expiration_minutes: u32,
    /// Only members of these organizations may sign in.
    pub hf_oauth_authorized_org: Vec<String>,
}

impl SpaceConfig {
    /// The entry file: `app_file`, or the SDK's default.
    #[must_use]
    pub fn app_file(&self) -> &str {
        match (&self.app_file, self.sdk) {
            (Some(file), _) => file,
            (None, Sdk::Static) => "index.html",
            (None, Sdk::Docker) => "Dockerfile",
            (None, Sdk::Gradio | Sdk::Streamlit) => "app.py",
        }
    }

    /// The file a build cannot do without.
    #[must_use]
    pub fn start_file(&self) -> &str {
        match self.sdk {
            Sdk::Docker => "Dockerfile",
            // The build command makes the entry file; a commit has its README at least.
            Sdk::Static if self.app_build_command.is_some() => "README.md",
            Sdk::Gradio | Sdk::Streamlit | Sdk::Static => self.app_file(),
        }
    }
}

/// One entry of `preload_from_hub`: `"repo [file1,file2] [commit]"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preload {
    /// `owner/name`, or a bare model name.
    pub repo: String,
    /// Only these files; all when empty.
    pub files: Vec<String>,
    /// Revision; the newest when absent.
    pub revision: Option<String>,
}

/// What is wrong with the front matter, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("README.md, line {line}, column {column}: {message}")]
pub struct ConfigError {
    /// The key, empty when the YAML itself is malformed.
    pub key: String,
    /// Line in `README.md`, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What is allowed, in words; empty when that is not a list or a form.
    pub allowed: String,
}
