//! Tickets: how a browser, which cannot send a token, gets to see a private Space.
//!
//! The hub gives somebody who may see a Space a ticket for it, to be put into an address
//! (`?__sign=`). The proxy takes it and gives the browser another one, for its host, in a cookie.
//! Neither grants anything by itself: it says who comes, and whether that account may see the
//! Space is looked up for each request.
//!
//! A ticket is a JWT (RFC 7519) with HS256, since clients take it for one. There is one header and
//! one algorithm; what has another header is no ticket, so there is nothing to confuse. The HMAC is
//! RustCrypto's, which was in the tree already; `jsonwebtoken` would bring some thirty more
//! packages, for algorithms nobody may choose here.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{AccountId, SpaceId, Timestamp};

/// How long a ticket in an address is good. Programs that run in a page have no cookie and send it
/// with every request, so it must last as long as somebody plays with an app.
pub const LINK_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How long the ticket in a cookie is good.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// No ticket of ours is longer.
const MAX_BYTES: usize = 1024;

/// What tickets are signed with. Whoever has it can be anyone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TicketKey([u8; 32]);

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey(…)")
    }
}

/// What a ticket is good for, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience<'a> {
    /// Entering a Space: in an address.
    Space(SpaceId),
    /// Coming back to a host, in lower case and without port: in a cookie.
    Host(&'a str),
}

impl fmt::Display for Audience<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Space(space) => write!(f, "space:{space}"),
            Self::Host(host) => write!(f, "host:{host}"),
        }
    }
}

/// RFC 7519 §4.1; times are in seconds.
#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    sub: AccountId,
    iat: i64,
    exp: i64,
}

impl TicketKey {
    /// From random bytes.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// A ticket for an account, good from now for `lifetime`.
    ///
    /// # Panics
    /// Never: plain values are JSON.
    #[must_use]
    pub fn seal(&self, audience: Audience<'_>, account: AccountId, now: Timestamp, lifetime: Duration) -> String {
        let iat = now.as_millis().div_euclid(1000);
        let exp = iat.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
        let claims = Claims { aud: audience.to_string(), sub: account, iat, exp };
        let claims = serde_json::to_vec(&claims).expect("claims are JSON");
        let mut ticket = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = self.mac(&ticket).finalize().into_bytes();
        ticket.push('.');
        ticket.push_str(&URL_SAFE_NO_PAD.encode(signature));
        ticket
    }

    /// Whose ticket it is, if it is one of ours, for this audience, and still good.
    #[must_use]
    pub fn open(&self, ticket: &str, audience: Audience<'_>, now: Timestamp) -> Option<AccountId> {
        if ticket.len() > MAX_BYTES {
            return None;
        }
        let (signed, signature) = ticket.rsplit_once('.')?;
        let claims = signed.strip_prefix(HEADER)?.strip_prefix('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // In constant time.
        self.mac(signed).verify_slice(&signature).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let good = claims.aud == audience.to_string() && now.as_millis().div_euclid(1000) < claims.exp;
        good.then_some(claims.sub)
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        Hmac::new_from_slice(&self.0).expect("a key of any length is one").chain_update(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TicketKey = TicketKey::new([7; 32]);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn sealed(audience: Audience<'_>) -> (AccountId, String) {
        let account = AccountId::new(at(0), 3);
        (account, KEY.seal(audience, account, at(100), Duration::from_secs(60)))
    }

    #[test]
    fn a_ticket_is_good_for_what_it_says_and_as_long() {
        let space = SpaceId::new(at(0), 1);
        let (account, ticket) = sealed(Audience::Space(space));
        let open = |audience, seconds| KEY.open(&ticket, audience, at(seconds));
        assert_eq!(open(Audience::Space(space), 100), Some(account));
        assert_eq!(open(Audience::Space(space), 159), Some(account));
        assert_eq!(open(Audience::Space(space), 160), None);
        assert_eq!(open(Audience::Space(SpaceId::new(at(0), 2)), 100), None);
        assert_eq!(open(Audience::Host(&format!("space:{space}")), 100), None);
        assert_eq!(TicketKey::new([8; 32]).open(&ticket, Audience::Space(space), at(100)), None);
        assert_eq!(format!("{KEY:?}"), "TicketKey(…)");
    }

    #[test]
    fn what_was_changed_is_no_ticket() {
        let audience = Audience::Host("alice-demo.localhost");
        let (_, ticket) = sealed(audience);
        for index in 0..ticket.len() {
            let mut changed = ticket.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last digit of a signature has bits that say nothing; those must be zero.
            assert_eq!(KEY.open(&changed, audience, at(100)), None, "{index}");
        }
        let unsigned = ticket.replacen(HEADER, "eyJhbGciOiJub25lIn0", 1);
        let parts: Vec<_> = ticket.split('.').collect();
        for other in [
            unsigned,
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{ticket}."),
            format!("{ticket}="),
            String::new(),
            "..".to_owned(),
            "x".repeat(2000),
        ] {
            assert_eq!(KEY.open(&other, audience, at(100)), None, "{other}");
        }
    }

    #[test]
    fn the_header_is_that_of_a_jwt() {
        let header = URL_SAFE_NO_PAD.decode(HEADER).unwrap();
        assert_eq!(header, br#"{"alg":"HS256","typ":"JWT"}"#);
    }
}
