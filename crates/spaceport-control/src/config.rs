//! What the control plane is told about its site. Parsed once, in the binary.

mod gpu;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use spaceport_core::gpu::NodeName;
use spaceport_core::hardware::Catalog;
use spaceport_runtime::BuildLimits;

pub use gpu::{GpuPolicy, IdlePolicy, IdleRule};

/// The site.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// `http://localhost:8080`, without a slash at the end.
    pub hub_url: String,
    /// `localhost:8080`: Spaces are `{subdomain}.{spaces_domain}`.
    pub spaces_domain: String,
    /// Holds `static/`, `tmp/` and `routes.json`.
    pub data_dir: PathBuf,
    /// Flavors a Space may ask for.
    pub hardware: Catalog,
    /// What this machine is called; `None`: as its engine says.
    pub node: Option<NodeName>,
    /// How much of it is given out.
    pub capacity: Capacity,
    /// How what is given out by lease is given out and taken back.
    pub gpu: GpuPolicy,
    /// Requests in flight on a retired instance may take so long.
    pub drain: Duration,
    /// `HF_ENDPOINT` of apps; `None` leaves them to the public hub.
    pub app_hf_endpoint: Option<String>,
    /// Apps and builds run even while what keeps them from the node is not in place.
    pub allow_unfiltered: bool,
    /// How builds are done.
    pub builder: BuilderConfig,
}

/// How much of a machine is given out, in thousandths of what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Of its cores. Apps mostly wait, so several times what there is serves well.
    pub cpu_factor_milli: u32,
    /// Of its memory. Memory that is not there kills, so no more than there is.
    pub memory_factor_milli: u32,
    /// Whether Spaces without devices count as well, and wait when the machine is full.
    pub cpu_flavors: bool,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { cpu_factor_milli: 4000, memory_factor_milli: 1000, cpu_flavors: false }
    }
}

/// How builds are done.
#[derive(Debug, Clone)]
pub struct BuilderConfig {
    /// Builds that run at once.
    pub concurrency: usize,
    /// Limits of each build.
    pub limits: BuildLimits,
    /// Image of a Python version; `{version}` is replaced: `docker.io/library/python:{version}`.
    pub python_image: Option<String>,
    /// Images that win over `python_image`, by minor version.
    pub python_images: BTreeMap<String, String>,
    /// Python of Spaces that name none.
    pub default_python: String,
    /// Image with Node.js for static builds.
    pub node_image: String,
    /// Debian packages of every generated Python image.
    pub apt_packages: Vec<String>,
    /// Python packages of every generated Python image, besides the SDK.
    pub python_packages: Vec<String>,
    /// Where `preload_from_hub` downloads what this hub does not have; empty: from nowhere.
    pub preload_endpoint: String,
    /// A commit may hold so many bytes.
    pub max_source_bytes: u64,
    /// A commit may hold so many files.
    pub max_source_files: usize,
    /// With less on the engine's disk no build begins, and those that run end.
    pub min_disk_bytes: u64,
    /// With less memory left on the engine's host a Dockerfile's build ends.
    pub min_memory_bytes: u64,
    /// The engine's cache of Dockerfiles is cut down to so much.
    pub build_cache_bytes: u64,
    /// An owner's download cache that is larger begins anew.
    pub download_cache_bytes: u64,
    /// Whether Dockerfiles may let the engine itself fetch something, on the node's own network: `ADD` of an address,
    /// a `# syntax` of somebody else's.
    pub engine_may_fetch: bool,
}

impl ControlConfig {
    /// `http` or `https`, from the hub's URL.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.hub_url.split("://").next().unwrap_or("http")
    }

    /// The host of a Space with port, as people type it.
    #[must_use]
    pub fn space_host(&self, subdomain: &str) -> String {
        format!("{subdomain}.{}", self.spaces_domain)
    }

    /// The Space's page on the hub.
    #[must_use]
    pub fn space_page(&self, name: &spaceport_core::RepoName) -> String {
        format!("{}/spaces/{name}", self.hub_url)
    }
}

impl Default for BuilderConfig {
    fn default() -> Self {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Self {
            concurrency: 2,
            limits: BuildLimits {
                cpu_millicores: 4000,
                memory_bytes: 8 << 30,
                pids: 4096,
                disk_bytes: 30 << 30,
                time: Duration::from_secs(60 * 60),
            },
            python_image: Some("docker.io/library/python:{version}".to_owned()),
            python_images: BTreeMap::new(),
            default_python: "3.10".to_owned(),
            node_image: "docker.io/library/node:22".to_owned(),
            // What the hosted service puts into its Python images.
            apt_packages: words("git git-lfs ffmpeg libsm6 libxext6 libgl1 libsndfile1 cmake rsync"),
            python_packages: words("huggingface_hub datasets requests spaces"),
            preload_endpoint: "https://huggingface.co".to_owned(),
            max_source_bytes: 5 << 30,
            max_source_files: 100_000,
            min_disk_bytes: 4 << 30,
            min_memory_bytes: 256 << 20,
            engine_may_fetch: false,
            build_cache_bytes: 20 << 30,
            download_cache_bytes: 20 << 30,
        }
    }
}

/// Limits of a build in the units people configure.
#[must_use]
pub fn build_limits(cpus: u32, memory_gib: u64, disk_gib: u64, time: Duration) -> BuildLimits {
    BuildLimits {
        cpu_millicores: cpus.saturating_mul(1000),
        memory_bytes: memory_gib << 30,
        pids: 4096,
        disk_bytes: disk_gib << 30,
        time,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A site for tests, without anything special.
    pub(crate) fn config() -> ControlConfig {
        ControlConfig {
            hub_url: "http://localhost:8080".to_owned(),
            spaces_domain: "localhost:8080".to_owned(),
            data_dir: PathBuf::new(),
            hardware: Catalog::default(),
            node: None,
            capacity: Capacity::default(),
            gpu: GpuPolicy::default(),
            drain: Duration::from_secs(30),
            app_hf_endpoint: None,
            allow_unfiltered: false,
            builder: BuilderConfig::default(),
        }
    }
}
