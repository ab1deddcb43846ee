//! Limits of the steps of a Dockerfile.
//!
//! The engine offers none: the memory, CPU and process limits of its build call are the classic
//! builder's, and BuildKit's own are for all builds of the machine. Where this process is root on
//! the engine's host it helps itself: the steps of a build are known by the name that the build
//! put into their `/etc/hosts`, their limits are written into their cgroups as soon as they are
//! seen (a quarter of a second), and what they write is measured where the engine keeps it.
//! Elsewhere this does nothing.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use spaceport_runtime::BuildLimits;

use crate::app::CPU_PERIOD_US;
use crate::cgroup::HostProcess;
use crate::disk::size;

/// Steps are looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What they wrote is measured after this, or after so many times as long as the last look took.
const MEASURE_EVERY: Duration = Duration::from_secs(3);
const MEASURE_SHARE: u32 = 20;
/// In the path of every cgroup of BuildKit's, whoever manages cgroups.
const CGROUP: &str = "buildkit";

/// Limits the steps with this name in their `/etc/hosts`. Ends only when they wrote too much.
pub(crate) async fn limit(host: String, limits: BuildLimits) {
    let mut steps = Steps { host, limits, known: HashSet::new(), limited: HashSet::new(), written: HashMap::new() };
    let (mut measured, mut pause) = (Instant::now(), MEASURE_EVERY);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let due = measured.elapsed() >= pause;
        let looked = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            steps.look();
            if due {
                steps.measure();
            }
            (steps, began.elapsed())
        });
        // A panic is logged by the runtime; without limits the build goes on as elsewhere.
        let Ok((back, took)) = looked.await else { return std::future::pending().await };
        steps = back;
        if due {
            (measured, pause) = (Instant::now(), MEASURE_EVERY.max(took * MEASURE_SHARE));
        }
        if steps.written.values().sum::<u64>() > steps.limits.disk_bytes {
            return;
        }
    }
}

struct Steps {
    host: String,
    limits: BuildLimits,
    /// Processes that were looked at.
    known: HashSet<u32>,
    /// Cgroups that have their limits.
    limited: HashSet<String>,
    /// Bytes by the folder a step writes to; of steps that ended, the last that was seen.
    written: HashMap<PathBuf, u64>,
}

impl Steps {
    fn look(&mut self) {
        let all: HashSet<u32> = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        self.known.retain(|pid| all.contains(pid));
        for pid in all {
            if self.known.contains(&pid) {
                continue;
            }
            let Some(process) = HostProcess::any(pid).filter(|process| process.cgroups().contains(CGROUP)) else {
                self.known.insert(pid);
                continue;
            };
            // A step's first process is runc's own for a moment: it is looked at again until it is
            // known to be the step's or another's.
            let Ok(hosts) = std::fs::read_to_string(process.root().join("etc/hosts")) else { continue };
            if !hosts.contains("buildkitsandbox") {
                continue;
            }
            if !hosts.contains(&self.host) {
                self.known.insert(pid);
            } else if self.limited.contains(process.cgroups()) || self.set(&process) {
                self.limited.insert(process.cgroups().to_owned());
                self.known.insert(pid);
                if let Some(folder) = process.upper_folder() {
                    self.written.entry(folder).or_default();
                }
            }
        }
    }

    /// Writes the limits; `false` when that must be tried again.
    fn set(&self, process: &HostProcess) -> bool {
        let BuildLimits { cpu_millicores, memory_bytes, pids, .. } = self.limits;
        let quota = i64::from(cpu_millicores) * CPU_PERIOD_US / 1000;
        let write = |folder: Option<PathBuf>, name: &str, value: String| match folder {
            Some(folder) => std::fs::write(folder.join(name), value),
            None => Ok(()),
        };
        let results = match process.directory("memory") {
            Some(memory) => [
                write(process.directory("pids"), "pids.max", pids.to_string()),
                write(Some(memory.clone()), "memory.limit_in_bytes", memory_bytes.to_string()),
                // Absent where swap is not accounted.
                write(Some(memory), "memory.memsw.limit_in_bytes", memory_bytes.to_string()).or(Ok(())),
                write(process.directory("cpu"), "cpu.cfs_quota_us", quota.to_string()),
            ],
            None => [
                write(process.unified(), "pids.max", pids.to_string()),
                write(process.unified(), "memory.max", memory_bytes.to_string()),
                write(process.unified(), "memory.swap.max", "0".to_owned()).or(Ok(())),
                write(process.unified(), "cpu.max", format!("{quota} {CPU_PERIOD_US}")),
            ],
        };
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            tracing::debug!(error = %error, "a limit of a Dockerfile's step could not be set");
        }
        // Without the right to write there is nothing to try again.
        results.iter().all(|result| {
            result.as_ref().err().is_none_or(|error| {
                matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem)
            })
        })
    }

    fn measure(&mut self) {
        for (folder, bytes) in &mut self.written {
            // The folder of a step that ended is renamed or removed; what it held stays counted.
            if folder.exists() {
                *bytes = size(folder);
            }
        }
    }
}
