//! `GET /api/whoami-v2`: the call every client begins with.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::access::Viewer;

use crate::caller::User;
use crate::error::ErrorBody;

/// The caller.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoAmI {
    /// `user`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Never changes.
    pub id: String,
    /// The account's name.
    pub name: String,
    /// For people.
    pub fullname: String,
    /// Optional.
    pub email: Option<String>,
    /// Whether the address was confirmed: always false so far.
    pub email_verified: bool,
    /// Always true: this server sells nothing.
    pub is_pro: bool,
    /// Always false.
    pub can_pay: bool,
    /// Administers this site.
    pub is_admin: bool,
    /// Empty so far.
    pub orgs: Vec<String>,
    /// The token.
    pub auth: AuthView,
}

/// How the caller signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthView {
    /// `access_token`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The token's name and role.
    pub access_token: AccessTokenView,
}

/// A token without the token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessTokenView {
    /// What its owner calls it.
    pub display_name: String,
    /// `read` or `write`.
    pub role: &'static str,
    /// Made.
    pub created_at: String,
}

/// Who calls
#[utoipa::path(get, path = "/api/whoami-v2", tag = "account",
    responses((status = 200, body = WhoAmI), (status = 401, body = ErrorBody)))]
pub async fn whoami(user: User) -> Json<WhoAmI> {
    let Viewer { account, token, .. } = user.viewer;
    Json(WhoAmI {
        kind: "user",
        id: account.id.to_string(),
        name: account.name,
        fullname: account.full_name,
        email: account.email,
        email_verified: false,
        is_pro: true,
        can_pay: false,
        is_admin: account.is_admin,
        orgs: Vec::new(),
        auth: AuthView {
            kind: "access_token",
            access_token: AccessTokenView {
                display_name: token.name,
                role: token.role.as_str(),
                created_at: token.created_at.to_rfc3339(),
            },
        },
    })
}
