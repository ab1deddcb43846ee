//! The GPU scheduler, driven through recorded demand and judged beside other policies.
//!
//! `--bench` is the folder with the evaluator (`gpu.py`, `evaluate.py`), `--trace` the recorded tasks; neither is
//! part of this repository. Without them the demand is made up, and our own check of the log takes the evaluator's place.

mod judge;
mod lying;
mod made;
mod saturate;
mod simulate;
mod speed;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;
use spaceport_core::gpu::schedule::Policy;
use spaceport_core::gpu::{Quota, QuotaNode, QuotaPath, QuotaTree};

use crate::demo;
use judge::{judge, mean};
use work::Work;

/// Options of `cargo xtask bench schedule`.
#[derive(Args)]
pub struct Schedule {
    /// The folder with gpu.py and evaluate.py.
    #[arg(long)]
    bench: Option<PathBuf>,
    /// The recorded tasks (openb_pod_list_*.csv) to replay with accounts.
    #[arg(long, requires = "bench")]
    trace: Option<PathBuf>,
    /// Seeds of the replayed, or of the made-up, demand.
    #[arg(long, value_delimiter = ',', default_value = "7,8,9")]
    seeds: Vec<u64>,
    /// Offered load.
    #[arg(long, default_value_t = 0.8)]
    load: f64,
    /// Nodes of 8 GPUs.
    #[arg(long, default_value_t = 4)]
    boxes: u32,
    /// Claims to make up when there is no trace.
    #[arg(long, default_value_t = 1500)]
    made: usize,
    /// Part of an equal split that is guaranteed to each team, in hundredths.
    #[arg(long, default_value_t = 0)]
    guaranteed: u64,
    /// Policies of gpu.py to run beside ours.
    #[arg(long, value_delimiter = ',', default_value = "easy,fair,kueue")]
    rivals: Vec<String>,
    /// Other settings of the scheduler, as JSON.
    #[arg(long)]
    policy: Option<String>,
    /// Claims waiting in the measurement of decision times; 0 leaves it out.
    #[arg(long, default_value_t = 0)]
    waiting: usize,
    /// Nodes of 8 devices in the measurement of decision times.
    #[arg(long, default_value_t = 1250)]
    nodes_for_speed: u32,
    /// Also measures whether an account gains by lying.
    #[arg(long)]
    lying: bool,
    #[command(flatten)]
    saturate: saturate::Saturate,
}

/// One policy over all seeds.
struct Scores {
    policy: String,
    runs: Vec<Value>,
}

/// A figure of the evaluator, with what is to be reached.
struct Figure {
    name: &'static str,
    path: &'static [&'static str],
    target: &'static str,
    met: fn(f64) -> bool,
}

const FIGURES: [Figure; 14] = [
    Figure { name: "3 p95 wait of light accounts, s", path: &["light_p95"], target: "<= 1300", met: |x| x <= 1300.0 },
    Figure {
        name: "3 mean wait of multi-GPU claims, s",
        path: &["multi_gpu_mean"],
        target: "<= 32800",
        met: |x| x <= 32_800.0,
    },
    Figure {
        name: "3 p95 wait of multi-GPU claims, s",
        path: &["multi_gpu_p95"],
        target: "<= 93500",
        met: |x| x <= 93_500.0,
    },
    Figure { name: "3 utilisation, %", path: &["utilisation_pct"], target: ">= 75.5", met: |x| x >= 75.5 },
    Figure { name: "4 mean bounded slowdown", path: &["bsld_mean"], target: "<= 11", met: |x| x <= 11.0 },
    Figure { name: "4 shortfall of teams, %", path: &["fair_shortfall_team_pct"], target: "<= 25", met: |x| x <= 25.0 },
    Figure { name: "4 lost GPU time, s", path: &["lost_gpu_s"], target: "<= 1 %", met: |x| x <= 295_000.0 },
    Figure {
        name: "8 coverage of 90 % intervals",
        path: &["eta", "coverage"],
        target: "0.87..0.93",
        met: |x| (0.87..=0.93).contains(&x),
    },
    Figure {
        name: "8 coverage of those that waited",
        path: &["eta", "waited_coverage"],
        target: "0.87..0.93",
        met: |x| (0.87..=0.93).contains(&x),
    },
    Figure { name: "8 interval score", path: &["eta", "interval_score"], target: "<= 3.0", met: |x| x <= 3.0 },
    Figure { name: "8 median point error", path: &["eta", "rel_error"], target: "<= 0.5", met: |x| x <= 0.5 },
    Figure {
        name: "8 later than promised",
        path: &["eta", "later_than_promised"],
        target: "<= 0.06",
        met: |x| x <= 0.06,
    },
    Figure { name: "mean wait, s", path: &["wait_mean"], target: "", met: |_| true },
    Figure { name: "errors", path: &["errors"], target: "0", met: |x| x == 0.0 },
];

