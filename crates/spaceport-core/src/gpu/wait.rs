//! Why a claim waits, as it is kept and as people are told.

use serde::{Deserialize, Serialize};

use super::estimate::StartInterval;
use super::schedule::{Constraint, Kept, Waiting};
use super::{QuotaPath, Shape};
use crate::{ClaimId, FlavorName};

/// What the scheduler said last about a claim that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// How many claims start before it if nothing changes.
    pub position: u32,
    /// What has to be otherwise for it to start, all of it; the first is what to tell.
    pub because: Vec<Constraint>,
    /// What it waits for to end, as far as that is known.
    pub freed_by: Option<ClaimId>,
    /// When it will start, as far as that can be told.
    pub start: Option<StartInterval>,
}

impl From<&Waiting> for Wait {
    fn from(waiting: &Waiting) -> Self {
        Self {
            position: waiting.position,
            because: waiting.because.clone(),
            freed_by: waiting.freed_by,
            start: waiting.start,
        }
    }
}

impl Wait {
    /// The first reason, as the end of "Waiting for 1 × A100: …", without a name that is not the asker's own:
    /// places are those of the claim's account and above it.
    #[must_use]
    pub fn reason(&self) -> String {
        self.because.first().map_or_else(|| "it is decided in a moment".to_owned(), reason)
    }

    /// All reasons, the one to tell first.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        self.because.iter().map(reason).collect()
    }

    /// The first reason for those who may not know whose quota it is.
    #[must_use]
    pub fn reason_for_others(&self) -> String {
        match self.because.first() {
            Some(why) if why.place().is_some() => "its account has what it may have".to_owned(),
            _ => self.reason(),
        }
    }
}

fn reason(why: &Constraint) -> String {
    let gib = |bytes: u64| bytes >> 30;
    match why {
        Constraint::Limit { place, limit_milli, in_use_milli, .. } => {
            format!("{} may have {} at once and has {}", name(place), devices(*limit_milli), number(*in_use_milli))
        }
        Constraint::MayNotBorrow { place, guaranteed_milli, in_use_milli, .. } => {
            let (own, in_use) = (devices(*guaranteed_milli), number(*in_use_milli));
            format!("{} has {own} of its own, of which {in_use} are in use, and may not borrow", name(place))
        }
        Constraint::NotLent { kept_milli, left_milli, .. } => {
            format!(
                "{} are kept for those they are guaranteed to, and {} are left",
                devices(*kept_milli),
                number(*left_milli)
            )
        }
        Constraint::Budget { place, spent_milli_seconds, hard_milli_seconds, renews_at } => {
            let hours = |milli_seconds: u64| format!("{}.{}", milli_seconds / 3_600_000, milli_seconds / 360_000 % 10);
            let day: String = renews_at.to_rfc3339().chars().take(10).collect();
            let (spent, hard) = (hours(*spent_milli_seconds), hours(*hard_milli_seconds));
            format!("{} has used {spent} of {hard} device hours until {day}", name(place))
        }
        Constraint::NoSuchNode { devices: wanted, most } => match most {
            0 => "no machine has such a device".to_owned(),
            most => format!("no machine has {wanted} such devices; the most is {most}"),
        },
        Constraint::Drained { devices: 1 } => "the only such device is out of service".to_owned(),
        Constraint::Drained { devices } => format!("all {devices} such devices are out of service"),
        Constraint::NoDeviceFree { suitable: 1, .. } => "the only such device in service is in use".to_owned(),
        Constraint::NoDeviceFree { devices: 1, suitable, .. } => format!("all {suitable} such devices are in use"),
        Constraint::NoDeviceFree { devices, suitable, most, .. } => {
            format!("of {suitable} such devices, at most {most} are free on one machine, and it needs {devices}")
        }
        Constraint::NodeCpu { free_millicores, wanted_millicores, .. } => {
            let cores = |millicores: u64| format!("{}.{}", millicores / 1000, millicores % 1000 / 100);
            let (free, wanted) = (cores(*free_millicores), cores(*wanted_millicores));
            format!("the machine has {free} cores free, and it needs {wanted}")
        }
        Constraint::NodeMemory { free_bytes, wanted_bytes, .. } => {
            format!("the machine has {} GiB of memory free, and it needs {}", gib(*free_bytes), gib(*wanted_bytes))
        }
        Constraint::Behind { claims: 1, .. } => "another that waits for the same comes first".to_owned(),
        Constraint::Behind { claims, .. } => format!("{claims} others that wait for the same come first"),
        Constraint::Held(Kept::Claim { .. }) => "what is free is kept for one that comes first".to_owned(),
        Constraint::Held(Kept::Reservation { .. }) => "what is free is reserved".to_owned(),
        Constraint::Leaving { by } => {
            let time: String = by.to_rfc3339().chars().skip(11).take(5).collect();
            format!("its devices are being given back, by {time} UTC")
        }
    }
}

