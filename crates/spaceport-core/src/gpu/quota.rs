//! Who may have how much: a tree of site, organizations and users.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Priority;

/// A place in the tree, from below the site down: `lab`, `lab/alice`. The site itself is empty.
///
/// A user's own Spaces count against `~alice` (no account's name begins so), those of an
/// organization against `org/creator`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuotaPath(pub String);

impl QuotaPath {
    /// The whole site.
    #[must_use]
    pub const fn site() -> Self {
        Self(String::new())
    }

    /// Where the use of a Space counts: that of a user against the user, that of an organization
    /// against whoever of it made the Space.
    #[must_use]
    pub fn of_space(owner: &str, owner_is_org: bool, creator: &str) -> Self {
        Self(if owner_is_org { format!("{owner}/{creator}") } else { format!("~{owner}") })
    }

    /// Whether it lies below a place, or is it.
    #[must_use]
    pub fn is_within(&self, place: &Self) -> bool {
        place.0.is_empty() || self.0.strip_prefix(&place.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The place above; `None` for the site.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        Some(Self(self.0.rsplit_once('/').map_or(String::new(), |(above, _)| above.to_owned())))
    }
}

impl fmt::Display for QuotaPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "site" } else { &self.0 })
    }
}

/// What one place may have. Use of what lies below counts, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Always its own when it wants it, in thousandths of a device: what others borrow comes back after the grace.
    pub guaranteed_milli: u64,
    /// Never more; `None`: all there is.
    pub limit_milli: Option<u64>,
    /// Whether it may have more than is guaranteed while others leave it unused.
    pub borrows: bool,
    /// Whether others may use what is guaranteed to it while it does not.
    pub lends: bool,
    /// Its share beside its siblings, in thousandths; 1000 is the rule.
    pub weight_milli: u32,
    /// Device time per period.
    pub budget: Option<Budget>,
    /// The highest class its claims may have.
    pub max_priority: Priority,
    /// Spaces at most.
    pub max_spaces: Option<u64>,
    /// Bytes of repositories, large files and buckets at most, as far as they are known when more come.
    pub max_storage_bytes: Option<u64>,
    /// Builds at once at most.
    pub max_builds: Option<u64>,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            guaranteed_milli: 0,
            limit_milli: None,
            borrows: true,
            lends: true,
            weight_milli: 1000,
            budget: None,
            max_priority: Priority::Normal,
            max_spaces: None,
            max_storage_bytes: None,
            max_builds: None,
        }
    }
}

/// Device time that may be used in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The period's length in days; periods follow each other from 1970-01-01.
    pub period_days: u32,
    /// Beyond it claims go behind those within theirs; milli-device-seconds.
    pub soft_milli_seconds: Option<u64>,
    /// Beyond it nothing starts, and what runs is put to sleep; milli-device-seconds.
    pub hard_milli_seconds: Option<u64>,
}

/// One place of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaNode {
    /// Where.
    pub path: QuotaPath,
    /// What it may have.
    pub quota: Quota,
}

/// The whole tree. A place without a quota of its own has the default one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuotaTree {
    places: BTreeMap<QuotaPath, Quota>,
}

/// The tree contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// More is guaranteed than there is to give.
    #[error("{path} has {have} thousandths of a device guaranteed, and {below} are guaranteed below it")]
    GuaranteedBelow {
        /// Where.
        path: QuotaPath,
        /// Its own.
        have: u64,
        /// The sum of those below.
        below: u64,
    },
    /// Guaranteed, and not allowed.
    #[error("{path} has {guaranteed} thousandths of a device guaranteed and may have only {limit}")]
    GuaranteedAboveLimit {
        /// Where.
        path: QuotaPath,
        /// What is guaranteed.
        guaranteed: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Who is past the hard edge never sees the soft one.
    #[error("the soft edge of the budget of {path} is {soft} device seconds and lies above the hard one, {hard}")]
    SoftAboveHard {
        /// Where.
        path: QuotaPath,
        /// Whole device seconds.
        soft: u64,
        /// Whole device seconds.
        hard: u64,
    },
    /// It would never get anything, or everything.
    #[error("the weight of {path} is {weight_milli} thousandths; it must be between 1 and 1,000,000")]
    Weight {
        /// Where.
        path: QuotaPath,
        /// What was asked for.
        weight_milli: u32,
    },
}

