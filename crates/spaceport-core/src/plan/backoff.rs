//! How long a crashed app waits for its next attempt.

use std::time::Duration;

use crate::space::Instance;
use crate::{Reason, Timestamp};

/// An app that ran so long before it crashed starts its count anew.
const STABLE: Duration = Duration::from_secs(10 * 60);
/// The first wait of an app that crashed again.
const FIRST: Duration = Duration::from_secs(5);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// Quick crashes after which only a person helps.
const MAX_CRASHES: u32 = 8;
/// As [`MAX_CRASHES`], for an app that never answered.
const MAX_FAILED_STARTS: u32 = 4;

/// What follows the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt, now or later.
    At(Timestamp),
    /// None: it would end the same way.
    Never,
}

/// Decides from the attempts of one release that ended by themselves, newest first.
pub(super) fn next(ended: &[&Instance]) -> Option<Next> {
    let last = ended.first()?;
    let ended_at = last.ended_at?;
    let reason = last.diagnosis.as_ref().map(|diagnosis| diagnosis.reason);
    if reason == Some(Reason::DiskLimit) {
        // It would write the same again.
        return Some(Next::Never);
    }
    if last.ready_at.is_none() && reason.is_some_and(is_permanent) {
        return Some(Next::Never);
    }
    let quick =
        |instance: &&&Instance| instance.ready_at.is_none_or(|ready| ended_at_of(instance).since(ready) < STABLE);
    let crashes = u32::try_from(ended.iter().take_while(quick).count()).unwrap_or(u32::MAX);
    let most = match reason {
        // Not the app's fault: however long the platform is out of order, the app starts afterwards.
        Some(Reason::EngineUnavailable | Reason::DeviceUnavailable | Reason::Internal) => u32::MAX,
        // Of an app that runs it is the app's own share of the disk that is full.
        Some(Reason::DiskFull) if last.started_at.is_none() => u32::MAX,
        _ if last.ready_at.is_some() => MAX_CRASHES,
        _ => MAX_FAILED_STARTS,
    };
    if crashes >= most {
        return Some(Next::Never);
    }
    // The first crash of an app that ran is repaired at once.
    let wait = match crashes {
        0 | 1 if last.ready_at.is_some() => Duration::ZERO,
        n => (FIRST * 2u32.saturating_pow(n.saturating_sub(1).min(10))).min(LONGEST),
    };
    Some(Next::At(ended_at + wait))
}

fn ended_at_of(instance: &Instance) -> Timestamp {
    instance.ended_at.unwrap_or(instance.created_at)
}

/// Whether a start that failed so would fail again.
fn is_permanent(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ModuleMissing
            | Reason::SyntaxError
            | Reason::CommandNotFound
            | Reason::ExitedCleanly
            | Reason::WrongPort
            | Reason::LoopbackOnly
            | Reason::NotListening
            | Reason::NotAnswering
    )
}
