//! Hardware flavors: what a Space may ask for.

use std::fmt;

use serde::{Deserialize, Serialize};

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
}

fn default_pids() -> u32 {
    1024
}

fn default_shm() -> u64 {
    1 << 30
}

impl HardwareFlavor {
    /// The presets of an installation that configures none, with the Hub's sizes.
    #[must_use]
    pub fn presets() -> Vec<(FlavorName, Self)> {
        let flavor = |pretty: &str, cores: u32, gib: u64| Self {
            pretty_name: pretty.to_owned(),
            cpu_millicores: cores * 1000,
            memory_bytes: gib << 30,
            pids: default_pids(),
            shm_bytes: default_shm(),
        };
        vec![
            (FlavorName::cpu_basic(), flavor("CPU basic", 2, 16)),
            (FlavorName("cpu-upgrade".to_owned()), flavor("CPU upgrade", 8, 32)),
        ]
    }
}
