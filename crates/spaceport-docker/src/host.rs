//! What is left on the engine's host, when this process is on it: behind a Unix socket, with the
//! engine's directory in sight.

use std::path::{Path, PathBuf};

use bollard::Docker;
use spaceport_runtime::{Room, RuntimeError};

use crate::client::{CALL_TIMEOUT, Endpoint, within};
use crate::{DockerRuntime, raw};

/// Bytes a removal of cached results freed; absent is an answer we do not know.
const FREED: &str = "SpaceReclaimed";

pub(crate) async fn room(runtime: &DockerRuntime) -> Result<Room, RuntimeError> {
    let docker = runtime.docker().await?;
    if !matches!(runtime.shared.client.endpoint, Endpoint::Unix(_)) {
        return Ok(Room::default());
    }
    let folder = runtime.shared.data_root.get_or_try_init(|| data_root(&docker)).await?.clone();
    let disk_bytes = folder.and_then(|folder| free(&folder));
    let memory = tokio::fs::read_to_string("/proc/meminfo").await.unwrap_or_default();
    Ok(Room { disk_bytes, memory_bytes: available(&memory) })
}

/// Where the engine keeps images and containers.
async fn data_root(docker: &Docker) -> Result<Option<PathBuf>, RuntimeError> {
    let info = within(CALL_TIMEOUT, "ask the engine about itself", docker.info()).await?;
    Ok(info.docker_root_dir.map(PathBuf::from))
}

fn free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

pub(crate) async fn prune_build_cache(runtime: &DockerRuntime, keep_bytes: u64) -> Result<u64, RuntimeError> {
    let version = runtime.docker().await?.client_version();
    let path = format!("/build/prune?all=true&keep-storage={keep_bytes}");
    let answer = raw::call(&runtime.shared.client.endpoint, version, "POST", &path).await?;
    Ok(answer[FREED].as_u64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        assert_eq!(available("MemTotal:  8 kB\nMemAvailable:    2048 kB\nBuffers: 1 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal:  8 kB\n"), None);
    }

    #[test]
    fn a_folder_that_is_not_there_says_nothing() {
        assert!(free(Path::new("/")).is_some_and(|bytes| bytes > 0));
        assert_eq!(free(Path::new("/nonexistent/docker")), None);
    }
}
