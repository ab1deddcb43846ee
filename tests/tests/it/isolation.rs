//! Strangers' code on one machine: an app and a build reach nothing but the world, and what one of them takes
//! beyond its share the others do not miss.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use reqwest::{Method, StatusCode};
use serde_json::Value;
use spaceport_e2e::files::dockerfile;
use spaceport_e2e::site::TOKEN;
use spaceport_e2e::{Files, Site, until};

use crate::apps::says;
use crate::hostile::unharmed;

/// What takes a connection, or refuses it, is reached; all addresses are tried at once.
const REACHED: &str = r#"
import concurrent.futures, socket

def reaches(address):
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        return True
    except ConnectionRefusedError:
        return True
    except OSError:
        return False

def reached(addresses):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return [address for address, it_is in zip(addresses, pool.map(reaches, addresses)) if it_is]

gateway = socket.inet_ntoa(bytes.fromhex(open("/proc/net/route").read().splitlines()[1].split()[2])[::-1])
"#;

/// What an app can see and reach, told by itself. The addresses come with the request.
const PROBE: &str = r#"
import http.server, json, os, urllib.parse

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
        body = json.dumps({
            "uid": os.getuid(),
            "capabilities": [status[name].strip() for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")],
            "no_new_privileges": status["NoNewPrivs"].strip(),
            "seccomp": status["Seccomp"].strip(),
            "docker_socket": os.path.exists("/var/run/docker.sock"),
            "reached": reached(query.get("try", [])),
            "own": socket.gethostbyname(socket.gethostname()),
            "gateway": gateway,
        }).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("0.0.0.0", 7860), Handler).serve_forever()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_alone() {
    let Some(site) = Site::start().await else { return };
    let (here, there) = (site.space("prober", "docker").await, site.space("neighbour", "docker").await);
    let first = here.push(&Files::docker_python(&site.base_image, &format!("{REACHED}{PROBE}"))).await;
    let second = there.push(&says(&site.base_image, "the neighbour")).await;
    here.running(&first, 120).await;
    there.running(&second, 120).await;

    let told = async |query: &str| -> Value {
        let (status, text) = here.get(&format!("/?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    };
    let itself = told("").await;
    assert_eq!(itself["uid"], 1000);
    assert_eq!(itself["no_new_privileges"], "1");
    assert_eq!(itself["seccomp"], "2", "a filter");
    assert_eq!(itself["docker_socket"], false);
    for capabilities in itself["capabilities"].as_array().unwrap() {
        assert_eq!(capabilities, "0000000000000000");
    }

    let addresses: Vec<_> = site.docker.running_apps().iter().map(|id| address(&site, id)).collect();
    let own = itself["own"].as_str().unwrap();
    let neighbour = addresses.iter().find(|address| *address != own).expect("a neighbour");
    let gateway = itself["gateway"].as_str().unwrap();
    let port = site.address.port();
    // A port of the node on every address: what listens there must not be reached through the
    // apps' network.
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let open = listener.local_addr().unwrap().port();
    let own_reached = told(&format!("try={own}:7860")).await;
    assert_eq!(own_reached["reached"].as_array().unwrap().len(), 1, "the probe works: {own_reached}");
    let forbidden = [
        format!("{neighbour}:7860"),
        format!("{gateway}:{open}"),
        format!("{gateway}:{port}"),
        format!("{gateway}:2375"),
        "169.254.169.254:80".to_owned(),
    ];
    let query: Vec<_> = forbidden.iter().map(|address| format!("try={address}")).collect();
    let reached = told(&query.join("&")).await;
    assert_eq!(reached["reached"], serde_json::json!([]), "of {forbidden:?}");
}

/// Prints which of the addresses in `targets` it reached.
const STEP: &str = r#"
print("reached", *reached(open("targets").read().replace("GATEWAY", gateway).split()))
# The packet filter knows IPv4 alone: there must be nothing else.
print("ipv6", *[line.split()[-1] for line in open("/proc/net/if_inet6")])
"#;

/// A Space whose Dockerfile runs that program in a step with these options.
fn probing(base: &str, options: &str, targets: &[String]) -> Files {
    let rest = format!("USER 0\nRUN {options} python3 probe.py\nUSER 1000\nCMD [\"python3\", \"-u\", \"app.py\"]");
    says(base, "probed")
        .file("Dockerfile", dockerfile(base, &rest))
        .file("probe.py", format!("{REACHED}{STEP}"))
        .file("targets", targets.join(" "))
}

/// What a line of a build's log says behind a word.
fn told(log: &str, word: &str) -> Vec<String> {
    let line = log.lines().find_map(|line| line.split_once(&format!(" {word}")).map(|(_, rest)| rest));
    line.unwrap_or_else(|| panic!("nothing of {word}: {log}"))
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The address of a container on its network.
fn address(site: &Site, container: &str) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    site.docker.run(&["inspect", container, "--format", format]).expect("the container is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_a_dockerfile_reaches_the_world_alone() {
    let Some(site) = Site::start().await else { return };
    let neighbour = site.space("neighbour", "docker").await;
    let sha = neighbour.push(&says(&site.base_image, "the neighbour")).await;
    neighbour.running(&sha, 120).await;
    let app = address(&site, &site.docker.running_apps()[0]);
    // Somebody else's container on the network on which the engine builds; it ends by itself.
    let serve = ["timeout", "300", "python3", "-m", "http.server", "7860"];
    let container = site.docker.run(&[&["run", "--detach", "--rm", &site.base_image], &serve[..]].concat()).unwrap();
    let other = address(&site, &container);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let open = listener.local_addr().unwrap().port();
    // The node's own address; nothing is sent.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect("192.0.2.1:9").unwrap();
    let node = socket.local_addr().unwrap().ip();
    let (network, _) = app.rsplit_once('.').unwrap();

    let registry = "pypi.org:443".to_owned();
    let targets = [
        registry.clone(),
        format!("{app}:7860"),
        format!("{other}:7860"),
        format!("GATEWAY:{open}"),
        format!("{network}.1:{open}"),
        format!("{node}:{open}"),
        "GATEWAY:2375".to_owned(),
        "169.254.169.254:80".to_owned(),
        "10.0.0.1:80".to_owned(),
    ];
    let space = site.space("prober", "docker").await;
    let sha = space.push(&probing(&site.base_image, "", &targets)).await;
    space.running(&sha, 120).await;
    let log = space.build_log().await;
    assert_eq!(told(&log, "reached"), [registry], "of {targets:?}: {log}");
    assert!(told(&log, "ipv6").iter().all(|interface| interface == "lo"), "{log}");

    // The node's own network, on which no filter would be in its way, is not given to it.
    space.push(&probing(&site.base_image, "--network=host", &targets)).await;
    let failed = space.wait("the step is refused", 120, |seen| seen.stage == "BUILD_ERROR").await;
    assert!(!space.build_log().await.contains(&format!("{node}:{open}")), "{}", failed.json);
    let _ = site.docker.run(&["rm", "--force", &container]);
}

/// On request it takes every process it can get, says what stopped it, and goes on answering: a single thread, since it
/// gets no second one.
const BOMB: &str = r#"
import http.server, os, signal

def bomb():
    count = 0
    try:
        while True:
            if os.fork() == 0:
                while True:
                    signal.pause()
            count += 1
    except OSError as error:
        print("no more than", count, error, flush=True)
        return f"{count} {error}"

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = bomb() if self.path == "/bomb" else "alive"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

http.server.HTTPServer(("0.0.0.0", 7860), Handler).serve_forever()
"#;

const PIDS: usize = 64;
const NO_MORE: &str = "Resource temporarily unavailable";

#[tokio::test(flavor = "multi_thread")]
async fn an_app_gets_no_more_processes_than_its_flavor_has() {
    let flavor = format!(
        "[hardware.cpu-basic]\npretty_name = \"Few\"\ncpu_millicores = 1000\nmemory_bytes = 536870912\npids = {PIDS}"
    );
    let Some(mut site) = Site::start_with(&flavor).await else { return };
    let (bomber, neighbour) = (site.space("bomber", "docker").await, site.space("neighbour", "docker").await);
    let first = bomber.push(&Files::docker_python(&site.base_image, BOMB)).await;
    let second = neighbour.push(&says(&site.base_image, "the neighbour")).await;
    bomber.running(&first, 120).await;
    neighbour.running(&second, 120).await;
    let lives = async |what: &str| {
        assert_eq!(bomber.get("/").await, (StatusCode::OK, "alive".to_owned()), "{what}");
        assert_eq!(neighbour.get("/").await, (StatusCode::OK, "the neighbour".to_owned()), "{what}");
    };

    let (status, said) = bomber.get("/bomb").await;
    assert!(status == StatusCode::OK && said.contains(NO_MORE), "{status} {said}");
    let count: usize = said.split(' ').next().unwrap().parse().unwrap();
    assert!((PIDS / 2..PIDS).contains(&count), "{said}");
    lives("while it has all its processes").await;
    let log = site.command(TOKEN, &["space", "logs", &bomber.id], "").output;
    assert!(log.contains(NO_MORE), "{log}");

    // Without anybody asking, and without catching what it is told: it ends, and what served before serves on.
    bomber.push(&Files::docker_python(&site.base_image, "import os\nwhile True:\n    os.fork()\n")).await;
    let told = bomber.wait("it crashes", 120, |seen| seen.stage == "RUNTIME_ERROR").await;
    assert!(told.reason == "crashed" && told.message.contains(NO_MORE), "{}", told.json);
    lives("while another release of it crashes").await;

    // Its processes end with it.
    site.ask(Method::POST, &bomber.api("/pause"), None).await;
    let docker = site.docker.clone();
    until("one container is left", 60, async || match docker.apps() {
        apps if apps.len() == 1 => Ok(()),
        apps => Err(format!("{apps:?}")),
    })
    .await;
    assert_eq!(neighbour.get("/").await.1, "the neighbour");
    unharmed(&mut site).await;
}
