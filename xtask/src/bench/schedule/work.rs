//! What the benchmark schedules: read from the files of the evaluator's bench, or made up.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use spaceport_core::gpu::{Claim, Device, DeviceHealth, DeviceId, Node, NodeName, Priority, QuotaPath, Shape};
use spaceport_core::{ClaimId, FlavorName, SpaceId, Timestamp};

/// Nodes and what is asked of them, by arrival.
pub struct Work {
    pub nodes: Vec<Node>,
    pub jobs: Vec<Job>,
}

/// A claim with what only the simulation knows.
pub struct Job {
    /// Its name in the file.
    pub name: String,
    pub claim: Claim,
    /// How long it runs, in milliseconds: hidden from the scheduler until it is over.
    pub duration_ms: u64,
}

impl Work {
    /// `nodes.csv` and `claims.csv`, as `gpu.py export` writes them; the jobs by arrival.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut work = Self::read_in_order(folder)?;
        work.jobs.sort_by_key(|job| (job.claim.submitted_at, job.claim.id));
        Ok(work)
    }

    /// The same with the jobs in the file's order.
    pub fn read_in_order(folder: &Path) -> anyhow::Result<Self> {
        let nodes = rows(&folder.join("nodes.csv"), ["sn", "cpu_milli", "memory_mib", "gpu", "model"])?
            .iter()
            .map(|[name, cpu, memory, gpus, model]| node(name, cpu.parse()?, mebibytes(memory)?, gpus.parse()?, model))
            .collect::<anyhow::Result<_>>()?;
        const COLUMNS: [&str; 11] = [
            "claim",
            "account",
            "team",
            "arrival_s",
            "duration_s",
            "limit_s",
            "cpu_milli",
            "memory_mib",
            "num_gpu",
            "gpu_milli",
            "gpu_spec",
        ];
        let mut jobs: Vec<Job> = Vec::new();
        for row in rows(&folder.join("claims.csv"), COLUMNS)? {
            let [name, account, team, arrival, duration, limit, cpu, memory, devices, milli, models] = row;
            let mut models: Vec<String> =
                models.split('|').filter(|model| !model.is_empty()).map(str::to_owned).collect();
            models.sort();
            let shape = Shape {
                cpu_millicores: cpu.parse()?,
                memory_bytes: mebibytes(&memory)?,
                devices: devices.parse()?,
                milli: milli.parse()?,
                models,
                min_device_memory_bytes: 0,
            };
            let account = if team.is_empty() { format!("~{account}") } else { format!("{team}/{account}") };
            jobs.push(job(
                jobs.len(),
                name,
                account,
                shape,
                milliseconds(&arrival)?,
                milliseconds(&duration)?,
                milliseconds(&limit)?,
            ));
        }
        if jobs.is_empty() {
            bail!("{} has no claims", folder.display());
        }
        Ok(Self { nodes, jobs })
    }
}

/// A job; `number` makes its identity.
pub fn job(
    number: usize,
    name: String,
    account: String,
    shape: Shape,
    arrival_ms: u64,
    duration_ms: u64,
    limit_ms: u64,
) -> Job {
    let at = Timestamp::from_millis(i64::try_from(arrival_ms).unwrap_or(i64::MAX));
    let claim = Claim {
        id: ClaimId::new(at, number as u128),
        space: SpaceId::new(at, number as u128),
        account: QuotaPath(account),
        flavor: FlavorName("bench".to_owned()),
        shape,
        priority: Priority::Normal,
        submitted_at: at,
        limit_ms: Some(limit_ms),
    };
    Job { name, claim, duration_ms: duration_ms.max(1) }
}

/// A node with so many devices of one model.
pub fn node(name: &str, cpu_millicores: u64, memory_bytes: u64, devices: u32, model: &str) -> anyhow::Result<Node> {
    let device = |index| Device {
        id: DeviceId(format!("{name}/{index}")),
        index,
        model: model.to_owned(),
        memory_bytes: 80 << 30,
        slice_of: None,
        health: DeviceHealth::Healthy,
    };
    Ok(Node {
        name: NodeName(name.to_owned()),
        cpu_millicores,
        memory_bytes,
        devices: (0..devices).map(device).collect(),
        cordoned: false,
    })
}

fn rows<const N: usize>(path: &Path, columns: [&str; N]) -> anyhow::Result<Vec<[String; N]>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    if header.split(',').ne(columns) {
        bail!("{} begins with {header:?}, expected {:?}", path.display(), columns.join(","));
    }
    lines
        .map(|line| {
            let cells: Vec<String> = line.split(',').map(str::to_owned).collect();
            cells.try_into().map_err(|_| anyhow::anyhow!("{} has a line with other columns: {line}", path.display()))
        })
        .collect()
}

fn mebibytes(text: &str) -> anyhow::Result<u64> {
    Ok(text.parse::<u64>()? << 20)
}

/// `1.250` seconds are 1250 milliseconds.
fn milliseconds(text: &str) -> anyhow::Result<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = format!("{part:0<3}");
    Ok(whole.parse::<u64>()? * 1000 + part[..3].parse::<u64>()?)
}
