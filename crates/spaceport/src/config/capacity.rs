//! `[capacity]`.

use serde::{Deserialize, Serialize};

/// `[capacity]`: how much of the machine is given out.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capacity {
    /// So many times its cores.
    pub cpu_factor: f64,
    /// So many times its memory.
    pub memory_factor: f64,
    /// Spaces without accelerators count as well, and wait when the machine is full.
    pub cpu_flavors: bool,
}

impl Default for Capacity {
    fn default() -> Self {
        let control = spaceport_control::Capacity::default();
        Self {
            cpu_factor: f64::from(control.cpu_factor_milli) / 1000.0,
            memory_factor: f64::from(control.memory_factor_milli) / 1000.0,
            cpu_flavors: control.cpu_flavors,
        }
    }
}

impl Capacity {
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, factor, most) in
            [("cpu_factor", self.cpu_factor, 100.0), ("memory_factor", self.memory_factor, 10.0)]
        {
            // Not a number is in no range.
            if !(0.1..=most).contains(&factor) {
                problems.push(format!("capacity.{name} is {factor}; it must be between 0.1 and {most}"));
            }
        }
        problems
    }

    /// In the units of the control plane.
    pub(super) fn control(&self) -> spaceport_control::Capacity {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be 0.1 to 100")]
        let milli = |factor: f64| (factor * 1000.0).round() as u32;
        spaceport_control::Capacity {
            cpu_factor_milli: milli(self.cpu_factor),
            memory_factor_milli: milli(self.memory_factor),
            cpu_flavors: self.cpu_flavors,
        }
    }
}
