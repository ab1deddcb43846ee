//! What an app can reach, tried from inside one.

use std::net::SocketAddr;

use futures::StreamExt;
use spaceport_docker::DockerConfig;
use spaceport_runtime::ContainerState;
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, apps, docker, docker_config, eventually, finish, within};

/// Tries each address for a second and prints what it could open.
const TRY: &str = "import os, socket
for address in os.environ['TARGETS'].split():
    host, port = address.rsplit(':', 1)
    try:
        socket.create_connection((host, int(port)), timeout=1)
        print('reached', address)
    except ConnectionRefusedError:
        print('reached', address)
    except OSError:
        print('blocked', address)
print('done')
";

/// What an app of its own reports about these addresses.
async fn attempt(world: &World, targets: &[String]) -> Vec<String> {
    let mut spec = world.app("");
    spec.command = Some(["python3", "-u", "-c", TRY].map(str::to_owned).to_vec());
    spec.env.insert("TARGETS".to_owned(), targets.join(" "));
    let container = world.runtime.start(spec).await.unwrap();
    let log = world.runtime.logs(&container.id, None).await.unwrap();
    within(log.map(|line| line.unwrap().text).collect()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_reaches_nobody_it_should_not() {
    let Some((runtime, world)) = docker(docker_config()).await else { return };
    let info = spaceport_runtime::Runtime::prepare(&*runtime).await.unwrap();
    if !info.warnings.is_empty() {
        eprintln!("skipped: {}", info.warnings.join(" "));
        return;
    }
    finish(runtime, world, async |world: &World| {
        let peer = world.runtime.start(world.app(apps::SERVE)).await.unwrap();
        let peer = peer.address.unwrap();
        // The node reaches the app …
        eventually(async || TcpStream::connect(peer).await.ok()).await;
        // … and listens on every address of its own, the bridge's included.
        let node = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let SocketAddr::V4(v4) = peer else { panic!("{peer}") };
        let [a, b, ..] = v4.ip().octets();
        let gateway = format!("{a}.{b}.0.1:{}", node.local_addr().unwrap().port());
        let targets = [peer.to_string(), gateway, "169.254.169.254:80".to_owned(), "10.0.0.1:80".to_owned()];
        let report = attempt(world, &targets).await;
        let mut expected: Vec<String> = targets.iter().map(|target| format!("blocked {target}")).collect();
        expected.push("done".to_owned());
        assert_eq!(report, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_resolves_names_and_has_no_privilege() {
    let Some((runtime, world)) = docker(docker_config()).await else { return };
    finish(runtime, world, async |world: &World| {
        let mut spec = world.app("");
        // Whether a name exists depends on the network; that somebody answers does not.
        let script = "import socket
try:
    socket.getaddrinfo('deb.debian.org', 80); print('answered')
except socket.gaierror as e:
    print('answered' if e.errno in (socket.EAI_NONAME, socket.EAI_NODATA) else e)
for line in open('/proc/self/status'):
    if line.split(':')[0] in ('CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp'): print(*line.split())
";
        spec.command = Some(["python3", "-u", "-c", script].map(str::to_owned).to_vec());
        let container = world.runtime.start(spec).await.unwrap();
        let log = world.runtime.logs(&container.id, None).await.unwrap();
        let report: Vec<String> = within(log.map(|line| line.unwrap().text).collect()).await;
        assert_eq!(
            report,
            ["answered", "CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"]
        );
        let seen = world.runtime.inspect(&container.id).await.unwrap().unwrap();
        assert!(matches!(seen.state, ContainerState::Exited(_)), "{seen:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_reaches_the_services_of_the_node_that_are_open_to_it() {
    let (open, closed) = (TcpListener::bind("0.0.0.0:0").await.unwrap(), TcpListener::bind("0.0.0.0:0").await.unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    // A network of its own: its filter is no other test's.
    let network = "spaceport-contract-ports".to_owned();
    // Any address of the node's that is not of that network's.
    let Some(node) = default_gateway().await else { return };
    let allowed_services = vec![(node.clone(), port(&open))];
    let config = DockerConfig { allowed_services, network, ..docker_config() };
    let Some((runtime, world)) = docker(config).await else { return };
    let info = spaceport_runtime::Runtime::prepare(&*runtime).await.unwrap();
    if !info.warnings.is_empty() {
        eprintln!("skipped: {}", info.warnings.join(" "));
        return;
    }
    finish(runtime, world, async |world: &World| {
        let peer = world.runtime.start(world.app(apps::SERVE)).await.unwrap();
        let Some(SocketAddr::V4(v4)) = peer.address else { panic!("{peer:?}") };
        let [a, b, ..] = v4.ip().octets();
        let targets = [
            format!("{node}:{}", port(&open)),
            format!("{node}:{}", port(&closed)),
            format!("{a}.{b}.0.1:{}", port(&open)),
        ];
        let report = attempt(world, &targets).await;
        let [reached, blocked @ ..] = &targets;
        let mut expected = vec![format!("reached {reached}")];
        expected.extend(blocked.iter().map(|target| format!("blocked {target}")));
        expected.push("done".to_owned());
        assert_eq!(report, expected);
    })
    .await;
}

/// The node's address on the engine's own network.
async fn default_gateway() -> Option<String> {
    let docker = bollard::Docker::connect_with_defaults().ok()?.negotiate_version().await.ok()?;
    let network =
        docker.inspect_network("bridge", None::<bollard::query_parameters::InspectNetworkOptions>).await.ok()?;
    network.ipam?.config?.into_iter().find_map(|range| range.gateway)
}
