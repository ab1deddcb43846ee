//! What everybody may know of a user.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use spaceport_core::account::{Account, AccountKind};
use spaceport_core::{AccountId, RepoKind};

use crate::access::rights;
use crate::avatar::avatar_url;
use crate::caller::Caller;
use crate::error::{ApiError, ErrorBody, clip};
use crate::orgs::overview::OrgView;
use crate::state::ApiState;

/// A user, as in lists of users.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonView {
    /// The account's name.
    pub user: String,
    /// For people.
    pub fullname: String,
    /// A picture.
    pub avatar_url: String,
    /// Always true: this server sells nothing.
    pub is_pro: bool,
    /// `user`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

impl PersonView {
    pub(crate) fn of(state: &ApiState, account: &Account) -> Self {
        Self {
            user: account.name.clone(),
            fullname: account.full_name.clone(),
            avatar_url: avatar_url(&state.site, &account.name),
            is_pro: true,
            kind: "user",
        }
    }
}

/// A user's page in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserOverview {
    /// Who it is.
    #[serde(flatten)]
    pub person: PersonView,
    /// Created.
    pub created_at: String,
    /// How many models the caller may see.
    pub num_models: usize,
    /// How many data sets the caller may see.
    pub num_datasets: usize,
    /// How many Spaces the caller may see.
    pub num_spaces: usize,
    /// How many discussions and pull requests they opened in public repositories.
    pub num_discussions: i64,
    /// How many public repositories they like.
    pub num_likes: i64,
    /// How many follow them.
    pub num_followers: i64,
    /// How many accounts they follow.
    pub num_following: i64,
    /// Whether the caller follows them.
    pub is_following: bool,
    /// Where the user is a member.
    pub orgs: Vec<OrgView>,
}

/// A user in short
#[utoipa::path(get, path = "/api/users/{user}/overview", tag = "organizations",
    params(("user" = String, Path, description = "The account's name")),
    responses((status = 200, body = UserOverview), (status = 404, body = ErrorBody)))]
pub async fn get_user(
    State(state): State<ApiState>,
    caller: Caller,
    Path(user): Path<String>,
) -> Result<Json<UserOverview>, ApiError> {
    let account = user_named(&state, &user).await?;
    let counts = Counts::of(&state, account.id, &caller).await?;
    let orgs = state.store.orgs_of(account.id).await?;
    let community = state.store.counts(account.id).await?;
    Ok(Json(UserOverview {
        person: PersonView::of(&state, &account),
        created_at: account.created_at.to_rfc3339(),
        num_models: counts.models,
        num_datasets: counts.datasets,
        num_spaces: counts.spaces,
        num_discussions: community.discussions,
        num_likes: community.likes,
        num_followers: community.followers,
        num_following: community.following,
        is_following: is_followed(&state, account.id, &caller).await?,
        orgs: orgs.iter().map(|(org, _)| OrgView::of(&state, org)).collect(),
    }))
}

/// The user a path names.
///
/// # Errors
/// 404 when there is none.
pub(crate) async fn user_named(state: &ApiState, name: &str) -> Result<Account, ApiError> {
    let found = state.store.account_by_name(name).await?.filter(|account| account.kind == AccountKind::User);
    found.ok_or_else(|| ApiError::not_found(format!("There is no user {:?}", clip(name))))
}

/// Whether the caller follows an account.
pub(crate) async fn is_followed(state: &ApiState, account: AccountId, caller: &Caller) -> Result<bool, ApiError> {
    match caller.account() {
        Some(follower) => Ok(state.store.follows(account, follower.id).await?),
        None => Ok(false),
    }
}

/// How many repositories of an account a caller may see.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) models: usize,
    pub(crate) datasets: usize,
    pub(crate) spaces: usize,
}

impl Counts {
    pub(crate) async fn of(state: &ApiState, owner: AccountId, caller: &Caller) -> Result<Self, ApiError> {
        let mut counts = Self::default();
        for repo in state.store.repos_of(owner).await? {
            if rights(&repo, caller).see {
                *match repo.kind {
                    RepoKind::Model => &mut counts.models,
                    RepoKind::Dataset => &mut counts.datasets,
                    RepoKind::Space => &mut counts.spaces,
                } += 1;
            }
        }
        Ok(counts)
    }
}
