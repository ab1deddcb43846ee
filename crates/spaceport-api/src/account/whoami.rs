//! `GET /api/whoami-v2`: the call every client begins with.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::access::{Credential, Viewer};
use spaceport_core::account::{Account, OrgRole, TokenRole};

use crate::account::scopes::{self, ScopesView};
use crate::avatar::avatar_url;
use crate::caller::User;
use crate::error::{ApiError, ErrorBody};
use crate::state::ApiState;

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
    /// Always null.
    pub period_end: Option<i64>,
    /// A picture.
    pub avatar_url: String,
    /// Administers this site.
    pub is_admin: bool,
    /// Where the caller is a member.
    pub orgs: Vec<MembershipView>,
    /// What the caller was recognised by.
    pub auth: AuthView,
}

/// An organization and what the caller may do there.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MembershipView {
    /// `org`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Never changes.
    pub id: String,
    /// Its name.
    pub name: String,
    /// For people.
    pub fullname: String,
    /// Optional.
    pub email: Option<String>,
    /// Always false.
    pub can_pay: bool,
    /// Always null.
    pub period_end: Option<i64>,
    /// A picture.
    pub avatar_url: String,
    /// `read`, `contributor`, `write` or `admin`.
    pub role_in_org: &'static str,
    /// Always false.
    pub is_enterprise: bool,
}

impl MembershipView {
    fn of(state: &ApiState, org: Account, role: OrgRole) -> Self {
        Self {
            kind: "org",
            id: org.id.to_string(),
            avatar_url: avatar_url(&state.site, &org.name),
            name: org.name,
            fullname: org.full_name,
            email: org.email,
            can_pay: false,
            period_end: None,
            role_in_org: role.as_str(),
            is_enterprise: false,
        }
    }
}

/// What the caller was recognised by.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthView {
    /// `access_token`, or `session` for a browser.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<AccessTokenView>,
    /// Worth nothing from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A token without the token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessTokenView {
    /// What its owner calls it.
    pub display_name: String,
    /// `read`, `write` or `fineGrained`.
    pub role: &'static str,
    /// Made.
    pub created_at: String,
    /// What a fine-grained one may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fine_grained: Option<ScopesView>,
}

/// Who calls
#[utoipa::path(get, path = "/api/whoami-v2", tag = "account",
    responses((status = 200, body = WhoAmI), (status = 401, body = ErrorBody)))]
pub async fn whoami(State(state): State<ApiState>, user: User) -> Result<Json<WhoAmI>, ApiError> {
    let Viewer { account, credential, .. } = user.viewer;
    let auth = auth(&state, &account, &credential).await?;
    let orgs = state.store.orgs_of(account.id).await?;
    Ok(Json(WhoAmI {
        kind: "user",
        id: account.id.to_string(),
        avatar_url: avatar_url(&state.site, &account.name),
        name: account.name,
        fullname: account.full_name,
        email: account.email,
        email_verified: false,
        is_pro: true,
        can_pay: false,
        period_end: None,
        is_admin: account.is_admin,
        orgs: orgs.into_iter().map(|(org, role)| MembershipView::of(&state, org, role)).collect(),
        auth,
    }))
}

async fn auth(state: &ApiState, account: &Account, credential: &Credential) -> Result<AuthView, ApiError> {
    let token = match credential {
        Credential::Session(session) => {
            let expires_at = Some(session.expires_at.to_rfc3339());
            return Ok(AuthView { kind: "session", access_token: None, expires_at });
        }
        Credential::Token(token) => token,
    };
    let fine_grained = match token.role {
        TokenRole::FineGrained => Some(scopes::view(&state.store, account, &token.scopes).await?),
        TokenRole::Read | TokenRole::Write => None,
    };
    Ok(AuthView {
        kind: "access_token",
        access_token: Some(AccessTokenView {
            display_name: token.name.clone(),
            role: token.role.as_str(),
            created_at: token.created_at.to_rfc3339(),
            fine_grained,
        }),
        expires_at: token.expires_at.map(|at| at.to_rfc3339()),
    })
}
