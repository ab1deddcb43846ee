//! Users: list, create, disable, delete.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use spaceport_core::account::{Account, AccountKind};
use spaceport_core::name::check_account;
use spaceport_core::space::DesiredRun;
use spaceport_core::{RepoKind, Timestamp};

use crate::audit;
use crate::caller::{Admin, User};
use crate::error::{ApiError, ErrorBody, clip};
use crate::extract::JsonBody;
use crate::state::ApiState;

/// Longest full name and address.
const MAX_TEXT: usize = 200;

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    /// Never changes.
    pub id: String,
    /// The account's name.
    pub name: String,
    /// For people.
    pub full_name: String,
    /// Optional.
    pub email: Option<String>,
    /// Administers this site.
    pub is_admin: bool,
    /// Whether nobody can be it at the moment.
    pub disabled: bool,
    /// Created.
    pub created_at: String,
}

impl UserView {
    fn of(account: &Account, disabled: bool) -> Self {
        Self {
            disabled,
            id: account.id.to_string(),
            name: account.name.clone(),
            full_name: account.full_name.clone(),
            email: account.email.clone(),
            is_admin: account.is_admin,
            created_at: account.created_at.to_rfc3339(),
        }
    }
}

/// A user to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewUser {
    /// Unique without regard to case.
    pub name: String,
    /// For people; the name when absent.
    pub full_name: Option<String>,
    /// Optional.
    pub email: Option<String>,
    /// Administers this site.
    #[serde(default)]
    pub is_admin: bool,
}

/// All users, disabled ones too
#[utoipa::path(get, path = "/api/admin/users", tag = "admin",
    responses((status = 200, body = [UserView]), (status = 403, body = ErrorBody)))]
pub async fn list_users(State(state): State<ApiState>, _: Admin) -> Result<Json<Vec<UserView>>, ApiError> {
    let users = state.store.accounts_listed(AccountKind::User).await?;
    Ok(Json(users.iter().map(|(account, disabled)| UserView::of(account, disabled.is_some())).collect()))
}

/// Create a user
#[utoipa::path(post, path = "/api/admin/users", tag = "admin", request_body = NewUser,
    responses((status = 200, body = UserView), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn create_user(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    JsonBody(body): JsonBody<NewUser>,
) -> Result<Json<UserView>, ApiError> {
    check_account(&body.name).map_err(|error| ApiError::bad_request(error.to_string()))?;
    for (field, text) in [("fullName", &body.full_name), ("email", &body.email)] {
        if text.as_ref().is_some_and(|text| text.len() > MAX_TEXT || text.chars().any(char::is_control)) {
            let message = format!("'{field}' must have at most {MAX_TEXT} bytes and no control characters");
            return Err(ApiError::bad_request(message));
        }
    }
    let clock = state.control.clock();
    let new = Account {
        id: clock.account_id(),
        full_name: body.full_name.unwrap_or_else(|| body.name.clone()),
        name: body.name,
        kind: AccountKind::User,
        email: body.email,
        is_admin: body.is_admin,
        created_at: clock.now(),
    };
    state.store.account_create(&new).await?;
    audit::record(&state, &admin, "user.create", &new.name, json!({"isAdmin": new.is_admin})).await?;
    Ok(Json(UserView::of(&new, false)))
}

/// Delete a user
///
/// The account is disabled, and its tokens, its password and its identities are deleted; its Spaces
/// are stopped and stay for a site admin. The name stays taken.
#[utoipa::path(delete, path = "/api/admin/users/{user}", tag = "admin",
    params(("user" = String, Path, description = "The account's name")),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn delete_user(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let doomed = other(&admin, listed(&state, &name).await?.0)?;
    state.store.account_retire(doomed.id, state.control.clock().now()).await?;
    stop_spaces(&state, &doomed).await?;
    state.control.activate_routes();
    audit::record(&state, &admin, "user.delete", &doomed.name, json!({"id": doomed.id})).await?;
    Ok(Json(json!({})))
}

/// Disable a user
///
/// Nobody can be it until it is enabled: its sessions end, its tokens are refused. Its Spaces run on.
#[utoipa::path(post, path = "/api/admin/users/{user}/disable", tag = "admin",
    params(("user" = String, Path, description = "The account's name")),
    responses((status = 200, body = UserView), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn disable_user(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(name): Path<String>,
) -> Result<Json<UserView>, ApiError> {
    let user = other(&admin, listed(&state, &name).await?.0)?;
    if state.store.account_disable(user.id, state.control.clock().now()).await? {
        state.control.activate_routes();
        audit::record(&state, &admin, "user.disable", &user.name, json!({"id": user.id})).await?;
    }
    Ok(Json(UserView::of(&user, true)))
}

/// Enable a user again
#[utoipa::path(post, path = "/api/admin/users/{user}/enable", tag = "admin",
    params(("user" = String, Path, description = "The account's name")),
    responses((status = 200, body = UserView), (status = 404, body = ErrorBody)))]
pub async fn enable_user(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(name): Path<String>,
) -> Result<Json<UserView>, ApiError> {
    let (user, _) = listed(&state, &name).await?;
    if state.store.account_enable(user.id).await? {
        state.control.activate_routes();
        audit::record(&state, &admin, "user.enable", &user.name, json!({"id": user.id})).await?;
    }
    Ok(Json(UserView::of(&user, false)))
}

/// The user a path names, disabled or not.
async fn listed(state: &ApiState, name: &str) -> Result<(Account, Option<Timestamp>), ApiError> {
    let found = state.store.account_listed(name).await?.filter(|(account, _)| account.kind == AccountKind::User);
    found.ok_or_else(|| ApiError::not_found(format!("There is no user {:?}", clip(name))))
}

/// Nobody locks the own account up, so that there is always one site admin who can undo it.
fn other(admin: &User, user: Account) -> Result<Account, ApiError> {
    if user.id == admin.account().id {
        return Err(ApiError::conflict("A site admin cannot disable or delete the own account; let another one do it"));
    }
    Ok(user)
}

/// Nobody answers for the Spaces of a deleted account, so they do not run on.
async fn stop_spaces(state: &ApiState, owner: &Account) -> Result<(), ApiError> {
    for repo in state.store.repos_of(owner.id).await? {
        if repo.kind == RepoKind::Space {
            let (id, now) = (repo.id.into(), state.control.clock().now());
            state.store.space_change(id, now, |desired| desired.run = DesiredRun::Stopped).await?;
            state.control.activate(id);
        }
    }
    Ok(())
}
