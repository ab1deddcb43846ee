//! Volumes: made, filled through a container that never runs, found by label, removed.
//!
//! The engine cannot say whether a volume was filled to its end. Beside every volume that was stands
//! an empty one, the mark: a volume without its mark is what a crash left, and is made anew. One that
//! begins empty is never removed for that: it may hold what an app wrote.

use std::collections::{BTreeMap, HashMap};

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, HostConfig, Mount as EngineMount, MountType, MountVolumeOptions, VolumeCreateRequest,
};
use bollard::query_parameters::{ListVolumesOptions, RemoveVolumeOptions};
use spaceport_runtime::{Mount, OwnVolume, RuntimeError, VolumeSpec};

use crate::archive::{self, Entry};
use crate::client::{CALL_TIMEOUT, START_TIMEOUT, TRANSFER_TIMEOUT, status_of, within};
use crate::scratch::Scratch;
use crate::{DockerRuntime, labels, raw};

/// Where a volume is in the container that fills it.
const FILLED_AT: &str = "volume";
/// User of every app.
const OWNER: u64 = 1000;
/// Ends the name of a mark.
const MARK: &str = "-complete";

/// The engine's form of a mount. What an image has at its path is not copied into a new volume: others mount
/// it too.
pub(crate) fn mount(mount: &Mount) -> EngineMount {
    EngineMount {
        typ: Some(MountType::VOLUME),
        source: Some(mount.volume.clone()),
        target: Some(mount.path.clone()),
        read_only: Some(mount.read_only),
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
        ..Default::default()
    }
}

pub(crate) async fn is_complete(docker: &Docker, name: &str) -> Result<bool, RuntimeError> {
    Ok(exists(docker, name).await? && exists(docker, &mark(name)).await?)
}

pub(crate) async fn provide(runtime: &DockerRuntime, spec: VolumeSpec) -> Result<(), RuntimeError> {
    let docker = runtime.docker().await?;
    let docker = &docker;
    // Two apps may want the same volume at the same moment.
    let turn = runtime.shared.filling.lock().await;
    if is_complete(docker, &spec.name).await? {
        return Ok(());
    }
    if spec.content.is_some() {
        remove_one(docker, &spec.name).await?;
    }
    create(runtime, docker, &spec.name, &spec.labels.clone().into_iter().collect()).await?;
    let body = ContainerCreateBody {
        image: Some(spec.image.to_string()),
        cmd: Some(vec!["true".to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            mounts: Some(vec![mount(&Mount {
                volume: spec.name.clone(),
                path: format!("/{FILLED_AT}"),
                read_only: false,
            })]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let scratch = Scratch::create(runtime, docker, &format!("volume {}", spec.name), body).await?;
    // A new volume belongs to root; unpacking its folder over it, from above, changes that.
    let top = archive::small(&[Entry::Directory { path: FILLED_AT, owner: OWNER }])?;
    archive::upload(docker, scratch.id(), "/", top).await?;
    if let Some(content) = &spec.content {
        archive::upload_file(docker, scratch.id(), &format!("/{FILLED_AT}"), content, TRANSFER_TIMEOUT).await?;
    }
    scratch.remove().await?;
    create(runtime, docker, &mark(&spec.name), &HashMap::new()).await?;
    drop(turn);
    Ok(())
}

pub(crate) async fn list(runtime: &DockerRuntime) -> Result<Vec<OwnVolume>, RuntimeError> {
    let docker = runtime.docker().await?;
    let filters = labels::filter(&[(labels::INSTALLATION, &runtime.shared.config.installation)]);
    let options = ListVolumesOptions { filters: Some(filters) };
    let found = within(CALL_TIMEOUT, "list volumes", docker.list_volumes(Some(options))).await?;
    let own = |volume: bollard::models::Volume| OwnVolume {
        name: volume.name,
        labels: volume.labels.into_iter().filter(|(name, _)| name != labels::INSTALLATION).collect(),
    };
    let is_mark = |volume: &OwnVolume| volume.name.ends_with(MARK);
    Ok(found.volumes.unwrap_or_default().into_iter().map(own).filter(|volume| !is_mark(volume)).collect())
}

/// Bytes by name.
pub(crate) async fn sizes(runtime: &DockerRuntime) -> Result<BTreeMap<String, u64>, RuntimeError> {
    let version = runtime.docker().await?.client_version();
    // Engines before 23 ignore the type and measure everything.
    let answer = raw::call(&runtime.shared.client.endpoint, version, "GET", "/system/df?type=volume").await?;
    let installation = runtime.shared.config.installation.as_str();
    let volumes = answer["Volumes"].as_array().into_iter().flatten();
    let own = volumes.filter(|volume| volume["Labels"][labels::INSTALLATION].as_str() == Some(installation));
    Ok(own
        .filter_map(|volume| Some((volume["Name"].as_str()?.to_owned(), volume["UsageData"]["Size"].as_u64()?)))
        .collect())
}

pub(crate) async fn remove(runtime: &DockerRuntime, name: &str) -> Result<bool, RuntimeError> {
    let docker = runtime.docker().await?;
    // The mark goes first: a volume without one is made anew, a mark without a volume would lie.
    if in_use(runtime, &docker, name).await? {
        return Ok(false);
    }
    remove_one(&docker, &mark(name)).await?;
    remove_one(&docker, name).await
}

async fn in_use(runtime: &DockerRuntime, docker: &Docker, name: &str) -> Result<bool, RuntimeError> {
    let filters = HashMap::from([
        ("volume".to_owned(), vec![name.to_owned()]),
        ("label".to_owned(), vec![format!("{}={}", labels::INSTALLATION, runtime.shared.config.installation)]),
    ]);
    let options =
        bollard::query_parameters::ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
    let found = within(CALL_TIMEOUT, "list the containers of a volume", docker.list_containers(Some(options))).await?;
    Ok(!found.is_empty())
}

/// `false` when a container has it.
async fn remove_one(docker: &Docker, name: &str) -> Result<bool, RuntimeError> {
    let call = docker.remove_volume(name, None::<RemoveVolumeOptions>);
    match within(START_TIMEOUT, &format!("remove volume {name}"), call).await {
        Err(error) if status_of(&error) == Some(409) => Ok(false),
        Err(error) if is_absent(&error) => Ok(true),
        other => other.map(|()| true),
    }
}

async fn exists(docker: &Docker, name: &str) -> Result<bool, RuntimeError> {
    match within(CALL_TIMEOUT, &format!("inspect volume {name}"), docker.inspect_volume(name)).await {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn create(
    runtime: &DockerRuntime,
    docker: &Docker,
    name: &str,
    labels: &HashMap<String, String>,
) -> Result<(), RuntimeError> {
    let mut labels = labels.clone();
    labels.insert(labels::INSTALLATION.to_owned(), runtime.shared.config.installation.clone());
    let request = VolumeCreateRequest { name: Some(name.to_owned()), labels: Some(labels), ..Default::default() };
    within(CALL_TIMEOUT, &format!("create volume {name}"), docker.create_volume(request)).await.map(drop)
}

fn is_absent(error: &RuntimeError) -> bool {
    matches!(error, RuntimeError::NoContainer(_) | RuntimeError::ImageMissing { .. }) || status_of(error) == Some(404)
}

fn mark(name: &str) -> String {
    format!("{name}{MARK}")
}
