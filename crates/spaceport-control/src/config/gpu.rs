//! How hardware is given out and taken back.

use std::collections::BTreeMap;
use std::time::Duration;

use spaceport_core::FlavorName;
use spaceport_core::gpu::schedule::Policy;

/// The site's rules for hardware that is given out by lease.
#[derive(Debug, Clone, Default)]
pub struct GpuPolicy {
    /// Who gets it next.
    pub scheduler: Policy,
    /// What an hour of a model counts beside others, in thousandths, by a part of its name in any case; the longest that
    /// fits is meant, and 1000 where none does.
    pub weights: BTreeMap<String, u32>,
    /// When it is taken back from those who hold it and do not use it.
    pub idle: IdlePolicy,
}

/// When devices that are held and not used are taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdlePolicy {
    /// Owners are warned after so long without use; `None`: nothing is taken back.
    pub after: Option<Duration>,
    /// So long after the warning.
    pub warning: Duration,
    /// Other times for some flavors; `None`: never.
    pub flavors: BTreeMap<FlavorName, Option<Duration>>,
    /// Other times for some Spaces, by `owner/name`, which win; `None`: never.
    pub spaces: BTreeMap<String, Option<Duration>>,
}

impl Default for IdlePolicy {
    fn default() -> Self {
        Self {
            after: Some(Duration::from_secs(60 * 60)),
            warning: Duration::from_secs(10 * 60),
            flavors: BTreeMap::new(),
            spaces: BTreeMap::new(),
        }
    }
}

/// What holds for one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleRule {
    /// Its owner is warned after so long without use.
    pub after: Duration,
    /// It ends so long after the warning.
    pub warning: Duration,
}

impl IdlePolicy {
    /// What holds for a Space with a flavor; `None`: it keeps what it has.
    #[must_use]
    pub fn of(&self, flavor: &FlavorName, space: &str) -> Option<IdleRule> {
        let own = self.spaces.iter().find(|(name, _)| name.eq_ignore_ascii_case(space)).map(|(_, after)| after);
        let after = own.or_else(|| self.flavors.get(flavor)).copied().unwrap_or(self.after)?;
        Some(IdleRule { after, warning: self.warning })
    }
}

impl GpuPolicy {
    /// What an hour of a model counts, in thousandths.
    #[must_use]
    pub fn weight(&self, model: &str) -> u32 {
        let model = model.to_ascii_lowercase();
        self.weights
            .iter()
            .filter(|(part, _)| model.contains(&part.to_ascii_lowercase()))
            .max_by_key(|(part, _)| part.len())
            .map_or(1000, |(_, weight)| *weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_wins_over_its_flavor_and_that_over_the_site() {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        let (a100, t4) = (FlavorName("a100-large".to_owned()), FlavorName("t4-small".to_owned()));
        let policy = IdlePolicy {
            flavors: BTreeMap::from([(a100.clone(), minutes(5))]),
            spaces: BTreeMap::from([("Lab/sdxl".to_owned(), None)]),
            ..IdlePolicy::default()
        };
        let after = |flavor, space| policy.of(flavor, space).map(|rule| rule.after);
        assert_eq!(after(&t4, "lab/demo"), minutes(60));
        assert_eq!(after(&a100, "lab/demo"), minutes(5));
        assert_eq!(after(&a100, "lab/SDXL"), None);
    }

    #[test]
    fn the_longest_part_of_a_models_name_says_its_weight() {
        let weights = BTreeMap::from([("A100".to_owned(), 4000), ("a100-pcie-40gb".to_owned(), 3000)]);
        let policy = GpuPolicy { weights, ..GpuPolicy::default() };
        assert_eq!(policy.weight("NVIDIA A100-SXM4-80GB"), 4000);
        assert_eq!(policy.weight("NVIDIA A100-PCIE-40GB"), 3000);
        assert_eq!(policy.weight("Tesla T4"), 1000);
    }
}
