//! Info of a Space: what it has as a repository, and its app.

use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::card;
use spaceport_core::space::Space;

use crate::views::repo::RepoView;
use crate::views::runtime::RuntimeView;

/// A Space.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = SpaceInfo)]
pub struct SpaceView {
    /// What every repository has.
    #[serde(flatten)]
    pub repo: RepoView,
    /// The SDK.
    pub sdk: String,
    /// The app's address.
    pub host: String,
    /// The app's host label.
    pub subdomain: String,
    /// How it runs.
    pub runtime: RuntimeView,
    /// Models the front matter names.
    pub models: Vec<String>,
    /// Data sets the front matter names.
    pub datasets: Vec<String>,
}

impl SpaceView {
    /// From a Space, what it is as a repository, and its runtime.
    #[must_use]
    pub fn of(space: &Space, repo: RepoView, runtime: RuntimeView, host: String) -> Self {
        let texts = |key| card::texts(repo.card_data.as_ref(), key);
        let sdk = texts("sdk").into_iter().find(|text| text.parse::<spaceport_core::Sdk>().is_ok());
        Self {
            sdk: sdk.unwrap_or_else(|| space.sdk.as_str().to_owned()),
            models: texts("models"),
            datasets: texts("datasets"),
            host,
            subdomain: space.subdomain.to_string(),
            runtime,
            repo,
        }
    }
}
