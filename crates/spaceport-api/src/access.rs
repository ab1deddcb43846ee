//! The repository of a request, and the right to it: what a handler gets is already allowed.
//!
//! A private repository one may not see and one that does not exist are the same answer, made by
//! the same line. The decision itself is `spaceport_core::access`.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, Path};
use axum::http::Uri;
use axum::http::request::Parts;

use spaceport_core::access::{Rights, Subject};
use spaceport_core::account::TokenRole;
use spaceport_core::space::{DesiredRun, Space};
use spaceport_core::{Repo, RepoKind, RepoName};

use crate::caller::{Caller, User};
use crate::error::ApiError;
use crate::git::git_kind;
use crate::state::ApiState;

/// A repository the caller may see; of a Space that is not public perhaps its app only.
#[derive(Debug)]
pub struct ReadRepo {
    /// The repository.
    pub repo: Repo,
    /// Who asks.
    pub caller: Caller,
    /// What the caller may do with it.
    pub rights: Rights,
}

/// A repository whose files the caller may see.
#[derive(Debug)]
pub struct ReadFiles(pub ReadRepo);

/// A repository the caller may change.
#[derive(Debug)]
pub struct WriteRepo {
    /// The repository.
    pub repo: Repo,
    /// Who changes it.
    pub user: User,
    /// What the caller may do with it.
    pub rights: Rights,
}

/// A repository in which the caller may speak.
#[derive(Debug)]
pub struct DiscussRepo {
    /// The repository.
    pub repo: Repo,
    /// Who speaks.
    pub user: User,
    /// What the caller may do with it.
    pub rights: Rights,
}

/// A Space whose app and runtime the caller may see.
#[derive(Debug)]
pub struct ReadSpace {
    /// The Space.
    pub space: Space,
    /// The same as a repository.
    pub repo: Repo,
    /// Who asks.
    pub caller: Caller,
    /// What the caller may do with it.
    pub rights: Rights,
}

/// A Space whose code the caller may see.
#[derive(Debug)]
pub struct ReadCode(pub ReadSpace);

/// A Space the caller may change.
#[derive(Debug)]
pub struct WriteSpace {
    /// The Space.
    pub space: Space,
    /// Who changes it.
    pub user: User,
}

/// What a caller may do with a repository.
#[must_use]
pub(crate) fn rights(repo: &Repo, caller: &Caller) -> Rights {
    let subject = Subject { repo: repo.id, owner: repo.owner, creator: repo.creator, visibility: repo.visibility };
    Rights::of(subject, caller.viewer.as_ref())
}

/// Finds the repository that a path names, if the caller may see it.
///
/// # Errors
/// `RepoNotFound` when there is none, or none for this caller; a redirect within the address that was asked when it
/// moved. What changes something, or sends a body, is served at once: a client that sends a large body sees a
/// connection that ends and no redirect.
pub(crate) async fn find_repo(
    state: &ApiState,
    kind: RepoKind,
    owner: &str,
    name: &str,
    caller: Caller,
    asked: &Parts,
) -> Result<ReadRepo, ApiError> {
    let missing = || ApiError::no_repo(caller.is_anonymous());
    let Ok(wanted) = RepoName::new(owner, name) else { return Err(missing()) };
    match state.store.repo_by_name(kind, &wanted).await? {
        Some(repo) => seen(repo, caller),
        None => match state.store.repo_moved_from(kind, &wanted).await? {
            Some(repo) if asked.method.is_safe() => {
                let ReadRepo { repo, .. } = seen(repo, caller)?;
                Err(ApiError::moved(renamed(&asked.uri, &repo.name)))
            }
            Some(repo) => seen(repo, caller),
            None => Err(missing()),
        },
    }
}

/// Finds the repository that a body names, if the caller may see it: the one that has the name now. Nobody deletes
/// or moves a repository by a name it had.
///
/// # Errors
/// `RepoNotFound` when there is none, or none for this caller.
pub(crate) async fn find_named(
    state: &ApiState,
    kind: RepoKind,
    owner: &str,
    name: &str,
    caller: Caller,
) -> Result<ReadRepo, ApiError> {
    let missing = ApiError::no_repo(caller.is_anonymous());
    let Ok(wanted) = RepoName::new(owner, name) else { return Err(missing) };
    let repo = state.store.repo_by_name(kind, &wanted).await?;
    repo.map_or(Err(missing), |repo| seen(repo, caller))
}

