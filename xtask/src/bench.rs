//! Measurements: ours beside what people use today, in one run on one machine, since only ratios
//! of the same minutes mean anything.

mod deploy;
mod hub;
mod proxy;
mod schedule;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Subcommand;

use crate::{demo, shell};

/// What to measure.
#[derive(Subcommand)]
pub enum Bench {
    /// CPU time per request of nginx, Caddy and our proxy.
    Proxy(proxy::Proxy),
    /// From a push to the first correct answer, beside `docker build` and `docker run`.
    Deploy(deploy::Deploy),
    /// Files through the hub, beside git with git-lfs and nginx.
    Hub(hub::Hub),
    /// The GPU scheduler, beside other policies, on replayed and on made-up demand.
    Schedule(Box<schedule::Schedule>),
}

impl Bench {
    /// Runs the measurement and prints its table.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Proxy(proxy) => proxy.run(),
            Self::Deploy(deploy) => deploy.run(),
            Self::Hub(hub) => hub.run(),
            Self::Schedule(schedule) => schedule.run(),
        }
    }
}

/// The server to measure: the given one, or a release build of this tree.
fn server(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    shell::say("Building Spaceport");
    shell::run(Command::new("cargo").args(["build", "--release", "--package", "spaceport"]))?;
    Ok(demo::target_dir().join("release/spaceport"))
}

/// The middle value; of an even number, halfway between the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    f64::midpoint(values[last / 2], values[last.div_ceil(2)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_value() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([8.0, 1.0, 2.0, 4.0].into_iter()), 3.0);
        assert!(median(std::iter::empty()).is_nan());
    }
}
