//! The Space of a request, and the right to it: what a handler gets is already allowed.
//!
//! A private Space one may not see and one that does not exist are the same answer, made by the
//! same line.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use spaceport_core::RepoName;
use spaceport_core::account::{Account, TokenRole};
use spaceport_core::space::{DesiredRun, Space, Visibility};

use crate::caller::{Caller, User};
use crate::error::ApiError;
use crate::state::ApiState;

/// A Space whose app and runtime the caller may see.
#[derive(Debug)]
pub struct ReadSpace {
    /// The Space.
    pub space: Space,
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

/// What a caller may do with a Space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// See that it exists, its runtime and its app.
    pub see: bool,
    /// Read its code.
    pub code: bool,
    /// Change it, read its logs and its evidence.
    pub write: bool,
    /// The account could change it; this token may only read.
    pub read_token_only: bool,
}

impl Rights {
    /// The decision, as a function of values.
    #[must_use]
    pub fn of(space: &Space, account: Option<&Account>, role: Option<TokenRole>) -> Self {
        let member = account.is_some_and(|account| account.id == space.owner || account.is_admin);
        let write = member && role == Some(TokenRole::Write);
        Self {
            see: member || space.visibility != Visibility::Private,
            code: member || space.visibility == Visibility::Public,
            write,
            read_token_only: member && !write,
        }
    }

    /// Of a caller.
    #[must_use]
    pub fn of_caller(space: &Space, caller: &Caller) -> Self {
        let role = caller.user.as_ref().map(|(_, token)| token.role);
        Self::of(space, caller.account(), role)
    }
}

/// Finds a Space the caller may see.
///
/// # Errors
/// `RepoNotFound` when there is none, or none for this caller.
pub(crate) async fn find_space(
    state: &ApiState,
    owner: &str,
    name: &str,
    caller: Caller,
) -> Result<ReadSpace, ApiError> {
    let missing = ApiError::no_repo(caller.is_anonymous());
    let Ok(name) = RepoName::new(owner, name) else { return Err(missing) };
    let Some(space) = state.store.space_by_name(&name).await? else { return Err(missing) };
    let rights = Rights::of_caller(&space, &caller);
    if !rights.see || space.desired.run == DesiredRun::Deleting {
        return Err(missing);
    }
    Ok(ReadSpace { space, caller, rights })
}

impl ReadSpace {
    /// The same, if the caller may read the code.
    ///
    /// # Errors
    /// As if the Space were not there.
    pub(crate) fn into_code(self) -> Result<ReadCode, ApiError> {
        if self.rights.code { Ok(ReadCode(self)) } else { Err(ApiError::no_repo(self.caller.is_anonymous())) }
    }

    /// The same, if the caller may change it.
    ///
    /// # Errors
    /// 401 when anonymous, 403 with the missing right otherwise.
    pub(crate) fn into_write(self) -> Result<WriteSpace, ApiError> {
        let Self { space, caller, rights } = self;
        let user = caller.into_user()?;
        if rights.read_token_only {
            return Err(ApiError::read_token());
        }
        if !rights.write {
            let message = format!("Only {} and site admins may do this with {}", space.name.owner(), space.name);
            return Err(ApiError::forbidden(message));
        }
        Ok(WriteSpace { space, user })
    }
}

impl FromRequestParts<ApiState> for ReadSpace {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = Caller::of(parts, state).await?;
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let Ok(Path(path)) = path else { return Err(ApiError::no_repo(caller.is_anonymous())) };
        let part = |name: &str| path.get(name).map_or("", String::as_str);
        find_space(state, part("owner"), part("name"), caller).await
    }
}

impl FromRequestParts<ApiState> for ReadCode {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        ReadSpace::from_request_parts(parts, state).await?.into_code()
    }
}

impl FromRequestParts<ApiState> for WriteSpace {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        ReadSpace::from_request_parts(parts, state).await?.into_write()
    }
}
