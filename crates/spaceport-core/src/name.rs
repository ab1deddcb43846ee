//! Names of accounts and repositories, and the host label of a Space.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names no account may have: path segments below the hub's root and below `/api/spaces/`, and
/// our own.
/// Hub: `hub-protocol`, names reserved below the root.
pub const RESERVED_ACCOUNTS: [&str; 27] = [
    "api",
    "spaces",
    "datasets",
    "models",
    "kernels",
    "buckets",
    "jobs",
    "settings",
    "login",
    "logout",
    "join",
    "oauth",
    "organizations",
    "collections",
    "docs",
    "uploads",
    "papers",
    "new",
    "assets",
    "admin-api",
    "healthz",
    "static",
    "hardware",
    "templates",
    "semantic-search",
    "zero-gpu",
    "by-subdomain",
];

/// Repository names below `/api/spaces/` that are routes of their own when they stand alone.
const MAX_LEN: usize = 96;
/// A DNS label holds at most this many octets (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// Why a name is refused, in words for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not `owner/name`.
    #[error("{0:?} is not of the form 'owner/name'")]
    NotTwoParts(String),
    /// A part breaks the Hub's rules.
    #[error(
        "{0:?} is not a valid name: use 1 to 96 letters, digits, '-', '_' or '.', without '--' or '..', \
         not starting or ending with '-' or '.', and not ending in '.git'"
    )]
    Part(String),
    /// An account may not have this name.
    #[error("the name {0:?} is reserved")]
    Reserved(String),
}

/// Checks one part of a repository id by the Hub's rules.
///
/// # Errors
/// When a rule is broken; the text says which rules there are.
pub fn check_part(part: &str) -> Result<(), InvalidName> {
    let chars_ok = part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    let edge = |c: Option<char>| matches!(c, Some('-' | '.') | None);
    let bad = part.is_empty()
        || part.len() > MAX_LEN
        || !chars_ok
        || part.contains("--")
        || part.contains("..")
        || edge(part.chars().next())
        || edge(part.chars().last())
        || part.to_ascii_lowercase().ends_with(".git");
    if bad { Err(InvalidName::Part(part.chars().take(120).collect())) } else { Ok(()) }
}

/// Checks the name of a user or an organization.
///
/// # Errors
/// When it breaks the rules of [`check_part`] or is reserved.
pub fn check_account(name: &str) -> Result<(), InvalidName> {
    check_part(name)?;
    if RESERVED_ACCOUNTS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(InvalidName::Reserved(name.to_owned()));
    }
    Ok(())
}

/// `owner/name`: keeps its case, compares without it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoName {
    owner: String,
    name: String,
}

impl RepoName {
    /// From its two parts.
    ///
    /// # Errors
    /// When a part breaks the Hub's rules.
    pub fn new(owner: &str, name: &str) -> Result<Self, InvalidName> {
        check_part(owner)?;
        check_part(name)?;
        Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
    }

    /// The account it belongs to.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The part after the slash.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The form that is unique: lower case.
    #[must_use]
    pub fn key(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }
}

impl PartialEq for RepoName {
    fn eq(&self, other: &Self) -> bool {
        self.owner.eq_ignore_ascii_case(&other.owner) && self.name.eq_ignore_ascii_case(&other.name)
    }
}

impl Eq for RepoName {}

impl FromStr for RepoName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.split_once('/') {
            Some((owner, name)) if !name.contains('/') => Self::new(owner, name),
            _ => Err(InvalidName::NotTwoParts(text.chars().take(200).collect())),
        }
    }
}

impl TryFrom<String> for RepoName {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<RepoName> for String {
    fn from(name: RepoName) -> String {
        name.to_string()
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl fmt::Debug for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepoName({self})")
    }
}

/// The host label of a Space: stored once, never recomputed, unique on the site.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subdomain(String);

impl Subdomain {
    /// The label of `name`; `attempt` 0 is the plain one, later attempts carry a suffix, for
    /// `a-b/c` and `a/b-c` want the same label.
    /// Hub: `{owner}-{name}`, lower case, everything outside `a-z0-9` becomes `-`.
    #[must_use]
    pub fn of(name: &RepoName, attempt: u32) -> Self {
        let plain: String = format!("{}-{}", name.owner, name.name)
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let label = plain.trim_matches('-');
        if attempt == 0 && label.len() <= MAX_LABEL {
            return Self(label.to_owned());
        }
        let suffix = format!("-{:08x}", fnv1a(format!("{}#{attempt}", name.key()).as_bytes()));
        let kept = label.len().min(MAX_LABEL - suffix.len());
        Self(format!("{}{suffix}", label[..kept].trim_end_matches('-')))
    }

    /// The label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes a stored label back.
    #[must_use]
    pub fn from_stored(label: String) -> Self {
        Self(label)
    }
}

impl fmt::Display for Subdomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 32-bit FNV-1a: short, stable over releases, and not security relevant here.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_hub() {
        for good in ["alice/demo", "_ci/x", "a/b.c", "A-b/C_d"] {
            assert!(good.parse::<RepoName>().is_ok(), "{good}");
        }
        for bad in [
            "alice", "a/b/c", "/b", "a/", "a/b--c", "a/b..c", "a/-b", "a/b.", "a/b.git", "a/B.GIT", "a/b c", "a/é",
            "../x", "a/..",
        ] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad}");
        }
        assert!(format!("a/{}", "x".repeat(97)).parse::<RepoName>().is_err());
        assert!(check_account("API").is_err());
    }

    #[test]
    fn names_compare_without_case() {
        assert_eq!("Alice/Demo".parse::<RepoName>(), "alice/demo".parse::<RepoName>());
    }

    #[test]
    fn subdomains_are_dns_labels() {
        let of = |text: &str, attempt| Subdomain::of(&text.parse().unwrap(), attempt).to_string();
        assert_eq!(of("microsoft/TRELLIS.2", 0), "microsoft-trellis-2");
        assert_eq!(of("user/tmp_test", 0), "user-tmp-test");
        assert_eq!(of("__X/y_", 0), "x-y");
        assert_eq!(of("a-b/c", 0), of("a/b-c", 0));
        assert_ne!(of("a-b/c", 1), of("a/b-c", 1));
        let long = of(&format!("a/{}", "x".repeat(90)), 0);
        assert!(long.len() <= 63 && !long.ends_with('-'), "{long}");
    }
}
