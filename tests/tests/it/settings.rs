//! Variables and secrets reach the app and nobody else; an app reaches nothing but the world.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use spaceport_e2e::files::dockerfile;
use spaceport_e2e::{Files, Site, until};

use crate::apps::{program, says};

const SECRET: &str = "s3cr3t-value-that-nobody-may-see";

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_variables_reach_the_app_alone() {
    let Some(site) = Site::start_with("app_hf_endpoint = \"https://hub.example\"").await else { return };
    let space = site.space("settings", "docker").await;
    space.set_variable("GREETING", "hello").await;
    space.set_secret("API_KEY", SECRET).await;
    // The build is given the variable as an argument and the secret as a file of one step.
    let build = "ARG GREETING\nUSER 0\nRUN test \"$GREETING\" = hello && test -z \"$API_KEY\"\n\
        RUN --mount=type=secret,id=API_KEY test $(wc -c </run/secrets/API_KEY) = 32 && test ! -e /API_KEY\n\
        USER 1000\nCMD [\"python3\", \"-u\", \"app.py\"]";
    let files = Files::readme("sdk: docker\ntitle: Settings")
        .file("Dockerfile", dockerfile(&site.base_image, build))
        .file("app.py", program("here", "0"));
    let sha = space.push(&files).await;
    space.running(&sha, 120).await;

    let (status, text) = space.get("/env").await;
    assert_eq!(status, StatusCode::OK);
    let environment: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let expected = [
        ("GREETING", "hello"),
        ("API_KEY", SECRET),
        ("SPACE_ID", &space.id),
        ("SPACE_AUTHOR_NAME", "admin"),
        ("SPACE_REPO_NAME", space.id.split_once('/').unwrap().1),
        ("SPACE_HOST", &space.host),
        ("SPACE_TITLE", "Settings"),
        ("HF_ENDPOINT", "https://hub.example"),
    ];
    for (name, value) in expected {
        assert_eq!(environment.get(name).map(String::as_str), Some(value), "{name}");
    }

    let container = &site.docker.running_apps()[0];
    let image = site.docker.run(&["inspect", container, "--format", "{{.Image}}"]).unwrap();
    let (_, secrets) = site.call(Method::GET, &space.api("/secrets"), None).await;
    let run_log = site.docker.run(&["logs", container]).unwrap();
    for (place, text) in [
        ("docker history", site.docker.run(&["history", "--no-trunc", &image]).unwrap()),
        ("the image", site.docker.run(&["inspect", &image]).unwrap()),
        ("the build log", space.build_log().await),
        ("the app's log", run_log),
        ("the server's log", site.log()),
        ("the API", secrets.to_string()),
        ("the routes", std::fs::read_to_string(site.data_dir().join("routes.json")).unwrap()),
    ] {
        assert!(!text.contains(SECRET), "{place} shows the secret: {text}");
    }
    assert!(secrets.get("API_KEY").is_some());
    let grep = std::process::Command::new("grep").args(["-rlaF", SECRET]).arg(site.data_dir()).output().unwrap();
    assert!(grep.stdout.is_empty(), "it lies in the clear in {}", String::from_utf8_lossy(&grep.stdout));

    // A change restarts the app without a build.
    space.set_variable("GREETING", "good evening").await;
    until("the app knows the new value", 60, async || match space.get("/env").await.1 {
        text if text.contains("good evening") => Ok(()),
        text => Err(text),
    })
    .await;
    assert_eq!(space.builds().await.len(), 1);
}

/// What an app can see and reach, told by itself. The addresses come with the request.
const PROBE: &str = r#"
import http.server, json, os, socket, urllib.parse

def reaches(address):
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        return True
    except OSError:
        return False

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
            "reached": [address for address in query.get("try", []) if reaches(address)],
            "own": socket.gethostbyname(socket.gethostname()),
            "gateway": socket.inet_ntoa(bytes.fromhex(open("/proc/net/route").read().splitlines()[1].split()[2])[::-1]),
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
    let first = here.push(&Files::docker_python(&site.base_image, PROBE)).await;
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

    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    let addresses: Vec<_> = site
        .docker
        .running_apps()
        .iter()
        .map(|id| site.docker.run(&["inspect", id, "--format", format]).unwrap())
        .collect();
    let own = itself["own"].as_str().unwrap();
    let neighbour =
        addresses.iter().map(|address| address.trim()).find(|address| *address != own).expect("a neighbour");
    let gateway = itself["gateway"].as_str().unwrap();
    let port = site.address.port();
    // A port of the node on every address: what listens there must not be reached through the
    // apps' network.
    let listener = std::net::TcpListener::bind(("0.0.0.0", 0)).unwrap();
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
