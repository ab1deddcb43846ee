//! Fills a cluster until nothing fits: how much of its devices gets allocated.
//!
//! Tasks come in random order and never leave; what fits nowhere is turned away. The evaluator replays the log of
//! decisions and refuses impossible ones. Node names are shuffled as well, since policies that lean on the order of
//! names look better than they are.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use spaceport_core::gpu::{Cluster, Placement, Placer, Workload};

use super::work::Work;
use crate::{demo, shell};

/// Options of the saturation experiment.
#[derive(Args)]
pub struct Saturate {
    /// The nodes to fill (openb_node_list_gpu_node.csv).
    #[arg(long)]
    nodes: Option<PathBuf>,
    /// The tasks to fill them with (openb_pod_list_*.csv); several for several tables.
    #[arg(long)]
    tasks: Vec<PathBuf>,
    /// Seeds of the order of tasks: first and one past the last.
    #[arg(long, default_value = "42:52")]
    orders: String,
    /// Policies of gpu.py to run beside ours.
    #[arg(long, value_delimiter = ',', default_value = "best-fit,fgd-int")]
    beside: Vec<String>,
}

/// What the evaluator found, run by run.
#[derive(Default)]
struct Table {
    seeds: Vec<u64>,
    allocated: Vec<f64>,
    shuffled: Vec<f64>,
    decisions: usize,
    took: Duration,
}

/// One run: the log for the evaluator, and how long the decisions took.
struct Run {
    log: String,
    decisions: usize,
    took: Duration,
}

impl Saturate {
    /// Runs when there are nodes and tasks; prints one table per file of tasks.
    pub fn run(&self, bench: &Path) -> anyhow::Result<()> {
        let Some(nodes) = &self.nodes else { return Ok(()) };
        let (first, end) = self.orders.split_once(':').context("seeds are given as FIRST:END")?;
        for tasks in &self.tasks {
            println!("{}", tasks.display());
            let mut table = Table::default();
            for seed in first.parse::<u64>()?..end.parse()? {
                let folder = export(bench, nodes, tasks, seed)?;
                let mut work = Work::read_in_order(&folder)?;
                table.add(seed, &fill(&work), bench, &folder)?;
                shuffle_names(&mut work, seed);
                fs::write(folder.join("nodes.csv"), nodes_csv(&work))?;
                table.add_shuffled(&fill(&work), bench, &folder)?;
            }
            table.print();
            for ties in ["name", "random"] {
                self.baselines(bench, nodes, tasks, ties)?;
            }
        }
        Ok(())
    }

    fn baselines(&self, bench: &Path, nodes: &Path, tasks: &Path, ties: &str) -> anyhow::Result<()> {
        if self.beside.is_empty() {
            return Ok(());
        }
        let mut command = python(bench, "gpu.py");
        command.arg("saturate").arg("--nodes").arg(nodes).arg("--pods").arg(tasks);
        command.args(["--seeds", &self.orders, "--ties", ties, "--policy"]).args(&self.beside);
        shell::run(&mut command)
    }
}

/// Places one claim after the other. The placer knows the claims that came so far, and learns again whenever there are a
/// quarter more of them.
fn fill(work: &Work) -> Run {
    let mut cluster = Cluster::new(&work.nodes);
    let mut placer = Placer::default();
    let mut workload = Workload::default();
    let mut places: Vec<Option<Placement>> = Vec::with_capacity(work.jobs.len());
    let start = Instant::now();
    for job in &work.jobs {
        let shape = &job.claim.shape;
        workload.see(shape);
        if workload.total() * 4 >= placer.workload().total() * 5 {
            placer.learn(workload.clone());
        }
        let place = placer.find(&cluster, shape);
        if let Some(place) = &place {
            cluster.take(shape, place);
        }
        places.push(place);
    }
    let took = start.elapsed();
    let mut log = "time,claim,event,node,gpus\n".to_owned();
    for (job, place) in work.jobs.iter().zip(&places) {
        let _ = match place {
            Some(place) => {
                let devices: Vec<String> = place.devices.iter().map(u32::to_string).collect();
                writeln!(log, "0,{},start,{},{}", job.name, cluster.node_name(place), devices.join(";"))
            }
            None => writeln!(log, "0,{},reject,,", job.name),
        };
    }
    Run { log, decisions: places.len(), took }
}

