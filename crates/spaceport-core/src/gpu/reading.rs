//! What a driver says of a device, and what that means for giving it out.

use serde::{Deserialize, Serialize};

use super::{Attach, DeviceHealth, DeviceId};

/// One device as its driver tells of it, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Identity.
    pub id: DeviceId,
    /// Its number on the node, as the driver counts.
    pub index: u32,
    /// As the driver says: `NVIDIA A100-SXM4-80GB`.
    pub model: String,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// For a slice, the device it is cut from.
    pub slice_of: Option<DeviceId>,
    /// How a container gets it.
    pub attach: Attach,
    /// How busy it is.
    pub usage: DeviceUsage,
    /// What is wrong with it.
    pub faults: Faults,
}

/// How busy a device is. What a driver does not tell is `None`: slices have no utilisation of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceUsage {
    /// Percent of the last second or so in which something ran on it.
    pub utilization_percent: Option<u32>,
    /// Memory in use, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// Degrees Celsius.
    pub temperature_celsius: Option<u32>,
    /// Milliwatts.
    pub power_mw: Option<u32>,
    /// Who is on it.
    pub processes: Vec<DeviceProcess>,
}

/// A process that has a device open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceProcess {
    /// Its number in the PID namespace of the node.
    pub pid: u32,
    /// Device memory it holds, in bytes.
    pub memory_bytes: Option<u64>,
}

/// Everything a driver tells that speaks against a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// It does not answer any more, in the driver's words.
    pub lost: Option<String>,
    /// The driver refuses work until it is reset.
    pub needs_reset: bool,
    /// Memory errors since the driver was loaded that could not be corrected.
    pub uncorrected_errors: u64,
    /// Pages or rows of its memory are to be replaced at the next reset.
    pub repair_pending: bool,
    /// There is nothing left to replace bad memory with.
    pub repair_failed: bool,
    /// Error codes of the driver that came up since the reading before.
    /// <https://docs.nvidia.com/deploy/xid-errors/>
    pub xids: Vec<u64>,
}

/// Codes that the program on the device is to blame for, not the device: a bad address, an illegal
/// instruction, a context that was switched too slowly. The device goes on with the next program.
const XIDS_OF_APPS: [u64; 6] = [13, 31, 43, 45, 68, 109];
/// The device fell off the bus.
const XID_LOST: u64 = 79;

/// Whether an error code speaks against the device.
#[must_use]
pub fn is_serious(xid: u64) -> bool {
    !XIDS_OF_APPS.contains(&xid)
}

impl Faults {
    /// Whether a device with these faults may be given out. All reasons are named.
    #[must_use]
    pub fn judge(&self) -> DeviceHealth {
        let Self { lost, needs_reset, uncorrected_errors, repair_pending, repair_failed, xids } = self;
        if let Some(words) = lost {
            return DeviceHealth::Lost { reason: words.clone() };
        }
        if xids.contains(&XID_LOST) {
            return DeviceHealth::Lost { reason: told(XID_LOST) };
        }
        let mut reasons: Vec<String> = xids.iter().copied().filter(|xid| is_serious(*xid)).map(told).collect();
        if *needs_reset {
            reasons.push("the driver refuses work until the GPU is reset".to_owned());
        }
        if *repair_failed {
            reasons.push("its memory has run out of spare rows; it has to be replaced".to_owned());
        }
        if *uncorrected_errors > 0 {
            reasons
                .push(format!("{uncorrected_errors} memory errors since the driver was loaded could not be corrected"));
        }
        if *repair_pending {
            reasons.push("bad memory is taken out of use at the next reset of the GPU".to_owned());
        }
        if reasons.is_empty() {
            return DeviceHealth::Healthy;
        }
        DeviceHealth::Drained { reason: reasons.join("; ") }
    }
}

fn told(xid: u64) -> String {
    let meaning = match xid {
        48 => "a memory error that could not be corrected",
        61 | 62 => "the GPU's microcontroller halted",
        63 => "bad memory was noted, to be taken out of use",
        64 => "bad memory could not be noted",
        74 => "an NVLink error",
        79 => "the GPU has fallen off the bus",
        92 => "many memory errors had to be corrected",
        94 => "a memory error was contained",
        95 => "a memory error was not contained",
        119 | 120 => "the GPU's system processor does not answer",
        140 => "a memory error that was not recovered from",
        _ => return format!("XID {xid}: the driver reported an error of the GPU"),
    };
    format!("XID {xid}: {meaning}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Faults)) -> DeviceHealth {
        let mut faults = Faults::default();
        change(&mut faults);
        faults.judge()
    }

    fn drained(reason: &str) -> DeviceHealth {
        DeviceHealth::Drained { reason: reason.to_owned() }
    }

    #[test]
    fn a_device_without_faults_may_be_given_out() {
        assert_eq!(Faults::default().judge(), DeviceHealth::Healthy);
    }

    #[test]
    fn a_program_that_crashes_takes_no_device_with_it() {
        for xid in [13, 31, 43, 45, 68, 109] {
            assert_eq!(with(|faults| faults.xids = vec![xid]), DeviceHealth::Healthy, "XID {xid}");
        }
    }

    #[test]
    fn a_device_that_does_not_work_is_lost_and_one_that_may_fail_is_drained() {
        let lost = DeviceHealth::Lost { reason: "XID 79: the GPU has fallen off the bus".to_owned() };
        assert_eq!(with(|faults| faults.xids = vec![48, 79]), lost);
        let words = "it does not answer".to_owned();
        let gone = DeviceHealth::Lost { reason: words.clone() };
        assert_eq!(with(|faults| faults.lost = Some(words)), gone);
        let error = drained("XID 48: a memory error that could not be corrected");
        assert_eq!(with(|faults| faults.xids = vec![13, 48]), error);
        let unknown = drained("XID 4711: the driver reported an error of the GPU");
        assert_eq!(with(|faults| faults.xids = vec![4711]), unknown);
        let reset = drained("the driver refuses work until the GPU is reset");
        assert_eq!(with(|faults| faults.needs_reset = true), reset);
    }

    #[test]
    fn every_reason_is_named() {
        let health = with(|faults| {
            faults.uncorrected_errors = 2;
            faults.repair_pending = true;
            faults.repair_failed = true;
        });
        let DeviceHealth::Drained { reason } = health else { panic!("{health:?}") };
        for part in ["2 memory errors", "at the next reset", "has to be replaced"] {
            assert!(reason.contains(part), "{reason}");
        }
    }
}
