//! Our own check of a run, for where the evaluator is not at hand: that nothing was given twice, and the waits.

use std::collections::HashMap;

use anyhow::{Context, bail};

use super::work::Work;

/// Figures of one run.
pub struct Verdict {
    /// Claims that ran to their end.
    pub finished: usize,
    /// Mean wait in seconds, as the evaluator counts it: end less arrival less duration.
    pub wait_mean_s: f64,
    /// Mean wait per account.
    pub by_account: HashMap<String, f64>,
}

/// Replays a decision log.
pub fn judge(work: &Work, log: &str) -> anyhow::Result<Verdict> {
    let jobs: HashMap<&str, _> = work.jobs.iter().map(|job| (job.name.as_str(), job)).collect();
    let mut free: HashMap<(String, String), i64> = HashMap::new();
    let mut cpu: HashMap<String, i64> = HashMap::new();
    for node in &work.nodes {
        cpu.insert(node.name.0.clone(), i64::try_from(node.cpu_millicores)?);
        for device in &node.devices {
            free.insert((node.name.0.clone(), device.index.to_string()), 1000);
        }
    }
    let mut live: HashMap<&str, (&str, Vec<&str>)> = HashMap::new();
    let mut waits: HashMap<String, Vec<f64>> = HashMap::new();
    for line in log.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [time, name, event, node, devices, ..] = cells.as_slice() else {
            bail!("a line of the log is cut: {line}")
        };
        let job = jobs.get(name).with_context(|| format!("unknown claim {name}"))?;
        let milli = i64::from(job.claim.shape.milli);
        let cores = i64::try_from(job.claim.shape.cpu_millicores)?;
        match *event {
            "start" => {
                let devices: Vec<&str> = devices.split(';').filter(|one| !one.is_empty()).collect();
                let here = cpu.get_mut(*node).context("unknown node")?;
                *here -= cores;
                if *here < 0 {
                    bail!("{line}: the CPU of {node} is given twice");
                }
                for device in &devices {
                    let left = free.get_mut(&((*node).to_owned(), (*device).to_owned())).context("unknown device")?;
                    *left -= milli;
                    if *left < 0 {
                        bail!("{line}: device {device} of {node} is given twice");
                    }
                }
                if devices.len() != job.claim.shape.devices as usize || live.insert(name, (node, devices)).is_some() {
                    bail!("{line}: not what was asked for");
                }
            }
            "finish" | "preempt" => {
                let (node, devices) = live.remove(name).with_context(|| format!("{line}: it does not run"))?;
                *cpu.get_mut(node).context("unknown node")? += cores;
                for device in devices {
                    *free.get_mut(&(node.to_owned(), device.to_owned())).context("unknown device")? += milli;
                }
                if *event == "finish" {
                    let end: f64 = time.parse()?;
                    let submitted = job.claim.submitted_at.as_millis();
                    let ran = std::time::Duration::from_millis(job.duration_ms).as_secs_f64();
                    let since = std::time::Duration::from_millis(u64::try_from(submitted)?).as_secs_f64();
                    waits.entry(job.claim.account.0.clone()).or_default().push((end - since - ran).max(0.0));
                }
            }
            _ => {}
        }
    }
    let all: Vec<f64> = waits.values().flatten().copied().collect();
    let by_account = waits.iter().map(|(account, waits)| (account.clone(), mean(waits))).collect();
    Ok(Verdict { finished: all.len(), wait_mean_s: mean(&all), by_account })
}

#[expect(clippy::cast_precision_loss, reason = "a number of claims")]
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { f64::NAN } else { values.iter().sum::<f64>() / values.len() as f64 }
}
