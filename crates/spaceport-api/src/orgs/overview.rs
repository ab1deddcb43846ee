//! What everybody may know of an organization.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::account::Account;

use crate::avatar::avatar_url;
use crate::caller::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::orgs::named;
use crate::state::ApiState;
use crate::users::{Counts, is_followed};

/// An organization.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrgView {
    /// Its name.
    pub name: String,
    /// For people.
    pub fullname: String,
    /// A picture.
    pub avatar_url: String,
}

impl OrgView {
    pub(crate) fn of(state: &ApiState, org: &Account) -> Self {
        Self { name: org.name.clone(), fullname: org.full_name.clone(), avatar_url: avatar_url(&state.site, &org.name) }
    }
}

/// An organization's page in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrgOverview {
    /// Which it is.
    #[serde(flatten)]
    pub org: OrgView,
    /// What it says about itself.
    pub details: String,
    /// Always false.
    pub is_verified: bool,
    /// How many members it has.
    pub num_users: usize,
    /// How many models the caller may see.
    pub num_models: usize,
    /// How many data sets the caller may see.
    pub num_datasets: usize,
    /// How many Spaces the caller may see.
    pub num_spaces: usize,
    /// How many follow it.
    pub num_followers: i64,
    /// Whether the caller follows it.
    pub is_following: bool,
}

/// Where a picture is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvatarView {
    /// Absolute.
    pub avatar_url: String,
}

/// An organization in short
#[utoipa::path(get, path = "/api/organizations/{org}/overview", tag = "organizations",
    params(("org" = String, Path, description = "Its name")),
    responses((status = 200, body = OrgOverview), (status = 404, body = ErrorBody)))]
pub async fn get_org(
    State(state): State<ApiState>,
    caller: Caller,
    Path(org): Path<String>,
) -> Result<Json<OrgOverview>, ApiError> {
    let org = named(&state, &org).await?;
    let counts = Counts::of(&state, org.id, &caller).await?;
    Ok(Json(OrgOverview {
        details: state.store.org_details(org.id).await?,
        is_verified: false,
        num_users: state.store.members_of(org.id).await?.len(),
        num_models: counts.models,
        num_datasets: counts.datasets,
        num_spaces: counts.spaces,
        num_followers: state.store.counts(org.id).await?.followers,
        is_following: is_followed(&state, org.id, &caller).await?,
        org: OrgView::of(&state, &org),
    }))
}

/// The picture of an organization
#[utoipa::path(get, path = "/api/organizations/{org}/avatar", tag = "organizations",
    params(("org" = String, Path, description = "Its name")),
    responses((status = 200, body = AvatarView), (status = 404, body = ErrorBody)))]
pub async fn get_org_avatar(
    State(state): State<ApiState>,
    _: Caller,
    Path(org): Path<String>,
) -> Result<Json<AvatarView>, ApiError> {
    let org = named(&state, &org).await?;
    Ok(Json(AvatarView { avatar_url: avatar_url(&state.site, &org.name) }))
}