impl QuotaTree {
    /// A tree of these places.
    ///
    /// # Errors
    /// When it contradicts itself: all mistakes at once.
    pub fn new(places: impl IntoIterator<Item = QuotaNode>) -> Result<Self, Vec<QuotaError>> {
        let places: BTreeMap<_, _> = places.into_iter().map(|node| (node.path, node.quota)).collect();
        let mut problems = Vec::new();
        for (path, quota) in &places {
            if let Some(limit) = quota.limit_milli
                && quota.guaranteed_milli > limit
            {
                let guaranteed = quota.guaranteed_milli;
                problems.push(QuotaError::GuaranteedAboveLimit { path: path.clone(), guaranteed, limit });
            }
            if let Some(Budget { soft_milli_seconds: Some(soft), hard_milli_seconds: Some(hard), .. }) = quota.budget
                && soft > hard
            {
                let (soft, hard) = (soft / 1000, hard / 1000);
                problems.push(QuotaError::SoftAboveHard { path: path.clone(), soft, hard });
            }
            if !(1..=1_000_000).contains(&quota.weight_milli) {
                problems.push(QuotaError::Weight { path: path.clone(), weight_milli: quota.weight_milli });
            }
        }
        let mut below: BTreeMap<QuotaPath, u64> = BTreeMap::new();
        for (path, quota) in &places {
            if let Some(parent) = path.parent() {
                let sum = below.entry(parent).or_default();
                *sum = sum.saturating_add(quota.guaranteed_milli);
            }
        }
        for (path, below) in below {
            // What the site guarantees is what the devices are; nobody has to write it down.
            if path == QuotaPath::site() && !places.contains_key(&path) {
                continue;
            }
            let have = places.get(&path).map_or(0, |quota| quota.guaranteed_milli);
            if below > have {
                problems.push(QuotaError::GuaranteedBelow { path, have, below });
            }
        }
        if problems.is_empty() { Ok(Self { places }) } else { Err(problems) }
    }

    /// What a place may have.
    #[must_use]
    pub fn quota(&self, path: &QuotaPath) -> Quota {
        self.places.get(path).cloned().unwrap_or_default()
    }

    /// The places that were given a quota, by path.
    pub fn places(&self) -> impl Iterator<Item = (&QuotaPath, &Quota)> {
        self.places.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, guaranteed_milli: u64) -> QuotaNode {
        QuotaNode { path: QuotaPath(path.to_owned()), quota: Quota { guaranteed_milli, ..Quota::default() } }
    }

    #[test]
    fn a_tree_that_promises_more_than_it_has_is_refused_with_the_place() {
        let problems = QuotaTree::new([place("lab", 2000), place("lab/alice", 1500), place("lab/bob", 1000)]);
        let path = QuotaPath("lab".to_owned());
        assert_eq!(problems, Err(vec![QuotaError::GuaranteedBelow { path, have: 2000, below: 2500 }]));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let mut low = place("lab", 3000);
        low.quota.limit_milli = Some(2000);
        low.quota.weight_milli = 0;
        let edges = (Some(2000), Some(1000));
        low.quota.budget = Some(Budget { period_days: 1, soft_milli_seconds: edges.0, hard_milli_seconds: edges.1 });
        let problems = QuotaTree::new([low]).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn a_place_without_a_quota_has_the_default() {
        let tree = QuotaTree::new([place("lab", 2000)]).unwrap();
        assert_eq!(tree.quota(&QuotaPath("lab/alice".to_owned())), Quota::default());
        assert_eq!(QuotaPath("lab/alice".to_owned()).parent(), Some(QuotaPath("lab".to_owned())));
        assert_eq!(QuotaPath("lab".to_owned()).parent(), Some(QuotaPath::site()));
    }
}