/// Finds the repository that a body names to use something of it, if the caller may see it; one that moved by its
/// old name, too.
///
/// # Errors
/// `RepoNotFound` when there is none, or none for this caller.
pub(crate) async fn find_used(
    state: &ApiState,
    kind: RepoKind,
    owner: &str,
    name: &str,
    caller: Caller,
) -> Result<ReadRepo, ApiError> {
    let missing = ApiError::no_repo(caller.is_anonymous());
    let Ok(wanted) = RepoName::new(owner, name) else { return Err(missing) };
    let repo = match state.store.repo_by_name(kind, &wanted).await? {
        Some(repo) => Some(repo),
        None => state.store.repo_moved_from(kind, &wanted).await?,
    };
    repo.map_or(Err(missing), |repo| seen(repo, caller))
}

fn seen(repo: Repo, caller: Caller) -> Result<ReadRepo, ApiError> {
    let rights = rights(&repo, &caller);
    if rights.see { Ok(ReadRepo { repo, caller, rights }) } else { Err(ApiError::no_repo(caller.is_anonymous())) }
}

/// The same path and query with another repository in it, however the path spells the old one.
fn renamed(asked: &Uri, to: &RepoName) -> String {
    let mut segments: Vec<&str> = asked.path().split('/').collect();
    let before = match segments.get(1) {
        Some(&"api") => 3,
        _ if git_kind(asked.path()).prefix().is_empty() => 1,
        _ => 2,
    };
    let name = match segments.get(before + 1) {
        Some(name) if name.ends_with(".git") => format!("{}.git", to.name()),
        _ => to.name().to_owned(),
    };
    for (place, part) in [(before, to.owner()), (before + 1, &name)] {
        if let Some(segment) = segments.get_mut(place) {
            *segment = part;
        }
    }
    let path = segments.join("/");
    asked.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"))
}

impl ReadRepo {
    /// The same, if the caller may read the files.
    ///
    /// # Errors
    /// As if the repository were not there.
    pub(crate) fn into_files(self) -> Result<ReadFiles, ApiError> {
        if self.rights.code { Ok(ReadFiles(self)) } else { Err(ApiError::no_repo(self.caller.is_anonymous())) }
    }

    /// The same, if the caller may open discussions, comment and like.
    ///
    /// # Errors
    /// As if it were not there when its files cannot be read; 401 when anonymous, 403 when the token lacks
    /// the right.
    pub(crate) fn into_discuss(self) -> Result<DiscussRepo, ApiError> {
        let ReadFiles(Self { repo, caller, rights }) = self.into_files()?;
        let user = caller.into_user()?;
        if rights.discuss {
            return Ok(DiscussRepo { repo, user, rights });
        }
        Err(match user.viewer.credential.role() {
            TokenRole::FineGrained => {
                ApiError::token_lacks(&format!("the permission 'discussion.write' for {}", repo.name))
            }
            TokenRole::Read | TokenRole::Write => ApiError::read_token(),
        })
    }

    /// The same, if the caller may change it.
    ///
    /// # Errors
    /// 401 when anonymous, 403 with the missing right otherwise.
    pub(crate) fn into_write(self) -> Result<WriteRepo, ApiError> {
        let Self { repo, caller, rights } = self;
        let user = caller.into_user()?;
        if rights.write {
            return Ok(WriteRepo { repo, user, rights });
        }
        Err(refusal(&repo, &user, rights, "change"))
    }

    /// The same, if the caller may delete it, move it and change who may see it.
    ///
    /// # Errors
    /// 401 when anonymous, 403 with the missing right otherwise.
    pub(crate) fn into_own(self) -> Result<WriteRepo, ApiError> {
        let to = self.into_write()?;
        if to.rights.own { Ok(to) } else { Err(refusal(&to.repo, &to.user, to.rights, "administer")) }
    }
}

