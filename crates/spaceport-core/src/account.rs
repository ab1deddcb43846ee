//! Accounts and what their tokens may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AccountId, RepoId, SessionId, Timestamp, TokenId};

/// A user or an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Never changes.
    pub id: AccountId,
    /// Unique without regard to case.
    pub name: String,
    /// User or organization.
    pub kind: AccountKind,
    /// For people.
    pub full_name: String,
    /// Optional.
    pub email: Option<String>,
    /// Administers the site.
    pub is_admin: bool,
    /// Created.
    pub created_at: Timestamp,
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident, $unknown:ident, $what:literal, {$($(#[$vdoc:meta])* $variant:ident = $text:literal,)+}) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name on the wire and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = $unknown;
            fn from_str(text: &str) -> Result<Self, $unknown> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
                    .ok_or_else(|| $unknown(text.chars().take(40).collect()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $unknown;
            fn try_from(text: String) -> Result<Self, $unknown> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.as_str().to_owned()
            }
        }

        /// The text names none of them.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $unknown(String);

        impl fmt::Display for $unknown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("unknown ", $what, " {:?}; allowed: "), self.0)?;
                for (index, value) in $name::ALL.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
        }

        impl std::error::Error for $unknown {}
    };
}

pub(crate) use names;

names!(
    /// What an account is; both share one namespace.
    AccountKind, UnknownAccountKind, "kind of account", {
        /// A person, or a program with tokens of its own.
        User = "user",
        /// Users with roles.
        Org = "org",
    }
);

names!(
    /// What a token may do. Hub: token roles of `whoami-v2`.
    TokenRole, UnknownRole, "token role", {
        /// See what the account sees.
        Read = "read",
        /// Also change it.
        Write = "write",
        /// What its scopes say, of what the account may do.
        FineGrained = "fineGrained",
    }
);

names!(
    /// What a member of an organization may do; a later one may all that an earlier one may.
    /// Hub: `roleInOrg`.
    OrgRole, UnknownOrgRole, "role", {
        /// Read what is private.
        Read = "read",
        /// Also make repositories and change one's own.
        Contributor = "contributor",
        /// Also change all repositories.
        Write = "write",
        /// Also manage members, and delete or move repositories.
        Admin = "admin",
    }
);

names!(
    /// What a scope of a fine-grained token allows. Hub: `fineGrained.scoped[].permissions`.
    Permission, UnknownPermission, "permission", {
        /// Read private repositories.
        ReadContent = "repo.content.read",
        /// Change repositories, which includes reading them.
        Write = "repo.write",
        /// Open discussions, comment, like.
        Discuss = "discussion.write",
        /// Manage an organization's members and settings.
        ManageOrg = "org.write",
    }
);

/// One scope of a fine-grained token: what it allows with an account's repositories, or with one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// With all repositories of this account …
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account: Option<AccountId>,
    /// … or with this one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub repo: Option<RepoId>,
    /// What.
    pub permissions: Vec<Permission>,
}

impl Scope {
    /// For an account's repositories.
    #[must_use]
    pub const fn account(account: AccountId, permissions: Vec<Permission>) -> Self {
        Self { account: Some(account), repo: None, permissions }
    }

    /// For one repository.
    #[must_use]
    pub const fn repo(repo: RepoId, permissions: Vec<Permission>) -> Self {
        Self { account: None, repo: Some(repo), permissions }
    }
}

/// What a fine-grained token allows; nothing when empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scopes {
    /// Everywhere the account may.
    #[serde(default)]
    pub global: Vec<Permission>,
    /// In parts.
    #[serde(default)]
    pub scoped: Vec<Scope>,
}

impl Scopes {
    /// Whether a permission is given for a namespace, and for one repository in it.
    #[must_use]
    pub fn allow(&self, permission: Permission, owner: AccountId, repo: Option<RepoId>) -> bool {
        let given = |permissions: &[Permission]| {
            permissions.contains(&permission)
                || (permission == Permission::ReadContent && permissions.contains(&Permission::Write))
        };
        given(&self.global)
            || self.scoped.iter().any(|scope| {
                let meant = scope.account == Some(owner) || (scope.repo.is_some() && scope.repo == repo);
                meant && given(&scope.permissions)
            })
    }
}

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
    /// What a fine-grained one may do.
    pub scopes: Scopes,
    /// Its last four characters, to tell tokens apart.
    pub hint: String,
    /// Made.
    pub created_at: Timestamp,
    /// Worth nothing from then on; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// Last used, give or take some minutes.
    pub last_used_at: Option<Timestamp>,
}

/// A browser in which somebody signed in, without the secret in its cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Identity.
    pub id: SessionId,
    /// Whose it is.
    pub account: AccountId,
    /// Signed in.
    pub created_at: Timestamp,
    /// Last used, give or take some minutes.
    pub last_used_at: Timestamp,
    /// Ends then, however much it is used.
    pub expires_at: Timestamp,
    /// The address it was made from.
    pub origin: String,
    /// What the browser calls itself.
    pub agent: String,
}

/// The names of the cookie with a session's secret: with https, and without. The first has the
/// prefix that browsers accept only without `Domain`, so that no other host, and no app, can set it
/// (RFC 6265bis §4.1.3).
pub const SESSION_COOKIES: [&str; 2] = ["__Host-spaceport", "spaceport_session"];

/// The name of the cookie with a session's secret.
#[must_use]
pub const fn session_cookie(https: bool) -> &'static str {
    SESSION_COOKIES[if https { 0 } else { 1 }]
}
