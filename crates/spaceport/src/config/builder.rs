//! `[builder]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `[builder]`: how apps are built.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Builder {
    /// Builds at once.
    pub concurrency: usize,
    /// CPU of one build, in cores.
    pub cpus: u32,
    /// Memory of one build, in GiB.
    pub memory_gib: u64,
    /// What one build may write, in GiB.
    pub disk_gib: u64,
    /// Minutes one build may take.
    pub minutes: u64,
    /// Image of a Python version; `{version}` is replaced. Empty: only `python_images`.
    pub python_image: String,
    /// Images that win, by minor version: `"3.11" = "my/python:3.11"`.
    pub python_images: BTreeMap<String, String>,
    /// Python of Spaces that name none.
    pub default_python: String,
    /// Image with Node.js, for static Spaces with a build command.
    pub node_image: String,
    /// Debian packages in every generated Python image.
    pub apt_packages: Vec<String>,
    /// Python packages in every generated Python image, besides the SDK.
    pub python_packages: Vec<String>,
    /// Where `preload_from_hub` downloads what this hub does not have; empty: from nowhere.
    pub preload_endpoint: String,
    /// A commit may hold so many GiB.
    pub source_gib: u64,
    /// A commit may hold so many files.
    pub source_files: usize,
    /// With fewer GiB left on the engine's disk no build begins.
    pub free_disk_gib: u64,
    /// With fewer MiB of memory left on the engine's host a Dockerfile's build ends.
    pub free_memory_mib: u64,
    /// GiB the engine may keep of Dockerfiles' steps.
    pub build_cache_gib: u64,
    /// GiB of downloads kept for an owner's next builds.
    pub download_cache_gib: u64,
    /// Whether Dockerfiles may let the engine itself fetch something, on the node's own network.
    pub engine_may_fetch: bool,
}

impl Default for Builder {
    fn default() -> Self {
        let control = spaceport_control::BuilderConfig::default();
        Self {
            concurrency: control.concurrency,
            cpus: control.limits.cpu_millicores / 1000,
            memory_gib: control.limits.memory_bytes >> 30,
            disk_gib: control.limits.disk_bytes >> 30,
            minutes: control.limits.time.as_secs() / 60,
            python_image: control.python_image.unwrap_or_default(),
            python_images: control.python_images,
            default_python: control.default_python,
            node_image: control.node_image,
            apt_packages: control.apt_packages,
            python_packages: control.python_packages,
            preload_endpoint: control.preload_endpoint,
            source_gib: control.max_source_bytes >> 30,
            source_files: control.max_source_files,
            free_disk_gib: control.min_disk_bytes >> 30,
            free_memory_mib: control.min_memory_bytes >> 20,
            build_cache_gib: control.build_cache_bytes >> 30,
            download_cache_gib: control.download_cache_bytes >> 30,
            engine_may_fetch: control.engine_may_fetch,
        }
    }
}