fn refusal(repo: &Repo, user: &User, rights: Rights, what: &str) -> ApiError {
    if !rights.token_lacks_write {
        let (owner, name) = (repo.name.owner(), &repo.name);
        return ApiError::forbidden(format!(
            "Your account {} has no right to {what} {name}; ask {owner}",
            user.account().name
        ));
    }
    match user.viewer.credential.role() {
        TokenRole::FineGrained => ApiError::token_lacks(&format!("the permission 'repo.write' for {}", repo.name)),
        TokenRole::Read | TokenRole::Write => ApiError::read_token(),
    }
}

async fn space_of(state: &ApiState, read: ReadRepo) -> Result<ReadSpace, ApiError> {
    let ReadRepo { repo, caller, rights } = read;
    let space = state.store.space_by_id(repo.id.into()).await?;
    let space = space.filter(|space| space.desired.run != DesiredRun::Deleting);
    let space = space.ok_or_else(|| ApiError::no_repo(caller.is_anonymous()))?;
    Ok(ReadSpace { space, repo, caller, rights })
}

/// Finds a Space the caller may see.
///
/// # Errors
/// As [`find_repo`].
pub(crate) async fn find_space(state: &ApiState, name: &RepoName, caller: Caller) -> Result<ReadSpace, ApiError> {
    let read = find_named(state, RepoKind::Space, name.owner(), name.name(), caller).await?;
    space_of(state, read).await
}

impl ReadSpace {
    /// The same, if the caller may change it.
    ///
    /// # Errors
    /// 401 when anonymous, 403 with the missing right otherwise.
    pub(crate) fn into_write(self) -> Result<WriteSpace, ApiError> {
        let Self { space, repo, caller, rights } = self;
        let to = ReadRepo { repo, caller, rights }.into_write()?;
        Ok(WriteSpace { space, user: to.user })
    }
}

impl FromRequestParts<ApiState> for ReadRepo {
    type Rejection = ApiError;

    /// The path has `owner` and `name`, and `kind` unless it is a Space's.
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = Caller::of(parts, state).await?;
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let Ok(Path(path)) = path else { return Err(ApiError::no_repo(caller.is_anonymous())) };
        let part = |name: &str| path.get(name).map_or("", String::as_str);
        let kind = match path.get("kind") {
            Some(segment) => {
                RepoKind::from_segment(segment).ok_or_else(|| ApiError::not_found("There is nothing at this path"))?
            }
            None => RepoKind::Space,
        };
        find_repo(state, kind, part("owner"), part("name"), caller, parts).await
    }
}

impl FromRequestParts<ApiState> for ReadFiles {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        ReadRepo::from_request_parts(parts, state).await?.into_files()
    }
}

impl FromRequestParts<ApiState> for DiscussRepo {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        ReadRepo::from_request_parts(parts, state).await?.into_discuss()
    }
}

impl FromRequestParts<ApiState> for WriteRepo {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        ReadRepo::from_request_parts(parts, state).await?.into_write()
    }
}

impl FromRequestParts<ApiState> for ReadSpace {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        space_of(state, ReadRepo::from_request_parts(parts, state).await?).await
    }
}

impl FromRequestParts<ApiState> for ReadCode {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let ReadFiles(read) = ReadFiles::from_request_parts(parts, state).await?;
        Ok(Self(space_of(state, read).await?))
    }
}

impl FromRequestParts<ApiState> for WriteSpace {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        ReadSpace::from_request_parts(parts, state).await?.into_write()
    }
}

#[cfg(test)]
mod tests {
    use super::renamed;

    #[test]
    fn a_redirect_keeps_the_rest_of_the_path() {
        let to = "bob/new".parse().unwrap();
        let of = |asked: &str| renamed(&asked.parse().unwrap(), &to);
        assert_eq!(
            of("/api/models/alice/old/tree/main?recursive=true"),
            "/api/models/bob/new/tree/main?recursive=true"
        );
        assert_eq!(of("/datasets/alice/old.git/info/refs?service=x"), "/datasets/bob/new.git/info/refs?service=x");
        assert_eq!(of("/alice/old/resolve/main/a%20b"), "/bob/new/resolve/main/a%20b");
        assert_eq!(of("/api/models/alice/o%6Cd"), "/api/models/bob/new");
        assert_eq!(of("/spaces/%61lice/old/agents.md"), "/spaces/bob/new/agents.md");
        assert_eq!(
            of("/api/datasets/alice/old/resolve/main/alice/old"),
            "/api/datasets/bob/new/resolve/main/alice/old"
        );
    }
}
