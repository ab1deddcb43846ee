//! Use of CPU, memory and network.
//!
//! Read from the kernel's files when this process sees the host's `/proc` and `/sys/fs/cgroup`
//! (a fraction of a millisecond), else from the engine, whose one-shot statistics take a second
//! on 20.10.

use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptions;
use futures::StreamExt;
use spaceport_runtime::{RuntimeError, Usage};

use crate::app::inspect_raw;
use crate::client::{CALL_TIMEOUT, absent, within};

const CGROUPS: &str = "/sys/fs/cgroup";

pub(crate) async fn usage(docker: &Docker, id: &str) -> Result<Option<Usage>, RuntimeError> {
    let Some(response) = inspect_raw(docker, id).await? else { return Ok(None) };
    let state = response.state.unwrap_or_default();
    if state.running != Some(true) {
        return Ok(None);
    }
    let limit = response.host_config.and_then(|config| config.memory).unwrap_or_default();
    let limit = u64::try_from(limit).unwrap_or_default();
    if let Some(process) = HostProcess::of(id, state.pid).await
        && let Some(usage) = process.usage(limit).await
    {
        return Ok(Some(usage));
    }
    let options = StatsOptions { stream: false, one_shot: true };
    let call = async { docker.stats(id, Some(options)).next().await.transpose() };
    let stats = absent(within(CALL_TIMEOUT, &format!("measure container {id}"), call).await)?.flatten();
    Ok(stats.map(|stats| from_stats(&stats, limit)))
}

/// The first process of a container, seen from this host.
pub(crate) struct HostProcess {
    proc: PathBuf,
    cgroups: String,
}

impl HostProcess {
    /// `None` when this process lives in another PID namespace than the engine: then the number
    /// is somebody else, which shows in its cgroup.
    pub(crate) async fn of(id: &str, pid: Option<i64>) -> Option<Self> {
        let proc = PathBuf::from(format!("/proc/{}", pid.filter(|&pid| pid > 0)?));
        let cgroups = tokio::fs::read_to_string(proc.join("cgroup")).await.ok()?;
        cgroups.contains(id).then_some(Self { proc, cgroups })
    }

    /// Any process of this host; reads at once, for loops that look at all of them.
    pub(crate) fn any(pid: u32) -> Option<Self> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let cgroups = std::fs::read_to_string(proc.join("cgroup")).ok()?;
        Some(Self { proc, cgroups })
    }

    /// Its cgroups, one line per controller.
    pub(crate) fn cgroups(&self) -> &str {
        &self.cgroups
    }

    /// Its root directory.
    pub(crate) fn root(&self) -> PathBuf {
        self.proc.join("root")
    }

    /// The folder of this host that holds what was written to its root directory; `None` unless that is
    /// an overlay.
    pub(crate) fn upper_folder(&self) -> Option<PathBuf> {
        let mounts = std::fs::read_to_string(self.proc.join("mountinfo")).ok()?;
        upper_of_root(&mounts)
    }

    /// `/proc/net/tcp` and `tcp6` of its network namespace.
    pub(crate) async fn socket_tables(&self) -> Option<String> {
        let v4 = tokio::fs::read_to_string(self.proc.join("net/tcp")).await.ok()?;
        // Absent where IPv6 is off.
        let v6 = tokio::fs::read_to_string(self.proc.join("net/tcp6")).await.unwrap_or_default();
        Some(v4 + &v6)
    }

    async fn usage(&self, memory_limit_bytes: u64) -> Option<Usage> {
        let (cpu_us, memory_bytes) = match self.directory("memory") {
            Some(memory) => {
                let cpu = self.directory("cpuacct")?;
                let used = number(&memory.join("memory.usage_in_bytes")).await?;
                let stat = tokio::fs::read_to_string(memory.join("memory.stat")).await.ok()?;
                let cache = field(&stat, "total_inactive_file") + field(&stat, "total_active_file");
                (number(&cpu.join("cpuacct.usage")).await? / 1000, used.saturating_sub(cache))
            }
            None => {
                let unified = self.unified()?;
                let used = number(&unified.join("memory.current")).await?;
                let stat = tokio::fs::read_to_string(unified.join("memory.stat")).await.ok()?;
                let cache = field(&stat, "inactive_file") + field(&stat, "active_file");
                let cpu = tokio::fs::read_to_string(unified.join("cpu.stat")).await.ok()?;
                (field(&cpu, "usage_usec"), used.saturating_sub(cache))
            }
        };
        let (rx_bytes, tx_bytes) = traffic(&tokio::fs::read_to_string(self.proc.join("net/dev")).await.ok()?);
        Some(Usage { cpu_us, memory_bytes, memory_limit_bytes, rx_bytes, tx_bytes })
    }

    /// The directory of a version 1 controller.
    pub(crate) fn directory(&self, controller: &str) -> Option<PathBuf> {
        self.cgroups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let has = controllers.split(',').any(|name| name == controller);
            has.then(|| Path::new(CGROUPS).join(controller).join(path.trim_start_matches('/')))
        })
    }

    /// The directory of version 2.
    pub(crate) fn unified(&self) -> Option<PathBuf> {
        let path = self.cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some(Path::new(CGROUPS).join(path.trim_start_matches('/')))
    }
}

