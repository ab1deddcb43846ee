//! Info of a repository, the way the Hub's clients read it.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::space::Visibility;
use spaceport_core::{CommitSha, Repo, RepoKind, card};
use spaceport_git::LfsPointer;

use crate::error::ApiError;
use crate::extract::Params;
use crate::repos::weights::Weights;

/// What every kind may be asked for.
const COMMON: [&str; 14] = [
    "author",
    "cardData",
    "createdAt",
    "disabled",
    "downloads",
    "gated",
    "lastModified",
    "likes",
    "private",
    "resourceGroup",
    "sha",
    "siblings",
    "tags",
    "trendingScore",
];
/// Accepted and without effect: what older clients ask for.
const IGNORED: [&str; 4] = ["xetEnabled", "host", "visibility", "securityStatus"];

/// What else a kind may be asked for. Hub: `expand` of the info calls.
fn further(kind: RepoKind) -> &'static [&'static str] {
    match kind {
        RepoKind::Model => &[
            "baseModels",
            "childrenModelCount",
            "config",
            "downloadsAllTime",
            "evalResults",
            "gguf",
            "inference",
            "inferenceProviderMapping",
            "library_name",
            "mask_token",
            "model-index",
            "pipeline_tag",
            "safetensors",
            "spaces",
            "transformersInfo",
            "usedStorage",
            "widgetData",
        ],
        RepoKind::Dataset => {
            &["citation", "description", "downloadsAllTime", "mainSize", "paperswithcode_id", "usedStorage"]
        }
        RepoKind::Space => &["datasets", "models", "region", "runtime", "sdk", "subdomain", "usedStorage", "visits"],
    }
}

/// What the commit one looks at is.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Its id.
    pub sha: Option<CommitSha>,
    /// The front matter of its README.
    pub card: Option<Value>,
    /// What lists filter by.
    pub tags: Vec<String>,
}

/// A repository.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = RepoInfo)]
pub struct RepoView {
    /// Never changes, whatever the repository is called.
    #[serde(rename = "_id")]
    pub internal_id: String,
    /// `owner/name`.
    pub id: String,
    /// Of a model: the same, for older clients.
    #[serde(rename = "modelId", skip_serializing_if = "Option::is_none")]
    pub model_id: Option<String>,
    /// The owner.
    pub author: String,
    /// The commit; absent for those who may not read the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
    /// Last change of code or visibility.
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
    /// How many accounts like it.
    pub likes: i64,
    /// How often a file of it was downloaded.
    pub downloads: i64,
    /// The same.
    #[serde(rename = "downloadsAllTime")]
    pub downloads_all_time: i64,
    /// Of a Space: how often its app was opened in a browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visits: Option<i64>,
    /// Likes of the last days.
    #[serde(rename = "trendingScore")]
    pub trending_score: i64,
    /// What lists filter by.
    pub tags: Vec<String>,
    /// The front matter of its README.
    #[serde(rename = "cardData", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<CardData>)]
    pub card_data: Option<Value>,
    /// Of a model: the library that loads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library_name: Option<String>,
    /// Of a model: its task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_tag: Option<String>,
    /// Bytes of its large files, those of all its commits together.
    #[serde(rename = "usedStorage", skip_serializing_if = "Option::is_none")]
    pub used_storage: Option<u64>,
    /// Of a model with weights in this format: how many parameters it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safetensors: Option<Weights>,
    /// The files of the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub siblings: Option<Vec<Sibling>>,
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
    /// Of a large file; only with `blobs=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lfs: Option<SiblingLfs>,
}

/// What the pointer of a large file says. Other calls say `oid` for `sha256`. Hub: the same.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiblingLfs {
    /// SHA-256 of the content.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// Bytes of the pointer.
    pub pointer_size: u64,
}

impl SiblingLfs {
    /// Of a pointer.
    #[must_use]
    pub fn of(pointer: LfsPointer) -> Self {
        let LfsPointer { object, pointer_size } = pointer;
        Self { sha256: object.sha256, size: object.size, pointer_size }
    }
}

/// The front matter: whatever keys it has; these are the ones a Space's page reads.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = CardData)]
pub struct CardData {
    /// Title.
    title: Option<String>,
    /// One emoji.
    emoji: Option<String>,
    /// First colour of the card.
    #[serde(rename = "colorFrom")]
    color_from: Option<String>,
    /// Second colour of the card.
    #[serde(rename = "colorTo")]
    color_to: Option<String>,
    /// Of a Space: the SDK.
    sdk: Option<String>,
    /// Of a Space: entry file.
    app_file: Option<String>,
    /// Of a Space: the path of the app that is opened.
    base_path: Option<String>,
    /// Card text.
    short_description: Option<String>,
    /// Licence id.
    license: Option<Value>,
    /// Stays on top of its owner's list.
    pinned: Option<bool>,
    /// Tags.
    tags: Option<Vec<String>>,
}

impl RepoView {
    /// From a repository and the commit one looks at; what belongs to the code only when `code`.
    #[must_use]
    pub fn of(repo: &Repo, commit: Commit, code: bool) -> Self {
        let Commit { sha, card, tags } = if code { commit } else { Commit::default() };
        let model = repo.kind == RepoKind::Model;
        let one = |key: &str| card::texts(card.as_ref(), key).into_iter().next().filter(|_| model);
        Self {
            internal_id: repo.id.to_string(),
            id: repo.name.to_string(),
            model_id: model.then(|| repo.name.to_string()),
            author: repo.name.owner().to_owned(),
            sha: sha.map(String::from),
            last_modified: repo.updated_at.to_rfc3339(),
            created_at: repo.created_at.to_rfc3339(),
            private: repo.visibility == Visibility::Private,
            visibility: repo.visibility.as_str().to_owned(),
            gated: false,
            disabled: false,
            likes: repo.likes,
            downloads: repo.downloads,
            downloads_all_time: repo.downloads,
            visits: (repo.kind == RepoKind::Space).then_some(repo.visits),
            trending_score: repo.trending,
            library_name: one("library_name"),
            pipeline_tag: one("pipeline_tag"),
            tags,
            card_data: card,
            used_storage: None,
            safetensors: None,
            siblings: None,
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
    pub fn of(kind: RepoKind, params: &Params) -> Result<Self, ApiError> {
        let wanted: Vec<String> = params.all("expand").filter(|field| !field.is_empty()).map(str::to_owned).collect();
        let known = |field: &str| [&COMMON[..], further(kind), &IGNORED[..]].iter().any(|list| list.contains(&field));
        if let Some(wrong) = wanted.iter().find(|field| !known(field)) {
            let mut all: Vec<&str> = COMMON.iter().chain(further(kind)).copied().collect();
            all.sort_unstable();
            let message =
                format!("'expand' cannot be {:?}; it must be one of {}", crate::error::clip(wrong), all.join(", "));
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
    pub fn keep(&self, view: &impl Serialize) -> Value {
        let mut value = json!(view);
        if let (Some(fields), Some(object)) = (&self.0, value.as_object_mut()) {
            object.retain(|key, _| key == "_id" || key == "id" || fields.iter().any(|field| field == key));
        }
        value
    }
}
