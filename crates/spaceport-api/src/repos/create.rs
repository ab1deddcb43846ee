//! `POST /api/repos/create`: identity, repository with its first commit, row; all or nothing.
//!
//! The row comes last: what a crash leaves is a repository no row names, never a Space without one.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::account::{Account, OrgRole};
use spaceport_core::space::Visibility;
use spaceport_core::{FlavorName, RepoKind, RepoName, Sdk, Volume};
use spaceport_git::{Author, InitialCommit};
use spaceport_store::{NewRepo as NewRow, NewSpace, Secret, StoreError, Variable};

use crate::allowance;
use crate::audit;
use crate::caller::{User, Writer};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::{CalledUrl, JsonBody};
use crate::repos::beginning::{NewFile, files, has_start_file, readme};
use crate::repos::kind;
use crate::spaces::hardware::known_flavor;
use crate::spaces::run::sleep_after;
use crate::spaces::templates;
use crate::spaces::volumes::{Place, VolumeView, allowed};
use crate::spaces::{NewSetting, check_settings};
use crate::state::ApiState;

/// A repository to be created. Unknown fields are ignored, as clients of several generations send
/// more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewRepo {
    /// Without the owner.
    pub name: String,
    /// The owner; the caller when absent.
    pub organization: Option<String>,
    /// `model`, `dataset` or `space`; `model` when absent.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `public`, `protected` (Spaces only) or `private`; `public` when absent.
    pub visibility: Option<String>,
    /// Of older clients: true is `private`.
    pub private: Option<bool>,
    /// Of a Space: `gradio`, `streamlit`, `docker` or `static`.
    pub sdk: Option<String>,
    /// Of a Space: one of `GET /api/spaces/templates`, whose files it begins with.
    pub template: Option<String>,
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
    /// First volumes.
    #[serde(default)]
    pub volumes: Option<Vec<VolumeView>>,
    /// First files.
    #[serde(default)]
    pub files: Option<Vec<NewFile>>,
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

