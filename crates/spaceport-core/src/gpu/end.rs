//! Why hardware is given back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Why a lease, or a claim, ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseEnd {
    /// Its owner paused or deleted the Space, or an admin stopped it.
    Stopped,
    /// The Space has other hardware now.
    HardwareChanged,
    /// Nobody used the Space for as long as its owner allows.
    Slept,
    /// It was held and not used.
    Reclaimed,
    /// Somebody with a better right got it.
    Preempted,
    /// The account has used up what it may use in this period.
    BudgetSpent,
    /// An admin took it away.
    Revoked,
    /// The app ended and is not tried again.
    AppFailed,
    /// The device failed or went away.
    DeviceLost,
    /// The node went away.
    NodeLost,
    /// The platform could not start the app on it.
    StartFailed,
}

impl LeaseEnd {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Stopped,
        Self::HardwareChanged,
        Self::Slept,
        Self::Reclaimed,
        Self::Preempted,
        Self::BudgetSpent,
        Self::Revoked,
        Self::AppFailed,
        Self::DeviceLost,
        Self::NodeLost,
        Self::StartFailed,
    ];

    /// The name in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::HardwareChanged => "hardware_changed",
            Self::Slept => "slept",
            Self::Reclaimed => "reclaimed",
            Self::Preempted => "preempted",
            Self::BudgetSpent => "budget_spent",
            Self::Revoked => "revoked",
            Self::AppFailed => "app_failed",
            Self::DeviceLost => "device_lost",
            Self::NodeLost => "node_lost",
            Self::StartFailed => "start_failed",
        }
    }

    /// Whether the platform is at fault, so that the account is not charged for what it did not get.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::DeviceLost | Self::NodeLost | Self::StartFailed)
    }

    /// Whether the claim waits for hardware again, by itself and with its first place in time.
    #[must_use]
    pub const fn waits_again(self) -> bool {
        matches!(
            self,
            Self::Preempted | Self::BudgetSpent | Self::Revoked | Self::DeviceLost | Self::NodeLost | Self::StartFailed
        )
    }

    /// For people: why the app that runs will not for long.
    #[must_use]
    pub const fn notice(self) -> &'static str {
        match self {
            Self::Reclaimed => "Its hardware is held and not used: it will be put to sleep.",
            Self::Preempted => "Its hardware goes to somebody with a better right to it.",
            Self::BudgetSpent => "The device time of its account is used up for this period.",
            Self::Revoked => "An administrator takes its hardware away.",
            Self::DeviceLost | Self::NodeLost => "Its hardware failed.",
            Self::Stopped | Self::HardwareChanged | Self::Slept | Self::AppFailed | Self::StartFailed => {
                "Its hardware is given back."
            }
        }
    }

    /// For people: why the app does not run any more.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Stopped => "The Space was stopped.",
            Self::HardwareChanged => "The Space has other hardware now.",
            Self::Slept => "Nobody used the Space.",
            Self::Reclaimed => "Its hardware was held and not used.",
            Self::Preempted => "Its hardware went to somebody with a better right to it.",
            Self::BudgetSpent => "The device time of its account is used up for this period.",
            Self::Revoked => "An administrator took its hardware away.",
            Self::AppFailed => "The app ended and is not tried again.",
            Self::DeviceLost => "Its device failed.",
            Self::NodeLost => "The machine it ran on went away.",
            Self::StartFailed => "The platform could not start it.",
        }
    }
}

impl fmt::Display for LeaseEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown reason {0:?}")]
pub struct UnknownLeaseEnd(String);

impl FromStr for LeaseEnd {
    type Err = UnknownLeaseEnd;
    fn from_str(text: &str) -> Result<Self, UnknownLeaseEnd> {
        Self::ALL.into_iter().find(|end| end.as_str() == text).ok_or_else(|| UnknownLeaseEnd(text.to_owned()))
    }
}

/// A lease was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Why.
    pub why: LeaseEnd,
    /// Since when its owner knows.
    pub told_at: Timestamp,
    /// It is over by then at the latest.
    pub by: Timestamp,
}
