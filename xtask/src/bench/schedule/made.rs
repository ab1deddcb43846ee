//! Demand made up from a seed, in the shape of what sites report: many short runs, few long ones (log-normal with a
//! heavy tail), half of the claims for a part of a device, one in a hundred for several, arrivals in waves, and few accounts
//! that ask for most (Zipf). Same kind of files as the evaluator's bench, so that it can judge this as well.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use spaceport_core::gpu::Shape;

use super::work::{Job, Work, job, node};

const LIMITS_S: [u64; 5] = [900, 3600, 4 * 3600, 12 * 3600, 24 * 3600];

/// SplitMix64: small, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// Between 0 and 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float has")]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn pick<T: Copy>(&mut self, from: &[(T, f64)]) -> T {
        let mut left = self.unit() * from.iter().map(|(_, weight)| weight).sum::<f64>();
        for (value, weight) in from {
            left -= weight;
            if left <= 0.0 {
                return *value;
            }
        }
        from[from.len() - 1].0
    }
}

/// So many claims on so many nodes of 8 devices, with arrivals stretched so that they ask for `load` of all devices.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "made-up amounts, all of them small"
)]
pub fn made(seed: u64, claims: usize, boxes: u32, load: f64) -> anyhow::Result<Work> {
    let mut random = Random::new(seed);
    let nodes = (0..boxes)
        .map(|number| node(&format!("box-{number}"), 96_000, 768 << 30, 8, "A100"))
        .collect::<Result<Vec<_>, _>>()?;
    let accounts: Vec<(usize, f64)> =
        (0..40).map(|number| (number, 1.0 / f64::powf(number as f64 + 1.0, 1.1))).collect();
    let mut at = 0.0;
    let mut rows = Vec::with_capacity(claims);
    for number in 0..claims {
        let wave = 1.0 + 0.8 * (number as f64 / claims as f64 * 40.0).sin();
        at += -random.unit().max(1e-12).ln() * wave;
        let run_s = (6.2 + 1.9 * random.normal()).exp().clamp(5.0, 86_400.0);
        let (devices, milli) = random.pick(&[
            ((1, 1000), 0.52),
            ((1, 500), 0.25),
            ((1, 250), 0.22),
            ((2, 1000), 0.004),
            ((4, 1000), 0.002),
            ((8, 1000), 0.004),
        ]);
        let cores = random.pick(&[(3_u64, 0.3), (8, 0.3), (12, 0.3), (16, 0.1)]) * u64::from(devices).min(6);
        let fits = LIMITS_S.iter().position(|limit| *limit as f64 >= run_s).unwrap_or(LIMITS_S.len() - 1);
        let limit = LIMITS_S[(fits + usize::from(random.unit() < 0.5)).min(LIMITS_S.len() - 1)];
        let account = random.pick(&accounts);
        rows.push((number, at, run_s, devices, milli, cores, limit, account));
    }
    let work: f64 = rows.iter().map(|row| row.2 * f64::from(row.3) * f64::from(row.4) / 1000.0).sum();
    let stretch = work / (load * f64::from(boxes) * 8.0) / at;
    let jobs = rows
        .into_iter()
        .map(|(number, at, run_s, devices, milli, cores, limit_s, account)| {
            let shape = Shape {
                cpu_millicores: cores * 1000,
                memory_bytes: cores << 32,
                devices,
                milli,
                models: Vec::new(),
                min_device_memory_bytes: 0,
            };
            let account = format!("t{}/u{account:02}", account % 8);
            let arrival = (at * stretch * 1000.0) as u64;
            job(number, format!("made-{number:05}"), account, shape, arrival, (run_s * 1000.0) as u64, limit_s * 1000)
        })
        .collect();
    Ok(Work { nodes, jobs })
}

/// Writes `nodes.csv` and `claims.csv`.
pub fn write(work: &Work, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let mut nodes = "sn,cpu_milli,memory_mib,gpu,model\n".to_owned();
    for node in &work.nodes {
        let model = node.devices.first().map_or("", |device| device.model.as_str());
        let (cpu, memory) = (node.cpu_millicores, node.memory_bytes >> 20);
        writeln!(nodes, "{},{cpu},{memory},{},{model}", node.name, node.devices.len())?;
    }
    fs::write(folder.join("nodes.csv"), nodes)?;
    let mut claims =
        "claim,account,team,arrival_s,duration_s,limit_s,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n".to_owned();
    for Job { name, claim, duration_ms } in &work.jobs {
        let (team, account) = claim.account.0.rsplit_once('/').unwrap_or(("", &claim.account.0));
        let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let arrival = seconds(u64::try_from(claim.submitted_at.as_millis()).unwrap_or(0));
        let shape = &claim.shape;
        writeln!(
            claims,
            "{name},{account},{team},{arrival},{},{},{},{},{},{},",
            seconds(*duration_ms),
            seconds(claim.limit_ms.unwrap_or(0)),
            shape.cpu_millicores,
            shape.memory_bytes >> 20,
            shape.devices,
            shape.milli
        )?;
    }
    fs::write(folder.join("claims.csv"), claims)?;
    Ok(())
}
