//! The packet filter between containers and everything that is none of their business.
//!
//! Docker's own networks do not protect the node: from any of them the node's ports, other
//! private networks and cloud metadata addresses are reachable, even from an `internal` one.
//! Two chains of ours close that: what is forwarded (hung into `DOCKER-USER`, which the engine
//! leaves alone) and what is for the node itself (hung into `INPUT`). They are replaced as a whole
//! in one transaction, so applying them again is harmless and never leaves a gap.
//!
//! The rules are set by the host's own `iptables`: directly when this process is in the host's
//! network, else by a short-lived container with the host's root directory. Whoever has that has the
//! host, so only an image the operator trusts with it is used, never one made from a Space.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::Stdio;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{LogsOptions, StartContainerOptions, WaitContainerOptions};
use futures::StreamExt;
use spaceport_runtime::{LogSink, RuntimeError};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::client::{CALL_TIMEOUT, START_TIMEOUT, within};
use crate::scratch::Scratch;
use crate::{DockerConfig, DockerRuntime, images};

/// Nothing a demo needs lives here: private, shared, link-local (metadata), multicast.
const BLOCKED: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "224.0.0.0/4"];
/// Setting two chains takes milliseconds; the lock may be held by others for a moment.
const APPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// A name of the hub's own is known at once, or the resolver is away.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// To enter the host's root directory, to use its lock, and to set rules.
const HELPER_CAPABILITIES: [&str; 4] = ["SYS_CHROOT", "DAC_OVERRIDE", "NET_ADMIN", "NET_RAW"];
const REMEDY: &str = "Run Spaceport as root on the engine's host, or name a trusted image with a shell \
                      (the base image) as the helper image, and install iptables there";

/// Sets the rules. The error is a sentence for the operator.
pub(crate) async fn apply(
    runtime: &DockerRuntime,
    docker: &Docker,
    chain: &str,
    bridges: &[String],
    services: &BTreeSet<SocketAddrV4>,
) -> Result<(), String> {
    let config = &runtime.shared.config;
    let script = script(config, chain, bridges, services)?;
    // The bridge is visible only in the network namespace of the engine's host.
    let same_network = bridges.iter().all(|bridge| std::path::Path::new("/sys/class/net").join(bridge).exists());
    let direct = if same_network { run_here(&script).await } else { Err("this process is not on it".to_owned()) };
    let Err(here) = direct else { return Ok(()) };
    let there = match &config.helper_image {
        Some(image) => match run_in_helper(runtime, docker, image, script).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        },
        None => "no helper image is configured".to_owned(),
    };
    Err(format!(
        "The packet filter of the engine's host could not be set ({here}; {there}), so apps can reach the node's own \
         ports, private networks and metadata addresses. {REMEDY}."
    ))
}

/// Where each service was found last, by host and port.
pub(crate) type Known = BTreeMap<(String, u16), BTreeSet<SocketAddrV4>>;

/// The services that containers may reach.
pub(crate) struct Services {
    /// Where they are.
    pub(crate) open: BTreeSet<SocketAddrV4>,
    /// Those of which nobody could say where they are, one sentence each.
    pub(crate) unknown: Vec<String>,
}

/// Looks the services up. One that is not found now stays open where it was found before: a resolver that is away
/// closes nothing.
pub(crate) async fn services(runtime: &DockerRuntime) -> Services {
    let shared = &runtime.shared;
    let found = look_up(&shared.config.allowed_services, resolve).await;
    let mut known = shared.services.lock().unwrap_or_else(PoisonError::into_inner);
    merge(found, &mut known)
}

/// Whether the services are where they were found last, as far as that can be told.
pub(crate) async fn is_current(runtime: &DockerRuntime) -> bool {
    let shared = &runtime.shared;
    let found = look_up(&shared.config.allowed_services, resolve).await;
    let known = shared.services.lock().unwrap_or_else(PoisonError::into_inner);
    found.iter().all(|(service, found)| match found {
        Ok(at) => known.get(service) == Some(&usable(at)),
        Err(_) => true,
    })
}

type Found = Vec<((String, u16), Result<Vec<SocketAddr>, String>)>;

