//! A quota on the wire, and back.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use spaceport_core::gpu::quota::Budget;
use spaceport_core::gpu::{Priority, Quota};

use crate::error::ApiError;

/// More than any site has; larger numbers are mistakes.
const MAX_MILLI: i64 = 1_000_000_000;
/// A hundred years of a thousand devices.
const MAX_SECONDS: i64 = 3_155_760_000_000;
/// Ten years.
const MAX_DAYS: i64 = 3660;

/// What a place may have. Devices are counted in thousandths: 1000 is one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[schema(as = Quota)]
pub struct QuotaBody {
    /// Always its own when it wants it: what others borrow comes back after the grace time.
    pub guaranteed_milli: i64,
    /// Never more; null: all there is.
    pub limit_milli: Option<i64>,
    /// Whether it may have more than is guaranteed while others leave it unused.
    pub borrows: bool,
    /// Whether others may use what is guaranteed to it while it does not.
    pub lends: bool,
    /// Its share beside its siblings; 1000 is the rule.
    pub weight_milli: i64,
    /// Device time per period.
    pub budget: Option<BudgetBody>,
    /// The highest class its Spaces may have: `low`, `normal`, `high`.
    pub max_priority: String,
    /// Spaces at most; null: any number.
    pub max_spaces: Option<i64>,
    /// Bytes of repositories, large files and buckets at most; null: any number.
    pub max_storage_bytes: Option<i64>,
    /// Builds at once at most; null: any number.
    pub max_builds: Option<i64>,
}

/// Device time that may be used in a period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = QuotaBudget)]
pub struct BudgetBody {
    /// The period's length; periods follow each other from 1970-01-01.
    pub period_days: i64,
    /// Beyond it claims go behind those that are within theirs.
    #[serde(default)]
    pub soft_device_seconds: Option<i64>,
    /// Beyond it nothing starts, and what runs is put to sleep.
    #[serde(default)]
    pub hard_device_seconds: Option<i64>,
}

impl Default for QuotaBody {
    fn default() -> Self {
        Self::of(&Quota::default())
    }
}

impl QuotaBody {
    /// On the wire.
    pub(super) fn of(quota: &Quota) -> Self {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Self {
            guaranteed_milli: signed(quota.guaranteed_milli),
            limit_milli: quota.limit_milli.map(signed),
            borrows: quota.borrows,
            lends: quota.lends,
            weight_milli: i64::from(quota.weight_milli),
            budget: quota.budget.map(|budget| BudgetBody {
                period_days: i64::from(budget.period_days),
                soft_device_seconds: budget.soft_milli_seconds.map(|edge| signed(edge / 1000)),
                hard_device_seconds: budget.hard_milli_seconds.map(|edge| signed(edge / 1000)),
            }),
            max_priority: quota.max_priority.as_str().to_owned(),
            max_spaces: quota.max_spaces.map(signed),
            max_storage_bytes: quota.max_storage_bytes.map(signed),
            max_builds: quota.max_builds.map(signed),
        }
    }

    /// The quota it says.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub(super) fn read(&self) -> Result<Quota, ApiError> {
        let mut wrong = Vec::new();
        let guaranteed = number("guaranteedMilli", self.guaranteed_milli, 0..=MAX_MILLI, &mut wrong);
        let limit = self.limit_milli.map(|limit| number("limitMilli", limit, 0..=MAX_MILLI, &mut wrong));
        let mut most =
            |name: &str, value: Option<i64>| value.map(|value| number(name, value, 0..=i64::MAX, &mut wrong));
        let max_spaces = most("maxSpaces", self.max_spaces);
        let max_storage_bytes = most("maxStorageBytes", self.max_storage_bytes);
        let max_builds = most("maxBuilds", self.max_builds);
        let weight = number("weightMilli", self.weight_milli, 1..=1_000_000, &mut wrong);
        let budget = self.budget.as_ref().and_then(|budget| budget.read(&mut wrong));
        let priority = self.max_priority.parse::<Priority>();
        if let Err(error) = &priority {
            wrong.push(format!("maxPriority: {error}"));
        }
        let (Ok(max_priority), true) = (priority, wrong.is_empty()) else {
            return Err(ApiError::bad_request(wrong.join("; ")));
        };
        Ok(Quota {
            guaranteed_milli: guaranteed,
            limit_milli: limit,
            borrows: self.borrows,
            lends: self.lends,
            weight_milli: u32::try_from(weight).unwrap_or(u32::MAX),
            budget,
            max_priority,
            max_spaces,
            max_storage_bytes,
            max_builds,
        })
    }
}

impl BudgetBody {
    fn read(&self, wrong: &mut Vec<String>) -> Option<Budget> {
        let days = number("budget.periodDays", self.period_days, 1..=MAX_DAYS, wrong);
        let mut edge = |name: &str, seconds: Option<i64>| {
            seconds.map(|seconds| number(name, seconds, 0..=MAX_SECONDS, wrong).saturating_mul(1000))
        };
        let soft_milli_seconds = edge("budget.softDeviceSeconds", self.soft_device_seconds);
        let hard_milli_seconds = edge("budget.hardDeviceSeconds", self.hard_device_seconds);
        if soft_milli_seconds.is_none() && hard_milli_seconds.is_none() {
            wrong.push("budget: give it a soft edge, a hard one, or both; or leave it out".to_owned());
        }
        Some(Budget { period_days: u32::try_from(days).ok()?, soft_milli_seconds, hard_milli_seconds })
    }
}

fn number(name: &str, value: i64, range: std::ops::RangeInclusive<i64>, wrong: &mut Vec<String>) -> u64 {
    if !range.contains(&value) {
        wrong.push(format!("{name} must be {} to {}, not {value}", range.start(), range.end()));
    }
    u64::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_comes_back_as_it_went() {
        let quota = Quota {
            guaranteed_milli: 2500,
            limit_milli: Some(4000),
            lends: false,
            budget: Some(Budget {
                period_days: 30,
                soft_milli_seconds: Some(1_800_000_000),
                hard_milli_seconds: Some(3_600_000_000),
            }),
            max_priority: Priority::High,
            max_spaces: Some(3),
            max_storage_bytes: Some(1 << 40),
            max_builds: Some(2),
            ..Quota::default()
        };
        assert_eq!(QuotaBody::of(&quota).read().ok(), Some(quota));
    }

    #[test]
    fn absurd_numbers_are_refused_by_name_and_all_at_once() {
        let budget = Some(BudgetBody { period_days: 0, soft_device_seconds: None, hard_device_seconds: None });
        let body = QuotaBody {
            guaranteed_milli: -1,
            limit_milli: Some(i64::MAX),
            weight_milli: 0,
            budget,
            max_priority: "urgent".to_owned(),
            max_builds: Some(-1),
            ..QuotaBody::default()
        };
        let refused = body.read().unwrap_err();
        for part in
            ["guaranteedMilli", "limitMilli", "weightMilli", "periodDays", "soft edge", "maxPriority", "maxBuilds"]
        {
            assert!(refused.message().contains(part), "{part}: {}", refused.message());
        }
    }
}
