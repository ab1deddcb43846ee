//! Identifiers: one type per entity, so that they cannot be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::Timestamp;

/// A text is not an identifier of the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {what}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
}

macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Ulid);

        impl $name {
            /// Makes an identifier from a time and 80 random bits.
            #[must_use]
            pub fn new(at: Timestamp, random: u128) -> Self {
                Self(Ulid::from_parts(u64::try_from(at.as_millis()).unwrap_or(0), random))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Lower case, since identifiers appear in container names and host names.
                f.write_str(&self.0.to_string().to_ascii_lowercase())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Ulid::from_string(text)
                    .map(Self)
                    .map_err(|_| InvalidId { what: stringify!($name), text: text.to_owned() })
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

ulid_id!(
    /// A user or an organization.
    AccountId
);
ulid_id!(
    /// An access token.
    TokenId
);
ulid_id!(
    /// A browser in which somebody signed in.
    SessionId
);
ulid_id!(
    /// A repository: a model, a data set or a Space.
    RepoId
);
ulid_id!(
    /// A Space; the same value as its repository's id.
    SpaceId
);

impl From<SpaceId> for RepoId {
    fn from(space: SpaceId) -> Self {
        Self(space.0)
    }
}

impl From<RepoId> for SpaceId {
    /// Meant for repositories known to be Spaces.
    fn from(repo: RepoId) -> Self {
        Self(repo.0)
    }
}
ulid_id!(
    /// Somebody wants hardware.
    ClaimId
);
ulid_id!(
    /// Somebody has it.
    LeaseId
);
ulid_id!(
    /// A row of the ledger.
    EntryId
);

impl From<LeaseId> for EntryId {
    /// For the row of a lease that goes on, which has none yet.
    fn from(lease: LeaseId) -> Self {
        Self(lease.0)
    }
}
ulid_id!(
    /// Devices that an admin promised somebody for a time.
    ReservationId
);
ulid_id!(
    /// Something an owner was told.
    NoticeId
);
ulid_id!(
    /// One build of one revision.
    BuildId
);
ulid_id!(
    /// An immutable release: image, settings and hardware.
    ReleaseId
);
ulid_id!(
    /// One attempt to run a release: at most one container.
    InstanceId
);

ulid_id!(
    /// A discussion or a pull request.
    DiscussionId
);
ulid_id!(
    /// Something that happened in a discussion; a comment for one.
    DiscussionEventId
);
ulid_id!(
    /// A webhook.
    WebhookId
);
ulid_id!(
    /// Something that webhooks are told of.
    HookEventId
);
ulid_id!(
    /// One event on its way to one webhook.
    DeliveryId
);

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidId { what: $what, text: text.chars().take(80).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

checked_text!(
    /// A git commit id: 40 lower-case hexadecimal digits (SHA-1 object format).
    CommitSha,
    "commit id",
    |text| text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
);

checked_text!(
    /// An image by content: `sha256:` and 64 hexadecimal digits, never a moving tag.
    /// Docker API: the `Id` of an image.
    ImageDigest,
    "image digest",
    |text| text
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
);

/// Counts the changes of a desired state. An update is a compare-and-set on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Generation(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_text_and_keep_time_order() {
        let early = SpaceId::new(Timestamp::from_millis(1_000), 7);
        let late = SpaceId::new(Timestamp::from_millis(2_000), 3);
        assert_eq!(early.to_string().parse::<SpaceId>(), Ok(early));
        assert!(early.to_string() < late.to_string());
        assert!("../etc".parse::<SpaceId>().is_err());
    }

    #[test]
    fn commit_ids_are_full_lower_case_hex() {
        assert!("0123456789abcdef0123456789abcdef01234567".parse::<CommitSha>().is_ok());
        assert!("0123456789ABCDEF0123456789abcdef01234567".parse::<CommitSha>().is_err());
        assert!("main".parse::<CommitSha>().is_err());
    }
}