async fn look_up(services: &[(String, u16)], resolve: impl AsyncFn(&str, u16) -> io::Result<Vec<SocketAddr>>) -> Found {
    let mut found = Vec::new();
    for (host, port) in services {
        let at = match tokio::time::timeout(RESOLVE_TIMEOUT, resolve(host, *port)).await {
            Ok(at) => at.map_err(|error| error.to_string()),
            Err(_) => Err("the resolver does not answer".to_owned()),
        };
        found.push(((host.clone(), *port), at));
    }
    found
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

fn merge(found: Found, known: &mut Known) -> Services {
    let mut unknown = Vec::new();
    for (service, at) in found {
        let host = &service.0;
        match at {
            Ok(addresses) => {
                let usable = usable(&addresses);
                if usable.is_empty() && known.get(&service).is_none_or(|before| !before.is_empty()) {
                    tracing::warn!(
                        host,
                        ?addresses,
                        "Apps cannot reach the hub at {host} if that is this machine: there it has no IPv4 address but \
                         loopback. Give it one in DNS or /etc/hosts; it is looked up again by itself."
                    );
                }
                known.insert(service, usable);
            }
            Err(error) if known.get(&service).is_none_or(BTreeSet::is_empty) => unknown.push(format!(
                "The addresses of {host} are not known ({error}), so apps cannot reach the hub there if that is this \
                 machine. It is looked up again by itself; does its name resolve on this machine?"
            )),
            Err(error) => tracing::warn!(host, error, "the addresses of {host} are not known now: {error}"),
        }
    }
    Services { open: known.values().flatten().copied().collect(), unknown }
}

/// The addresses that open something. The chain for the node itself sees nothing for another machine, so what is not
/// this node's opens nothing; nor do loopback addresses, which for a container are its own.
fn usable(addresses: &[SocketAddr]) -> BTreeSet<SocketAddrV4> {
    addresses.iter().filter_map(reachable).collect()
}

fn reachable(address: &SocketAddr) -> Option<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) if !address.ip().is_loopback() => Some(*address),
        SocketAddr::V4(_) | SocketAddr::V6(_) => None,
    }
}

/// Whether the packet filter takes it: an IPv4 address, with the length of a prefix or without.
#[must_use]
pub fn is_network(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    address.parse::<Ipv4Addr>().is_ok()
        && length.bytes().all(|b| b.is_ascii_digit())
        && length.parse().is_ok_and(|length: u8| length <= 32)
}

fn script(
    config: &DockerConfig,
    chain: &str,
    bridges: &[String],
    services: &BTreeSet<SocketAddrV4>,
) -> Result<String, String> {
    for network in config.blocked_networks.iter().chain(&config.allowed_networks) {
        if !is_network(network) {
            return Err(format!("{network:?} is not an IPv4 network; write it like 10.1.0.0/16."));
        }
    }
    let lines = |networks: &mut dyn Iterator<Item = &str>, target: &str| {
        networks.map(|network| format!("echo '-A {chain}-F -d {network} -j {target}'\n")).collect::<String>()
    };
    let allowed = lines(&mut config.allowed_networks.iter().map(String::as_str), "RETURN");
    let blocked = lines(&mut BLOCKED.into_iter().chain(config.blocked_networks.iter().map(String::as_str)), "DROP");
    let services: String = services
        .iter()
        .map(|at| format!("echo '-A {chain}-I -d {} -p tcp --dport {} -j RETURN'\n", at.ip(), at.port()))
        .collect();
    let resolvers: String = config.dns.iter().filter(|ip| ip.is_ipv4()).map(|ip| format!("echo {ip}\n")).collect();
    let bridges = bridges.join(" ");
    Ok(format!(
        r#"set -e
PATH=/usr/sbin:/sbin:/usr/bin:/bin
command -v iptables-restore >/dev/null || {{ echo 'iptables is not installed' >&2; exit 1; }}
iptables -w 5 -n -L DOCKER-USER >/dev/null || {{ echo 'the engine has made no DOCKER-USER chain' >&2; exit 1; }}
resolvers() {{
{resolvers}for file in /etc/resolv.conf /run/systemd/resolve/resolv.conf; do
  [ ! -r $file ] || sed -n 's/^nameserver[[:space:]]*\([0-9.][0-9.]*\)[[:space:]]*$/\1/p' $file
done
}}
{{
echo '*filter'
echo ':{chain}-F - [0:0]'
echo ':{chain}-I - [0:0]'
for chain in {chain}-F {chain}-I; do
  echo "-A $chain -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
  for resolver in $(resolvers | sort -u); do
    echo "-A $chain -d $resolver -p udp --dport 53 -j RETURN"
    echo "-A $chain -d $resolver -p tcp --dport 53 -j RETURN"
  done
done
{allowed}{blocked}{services}echo '-A {chain}-I -j DROP'
echo COMMIT
}} | iptables-restore -w 5 --noflush
for bridge in {bridges}; do
  iptables -w 5 -C DOCKER-USER -i $bridge -j {chain}-F 2>/dev/null || iptables -w 5 -I DOCKER-USER 1 -i $bridge -j {chain}-F
  iptables -w 5 -C INPUT -i $bridge -j {chain}-I 2>/dev/null || iptables -w 5 -I INPUT 1 -i $bridge -j {chain}-I
done
"#
    ))
}

async fn run_here(script: &str) -> Result<(), String> {
    let child = Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(APPLY_TIMEOUT, child).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(last_line(&String::from_utf8_lossy(&output.stderr))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("iptables did not end".to_owned()),
    }
}