/// From `/proc/<pid>/mountinfo`: <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>
fn upper_of_root(mounts: &str) -> Option<PathBuf> {
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"))?;
    let (_, of_file_system) = root.split_once(" - ")?;
    let options = of_file_system.splitn(3, ' ').nth(2)?;
    options.split(',').find_map(|option| option.strip_prefix("upperdir=")).map(PathBuf::from)
}

async fn number(path: &Path) -> Option<u64> {
    tokio::fs::read_to_string(path).await.ok()?.trim().parse().ok()
}

/// `name value` lines.
fn field(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok()).unwrap_or_default()
}

/// Received and sent bytes of all interfaces but the loopback, from `/proc/net/dev`.
fn traffic(table: &str) -> (u64, u64) {
    table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() != "lo")
        .map(|(_, counters)| {
            let mut counters = counters.split_whitespace().map(|text| text.parse().unwrap_or(0));
            (counters.next().unwrap_or(0), counters.nth(7).unwrap_or(0))
        })
        .fold((0, 0), |(rx, tx), (more_rx, more_tx): (u64, u64)| (rx + more_rx, tx + more_tx))
}

fn from_stats(stats: &ContainerStatsResponse, memory_limit_bytes: u64) -> Usage {
    let cpu = stats.cpu_stats.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref()?.total_usage).unwrap_or_default();
    let memory = stats.memory_stats.as_ref();
    let used = memory.and_then(|memory| memory.usage).unwrap_or_default();
    let detail = |name: &str| memory.and_then(|memory| memory.stats.as_ref()?.get(name).copied());
    let cache = ["inactive_file", "active_file"]
        .iter()
        .filter_map(|name| detail(&format!("total_{name}")).or_else(|| detail(name)))
        .sum();
    let networks = stats.networks.iter().flatten();
    let (rx_bytes, tx_bytes) = networks.fold((0, 0), |(rx, tx), (_, network)| {
        (rx + network.rx_bytes.unwrap_or_default(), tx + network.tx_bytes.unwrap_or_default())
    });
    Usage { cpu_us: cpu / 1000, memory_bytes: used.saturating_sub(cache), memory_limit_bytes, rx_bytes, tx_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_files() {
        let dev = "Inter-|   Receive\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n\
                   lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  eth0: 100 2 0 0 0 0 0 0 250 3 0 0 0 0 0 0\n";
        assert_eq!(traffic(dev), (100, 250));
        assert_eq!(field("usage_usec 12\nuser_usec 3\n", "usage_usec"), 12);
        let process = HostProcess {
            proc: PathBuf::new(),
            cgroups: "8:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/system.slice/x\n".to_owned(),
        };
        assert_eq!(process.directory("cpuacct"), Some(PathBuf::from("/sys/fs/cgroup/cpuacct/docker/abc")));
        assert_eq!(process.unified(), Some(PathBuf::from("/sys/fs/cgroup/system.slice/x")));
    }
}
