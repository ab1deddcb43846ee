//! What an owner is told about the hardware of a Space.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::QuotaPath;
use crate::account::names;
use crate::{NoticeId, SpaceId, Timestamp};

names!(
    /// What it is about.
    NoticeKind, UnknownNoticeKind, "kind of notice", {
        /// The hardware goes to somebody else soon.
        Preemption = "preemption",
        /// It may stay after all.
        Kept = "kept",
        /// The hardware is held and not used; the Space will be put to sleep.
        Idle = "idle",
        /// The Space was put to sleep.
        Asleep = "asleep",
        /// The hardware failed or went away.
        Lost = "lost",
        /// The device time of the account is nearly used up, or is.
        Budget = "budget",
    }
);

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Identity.
    pub id: NoticeId,
    /// The Space.
    pub space: SpaceId,
    /// Whose use it is.
    pub account: QuotaPath,
    /// When.
    pub at: Timestamp,
    /// What it is about.
    pub kind: NoticeKind,
    /// One or two sentences: what, why, by when.
    pub message: String,
    /// When it happens.
    pub due_at: Option<Timestamp>,
}
