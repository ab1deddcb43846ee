//! Hardware that is kept for somebody at some time.

use serde::{Deserialize, Serialize};

use super::{NodeName, QuotaPath, Shape};
use crate::{ReservationId, Timestamp};

/// So much hardware for this account from then until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Identity.
    pub id: ReservationId,
    /// For everything that lies below.
    pub account: QuotaPath,
    /// What.
    pub shape: Shape,
    /// Only there; `None`: wherever it fits.
    pub node: Option<NodeName>,
    /// From.
    pub starts_at: Timestamp,
    /// Until.
    pub ends_at: Timestamp,
    /// It is released if nobody has come by then.
    pub no_show_at: Timestamp,
    /// Why, for people.
    pub note: String,
    /// Who made it.
    pub created_by: String,
    /// Made.
    pub created_at: Timestamp,
    /// When somebody of the account first had hardware in its time.
    pub used_at: Option<Timestamp>,
    /// Since when it is over: canceled, or released.
    pub ended_at: Option<Timestamp>,
    /// Why it is over.
    pub why: Option<String>,
}

impl Reservation {
    /// Whether it keeps hardware back at a time.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.ended_at.is_none()
            && (self.starts_at..self.ends_at).contains(&now)
            && (self.used_at.is_some() || now < self.no_show_at)
    }
}