/// Create a repository
#[utoipa::path(post, path = "/api/repos/create", tag = "repositories", request_body = NewRepo,
    responses((status = 200, body = CreatedRepo), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn create_repo(
    State(state): State<ApiState>,
    Writer(user): Writer,
    CalledUrl(hub): CalledUrl,
    JsonBody(body): JsonBody<NewRepo>,
) -> Result<Json<CreatedRepo>, ApiError> {
    let kind = kind(body.kind.as_deref())?;
    let owner = owner(&state, &user, body.organization.as_deref()).await?;
    let name = RepoName::new(&owner.name, &body.name).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let page = |name: &RepoName| format!("{hub}/{}", kind.path(name));
    let taken = |name: &RepoName| taken(kind, page(name));
    if let Some(repo) = state.store.repo_by_name(kind, &name).await? {
        return Err(taken(&repo.name));
    }
    let volumes = match &body.volumes {
        Some(volumes) if kind == RepoKind::Space => {
            let place = Place { owner: owner.id, name: &owner.name, has: &[] };
            allowed(&state, &user, place, volumes).await?
        }
        _ => Vec::new(),
    };
    let mut plan = Plan::of(&state, user.account(), &owner, kind, name.clone(), body)?;
    if let Some(app) = &mut plan.app {
        app.volumes = volumes;
    }
    match make(&state, &user, plan).await? {
        Some(id) => Ok(Json(CreatedRepo { url: page(&name), name: name.to_string(), id })),
        None => Err(taken(&name)),
    }
}

/// Somebody has the name already; clients read where.
pub(super) fn taken(kind: RepoKind, page: String) -> ApiError {
    ApiError::conflict(format!("You already created this {kind} repo")).with("url", page)
}

/// The account a new repository will belong to.
pub(crate) async fn owner(state: &ApiState, user: &User, organization: Option<&str>) -> Result<Account, ApiError> {
    let own = user.account();
    let wanted = organization.map(str::trim).filter(|name| !name.is_empty()).unwrap_or(&own.name);
    let owner = if wanted.eq_ignore_ascii_case(&own.name) {
        Some(own.clone())
    } else {
        state.store.account_by_name(wanted).await?
    };
    match owner {
        Some(owner) if user.viewer.may_create_in(owner.id) => Ok(owner),
        Some(owner) if user.viewer.role_in(owner.id).is_some_and(|role| role >= OrgRole::Contributor) => {
            Err(ApiError::token_lacks(&format!("the permission 'repo.write' for all of {wanted}")))
        }
        Some(_) | None => Err(ApiError::forbidden(format!("You may not create repositories under {:?}", clip(wanted)))),
    }
}

/// A request that was understood and found possible.
struct Plan {
    repo: NewRow,
    /// Of a Space.
    app: Option<App>,
    commit: InitialCommit,
}

/// What makes a new repository a Space.
pub(super) struct App {
    pub(super) sdk: Sdk,
    pub(super) hardware: FlavorName,
    pub(super) sleep_after_s: Option<i64>,
    pub(super) variables: Vec<NewSetting>,
    pub(super) secrets: Vec<NewSetting>,
    pub(super) volumes: Vec<Volume>,
    /// The first commit is more than a README.
    pub(super) has_start_file: bool,
}

impl Plan {
    fn of(
        state: &ApiState,
        creator: &Account,
        owner: &Account,
        kind: RepoKind,
        name: RepoName,
        body: NewRepo,
    ) -> Result<Self, ApiError> {
        let at = state.control.clock().now();
        let visibility = visibility(kind, body.visibility.as_deref(), body.private)?;
        let mut given = body.files.unwrap_or_default();
        let (app, files) = if kind == RepoKind::Space {
            let template = body.template.as_deref().map(templates::find).transpose()?;
            let sdk = match &template {
                Some(template) => template.sdk(body.sdk.as_deref())?,
                None => sdk(body.sdk.as_deref())?,
            };
            if let Some(template) = template {
                template.add_to(&mut given);
            }
            let hardware = match &body.hardware {
                Some(flavor) => known_flavor(state, flavor)?,
                None => FlavorName::cpu_basic(),
            };
            let (variables, secrets) = (body.variables.unwrap_or_default(), body.secrets.unwrap_or_default());
            check_settings("variables", &variables)?;
            check_settings("secrets", &secrets)?;
            let sleep_after_s = body.sleep_time_seconds.map(sleep_after).transpose()?.flatten();
            let readme = readme(&name, sdk, body.sdk_version);
            let files = files(kind, given, Some(readme))?;
            let has_start_file = has_start_file(&files);
            let volumes = Vec::new();
            (Some(App { sdk, hardware, sleep_after_s, variables, secrets, volumes, has_start_file }), files)
        } else {
            (None, files(kind, given, None)?)
        };
        let repo = NewRow {
            id: state.control.clock().space_id().into(),
            kind,
            name,
            owner: owner.id,
            creator: creator.id,
            visibility,
            head: None,
            at,
        };
        let commit = InitialCommit { author: author(creator), at, title: "initial commit".to_owned(), files };
        Ok(Self { repo, app, commit })
    }
}

/// An account as the author of a commit.
pub(crate) fn author(account: &Account) -> Author {
    Author {
        name: account.name.clone(),
        email: account.email.clone().unwrap_or_else(|| format!("{}@users.noreply.invalid", account.name)),
    }
}

/// Makes the repository, then the row. `None` when somebody else took the name meanwhile.
async fn make(state: &ApiState, user: &User, plan: Plan) -> Result<Option<String>, ApiError> {
    let Plan { mut repo, app, commit } = plan;
    let _turn = allowance::for_new_repo(state, &repo, commit.bytes()).await?;
    let head = state.repositories.create(repo.id, &commit).await.map_err(ApiError::from)?;
    repo.head = Some(head);
    let created = match app {
        Some(app) => state.store.space_create(&new_space(state, &repo, app)).await.map(drop),
        None => state.store.repo_create(&repo).await,
    };
    if !settle(state, &repo, created).await? {
        return Ok(None);
    }
    let detail = json!({"visibility": repo.visibility});
    audit::record(state, user, "repo.create", &repo.kind.path(&repo.name), detail).await?;
    Ok(Some(repo.id.to_string()))
}

/// What follows the attempt to write the row of a repository whose folder is there: without a row the folder goes,
/// with one the repository is indexed, and a Space begins to build. `false` when somebody else took the name
/// meanwhile.
pub(super) async fn settle(state: &ApiState, repo: &NewRow, created: Result<(), StoreError>) -> Result<bool, ApiError> {
    if let Err(error) = created {
        if let Err(error) = state.repositories.delete(repo.id).await {
            tracing::warn!(repo.id = %repo.id, %error, "the folder of a repository that was not created stays until it is collected");
        }
        return match error {
            StoreError::Exists(_) => Ok(false),
            error => Err(error.into()),
        };
    }
    if let (Some(row), Some(head)) = (state.store.repo_by_id(repo.id).await?, &repo.head) {
        spaceport_control::index::index(&state.store, &state.repositories, &row, head)
            .await
            .map_err(ApiError::internal)?;
    }
    if repo.kind == RepoKind::Space {
        state.control.activate(repo.id.into());
        state.control.activate_routes();
    }
    Ok(true)
}

pub(super) fn new_space(state: &ApiState, repo: &NewRow, app: App) -> NewSpace {
    let (id, at) = (repo.id.into(), repo.at);
    let variable = |setting: NewSetting| {
        let description = setting.description();
        (setting.key, Variable { value: setting.value, description, updated_at: at })
    };
    let secret = |setting: NewSetting| {
        let sealed = state.vault.seal(id, &setting.key, &setting.value);
        let description = setting.description();
        (setting.key, Secret { sealed, description, updated_at: at })
    };
    NewSpace {
        id,
        name: repo.name.clone(),
        owner: repo.owner,
        creator: repo.creator,
        visibility: repo.visibility,
        sdk: app.sdk,
        hardware: app.hardware,
        sleep_after_s: app.sleep_after_s,
        variables: app.variables.into_iter().map(variable).collect(),
        secrets: app.secrets.into_iter().map(secret).collect(),
        volumes: app.volumes,
        head: repo.head.clone(),
        has_app: app.has_start_file,
        at,
    }
}

pub(crate) fn sdk(text: Option<&str>) -> Result<Sdk, ApiError> {
    let missing = || ApiError::bad_request("A Space needs an \"sdk\": gradio, streamlit, docker or static");
    text.ok_or_else(missing)?
        .parse()
        .map_err(|error: spaceport_core::sdk::UnknownSdk| ApiError::bad_request(error.to_string()))
}

/// `visibility`, or the `private` of older clients.
pub(crate) fn visibility(
    kind: RepoKind,
    visibility: Option<&str>,
    private: Option<bool>,
) -> Result<Visibility, ApiError> {
    let allowed = if kind == RepoKind::Space { "public, protected or private" } else { "public or private" };
    let wanted = match (visibility, private) {
        (Some(text), _) => text.parse().ok(),
        (None, Some(true)) => Some(Visibility::Private),
        (None, _) => Some(Visibility::Public),
    };
    wanted.filter(|wanted| kind == RepoKind::Space || *wanted != Visibility::Protected).ok_or_else(|| {
        let text = clip(visibility.unwrap_or(""));
        ApiError::bad_request(format!("'visibility' cannot be {text:?}; it must be {allowed}"))
    })
}
