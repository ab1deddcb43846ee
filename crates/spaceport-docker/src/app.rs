//! Containers of apps: start, look, stop.
//!
//! An app is untrusted. It gets no capability, no way to gain one, the default seccomp filter,
//! limits on everything the kernel can limit without a quota file system, and a network on which
//! it meets nobody. The engine never restarts it: what ended is observed and decided on by the
//! reconciler, which knows why it should run.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerUpdateBody, HostConfig,
    HostConfigLogConfig, ResourcesUlimits,
};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, ListContainersOptions, StartContainerOptions, StopContainerOptions,
};
use futures::{StreamExt, TryStreamExt};
use spaceport_runtime::{Container, ContainerId, ContainerSpec, ContainerState, Exit, HeldLease, RuntimeError};

use crate::client::{CALL_TIMEOUT, START_TIMEOUT, absent, engine_error, status_of, within};
use crate::clock::timestamp;
use crate::devices::Attached;
use crate::{DockerRuntime, images, labels, scratch, volume};

/// Containers inspected at the same time when all are listed.
const INSPECT_AT_ONCE: usize = 16;
/// An app's log kept by the engine; Spaceport keeps its own copy.
const LOG_FILE_SIZE: &str = "10m";
const LOG_FILES: &str = "2";
/// How often to look for a container that another call is creating.
const LISTED_EVERY: Duration = Duration::from_millis(50);
/// Open files, soft and hard. Not more, since an engine that is itself in a container cannot give
/// more than it has, and then nothing would start.
const OPEN_FILES: i64 = 16_384;
/// The scheduler's period; a quota is a share of it.
pub(crate) const CPU_PERIOD_US: i64 = 100_000;
/// The smallest quota the kernel takes.
const CPU_QUOTA_MIN_US: i64 = 1_000;

pub(crate) async fn start(runtime: &DockerRuntime, spec: ContainerSpec) -> Result<Container, RuntimeError> {
    let docker = runtime.docker().await?;
    let instance = spec.instance.to_string();
    let id = match find(runtime, &docker, &instance).await? {
        Some(container) if container.state == ContainerState::Created => container.id.0,
        Some(container) => return Ok(container),
        None => match create(runtime, &docker, &spec).await? {
            Some(id) => id,
            None => made_by_another(runtime, &docker, &spec).await?,
        },
    };
    if let Err(error) = launch(runtime, &docker, &spec, &id).await {
        // A container that cannot be started is of no use, and without it the next try starts
        // from the beginning.
        scratch::remove(&docker, &id).await?;
        return Err(error);
    }
    inspect(runtime, &id).await?.ok_or(RuntimeError::NoContainer(id))
}

/// `None` when the name is taken.
async fn create(
    runtime: &DockerRuntime,
    docker: &Docker,
    spec: &ContainerSpec,
) -> Result<Option<String>, RuntimeError> {
    let shared = &runtime.shared;
    let mut env: BTreeMap<String, String> = spec.env.clone();
    if let Some(trust) = &shared.trust {
        env.extend(trust.environment(|name| spec.env.contains_key(name)));
    }
    let attached = Attached::of(spec.grant.as_ref());
    env.extend(attached.env.clone());
    let mut settings = HostConfig {
        // Forwards signals and reaps children; without it a Python as PID 1 ignores SIGTERM.
        init: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        pids_limit: Some(i64::from(spec.hardware.pids)),
        memory: Some(bytes(spec.hardware.memory_bytes)),
        memory_swap: Some(bytes(spec.hardware.memory_bytes)),
        shm_size: Some(bytes(spec.hardware.shm_bytes)),
        ulimits: Some(ulimits()),
        network_mode: Some(shared.config.network.clone()),
        dns: shared.config.dns_servers(),
        mounts: Some(spec.mounts.iter().map(volume::mount).collect()),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_FILE_SIZE.to_owned()),
                ("max-file".to_owned(), LOG_FILES.to_owned()),
            ])),
        }),
        ..Default::default()
    };
    attached.into_settings(&mut settings);
    let body = ContainerCreateBody {
        image: Some(spec.image.to_string()),
        cmd: spec.command.clone(),
        env: Some(env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()),
        user: spec.user.clone(),
        labels: Some(labels_of(spec, &shared.config.installation)),
        host_config: Some(settings),
        ..Default::default()
    };
    let options = CreateContainerOptions { name: Some(name_of(&spec.instance.to_string())), ..Default::default() };
    let operation = format!("create the container of space {}", spec.space);
    match within(CALL_TIMEOUT, &operation, docker.create_container(Some(options), body)).await {
        Ok(created) => Ok(Some(created.id)),
        Err(error) if status_of(&error) == Some(409) => Ok(None),
        Err(error) if no_command(&error) => {
            Err(RuntimeError::CommandNotFound("the image names no command and none was given".to_owned()))
        }
        Err(error) => Err(error),
    }
}