impl Schedule {
    /// Runs and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let policy: Policy = match &self.policy {
            Some(json) => serde_json::from_str(json)?,
            None => Policy::default(),
        };
        if let Some(bench) = &self.bench {
            self.saturate.run(bench)?;
        }
        self.replay(&policy)?;
        // Ten times as many claims take ten times as long each time.
        if let Some(events) = 20_000_000_usize.checked_div(self.waiting) {
            speed::run(self.waiting, self.nodes_for_speed, events.clamp(200, 2000))?;
        }
        if self.lying {
            lying::run(|| made::made(self.seeds[0], self.made, self.boxes, self.load), &policy)?;
        }
        Ok(())
    }

    fn replay(&self, policy: &Policy) -> anyhow::Result<()> {
        let mut ours = Scores { policy: "ours".to_owned(), runs: Vec::new() };
        let mut rivals: Vec<Scores> =
            self.rivals.iter().map(|rival| Scores { policy: rival.clone(), runs: Vec::new() }).collect();
        for seed in &self.seeds {
            let folder = demo::target_dir().join(format!("bench-schedule/{seed}"));
            let work = self.work(*seed, &folder)?;
            let run = simulate::simulate(&work, quotas(&work, self.guaranteed)?, policy.clone());
            let verdict = judge(&work, &run.log)?;
            if verdict.finished != work.jobs.len() {
                bail!("only {} of {} claims ran to their end", verdict.finished, work.jobs.len());
            }
            println!(
                "seed {seed}: {} claims, mean wait {:.0} s, {} left before they were done, {}",
                verdict.finished,
                verdict.wait_mean_s,
                run.preempted,
                passes(&run.passes_us)
            );
            let log = folder.join("log.csv");
            fs::write(&log, &run.log)?;
            let Some(bench) = &self.bench else { continue };
            ours.runs.push(evaluate(bench, &folder, &log)?);
            if let Some(trace) = &self.trace {
                for rival in &mut rivals {
                    rival.runs.push(self.rival(bench, trace, *seed, &rival.policy)?);
                }
            }
        }
        if !ours.runs.is_empty() {
            rivals.retain(|rival| !rival.runs.is_empty());
            print(&ours, &rivals);
        }
        Ok(())
    }

    /// Recorded demand when there is a trace, otherwise made up; in a folder for the evaluator.
    fn work(&self, seed: u64, folder: &Path) -> anyhow::Result<Work> {
        let (Some(bench), Some(trace)) = (&self.bench, &self.trace) else {
            let work = made::made(seed, self.made, self.boxes, self.load)?;
            made::write(&work, folder)?;
            return Ok(work);
        };
        let seed = seed.to_string();
        python(bench, &["gpu.py", "export", "apps", "--seed", &seed], &[("--trace", trace), ("--out", folder)], self)?;
        Work::read(folder)
    }

    fn rival(&self, bench: &Path, trace: &Path, seed: u64, policy: &str) -> anyhow::Result<Value> {
        let seed = seed.to_string();
        let arguments = ["gpu.py", "queue", "--scenario", "apps", "--seed", &seed, "--policy", policy];
        let text = python(bench, &arguments, &[("--trace", trace)], self)?;
        let line = text.lines().find_map(|line| line.strip_prefix(policy)).context("gpu.py printed no figures")?;
        Ok(serde_json::from_str(line.trim())?)
    }
}

