//! `POST /api/{kind}/{id}/duplicate`: a repository of one's own with the files and the history of another.
//!
//! Nothing is copied byte by byte: git's objects are linked, and large files are named by their hashes. Of a Space
//! the variables come along, since they belong to how the app works; secrets and volumes do not, since they are
//! somebody's.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use spaceport_core::account::Account;
use spaceport_core::space::{DesiredRun, Visibility};
use spaceport_core::{Repo, RepoKind, RepoName, SpaceStage};
use spaceport_store::NewRepo as NewRow;

use crate::access::ReadFiles;
use crate::allowance;
use crate::audit;
use crate::caller::{User, Writer};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{CalledUrl, JsonBody};
use crate::repos::create::{App, new_space, owner, settle, taken, visibility};
use crate::spaces::hardware::known_flavor;
use crate::spaces::run::sleep_after;
use crate::spaces::volumes::{Place, VolumeView, allowed};
use crate::spaces::{NewSetting, check_settings};
use crate::state::ApiState;
use crate::views::RepoPath;

/// The copy that shall be made. Unknown fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Duplicate {
    /// `owner/name` of the copy, or `name` below the caller.
    pub repository: String,
    /// `public`, `protected` (Spaces only) or `private`; `private` when absent.
    pub visibility: Option<String>,
    /// Of older clients: true is `private`, false `public`.
    pub private: Option<bool>,
    /// Of a Space: one of `GET /api/spaces/hardware`; the site's smallest when absent.
    pub hardware: Option<String>,
    /// Of a Space: seconds until it may sleep; -1 is never.
    pub sleep_time_seconds: Option<i64>,
    /// Of a Space: its secrets. None come along.
    #[serde(default)]
    pub secrets: Option<Vec<NewSetting>>,
    /// Of a Space: variables besides those that come along, or with other values.
    #[serde(default)]
    pub variables: Option<Vec<NewSetting>>,
    /// Of a Space: its volumes. None come along.
    #[serde(default)]
    pub volumes: Option<Vec<VolumeView>>,
}

/// What was made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DuplicatedRepo {
    /// Its page on this hub.
    pub url: String,
    /// `owner/name`.
    pub name: String,
    /// Never changes.
    pub id: String,
    /// Always false: large files are there at once.
    pub files_copy_pending: bool,
}

/// Duplicate a repository
///
/// With every branch and tag, the whole history and all large files; of a Space with its variables, without its
/// secrets and its volumes. Discussions and likes stay where they are.
#[utoipa::path(post, path = "/api/{kind}/{owner}/{name}/duplicate", tag = "repositories", params(RepoPath),
    request_body = Duplicate,
    responses((status = 200, body = DuplicatedRepo), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn duplicate_repo(
    State(state): State<ApiState>,
    ReadFiles(from): ReadFiles,
    CalledUrl(hub): CalledUrl,
    JsonBody(body): JsonBody<Duplicate>,
) -> Result<Json<DuplicatedRepo>, ApiError> {
    let Writer(user) = from.caller.into_user()?.into_writer()?;
    let from = from.repo;
    let kind = from.kind;
    let (namespace, name) = match body.repository.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, body.repository.as_str()),
    };
    let owner = owner(&state, &user, namespace).await?;
    let name = RepoName::new(&owner.name, name).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let page = |name: &RepoName| format!("{hub}/{}", kind.path(name));
    if let Some(there) = state.store.repo_by_name(kind, &name).await? {
        return Err(taken(kind, page(&there.name)));
    }
    let app = if kind == RepoKind::Space { Some(app(&state, &user, &from, &owner, &body).await?) } else { None };
    let repo = NewRow {
        id: state.control.clock().space_id().into(),
        kind,
        name: name.clone(),
        owner: owner.id,
        creator: user.account().id,
        visibility: match (&body.visibility, body.private) {
            (None, None) => Visibility::Private,
            (text, private) => visibility(kind, text.as_deref(), private)?,
        },
        head: None,
        at: state.control.clock().now(),
    };
    let id = repo.id;
    if make(&state, &user, &from, repo, app).await? {
        let url = page(&name);
        return Ok(Json(DuplicatedRepo { url, name: name.to_string(), id: id.to_string(), files_copy_pending: false }));
    }
    Err(taken(kind, page(&name)))
}

/// The app of the copy.
async fn app(state: &ApiState, user: &User, from: &Repo, owner: &Account, body: &Duplicate) -> Result<App, ApiError> {
    let source = state.store.space_by_id(from.id.into()).await?;
    let source = source.filter(|space| space.desired.run != DesiredRun::Deleting);
    let source = source.ok_or_else(|| ApiError::no_repo(false))?;
    let hardware = match &body.hardware {
        Some(flavor) => known_flavor(state, flavor)?,
        None => spaceport_core::FlavorName::cpu_basic(),
    };
    let given = body.variables.clone().unwrap_or_default();
    check_settings("variables", &given)?;
    let mut variables: BTreeMap<String, NewSetting> = BTreeMap::new();
    for (key, variable) in state.store.variables(source.id).await? {
        let setting = NewSetting { key: key.clone(), value: variable.value, description: variable.description };
        variables.insert(key, setting);
    }
    variables.extend(given.into_iter().map(|setting| (setting.key.clone(), setting)));
    let variables: Vec<NewSetting> = variables.into_values().collect();
    check_settings("variables", &variables)?;
    let secrets = body.secrets.clone().unwrap_or_default();
    check_settings("secrets", &secrets)?;
    let volumes = match &body.volumes {
        Some(volumes) => {
            let place = Place { owner: owner.id, name: &owner.name, has: &[] };
            allowed(state, user, place, volumes).await?
        }
        None => Vec::new(),
    };
    Ok(App {
        sdk: source.sdk,
        hardware,
        sleep_after_s: body.sleep_time_seconds.map(sleep_after).transpose()?.flatten(),
        variables,
        secrets,
        volumes,
        has_start_file: source.stage != SpaceStage::NoAppFile,
    })
}

/// Makes the repository, then the row. `false` when somebody else took the name meanwhile.
async fn make(
    state: &ApiState,
    user: &User,
    from: &Repo,
    mut repo: NewRow,
    app: Option<App>,
) -> Result<bool, ApiError> {
    let git = state.repositories.disk_bytes(from.id).await?;
    let bytes = git.saturating_add(state.store.repo_storage(from.id).await?);
    let _turn = allowance::for_new_repo(state, &repo, bytes).await?;
    repo.head = state.repositories.duplicate(from.id, repo.id).await?;
    let created = match app {
        Some(app) => state.store.space_create_copy(&new_space(state, &repo, app), from.id).await.map(drop),
        None => state.store.repo_create_copy(&repo, from.id).await,
    };
    if !settle(state, &repo, created).await? {
        return Ok(false);
    }
    let detail = json!({"from": from.path(), "visibility": repo.visibility});
    audit::record(state, user, "repo.duplicate", &repo.kind.path(&repo.name), detail).await?;
    Ok(true)
}
