//! Who calls: from `Authorization`, or the cookie of a browser that signed in, to an account and
//! what the credential may do.
//!
//! A request without credentials is anonymous; one with a wrong token is refused, so that a
//! mistyped token is never taken for a missing repository. A cookie whose session is over counts as
//! none: the browser sends it by itself, and public pages stay readable.
//!
//! Browsers send cookies along with requests that pages of others make them do (CSRF). So a request
//! that may change something and comes with a cookie must say by `Sec-Fetch-Site` or `Origin`, which
//! no page can forge, that a page of this hub made it. `SameSite=Lax` alone does not do: where hub and
//! apps share a registrable domain, every app is the same site.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::{AUTHORIZATION, HeaderName};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use spaceport_core::access::{Credential, Viewer};
use spaceport_core::account::{Account, TokenRole};

use crate::error::ApiError;
use crate::sign_in::session::{self, Sender};
use crate::state::ApiState;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

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

/// Somebody whose credential may do everything the account may: for what concerns the account
/// itself. A token that holds something back must not make one that does not.
#[derive(Debug, Clone)]
pub struct Owner(pub User);

/// A site admin whose credential may do everything.
#[derive(Debug, Clone)]
pub struct Admin(pub User);

impl Caller {
    /// Reads the credentials of a request.
    pub(crate) async fn of(parts: &Parts, state: &ApiState) -> Result<Self, ApiError> {
        let origin = origin(parts);
        let now = state.control.clock().now();
        let (credential, account) = if let Some(header) = parts.headers.get(AUTHORIZATION) {
            let token = header.to_str().ok().and_then(token_of).ok_or_else(ApiError::invalid_credentials)?;
            let found = state.store.token_account(&token, now).await?.ok_or_else(ApiError::invalid_credentials)?;
            (Credential::Token(found.0), found.1)
        } else {
            let found = match session::secret(parts, &state.site) {
                Some(secret) => state.store.session_account(&secret, now).await?,
                None => None,
            };
            let Some((session, account)) = found else { return Ok(Self { viewer: None, origin }) };
            if !parts.method.is_safe() && session::sender(parts, &state.site) != Sender::OwnPage {
                return Err(ApiError::other_site());
            }
            (Credential::Session(session), account)
        };
        Self::known(state, credential, account, origin).await
    }

    async fn known(
        state: &ApiState,
        credential: Credential,
        account: Account,
        origin: String,
    ) -> Result<Self, ApiError> {
        let orgs = state.store.roles_of(account.id).await?;
        Ok(Self { viewer: Some(Viewer { account, credential, orgs }), origin })
    }

    /// The same caller as it is now, for streams that outlive a token or a membership; `None` once its
    /// credential is worth nothing.
    pub(crate) async fn renewed(&self, state: &ApiState) -> Result<Option<Self>, ApiError> {
        let now = state.control.clock().now();
        let Some(viewer) = &self.viewer else { return Ok(Some(self.clone())) };
        let found = match &viewer.credential {
            Credential::Token(token) => {
                let found = state.store.token_by_id(token.id, now).await?;
                found.map(|(token, account)| (Credential::Token(token), account))
            }
            Credential::Session(session) => {
                let found = state.store.session_by_id(session.id, now).await?;
                found.map(|(session, account)| (Credential::Session(session), account))
            }
        };
        match found {
            Some((credential, account)) => Self::known(state, credential, account, self.origin.clone()).await.map(Some),
            None => Ok(None),
        }
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
        match self.viewer.credential.role() {
            TokenRole::Read => Err(ApiError::read_token()),
            TokenRole::Write | TokenRole::FineGrained => Ok(Writer(self)),
        }
    }

    /// The same, if the token may read everything its account may.
    ///
    /// # Errors
    /// 403 when it may only what its scopes say.
    pub fn into_full_reader(self) -> Result<Self, ApiError> {
        match self.viewer.credential.role() {
            TokenRole::FineGrained => Err(ApiError::token_lacks("the role 'read' or 'write'")),
            TokenRole::Read | TokenRole::Write => Ok(self),
        }
    }

    /// The same, if the token may do everything its account may.
    ///
    /// # Errors
    /// 403 when it may only read, or only what its scopes say.
    pub fn into_full_writer(self) -> Result<Self, ApiError> {
        match self.viewer.credential.role() {
            TokenRole::Read => Err(ApiError::read_token()),
            TokenRole::FineGrained => Err(ApiError::token_lacks("the role 'write'")),
            TokenRole::Write => Ok(self),
        }
    }
}

/// The address a request comes from: the peer's, or what a trusted forwarder says of its own peer. The
/// proxy in front of the hub has removed what others claim and has added the peer at the end.
pub(crate) fn origin(parts: &Parts) -> String {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
    let chain = parts.headers.get(X_FORWARDED_FOR).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut hops = chain.rsplit(',').map(|hop| hop.trim().parse::<IpAddr>().ok().map(|hop| hop.to_canonical()));
    let last = hops.next().flatten();
    let behind = hops.next().flatten().filter(|_| last == peer);
    behind.or(peer).map_or_else(|| "local".to_owned(), |address| address.to_string())
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

impl FromRequestParts<ApiState> for Owner {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        Ok(Self(Caller::of(parts, state).await?.into_user()?.into_full_writer()?))
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
    use super::*;

    #[test]
    fn the_origin_is_the_peer_or_what_its_forwarder_saw() {
        for (peer, chain, origin) in [
            ("192.0.2.1", None, "192.0.2.1"),
            ("192.0.2.1", Some("192.0.2.1"), "192.0.2.1"),
            ("192.0.2.1", Some("198.51.100.7, 192.0.2.1"), "198.51.100.7"),
            ("192.0.2.1", Some("203.0.113.9, 198.51.100.7,192.0.2.1"), "198.51.100.7"),
            // Not written by the proxy in front.
            ("192.0.2.1", Some("198.51.100.7, 192.0.2.9"), "192.0.2.1"),
            ("192.0.2.1", Some("nonsense, 192.0.2.1"), "192.0.2.1"),
            ("::ffff:192.0.2.1", Some("::ffff:198.51.100.7, 192.0.2.1"), "198.51.100.7"),
        ] {
            let mut request = axum::http::Request::get("/");
            if let Some(chain) = chain {
                request = request.header(X_FORWARDED_FOR, chain);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            parts.extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
            assert_eq!(super::origin(&parts), origin, "{peer} {chain:?}");
        }
    }

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
