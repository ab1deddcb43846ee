//! `POST /api/repos/create`: identity, repository with its first commit, row; all or nothing.
//!
//! It runs to its end even when the client leaves, and the row comes last: what a crash leaves is
//! a repository no row names, never a Space without one.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use spaceport_core::account::Account;
use spaceport_core::front_matter::InitialReadme;
use spaceport_core::space::Visibility;
use spaceport_core::{FlavorName, RepoName, Sdk};
use spaceport_git::{Author, InitialCommit, InitialFile};
use spaceport_store::{NewSpace, Secret, StoreError, Variable};

use crate::audit;
use crate::caller::{User, Writer};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{CalledUrl, JsonBody};
use crate::repos::only_spaces;
use crate::spaces::hardware::known_flavor;
use crate::spaces::run::sleep_after;
use crate::spaces::{NewSetting, check_settings};
use crate::state::ApiState;

/// Longest path of a file.
const MAX_PATH_BYTES: usize = 1024;
/// Most files of a first commit.
const MAX_FILES: usize = 100;

/// A repository to be created. Unknown fields are ignored, as clients of several generations send
/// more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewRepo {
    /// Without the owner.
    pub name: String,
    /// The owner; the caller when absent.
    pub organization: Option<String>,
    /// `space`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `public`, `protected` or `private`; `public` when absent.
    pub visibility: Option<String>,
    /// Of older clients: true is `private`.
    pub private: Option<bool>,
    /// `gradio`, `streamlit`, `docker` or `static`.
    pub sdk: Option<String>,
    /// Version of the SDK's package, for the first README.
    pub sdk_version: Option<String>,
    /// One of `GET /api/spaces/hardware`.
    pub hardware: Option<String>,
    /// Seconds until it may sleep; -1 is never.
    pub sleep_time_seconds: Option<i64>,
    /// First secrets.
    #[serde(default)]
    pub secrets: Option<Vec<NewSetting>>,
    /// First variables.
    #[serde(default)]
    pub variables: Option<Vec<NewSetting>>,
    /// First files.
    #[serde(default)]
    pub files: Option<Vec<NewFile>>,
}

/// A file of the first commit.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewFile {
    /// Relative to the root.
    pub path: String,
    /// Its content.
    pub content: String,
    /// `utf-8` or `base64`.
    pub encoding: Option<String>,
}

/// What was created.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedRepo {
    /// Its page on this hub.
    pub url: String,
    /// `owner/name`.
    pub name: String,
    /// Never changes.
    pub id: String,
}

