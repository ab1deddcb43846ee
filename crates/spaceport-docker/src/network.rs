//! The network of the apps, and what else has to be right before the first container.
//!
//! One shared bridge without traffic between its containers, instead of one per Space: a bridge
//! per Space exhausts the engine's address pools after thirty and makes every start slower, and
//! the isolation is the same. No port is published: the node reaches a container by its address,
//! and nobody else can.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;
use spaceport_runtime::{EngineHost, EngineInfo, RuntimeError};

use crate::client::{CALL_TIMEOUT, PING_TIMEOUT, START_TIMEOUT, status_of, within};
use crate::{DockerRuntime, firewall, labels, scratch};

const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
const ICC: &str = "com.docker.network.bridge.enable_icc";
/// The engine's own network, on which BuildKit runs Dockerfiles.
const DEFAULT_NETWORK: &str = "bridge";

pub(crate) async fn prepare(runtime: &DockerRuntime) -> Result<EngineInfo, RuntimeError> {
    let config = &runtime.shared.config;
    let docker = runtime.shared.client.reconnect().await?;
    let version = within(PING_TIMEOUT, "ask for the engine's version", docker.version()).await?;
    let info = within(CALL_TIMEOUT, "ask the engine about itself", docker.info()).await?;
    scratch::remove_leftovers(runtime, &docker).await?;
    let mut warnings = Vec::new();
    let network = ensure(runtime, &docker).await?;
    if option(&network, ICC) != Some("false") {
        warnings.push(format!(
            "Containers on the network {} can talk to each other, since it was not made by Spaceport. Stop the apps and \
             run `docker network rm {}`; Spaceport makes it anew.",
            config.network, config.network
        ));
    }
    let mut bridges: Vec<String> = bridge_of(&network).into_iter().collect();
    if config.guard_default_bridge {
        let default = inspect(&docker, DEFAULT_NETWORK).await?;
        bridges.extend(default.as_ref().and_then(bridge_of));
    }
    let chain = format!("SPACEPORT-{:08x}", hash(&config.network) & 0xffff_ffff);
    let services = firewall::services(runtime).await;
    if let Err(warning) = firewall::apply(runtime, &docker, &chain, &bridges, &services.open).await {
        warnings.push(warning);
    }
    let client = docker.client_version();
    Ok(EngineInfo {
        version: version.version.unwrap_or_default(),
        api_version: format!("{}.{}", client.major_version, client.minor_version),
        host: EngineHost {
            name: info.name.unwrap_or_default(),
            cpus: info.ncpu.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or_default(),
            memory_bytes: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default(),
        },
        warnings,
        closed: services.unknown,
    })
}

async fn ensure(runtime: &DockerRuntime, docker: &Docker) -> Result<NetworkInspect, RuntimeError> {
    let config = &runtime.shared.config;
    if let Some(network) = inspect(docker, &config.network).await? {
        return Ok(network);
    }
    let request = NetworkCreateRequest {
        name: config.network.clone(),
        driver: Some("bridge".to_owned()),
        // The packet filter knows IPv4 alone; an engine may be configured to give networks both.
        enable_ipv6: Some(false),
        ipam: config.subnet.clone().map(|subnet| Ipam {
            config: Some(vec![IpamConfig { subnet: Some(subnet), ..Default::default() }]),
            ..Default::default()
        }),
        options: Some(HashMap::from([
            (ICC.to_owned(), "false".to_owned()),
            // A name known in advance, since the packet filter goes by it. At most 15 characters.
            (BRIDGE_NAME.to_owned(), format!("sp-{:012x}", hash(&config.network) & 0xffff_ffff_ffff)),
        ])),
        labels: Some(HashMap::from([(labels::INSTALLATION.to_owned(), config.installation.clone())])),
        ..Default::default()
    };
    let operation =
        format!("create the network {} (if its addresses are taken, configure a free subnet)", config.network);
    match within(START_TIMEOUT, &operation, docker.create_network(request)).await {
        Ok(_) => {}
        // Made by somebody else in between.
        Err(error) if status_of(&error) == Some(409) => {}
        Err(error) => return Err(error),
    }
    inspect(docker, &config.network)
        .await?
        .ok_or_else(|| crate::engine_error(operation, "the engine made it, but it is not there"))
}

async fn inspect(docker: &Docker, name: &str) -> Result<Option<NetworkInspect>, RuntimeError> {
    let operation = format!("inspect the network {name}");
    let options = None::<InspectNetworkOptions>;
    match within(CALL_TIMEOUT, &operation, docker.inspect_network(name, options)).await {
        Ok(network) => Ok(Some(network)),
        Err(error) if status_of(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn option<'a>(network: &'a NetworkInspect, name: &str) -> Option<&'a str> {
    network.options.as_ref()?.get(name).map(String::as_str)
}

/// The name of its network interface; the engine names one `br-` and the start of its id.
fn bridge_of(network: &NetworkInspect) -> Option<String> {
    match option(network, BRIDGE_NAME) {
        Some(name) => Some(name.to_owned()),
        None => Some(format!("br-{}", network.id.as_ref()?.get(..12)?)),
    }
}

/// FNV-1a: the same name for the same network in every process and version.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
