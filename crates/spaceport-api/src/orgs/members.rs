//! The members of an organization and their roles.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::account::{OrgRole, UnknownOrgRole};
use spaceport_store::MemberChange;

use crate::audit;
use crate::caller::{Caller, Writer};
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBody;
use crate::orgs::{check_manages, named};
use crate::state::ApiState;
use crate::users::{PersonView, user_named};

/// A member.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberView {
    /// Who it is.
    #[serde(flatten)]
    pub person: PersonView,
    /// `read`, `contributor`, `write` or `admin`.
    pub role: &'static str,
}

/// A member's role.
#[derive(Debug, Deserialize, ToSchema)]
pub struct MemberRole {
    /// `read`, `contributor`, `write` or `admin`.
    pub role: String,
}

/// The members of an organization
#[utoipa::path(get, path = "/api/organizations/{org}/members", tag = "organizations",
    params(("org" = String, Path, description = "Its name")),
    responses((status = 200, body = [MemberView]), (status = 404, body = ErrorBody)))]
pub async fn list_members(
    State(state): State<ApiState>,
    _: Caller,
    Path(org): Path<String>,
) -> Result<Json<Vec<MemberView>>, ApiError> {
    let org = named(&state, &org).await?;
    let members = state.store.members_of(org.id).await?;
    let view =
        |(account, role): &(_, OrgRole)| MemberView { person: PersonView::of(&state, account), role: role.as_str() };
    Ok(Json(members.iter().map(view).collect()))
}

/// Add a member, or change its role
#[utoipa::path(put, path = "/api/organizations/{org}/members/{user}", tag = "organizations",
    params(("org" = String, Path, description = "The organization"), ("user" = String, Path, description = "The user")),
    request_body = MemberRole,
    responses((status = 200, body = MemberView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub async fn set_member(
    State(state): State<ApiState>,
    Writer(user): Writer,
    Path(path): Path<HashMap<String, String>>,
    JsonBody(body): JsonBody<MemberRole>,
) -> Result<Json<MemberView>, ApiError> {
    let part = |name: &str| path.get(name).map_or("", String::as_str);
    let org = named(&state, part("org")).await?;
    check_manages(&user, &org)?;
    let role: OrgRole = body.role.parse().map_err(|error: UnknownOrgRole| ApiError::bad_request(error.to_string()))?;
    let member = user_named(&state, part("user")).await?;
    match state.store.member_set(org.id, member.id, role, state.control.clock().now()).await? {
        MemberChange::Done | MemberChange::NoMember => {}
        MemberChange::LastAdmin => return Err(last_admin(&org.name)),
    }
    state.control.activate_routes();
    let detail = json!({"user": member.name, "role": role});
    audit::record(&state, &user, "member.set", &org.name, detail).await?;
    Ok(Json(MemberView { person: PersonView::of(&state, &member), role: role.as_str() }))
}

/// Remove a member
///
/// Admins remove anybody, others themselves.
#[utoipa::path(delete, path = "/api/organizations/{org}/members/{user}", tag = "organizations",
    params(("org" = String, Path, description = "The organization"), ("user" = String, Path, description = "The user")),
    responses((status = 200, body = Object), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub async fn remove_member(
    State(state): State<ApiState>,
    Writer(user): Writer,
    Path(path): Path<HashMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    let part = |name: &str| path.get(name).map_or("", String::as_str);
    let org = named(&state, part("org")).await?;
    let user = if part("user").eq_ignore_ascii_case(&user.account().name) {
        user.into_full_writer()?
    } else {
        check_manages(&user, &org)?;
        user
    };
    let member = user_named(&state, part("user")).await?;
    match state.store.member_remove(org.id, member.id).await? {
        MemberChange::Done => {}
        MemberChange::NoMember => {
            return Err(ApiError::not_found(format!("{} is no member of {}", member.name, org.name)));
        }
        MemberChange::LastAdmin => return Err(last_admin(&org.name)),
    }
    state.control.activate_routes();
    audit::record(&state, &user, "member.remove", &org.name, json!({"user": member.name})).await?;
    Ok(Json(json!({})))
}

fn last_admin(org: &str) -> ApiError {
    ApiError::conflict(format!("{org} would have no admin; make somebody else one first, or delete it"))
}
