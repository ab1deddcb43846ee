//! Volumes of a Space: set whole, as the Hub's clients do.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::account::{OrgRole, Permission};
use spaceport_core::volume::{VolumeKind, check_all};
use spaceport_core::{AccountId, RepoName, Volume};

use crate::access::{WriteSpace, find_used};
use crate::audit;
use crate::caller::{Caller, User};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::state::ApiState;
use crate::views::SpacePath;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Volume)]
#[serde(rename_all = "camelCase")]
pub struct VolumeView {
    /// `bucket` (a folder apps read and write), `model`, `dataset` or `space`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `owner/name` of the repository or the bucket.
    pub source: String,
    /// Where the app finds it, `/data` for one.
    pub mount_path: String,
    /// Of a repository: branch, tag or commit; `main` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whether the app may only read it; repositories are always read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Of a repository: the folder that is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl VolumeView {
    /// From a stored one.
    #[must_use]
    pub fn of(volume: &Volume) -> Self {
        Self {
            kind: volume.kind.as_str().to_owned(),
            source: volume.source.to_string(),
            mount_path: volume.mount_path.clone(),
            revision: volume.revision.clone(),
            read_only: Some(volume.read_only),
            path: volume.path.clone(),
        }
    }

    fn read(&self) -> Result<Volume, ApiError> {
        let wrong = |error: &dyn std::fmt::Display| ApiError::bad_request(format!("'volumes': {error}"));
        let kind: VolumeKind =
            self.kind.parse().map_err(|error: spaceport_core::volume::InvalidVolume| wrong(&error))?;
        let source: RepoName = self.source.parse().map_err(|error: spaceport_core::name::InvalidName| wrong(&error))?;
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Ok(Volume {
            kind,
            source,
            revision: some(&self.revision),
            mount_path: self.mount_path.clone(),
            read_only: self.read_only.unwrap_or(kind != VolumeKind::Bucket),
            path: some(&self.path).map(|path| path.trim_matches('/').to_owned()).filter(|path| !path.is_empty()),
        })
    }
}

/// The volumes a Space shall have.
#[derive(Debug, Deserialize, ToSchema)]
pub struct VolumesRequest {
    /// All of them: those that are not in the list go.
    pub volumes: Vec<VolumeView>,
}

/// Set the volumes of a Space
///
/// They replace those it had; the Space is started anew with them. A bucket keeps what is in it.
#[utoipa::path(put, path = "/api/spaces/{owner}/{name}/volumes", tag = "settings", params(SpacePath),
    request_body = VolumesRequest,
    responses((status = 200, body = VolumesAnswer), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn set_volumes(
    State(state): State<ApiState>,
    to: WriteSpace,
    JsonBody(body): JsonBody<VolumesRequest>,
) -> Result<Json<VolumesAnswer>, ApiError> {
    let has = state.store.volumes(to.space.id).await?;
    let place = Place { owner: to.space.owner, name: to.space.name.owner(), has: &has };
    let volumes = allowed(&state, &to.user, place, &body.volumes).await?;
    save(&state, &to, &volumes).await?;
    Ok(Json(VolumesAnswer { volumes: volumes.iter().map(VolumeView::of).collect() }))
}

/// Remove all volumes of a Space
///
/// Buckets keep what is in them.
#[utoipa::path(delete, path = "/api/spaces/{owner}/{name}/volumes", tag = "settings", params(SpacePath),
    responses((status = 200, body = VolumesAnswer), (status = 403, body = ErrorBody)))]
pub async fn delete_volumes(State(state): State<ApiState>, to: WriteSpace) -> Result<Json<VolumesAnswer>, ApiError> {
    save(&state, &to, &[]).await?;
    Ok(Json(VolumesAnswer { volumes: Vec::new() }))
}

/// The volumes as they are now.
#[derive(Debug, Serialize, ToSchema)]
pub struct VolumesAnswer {
    /// All of them.
    pub volumes: Vec<VolumeView>,
}

async fn save(state: &ApiState, to: &WriteSpace, volumes: &[Volume]) -> Result<(), ApiError> {
    state.store.volumes_set(to.space.id, volumes).await?;
    state.control.activate(to.space.id);
    let list: Vec<Value> =
        volumes.iter().map(|volume| json!({"source": volume.source, "mountPath": volume.mount_path})).collect();
    audit::record(state, &to.user, "volumes.set", &to.space.name.to_string(), json!({"volumes": list})).await
}

/// The Space that volumes are for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Whose it is.
    pub owner: AccountId,
    /// The name of that account.
    pub name: &'a str,
    /// The volumes it has.
    pub has: &'a [Volume],
}

/// Reads a list of volumes and checks that the caller may read what they show. A bucket belongs to the
/// owner of the Space: nobody gets at another's through a Space. One that the Space does not have yet is
/// given to it by whoever may write everything of that owner, since all their Spaces may keep things in it.
///
/// # Errors
/// When one is wrong, or not the caller's to read.
pub(crate) async fn allowed(
    state: &ApiState,
    user: &User,
    to: Place<'_>,
    asked: &[VolumeView],
) -> Result<Vec<Volume>, ApiError> {
    let volumes = asked.iter().map(VolumeView::read).collect::<Result<Vec<_>, _>>()?;
    check_all(&volumes).map_err(|error| ApiError::bad_request(format!("'volumes': {error}")))?;
    for volume in &volumes {
        let name = &volume.source;
        let Some(kind) = volume.kind.repo_kind() else {
            let owner = to.name;
            if !name.owner().eq_ignore_ascii_case(owner) {
                let message =
                    format!("A Space of {owner} can only have buckets of {owner}, not {:?}", clip(&name.to_string()));
                return Err(ApiError::forbidden(message));
            }
            if !to.has.iter().any(|old| covers(old, volume)) {
                may_give_bucket(user, to, volume)?;
            }
            continue;
        };
        let missing = || {
            let text = clip(&name.to_string());
            ApiError::bad_request(format!("'volumes': there is no {kind} {text:?} that you may read"))
        };
        let caller: Caller = user.clone().into();
        let read = find_used(state, kind, name.owner(), name.name(), caller).await.map_err(|_| missing())?;
        let read = read.into_files().map_err(|_| missing())?.0;
        if let Some(revision) = &volume.revision
            && state.repositories.resolve(read.repo.id, revision).await?.is_none()
        {
            let text = clip(revision);
            return Err(ApiError::bad_request(format!("'volumes': {name} has no branch, tag or commit {text:?}")));
        }
    }
    Ok(volumes)
}

/// Whether a Space that has one bucket gets nothing more with the other.
fn covers(old: &Volume, new: &Volume) -> bool {
    let same = old.kind == VolumeKind::Bucket && old.source.to_string().eq_ignore_ascii_case(&new.source.to_string());
    let inside = old.path.is_none() || old.path == new.path;
    same && inside && (!old.read_only || new.read_only)
}

/// Refuses who may not write everything of an owner.
fn may_give_bucket(user: &User, to: Place<'_>, volume: &Volume) -> Result<(), ApiError> {
    let (owner, bucket) = (to.name, clip(&volume.source.to_string()));
    let writes = user.viewer.role_in(to.owner).is_some_and(|role| role >= OrgRole::Write);
    if !user.account().is_admin && !writes {
        let message = format!("Giving a Space the bucket {bucket:?} needs the role 'write' in {owner}; ask who has it");
        return Err(ApiError::forbidden(message));
    }
    if !user.viewer.token_allows(Permission::Write, to.owner, None) {
        return Err(ApiError::token_lacks(&format!("'repo.write' for all of {owner}, which a bucket needs")));
    }
    Ok(())
}
