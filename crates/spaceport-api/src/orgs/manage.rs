//! Organizations: create, rename, delete.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::account::{Account, AccountKind};
use spaceport_core::name::check_account;
use spaceport_store::OrgDeletion;

use crate::audit;
use crate::caller::{Owner, Writer};
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::orgs::overview::OrgView;
use crate::orgs::{check_manages, named};
use crate::sign_in::oidc::Oidc;
use crate::state::ApiState;

/// Longest name for people.
const MAX_FULL_NAME: usize = 200;
/// Longest description.
const MAX_DETAILS: usize = 2000;

/// An organization to be created.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewOrg {
    /// Unique among users and organizations, without regard to case.
    pub name: String,
    /// For people; the name when absent.
    pub fullname: Option<String>,
}

/// What an organization is called and says about itself; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct OrgSettings {
    /// For people.
    pub fullname: Option<String>,
    /// A few sentences.
    pub details: Option<String>,
}

/// Create an organization
///
/// The caller is its first admin.
#[utoipa::path(post, path = "/api/organizations", tag = "organizations", request_body = NewOrg,
    responses((status = 200, body = OrgView), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn create_org(
    State(state): State<ApiState>,
    Owner(user): Owner,
    JsonBody(body): JsonBody<NewOrg>,
) -> Result<Json<OrgView>, ApiError> {
    check_account(&body.name).map_err(|error| ApiError::bad_request(error.to_string()))?;
    check_text("fullname", body.fullname.as_deref(), MAX_FULL_NAME)?;
    // Its people come from the provider's groups: whoever were the first to make it would have them all.
    let is_mapped =
        |oidc: &Oidc| oidc.config().organizations.iter().any(|map| map.organization.eq_ignore_ascii_case(&body.name));
    if !user.account().is_admin && state.sign_in.oidc().is_some_and(is_mapped) {
        return Err(ApiError::forbidden(format!(
            "The members of {} come from the groups of the sign-in provider; ask an administrator to make it",
            body.name
        )));
    }
    let clock = state.control.clock();
    let org = Account {
        id: clock.account_id(),
        full_name: body.fullname.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| body.name.clone()),
        name: body.name,
        kind: AccountKind::Org,
        email: None,
        is_admin: false,
        created_at: clock.now(),
    };
    state.store.org_create(&org, user.account().id).await?;
    state.control.activate_routes();
    audit::record(&state, &user, "org.create", &org.name, json!({"id": org.id})).await?;
    Ok(Json(OrgView::of(&state, &org)))
}

/// Change what an organization is called and says about itself
#[utoipa::path(put, path = "/api/organizations/{org}", tag = "organizations", request_body = OrgSettings,
    params(("org" = String, Path, description = "Its name")),
    responses((status = 200, body = OrgView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn update_org(
    State(state): State<ApiState>,
    Writer(user): Writer,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<OrgSettings>,
) -> Result<Json<OrgView>, ApiError> {
    let mut org = named(&state, &name).await?;
    check_manages(&user, &org)?;
    check_text("fullname", body.fullname.as_deref(), MAX_FULL_NAME)?;
    check_text("details", body.details.as_deref(), MAX_DETAILS)?;
    let before = state.store.org_details(org.id).await?;
    let details = body.details.unwrap_or(before);
    if let Some(name) = body.fullname.filter(|name| !name.trim().is_empty()) {
        org.full_name = name;
    }
    state.store.org_update(org.id, &org.full_name, &details).await?;
    let detail = json!({"fullname": org.full_name, "details": details});
    audit::record(&state, &user, "org.update", &org.name, detail).await?;
    Ok(Json(OrgView::of(&state, &org)))
}

/// Delete an organization
///
/// Refused while it has repositories. Its name is free afterwards.
#[utoipa::path(delete, path = "/api/organizations/{org}", tag = "organizations",
    params(("org" = String, Path, description = "Its name")),
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub async fn delete_org(
    State(state): State<ApiState>,
    Owner(user): Owner,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let org = named(&state, &name).await?;
    check_manages(&user, &org)?;
    match state.store.org_delete(org.id).await? {
        OrgDeletion::Done => {}
        OrgDeletion::HasRepositories => {
            return Err(ApiError::conflict(format!(
                "{} has repositories; delete or move them first (a deleted Space takes a moment to go)",
                org.name
            )));
        }
    }
    state.control.activate_routes();
    audit::record(&state, &user, "org.delete", &org.name, json!({"id": org.id})).await?;
    Ok(Json(json!({})))
}

fn check_text(field: &str, text: Option<&str>, most: usize) -> Result<(), ApiError> {
    let printable = |c: char| !c.is_control() || c == '\n';
    if text.is_none_or(|text| text.len() <= most && text.chars().all(printable)) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("'{field}' must have at most {most} bytes and no control characters")))
}