fn labels_of(spec: &ContainerSpec, installation: &str) -> HashMap<String, String> {
    let mut labels = HashMap::from([
        (labels::INSTALLATION.to_owned(), installation.to_owned()),
        (labels::ROLE.to_owned(), labels::ROLE_APP.to_owned()),
        (labels::SPACE.to_owned(), spec.space.to_string()),
        (labels::RELEASE.to_owned(), spec.release.to_string()),
        (labels::INSTANCE.to_owned(), spec.instance.to_string()),
        (labels::PORT.to_owned(), spec.port.to_string()),
    ]);
    if let Some(grant) = &spec.grant {
        labels.insert(labels::LEASE.to_owned(), grant.lease().to_string());
        labels.insert(labels::DEVICES.to_owned(), grant.held().devices_label());
    }
    labels
}

/// The container that another call is creating: its name is taken a moment before it is listed.
async fn made_by_another(
    runtime: &DockerRuntime,
    docker: &Docker,
    spec: &ContainerSpec,
) -> Result<String, RuntimeError> {
    let instance = spec.instance.to_string();
    let mut left = CALL_TIMEOUT;
    while !left.is_zero() {
        if let Some(found) = find(runtime, docker, &instance).await? {
            return Ok(found.id.0);
        }
        tokio::time::sleep(LISTED_EVERY).await;
        left = left.saturating_sub(LISTED_EVERY);
    }
    let operation = format!("create the container of space {}", spec.space);
    let name = name_of(&instance);
    Err(engine_error(operation, format!("the name {name} is taken by a container that is not ours; remove that one")))
}

/// Starting a running container is success for the engine, so two calls at once agree.
async fn launch(runtime: &DockerRuntime, docker: &Docker, spec: &ContainerSpec, id: &str) -> Result<(), RuntimeError> {
    if let Some(trust) = &runtime.shared.trust {
        trust.install(docker, id, &images::config(docker, &spec.image).await?).await?;
    }
    let operation = format!("start the container of space {}", spec.space);
    within(START_TIMEOUT, &operation, docker.start_container(id, None::<StartContainerOptions>)).await
}

pub(crate) async fn list(runtime: &DockerRuntime) -> Result<Vec<Container>, RuntimeError> {
    let docker = runtime.docker().await?;
    let ids = ids(runtime, &docker, None).await?;
    // A list says only "Exited (1) 3 minutes ago"; the exact state is in each container's own
    // record, half a millisecond each.
    futures::stream::iter(ids)
        .map(|id| async move { inspect(runtime, &id).await })
        .buffered(INSPECT_AT_ONCE)
        .try_filter_map(|container| async move { Ok(container) })
        .try_collect()
        .await
}

async fn find(runtime: &DockerRuntime, docker: &Docker, instance: &str) -> Result<Option<Container>, RuntimeError> {
    match ids(runtime, docker, Some(instance)).await?.first() {
        Some(id) => inspect(runtime, id).await,
        None => Ok(None),
    }
}

async fn ids(runtime: &DockerRuntime, docker: &Docker, instance: Option<&str>) -> Result<Vec<String>, RuntimeError> {
    let mut wanted =
        vec![(labels::INSTALLATION, runtime.shared.config.installation.as_str()), (labels::ROLE, labels::ROLE_APP)];
    wanted.extend(instance.map(|instance| (labels::INSTANCE, instance)));
    let options = ListContainersOptions { all: true, filters: Some(labels::filter(&wanted)), ..Default::default() };
    let found = within(CALL_TIMEOUT, "list the containers of apps", docker.list_containers(Some(options))).await?;
    Ok(found.into_iter().filter_map(|container| container.id).collect())
}

pub(crate) async fn inspect(runtime: &DockerRuntime, id: &str) -> Result<Option<Container>, RuntimeError> {
    let docker = runtime.docker().await?;
    let Some(response) = inspect_raw(&docker, id).await? else { return Ok(None) };
    Ok(read(&response, &runtime.shared.config))
}