/// Create a Space
#[utoipa::path(post, path = "/api/repos/create", tag = "repositories", request_body = NewRepo,
    responses((status = 200, body = CreatedRepo), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn create_repo(
    State(state): State<ApiState>,
    Writer(user): Writer,
    CalledUrl(hub): CalledUrl,
    JsonBody(body): JsonBody<NewRepo>,
) -> Result<Json<CreatedRepo>, ApiError> {
    only_spaces(body.kind.as_deref())?;
    let owner = owner(&state, &user, body.organization.as_deref()).await?;
    let name = RepoName::new(&owner.name, &body.name).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let page = |name: &RepoName| format!("{hub}/spaces/{name}");
    let taken = |name: &RepoName| ApiError::conflict("You already created this space repo").with("url", page(name));
    if let Some(space) = state.store.space_by_name(&name).await? {
        return Err(taken(&space.name));
    }
    let plan = Plan::of(&state, &user.account, owner, name.clone(), body)?;
    let task = state.lifetime.detach(make(state.clone(), user, plan));
    match task.await.map_err(ApiError::internal)?? {
        Some(id) => Ok(Json(CreatedRepo { url: page(&name), name: name.to_string(), id })),
        None => Err(taken(&name)),
    }
}

/// The account the Space will belong to.
async fn owner(state: &ApiState, user: &User, organization: Option<&str>) -> Result<Account, ApiError> {
    let wanted = organization.map(str::trim).filter(|name| !name.is_empty()).unwrap_or(&user.account.name);
    if wanted.eq_ignore_ascii_case(&user.account.name) {
        return Ok(user.account.clone());
    }
    let refused = || ApiError::forbidden(format!("You may not create repositories under {:?}", clip(wanted)));
    if !user.account.is_admin {
        return Err(refused());
    }
    state.store.account_by_name(wanted).await?.ok_or_else(refused)
}

/// A request that was understood and found possible.
struct Plan {
    space: NewSpace,
    secrets: Vec<NewSetting>,
    commit: InitialCommit,
}

impl Plan {
    fn of(
        state: &ApiState,
        creator: &Account,
        owner: Account,
        name: RepoName,
        body: NewRepo,
    ) -> Result<Self, ApiError> {
        let at = state.control.clock().now();
        let sdk = sdk(body.sdk.as_deref())?;
        let visibility = visibility(body.visibility.as_deref(), body.private)?;
        let hardware = match &body.hardware {
            Some(flavor) => known_flavor(&state.site, flavor)?,
            None => default_flavor(state),
        };
        let sleep_after_s = body.sleep_time_seconds.map(sleep_after).transpose()?.flatten();
        let (variables, secrets) = (body.variables.unwrap_or_default(), body.secrets.unwrap_or_default());
        check_settings("variables", &variables)?;
        check_settings("secrets", &secrets)?;
        let author = Author {
            name: creator.name.clone(),
            email: creator.email.clone().unwrap_or_else(|| format!("{}@users.noreply.invalid", creator.name)),
        };
        let files = files(&name, sdk, body.sdk_version, body.files.unwrap_or_default())?;
        let variable = |setting: NewSetting| {
            let description = setting.description();
            (setting.key, Variable { value: setting.value, description, updated_at: at })
        };
        Ok(Self {
            space: NewSpace {
                id: state.control.clock().space_id(),
                name,
                owner: owner.id,
                creator: creator.id,
                visibility,
                sdk,
                hardware,
                sleep_after_s,
                variables: variables.into_iter().map(variable).collect(),
                secrets: Vec::new(),
                head: None,
                at,
            },
            secrets,
            commit: InitialCommit { author, at, title: "initial commit".to_owned(), files },
        })
    }
}

/// Makes the repository, then the row. `None` when somebody else took the name meanwhile.
async fn make(state: ApiState, user: User, plan: Plan) -> Result<Option<String>, ApiError> {
    let Plan { mut space, secrets, commit } = plan;
    for secret in secrets {
        let sealed = state.vault.seal(space.id, &secret.key, &secret.value);
        let description = secret.description();
        space.secrets.push((secret.key, Secret { sealed, description, updated_at: space.at }));
    }
    space.head = Some(state.repositories.create(space.id.into(), &commit).await.map_err(ApiError::from)?);
    match state.store.space_create(&space).await {
        Ok(_) => {}
        Err(error) => {
            if let Err(error) = state.repositories.delete(space.id.into()).await {
                tracing::warn!(space.id = %space.id, %error, "the repository of a Space that was not created stays behind");
            }
            return match error {
                StoreError::Exists(_) => Ok(None),
                error => Err(error.into()),
            };
        }
    }
    state.control.activate(space.id);
    state.control.activate_routes();
    let detail = json!({"visibility": space.visibility, "sdk": space.sdk, "hardware": space.hardware.0});
    audit::record(&state, &user, "space.create", &space.name.to_string(), detail).await?;
    Ok(Some(space.id.to_string()))
}

/// The site's first flavor, unless it has the one everybody knows.
fn default_flavor(state: &ApiState) -> FlavorName {
    let basic = FlavorName::cpu_basic();
    let first = || state.site.hardware.keys().next().cloned();
    if state.site.hardware.contains_key(&basic) { basic } else { first().unwrap_or(basic) }
}

fn sdk(text: Option<&str>) -> Result<Sdk, ApiError> {
    let missing = || ApiError::bad_request("A Space needs an \"sdk\": gradio, streamlit, docker or static");
    text.ok_or_else(missing)?
        .parse()
        .map_err(|error: spaceport_core::sdk::UnknownSdk| ApiError::bad_request(error.to_string()))
}

/// `visibility`, or the `private` of older clients.
pub(crate) fn visibility(visibility: Option<&str>, private: Option<bool>) -> Result<Visibility, ApiError> {
    match (visibility, private) {
        (Some(text), _) => text.parse().map_err(|_| {
            let text = clip(text);
            ApiError::bad_request(format!("'visibility' cannot be {text:?}; it must be public, protected or private"))
        }),
        (None, Some(true)) => Ok(Visibility::Private),
        (None, _) => Ok(Visibility::Public),
    }
}

/// The first files: the caller's, and what every Space begins with where the caller has none.
fn files(
    name: &RepoName,
    sdk: Sdk,
    sdk_version: Option<String>,
    given: Vec<NewFile>,
) -> Result<Vec<InitialFile>, ApiError> {
    if given.len() > MAX_FILES {
        return Err(ApiError::bad_request(format!(
            "The first commit may have {MAX_FILES} files at most; push the rest"
        )));
    }
    let mut files = Vec::new();
    for NewFile { path, content, encoding } in given {
        check_path(&path)?;
        let content = match encoding.as_deref() {
            Some("base64") => STANDARD
                .decode(content.trim())
                .map_err(|_| ApiError::bad_request(format!("The content of {:?} is not base64", clip(&path))))?,
            None | Some("utf-8" | "utf8" | "text") => content.into_bytes(),
            Some(other) => {
                let other = clip(other);
                return Err(ApiError::bad_request(format!(
                    "'encoding' cannot be {other:?}; it must be utf-8 or base64"
                )));
            }
        };
        files.push(InitialFile { path, content });
    }
    // The Hub also writes `.gitattributes` with its LFS patterns. Without an LFS store behind them a
    // push of a `.bin` or `.png` file would fail in git-lfs, so they come with the store.
    if !files.iter().any(|file| file.path == "README.md") {
        let content = readme(name, sdk, sdk_version).into_bytes();
        files.push(InitialFile { path: "README.md".to_owned(), content });
    }
    Ok(files)
}

/// Refuses what no checkout should be asked to make.
fn check_path(path: &str) -> Result<(), ApiError> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.eq_ignore_ascii_case(".git");
    if path.len() <= MAX_PATH_BYTES && path.split('/').all(plain) && !path.chars().any(|c| c.is_control() || c == '\\')
    {
        return Ok(());
    }
    let path = clip(path);
    Err(ApiError::bad_request(format!("{path:?} is not a path inside the repository, such as \"assets/logo.png\"")))
}

/// The first README. Hub: emoji and colours are drawn there too; here the name decides, so that
/// the same name looks the same.
fn readme(name: &RepoName, sdk: Sdk, sdk_version: Option<String>) -> String {
    const EMOJI: [&str; 12] = ["🚀", "🌍", "🔭", "🎨", "🎧", "📚", "🧭", "⚡", "🔥", "🌱", "🐙", "🪐"];
    const COLORS: [&str; 8] = ["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"];
    let sum: usize = name.key().bytes().map(usize::from).sum();
    let title = name.name().replace(['-', '_'], " ");
    let app_file = match sdk {
        Sdk::Gradio | Sdk::Streamlit => Some("app.py"),
        Sdk::Static => Some("index.html"),
        Sdk::Docker => None,
    };
    InitialReadme {
        title: title.trim().to_owned(),
        emoji: EMOJI[sum % EMOJI.len()].to_owned(),
        color_from: COLORS[sum % COLORS.len()].to_owned(),
        color_to: COLORS[(sum / 3 + 1) % COLORS.len()].to_owned(),
        sdk,
        sdk_version,
        app_file: app_file.map(str::to_owned),
        pinned: false,
    }
    .to_markdown()
}