async fn run_in_helper(runtime: &DockerRuntime, docker: &Docker, image: &str, script: String) -> Result<(), String> {
    let config = &runtime.shared.config;
    let run = async {
        // A new engine has no image at all, and nothing may run unfiltered until it has one.
        let quiet: LogSink = Arc::new(|_: &str| {});
        let digest = match images::pull(docker, &config.installation, image, &quiet, &CancellationToken::new()).await {
            Ok(digest) => digest,
            Err(error) => return Ok(Err(format!("the helper image {image} cannot be had: {error}"))),
        };
        let body = ContainerCreateBody {
            image: Some(digest.to_string()),
            entrypoint: Some(["chroot", "/host", "/bin/sh", "-c"].map(str::to_owned).to_vec()),
            cmd: Some(vec![script]),
            user: Some("0".to_owned()),
            host_config: Some(HostConfig {
                network_mode: Some("host".to_owned()),
                // Not `privileged`, which an engine that runs in a container itself cannot give.
                cap_drop: Some(vec!["ALL".to_owned()]),
                cap_add: Some(HELPER_CAPABILITIES.map(str::to_owned).to_vec()),
                // The host's files have no label of the container's.
                security_opt: Some(vec!["label=disable".to_owned()]),
                binds: Some(vec!["/:/host".to_owned()]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let scratch = Scratch::create(runtime, docker, "the packet filter", body).await?;
        let id = scratch.id();
        let start = docker.start_container(id, None::<StartContainerOptions>);
        within(START_TIMEOUT, "start the helper container", start).await?;
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut waiting = docker.wait_container(id, Some(options));
        let ended = tokio::time::timeout(APPLY_TIMEOUT, waiting.next()).await;
        let outcome = match ended {
            Ok(Some(Ok(_))) => Ok(()),
            Ok(_) => Err(errors(docker, id).await?),
            Err(_) => Err("the helper container did not end".to_owned()),
        };
        scratch.remove().await?;
        Ok::<_, RuntimeError>(outcome)
    };
    run.await.unwrap_or_else(|error| Err(format!("the helper container failed: {}", cause(&error))))
}

async fn errors(docker: &Docker, id: &str) -> Result<String, RuntimeError> {
    let options = LogsOptions { stderr: true, ..Default::default() };
    let call = async {
        let mut text = String::new();
        let mut frames = docker.logs(id, Some(options));
        while let Some(frame) = frames.next().await {
            if let LogOutput::StdErr { message } = frame? {
                text.push_str(&String::from_utf8_lossy(&message));
            }
        }
        Ok(text)
    };
    within(CALL_TIMEOUT, "read the helper container's output", call).await.map(|text| last_line(&text))
}

fn last_line(text: &str) -> String {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it failed without a word").to_owned()
}

fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_networks_get_into_the_script() {
        let with =
            |network: &str| DockerConfig { blocked_networks: vec![network.to_owned()], ..DockerConfig::default() };
        let bridges = ["sp0".to_owned()];
        let none = BTreeSet::new();
        assert!(script(&with("203.0.113.0/24"), "SP", &bridges, &none).unwrap().contains("-d 203.0.113.0/24 -j DROP"));
        for wrong in ["1.2.3.4'; reboot; '", "10.1/16", "10.1.0.0/33", "10.1.0.0/+8", "10.1.0.0/", "fd00::/8", ""] {
            assert!(script(&with(wrong), "SP", &bridges, &none).is_err(), "{wrong:?}");
        }
    }

    fn service(host: &str, port: u16) -> (String, u16) {
        (host.to_owned(), port)
    }

    #[tokio::test]
    async fn a_service_is_open_at_its_addresses_and_nowhere_else() {
        let asked = [service("192.0.2.7", 8443), service("127.0.1.1", 8444)];
        let services = merge(look_up(&asked, resolve).await, &mut Known::default());
        assert_eq!(services.unknown, Vec::<String>::new());
        let script = script(&DockerConfig::default(), "SP", &["sp0".to_owned()], &services.open).unwrap();
        let (open, closed) = ("-A SP-I -d 192.0.2.7 -p tcp --dport 8443 -j RETURN", "-A SP-I -j DROP");
        assert_eq!(script.matches("--dport 844").count(), 1, "{script}");
        assert!(script.find(open) < script.find(closed), "{script}");
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_looked_up_is_told_from_one_that_is_nowhere() {
        let asked = [service("hub.example", 443)];
        let mut known = Known::default();
        let mut look = async |answer: Option<&str>| {
            let resolve = async |_: &str, _: u16| match answer {
                Some(address) => Ok(vec![address.parse().unwrap()]),
                None => Err(io::Error::other("Temporary failure in name resolution")),
            };
            merge(look_up(&asked, resolve).await, &mut known)
        };
        let away = look(None).await;
        assert!(
            away.open.is_empty() && away.unknown[0].contains("hub.example are not known (Temporary"),
            "{:?}",
            away.unknown
        );
        let loopback = look(Some("127.0.0.1:443")).await;
        assert!(loopback.open.is_empty() && loopback.unknown.is_empty(), "{:?}", loopback.unknown);
        let here = look(Some("192.0.2.7:443")).await;
        assert_eq!(here.open, [SocketAddrV4::new([192, 0, 2, 7].into(), 443)].into());
        // A resolver that goes away closes nothing.
        let kept = look(None).await;
        assert_eq!((kept.open, kept.unknown.len()), (here.open, 0));
        let moved = look(Some("192.0.2.8:443")).await;
        assert_eq!(moved.open, [SocketAddrV4::new([192, 0, 2, 8].into(), 443)].into());
    }
}
