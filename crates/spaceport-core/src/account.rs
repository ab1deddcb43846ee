//! Accounts and what their tokens may do.

use std::fmt;
use std::str::FromStr;

use crate::{AccountId, Timestamp, TokenId};

/// A user (organizations share the namespace).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Never changes.
    pub id: AccountId,
    /// Unique without regard to case.
    pub name: String,
    /// For people.
    pub full_name: String,
    /// Optional.
    pub email: Option<String>,
    /// Administers the site.
    pub is_admin: bool,
    /// Created.
    pub created_at: Timestamp,
}

/// What a token may do. Hub: token roles of `whoami-v2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenRole {
    /// See what the account sees.
    Read,
    /// Also change it.
    Write,
}

impl TokenRole {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl fmt::Display for TokenRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TokenRole {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            _ => Err(UnknownRole(text.to_owned())),
        }
    }
}

/// The text names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown token role {0:?}; allowed: read, write")]
pub struct UnknownRole(String);

/// A token, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Identity.
    pub id: TokenId,
    /// Whose it is.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    pub role: TokenRole,
    /// Its last four characters, to tell tokens apart.
    pub hint: String,
    /// Made.
    pub created_at: Timestamp,
}
