//! What a fine-grained token is for: by names on the wire, by ids in the database, since a name may
//! become somebody else's.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use spaceport_core::account::{Account, AccountKind, OrgRole, Permission, Scope, Scopes, UnknownPermission};
use spaceport_core::space::Visibility;
use spaceport_core::{AccountId, Repo, RepoKind, RepoName};
use spaceport_store::Store;

use crate::error::{ApiError, clip};

/// Most scopes of a token.
const MOST: usize = 100;

/// What a new fine-grained token may do: of what its account may, and nothing else.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct ScopesRequest {
    /// Permissions everywhere the account has them.
    #[serde(default)]
    pub global: Vec<String>,
    /// Permissions for one repository, or for all of a namespace.
    #[serde(default)]
    pub scoped: Vec<ScopeRequest>,
}

/// Permissions for one repository, or for all of a namespace: exactly one of the three is there.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ScopeRequest {
    /// `models/alice/tiny`, `datasets/…`, `spaces/…`.
    pub repo: Option<String>,
    /// An organization one is a member of.
    pub org: Option<String>,
    /// Oneself.
    pub user: Option<String>,
    /// `repo.content.read`, `repo.write`, `discussion.write`, `org.write`.
    pub permissions: Vec<String>,
}

/// What a fine-grained token may do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScopesView {
    /// Whether it reads gated repositories.
    pub can_read_gated_repos: bool,
    /// Permissions everywhere.
    pub global: Vec<&'static str>,
    /// Permissions in parts.
    pub scoped: Vec<ScopeView>,
}

/// Permissions for one repository, or for all of a namespace.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScopeView {
    /// For what.
    pub entity: EntityView,
    /// What.
    pub permissions: Vec<&'static str>,
}

/// What a scope is for.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntityView {
    /// Never changes.
    #[serde(rename = "_id")]
    pub id: String,
    /// `user`, `org`, `model`, `dataset` or `space`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name now.
    pub name: String,
}

/// Reads scopes for an account. A name it may not know of is unknown.
///
/// # Errors
/// 400 with the first mistake.
pub(crate) async fn read(store: &Store, account: &Account, request: &ScopesRequest) -> Result<Scopes, ApiError> {
    if request.scoped.len() > MOST {
        return Err(ApiError::bad_request(format!("A token has at most {MOST} scopes")));
    }
    let orgs = store.roles_of(account.id).await?;
    let mut scoped = Vec::with_capacity(request.scoped.len());
    for scope in &request.scoped {
        let permissions = permissions(&scope.permissions)?;
        scoped.push(match (&scope.repo, &scope.org, &scope.user) {
            (Some(repo), None, None) => Scope::repo(named_repo(store, account, &orgs, repo).await?.id, permissions),
            (None, Some(org), None) => Scope::account(named_org(store, &orgs, org).await?, permissions),
            (None, None, Some(user)) if user.eq_ignore_ascii_case(&account.name) => {
                Scope::account(account.id, permissions)
            }
            (None, None, Some(user)) => {
                let (user, own) = (clip(user), &account.name);
                return Err(ApiError::bad_request(format!("A token of {own} cannot be for the user {user:?}")));
            }
            _ => {
                let message = "A scope is for exactly one 'repo', 'org' or 'user'";
                return Err(ApiError::bad_request(message));
            }
        });
    }
    let scopes = Scopes { global: permissions_or_none(&request.global)?, scoped };
    if scopes.global.is_empty() && scopes.scoped.is_empty() {
        return Err(ApiError::bad_request(
            "A fine-grained token needs 'fineGrained' with permissions: {\"scoped\": [{\"repo\": \"models/alice/tiny\", \
             \"permissions\": [\"repo.write\"]}]}",
        ));
    }
    Ok(scopes)
}

/// Shows scopes to their account. What is gone, and what it may no longer know of, is left out.
///
/// # Errors
/// When the database fails.
pub(crate) async fn view(store: &Store, account: &Account, scopes: &Scopes) -> Result<ScopesView, ApiError> {
    let names = |permissions: &[Permission]| permissions.iter().map(|permission| permission.as_str()).collect();
    let orgs = store.roles_of(account.id).await?;
    let mut scoped = Vec::with_capacity(scopes.scoped.len());
    for scope in &scopes.scoped {
        let entity = match (scope.repo, scope.account) {
            (Some(repo), _) => store.repo_by_id(repo).await?.filter(|repo| knows(account, &orgs, repo)).map(|repo| {
                EntityView { id: repo.id.to_string(), kind: repo.kind.to_string(), name: repo.name.to_string() }
            }),
            (None, Some(of)) => store.account_by_id(of).await?.map(|of| EntityView {
                id: of.id.to_string(),
                kind: of.kind.to_string(),
                name: of.name,
            }),
            (None, None) => None,
        };
        scoped.extend(entity.map(|entity| ScopeView { entity, permissions: names(&scope.permissions) }));
    }
    let reads = |permission: &Permission| matches!(permission, Permission::ReadContent | Permission::Write);
    Ok(ScopesView { can_read_gated_repos: scopes.global.iter().any(reads), global: names(&scopes.global), scoped })
}

fn permissions(names: &[String]) -> Result<Vec<Permission>, ApiError> {
    let permissions = permissions_or_none(names)?;
    if permissions.is_empty() {
        Err(ApiError::bad_request("A scope without 'permissions' allows nothing"))
    } else {
        Ok(permissions)
    }
}

fn permissions_or_none(names: &[String]) -> Result<Vec<Permission>, ApiError> {
    let read =
        |name: &String| name.parse().map_err(|error: UnknownPermission| ApiError::bad_request(error.to_string()));
    let mut permissions = names.iter().map(read).collect::<Result<Vec<Permission>, ApiError>>()?;
    permissions.sort_unstable();
    permissions.dedup();
    Ok(permissions)
}

async fn named_repo(
    store: &Store,
    account: &Account,
    orgs: &[(AccountId, OrgRole)],
    path: &str,
) -> Result<Repo, ApiError> {
    let missing = || {
        let path = clip(path);
        ApiError::bad_request(format!("There is no repository {path:?}; name it as in models/alice/tiny"))
    };
    let (kind, name) = path.split_once('/').ok_or_else(missing)?;
    let kind = RepoKind::from_segment(kind).ok_or_else(missing)?;
    let name: RepoName = name.parse().map_err(|_| missing())?;
    let repo = store.repo_by_name(kind, &name).await?;
    repo.filter(|repo| knows(account, orgs, repo)).ok_or_else(missing)
}

async fn named_org(store: &Store, orgs: &[(AccountId, OrgRole)], name: &str) -> Result<AccountId, ApiError> {
    let org = store.account_by_name(name).await?.filter(|org| org.kind == AccountKind::Org);
    let member = org.filter(|org| orgs.iter().any(|(id, _)| *id == org.id));
    let missing = || ApiError::bad_request(format!("There is no organization {:?} with this member", clip(name)));
    member.map(|org| org.id).ok_or_else(missing)
}

/// Whether an account may know of a repository, whatever its credential.
fn knows(account: &Account, orgs: &[(AccountId, OrgRole)], repo: &Repo) -> bool {
    repo.visibility != Visibility::Private
        || account.is_admin
        || repo.owner == account.id
        || orgs.iter().any(|(org, _)| *org == repo.owner)
}
