//! What can go wrong, and whose fault it was.

use std::io;

use crate::{Sha256, XetHash};

/// An operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The bytes received are not those that were announced.
    #[error("the content's SHA-256 is {actual}, not {expected}; upload it again")]
    WrongContent {
        /// What the client announced.
        expected: Sha256,
        /// What arrived.
        actual: Sha256,
    },
    /// The number of bytes received is not the one announced.
    #[error("{actual} bytes arrived instead of {expected}; upload it again")]
    WrongSize {
        /// What the client announced.
        expected: u64,
        /// What arrived.
        actual: u64,
    },
    /// More than the site accepts.
    #[error("at most {limit} bytes are accepted")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// What was sent is malformed; the text is for the client.
    #[error("{0}")]
    Invalid(String),
    /// A shard refers to a xorb that its sender has not uploaded here.
    #[error(
        "xorb {0} was not uploaded by this account, or is no longer kept; remove the client's cache \
         (by default ~/.cache/huggingface/xet) and upload again"
    )]
    UnknownXorb(XetHash),
    /// A multipart upload was completed before all its parts arrived.
    #[error("part {0} of the upload is missing; send it, then complete the upload again")]
    MissingPart(u32),
    /// Parts of a multipart upload are arriving while it is completed, or it is being completed.
    #[error("parts of this upload are still arriving; complete it when they are through")]
    Busy,
    /// The disk has no room.
    #[error("the server's disk is full; ask its administrator to make room")]
    Full,
    /// The client went away, or its stream broke. Nothing of it is kept.
    #[error("the upload broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored cannot be read: the disk lost or changed it.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// The operating system refused something.
    #[error("cannot {operation}")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ObjectError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full | Self::Busy | Self::Body(_) | Self::Io { .. })
    }

    /// Names what was attempted; a full disk is told apart from every other refusal.
    pub(crate) fn io(operation: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io { operation, source },
        }
    }
}

/// Bytes that are not a valid chunk, xorb or shard, in words for whoever made them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FormatError(pub String);

impl FormatError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// It came from a client.
    pub(crate) fn sent(self) -> ObjectError {
        ObjectError::Invalid(self.0)
    }

    /// It was read from the store.
    pub(crate) fn stored(self) -> ObjectError {
        ObjectError::Damaged(self.0)
    }
}