fn python(bench: &Path, arguments: &[&str], paths: &[(&str, &Path)], options: &Schedule) -> anyhow::Result<String> {
    let mut command = Command::new("python3");
    command.arg(bench.join(arguments[0])).args(&arguments[1..]);
    for (name, path) in paths {
        command.arg(name).arg(path);
    }
    if arguments[0] == "gpu.py" {
        command.args(["--load", &options.load.to_string(), "--boxes", &options.boxes.to_string()]);
    }
    let output = command.output().context("cannot run python3")?;
    if !output.status.success() {
        bail!("{} failed: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn evaluate(bench: &Path, folder: &Path, log: &Path) -> anyhow::Result<Value> {
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
    if !output.status.success() {
        bail!("evaluate.py failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn print(ours: &Scores, rivals: &[Scores]) {
    print!("\n{:36} {:>12} {:>10}", "means over the seeds", "target", "ours");
    for rival in rivals {
        print!(" {:>10}", rival.policy);
    }
    println!();
    for figure in &FIGURES {
        let value = |scores: &Scores| {
            let of = |run: &Value| figure.path.iter().try_fold(run, |at, key| at.get(key)).and_then(Value::as_f64);
            mean(&scores.runs.iter().filter_map(of).collect::<Vec<_>>())
        };
        let (ours, mark) = (value(ours), if (figure.met)(value(ours)) { ' ' } else { '!' });
        print!("{:36} {:>12} {ours:>9.2}{mark}", figure.name, figure.target);
        for rival in rivals {
            print!(" {:>10.2}", value(rival));
        }
        println!();
    }
}

fn passes(times_us: &[f64]) -> String {
    let mut sorted = times_us.to_vec();
    sorted.sort_by(f64::total_cmp);
    let p = |part: usize| sorted.get(sorted.len() * part / 100).copied().unwrap_or(f64::NAN);
    format!("pass p50 {:.0} us, p99 {:.0} us", p(50), p(99))
}

/// Every team is guaranteed the same part of an equal split, and borrows what others leave.
fn quotas(work: &Work, hundredths: u64) -> anyhow::Result<QuotaTree> {
    let devices = work.nodes.iter().map(|node| node.devices.len() as u64).sum::<u64>();
    let mut teams: Vec<QuotaPath> = work.jobs.iter().filter_map(|job| job.claim.account.parent()).collect();
    teams.sort();
    teams.dedup();
    let guaranteed_milli = devices * 10 * hundredths / (teams.len() as u64).max(1);
    let places =
        teams.into_iter().map(|path| QuotaNode { path, quota: Quota { guaranteed_milli, ..Quota::default() } });
    QuotaTree::new(places).map_err(|problems| anyhow::anyhow!("{problems:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as the benchmark, small: on made-up demand nothing is given twice and everybody's turn comes.
    #[test]
    fn made_up_demand_runs_to_its_end() {
        let work = made::made(3, 120, 2, 0.9).unwrap();
        let run = simulate::simulate(&work, quotas(&work, 50).unwrap(), Policy::default());
        assert_eq!(judge(&work, &run.log).unwrap().finished, 120);
    }

    #[test]
    fn what_is_made_up_is_read_back() {
        let folder = std::env::temp_dir().join(format!("spaceport-made-{}", std::process::id()));
        let work = made::made(3, 20, 1, 0.9).unwrap();
        made::write(&work, &folder).unwrap();
        let read = Work::read(&folder).unwrap();
        let durations = |work: &Work| work.jobs.iter().map(|job| job.duration_ms).collect::<Vec<_>>();
        assert_eq!(durations(&read), durations(&work));
        fs::remove_dir_all(&folder).unwrap();
    }
}
