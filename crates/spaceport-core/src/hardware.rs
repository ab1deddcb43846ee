//! Hardware flavors: what a Space may ask for.

mod catalog;
mod presets;

pub use catalog::Catalog;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::gpu::{GpuNeed, Node, Shape, Unfulfillable};

/// The name of a flavor, `cpu-basic` for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlavorName(pub String);

impl FlavorName {
    /// The flavor every Space starts with.
    #[must_use]
    pub fn cpu_basic() -> Self {
        Self("cpu-basic".to_owned())
    }
}

impl fmt::Display for FlavorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one replica of a Space gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardwareFlavor {
    /// The name people read, `CPU basic`.
    pub pretty_name: String,
    /// CPU time in thousandths of a core.
    pub cpu_millicores: u32,
    /// Hard memory limit in bytes; swap is not added.
    pub memory_bytes: u64,
    /// Processes and threads at most.
    #[serde(default = "default_pids")]
    pub pids: u32,
    /// Size of `/dev/shm` in bytes.
    #[serde(default = "default_shm")]
    pub shm_bytes: u64,
    /// Bytes an app may write to its own disk, which goes with its container; volumes are not counted. More ends it.
    #[serde(default = "default_disk")]
    pub disk_bytes: u64,
    /// Accelerators; `None` for CPU and memory alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuNeed>,
}

pub(crate) fn default_pids() -> u32 {
    1024
}

pub(crate) fn default_shm() -> u64 {
    1 << 30
}

pub(crate) fn default_disk() -> u64 {
    50_000_000_000
}

impl HardwareFlavor {
    /// What is impossible whatever devices there are; one sentence each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.gpu.as_ref().map(GpuNeed::problems).unwrap_or_default();
        if self.cpu_millicores == 0 || self.memory_bytes < 32 << 20 || self.pids < 16 {
            problems.push("it needs at least 1 millicore, 32 MiB of memory and 16 pids".to_owned());
        }
        if self.disk_bytes < 32 << 20 {
            problems.push("disk_bytes is less than 32 MiB; every app writes a little".to_owned());
        }
        if self.pretty_name.trim().is_empty() {
            problems.push("pretty_name is empty; people choose by it".to_owned());
        }
        problems
    }

    /// The claim for one replica. One of CPU and memory alone fits every machine in principle: whether these
    /// are limited is for the site to say.
    ///
    /// # Errors
    /// When it asks for devices and no machine can ever fulfil it.
    pub fn shape(&self, nodes: &[Node]) -> Result<Shape, Unfulfillable> {
        let (cpu_millicores, memory_bytes) = (u64::from(self.cpu_millicores), self.memory_bytes);
        match &self.gpu {
            Some(gpu) => gpu.shape(cpu_millicores, memory_bytes, nodes),
            None => Ok(Shape {
                cpu_millicores,
                memory_bytes,
                devices: 0,
                milli: 0,
                models: Vec::new(),
                min_device_memory_bytes: 0,
            }),
        }
    }
}
