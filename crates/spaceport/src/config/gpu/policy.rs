//! `[gpu.scheduler]`, `[gpu.idle]` and `[gpu.weights]`: who gets hardware, and when it is taken back.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use spaceport_control::{GpuPolicy, IdlePolicy};
use spaceport_core::FlavorName;
use toml::{Table, Value};

use super::super::hardware::parse;

/// A weight and a time are no larger: a mistake in the unit would be.
const MOST_WEIGHT: u32 = 1_000_000;
const MOST_MINUTES: u32 = 366 * 24 * 60;

/// `[gpu.idle]`, in minutes and parts of them; 0 is never.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Idle {
    after_minutes: f64,
    warning_minutes: f64,
    flavors: BTreeMap<FlavorName, f64>,
    spaces: BTreeMap<String, f64>,
}

impl Default for Idle {
    fn default() -> Self {
        let IdlePolicy { after, warning, .. } = IdlePolicy::default();
        let minutes = |time: Duration| time.as_secs_f64() / 60.0;
        Self {
            after_minutes: after.map_or(0.0, minutes),
            warning_minutes: minutes(warning),
            flavors: BTreeMap::new(),
            spaces: BTreeMap::new(),
        }
    }
}

/// Takes the three out of `[gpu]`, and says what is wrong with them.
pub(super) fn take(table: &mut Table) -> (GpuPolicy, Vec<String>) {
    let (mut policy, mut problems) = (GpuPolicy::default(), Vec::new());
    let mut section = |name: &str| match table.remove(name) {
        Some(Value::Table(table)) => Some(table),
        Some(_) => {
            problems.push(format!("gpu.{name} is a table; write [gpu.{name}]"));
            None
        }
        None => None,
    };
    let (scheduler, idle, weights) = (section("scheduler"), section("idle"), section("weights"));
    if let Some(table) = scheduler {
        match parse(table, "gpu.scheduler") {
            Ok(scheduler) => policy.scheduler = scheduler,
            Err(problem) => problems.push(problem),
        }
    }
    if policy.scheduler.half_life_ms == 0 {
        problems.push("gpu.scheduler.half_life_ms must not be 0".to_owned());
    }
    if let Some(table) = idle {
        match parse::<Idle>(table, "gpu.idle") {
            Ok(idle) => {
                let all = [idle.after_minutes, idle.warning_minutes];
                let mut all = all.iter().chain(idle.flavors.values()).chain(idle.spaces.values());
                if !all.all(|minutes| (0.0..=f64::from(MOST_MINUTES)).contains(minutes)) {
                    problems.push(format!("a time of gpu.idle is not between 0 and {MOST_MINUTES} minutes, a year"));
                }
                let time = |minutes: f64| {
                    let time = Duration::try_from_secs_f64(minutes * 60.0).ok();
                    time.filter(|time| !time.is_zero())
                };
                policy.idle = IdlePolicy {
                    after: time(idle.after_minutes),
                    warning: time(idle.warning_minutes).unwrap_or_default(),
                    flavors: idle.flavors.into_iter().map(|(name, minutes)| (name, time(minutes))).collect(),
                    spaces: idle.spaces.into_iter().map(|(name, minutes)| (name, time(minutes))).collect(),
                };
            }
            Err(problem) => problems.push(problem),
        }
    }
    if let Some(table) = weights {
        match parse::<BTreeMap<String, u32>>(table, "gpu.weights") {
            Ok(weights) => {
                for (model, weight) in &weights {
                    if !(1..=MOST_WEIGHT).contains(weight) {
                        problems.push(format!(
                            "gpu.weights.{model} is {weight}; it is in thousandths, between 1 and {MOST_WEIGHT}"
                        ));
                    }
                }
                policy.weights = weights;
            }
            Err(problem) => problems.push(problem),
        }
    }
    (policy, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (GpuPolicy, Vec<String>) {
        take(&mut toml::from_str(text).unwrap())
    }

    #[test]
    fn times_weights_and_the_scheduler_are_read() {
        let (policy, problems) = read(
            "[scheduler]\ngrace_ms = 5000\n[idle]\nafter_minutes = 30\nwarning_minutes = 0.5\nflavors = { a100-large = 5 }\n\
             spaces = { \"lab/sdxl\" = 0 }\n[weights]\nA100 = 4000\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!((policy.scheduler.grace_ms, policy.weight("NVIDIA A100")), (5000, 4000));
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!((policy.idle.after, policy.idle.warning), (minutes(30), Duration::from_secs(30)));
        assert_eq!(policy.idle.flavors[&FlavorName("a100-large".to_owned())], minutes(5));
        assert_eq!(policy.idle.spaces["lab/sdxl"], None);
    }

    #[test]
    fn every_mistake_is_told() {
        let (_, problems) = read("weights = { A100 = 0 }\nidle = 7\n[scheduler]\ngrace = 1\n");
        assert_eq!(problems.len(), 3, "{problems:?}");
        for wrong in ["-1", "1e9", "nan"] {
            let (_, problems) = read(&format!("[idle]\nspaces = {{ a = {wrong} }}\n"));
            assert!(problems.len() == 1 && problems[0].contains("not between 0 and 527040"), "{wrong} {problems:?}");
        }
    }
}