/// Every node gets the name of another one, and the files say so.
fn shuffle_names(work: &mut Work, seed: u64) {
    let mut state = seed;
    for at in (1..work.nodes.len()).rev() {
        // A linear congruential generator is random enough to shuffle with.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(state >> 33).unwrap_or_default() % (at + 1);
        let name = work.nodes[at].name.clone();
        work.nodes[at].name = std::mem::replace(&mut work.nodes[other].name, name);
    }
}

fn nodes_csv(work: &Work) -> String {
    let mut text = "sn,cpu_milli,memory_mib,gpu,model\n".to_owned();
    for node in &work.nodes {
        let model = node.devices.first().map_or("", |device| device.model.as_str());
        let (cpu, memory, devices) = (node.cpu_millicores, node.memory_bytes >> 20, node.devices.len());
        let _ = writeln!(text, "{},{cpu},{memory},{devices},{model}", node.name);
    }
    text
}

fn export(bench: &Path, nodes: &Path, tasks: &Path, seed: u64) -> anyhow::Result<PathBuf> {
    let folder = demo::target_dir().join("bench-schedule").join(format!("saturate-{seed}"));
    let mut command = python(bench, "gpu.py");
    command.args(["export", "saturate", "--seed", &seed.to_string()]);
    command.arg("--nodes").arg(nodes).arg("--pods").arg(tasks).arg("--out").arg(&folder);
    shell::read(&mut command)?;
    Ok(folder)
}

fn python(bench: &Path, program: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(bench.join(program));
    command
}

/// Allocated devices in per cent, as the evaluator counts them.
fn evaluate(bench: &Path, folder: &Path, run: &Run) -> anyhow::Result<f64> {
    let log = folder.join("log.csv");
    fs::write(&log, &run.log)?;
    let mut command = python(bench, "evaluate.py");
    command.arg("saturation").arg("--nodes").arg(folder.join("nodes.csv"));
    command.arg("--claims").arg(folder.join("claims.csv")).arg("--log").arg(log);
    let result: serde_json::Value = serde_json::from_str(&shell::read(&mut command)?)?;
    if result["errors"] != 0 || result["missing"] != 0 {
        bail!("the evaluator refuses the decisions: {result}");
    }
    result["alloc_pct"].as_f64().context("the evaluator gave no allocation")
}

impl Table {
    fn add(&mut self, seed: u64, run: &Run, bench: &Path, folder: &Path) -> anyhow::Result<()> {
        self.seeds.push(seed);
        self.allocated.push(evaluate(bench, folder, run)?);
        self.decisions += run.decisions;
        self.took += run.took;
        Ok(())
    }

    fn add_shuffled(&mut self, run: &Run, bench: &Path, folder: &Path) -> anyhow::Result<()> {
        self.shuffled.push(evaluate(bench, folder, run)?);
        Ok(())
    }

    fn print(&self) {
        println!("{:12} {:>12} {:>12}", "seed", "allocated %", "shuffled %");
        for ((seed, allocated), shuffled) in self.seeds.iter().zip(&self.allocated).zip(&self.shuffled) {
            println!("{seed:<12} {allocated:>12.3} {shuffled:>12.3}");
        }
        let ((mean, deviation), (mean_shuffled, deviation_shuffled)) =
            (spread(&self.allocated), spread(&self.shuffled));
        println!("{:12} {mean:>6.2}±{deviation:.2} {mean_shuffled:>8.2}±{deviation_shuffled:.2}", "mean");
        let each = self.took / u32::try_from(self.decisions.max(1)).unwrap_or(u32::MAX);
        println!("{} decisions, {:.1} µs each, learning included", self.decisions, each.as_secs_f64() * 1e6);
    }
}

/// Mean and standard deviation.
#[expect(clippy::cast_precision_loss, reason = "a few runs")]
fn spread(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, variance.sqrt())
}
