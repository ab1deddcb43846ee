//! Who calls: from `Authorization` to an account and what its token may do.
//!
//! A request without credentials is anonymous; one with wrong credentials is refused, so that a
//! mistyped token is never taken for a missing repository.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use spaceport_core::access::Viewer;
use spaceport_core::account::{Account, TokenRole};

use crate::error::ApiError;
use crate::state::ApiState;

/// Anyone.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is; `None` is anonymous.
    pub viewer: Option<Viewer>,
    /// The peer's address, for the audit.
    pub origin: String,
}

/// Somebody who was recognised.
#[derive(Debug, Clone)]
pub struct User {
    /// Who it is.
    pub viewer: Viewer,
    /// The peer's address, for the audit.
    pub origin: String,
}

/// Somebody whose token may write in general: what it may write is decided where it is known.
#[derive(Debug, Clone)]
pub struct Writer(pub User);

/// A site admin whose token may write.
#[derive(Debug, Clone)]
pub struct Admin(pub User);

impl Caller {
    /// Reads the credentials of a request.
    pub(crate) async fn of(parts: &Parts, state: &ApiState) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let origin = peer.map_or_else(|| "local".to_owned(), |peer| peer.0.ip().to_string());
        let Some(header) = parts.headers.get(AUTHORIZATION) else { return Ok(Self { viewer: None, origin }) };
        let token = header.to_str().ok().and_then(token_of).ok_or_else(ApiError::invalid_credentials)?;
        let (token, account) = state.store.token_account(&token).await?.ok_or_else(ApiError::invalid_credentials)?;
        let orgs = state.store.roles_of(account.id).await?;
        Ok(Self { viewer: Some(Viewer { account, token, orgs }), origin })
    }

    /// The same as they are now; `None` when the token is no longer valid.
    pub(crate) async fn renewed(&self, state: &ApiState) -> Result<Option<Self>, ApiError> {
        let Some(Viewer { account, token, .. }) = &self.viewer else { return Ok(Some(self.clone())) };
        let tokens = state.store.tokens_of(account.id).await?;
        let Some(token) = tokens.into_iter().find(|other| other.id == token.id) else { return Ok(None) };
        let Some(account) = state.store.account_by_id(account.id).await? else { return Ok(None) };
        let orgs = state.store.roles_of(account.id).await?;
        Ok(Some(Self { viewer: Some(Viewer { account, token, orgs }), origin: self.origin.clone() }))
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.viewer.as_ref().map(|viewer| &viewer.account)
    }

    /// Whether nobody said who they are.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.viewer.is_none()
    }

    /// Somebody, or a 401.
    ///
    /// # Errors
    /// When the caller is anonymous.
    pub fn into_user(self) -> Result<User, ApiError> {
        let Self { viewer, origin } = self;
        Ok(User { viewer: viewer.ok_or_else(ApiError::sign_in)?, origin })
    }
}

impl From<User> for Caller {
    fn from(user: User) -> Self {
        Self { viewer: Some(user.viewer), origin: user.origin }
    }
}

impl User {
    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.viewer.account
    }

    /// The same, if the token may write anything at all.
    ///
    /// # Errors
    /// 403 when it may only read.
    pub fn into_writer(self) -> Result<Writer, ApiError> {
        match self.viewer.token.role {
            TokenRole::Read => Err(ApiError::read_token()),
            TokenRole::Write | TokenRole::FineGrained => Ok(Writer(self)),
        }
    }

    /// The same, if the token may do everything its account may.
    ///
    /// # Errors
    /// 403 when it may only read, or only what its scopes say.
    pub fn into_full_writer(self) -> Result<Self, ApiError> {
        match self.viewer.token.role {
            TokenRole::Read => Err(ApiError::read_token()),
            TokenRole::FineGrained => Err(ApiError::token_lacks("the role 'write'")),
            TokenRole::Write => Ok(self),
        }
    }
}

/// `Bearer TOKEN`, or `Basic` with the token as password, as git sends it.
fn token_of(header: &str) -> Option<String> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    // The user part is any text: the credential helper sends `hf_user`, people their name.
    let (_, password) = pair.split_once(':')?;
    Some(password.to_owned())
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        Self::of(parts, state).await
    }
}

impl FromRequestParts<ApiState> for User {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        Caller::of(parts, state).await?.into_user()
    }
}

impl FromRequestParts<ApiState> for Writer {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        Caller::of(parts, state).await?.into_user()?.into_writer()
    }
}

impl FromRequestParts<ApiState> for Admin {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let user = Caller::of(parts, state).await?.into_user()?;
        if !user.account().is_admin {
            return Err(ApiError::forbidden("Only site admins may do this"));
        }
        Ok(Self(user.into_full_writer()?))
    }
}

#[cfg(test)]
mod tests {
    use super::token_of;

    #[test]
    fn reads_bearer_and_basic_and_nothing_else() {
        for (header, token) in [
            ("Bearer hf_x", Some("hf_x")),
            ("bearer  hf_x ", Some("hf_x")),
            // alice:hf_x
            ("Basic YWxpY2U6aGZfeA==", Some("hf_x")),
            ("Basic !!!", None),
            // no colon
            ("Basic YWxpY2U=", None),
            ("Digest a", None),
            ("hf_x", None),
            ("", None),
        ] {
            assert_eq!(token_of(header).as_deref(), token, "{header}");
        }
    }
}
