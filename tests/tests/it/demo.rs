//! `cargo xtask demo` as people meet it: an address that answers, until Ctrl-C; and once more with the same data.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use reqwest::StatusCode;
use spaceport_e2e::docker::Docker;
use spaceport_e2e::site::{client, free_address, setting};
use spaceport_e2e::until;
use tempfile::TempDir;

/// A demo whose environment was never made takes so long on a slow machine and a slow network.
const LIVE_S: u64 = 600;
/// The server stops within so many seconds.
const END_S: u64 = 60;

/// A folder of a demo's own. What ran of it is removed when dropped.
struct Demo {
    folder: TempDir,
    address: SocketAddr,
    xtask: String,
    server: String,
    child: Option<Child>,
}

impl Demo {
    fn new() -> Option<Self> {
        let (Some(xtask), Some(server)) = (setting("SPACEPORT_E2E_XTASK"), setting("SPACEPORT_E2E_BIN")) else {
            println!("SKIPPED: SPACEPORT_E2E_XTASK and SPACEPORT_E2E_BIN name no demo; `cargo xtask test` sets them.");
            return None;
        };
        let folder = TempDir::with_prefix("spaceport-demo-").expect("a temporary folder");
        Some(Self { folder, address: free_address(), xtask, server, child: None })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    /// Starts it, waits for the address that it prints, and visits that.
    async fn live(&mut self) -> String {
        let said = std::fs::File::create(self.path("said")).expect("a file for what it prints");
        let demo = Command::new(&self.xtask)
            .args(["demo", "--server", &self.server, "--port", &self.address.port().to_string(), "--folder"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a second handle"))
            .stderr(said)
            .spawn();
        let mut demo = demo.expect("the chore runs");
        let address = until("the demo is live", LIVE_S, async || {
            let said = self.said();
            if let Ok(Some(status)) = demo.try_wait() {
                panic!("it ended ({status}): {said}");
            }
            let address = said.lines().find_map(|line| line.split_once("is live: "));
            address.map(|(_, address)| address.trim().to_owned()).ok_or(said)
        })
        .await;
        self.child = Some(demo);
        let host = address.strip_prefix("http://").expect("an address");
        let page = client().get(format!("http://{}/", self.address)).header("host", host).send().await;
        let page = page.expect("the proxy answers");
        assert_eq!(page.status(), StatusCode::OK, "{}", self.said());
        assert!(page.text().await.expect("a page").contains("gradio"), "{address}");
        address
    }

    /// What Ctrl-C does.
    async fn interrupt(&mut self) {
        let mut demo = self.child.take().expect("it runs");
        assert!(Command::new("kill").args(["-INT", &demo.id().to_string()]).status().expect("kill runs").success());
        let status = until("the demo ends", END_S, async || match demo.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        })
        .await;
        assert!(status.success(), "{status}: {}", self.said());
        assert!(std::net::TcpStream::connect(self.address).is_err(), "its server has ended, too");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(mut demo) = self.child.take() {
            let _ = Command::new("kill").arg(demo.id().to_string()).status();
            let _ = demo.wait();
        }
        if let Ok(installation) = std::fs::read_to_string(self.path("data/keys/installation")) {
            Docker { host: setting("DOCKER_HOST"), installation }.clean();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_is_live_until_it_is_interrupted_and_keeps_its_data() {
    let Some(mut demo) = Demo::new() else { return };
    let first = demo.live().await;
    assert!(demo.said().contains("The build, live"), "{}", demo.said());
    demo.interrupt().await;
    let second = demo.live().await;
    assert_eq!(first, second);
    assert!(demo.said().contains("Nothing changed since the last demo."), "{}", demo.said());
    demo.interrupt().await;
}
