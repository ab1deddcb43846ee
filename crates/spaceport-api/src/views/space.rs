//! Space info, the way the Hub's clients read it.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::Sdk;
use spaceport_core::config::SpaceConfig;
use spaceport_core::space::{Space, Visibility};

use crate::error::ApiError;
use crate::extract::Params;
use crate::views::runtime::RuntimeView;

/// Fields `expand` may name.
pub const EXPANDABLE: [&str; 18] = [
    "author",
    "cardData",
    "createdAt",
    "datasets",
    "disabled",
    "lastModified",
    "likes",
    "models",
    "private",
    "region",
    "resourceGroup",
    "runtime",
    "sdk",
    "sha",
    "siblings",
    "subdomain",
    "tags",
    "trendingScore",
];
/// Accepted and without effect: older clients, and what we do not keep.
const EXPAND_IGNORED: [&str; 5] = ["usedStorage", "xetEnabled", "host", "gated", "visibility"];

/// A Space.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = SpaceInfo)]
pub struct SpaceView {
    /// Never changes, whatever the Space is called.
    #[serde(rename = "_id")]
    pub internal_id: String,
    /// `owner/name`.
    pub id: String,
    /// The owner.
    pub author: String,
    /// The newest commit of `main`; absent for those who may not read the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
    /// Last change of code or settings.
    #[serde(rename = "lastModified")]
    pub last_modified: String,
    /// Created.
    #[serde(rename = "createdAt")]
    pub created_at: String,
    /// Whether it is hidden from others.
    pub private: bool,
    /// `public`, `protected` or `private`.
    pub visibility: String,
    /// Always false.
    pub gated: bool,
    /// Always false.
    pub disabled: bool,
    /// Always 0.
    pub likes: i64,
    /// Always 0.
    #[serde(rename = "trendingScore")]
    pub trending_score: i64,
    /// SDK, licence and the front matter's tags.
    pub tags: Vec<String>,
    /// The front matter.
    #[serde(rename = "cardData", skip_serializing_if = "Option::is_none")]
    pub card_data: Option<CardData>,
    /// The files of the newest commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub siblings: Option<Vec<Sibling>>,
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

/// A file of a repository.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Sibling {
    /// Its path.
    pub rfilename: String,
    /// Bytes; only with `blobs=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Git's id of the content; only with `blobs=true`.
    #[serde(rename = "blobId", skip_serializing_if = "Option::is_none")]
    pub blob_id: Option<String>,
}

impl SpaceView {
    /// From a Space, its configuration and its runtime; code only when `code`.
    #[must_use]
    pub fn of(space: &Space, config: Option<&SpaceConfig>, runtime: RuntimeView, host: String, code: bool) -> Self {
        let sdk = config.map_or(space.sdk, |config| config.sdk);
        Self {
            internal_id: space.id.to_string(),
            id: space.name.to_string(),
            author: space.name.owner().to_owned(),
            sha: space.desired.head.as_ref().filter(|_| code).map(|sha| sha.as_str().to_owned()),
            last_modified: space.updated_at.to_rfc3339(),
            created_at: space.created_at.to_rfc3339(),
            private: space.visibility == Visibility::Private,
            visibility: space.visibility.as_str().to_owned(),
            gated: false,
            disabled: false,
            likes: 0,
            trending_score: 0,
            tags: tags(sdk, config),
            card_data: config.map(CardData::of),
            siblings: None,
            sdk: sdk.as_str().to_owned(),
            host,
            subdomain: space.subdomain.to_string(),
            runtime,
            models: config.map_or_else(Vec::new, |config| config.models.clone()),
            datasets: config.map_or_else(Vec::new, |config| config.datasets.clone()),
        }
    }
}

/// What `filter` compares with.
#[must_use]
pub fn tags(sdk: Sdk, config: Option<&SpaceConfig>) -> Vec<String> {
    let mut tags = vec![sdk.as_str().to_owned()];
    if let Some(config) = config {
        tags.extend(config.license.iter().map(|license| format!("license:{license}")));
        tags.extend(config.tags.iter().filter(|tag| tag.as_str() != sdk.as_str()).cloned());
    }
    tags
}

/// The front matter: the keys that are set.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = SpaceCardData)]
pub struct CardData {
    /// Title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// One emoji.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// First colour of the card.
    #[serde(rename = "colorFrom", skip_serializing_if = "Option::is_none")]
    pub color_from: Option<String>,
    /// Second colour of the card.
    #[serde(rename = "colorTo", skip_serializing_if = "Option::is_none")]
    pub color_to: Option<String>,
    /// The SDK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
    /// Version of the SDK's package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk_version: Option<String>,
    /// Version of Python.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python_version: Option<String>,
    /// Entry file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_file: Option<String>,
    /// Of a `docker` Space: the app's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_port: Option<u16>,
    /// Of a `static` Space: what makes its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_build_command: Option<String>,
    /// Card text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub short_description: Option<String>,
    /// Social preview.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<String>,
    /// Licence id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// A hint for those who copy it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_hardware: Option<String>,
    /// Stays on top of its owner's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
    /// Models it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Data sets it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datasets: Option<Vec<String>>,
    /// Tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

impl CardData {
    fn of(config: &SpaceConfig) -> Self {
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        Self {
            title: config.title.clone(),
            emoji: config.emoji.clone(),
            color_from: config.color_from.clone(),
            color_to: config.color_to.clone(),
            sdk: Some(config.sdk.as_str().to_owned()),
            sdk_version: config.sdk_version.clone(),
            python_version: config.python_version.clone(),
            app_file: config.app_file.clone(),
            app_port: (config.sdk == Sdk::Docker).then_some(config.app_port),
            app_build_command: config.app_build_command.clone(),
            short_description: config.short_description.clone(),
            thumbnail: config.thumbnail.clone(),
            license: config.license.clone(),
            suggested_hardware: config.suggested_hardware.clone(),
            pinned: Some(config.pinned),
            models: some(&config.models),
            datasets: some(&config.datasets),
            tags: some(&config.tags),
        }
    }
}

/// Which fields an answer has: all of them, or those `expand` names.
#[derive(Debug, Clone)]
pub struct Fields(Option<Vec<String>>);

impl Fields {
    /// Reads `expand`.
    ///
    /// # Errors
    /// When it names a field that does not exist; the message lists those that do.
    pub fn of(params: &Params) -> Result<Self, ApiError> {
        let wanted: Vec<String> = params.all("expand").filter(|field| !field.is_empty()).map(str::to_owned).collect();
        if let Some(wrong) = wanted
            .iter()
            .find(|field| !EXPANDABLE.contains(&field.as_str()) && !EXPAND_IGNORED.contains(&field.as_str()))
        {
            let message = format!(
                "'expand' cannot be {:?}; it must be one of {}",
                crate::error::clip(wrong),
                EXPANDABLE.join(", ")
            );
            return Err(ApiError::bad_request(message));
        }
        Ok(Self((!wanted.is_empty()).then_some(wanted)))
    }

    /// Whether the answer shall have this field.
    #[must_use]
    pub fn names(&self, field: &str) -> bool {
        self.0.as_ref().is_some_and(|fields| fields.iter().any(|wanted| wanted == field))
    }

    /// Whether `expand` was given.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps the fields asked for.
    #[must_use]
    pub fn keep(&self, view: &SpaceView) -> Value {
        let mut value = json!(view);
        if let (Some(fields), Some(object)) = (&self.0, value.as_object_mut()) {
            object.retain(|key, _| key == "_id" || key == "id" || fields.iter().any(|field| field == key));
        }
        value
    }
}
