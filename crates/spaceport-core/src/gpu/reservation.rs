//! Devices that an admin promised somebody for a time.

use serde::{Deserialize, Serialize};

use super::QuotaPath;
use crate::{ReservationId, Timestamp};

/// "These two devices for team A, Tuesday 14–15 h."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Identity.
    pub id: ReservationId,
    /// For whom: everybody below it.
    pub place: QuotaPath,
    /// How many whole devices.
    pub devices: u32,
    /// Models that will do; empty: any. Sorted.
    pub models: Vec<String>,
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
    /// It was given up, because nobody came.
    pub released: bool,
}
