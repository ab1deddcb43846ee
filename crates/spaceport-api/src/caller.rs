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

use spaceport_core::account::{Account, Token, TokenRole};

use crate::error::ApiError;
use crate::state::ApiState;

/// Anyone.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account and the token it came with; `None` is anonymous.
    pub user: Option<(Account, Token)>,
    /// The peer's address, for the audit.
    pub origin: String,
}

/// Somebody with a valid token.
#[derive(Debug, Clone)]
pub struct User {
    /// The account.
    pub account: Account,
    /// The token it came with.
    pub token: Token,
    /// The peer's address, for the audit.
    pub origin: String,
}

/// Somebody whose token may write.
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
        let Some(header) = parts.headers.get(AUTHORIZATION) else { return Ok(Self { user: None, origin }) };
        let token = header.to_str().ok().and_then(token_of).ok_or_else(ApiError::invalid_credentials)?;
        let (token, account) = state.store.token_account(&token).await?.ok_or_else(ApiError::invalid_credentials)?;
        Ok(Self { user: Some((account, token)), origin })
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.user.as_ref().map(|(account, _)| account)
    }

    /// Whether nobody said who they are.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.user.is_none()
    }

    /// Somebody, or a 401.
    ///
    /// # Errors
    /// When the caller is anonymous.
    pub fn into_user(self) -> Result<User, ApiError> {
        let Self { user, origin } = self;
        let (account, token) = user.ok_or_else(ApiError::sign_in)?;
        Ok(User { account, token, origin })
    }
}

impl User {
    /// The same, if the token may write.
    ///
    /// # Errors
    /// 403 when it may only read.
    pub fn into_writer(self) -> Result<Writer, ApiError> {
        match self.token.role {
            TokenRole::Read => Err(ApiError::read_token()),
            TokenRole::Write => Ok(Writer(self)),
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
        if !user.account.is_admin {
            return Err(ApiError::forbidden("Only site admins may do this"));
        }
        Ok(Self(user.into_writer()?.0))
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
