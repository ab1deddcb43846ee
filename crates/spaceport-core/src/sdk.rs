//! The software development kits a Space can be written for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a Space is made with. Hub: <https://huggingface.co/docs/hub/spaces-config-reference>
///
/// `streamlit` is a first-class SDK here, though the hosted service deprecated it in 2025.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sdk {
    /// A Python program on port 7860, with Gradio installed.
    Gradio,
    /// A Streamlit program on port 7860.
    Streamlit,
    /// The repository's own Dockerfile.
    Docker,
    /// Files, optionally made by a build command; no container serves them.
    Static,
}

impl Sdk {
    /// Every SDK, in the order messages list them.
    pub const ALL: [Self; 4] = [Self::Gradio, Self::Streamlit, Self::Docker, Self::Static];

    /// The name in front matter and API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gradio => "gradio",
            Self::Streamlit => "streamlit",
            Self::Docker => "docker",
            Self::Static => "static",
        }
    }
}

impl fmt::Display for Sdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Sdk {
    type Err = UnknownSdk;
    fn from_str(text: &str) -> Result<Self, UnknownSdk> {
        Self::ALL.into_iter().find(|sdk| sdk.as_str() == text).ok_or_else(|| UnknownSdk(text.to_owned()))
    }
}

/// The text names no SDK.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown SDK {0:?}; allowed: gradio, streamlit, docker, static")]
pub struct UnknownSdk(String);