/// What a claim is for, in words: `2 × NVIDIA L4`, `25 % of one NVIDIA L4`; by the flavor where there are
/// several models that will do.
#[must_use]
pub fn what(shape: &Shape, flavor: &FlavorName) -> String {
    let model = match shape.models.as_slice() {
        [model] => model.as_str(),
        _ => flavor.0.as_str(),
    };
    match (shape.devices, shape.milli) {
        (0, _) => {
            format!("{} ({} cores, {} GiB)", flavor, shape.cpu_millicores.div_ceil(1000), shape.memory_bytes >> 30)
        }
        (_, milli) if milli < 1000 => format!("{} % of one {model}", milli.div_ceil(10)),
        (devices, _) => format!("{devices} × {model}"),
    }
}

fn name(place: &QuotaPath) -> String {
    match place.0.strip_prefix('~') {
        Some(user) => user.to_owned(),
        None if place.0.is_empty() => "the site".to_owned(),
        None => place.0.clone(),
    }
}

fn devices(milli: u64) -> String {
    let number = number(milli);
    if number == "1" { "1 device".to_owned() } else { format!("{number} devices") }
}

fn number(milli: u64) -> String {
    match (milli / 1000, milli % 1000) {
        (whole, 0) => whole.to_string(),
        (whole, part) => format!("{whole}.{part:03}").trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn reasons_have_numbers_and_the_askers_own_places() {
        let place = QuotaPath("lab".to_owned());
        let limit =
            Constraint::Limit { place: place.clone(), limit_milli: 2000, in_use_milli: 1500, wanted_milli: 1000 };
        let renews_at = Timestamp::from_millis(86_400_000);
        let budget =
            Constraint::Budget { place, spent_milli_seconds: 5_400_000, hard_milli_seconds: 3_600_000, renews_at };
        for (why, text) in [
            (limit, "lab may have 2 devices at once and has 1.5"),
            (budget, "lab has used 1.5 of 1.0 device hours until 1970-01-02"),
            (
                Constraint::NoDeviceFree { devices: 1, milli: 1000, suitable: 4, most: 0 },
                "all 4 such devices are in use",
            ),
            (Constraint::NoSuchNode { devices: 8, most: 4 }, "no machine has 8 such devices; the most is 4"),
        ] {
            let is_of_a_place = why.place().is_some();
            let wait = Wait { position: 0, because: vec![why], freed_by: None, start: None };
            assert_eq!((wait.reason(), wait.reasons()), (text.to_owned(), vec![text.to_owned()]));
            assert_eq!(wait.reason_for_others() != text, is_of_a_place, "{text}");
        }
    }

    #[test]
    fn what_is_wanted_is_said_in_words() {
        let mut shape = Shape {
            cpu_millicores: 2000,
            memory_bytes: 16 << 30,
            devices: 2,
            milli: 1000,
            models: vec!["NVIDIA L4".to_owned()],
            min_device_memory_bytes: 0,
        };
        let flavor = FlavorName("lab-half".to_owned());
        assert_eq!(what(&shape, &flavor), "2 × NVIDIA L4");
        (shape.devices, shape.milli) = (1, 250);
        assert_eq!(what(&shape, &flavor), "25 % of one NVIDIA L4");
        shape.models.clear();
        assert_eq!(what(&shape, &flavor), "25 % of one lab-half");
        (shape.devices, shape.milli) = (0, 0);
        assert_eq!(what(&shape, &flavor), "lab-half (2 cores, 16 GiB)");
    }
}