/// The engine's own record of any container; `None` when there is none.
pub(crate) async fn inspect_raw(docker: &Docker, id: &str) -> Result<Option<ContainerInspectResponse>, RuntimeError> {
    let options = None::<InspectContainerOptions>;
    absent(within(CALL_TIMEOUT, &format!("inspect container {id}"), docker.inspect_container(id, options)).await)
}

/// `None` for a container that is not an app of this installation.
fn read(response: &ContainerInspectResponse, config: &crate::DockerConfig) -> Option<Container> {
    let labels = response.config.as_ref()?.labels.as_ref()?;
    let is = |name: &str, value: &str| labels.get(name).is_some_and(|found| found == value);
    if !is(labels::INSTALLATION, &config.installation) || !is(labels::ROLE, labels::ROLE_APP) {
        return None;
    }
    let state = read_state(response)?;
    let address = match state {
        ContainerState::Running { .. } => address(response, config, labels.get(labels::PORT)?.parse().ok()?),
        ContainerState::Created | ContainerState::Exited(_) => None,
    };
    Some(Container {
        id: ContainerId(response.id.clone()?),
        space: labels.get(labels::SPACE)?.parse().ok()?,
        release: labels.get(labels::RELEASE)?.parse().ok()?,
        instance: labels.get(labels::INSTANCE)?.parse().ok()?,
        state,
        address,
        held: labels
            .get(labels::LEASE)
            .zip(labels.get(labels::DEVICES))
            .and_then(|(lease, devices)| HeldLease::from_labels(lease, devices)),
    })
}

fn read_state(response: &ContainerInspectResponse) -> Option<ContainerState> {
    let state = response.state.as_ref()?;
    let started_at = timestamp(state.started_at.as_deref());
    Some(match state.status? {
        ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY => ContainerState::Created,
        ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED | ContainerStateStatusEnum::RESTARTING => {
            ContainerState::Running { started_at }
        }
        ContainerStateStatusEnum::EXITED
        | ContainerStateStatusEnum::REMOVING
        | ContainerStateStatusEnum::STOPPING
        | ContainerStateStatusEnum::DEAD => ContainerState::Exited(Exit {
            code: state.exit_code.unwrap_or_default(),
            oom_killed: state.oom_killed.unwrap_or_default(),
            error: state.error.clone().unwrap_or_default(),
            started_at,
            // The engine dates the end of a short life a little before its beginning.
            finished_at: timestamp(state.finished_at.as_deref()).max(started_at),
        }),
    })
}

fn address(response: &ContainerInspectResponse, config: &crate::DockerConfig, port: u16) -> Option<SocketAddr> {
    let networks = response.network_settings.as_ref()?.networks.as_ref()?;
    let ip: IpAddr = networks.get(&config.network)?.ip_address.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

pub(crate) async fn stop(docker: &Docker, id: &str, grace: Duration) -> Result<(), RuntimeError> {
    let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
    let options = StopContainerOptions { t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)), ..Default::default() };
    let call = docker.stop_container(id, Some(options));
    absent(within(grace + START_TIMEOUT, &format!("stop container {id}"), call).await).map(drop)
}

pub(crate) async fn limit_cpu(docker: &Docker, id: &str, millicores: Option<u32>) -> Result<(), RuntimeError> {
    // A quota, not `NanoCpus`: of the two only a quota can be lifted again.
    let quota = millicores.map_or(-1, |cap| (i64::from(cap) * CPU_PERIOD_US / 1000).max(CPU_QUOTA_MIN_US));
    let update = ContainerUpdateBody { cpu_period: Some(CPU_PERIOD_US), cpu_quota: Some(quota), ..Default::default() };
    within(CALL_TIMEOUT, &format!("limit the CPU of container {id}"), docker.update_container(id, update))
        .await
        .map(drop)
}

/// Limits that are the same for apps and builds.
pub(crate) fn ulimits() -> Vec<ResourcesUlimits> {
    let limit =
        |name: &str, value| ResourcesUlimits { name: Some(name.to_owned()), soft: Some(value), hard: Some(value) };
    vec![limit("nofile", OPEN_FILES), limit("core", 0)]
}

/// The engine counts bytes in signed numbers.
pub(crate) fn bytes(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn name_of(instance: &str) -> String {
    format!("spaceport-{instance}")
}

fn no_command(error: &RuntimeError) -> bool {
    let RuntimeError::Engine { source, .. } = error else { return false };
    let text = source.to_string().to_lowercase();
    text.contains("no command specified")
}
