//! What a container has on its own disk.
//!
//! The engine can limit it only where its storage driver has quotas, which the usual one has on one file system alone, so
//! it is measured: the engine walks the container's writable layer. A volume that the image asks for with `VOLUME` and that
//! has no name is the container's own as well; it is walked here, where its folder is to be seen.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use spaceport_runtime::RuntimeError;

use crate::client::{absent, within};

/// Millions of files take a while.
const WALK_TIMEOUT: Duration = Duration::from_secs(120);
/// The engine names a volume so that nobody named.
const NAMELESS_CHARS: usize = 64;

pub(crate) async fn used(docker: &Docker, id: &str) -> Result<Option<u64>, RuntimeError> {
    let options = InspectContainerOptions { size: true };
    let operation = format!("measure the disk of container {id}");
    let call = within(WALK_TIMEOUT, &operation, docker.inspect_container(id, Some(options)));
    let Some(response) = absent(call.await)? else { return Ok(None) };
    if response.state.as_ref().and_then(|state| state.running) != Some(true) {
        return Ok(None);
    }
    let folders = nameless(&response);
    let walk = tokio::task::spawn_blocking(move || folders.iter().map(|folder| size(folder)).sum::<u64>());
    // A walk that panicked saw nothing.
    let in_volumes = walk.await.unwrap_or_default();
    let layer = u64::try_from(response.size_rw.unwrap_or_default()).unwrap_or_default();
    Ok(Some(layer + in_volumes))
}

/// The folders of the volumes that go with the container.
fn nameless(container: &ContainerInspectResponse) -> Vec<PathBuf> {
    let is_nameless = |name: &String| name.len() == NAMELESS_CHARS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mounts = container.mounts.iter().flatten();
    let volumes = mounts.filter(|mount| mount.typ.as_deref() == Some("volume"));
    let own = volumes.filter(|mount| mount.name.as_ref().is_some_and(is_nameless));
    own.filter_map(|mount| mount.source.as_ref().map(PathBuf::from)).collect()
}

/// Bytes that the files below a folder take.
pub(crate) fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;

    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size(&entry.path()),
            Ok(data) => data.blocks().saturating_mul(512),
            Err(_) => 0,
        })
        .sum()
}
