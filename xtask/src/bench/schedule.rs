//! The GPU scheduler, driven through recorded demand and judged beside other policies.
//!
//! `--bench` is the folder with the evaluator (`gpu.py`, `evaluate.py`), `--trace` the recorded tasks; neither is
//! part of this repository.

mod saturate;
mod simulate;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::Args;
use spaceport_core::gpu::schedule::Policy;
use spaceport_core::gpu::{Quota, QuotaNode, QuotaPath, QuotaTree};

use crate::{demo, shell};
use work::Work;

/// Options of `cargo xtask bench schedule`.
#[derive(Args)]
pub struct Schedule {
    /// The folder with gpu.py and evaluate.py.
    #[arg(long)]
    bench: Option<PathBuf>,
    /// The recorded tasks (openb_pod_list_*.csv).
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Seeds of the replayed demand.
    #[arg(long, value_delimiter = ',', default_value = "7,8,9")]
    seeds: Vec<u64>,
    /// Offered load.
    #[arg(long, default_value_t = 0.8)]
    load: f64,
    /// Nodes of 8 GPUs.
    #[arg(long, default_value_t = 4)]
    boxes: u32,
    /// Half-life of use, in hours.
    #[arg(long, default_value_t = 24.0)]
    half_life_h: f64,
    /// A folder of claims.csv and nodes.csv to run instead.
    #[arg(long)]
    work: Vec<PathBuf>,
    /// Part of an equal split that is guaranteed to each team.
    #[arg(long, default_value_t = 0.5)]
    guaranteed: f64,
    /// Overrides of the policy, as JSON.
    #[arg(long)]
    policy: Option<String>,
    #[command(flatten)]
    saturate: saturate::Saturate,
}

impl Schedule {
    /// Runs and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let out = demo::target_dir().join("bench-schedule");
        fs::create_dir_all(&out)?;
        let mut policy = Policy::default();
        if let Some(json) = &self.policy {
            policy = serde_json::from_str(json)?;
        }
        if let Some(bench) = &self.bench {
            self.saturate.run(bench)?;
        }
        for folder in &self.work {
            let work = Work::read(folder)?;
            let quotas = quotas(&work, self.guaranteed)?;
            let run = simulate::simulate(&work, quotas, policy.clone());
            let log = out.join("log.csv");
            fs::write(&log, &run.log)?;
            let mut passes = run.passes_us.clone();
            passes.sort_by(f64::total_cmp);
            println!(
                "passes {} p50 {:.0} us p99 {:.0} us, preempted {}",
                passes.len(),
                passes[passes.len() / 2],
                passes[passes.len() * 99 / 100],
                run.preempted
            );
            if let Some(bench) = &self.bench {
                evaluate(bench, folder, &log)?;
            }
        }
        Ok(())
    }
}

fn evaluate(bench: &Path, folder: &Path, log: &Path) -> anyhow::Result<()> {
    let output = Command::new("python3")
        .arg(bench.join("evaluate.py"))
        .arg("queue")
        .arg("--nodes")
        .arg(folder.join("nodes.csv"))
        .arg("--claims")
        .arg(folder.join("claims.csv"))
        .arg("--log")
        .arg(log)
        .output()
        .context("cannot run python3")?;
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let _ = shell::root();
    Ok(())
}

/// Every team is guaranteed the same part of an equal split, and borrows what others leave.
fn quotas(work: &Work, part: f64) -> anyhow::Result<QuotaTree> {
    let devices: usize = work.nodes.iter().map(|node| node.devices.len()).sum();
    let mut teams: Vec<QuotaPath> = work.jobs.iter().filter_map(|job| job.claim.account.parent()).collect();
    teams.sort();
    teams.dedup();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a few devices"
    )]
    let guaranteed_milli = (devices as f64 * 1000.0 / teams.len() as f64 * part) as u64;
    let places =
        teams.into_iter().map(|path| QuotaNode { path, quota: Quota { guaranteed_milli, ..Quota::default() } });
    QuotaTree::new(places).map_err(|problems| anyhow::anyhow!("{problems:?}"))
}
